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
from math import prod
from typing import Any

from plait.errors import Problem
from plait.specs.border import Sifted
from plait.specs.cluster import ClusterSpec, misplaced, usable_cores
from plait.specs.grids import with_grid
from plait.specs.inputs import tokenizer_problem, vocabulary
from plait.specs.job import Job, fixed_degree
from plait.specs.model import ModelSpec
from plait.specs.presets import PRESETS
from plait.specs.tables import known_keys, with_tuples
from plait.specs.training import DataSpec, TrainingSpec
from plait.specs.wording import nearest, shown

__all__ = ["Assembled", "assemble"]

_REQUIRED = ("layers", "hidden", "heads")
_STAND_IN = 1
_PLACES = ("ranks", "nodes", "devices_per_node")
_Keys = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """`unknown`: the keys that `job` holds stand-ins for, and `cluster.ranks` where the user left it to us."""

    job: Job
    problems: tuple[Problem, ...]
    unknown: frozenset[str]


def assemble(sifted: Sifted) -> Assembled:
    """The job that sifted tables describe, as far as they do."""
    values, refused = sifted.values, sifted.refused
    data = DataSpec(**with_tuples(values.get("data", {})))
    problems = [*_missing(values.get("model"), refused), *_unread(data)]
    unknown = {key for name in (*refused, *(problem.key for problem in problems)) for key in _keys_of(name)}
    shape = _shape(values.get("model", {}), data, unknown)
    training = _training(values.get("training", {}))
    plan = with_grid(with_tuples(values.get("plan", {})))
    placed = values.get("cluster", {})
    if unknown & {f"cluster.{key}" for key in _PLACES}:
        placed = {key: value for key, value in placed.items() if key not in _PLACES[1:]}
    elif wrong := misplaced(placed.get("nodes", 1), placed.get("devices_per_node"), placed.get("ranks")):
        problems.append(wrong)
        placed = {key: value for key, value in placed.items() if key not in _PLACES}
    cluster = _cluster(placed, plan)
    if cluster.ranks_open:
        unknown.add("cluster.ranks")
    job = Job(
        model=ModelSpec(**shape, max_positions=training.sequence_length),
        data=data,
        training=training,
        cluster=cluster,
        constraints=plan,
    )
    if not unknown & {"model.vocab", "data.tokenizer"}:
        problems += _too_few_tokens(job)
    return Assembled(job=job, problems=tuple(problems), unknown=frozenset(unknown))


def _keys_of(name: str) -> tuple[str, ...]:
    """The keys of a whole table, or the one key itself."""
    return tuple(f"{name}.{key}" for key in known_keys(name)) if name in known_keys("") else (name,)


# ---- model --------------------------------------------------------------------------------------------------------


def _missing(model: _Keys | None, refused: frozenset[str]) -> Iterator[Problem]:
    """A model without a shape: no table, a name that no model has, a number left out."""
    if refused & {"model", "model.name", "model.huggingface"}:
        return
    if model is None:
        message = "there is no [model]; it is the one table that a job needs"
        yield Problem(key="model", message=message, legal=f"{', '.join(_REQUIRED)}; or a name")
        return
    name = model.get("name")
    if name is not None and name not in PRESETS:
        message = f"no model is called {shown(name)}; the nearest are {', '.join(nearest(name, PRESETS, 3))}"
        yield Problem(key="model.name", message=message, legal=tuple(PRESETS))
        return
    for key in _REQUIRED if name is None else ():
        if key not in model and f"model.{key}" not in refused:
            yield Problem(
                key=f"model.{key}", message=f"{key} is missing", legal="a whole number from 1; or name a model"
            )


def _shape(model: _Keys, data: DataSpec, unknown: set[str]) -> dict[str, Any]:
    """Every number of a ModelSpec that has no default there, and all other keys given. Adds stand-ins to `unknown`."""
    shape = {**PRESETS.get(model.get("name", ""), {}), **model}
    shape.pop("name", None)
    if "model.name" in unknown or "model.huggingface" in unknown:  # it would have said all the rest
        unknown |= {f"model.{key}" for key in known_keys("model") if key not in shape}
    for key in _REQUIRED:
        shape.setdefault(key, _STAND_IN)
    defaults = (("kv_heads", "model.heads"), ("ffn", "model.hidden"), ("vocab", "data.tokenizer"))
    unknown |= {f"model.{key}" for key, source in defaults if key not in shape and source in unknown}
    tokens = _STAND_IN if "data.tokenizer" in unknown else vocabulary(data.tokenizer)
    return {"kv_heads": shape["heads"], "ffn": 4 * shape["hidden"], "vocab": tokens, **shape}


# ---- the rest -----------------------------------------------------------------------------------------------------


def _unread(data: DataSpec) -> Iterator[Problem]:
    if problem := tokenizer_problem(data.tokenizer):
        yield problem


def _training(keys: _Keys) -> TrainingSpec:
    """A short run's warm-up is no longer than the run, where nobody asked for one."""
    spec = TrainingSpec(**with_tuples(keys))
    return spec if "warmup_steps" in keys else replace(spec, warmup_steps=min(spec.warmup_steps, spec.steps))


def _cluster(keys: _Keys, plan: _Keys) -> ClusterSpec:
    if "ranks" in keys:
        return ClusterSpec(**keys)
    if "devices_per_node" in keys:
        return ClusterSpec(**keys, ranks=keys.get("nodes", 1) * keys["devices_per_node"])
    return ClusterSpec(**keys, ranks=_default_ranks(plan), ranks_open=True)


def _default_ranks(plan: _Keys) -> int:
    """As many ranks as this machine has cores, in whole copies of what the plan fixes; at least one copy."""
    degrees = [fixed_degree(plan, axis) for axis in ("data", "tensor", "pipeline")]
    fixed = prod(degree or 1 for degree in degrees)
    return fixed if None not in degrees else fixed * max(1, usable_cores() // fixed)


def _too_few_tokens(job: Job) -> Iterator[Problem]:
    tokens = vocabulary(job.data.tokenizer)
    if job.model.vocab < tokens:
        message = f"vocab = {job.model.vocab} is less than the {tokens} tokens of tokenizer {shown(job.data.tokenizer)}"
        yield Problem(key="model.vocab", message=message, legal=f"{tokens} or more")
