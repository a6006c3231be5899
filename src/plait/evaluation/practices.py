"""How the program of a measured run does its work, from what its row says of it: its name, its year, its switches.

    Megatron-DeepSpeed          explicit attention in fused kernels; sums after backward; gradients held twice
    Megatron-LM until 2021      the same, summed once; from 2022 gradients are added by the products themselves
    Megatron-Core, TE, NeMo     vendor attention, everything overlapped, unless the notes say that it was off
    FSDP, torchtitan, Composer  float32 shares; PyTorch's or Triton's attention; compiled where the row says so

These are facts about programs, from their documentation and source; none is about one source's runs.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf

from plait.estimates.practice import Practice
from plait.evaluation.rows import Row

__all__ = ["practice_of"]

_MEGATRON = Practice(
    fused_kernels=True,
    balanced=False,
    whole_sends=False,
    selects_products=False,
    waiting_weights=False,
    overlap_gathers=False,
)
_EXPLICIT = replace(
    _MEGATRON, fused_attention=False, masks=True, overlap_data=False, overlap_tensor=False, gradient_bytes=2
)
# Sends of interleaved stages overlap unless --no-overlap-p2p-communication, not while the pipeline fills and drains
# (--overlap-p2p-communication-warmup-flush is off), and never those of a stage a rank: NVIDIA/Megatron-LM@d98e8a6,
# megatron/training/arguments.py (overlap_p2p_comm) and core/pipeline_parallel/schedules.py; the same by default in
# NVIDIA-NeMo/Megatron-Bridge@0685ff5, training/comm_overlap.py.
# Runs in Megatron-LM's README and Megatron-Bridge's recipes have --tp-comm-overlap, which takes products and transfers
# to pieces under sequence parallelism, and --overlap-param-gather; sums go block by block (communication-overlap.md).
_CORE = replace(
    _MEGATRON, fused_gradients=True, overlap_sends=True, pipelined_tensor=True, overlap_gathers=True, bucket_bytes=inf
)
_FSDP = Practice(wide_shards=True, attention_kernel=2, waiting_weights=False)
_YEAR = re.compile(r"(?<![0-9])20[12][0-9](?![0-9])")
_OVERLAP_OFF = re.compile(r"overlap[^;,.]{0,40}\b(?:off|disabled)\b")
_OVERLAPS = ("overlap_data", "overlap_gathers", "overlap_tensor", "overlap_sends", "pipelined_tensor")
_MODERN = 2022  # Megatron-LM adds gradients in its products, and hides sums behind them, since early 2022


def practice_of(row: Row) -> Practice:
    """The practice of a row's program; Plait's own where it is not known."""
    told = f"{row.text('framework')} {row.text('zero_fsdp')}"
    found = _of_program(told, row)
    notes = f"{row.text('notes')} {row.text('precision')}"
    if _OVERLAP_OFF.search(notes):
        off = dict.fromkeys(_OVERLAPS, False)
        found = replace(found, **off)
    if re.search(r"\bcompile", notes):
        found = replace(found, compiled=True)
    if re.search(r"async ?tp|asynctp", notes):
        found = replace(found, pipelined_tensor=True)
    if re.search(r"fp32 (?:grad|accum)", notes):
        found = replace(found, gradient_bytes=4)
    return found


def _of_program(told: str, row: Row) -> Practice:
    if "megatron" in told and "deepspeed" in told:
        return replace(_EXPLICIT, gradient_copies=2, whole_sends=True, balanced=True)
    if re.search(r"megatron-core|megatron-bridge|nemo|\bte\b|transformer ?engine", told):
        return _CORE
    if "megatron" in told:
        modern = _year(row) >= _MODERN
        return replace(_EXPLICIT, overlap_tensor=modern, fused_gradients=modern)
    if "composer" in told or "foundry" in told:
        pure = "pure" in row.text("precision")
        return replace(_FSDP, attention_kernel=1, gradient_bytes=2 if pure else 4, loss_bytes=6.0)
    if re.search(r"torchtitan|[fh]sdp|(?:full|hybrid)_shard|shard_grad_op|fully[ _-]sharded", told):
        return replace(_FSDP, gathers_once=(row.whole("pp") or 1) > 1)
    if "deepspeed" in told:
        return replace(_EXPLICIT, overlap_data=True, gradient_copies=1)
    return Practice()


def _year(row: Row) -> int:
    """The latest year that the row speaks of; 0: none."""
    told = " ".join(row.text(column) for column in ("source", "source_file", "framework"))
    return max(map(int, _YEAR.findall(told)), default=0)
