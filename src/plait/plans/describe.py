"""A plan in words, for a person who sees one for the first time.

    4 ranks: 2 replicas of a pipeline of 2 stages (4, 3 layers).
    Microbatches of 2 sequences, scheduled by 1f1b.
    Gradients are summed over the replicas in buckets of 25 MiB.

It knows the plan alone: nothing of the model, nothing that was predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from plait.plans.meetings import WARM_UPS, begins_dense
from plait.plans.plan import Plan
from plait.specs.grids import is_grid
from plait.specs.wording import counted
from plait.units import Bytes

__all__ = ["describe", "keys_in_short", "plan_name"]

_MOST_STAGES, _MOST_ALIKE = 8, 4  # whose layers are listed one by one; and where all have as many
_KEPT = {
    1: "the optimizer's state",
    2: "the optimizer's state and of the gradients",
    3: "the optimizer's state, of the gradients and of the weights",
}


def describe(plan: Plan) -> str:
    """A few short lines. What a plan does not use is not mentioned."""
    return "\n".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in _sentences(plan))


def plan_name(plan: Plan) -> str:
    """What tells a plan from its rivals, on one line: what it splits, and how it cuts the batch."""
    axes = {"data": plan.data, "context": plan.context, "tensor": plan.tensor, "pipeline": plan.pipeline}
    split = " × ".join(f"{axis} {size}" for axis, size in axes.items() if size > 1) or "one rank"
    split += f", expert {plan.expert}" if plan.expert > 1 else ""
    words = [split, f"microbatch {plan.microbatch}"]
    words += [f"data shares {ratio}"] if (ratio := _ratio(plan.data_shares)) else []
    words += [f"{_schedule(plan)} {_layers(plan.stages)}"] if plan.pipeline > 1 else []
    words += ["sequence parallel"] if plan.tensor > 1 and plan.sequence_parallel else []
    words += [f"ZeRO {plan.zero}"] if plan.zero else []
    words += ["offload"] if plan.offloads else []
    words += [plan.compression] if plan.compression != "none" else []
    words += [f"{plan.synchronisation} every {plan.local_steps}"] if plan.averages else []
    words += [_server(plan)] if plan.served else []
    words += [f"{plan.recompute} recompute"] if plan.recompute != "none" else []
    return ", ".join(words)


def keys_in_short(keys: Mapping[str, Any]) -> str:
    """Keys of a plan as its file has them, with their values: microbatch 1, stages 6+6, sequence_parallel false."""
    return ", ".join(f"{key} {_value(key, value)}" for key, value in keys.items())


_LISTS = ("stages", "tensor_shares", "data_shares")


def _value(key: str, value: Any) -> str:
    if key in _LISTS:
        return _layers(value) if key == "stages" else _ratio(value) or "equal"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentences(plan: Plan) -> Iterator[str]:
    yield f"{counted(plan.ranks, 'rank')}: {_arrangement(plan)}"
    if plan.tensor > 1 and plan.sequence_parallel:
        yield "between their products, tensor ranks split the sequence too"
    if plan.context > 1:
        yield f"each sequence is split over {plan.context} ranks, which all have the same weights"
    if plan.expert > 1:
        yield f"experts are split over {plan.expert} of the ranks that share a stage"
    batches = f"microbatches of {counted(plan.microbatch, 'sequence')}"
    yield f"{batches}, scheduled by {_schedule(plan)}" if plan.pipeline > 1 else batches
    if plan.averages:
        often = "every step" if plan.local_steps == 1 else f"every {plan.local_steps} steps"
        outer = ", by Nesterov's momentum (DiLoCo)" if plan.synchronisation == "diloco" else ""
        form = "" if plan.compression == "none" else f"; what they changed by travels as {plan.compression}"
        form += f"; gradients are summed in each step at first ({WARM_UPS} times the warm-up's steps)"
        yield f"each replica learns alone, and their weights are averaged {often}{outer}{form}"
    elif plan.served:
        yield from _served(plan)
    elif plan.data > 1:
        size = Bytes(plan.bucket_bytes)
        form = "" if plan.compression == "none" else f", compressed ({plan.compression}); what that loses is sent later"
        form += f"; at first they travel whole ({WARM_UPS} times the warm-up's steps)" if begins_dense(plan) else ""
        yield f"gradients are summed over the replicas in buckets of {size}{form}"
    if plan.sharding_level and not plan.served:
        yield f"each replica keeps a part of {_KEPT[plan.sharding_level]} (ZeRO {plan.sharding_level})"
    if plan.recompute != "none":
        what = "everything inside a block" if plan.recompute == "full" else "a part of each block"
        yield f"in backward, {what} is computed again ({plan.recompute} recompute)"
    if plan.offloads:
        yield "masters and the optimizer's state are kept in host memory, and updated there"


def _layers(stages: Sequence[int]) -> str:
    """4+3, or 32 × 3 where nobody would read them all."""
    if len(stages) <= (_MOST_STAGES if len(set(stages)) > 1 else _MOST_ALIKE):
        return "+".join(map(str, stages))
    runs = [(size, len(list(run))) for size, run in groupby(stages)]
    return "+".join(f"{count} × {size}" if count > 1 else str(size) for size, count in runs)


def _listed(stages: Sequence[int]) -> str:
    """4, 3 layers, or 4 layers each."""
    if len(set(stages)) == 1 and len(stages) > _MOST_ALIKE:
        return f"{counted(stages[0], 'layer')} each"
    return f"{', '.join(map(str, stages)) if len(stages) <= _MOST_STAGES else _layers(stages)} layers"


def _schedule(plan: Plan) -> str:
    return "a grid" if is_grid(plan.schedule) else plan.schedule


def _stages(plan: Plan) -> str:
    count = len(plan.stages)
    return f"{count} stages" if count == plan.pipeline else f"{plan.pipeline} ranks with {count} stages"


def _server(plan: Plan) -> str:
    alone = [counted(plan.servers, "server")] if plan.servers else []
    late = {0: [], -1: ["unbounded staleness"]}.get(plan.staleness, [f"staleness {plan.staleness}"])
    return ", ".join(["parameter server", *alone, *late])


def _served(plan: Plan) -> Iterator[str]:
    few = "the last data rank, which does nothing else"
    many = f"the last {plan.servers} data ranks, which do nothing else"
    alone = many if plan.servers > 1 else few
    yield f"weights are served by {alone if plan.servers else 'all replicas, each a part'}"
    if not plan.asynchronous:
        size = Bytes(plan.bucket_bytes)
        yield f"gradients are sent to their servers in buckets of {size}, and new weights come back once all have come"
        return
    portions = counted(plan.workers, "portion")
    yield f"a step falls into {portions}, each computed by who asks for it, and applied as it comes"
    if plan.staleness > 0:
        yield f"a portion begins with weights that lack nothing but of the last {counted(plan.staleness, 'step')}"


def _arrangement(plan: Plan) -> str:
    """Outermost first: replicas of a pipeline of stages, each split over tensor ranks; then those that only serve."""
    if plan.ranks == 1:
        return "the whole model on one device"
    parts: list[str] = []
    if plan.data > 1:
        ratio = _ratio(plan.data_shares[: plan.workers])
        parts.append(f"{counted(plan.workers, 'replica')}{ratio and f' (batch {ratio})'} of ")
    if plan.pipeline > 1:
        parts.append(f"a pipeline of {_stages(plan)} ({_listed(plan.stages)})")
    elif plan.ranks > 1:
        parts.append("the model")
    if plan.tensor > 1:
        each = ", each split" if plan.pipeline > 1 else ", split"
        ratio = _ratio(plan.tensor_shares)
        parts.append(f"{each} over {plan.tensor} tensor ranks{ratio and f' in shares of {ratio}'}")
    if plan.workers < plan.data:
        serving = (plan.data - plan.workers) * (plan.ranks // plan.data)
        parts.append(f", and {counted(serving, 'rank')} that only serve{'s' * (serving == 1)}")
    return "".join(parts)


def _ratio(shares: Sequence[float]) -> str:
    """Nothing where they are equal."""
    return "" if len(set(shares)) == 1 else " : ".join(f"{share:g}" for share in shares)
