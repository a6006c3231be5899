"""Getting ranks started: once, for training, verification, serving and the tests alike.

    parent ──asks──> zygote: torch imported, one thread, nothing ever computed
      │                 │ fork                                    (or: fresh processes)
      │<═ socketpair ═> rank 0 ─┐
      │<═ socketpair ═> rank 1 ─┼─ torch.distributed, alive from task to task
      │<═ socketpair ═> rank 2 ─┘

A `RankPool` runs a function on every rank and gives back the results by rank; a rank that raises, dies or falls
silent ends them all and is named. The parent's side imports no torch. This room knows processes; it must not know
what the ranks compute.
"""

from __future__ import annotations

from plait.launchers.carried import carry
from plait.launchers.local import RankPool
from plait.launchers.pools import RankPools
from plait.launchers.rank import emit
from plait.launchers.starters import TRAINING_MODULES, FreshProcesses, Starter, Zygote, default_starter

__all__ = [
    "TRAINING_MODULES",
    "FreshProcesses",
    "RankPool",
    "RankPools",
    "Starter",
    "Zygote",
    "carry",
    "default_starter",
    "emit",
]
