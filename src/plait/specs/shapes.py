"""Shapes of networks from the keys of `[model]`: what a name or a checkpoint's configuration says, and which of it this
machine can't run yet.

    name, huggingface ──> Named (a shape, or what is wrong)      keys ──> with_parts      ModelSpec ──> plainest

Further keys of `[model]` override the named shape, which is `assembly`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any

from plait.errors import Problem
from plait.specs.choices import judge
from plait.specs.huggingface import reading_of
from plait.specs.model import Experts, LatentAttention, ModelSpec
from plait.specs.presets import PRESETS
from plait.specs.tables import with_tuples
from plait.specs.wording import nearest, shown

__all__ = ["Named", "lacking", "named_shape", "plainest", "unbuilt_shape", "with_parts"]

_PARTS: Mapping[str, type[Experts] | type[LatentAttention]] = {"experts": Experts, "latent": LatentAttention}
_NAMES = ("name", "huggingface")
_ALIKE = 0.6  # the likeness of two names, from which one may be a slip of the other (difflib's own cutoff)


@dataclass(frozen=True, kw_only=True)
class Named:
    """`shape`: keys of a ModelSpec; None where no name was given, or none that says one. `notes`: what of a
    configuration these don't say."""

    shape: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def named_shape(model: Mapping[str, Any], longest: int, *, here: bool) -> Named:
    """What `name` or `huggingface` says of the shape. Offered in place of an unknown name is what can be used: here, on
    sequences no longer than `longest`, or elsewhere."""
    name, place = (model.get(key) for key in _NAMES)
    if name is not None and place is not None:
        message = f"name = {shown(name)} and huggingface = {shown(place)} both name a model"
        return Named(problems=(Problem(key="model.huggingface", message=message, legal="one of the two"),))
    if place is not None:
        found = reading_of(place)
        if isinstance(found, Problem):
            return Named(problems=(found,))
        return Named(shape=found.shape, notes=found.notes)
    if name is None or name in PRESETS:
        return Named(shape=None if name is None else PRESETS[name])
    message = f"no model is called {shown(name)}; {_others(name)}"
    offered = [one for one, shape in PRESETS.items() if not (here and _unbuilt(plainest(_spec(shape, longest))))]
    return Named(problems=(Problem(key="model.name", message=message, legal=tuple(offered)),))


def _others(name: str) -> str:
    """What is known in place of a model that is not."""
    if alike := nearest(name.lower(), PRESETS, 3, least=_ALIKE):
        return f"the nearest {'is' if len(alike) == 1 else 'are'} {', '.join(alike)}"
    families = dict.fromkeys(one.partition("-")[0] for one in PRESETS)
    return f"there are {', '.join(families)}; huggingface takes the config.json of any other"


def _spec(shape: Mapping[str, Any], longest: int) -> ModelSpec:
    return ModelSpec(**shape, max_positions=longest)


def with_parts(model: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `[model]` as a ModelSpec takes them, those that name a model left out, and parts that lack a key."""
    keys = {key: value for key, value in model.items() if key not in (*_NAMES, *_PARTS)}
    whole = [key for key in _PARTS if key in model and not any(lacking(model, key))]
    return {**keys, **{key: _PARTS[key](**with_tuples(model[key])) for key in whole}}


def lacking(model: Mapping[str, Any], table: str | None = None) -> Iterator[Problem]:
    """What is missing in the tables of `[model]` (in one of them)."""
    for name, kind in _PARTS.items():
        if name in model and table in (None, name):
            missing = [part.name for part in fields(kind) if _is_required(part) and part.name not in model[name]]
            if missing:
                message = f"{name} lacks {', '.join(missing)}"
                yield Problem(key=f"model.{name}", message=message, legal=f"a table [model.{name}] that has all keys")


def _is_required(part: Field[Any]) -> bool:
    return part.default is MISSING


def plainest(model: ModelSpec) -> ModelSpec:
    """The same network, without what changes nothing: heads as wide as they would be anyway, a window as long as the
    longest sequence, biases of q, k and v, and of LayerNorms, as all others."""
    wide = model.head_width is not None and model.head_width * model.heads != model.hidden
    narrow = model.window is not None and model.window < model.max_positions
    other = model.query_bias is not None and model.query_bias != model.bias
    normed = model.norm == "layer" and model.norm_bias is not None and model.norm_bias != model.bias
    return replace(
        model,
        head_width=model.head_width if wide else None,
        window=model.window if narrow else None,
        query_bias=model.query_bias if other else None,
        norm_bias=model.norm_bias if normed else None,
    )


def unbuilt_shape(model: ModelSpec, keys: Mapping[str, Any], notes: Iterable[str]) -> Iterator[Problem]:
    """What a named model has that this machine can't run, `notes` of its configuration among them; `keys` are those of
    `[model]`, judged already."""
    source = next((key for key in _NAMES if key in keys), None)
    if source is not None and (told := [*_unbuilt(model, keys), *notes]):
        message = f"{shown(keys[source])} has {', '.join(told)}: not built yet on this machine, and only planned"
        yield Problem(key=f"model.{source}", message=message, legal="a model without; or a plan for a [cluster] device")


def _unbuilt(model: ModelSpec, judged: Mapping[str, Any] | None = None) -> list[str]:
    """The parts of a shape that can't be run here, but for keys that are judged already."""
    told: list[str] = []
    for part in fields(ModelSpec):
        value = getattr(model, part.name)
        if part.name in (judged or {}) or value is None or value == part.default:
            continue
        if (problem := judge(f"model.{part.name}", value)) is not None:
            told.append(problem.message.removesuffix(" is not built yet"))
    return told
