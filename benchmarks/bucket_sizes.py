"""Is the size of bucket that the planner chooses as fast as others? The peers' job on two ranks of this machine.

    python benchmarks/bucket_sizes.py --size tiny --rounds 9 --steps 20
    python benchmarks/bucket_sizes.py --size main --rounds 3 --steps 2

`chosen` is the planner's, from the measurements of this machine (`plait profile`); the others are fixed. Systems take
turns, `steps` steps each, all in the same two processes; a figure is the median over all steps of the slower rank, and
its ratio to `chosen`. Every step's seconds go to --out, if one is given.
"""

from __future__ import annotations

from dataclasses import replace

from peer_job import PeerJob, common, spec_of, training_of
from step_table import in_turns, options, slower_rank, tell

from plait.api import measured
from plait.collectives.process_groups import build_mesh
from plait.launchers import RankPool
from plait.planner.prices import JobPrices
from plait.plans.plan import Plan

__all__ = ["steps_of_sizes"]

_FIXED = {"1 MiB": 2**20, "25 MiB": 25 * 2**20, "one bucket": 2**40}
_PATIENCE = 600.0


def plan_of(size: str) -> Plan:
    """Two replicas of the peers' job, in buckets as the planner has them."""
    c = common.cfg_of(size)
    plan = Plan(data=2, stages=(c.layers,), microbatch=c.batch // 2, data_shares=(1, 1))
    return replace(plan, bucket_bytes=JobPrices(spec_of(size), training_of(size), measured()).bucket_bytes(plan))


def steps_of_sizes(size: str, plan: Plan, rounds: int, steps: int) -> dict[str, list[float]]:
    """On each of two ranks: every step's seconds, by size of bucket."""
    sizes = {"chosen": plan.bucket_bytes, **_FIXED}
    jobs = {
        name: PeerJob(size, replace(plan, bucket_bytes=many), build_mesh(plan.mesh)) for name, many in sizes.items()
    }
    return in_turns(jobs, rounds, steps)


def main() -> None:
    """Run, print a table, keep the raw figures."""
    given = options(__doc__)
    plan = plan_of(given.size)
    print(f"chosen: {plan.bucket_bytes:,} bytes")
    with RankPool(2, timeout=_PATIENCE) as pool:
        ranks = pool.run(steps_of_sizes, given.size, plan, given.rounds, given.steps)
    tell(given.size, slower_rank(ranks), ("chosen",), given.out)


if __name__ == "__main__":
    main()
