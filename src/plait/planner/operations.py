"""What a layer does to one microbatch on one rank, operation by operation, as `models/` and `parallel/` do it.

    block, forward       norm  q k v  (turn)  attend  out  (+ bias)  +   norm  up  activate  down  (+ bias)  +
    block, backward      the same in reverse: two products for each, a sum for each bias, a sum where a value was read
                         several times, and each weight's gradient into its place in the flat buffer

Every operation is one whose time a profile measures, or a *view*: an operator or a module's call that touches no data
and costs its dispatch alone. It knows sizes, no seconds; crossings stand in `communication_volume`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

from plait.layers.dims import projected
from plait.layers.layer import Dim, Layer, Product
from plait.plans.holdings import held_weights, positions_held
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.sharding.boxes import local_size
from plait.specs.measurements import Layout, MemoryBoundKind
from plait.specs.model import Activation, ModelSpec, Norm

__all__ = [
    "Attend",
    "LayerOperations",
    "Move",
    "Multiply",
    "Operation",
    "Views",
    "Way",
    "is_weight_gradient",
    "operations_of",
]

Way = Literal["forward", "backward"]

_WAYS: tuple[Way, ...] = ("forward", "backward")
# a gate by either curve moves as much
_ACTIVATIONS: dict[Activation, MemoryBoundKind] = {
    "gelu": "gelu",
    "relu": "relu",
    "swiglu": "swiglu",
    "geglu": "swiglu",
}
_NORMS: dict[Norm, MemoryBoundKind] = {"layer": "layer_norm", "rms": "rms_norm"}

# per product and per attention: views, transposes and calls; tests count them in the real layers
_PRODUCT_VIEWS: dict[Way, int] = {"forward": 5, "backward": 9}
_ATTENTION_VIEWS: dict[Way, int] = {"forward": 12, "backward": 10}
# set by hand, from what the two took beyond their operations: the embedding's calls and the stage's walk through its
# layers; logits and targets laid flat, and the scale of the loss
_EMBEDDING_VIEWS = 8  # forward
_LOSS_VIEWS: dict[Way, int] = {"forward": 4, "backward": 2}
_WEIGHT_VIEWS = 3  # a gradient's hook, where data ranks sum them: the call, the look-up, the detached weight


class Multiply(NamedTuple):
    """`times` products of (m, k) by (k, n); a weight's are named as `specs.measurements.Gemm` names them."""

    m: int
    n: int
    k: int
    layout: Layout
    times: int = 1


class Attend(NamedTuple):
    """Fused causal attention of `rows` = batch · heads independent sequences."""

    rows: int
    sequence: int
    head_dim: int
    way: Way


class Move(NamedTuple):
    """Work over `elements` in rows of `width` that memory bounds; `way`: that of the operation, not of the layer."""

    kind: MemoryBoundKind
    elements: int
    width: int
    way: Way


class Views(NamedTuple):
    """`number` operators that touch no data."""

    number: int
    way: Way


Operation = Multiply | Attend | Move | Views


@dataclass(frozen=True, kw_only=True)
class LayerOperations:
    """What forward and backward of one layer do to one microbatch. `collecting`: of backward, what adds up gradients of
    weights."""

    forward: tuple[Operation, ...]
    backward: tuple[Operation, ...]
    collecting: tuple[Operation, ...]

    def of(self, way: Way) -> tuple[Operation, ...]:
        """Those of forward or of backward."""
        return self.forward if way == "forward" else self.backward


@dataclass(frozen=True, kw_only=True)
class _Local:
    """One rank's sizes: all `tokens` of the microbatch, and those of its own share of the residual stream."""

    model: ModelSpec
    plan: Plan
    tensor_rank: int
    sequence: int

    @property
    def batch(self) -> int:
        return self.plan.microbatch

    @property
    def tokens(self) -> int:
        return self.batch * self.sequence

    @property
    def residual(self) -> int:
        start, stop = positions_held(self.plan, self.tensor_rank, self.sequence)
        return self.batch * (stop - start)

    def size(self, dim: Dim) -> int:
        return local_size(dim, self.plan.tensor_shares, self.tensor_rank)


def is_weight_gradient(operation: Operation) -> bool:
    """Whether it is the product that gives a weight's gradient: what an action W performs."""
    return isinstance(operation, Multiply) and operation.layout == "weight_gradient"


def operations_of(layer: Layer, model: ModelSpec, sequence: int, plan: Plan, tensor_rank: int) -> LayerOperations:
    """The operations of one layer for one microbatch of `sequence` tokens a sequence."""
    local = _Local(model=model, plan=plan, tensor_rank=tensor_rank, sequence=sequence)
    find = {"embedding": _embedding, "block": _block, "head": _head}[layer.kind]
    pairs = tuple(find(layer, local))
    kept = tuple(_collect(layer, local))
    return LayerOperations(
        forward=tuple(operation for way, operation in pairs if way == "forward"),
        backward=(*(operation for way, operation in pairs if way == "backward"), *kept),
        collecting=kept,
    )


_Pairs = Iterator[tuple[Way, Operation]]  # when, and what


def _embedding(layer: Layer, local: _Local) -> _Pairs:
    hidden = local.model.hidden
    yield "forward", Views(_EMBEDDING_VIEWS, "forward")
    for weight in layer.weights:
        split = weight.dims[0].parts[0].index == "vocab"
        # every sequence has the same positions: one look-up for all, added to the tokens' values
        rows = local.tokens if split else local.residual // local.batch
        yield from _both("embedding", rows * hidden, hidden)
        yield "backward", Move("copy", prod(map(local.size, weight.dims)), hidden, "forward")  # zeros for other rows
        if not split:
            yield "forward", Move("add", local.residual * hidden, hidden, "forward")
            yield "backward", Move("square_sum", local.residual * hidden, hidden, "forward")  # summed over sequences
        elif local.plan.tensor > 1:
            yield from _both("add", rows * hidden, hidden)  # zeros for the tokens of other ranks
    yield from _dropped(local)


def _block(layer: Layer, local: _Local) -> _Pairs:
    hidden = local.model.hidden
    before = next(place for place, product in enumerate(layer.products) if product.kind == "attention")
    up = before + 2
    yield from _norm(local)
    yield from _products(layer.products[:before], local)
    yield from _turned(local, layer.products[before])
    yield from _attention(local, layer.products[before])
    yield from _products(layer.products[before + 1 : up], local, leaves=True)
    yield from _dropped(local)
    yield from _both("add", local.residual * hidden, hidden)
    yield from _norm(local)
    yield from _products(layer.products[up:-1], local)
    ffn = local.size(layer.products[-1].inner)
    yield from _both(_ACTIVATIONS[local.model.activation], local.tokens * ffn, ffn)
    yield from _products(layer.products[-1:], local, leaves=True)
    yield from _dropped(local)
    yield from _both("add", local.residual * hidden, hidden)


def _head(layer: Layer, local: _Local) -> _Pairs:
    yield from _norm(local)
    yield from _products(layer.products, local)
    for way in _WAYS:
        yield way, Views(_LOSS_VIEWS[way], way)
    columns = local.size(layer.products[0].outer)
    yield from _both("cross_entropy", local.tokens * columns, columns)


def _both(kind: MemoryBoundKind, elements: int, width: int) -> _Pairs:
    yield "forward", Move(kind, elements, width, "forward")
    yield "backward", Move(kind, elements, width, "backward")


def _norm(local: _Local) -> _Pairs:
    yield from _both(_NORMS[local.model.norm], local.residual * local.model.hidden, local.model.hidden)


def _products(products: tuple[Product, ...], local: _Local, *, leaves: bool = False) -> _Pairs:
    """Products that read one value; `leaves`: their results are summed over the tensor axis, and biased after that."""
    for place, product in enumerate(products):
        inner, outer = local.size(product.inner), local.size(product.outer)
        yield "forward", Multiply(local.tokens, outer, inner, "forward")
        yield "backward", Multiply(local.tokens, inner, outer, "input_gradient")
        yield "backward", Multiply(outer, inner, local.tokens, "weight_gradient")
        yield "forward", Views(_PRODUCT_VIEWS["forward"], "forward")
        yield "backward", Views(_PRODUCT_VIEWS["backward"], "backward")
        if place:  # the gradient of what the one before has read, too
            yield "backward", Move("add", local.tokens * inner, inner, "forward")
        if local.model.bias and product.name != "lm_head":
            rows = local.residual if leaves else local.tokens
            yield "backward", Move("square_sum", rows * outer, outer, "forward")  # summed over tokens
            if leaves and local.plan.tensor > 1:
                yield "forward", Move("add", rows * outer, outer, "forward")


def _turned(local: _Local, attention: Product) -> _Pairs:
    if local.model.positions == "rope":
        _, keys, _ = projected(local.model, joint=False)
        for dim in (attention.inner, keys):
            yield from _both("rope", local.tokens * local.size(dim), local.model.head_dim)


def _attention(local: _Local, product: Product) -> _Pairs:
    features, head_dim, sequence = local.size(product.inner), local.model.head_dim, local.sequence
    rows = local.batch * (features // head_dim)
    for way in _WAYS:
        yield way, Views(_ATTENTION_VIEWS[way], way)
    if local.model.dropout == 0:
        yield "forward", Attend(rows, sequence, head_dim, "forward")
        yield "backward", Attend(rows, sequence, head_dim, "backward")
        return
    scores = Multiply(sequence, sequence, head_dim, "forward", rows)
    mixed = Multiply(sequence, head_dim, sequence, "input_gradient", rows)
    for small in (scores, mixed):
        yield "forward", small
    for small in (scores, mixed, mixed, mixed):
        yield "backward", small
    pairs = rows * sequence * sequence
    for kind in ("copy", "copy", "softmax", "dropout"):  # scaled, masked, then as named
        yield "forward", Move(kind, pairs, sequence, "forward")
        yield "backward", Move(kind, pairs, sequence, "forward" if kind == "copy" else "backward")


def _dropped(local: _Local) -> _Pairs:
    if local.model.dropout:
        yield from _both("dropout", local.residual * local.model.hidden, local.model.hidden)


def _collect(layer: Layer, local: _Local) -> Iterator[Operation]:
    """Each gradient is added into the flat buffer that is summed over the data axis; where data ranks keep pieces of
    it alone (ZeRO 2 and 3), it is copied to where it leaves from, and this rank's piece of the sum is added."""
    plan = local.plan
    for held in held_weights((layer,), plan, local.tensor_rank):
        elements, width = held.elements, held.shape[-1]
        if plan.sharding_level >= MET_EACH_ROUND:
            yield Move("copy", elements, width, "forward")
            yield Move("add", elements // plan.data, width, "forward")
            yield Views(2 * _WEIGHT_VIEWS, "forward")
        else:
            yield Move("add", elements, width, "forward")
            yield Views(_WEIGHT_VIEWS if plan.data > 1 else 0, "forward")
