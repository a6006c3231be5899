"""Getting ranks started: once, for training, verification, serving and the tests alike.

    parent ──asks──> zygote: torch imported, one thread, nothing ever computed
      │                 │ fork                                    (or: fresh processes)
      │<═ socketpair ═> rank 0 ─┐
      │<═ socketpair ═> rank 1 ─┼─ torch.distributed, alive from task to task
      │<═ socketpair ═> rank 2 ─┘

    torchrun, on every host ──> rank 0 ═╗
                            ──> rank 1 ═╬═ torchrun's store          (`hosts`: the processes are already there)

A `RankPool` runs a function on every rank and gives back the results by rank; a rank that raises, dies or falls
silent ends them all and is named. `ranks_for` takes torchrun's processes where there are some, and a pool elsewhere;
`led` takes them for a program that asks them for one thing after another.
The parent's side imports no torch. This room knows processes; it must not know what the ranks compute.
"""

from __future__ import annotations

from plait.launchers.carried import carry
from plait.launchers.hosts import HostRanks, end_where_python_would_wait, ranks_for, together
from plait.launchers.led import led
from plait.launchers.local import RankPool
from plait.launchers.pools import RankPools
from plait.launchers.rank import emit
from plait.launchers.starters import TRAINING_MODULES, FreshProcesses, Starter, Zygote, default_starter
from plait.launchers.torchrun import Place, place
from plait.launchers.world import World

__all__ = [
    "TRAINING_MODULES",
    "FreshProcesses",
    "HostRanks",
    "Place",
    "RankPool",
    "RankPools",
    "Starter",
    "World",
    "Zygote",
    "carry",
    "default_starter",
    "emit",
    "end_where_python_would_wait",
    "led",
    "place",
    "ranks_for",
    "together",
]
