"""What people write of a plan, as papers, frameworks and switches spell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.evaluation.reading import read_run
from plait.evaluation.rows import read_rows
from plait.evaluation.spellings import precision, recompute, sequence_parallel, stated, zero_level

SHARDED = {
    3: ("FSDP", "fsdp", "FSDP2", "FSDP2 32", "FSDP2 1", "PyTorch FSDP1", "Megatron-FSDP", "FSDP=8", "FSDP no offload",
        "ZeRO-3", "zero3", "ZeRO 3", "stage 3", "zero stage 3", "ZeRO (stage 3)", "zero_stage=3", "ZeRO-3++", "z3", "3",
        "3.0", "full_shard", "ShardingStrategy.FULL_SHARD", "FSDP full_shard (ZeRO-3)", "Fully Sharded Data Parallel",
        "hybrid_shard", "HSDP", "FSDP+DDP", "optim_grads_params", "ZeRO-Infinity", "dp_shard 8"),
    2: ("shard_grad_op", "SHARD_GRAD_OP", "FSDP shard_grad_op (ZeRO-2)", "zero2", "ZeRO-2", "stage 2", "2",
        "_HYBRID_SHARD_ZERO2", "optim_grads", "FSDP reshard_after_forward=False", "FSDP, no reshard after forward"),
    1: ("ZeRO-1", "ZeRO-1 (distributed optimizer)", "dist-optimizer (Megatron default; not in table)", "dist opt",
        "distributed optimizer (overlap-param-gather)", "use_distributed_optimizer", "optimizer state sharding",
        "ZeroRedundancyOptimizer", "sharded optimizer", "stage 1", "1", "ZeRO-1, no FSDP", "ZeRO1 + DDP"),
    0: ("no_shard", "NO_SHARD", "FSDP no_shard", "ddp", "DDP", "none", "None (DDP)", "no", "off", "0", "ZeRO-0",
        "no FSDP", "without ZeRO", "w/o ZeRO-3", "FSDP: off", "fsdp=false", "not sharded", "no sharding", "unsharded",
        "distributed data parallel", "DP"),
}  # fmt: skip
UNKNOWN = ("ZeRO", "ZeRO-4", "ZeRO-1 or ZeRO-3", "ShardedDDP", "hybrid", "yes", "frobnicated")
UNSTATED = ("", "unstated", "n/a", "-", "?", "unknown", "not stated", "see the paper")


@pytest.mark.parametrize(("level", "text"), [(level, text) for level, texts in SHARDED.items() for text in texts])
def test_a_level_of_sharding_has_many_names(level: int, text: str) -> None:
    assert zero_level(text.lower()) == level


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_names_no_level_or_two_is_not_taken_for_none(text: str) -> None:
    assert zero_level(text.lower()) is None
    assert stated(text.lower())


@pytest.mark.parametrize("text", UNSTATED)
def test_a_cell_may_say_that_it_says_nothing(text: str) -> None:
    assert not stated(text)
    assert zero_level(text) is recompute(text) is sequence_parallel(text) is precision(text) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Full", "full"), ("full (use_checkpoint:true in matching config)", "full"), ("full (no offload)", "full"),
        ("see config_val_single_*.json use_checkpoint", "full"), ("uniform", "full"), ("yes", "full"), ("AC", "full"),
        ("activation checkpointing", "full"), ("selective (op SAC)", "selective"), ("SAC", "selective"),
        ("none", "none"), ("No", "none"), ("off", "none"), ("false", "none"), ("0", "none"),
        ("activation checkpointing: none", "none"), ("without activation checkpointing", "none"), ("partial", None),
    ],
)  # fmt: skip
def test_what_is_done_again(text: str, kind: str | None) -> None:
    assert recompute(text.lower()) == kind


@pytest.mark.parametrize(
    ("text", "split"),
    [("yes (not in table)", True), ("True", True), ("1", True), ("on", True), ("✓", True), ("no", False),
     ("False", False), ("0", False), ("off", False), ("✗", False), ("maybe", None)],
)  # fmt: skip
def test_whether_the_sequence_is_split(text: str, split: bool | None) -> None:
    assert sequence_parallel(text.lower()) is split


@pytest.mark.parametrize(
    ("text", "dtype"),
    [("bf16-amp/DEFAULT", "bf16"), ("bfloat16", "bf16"), ("float16", "fp16"), ("FP8-MX", "mxfp8"), ("FP 8", "fp8"),
     ("MX-FP8", "mxfp8"), ("float8 linear compile", "fp8"), ("bf16 + fp32 grad accum", "bf16"), ("int4", None)],
)  # fmt: skip
def test_what_products_are_computed_in(text: str, dtype: str | None) -> None:
    assert precision(text.lower()) == dtype


def plans_and_practices(tmp_path: Path, *cells: str) -> list[tuple[int, bool]]:
    """Of runs whose framework and sharding these are: the level, and whether shares are float32, as FSDP's are."""
    head = "model,gpu,n_gpus,gbs,seq,iter_s,layers,hidden,framework,zero_fsdp"
    lines = [f"GPT,A100,8,64,2048,1,24,2048,{both}" for both in cells]
    (path := tmp_path / "runs.csv").write_text("\n".join([head, *lines]))
    runs = [read_run(row) for row in read_rows(path)]
    return [(int(run.plans.zero[0]), run.task.practice.wide_shards) for run in runs]


def test_a_framework_s_name_says_what_an_empty_cell_does_not(tmp_path: Path) -> None:
    found = plans_and_practices(tmp_path, "PyTorch FSDP,", "PyTorch FSDP,none", "Megatron-LM,")
    assert [level for level, _ in found] == [3, 0, 0]


def test_a_strategy_of_fsdp_is_the_practice_of_fsdp(tmp_path: Path) -> None:
    found = plans_and_practices(tmp_path, "PyTorch,FSDP", "PyTorch,full_shard", "PyTorch,HSDP", "PyTorch,DDP")
    assert found == [(3, True), (3, True), (3, True), (0, False)]
