"""Is the parallel run the same model as one device? The whole of it, from a job and a plan to the verdict.

    narrow the job ──► references in one process ──► the plan on its ranks ──► rows ──► culprit, with its axis
                                                                          └──► work beside the plan's

`verify_plan` proves a job, `verify_module` a module of the user's. It imports no torch: what computes does so on ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError
from safetensors.numpy import save_file

from plait.errors import UnusableInput
from plait.launchers import RankPools
from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.plans.plan import Plan
from plait.plans.prediction import Work
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.compare import largest, largest_difference
from plait.verification.culprit import Culprit, blamed_axis, first_departing, layer_of, lightened_axis
from plait.verification.effort import Departure, departures
from plait.verification.evidence import Row
from plait.verification.lossy import at_once, is_restored
from plait.verification.narrow import Subject, changes, narrow
from plait.verification.on_hosts import standing
from plait.verification.report import Verification
from plait.verification.trace import PRECISIONS, Precision, Trace
from plait.verification.trial import RunOnRanks, Trial, heard, references, with_biting_clip
from plait.verification.verdict import VERDICTS, Verdict, worst

if TYPE_CHECKING:
    from plait.verification.source import Experiment

__all__ = ["PATIENCE", "WorkOfRanks", "verify_module", "verify_plan"]

PATIENCE = 120.0  # seconds: nobody hears from a rank while it takes its steps
_NARROWED_OF_MODULES = {"training": ("clip_norm", "warmup_steps"), "plan": ("local_steps",)}

WorkOfRanks = Callable[[ModelSpec, TrainingSpec, Plan], Sequence[Work]]


def verify_plan(
    job: Job,
    plan: Plan,
    *,
    ranks: int = 8,
    dump: str | PathLike[str] | None = None,
    run: RunOnRanks | None = None,
    work_of: WorkOfRanks | None = None,
    witness: bool = False,
    hosts: tuple[tuple[int, ...], ...] = (),
) -> Verification:
    """Prove `plan` for `job` on at most `ranks` processes of this machine.

    `dump`: a directory for both sides' gradients. `run(n, function, *args)` performs on n ranks; left out, on pools of
    its own. `work_of`: what each rank of a plan is to do, laid beside what it did; left out, that is not compared.
    `witness`: lay the reference itself beside transformers' module on the same weights. `hosts`: the ranks of each
    host, where `run` reaches several.
    Raises RankFailure where a rank raises, dies or hangs, UnusableInput where the dump can't be written, or where
    there is no such witness.
    """
    start = perf_counter()
    _require_place(dump)
    if witness and find_spec("transformers") is None:
        raise UnusableInput(
            "transformers is not installed here, so that it can be no witness: pip install transformers"
        )
    with _running(run) as running:
        subject = with_biting_clip(narrow(job.model, job.training, plan, ranks), running)
        precise = replace(subject.training, precision="fp32")
        trial = Trial(
            asked=subject,
            layers=describe_gpt(subject.model),
            references=references(subject, running),
            planned=None if work_of is None else partial(work_of, subject.model, precise),
            run=running,
        )
        findings = _findings(trial)
        told = tuple(heard(subject, running)) if witness else ()
    _dump(dump, findings)
    kept, narrowed = changes(Subject(model=job.model, training=job.training, plan=plan), subject)
    found = _with_witness(_told(findings, kept, narrowed, start), told, describe_gpt(subject.model))
    return replace(found, standing=standing(subject.plan, hosts) if hosts else None)


def verify_module(
    experiment: Experiment, *, dump: str | PathLike[str] | None = None, run: RunOnRanks | None = None
) -> Verification:
    """Prove an experiment whose model and batch are the user's, on as many processes as its plan has ranks.

    Raises as `verify_plan` does, and what building the model raises.
    """
    start = perf_counter()
    _require_place(dump)
    layers = experiment.source.layers
    with _running(run) as running:
        own, together = at_once(experiment.training, experiment.plan)
        asked = with_biting_clip(replace(experiment, training=own, plan=together), running)
        trial = Trial(asked=asked, layers=layers, references=references(asked, running), planned=None, run=running)
        findings = _findings(trial)
    _dump(dump, findings)
    narrowed = {
        f"{table}.{key}": {"job": was, "verified": now}
        for table, keys in _NARROWED_OF_MODULES.items()
        for key in keys
        if (was := getattr(getattr(experiment, table), key)) != (now := getattr(getattr(asked, table), key))
    }
    kept = {f"plan.{key}": value for key, value in vars(experiment.plan).items() if f"plan.{key}" not in narrowed}
    return _told(findings, kept, narrowed, start)


@contextmanager
def _running(run: RunOnRanks | None) -> Iterator[RunOnRanks]:
    """The caller's ranks, or pools of our own, ended with the block."""
    if run is not None:
        yield run
    else:
        with RankPools(timeout=PATIENCE) as pools:
            yield pools.run


# ---- what follows from the runs -----------------------------------------------------------------------------------


class _Sides(NamedTuple):
    """Both sides' whole tensors in one precision."""

    reference: Trace
    parallel: Trace


@dataclass(frozen=True, kw_only=True)
class _Findings:
    """All that there is to tell of a proof, but for what it was made smaller by."""

    rows: list[Row]
    departures: tuple[Departure, ...]
    culprit: Culprit | None
    sides: Mapping[Precision, _Sides]
    free: Mapping[Precision, _Sides]
    pinned: frozenset[str]


def _findings(trial: Trial) -> _Findings:
    plan = trial.asked.plan
    evidence, efforts = trial.evidence(plan)
    found, departing = trial.judged(plan, evidence), departures(efforts)
    plain = {precision: runs.plain for precision, runs in trial.references.items()}
    return _Findings(
        rows=found,
        departures=departing,
        culprit=_culprit(found, departing, trial),
        sides={p: _Sides(plain[p], evidence[p].whole) for p in PRECISIONS},
        free={p: _Sides(plain[p], evidence[p].free_whole) for p in PRECISIONS},
        pinned=trial.references["fp64"].pinned,
    )


def _told(findings: _Findings, kept: Mapping[str, Any], narrowed: Mapping[str, Any], start: float) -> Verification:
    found: Verdict = worst(row.verdict for row in findings.rows)
    return Verification(
        verdict="BUG" if findings.departures else found,
        tensors=tuple(sorted(findings.rows, key=_worst_first)),
        departures=findings.departures,
        culprit=findings.culprit,
        kept=kept,
        narrowed=narrowed,
        drift={p: _drift(findings.free[p]) for p in PRECISIONS},
        losses=_losses(findings.free["fp32"]),
        seconds=perf_counter() - start,
        pinned=tuple(sorted(findings.pinned)),
    )


def _with_witness(proof: Verification, told: tuple[Row, ...], layers: Sequence[Layer]) -> Verification:
    """A reference that isn't the published model proves nothing, however equal the two sides are."""
    row = first_departing(told, layers)
    if row is None or row.verdict != "BUG" or proof.verdict == "BUG":
        return replace(proof, witness=told)
    culprit = Culprit(tensor=row.name, layer=layer_of(row.entry, layers), axis=None)
    return replace(proof, witness=told, verdict="BUG", culprit=culprit)


def _culprit(found: list[Row], departing: Sequence[Departure], trial: Trial) -> Culprit | None:
    row, plan = first_departing(found, trial.layers), trial.asked.plan
    if departing and (row is None or row.verdict != "BUG"):
        first = departing[0]
        axis = first.axis or lightened_axis(plan, trial.lightens)
        return Culprit(tensor=first.what, layer=first.layer, axis=axis)
    if row is None:
        return None
    axis = blamed_axis(row, plan, trial.cures) if row.denies else None
    return Culprit(tensor=row.name, layer=layer_of(row.entry, trial.layers), axis=axis)


def _worst_first(row: Row) -> tuple[int, float]:
    return -VERDICTS.index(row.verdict), -row.error_eps


def _drift(sides: _Sides) -> float:
    """The largest relative distance of any weight after the last step."""
    reference, free = sides
    last = max(entry.step for entry in reference)
    weights = [entry for entry in reference if entry.kind == "weight" and entry.step == last and entry in free]
    apart = (largest_difference(reference[e], free[e]) / (largest(reference[e]) or 1.0) for e in weights)
    return max(apart, default=0.0)


def _losses(sides: _Sides) -> tuple[tuple[float, float], ...]:
    entries = sorted(entry for entry in sides.reference if entry.kind == "loss" and not entry.evaluated)
    return tuple((float(sides.reference[e]), float(sides.parallel[e])) for e in entries if e in sides.parallel)


def _require_place(directory: str | PathLike[str] | None) -> None:
    """Raises UnusableInput where a dump can't be written, before anything is proven."""
    if directory is None:
        return
    if not str(directory):
        raise UnusableInput("the dump needs a directory, and its name is empty")
    place = Path(directory)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place):
            pass
        for name in _Sides._fields:
            if (place / f"{name}.safetensors").is_dir():
                raise IsADirectoryError(f"{name}.safetensors is a directory")
    except OSError as error:
        raise UnusableInput(f"{place}: the gradients can't be written: {error}") from error


def _dump(directory: str | PathLike[str] | None, findings: _Findings) -> None:
    """Both sides' whole gradients, before clipping: `step{n}/{precision}/{weight name}`."""
    if directory is None:
        return
    place = Path(directory)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name in _Sides._fields:
            gradients = {
                f"step{entry.step}/{precision}/{entry.name}": array
                for precision, traces in findings.sides.items()
                for entry, array in getattr(traces, name).items()
                if entry.kind == "gradient" and not is_restored(entry)
            }
            save_file(gradients, place / f"{name}.safetensors")
    except (OSError, SafetensorError) as error:  # the second is what the library makes of a full disk
        raise UnusableInput(f"{place}: the gradients can't be written: {error}") from error
