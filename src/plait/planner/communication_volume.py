"""What one rank says over the wire in one steady training step: kind, axis, bytes and how often.

Nothing is typed in twice: each line of traffic follows from what the runtime follows too.

    crossings of the layers      sharding.rules.crossing       tensor      every microbatch, forward and backward
    the loss                     vocabulary split              tensor      every microbatch, forward alone
    transfers between stages     the schedule's own actions    pipeline    every microbatch
    gradients                    plans.reductions              all three   once; under ZeRO 2 and 3 in every round
                                 plans.compression             data        where they are compressed
                                 plans.serving                 data        sends and receives, under a parameter server
    weights                      plans.serving                 data        likewise; where it is not to wait for all,
                                                                           for one portion of a step
                                 plans.keeping                 data        ZeRO 1 and 2: once, after the update
                                 plans.fetching                            ZeRO 3: as layers are used
    loss report, clipping        one number of 8 bytes         all three   once
    number of microbatches       one number of 8 bytes         data        once, under ZeRO 2 and 3
    a portion's number           one number of 8 bytes         pipeline    once, where a server gives portions out

A collective's bytes are those of the whole tensor of its group, padded where the ranks do not divide it; a transfer's
are those of the message. An axis of one rank is silent. It knows no link and no second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from plait.layers.layer import Crossing, Layer
from plait.planner.serving_volume import served_messages
from plait.planner.stage import stage_of
from plait.planner.timetable import timetable_of
from plait.planner.weight_volume import weight_messages
from plait.plans.holdings import positions_held
from plait.plans.plan import Plan
from plait.plans.prediction import Traffic
from plait.plans.reductions import MET_EACH_ROUND, norm_axes
from plait.plans.rows import microbatches_of, rounds_of, sizes_of
from plait.schedules.action import COMPUTE, SENDS
from plait.sharding.redistribute import CollectiveKind
from plait.sharding.rules import crossing
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["NUMBER_BYTES", "Message", "crossing_messages", "stage_message_bytes", "traffic_of_step"]

NUMBER_BYTES = 8  # one float64: a loss, a squared norm
_WIDE = 4  # the loss is computed in at least 32 bits

_Row = tuple[str, CollectiveKind, int]  # axis, kind, bytes


class Message(NamedTuple):
    """One collective of a layer, for one microbatch; `forward` or backward."""

    kind: CollectiveKind
    bytes: int
    forward: bool


def traffic_of_step(
    model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int, hosts: Sequence[int] = ()
) -> tuple[Traffic, ...]:
    """What `rank` takes part in during one step, equal messages counted together, in order of (axis, kind, bytes).

    Where replicas learn alone it is a step that brings them together, one of `local_steps`; in the others the data axis
    has the loss alone. `hosts`: so many replicas stand on each host, where compressed sums depend on that.
    """
    counted: Counter[_Row] = Counter()
    stage = stage_of(model, training, plan, rank)
    for size, microbatches in sizes_of(plan, training.global_batch, plan.mesh.coordinate(rank, "data")).items():
        for layer, alike in stage.kinds:
            for message in crossing_messages(layer, model, training, plan, size):
                counted["tensor", message.kind, message.bytes] += alike * microbatches
    counted.update(_transfers(model, training, plan, rank))
    itemsize = ITEMSIZE[PRECISIONS[training.precision].reduce]
    for reduction in stage.sums:
        again = plan.averages and reduction.axis != "data"  # of what several ranks hold, the averages too
        times = rounds_of(plan, training.global_batch) if reduction.each_microbatch else 1 + again
        for message in reduction.messages(itemsize, hosts):
            counted[reduction.axis, message.kind, message.bytes] += times
    place = plan.mesh.coordinate(rank, "pipeline")
    for message, times in weight_messages(stage, training, plan, place).items():
        counted["data", "all_gather", message.bytes] += times
    served = served_messages(stage, training, plan, plan.mesh.coordinate(rank, "data"), place)
    counted.update(("data", message.kind, message.bytes) for message in served)
    counted.update(_numbers(training, plan, place))
    rows = sorted(counted.items())
    return tuple(Traffic(axis=axis, kind=kind, bytes=size, count=count) for (axis, kind, size), count in rows)


def crossing_messages(
    layer: Layer, model: ModelSpec, training: TrainingSpec, plan: Plan, microbatch: int
) -> tuple[Message, ...]:
    """The tensor axis's collectives of one layer for one microbatch of so many sequences, in the order of its
    crossings."""
    if plan.tensor == 1:
        return ()
    found = (_messages(one, model, training, plan, microbatch) for one in layer.crossings)
    return tuple(message for messages in found for message in messages)


def stage_message_bytes(model: ModelSpec, training: TrainingSpec, plan: Plan, microbatch: int, tensor_rank: int) -> int:
    """Bytes of what one stage hands to the next for one microbatch of so many sequences: this tensor rank's part of the
    residual stream."""
    start, stop = positions_held(plan, tensor_rank, training.sequence_length)
    return microbatch * (stop - start) * model.hidden * _itemsize(training)


def _itemsize(training: TrainingSpec) -> int:
    return ITEMSIZE[PRECISIONS[training.precision].compute]


def _messages(
    one: Crossing, model: ModelSpec, training: TrainingSpec, plan: Plan, microbatch: int
) -> Iterator[Message]:
    sequence = training.sequence_length
    if one.kind == "loss":
        # the largest logit of each token; then its sum of exponentials and its target's logit, in one message
        number = microbatch * sequence * max(_itemsize(training), _WIDE)
        yield Message("all_reduce", number, True)
        yield Message("all_reduce", 2 * number, True)
        return
    for kind, forward in _collectives(one.kind, plan.sequence_parallel):
        tokens = sequence if kind == "all_reduce" else -(-sequence // plan.tensor) * plan.tensor
        yield Message(kind, microbatch * tokens * model.hidden * _itemsize(training), forward)


@lru_cache(maxsize=8)
def _collectives(kind: Literal["enter", "leave"], sequence_parallel: bool) -> tuple[tuple[CollectiveKind, bool], ...]:
    """Of one crossing, and whether each is forward's."""
    moves = crossing(kind, sequence_parallel=sequence_parallel)
    found: list[tuple[CollectiveKind, bool]] = []
    for move, forward in ((moves.value, True), (moves.gradient, False)):
        collective = move.collective
        if collective is not None and collective != "slice":
            found.append((collective, forward))
    return tuple(found)


def _transfers(model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int) -> Counter[_Row]:
    sizes = microbatches_of(plan, training.global_batch, plan.mesh.coordinate(rank, "data"))
    tensor_rank, place = plan.mesh.coordinate(rank, "tensor"), plan.mesh.coordinate(rank, "pipeline")
    bytes_of = {size: stage_message_bytes(model, training, plan, size, tensor_rank) for size in set(sizes)}
    found: Counter[_Row] = Counter()
    if not sizes:  # it only serves
        return found
    for step in timetable_of(plan, len(sizes)).schedule.programs[place]:
        for action in (one for one in step if one.kind not in COMPUTE):
            kind = "send" if action.kind in SENDS else "receive"
            found["pipeline", kind, bytes_of[sizes[action.microbatch]]] += 1
    return found


def _numbers(training: TrainingSpec, plan: Plan, place: int) -> Iterator[_Row]:
    if plan.data > 1 and place == plan.last_place and not plan.asynchronous:
        yield "data", "all_reduce", NUMBER_BYTES
    if plan.asynchronous and plan.pipeline > 1:  # which portion is computed
        yield "pipeline", "all_reduce", NUMBER_BYTES
    if plan.sharding_level >= MET_EACH_ROUND:  # how many microbatches the data rank with the most has
        yield "data", "all_reduce", NUMBER_BYTES
    if training.clip_norm > 0:
        for axis in norm_axes(plan):
            yield axis, "all_reduce", NUMBER_BYTES
