"""How near is splitting one model over two ranks to the best there can be? The peers' job, in turn with its limit.

    python benchmarks/splitting_limits.py --size tiny --rounds 9 --steps 20
    python benchmarks/splitting_limits.py --size main --rounds 3 --steps 2

    two threads   one process, its products on both cores: the limit for tensor parallelism
    one thread    one process on one core
    tp2, pp2      two processes of one thread each

Each keeps its processes, which wait while the others work. A figure is the median over all steps of the slower rank.
Below the table what the planner says of the same plans, from what `plait profile` has measured of this machine.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from time import perf_counter

from beside_peers import stages
from peer_job import PeerJob, common, spec_of, training_of
from step_table import options, tell

from plait.launchers import RankPool
from plait.planner.prices import JobPrices
from plait.planner.simulator import predict
from plait.plans.plan import Plan
from plait.specs.measurement_files import default_path, read_measurements

__all__ = ["steps_of_rank"]

_WARM_UP = 2
_PATIENCE = 600.0
_kept: dict[str, PeerJob] = {}  # on a rank: its job, built once


def steps_of_rank(size: str, plan: Plan, steps: int) -> list[float]:
    """Every step's seconds on the rank that calls it; the first call builds the job and warms up."""
    if size not in _kept:
        _kept[size] = PeerJob(size, plan)
        for number in range(_WARM_UP):
            _kept[size].step(number)
    found: list[float] = []
    for number in range(steps):
        start = perf_counter()
        _kept[size].step(number)
        found.append(perf_counter() - start)
    return found


def systems(size: str) -> dict[str, tuple[Plan, int]]:
    """The plan and the threads of each rank, by name."""
    c = common.cfg_of(size)
    whole = Plan(stages=(c.layers,), microbatch=c.batch)
    return {
        "two threads": (whole, 2),
        "one thread": (whole, 1),
        "tp2": (Plan(tensor=2, stages=(c.layers,), microbatch=c.batch, tensor_shares=(1, 1)), 1),
        "pp2": (Plan(pipeline=2, stages=stages(c), microbatch=max(1, c.batch // 8)), 1),
    }


def main() -> None:
    """Run, print a table, keep the raw figures."""
    given = options(__doc__)
    known = systems(given.size)
    seconds: dict[str, list[float]] = {name: [] for name in known}
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(RankPool(plan.ranks, threads=threads, timeout=_PATIENCE))
            for name, (plan, threads) in known.items()
        }
        for _ in range(given.rounds):
            for name, (plan, _) in known.items():
                ranks = pools[name].run(steps_of_rank, given.size, plan, given.steps)
                seconds[name] += [max(one) for one in zip(*ranks, strict=True)]
    tell(given.size, seconds, ("two threads", "one thread"), given.out)
    prices = JobPrices(spec_of(given.size), training_of(given.size), read_measurements(default_path()))
    for name in ("one thread", "tp2", "pp2"):
        predicted, measured = predict(known[name][0], prices).step_seconds, median(seconds[name])
        print(f"{name}: predicted {1e3 * predicted:.1f} ms, measured / predicted = {measured / predicted:.3f}")


if __name__ == "__main__":
    main()
