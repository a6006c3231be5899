"""Which tensor departed first, and along which axis.

    value  embedding ─► block 0 ─► … ─► head ─► loss
                                                  │
    gradient  of what a layer gave, then of its weights, from the head back to the embedding
                  │
    norm ─► clipped norm ─► optimizer, weights ─► embedding, block 0 … loss, evaluated

A tensor departs in the order in which it is computed, so that the first one stands where the mistake is; all later ones
have only inherited it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from plait.layers.layer import Layer
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES
from plait.verification.evidence import Row
from plait.verification.trace import Entry

__all__ = ["Culprit", "blamed_axis", "first_departing", "layer_of", "lightened_axis", "without"]


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """`axis`: the mesh's axis; several joined by + where it takes them together; None where no axis is to blame."""

    tensor: str
    layer: str | None
    axis: str | None


def first_departing(rows: Iterable[Row], layers: Sequence[Layer]) -> Row | None:
    """The first tensor in the order of computation that is wrong; if none is, that is not finite; or that chance has
    touched."""
    order = _order(layers)
    last = max(order.values()) + 1  # of what no layer knows
    for verdict in ("BUG", "NONFINITE", "NONDETERMINISTIC"):
        wrong = [row for row in rows if row.verdict == verdict]
        if wrong:
            return min(wrong, key=lambda row: (row.step, order.get(_place(row.entry), last), row.precision == "fp32"))
    return None


def layer_of(entry: Entry, layers: Sequence[Layer]) -> str | None:
    """The layer that gives a value or has a weight; None for the norm, which is the whole model's."""
    match entry.kind:
        case "value":
            return entry.owner
        case "loss":
            return layers[-1].name
        case _:
            holders = (layer.name for layer in layers for weight in layer.weights if weight.name == entry.owner)
            return next(holders, None)


def _place(entry: Entry) -> tuple[str, str]:
    return (entry.kind, entry.owner if entry.kind in ("gradient", "optimizer", "weight") else entry.name)


def _order(layers: Sequence[Layer]) -> dict[tuple[str, str], int]:
    """When each tensor of a step is computed. A weight of several layers has its gradient with the earliest one."""
    places = [("value", layer.name) for layer in layers]
    places.append(("loss", "loss"))
    for layer in reversed(layers):
        places.append(("value", f"{layer.name}/gradient"))
        places += [("gradient", weight.name) for weight in reversed(layer.weights)]
    places += [("norm", "norm"), ("norm", "norm/clipped")]
    names = dict.fromkeys(weight.name for layer in layers for weight in layer.weights)
    places += [(kind, name) for name in names for kind in ("optimizer", "weight")]
    places += [("value", f"{layer.name}/evaluated") for layer in layers]
    places.append(("loss", "loss/evaluated"))
    return {place: number for number, place in enumerate(places)}


def blamed_axis(row: Row, plan: Plan, cured: Callable[[Plan], bool]) -> str | None:
    """The axis of the first departing tensor: the one along which its copies differ; where they agree, or differ along
    several, those that cure the run when their degree is 1."""
    if len(row.axes) == 1:
        return row.axes[0]
    guilty = [axis for axis in row.axes or _in_use(plan) if cured(without(plan, axis))]
    return "+".join(guilty or row.axes) or None


def lightened_axis(plan: Plan, lightened: Callable[[Plan], bool]) -> str | None:
    """The axis without which every rank does only what it is to do."""
    return "+".join(axis for axis in _in_use(plan) if lightened(without(plan, axis))) or None


def _in_use(plan: Plan) -> tuple[str, ...]:
    return tuple(axis for axis in AXES if plan.mesh.size(axis) > 1)


def without(plan: Plan, axis: str) -> Plan:
    """The plan with a degree of 1 along `axis`, all else alike."""
    match axis:
        case "data":
            return replace(plan, data=1, data_shares=(1,), servers=0)
        case "tensor":
            return replace(plan, tensor=1, tensor_shares=(1,), sequence_parallel=False)
        case _:
            return replace(plan, pipeline=1, schedule="1f1b", virtual_stages=1, stages=(sum(plan.stages),))
