"""Which gradients are summed over which ranks after backward: derived from where each weight and its gradient live.

    1  data       Partial over the data axis: buckets, in the order in which backward fills them; where data ranks keep
                  but rows (`keeping`) each gets the sums of its own, and what follows is done on those alone; what is
                  compressed (`compression`) travels as its packing says
    2  tensor     Partial under sequence parallel (norms, biases after the split part): all of them in one message
    3  tensor     pieces that several tensor ranks hold (kv heads): one message for each set of holders
    4  pipeline   weights that live on several ranks (tied embeddings): one message for each set of stages

Compressed, a weight that tensor ranks hold alike would not stay alike: what is lost of it depends on its neighbours in
the bucket. Unless a sum over the tensor axis follows, such weights have buckets of their own, which travel whole.

Under a synchronous parameter server a bucket travels by sends to those that serve it (`serving`); where a server
applies portions as they come, nothing is summed over the data axis.

Where replicas learn alone (local SGD) the buckets of the data axis carry what the weights have changed by, every
`local_steps` steps; the later sums are performed in every step, and once more where weights were averaged.

The planner prices this list, the runtime performs it. Sets of ranks are taken in ascending order everywhere, so that
overlapping sets can't wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from plait.layers.layer import Layer
from plait.plans.compression import Message, Packing, packing
from plait.plans.holdings import Held, Piece, rank_weights, tied_places
from plait.plans.keeping import kept_weights, longest_parts
from plait.plans.plan import Plan
from plait.plans.serving import pushed
from plait.sharding.boxes import copies
from plait.sharding.buckets import bucket_boundaries
from plait.sharding.placement import Partial, Replicate, Shard
from plait.sharding.rules import gradient_placement, weight_placement
from plait.specs.compression import Compression, compression_of

__all__ = [
    "MET_EACH_ROUND",
    "STAGED",
    "Reduction",
    "bucket_compression",
    "gradient_buckets",
    "norm_axes",
    "reduction_sets",
    "reductions",
    "sums_over_data",
    "sums_over_stages",
    "sums_over_tensor",
]

MET_EACH_ROUND = 2  # the level of ZeRO from which on data ranks meet at every microbatch, not once a step
STAGED = 2  # buckets that are on their way at a time where a rank keeps pieces alone (ZeRO 2 and 3)


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """One sum of gradients: the `pieces` in one flat message of `elements`, summed over `members`.

    `members` are places along `axis` (for the data axis: all of them). A reduce-scatter's parts are counted as long as
    the longest of them, and its `pieces` are of the whole weights. It is done `each_microbatch`, or once a step.
    `packing`: how it travels where gradients are compressed, or pushed to a server.
    """

    axis: str
    members: tuple[int, ...]
    pieces: tuple[Piece, ...]
    elements: int
    kind: Literal["all_reduce", "reduce_scatter"] = "all_reduce"
    each_microbatch: bool = False
    packing: Packing | None = None

    def messages(self, itemsize: int, hosts: Sequence[int] = ()) -> tuple[Message, ...]:
        """What travels for it once, where an element has `itemsize` bytes; `hosts`: as `Packing.between` has them."""
        if self.packing is None:
            return (Message(self.kind, self.elements * itemsize),)
        return self.packing.between(hosts, self.elements, itemsize)


def reductions(layers: Sequence[Layer], plan: Plan, rank: int, itemsize: int) -> tuple[Reduction, ...]:
    """Every reduction that `rank` takes part in during one step; `itemsize`: bytes of one element of a gradient."""
    place, data_rank, tensor_rank = (plan.mesh.coordinate(rank, axis) for axis in ("pipeline", "data", "tensor"))
    held = rank_weights(layers, plan, place, tensor_rank)
    own = [one for one in kept_weights(held, plan, data_rank) if one.elements]
    return (
        *sums_over_data(held, plan, data_rank, itemsize),
        *sums_over_tensor(own, plan, tensor_rank),
        *sums_over_stages(own, place, tied_places(layers, plan)),
    )


def sums_over_data(
    held: Sequence[Held], plan: Plan, data_rank: int, itemsize: int, longest: Mapping[str, int] | None = None
) -> tuple[Reduction, ...]:
    """Those over the data axis, of a rank that holds these weights. `longest`: their parts (`longest_parts`), where
    they are known."""
    if plan.data == 1 or plan.asynchronous:
        return ()
    buckets = gradient_buckets(held, plan, itemsize)
    summed = [_together("data", range(plan.data), bucket) for bucket in buckets]
    if plan.compresses:
        packed = [_packed(bucket, plan, itemsize) for bucket in buckets]
        return tuple(replace(one, packing=each) for one, each in zip(summed, packed, strict=True))
    if plan.served:
        sent = [_sent_whole(bucket, pushed(bucket, plan, data_rank, itemsize)) for bucket in buckets]
        return tuple(replace(one, packing=each) for one, each in zip(summed, sent, strict=True))
    if plan.sharding_level == 0:
        return tuple(summed)
    parts = longest_parts(held, plan) if longest is None else longest
    return tuple(
        replace(
            one,
            elements=plan.data * sum(parts.get(piece.name, 0) for piece in one.pieces),
            kind="reduce_scatter",
            each_microbatch=plan.sharding_level >= MET_EACH_ROUND,
        )
        for one in summed
    )


def sums_over_tensor(kept: Sequence[Held], plan: Plan, tensor_rank: int) -> tuple[Reduction, ...]:
    """Those over the tensor axis, on what a rank keeps."""
    if plan.tensor == 1:
        return ()
    return (*_over_sequence(kept, plan), *_over_copies(kept, plan, tensor_rank))


def sums_over_stages(kept: Sequence[Held], place: int, tied: Mapping[str, tuple[int, ...]]) -> tuple[Reduction, ...]:
    """Those over the pipeline axis, of weights that are `tied` (`tied_places`)."""
    shared: dict[tuple[int, ...], list[Held]] = {}
    for one in kept if tied else ():
        if place in tied.get(one.weight.name, ()):
            shared.setdefault(tied[one.weight.name], []).append(one)
    return tuple(_together("pipeline", members, shared[members]) for members in sorted(shared))


def reduction_sets(layers: Sequence[Layer], plan: Plan) -> dict[str, set[tuple[int, ...]]]:
    """By axis but the data axis, every set of places over which any rank sums: the groups that have to exist."""
    found: dict[str, set[tuple[int, ...]]] = {"tensor": set(), "pipeline": set()}
    for place in range(plan.pipeline):
        for tensor_rank in range(plan.tensor):
            rank = plan.mesh.rank_at(pipeline=place, data=plan.keepers.start, tensor=tensor_rank)  # who keeps most
            for reduction in reductions(layers, plan, rank, itemsize=1):
                if reduction.axis in found:
                    found[reduction.axis].add(reduction.members)
    return found


def gradient_buckets(held: Sequence[Held], plan: Plan, itemsize: int) -> tuple[tuple[Held, ...], ...]:
    """Which gradients of one rank travel together over the data axis, in the order in which backward fills the buckets;
    `held` is in forward order, `itemsize` bytes of one element of a gradient. What has to stay alike comes last. No
    bucket has weights of several stages, whose backwards end apart."""
    turns = sorted({one.turn for one in held}, reverse=True)
    apart = [
        [one for one in held if one.turn == turn and _travels_whole(one, plan) is whole]
        for whole in (False, True)
        for turn in turns
    ]
    return tuple(
        tuple(together[index] for index in bucket)
        for together in apart
        for bucket in bucket_boundaries([one.elements * itemsize for one in together], plan.bucket_bytes)
    )


def bucket_compression(bucket: Sequence[Held], plan: Plan) -> Compression:
    """The form in which a bucket of `gradient_buckets` travels."""
    form = plan.compression if plan.compresses and not _travels_whole(bucket[0], plan) else "none"
    return compression_of(form)


def norm_axes(plan: Plan) -> tuple[str, ...]:
    """The axes along which ranks keep different gradients: over these the squares of the norm are summed."""
    data = ("data",) if plan.sharding_level and not plan.asynchronous else ()
    return (*data, *(axis for axis in ("tensor", "pipeline") if plan.mesh.size(axis) > 1))


def _travels_whole(held: Held, plan: Plan) -> bool:
    """Whether tensor ranks hold it alike, and no later sum over them would make it so again."""
    if plan.tensor == 1 or not (plan.compresses or plan.averages):
        return False
    return gradient_placement(held.weight, sequence_parallel=plan.sequence_parallel) == Replicate()


def _together(axis: str, members: Sequence[int], held: Sequence[Held]) -> Reduction:
    pieces = tuple([one.whole for one in held])
    return Reduction(axis=axis, members=tuple(members), pieces=pieces, elements=sum(one.elements for one in held))


def _packed(bucket: Sequence[Held], plan: Plan, itemsize: int) -> Packing:
    return packing(bucket_compression(bucket, plan), [one.shape for one in bucket], itemsize, plan.data)


def _sent_whole(bucket: Sequence[Held], messages: Sequence[Message]) -> Packing:
    return Packing(compressed=(), whole=tuple(range(len(bucket))), messages=tuple(messages), kept_bytes=0)


def _over_sequence(held: Sequence[Held], plan: Plan) -> list[Reduction]:
    sequence_parallel = plan.sequence_parallel
    partial = [one for one in held if gradient_placement(one.weight, sequence_parallel=sequence_parallel) == Partial()]
    return [_together("tensor", range(plan.tensor), partial)] if partial else []


def _over_copies(held: Sequence[Held], plan: Plan, tensor_rank: int) -> list[Reduction]:
    pieces: dict[tuple[int, ...], list[Piece]] = {}
    elements: dict[tuple[int, ...], int] = {}
    for one in held:
        placement = weight_placement(one.weight)
        if not isinstance(placement, Shard):
            continue
        dim = placement.dim
        across = prod(size for number, size in enumerate(one.shape) if number != dim)
        for copy in copies(one.weight.dims[dim], plan.tensor_shares):
            if tensor_rank in copy.holders:
                start, stop = one.local_range(dim, copy.start, copy.stop)
                piece = Piece(name=one.weight.name, dim=dim, start=start, stop=stop)
                pieces.setdefault(copy.holders, []).append(piece)
                elements[copy.holders] = elements.get(copy.holders, 0) + (stop - start) * across
    return [
        Reduction(axis="tensor", members=members, pieces=tuple(pieces[members]), elements=elements[members])
        for members in sorted(pieces)
    ]
