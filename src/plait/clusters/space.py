"""The space of plans on equal machines, as columns: every value of what a job leaves open, with every other.

    cores      data × tensor × context × pipeline = ranks, each with its experts, stages a rank, microbatch,
               sequence_parallel, recompute                                      what decides the busiest rank's work
    variants   a core's schedules × its ZeRO levels                              what only adds to it

What the job fixes is kept, to the letter. Left out is what can't win: pieces of a sequence below 256 tokens; and heads
dealt unevenly, which have no price. `rules` says which of the rest are legal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from plait.clusters.rules import legal
from plait.estimates.arrangements import RECOMPUTE, SCHEDULES, Arrangements, Flags, Numbers
from plait.plans.arrangements import divisors, fixed_list, microbatch_sizes
from plait.specs.job import Job, fixed_degree

__all__ = ["Space", "space_of"]

_LEAST_TOKENS = 256  # of a sequence's piece
_STAGES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)  # of a rank
_ONE, _SEVERAL = ("1f1b", "gpipe", "zb-h1"), ("interleaved", "zb-v")
_LEVELS = 4


@dataclass(frozen=True, kw_only=True)
class Space:
    """All plans that are looked at. `cores` have no schedule yet, and are not sharded; all of them are legal.
    `considered` plans were looked at, legal or not, and `legal` of them are."""

    job: Job
    cores: Arrangements
    considered: int
    legal: int

    def plans(self, cores: Arrangements) -> Arrangements:
        """The legal plans that are variants of these cores."""
        expanded, kept = _variants(self.job, cores)
        return expanded.rows(np.flatnonzero(kept))


def space_of(job: Job) -> Space:
    """The space of a legal job on equal machines."""
    shapes = _shapes(job)
    least = _with(shapes, np.array([[1, 0, 0]]))  # of what is left open: legal if any of them is
    coarse = _arranged(least, _offloads(job))
    cores = _cores(job, shapes[legal(job, coarse) & _wanted(job, coarse)])
    counts = _counts(job, cores)
    able = legal(job, cores) & _wanted(job, cores)
    return Space(
        job=job,
        cores=cores.rows(np.flatnonzero(able & (counts > 0))),
        considered=int((_counts(job, coarse) * _refinements(job, shapes)).sum()),
        legal=int(counts[able].sum()),
    )


def _shapes(job: Job) -> Numbers:
    """(data, tensor, pipeline, context, expert, stages a rank) of every arrangement of the job's ranks."""
    fixed = job.constraints
    experts = 1 if job.model.experts is None else job.model.experts.count
    meshes = np.array(list(_meshes(job, job.cluster.ranks)), dtype=np.int64).reshape(-1, 4)
    shapes = _with(meshes, _column(_values(fixed.get("expert"), divisors(experts))))
    shapes = _with(shapes, _column(_values(fixed.get("virtual_stages"), _STAGES)))
    several = fixed.get("schedule") in _SEVERAL or "virtual_stages" in fixed  # of one rank too, if the job says so
    return shapes[(shapes[:, 2] > 1) | (shapes[:, 5] == 1) | several]


def _refined(job: Job, data: int, tensor: int) -> Numbers:
    """(microbatch, sequence_parallel, recompute) that are open to a shape."""
    fixed = job.constraints
    both = _values(fixed.get("sequence_parallel"), (False, True) if tensor > 1 else (False,))
    again = [RECOMPUTE.index(str(one)) for one in _values(fixed.get("recompute"), RECOMPUTE)]
    table = _with(_microbatches(job, data), _column(both))
    return _with(table, _column(again))


def _refinements(job: Job, shapes: Numbers) -> Numbers:
    """How many of them are open to each shape."""
    pairs, which = np.unique(shapes[:, :2], axis=0, return_inverse=True)
    return np.array([len(_refined(job, int(data), int(tensor))) for data, tensor in pairs])[which.reshape(-1)]


def _cores(job: Job, shapes: Numbers) -> Arrangements:
    """Those shapes with every open key but schedule and ZeRO."""
    pairs, which = np.unique(shapes[:, :2], axis=0, return_inverse=True)
    each = [shapes[which.reshape(-1) == place] for place in range(len(pairs))]
    tables = [_with(rows, _refined(job, int(rows[0, 0]), int(rows[0, 1]))) for rows in each]
    return _arranged(np.concatenate([np.empty((0, 9), dtype=np.int64), *tables]), _offloads(job))


def _offloads(job: Job) -> bool:
    return job.constraints.get("offload", "none") != "none"


def _arranged(table: Numbers, offloads: bool) -> Arrangements:
    """Its rows, without a schedule and not sharded. Offload is tried where the job asks for it, as on this machine."""
    nothing = np.zeros(len(table), dtype=np.int64)
    return Arrangements(
        data=table[:, 0], tensor=table[:, 1], pipeline=table[:, 2], context=table[:, 3], expert=table[:, 4],
        virtual_stages=table[:, 5], microbatch=table[:, 6], sequence_parallel=table[:, 7] > 0, recompute=table[:, 8],
        schedule=nothing, zero=nothing, offload=np.full(len(table), offloads),
    )  # fmt: skip


def _meshes(job: Job, ranks: int) -> Iterator[tuple[int, int, int, int]]:
    """(data, tensor, pipeline, context) whose product is the ranks, as far as the job leaves them open."""
    wanted = {axis: fixed_degree(job.constraints, axis) for axis in ("data", "tensor", "pipeline")}
    wanted["context"] = cast("int | None", job.constraints.get("context"))
    if "pipeline" not in job.constraints and fixed_list(job, "stages"):
        wanted["pipeline"] = None  # as many stages, on fewer ranks where these have several
    for tensor in divisors(ranks):
        for pipeline in divisors(ranks // tensor):
            for context in divisors(ranks // tensor // pipeline):
                found = {"data": ranks // tensor // pipeline // context}
                found |= {"tensor": tensor, "pipeline": pipeline, "context": context}
                if all(wanted[axis] in (None, found[axis]) for axis in found):
                    yield found["data"], tensor, pipeline, context


def _values(fixed: Any, otherwise: tuple[Any, ...]) -> tuple[Any, ...]:
    return otherwise if fixed is None else (fixed,)


def _column(values: Sequence[Any]) -> Numbers:
    return np.array(values, dtype=np.int64).reshape(-1, 1)


def _with(rows: Numbers, others: Numbers) -> Numbers:
    """Every row with every other, as more columns."""
    return np.hstack([np.repeat(rows, len(others), axis=0), np.tile(others, (len(rows), 1))])


def _microbatches(job: Job, data: int) -> Numbers:
    rows = -(-job.training.global_batch // data)
    return _column(_values(job.constraints.get("microbatch"), microbatch_sizes(rows)))


def _wanted(job: Job, cores: Arrangements) -> Flags:
    """What can be priced and may win; what the job fixes is never left out for the second."""
    fixed, sequence = job.constraints, job.training.sequence_length
    kept = (job.model.heads % cores.tensor == 0) | ("tensor" in fixed)
    whole = (sequence % cores.context == 0) & (sequence // cores.context >= _LEAST_TOKENS)
    kept &= (cores.context == 1) | whole | ("context" in fixed)
    stages = fixed_list(job, "stages")
    return kept & (cores.pipeline * cores.virtual_stages == len(stages)) if stages else kept


def _choices(job: Job, cores: Arrangements) -> Iterator[tuple[int, int, Flags]]:
    """(schedule, ZeRO level, which cores have it), for each that the job leaves open."""
    fixed, v = job.constraints, cores.virtual_stages
    for name in _values(fixed.get("schedule"), (*_ONE, *_SEVERAL)):
        if name in _ONE:
            runs = (v == 1) & ((cores.pipeline > 1) | (name == "1f1b") | ("schedule" in fixed))
        else:
            runs = (v == 2 if name == "zb-v" else v > 1) & ((cores.pipeline > 1) | ("schedule" in fixed))
        for level in _values(fixed.get("zero"), tuple(range(_LEVELS))):
            yield SCHEDULES.index(name), level, runs & ((cores.data > 1) | (level == 0) | ("zero" in fixed))


def _counts(job: Job, cores: Arrangements) -> Numbers:
    counts = np.zeros(len(cores), dtype=np.int64)
    for _, _, runs in _choices(job, cores):
        counts += runs
    return counts


def _variants(job: Job, cores: Arrangements) -> tuple[Arrangements, Flags]:
    """Every core with every schedule and level, and which of these there are."""
    found = list(_choices(job, cores))
    every = cores.rows(np.tile(np.arange(len(cores)), len(found)))
    schedule = np.repeat(np.array([one[0] for one in found]), len(cores))
    zero = np.repeat(np.array([one[1] for one in found]), len(cores))
    return replace(every, schedule=schedule, zero=zero), np.concatenate([one[2] for one in found])
