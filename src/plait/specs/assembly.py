"""From sifted tables to a job: a named model becomes its numbers, and what is left out gets its default.

    values   model      the named shape, then the keys, then the defaults ──┐
             data, training, cluster                                        ├──> Job
             plan       exactly as it was written ──────────────────────────┘

Where a key was refused or is missing, the job holds a stand-in and `unknown` its name, so that the rules that don't
need it can still be judged: a user reads all errors at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from plait.errors import Problem
from plait.specs.border import Sifted
from plait.specs.grids import with_grid
from plait.specs.inputs import tokenizer_problem, vocabulary
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.placing import placed
from plait.specs.shapes import Named, lacking, named_shape, plainest, unbuilt_shape, with_parts
from plait.specs.tables import known_keys, with_tuples
from plait.specs.training import DataSpec, TrainingSpec
from plait.specs.wording import shown

__all__ = ["Assembled", "assemble"]

_REQUIRED = ("layers", "hidden", "heads")
_STAND_IN = 1
_Keys = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """`unknown`: the keys that `job` holds stand-ins for, and `cluster.ranks` where the user left it to us. `left_out`:
    keys of `[training]` that nobody wrote, so that they have their default."""

    job: Job
    problems: tuple[Problem, ...]
    unknown: frozenset[str]
    left_out: frozenset[str] = frozenset()


def assemble(sifted: Sifted) -> Assembled:
    """The job that sifted tables describe, as far as they do."""
    values, refused = sifted.values, sifted.refused
    data = DataSpec(**with_tuples(values.get("data", {})))
    training = _training(values.get("training", {}))
    named = named_shape(values.get("model", {}), training.sequence_length, here=sifted.here)
    problems = [*_missing(values.get("model"), named, refused), *_unread(data)]
    unknown = {key for name in (*refused, *(problem.key for problem in problems)) for key in _keys_of(name)}
    model = _model(values.get("model", {}), named, data, training, unknown)
    if sifted.here and not unknown & {"model.name", "model.huggingface"}:
        problems += unbuilt_shape(model, values.get("model", {}), named.notes)
    plan = with_grid(with_tuples(values.get("plan", {})))
    there = placed(values.get("cluster", {}), plan, frozenset(unknown))
    problems += there.problems
    unknown |= there.unknown
    if there.cluster.ranks_open:
        unknown.add("cluster.ranks")
    job = Job(
        model=model, data=data, training=training, cluster=there.cluster, constraints=plan, left_alone=named.notes
    )  # fmt: skip
    if not unknown & {"model.vocab", "data.tokenizer"}:
        problems += _too_few_tokens(job)
    written = {*(f"training.{key}" for key in values.get("training", {})), *refused}
    left_out = frozenset(_keys_of("training")) - written
    return Assembled(job=job, problems=tuple(problems), unknown=frozenset(unknown), left_out=left_out)


def _keys_of(name: str) -> tuple[str, ...]:
    """The keys of a whole table, or the one key itself."""
    return tuple(f"{name}.{key}" for key in known_keys(name)) if name in known_keys("") else (name,)


# ---- model --------------------------------------------------------------------------------------------------------


def _missing(model: _Keys | None, named: Named, refused: frozenset[str]) -> Iterator[Problem]:
    """A model without a shape: no table, a name or a file that says none, a number left out."""
    if model is None and "model" not in refused:
        message = "there is no [model]; it is the one table that a job needs"
        yield Problem(key="model", message=message, legal=f"{', '.join(_REQUIRED)}; or a name")
    if model is None or refused & {"model.name", "model.huggingface"}:
        return
    yield from named.problems
    for key in _REQUIRED if named.shape is None and not named.problems else ():
        if key not in model and f"model.{key}" not in refused:
            yield Problem(
                key=f"model.{key}", message=f"{key} is missing", legal="a whole number from 1; or name a model"
            )
    yield from lacking(model)


def _model(model: _Keys, named: Named, data: DataSpec, training: TrainingSpec, unknown: set[str]) -> ModelSpec:
    """Every number of a ModelSpec that has no default there, and all other keys given. Adds stand-ins to `unknown`."""
    shape = {**(named.shape or {}), **with_parts(model)}
    if unknown & {"model.name", "model.huggingface"}:  # it would have said all the rest
        unknown |= {f"model.{key}" for key in known_keys("model") if key not in shape}
    for key in _REQUIRED:
        shape.setdefault(key, _STAND_IN)
    defaults = (("kv_heads", "model.heads"), ("ffn", "model.hidden"), ("vocab", "data.tokenizer"))
    unknown |= {f"model.{key}" for key, source in defaults if key not in shape and source in unknown}
    tokens = _STAND_IN if "data.tokenizer" in unknown else vocabulary(data.tokenizer)
    whole: dict[str, Any] = {"kv_heads": shape["heads"], "ffn": 4 * shape["hidden"], "vocab": tokens, **shape}
    return plainest(ModelSpec(**whole, max_positions=training.sequence_length))


# ---- the rest -----------------------------------------------------------------------------------------------------


def _unread(data: DataSpec) -> Iterator[Problem]:
    if problem := tokenizer_problem(data.tokenizer):
        yield problem


def _training(keys: _Keys) -> TrainingSpec:
    """A short run's warm-up is no longer than the run, where nobody asked for one."""
    spec = TrainingSpec(**with_tuples(keys))
    return spec if "warmup_steps" in keys else replace(spec, warmup_steps=min(spec.warmup_steps, spec.steps))


def _too_few_tokens(job: Job) -> Iterator[Problem]:
    tokens = vocabulary(job.data.tokenizer)
    if job.model.vocab < tokens:
        message = f"vocab = {job.model.vocab} is less than the {tokens} tokens of tokenizer {shown(job.data.tokenizer)}"
        yield Problem(key="model.vocab", message=message, legal=f"{tokens} or more")
