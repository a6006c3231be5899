"""What of a run is saved beside its weights, and under which names: tensors in the shape of weights, so that any plan
can read them, whatever plan wrote them.

    NAME                        the weights (of the optimizer: its masters)
    exp_avg/NAME, …             the optimizer's state
    outer/NAME                  DiLoCo's outer momentum; its anchors are the weights, once a meeting is settled
    replica-1/KIND/NAME         the same of one replica: the optimizer's state where replicas learn alone, and what
                                compressed sums still owe, of gradients (gradient_residual) or, where replicas learn
                                alone, of what the weights have changed by (change_residual): not the same unit
    slice-0/right/NAME          powersgd's last Q of one tensor rank's slice: of use to the same slice alone

Pure: layers, plans and the optimizer's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from plait.layers.layer import Layer
from plait.plans.plan import Plan
from plait.plans.reductions import reductions
from plait.specs.compression import compression_of
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = [
    "GRADIENT_RESIDUAL",
    "OPTIMIZER_STATE",
    "RIGHT",
    "WEIGHTS",
    "Family",
    "families_of",
    "optimizer_kinds",
    "residual_kind",
]

OPTIMIZER_STATE = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
RIGHT = "right"
GRADIENT_RESIDUAL, _CHANGE_RESIDUAL = "gradient_residual", "change_residual"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Tensors of one kind, one for each weight, or `only` for some. `whose`: all replicas have the same; each replica
    its own; each slice of a weight, of `columns` columns."""

    kind: str
    whose: Literal["all", "replica", "slice"] = "all"
    only: frozenset[str] | None = None
    columns: int = 0

    def name(self, weight: str, *, replica: int = 0, tensor_rank: int = 0) -> str:
        """The global name of that of a weight."""
        match self.whose:
            case "all":
                return f"{self.kind}/{weight}" if self.kind else weight
            case "replica":
                return f"replica-{replica}/{self.kind}/{weight}"
            case "slice":
                return f"slice-{tensor_rank}/{self.kind}/{weight}"

    def has(self, weight: str) -> bool:
        """Whether there is one for this weight."""
        return self.only is None or weight in self.only


WEIGHTS = Family(kind="")


def families_of(layers: Sequence[Layer], plan: Plan, training: TrainingSpec) -> tuple[Family, ...]:
    """All of a run under `plan`, the weights first."""
    return (WEIGHTS, *_beside(layers, plan, training))


def optimizer_kinds(training: TrainingSpec) -> tuple[str, ...]:
    """The tensors that the optimizer keeps for each weight, but for its count of steps."""
    return () if training.optimizer == "sgd" and not training.betas[0] else OPTIMIZER_STATE[training.optimizer]


def residual_kind(plan: Plan) -> str:
    """What compressed messages of a plan owe: of gradients, or of weights' changes."""
    return _CHANGE_RESIDUAL if plan.averages else GRADIENT_RESIDUAL


def _beside(layers: Sequence[Layer], plan: Plan, training: TrainingSpec) -> Iterator[Family]:
    for kind in optimizer_kinds(training):
        yield Family(kind=kind, whose="replica" if plan.averages else "all")
    if plan.averages and plan.synchronisation == "diloco":
        yield Family(kind="outer")
    if plan.compresses:
        compressed = frozenset(_compressed(layers, plan, ITEMSIZE[PRECISIONS[training.precision].reduce]))
        yield Family(kind=residual_kind(plan), whose="replica", only=compressed)
        form = compression_of(plan.compression)
        if form.kind == "powersgd":
            yield Family(kind=RIGHT, whose="slice", only=compressed, columns=form.rank)


def _compressed(layers: Sequence[Layer], plan: Plan, itemsize: int) -> Iterator[str]:
    """The weights of which some rank compresses what it holds."""
    for rank in (rank for rank in range(plan.ranks) if plan.mesh.coordinate(rank, "data") == 0):
        for one in reductions(layers, plan, rank, itemsize):
            for place in one.packing.compressed if one.packing else ():
                yield one.pieces[place].name
