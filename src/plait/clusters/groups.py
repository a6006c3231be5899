"""Plans for unequal machines: layers by speed and memory where stages stand on groups, shares of the batch where
replicas do.

    stages      group 0 │ s0: 12 │ s1: 12 │ s2: 4 │ group 1    a pipeline through all groups: the slow have fewer layers
    replicas    group 0 │ 5 rows │ 5 rows │ 2 rows │ group 1   one stage: the slow have fewer sequences of a batch

Ranks are numbered group by group, and the pipeline's axis is the outermost: so a stage whose ranks are of one group has
that group's speed, memory and links. Stages that several groups would share have no price, and are left out; so are
context and expert axes. Even cuts are priced as well, and are what the uneven ones have to beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

import numpy as np

from plait.clusters.played import held_at
from plait.clusters.rules import legal
from plait.clusters.search import Found, order
from plait.clusters.tasks import GROUP_SCHEDULES
from plait.clusters.unequal import Bench, groups_of_stages, seconds_of_replicas
from plait.errors import IllegalJob, PlaitError, UnusableInput
from plait.estimates.arrangements import Arrangements, Column
from plait.estimates.estimate import DARING, RISK
from plait.estimates.step import floors
from plait.estimates.task import Task
from plait.planner.balance import dealt_blocks
from plait.plans.arrangements import divisors, even_stages, fixed_list, microbatch_sizes, scarcest
from plait.plans.legality import problems
from plait.plans.plan import Plan
from plait.specs.job import Job, fixed_degree
from plait.specs.training import PRECISIONS

__all__ = ["found_on_groups"]

_CORES = 48  # that are looked at in detail
_CUTS = 2  # by speed, and evenly
_PLACES = 36
_KEPT = ("bucket_bytes", "gradient_precision", "offload", "tensor_shares")  # as the job fixes them, never otherwise


@dataclass(frozen=True, kw_only=True)
class _Core:
    """What decides how much each rank works. `spread`: stages of each group; none where replicas stand on them."""

    data: int
    tensor: int
    microbatch: int
    sequence_parallel: bool
    recompute: str
    spread: tuple[int, ...]

    @property
    def pipeline(self) -> int:
        return sum(self.spread) or 1


def found_on_groups(job: Job, tasks: Sequence[Task]) -> Found:
    """The best plans of a legal job on unequal machines: those of the shapes that would be fastest if all devices were
    always busy, in detail. Raises UnusableInput where the job fixes what has no price there, IllegalJob where no plan
    is legal.
    """
    cores = list(_cores(job, tasks))
    if not cores:
        sizes = ", ".join(str(task.machines.ranks) for task in tasks)
        raise UnusableInput(
            f"no plan that the job leaves open has stages or replicas of one group each, and others have no price; the "
            f"groups have {sizes} devices: pipeline = 1, or data × tensor a divisor of each of these, would have one"
        )
    able = _able(job, cores)
    if not able:
        raise IllegalJob(problems(job))
    in_order = np.argsort(_bounds(job, able, tasks), kind="stable")
    first = [able[int(place)] for place in in_order[:_CORES]]
    bench = Bench(tasks)
    plans = list(dict.fromkeys(plan for core in first for plan in _plans(job, core, bench)))
    done = [bench.played(plan) for plan in plans]
    fits = sorted((one for one in done if one.risk <= RISK), key=order)
    daring = sorted((one for one in done if RISK < one.risk <= DARING), key=order)
    considered, allowed, priced = (_count(job, some) for some in (cores, able, first))
    return Found(
        plans=tuple(fits or daring)[:_PLACES],
        considered=considered,
        legal=allowed,
        unfit=len(done) - len(fits) - len(daring),
        unpriced=allowed - priced,
        daring=not fits and bool(daring),
        nearest=None if fits or daring else min(done, key=lambda one: one.fill),
    )


def _count(job: Job, cores: Sequence[_Core]) -> int:
    """Of their plans."""
    return sum(len(_variants(job, core)) * _CUTS for core in cores)


# ---- the space ------------------------------------------------------------------------------------------------------


def _cores(job: Job, tasks: Sequence[Task]) -> Iterator[_Core]:
    fixed, units = job.constraints, scarcest(job)[1]
    sizes = [task.machines.ranks for task in tasks]
    wanted = {axis: fixed_degree(fixed, axis) for axis in ("data", "tensor", "pipeline")}
    for tensor in divisors(int(np.gcd.reduce(sizes))):
        if tensor > units or (job.model.heads % tensor and "tensor" not in fixed):
            continue
        for data, spread in _meshes(sizes, tensor):
            core = {"data": data, "tensor": tensor, "pipeline": sum(spread) or 1}
            if any(wanted[axis] not in (None, core[axis]) for axis in wanted) or core["pipeline"] > job.model.layers:
                continue
            yield from _sized(job, data, tensor, spread)


def _meshes(sizes: Sequence[int], tensor: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(data, stages of each group): replicas on all groups, or as many on each stage as divide every group."""
    yield sum(sizes) // tensor, ()
    for data in divisors(int(np.gcd.reduce([size // tensor for size in sizes]))):
        yield data, tuple(size // tensor // data for size in sizes)


def _sized(job: Job, data: int, tensor: int, spread: tuple[int, ...]) -> Iterator[_Core]:
    fixed, batch = job.constraints, job.training.global_batch
    if data > batch:
        return
    rows = -(-batch // data)
    sizes = [size for size in microbatch_sizes(rows if spread else batch) if size <= rows]
    split = (
        [cast("bool", fixed["sequence_parallel"])]
        if "sequence_parallel" in fixed
        else [False, True][: 1 + (tensor > 1)]
    )
    again = [str(fixed["recompute"])] if "recompute" in fixed else ["none", "selective", "full"]
    for size, parallel, one in product(
        [cast("int", fixed.get("microbatch"))] if "microbatch" in fixed else sizes, split, again
    ):
        yield _Core(data=data, tensor=tensor, microbatch=size, sequence_parallel=parallel, recompute=one, spread=spread)


def _able(job: Job, cores: Sequence[_Core]) -> list[_Core]:
    """Those of legal plans."""
    return [core for core, allowed in zip(cores, legal(job, _rows(job, cores)), strict=True) if allowed]


def _rows(job: Job, cores: Sequence[_Core], **keys: int) -> Arrangements:
    return Arrangements.of_plans([_plan(core, stages=(job.model.layers,), **keys) for core in cores])


def _bounds(job: Job, cores: Sequence[_Core], tasks: Sequence[Task]) -> Column:
    """About what each step takes if devices only wait for a pipeline to fill: the groups' speeds together."""
    rows = _rows(job, cores, pipeline=1)
    speed = np.zeros(len(cores))
    for group, task in enumerate(tasks):
        stages = [
            core.spread[group] if core.spread else task.machines.ranks / core.tensor / core.data for core in cores
        ]
        speed += np.array(stages) / floors(task, rows)
    rounds = rows.microbatches(tasks[0].global_batch)
    return (1 + (np.array([core.pipeline for core in cores]) - 1) / rounds) / speed


def _plan(core: _Core, **keys: Any) -> Plan:
    every: dict[str, Any] = {
        "data": core.data, "tensor": core.tensor, "pipeline": core.pipeline, "microbatch": core.microbatch,
        "sequence_parallel": core.sequence_parallel, "recompute": core.recompute,
        "tensor_shares": (1,) * core.tensor, "data_shares": (1,) * core.data, **keys,
    }  # fmt: skip
    return Plan(**every)


def _variants(job: Job, core: _Core) -> list[tuple[int, str]]:
    """(ZeRO level, schedule) of a core's plans."""
    fixed = job.constraints
    levels = (cast("int", fixed["zero"]),) if "zero" in fixed else tuple(range(4)) if core.data > 1 else (0,)
    kinds = (str(fixed["schedule"]),) if "schedule" in fixed else GROUP_SCHEDULES if core.pipeline > 1 else ("1f1b",)
    return list(product(levels, kinds))


def _plans(job: Job, core: _Core, bench: Bench) -> Iterator[Plan]:
    """The core's plans: every schedule and ZeRO level, cut by speed and cut evenly."""
    fixed = job.constraints
    for level, kind in _variants(job, core):
        base = _plan(
            core, zero=level, schedule=kind, stages=even_stages(job.model.layers, core.pipeline),
            gradient_precision=PRECISIONS[job.training.precision].reduce,
        )  # fmt: skip
        base = replace(base, **{key: fixed[key] for key in _KEPT if key in fixed})
        yield from _cut(job, base, bench)


def _cut(job: Job, base: Plan, bench: Bench) -> Iterator[Plan]:
    if stages := fixed_list(job, "stages"):
        base = replace(base, stages=cast("tuple[int, ...]", stages))
    if shares := fixed_list(job, "data_shares"):
        base = replace(base, data_shares=shares)
    yield base
    try:
        if base.pipeline == 1 and not shares and len(set(dealt := _by_speed(base, bench))) > 1:
            yield replace(base, data_shares=dealt)  # equal ones are the even cut's
        if base.pipeline > 1 and not stages:
            yield replace(base, stages=_by_cost(base, bench))
    except PlaitError:  # no room for all layers, or fewer microbatches than replicas: the even cut alone is left
        return


def _by_speed(plan: Plan, bench: Bench) -> tuple[int, ...]:
    """Whole microbatches dealt to replicas so that the last one ends as early as can be; as sequences."""
    count, left = divmod(bench.tasks[0].global_batch, plan.microbatch)
    if left:
        raise PlaitError("a batch that is no whole number of microbatches is dealt evenly")
    seconds = seconds_of_replicas(plan, bench.tasks, bench.layers(plan))
    dealt = dealt_blocks(count, seconds, beside=[0.0] * len(seconds))
    return tuple(size * plan.microbatch for size in dealt)


def _by_cost(plan: Plan, bench: Bench) -> tuple[int, ...]:
    """Layers of each stage by its group's speed, no more than its memory has room for."""
    tasks, layers = bench.tasks, bench.layers(plan)
    groups = groups_of_stages(plan, tasks)
    beside = [0.0] * plan.pipeline
    beside[0] += layers[groups[0]].embedding.seconds
    beside[-1] += layers[groups[-1]].head.seconds
    mean = [sum(block.seconds for block in one.blocks) / len(one.blocks) for one in layers]
    paces, count = [mean[group] for group in groups], sum(plan.stages)
    sizes = dealt_blocks(count, paces, beside=beside)
    if all(held_at(plan, tasks[groups[at]], at, size).risk <= RISK for at, size in enumerate(sizes)):
        return sizes
    room = [_room(plan, tasks[group], place) for place, group in enumerate(groups)]
    return dealt_blocks(count, paces, beside=beside, most=room)


def _room(plan: Plan, task: Task, place: int) -> int:
    """How many blocks fit on a stage."""
    low, high = 0, sum(plan.stages)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if held_at(plan, task, place, middle).risk <= RISK else (low, middle - 1)
    return low
