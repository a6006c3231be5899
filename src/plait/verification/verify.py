"""Is the parallel run the same model as one device? The whole of it, from a job and a plan to the verdict.

    narrow the job ──► references in one process     float64: plain twice, backwards, renumbered; float32: plain
                   ──► the plan on its ranks         each precision: from the reference's states, and free
                   ──► rows ──► culprit, and for it the plan again with one axis after the other at 1

It imports no torch: what computes does so on ranks, and arrays come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.numpy import save_file

from plait.errors import RankFailure, UnusableInput
from plait.launchers import RankPool, default_starter
from plait.layers.gpt import describe_gpt
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.verification.compare import assembled, largest, largest_difference
from plait.verification.culprit import Culprit, blamed_axis, first_departing, layer_of
from plait.verification.evidence import Evidence, References, Row, rows
from plait.verification.narrow import Subject, changes, narrow
from plait.verification.report import Verification
from plait.verification.tasks import Around, first_norm, judged_and_free, judged_only, share_of_references
from plait.verification.trace import PRECISIONS, Entry, Order, Precision, Trace
from plait.verification.verdict import VERDICTS, worst

__all__ = ["RunOnRanks", "verify_plan"]

RunOnRanks = Callable[..., list[Any]]

_PATIENCE = 120.0  # seconds: nobody hears from a rank while it takes its steps
_ORDERS: list[tuple[Precision, Order]] = [
    ("fp64", "plain"), ("fp64", "plain"), ("fp64", "backwards"), ("fp64", "renumbered"), ("fp32", "plain"),
]  # fmt: skip


def verify_plan(
    job: Job,
    plan: Plan,
    *,
    ranks: int = 8,
    dump: str | PathLike[str] | None = None,
    run: RunOnRanks | None = None,
    around: Around = nullcontext,
) -> Verification:
    """Prove `plan` for `job` on at most `ranks` processes of this machine.

    `dump`: a directory for both sides' gradients. `run(n, function, *args)` performs on n ranks; left out, on pools of
    its own. `around` (importable by the ranks) gives a context in which every parallel run happens.
    Raises RankFailure where a rank raises, dies or hangs, UnusableInput where the dump can't be written.
    """
    start = perf_counter()
    whole = Subject(model=job.model, training=job.training, plan=plan)
    with nullcontext(run) if run is not None else _own_pools() as running:
        subject = _with_biting_clip(narrow(job.model, job.training, plan, ranks), running)
        trial = _Trial(subject=subject, references=_references(subject, running), run=running, around=around)
        evidence = trial.evidence()
        found = rows(trial.references, evidence)
        culprit = _culprit(found, trial)
    plain = {precision: runs.plain for precision, runs in trial.references.items()}
    sides: dict[Precision, _Sides] = {p: _Sides(plain[p], assembled(evidence[p].judged)) for p in PRECISIONS}
    if dump is not None:
        _dump(Path(dump), sides)
    kept, narrowed = changes(whole, subject)
    return Verification(
        verdict=worst(row.verdict for row in found),
        tensors=tuple(sorted(found, key=_worst_first)),
        culprit=culprit,
        kept=kept,
        narrowed=narrowed,
        drift={p: _drift(plain[p], assembled(evidence[p].free)) for p in PRECISIONS},
        losses=_losses(sides["fp64"]),
        seconds=perf_counter() - start,
    )


@contextmanager
def _own_pools() -> Iterator[RunOnRanks]:
    """Ranks of our own: a pool for each size that is asked for, ended with the block."""
    with ExitStack() as stack:
        starter = default_starter()
        stack.callback(starter.close)
        pools: dict[int, RankPool] = {}

        def run(ranks: int, function: Callable[..., Any], *args: object) -> list[Any]:
            if ranks not in pools or not pools[ranks].alive:
                pools[ranks] = stack.enter_context(RankPool(ranks, starter=starter, timeout=_PATIENCE))
            return pools[ranks].run(function, *args)

        yield run


# ---- the runs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A narrowed job with its references, and the means to perform plans of it."""

    subject: Subject
    references: Mapping[Precision, References]
    run: RunOnRanks
    around: Around

    def evidence(self) -> dict[Precision, Evidence]:
        """The plan, each step from the reference's state; and as in training."""
        plan = self.subject.plan
        by_rank = self.run(plan.ranks, judged_and_free, self.subject, self._states(), self.around)
        return {
            p: Evidence(mesh=plan.mesh, judged=[rank[p][0] for rank in by_rank], free=[rank[p][1] for rank in by_rank])
            for p in PRECISIONS
        }

    def cures(self, plan: Plan) -> bool:
        """Whether nothing is wrong under another plan; one that can't even be run cures nothing."""
        try:
            by_rank = self.run(plan.ranks, judged_only, replace(self.subject, plan=plan), self._states(), self.around)
        except RankFailure:
            return False
        evidence: dict[Precision, Evidence] = {
            p: Evidence(mesh=plan.mesh, judged=[rank[p] for rank in by_rank]) for p in PRECISIONS
        }
        return all(row.verdict != "BUG" for row in rows(self.references, evidence))

    def _states(self) -> dict[Precision, Trace]:
        return {
            precision: {entry: array for entry, array in runs.plain.items() if entry.kind in ("weight", "optimizer")}
            for precision, runs in self.references.items()
        }


def _references(subject: Subject, run: RunOnRanks) -> dict[Precision, References]:
    shares = run(subject.plan.ranks, share_of_references, subject, _ORDERS)
    by_number = {number: trace for share in shares for number, trace in share.items()}
    plain, again, backwards, renumbered, single = (by_number[number] for number in range(len(_ORDERS)))
    return {
        "fp64": References(plain=plain, repeated=(again,), reordered=(backwards, renumbered)),
        "fp32": References(plain=single),
    }


def _with_biting_clip(subject: Subject, run: RunOnRanks) -> Subject:
    """The limit on the norm at half of the first step's, if it is higher: a clip that does nothing proves nothing."""
    limit = subject.training.clip_norm
    if limit <= 0:
        return subject
    norm = run(subject.plan.ranks, first_norm, subject)[0]
    if norm > limit or norm == 0:
        return subject
    return replace(subject, training=replace(subject.training, clip_norm=norm / 2))


# ---- what follows from them ---------------------------------------------------------------------------------------


class _Sides(NamedTuple):
    """Both sides' whole tensors in one precision."""

    reference: Trace
    parallel: Trace


def _culprit(found: list[Row], trial: _Trial) -> Culprit | None:
    layers = describe_gpt(trial.subject.model)
    row = first_departing(found, layers)
    if row is None:
        return None
    axis = blamed_axis(row, trial.subject.plan, trial.cures) if row.verdict == "BUG" else None
    return Culprit(tensor=row.name, layer=layer_of(row.entry, layers), axis=axis)


def _worst_first(row: Row) -> tuple[int, float]:
    return -VERDICTS.index(row.verdict), -row.error_eps


def _drift(reference: Trace, free: Trace) -> float:
    """The largest relative distance of any weight after the last step."""
    last = max(entry.step for entry in reference)
    weights = [entry for entry in reference if entry.kind == "weight" and entry.step == last and entry in free]
    return max(largest_difference(reference[e], free[e]) / (largest(reference[e]) or 1.0) for e in weights)


def _losses(sides: _Sides) -> tuple[float, float] | None:
    entry = Entry(1, "loss", "loss")
    return (float(sides.reference[entry]), float(sides.parallel[entry])) if entry in sides.parallel else None


def _dump(directory: Path, sides: Mapping[Precision, _Sides]) -> None:
    """Both sides' whole gradients, before clipping: `step{n}/{precision}/{weight name}`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in _Sides._fields:
            gradients = {
                f"step{entry.step}/{precision}/{entry.name}": array
                for precision, traces in sides.items()
                for entry, array in getattr(traces, name).items()
                if entry.kind == "gradient"
            }
            save_file(gradients, directory / f"{name}.safetensors")
    except (OSError, SafetensorError) as error:  # the second is what the library makes of a full disk
        raise UnusableInput(f"{directory}: the gradients can't be written: {error}") from error
