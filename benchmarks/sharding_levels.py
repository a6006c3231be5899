"""What do gradients' sums cost, and what does ZeRO cost? The peers' job on two ranks, every level in turn.

    python benchmarks/sharding_levels.py --size tiny --rounds 9 --steps 20
    python benchmarks/sharding_levels.py --size main --rounds 3 --steps 3

    alone     two processes at once, each with half of the batch, that say nothing to each other: the limit
    dp2       the same with their gradients summed
    zero 1-3  the same with states shared out

Systems take turns, `steps` steps each, all in the same two processes; a figure is the median over all steps of the
slower rank, and its ratio to `alone` and to `dp2`. Every step's seconds go to --out, if one is given.
"""

from __future__ import annotations

import torch.distributed as dist
from peer_job import PeerJob, common
from step_table import in_turns, options, slower_rank, tell

from plait.collectives.process_groups import Group, Mesh, build_mesh
from plait.launchers import RankPool
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES, MeshShape

__all__ = ["steps_of_systems"]

LEVELS = {"dp2": 0, "zero 1": 1, "zero 2": 2, "zero 3": 3}
_PATIENCE = 600.0


def steps_of_systems(size: str, rounds: int, steps: int) -> dict[str, list[float]]:
    """On each of two ranks: every step's seconds, by system."""
    c = common.cfg_of(size)
    plan = Plan(data=2, stages=(c.layers,), microbatch=c.batch // 2, data_shares=(1, 1))
    rank = dist.get_rank()
    alone = Mesh(shape=MeshShape(), rank=0, axes={axis: Group(axis=axis, ranks=(rank,), index=0) for axis in AXES})
    single = Plan(stages=(c.layers,), microbatch=c.batch // 2)
    jobs = {"alone": PeerJob(size, single, alone, rows=(rank * c.batch // 2, (rank + 1) * c.batch // 2))}
    for name, level in LEVELS.items():
        leveled = Plan(**{**vars(plan), "zero": level})
        jobs[name] = PeerJob(size, leveled, build_mesh(leveled.mesh))
    return in_turns(jobs, rounds, steps)


def main() -> None:
    """Run, print a table, keep the raw figures."""
    given = options(__doc__)
    with RankPool(2, timeout=_PATIENCE) as pool:
        ranks = pool.run(steps_of_systems, given.size, given.rounds, given.steps)
    tell(given.size, slower_rank(ranks), ("alone", "dp2"), given.out)


if __name__ == "__main__":
    main()
