"""What a row's run was: a model, machines, a plan, or why it can't be said.

What a row does not state is taken in the way that is usual, or asked of the price: of microbatches, and of what is
done again, that nobody stated those with the shortest step that fits are taken: who ran it will have looked for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from plait.estimates.arrangements import RECOMPUTE, SCHEDULES, Arrangements
from plait.estimates.task import Task
from plait.evaluation.practices import practice_of
from plait.evaluation.rows import Row
from plait.evaluation.spellings import precision, recompute, sequence_parallel, unread, zero_level
from plait.plans.arrangements import split_units
from plait.specs.hardware import DeviceSpec
from plait.specs.hardware_words import device_in, wiring_in
from plait.specs.machines import Machines
from plait.specs.model import ModelSpec
from plait.specs.presets import PRESETS
from plait.specs.values import DEEPEST

__all__ = ["Run", "Unreadable", "read_run"]

_HEAD_WIDTH = 128  # of heads that nobody counted
_ENDS = 2  # embedding and head, which may be stages of their own
_ONE_TOKEN = re.compile(r"\b(?:w/o|without|no) mtp\b", re.IGNORECASE)  # multi-token prediction was left out
_LACKED = re.compile(r"\b(?:non?|not|without|w/o)[\s-]+(?:moe|experts?|lora|adapters?)\b")
_VOCABULARY = {"gpt": 51_200, "llama": 128_256}  # where none is stated: Megatron's padded GPT-2, Llama 3


class Unreadable(Exception):
    """Why a row's run can't be modelled, in words that are alike for rows that lack the same."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A measured run: what was done and how. `plans` has a row for each microbatch that it may have had. `assumed`:
    which links, "inside" hosts or "between" them, were taken to be the usual ones of such hosts. `unread`: columns
    whose words are not known, and which were taken for empty."""

    task: Task
    plans: Arrangements
    assumed: frozenset[str]
    unread: tuple[str, ...] = ()


def read_run(row: Row) -> Run:
    """The run of a row. Raises Unreadable."""
    if row.problems:
        raise Unreadable("; ".join(row.problems))
    if re.search(r"\blora\b|\badapters?\b", _LACKED.sub(" ", row.text("notes"))):
        raise Unreadable("only adapters were trained, which has no price here")
    device = device_in(row.texts.get("gpu", ""))
    if device is None:
        raise Unreadable(f"no known device is called {row.texts.get('gpu', '')!r}")
    ranks = _needed(row, "n_gpus")
    batch, sequence = _needed(row, "gbs"), _needed(row, "seq")
    model = _model(row, sequence)
    dtype = _dtype(row, device)
    each = _devices_a_host(row, device, ranks)
    wiring = wiring_in(row.texts.get("interconnect", ""), device, each)
    machines = Machines(
        first_rank=0, nodes=ranks // each, devices_per_node=each, device=device, inside=wiring.inside,
        between=wiring.between, price_per_hour=None, power_watts=device.power_watts,
    )  # fmt: skip
    task = Task(
        model=model, global_batch=batch, sequence=sequence, machines=machines, dtype=dtype, practice=practice_of(row)
    )
    return Run(task=task, plans=_plans(row, task), assumed=wiring.assumed & _used(machines), unread=unread(row))


def _needed(row: Row, column: str) -> int:
    found = row.whole(column)
    if found is None:
        raise Unreadable(f"{column} is not stated")
    return found


def _devices_a_host(row: Row, device: DeviceSpec, ranks: int) -> int:
    most = min(row.whole("gpus_per_node") or device.per_node, ranks)
    return max(size for size in range(1, most + 1) if ranks % size == 0)


def _used(machines: Machines) -> set[str]:
    """Which links such machines send over: between hosts nothing where all stand in one domain of the link inside."""
    found = {"inside": machines.domain > 1, "between": machines.ranks > machines.domain}
    return {name for name, used in found.items() if used}


def _dtype(row: Row, device: DeviceSpec) -> str:
    found = precision(row.text("precision")) or "bf16"
    if device.peak(found) is None and found in ("bf16", "fp16"):
        found = "fp16" if found == "bf16" else "bf16"
    if device.peak(found) is None:
        raise Unreadable(f"{device.name} has no peak for {found} in the catalogue")
    return found


# ---- the model ------------------------------------------------------------------------------------------------------


def _model(row: Row, sequence: int) -> ModelSpec:
    hidden = row.whole("hidden")
    if hidden is None:
        return _named(row, sequence)
    family = "llama" if re.search(r"llama|qwen|mistral", row.text("arch")) else "gpt"
    if re.search(r"moe|expert|hybrid|mamba", _LACKED.sub(" ", row.text("arch"))):
        raise Unreadable("an architecture with experts or other blocks whose sizes are not stated")
    if re.search(r"\bm?t5\b|encoder\W?decoder|u-?net\b|diffusion|\bvit\b|resnet", row.text("arch")):
        raise Unreadable("an architecture that is no decoder, whose blocks are not modelled")
    ffn = row.whole("ffn") or 4 * hidden
    vocab = row.whole("vocab") or _VOCABULARY[family]
    gated = family == "llama"
    layers = row.whole("layers") or _layers(row, hidden, ffn, vocab, gated)
    heads = row.whole("heads") or max(1, hidden // _HEAD_WIDTH)
    if heads % (row.whole("kv_heads") or heads):
        raise Unreadable("kv_heads does not divide heads, which is not modelled: a job with them is refused")
    return ModelSpec(
        layers=layers, hidden=hidden, heads=heads, kv_heads=row.whole("kv_heads") or heads, ffn=ffn, vocab=vocab,
        max_positions=sequence, positions="rope" if gated else "learned", norm="rms" if gated else "layer",
        activation="swiglu" if gated else "gelu", bias=not gated, tie_embeddings=not gated,
        head_width=None if hidden % heads == 0 else max(1, hidden // heads),
    )  # fmt: skip


def _layers(row: Row, hidden: int, ffn: int, vocab: int, gated: bool) -> int:
    billions = row.number("params_b")
    if billions is None:
        raise Unreadable("neither layers nor parameters are stated")
    block = 4 * hidden**2 + (3 if gated else 2) * hidden * ffn
    found = max(1, round((billions * 1e9 - vocab * hidden) / block))
    if found > DEEPEST:
        raise Unreadable(f"so many parameters would be more than {DEEPEST:,} layers")
    return found


def _named(row: Row, sequence: int) -> ModelSpec:
    told = row.texts.get("model", "")
    name = _bare(re.sub(r"\(.*", "", told))
    known = {_bare(preset): preset for preset in PRESETS}
    if name not in known:
        raise Unreadable("a model whose sizes are neither stated nor in the catalogue")
    shape: dict[str, Any] = {**PRESETS[known[name]], "max_positions": sequence}
    if _ONE_TOKEN.search(f"{told} {row.text('notes')}"):
        shape["prediction_layers"] = 0
    return ModelSpec(**shape)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


# ---- the plan -------------------------------------------------------------------------------------------------------


def _plans(row: Row, task: Task) -> Arrangements:
    model, batch, ranks = task.model, task.global_batch, task.machines.ranks
    tensor, pipeline, context, expert = (row.whole(column) or 1 for column in ("tp", "pp", "cp", "ep"))
    inner = tensor * pipeline * context
    data = row.whole("dp") or max(1, ranks // inner)
    if data * inner != ranks:
        raise Unreadable("tp × pp × cp × dp is not n_gpus")
    if data * (row.whole("mbs") or 1) > batch:
        raise Unreadable("fewer sequences in a batch than microbatch × data ranks")
    virtual = _virtual_stages(row, model, pipeline)
    _require_legal(task, stages=pipeline * virtual, tensor=tensor, context=context, expert=expert)
    if (ranks // pipeline) % expert:
        raise Unreadable("ep does not divide the tp × cp × dp devices of a stage")
    open_keys = list(product(_microbatches(row, batch // data), _recompute(row)))
    sizes, again = [size for size, _ in open_keys], [RECOMPUTE.index(name) for _, name in open_keys]

    def column(value: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.full(len(sizes), value, dtype=np.int64)

    return Arrangements(
        data=column(data), tensor=column(tensor), pipeline=column(pipeline), context=column(context),
        expert=column(expert), microbatch=np.array(sizes, dtype=np.int64),
        schedule=column(SCHEDULES.index("interleaved" if virtual > 1 else "1f1b")),
        virtual_stages=column(virtual),
        zero=column(_zero(row)), recompute=np.array(again, dtype=np.int64),
        sequence_parallel=np.full(len(sizes), _sequence_parallel(row, tensor)),
        offload=np.zeros(len(sizes), dtype=bool),
    )  # fmt: skip


def _require_legal(task: Task, *, stages: int, tensor: int, context: int, expert: int) -> None:
    """Raises Unreadable for what `plait check` refuses in a job: nobody has a price for it."""
    if stages > task.model.layers + _ENDS:
        raise Unreadable("fewer layers than stages")
    name, units = min(split_units(task.model).items(), key=lambda item: item[1])
    if tensor > units:
        raise Unreadable(f"more tensor ranks than {name}, which is not modelled: a job with them is refused")
    if expert > 1 and task.model.experts is None:
        raise Unreadable("ep of a model that has no experts")
    if task.model.experts is not None and task.model.experts.count % expert:
        raise Unreadable("ep does not divide the experts")
    if context > task.sequence:
        raise Unreadable("more context ranks than tokens of a sequence")


def _microbatches(row: Row, share: int) -> list[int]:
    stated = row.whole("mbs")
    if stated is not None:
        return [stated]
    return [1 << power for power in range(share.bit_length()) if share % (1 << power) == 0]


def _virtual_stages(row: Row, model: ModelSpec, pipeline: int) -> int:
    stated = row.whole("vpp")
    if stated is None and pipeline > 1 and re.search("interleav", f"{row.text('vpp')} {row.text('notes')}"):
        stated = next((v for v in (4, 3, 2) if model.layers % (pipeline * v) == 0), 1)
    return stated or 1


def _zero(row: Row) -> int:
    """As the row states it, or as its framework's name does: "PyTorch FSDP"."""
    found = zero_level(row.text("zero_fsdp"))
    return (zero_level(row.text("framework")) or 0) if found is None else found


def _recompute(row: Row) -> tuple[str, ...]:
    """What the run may have done again."""
    found = recompute(row.text("recompute"))
    if found is not None:
        return (found,)
    # models of that time were trained with full recompute where attention kept its scores
    return ("full",) if row.text("framework").startswith("megatron-deepspeed") else RECOMPUTE


def _sequence_parallel(row: Row, tensor: int) -> bool:
    found = sequence_parallel(row.text("seq_parallel"))
    if found is None:
        found = bool(re.search(r"bridge|core|torchtitan|nemo|\bte\b", row.text("framework")))
    return found and tensor > 1
