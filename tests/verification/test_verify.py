"""Healthy plans pass, every planted mistake is caught with its tensor and axis, and what can't be proven is not."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load_file

from plait.errors import RankFailure, UnusableInput
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.report import Verification
from plait.verification.verify import verify_plan
from tests.verification import faults

GPT2 = ModelSpec(layers=3, hidden=12, heads=3, kv_heads=3, ffn=18, vocab=31, max_positions=9)
LLAMA = replace(
    GPT2, heads=6, kv_heads=2, hidden=24, positions="rope", norm="rms", activation="swiglu", bias=False,
    tie_embeddings=False,
)  # fmt: skip
TRAINING = TrainingSpec(global_batch=8, sequence_length=9)

DP2 = Plan(data=2, data_shares=(1, 1), stages=(3,), microbatch=2, bucket_bytes=4096)
TP2 = Plan(tensor=2, tensor_shares=(1, 1), stages=(3,), microbatch=4)
SP2 = replace(TP2, sequence_parallel=True)
PP2 = Plan(pipeline=2, stages=(2, 1), microbatch=2)
DP2_TP2 = replace(SP2, data=2, data_shares=(1, 1), bucket_bytes=4096)
DP2_TP2_PP2 = replace(DP2_TP2, pipeline=2, stages=(2, 1), microbatch=2)


@pytest.fixture
def verify(run_on_ranks):
    def one(model, plan, training=TRAINING, **more) -> Verification:
        return verify_plan(Job(model=model, training=training), plan, run=run_on_ranks, **more)

    return one


@pytest.mark.parametrize(
    ("model", "plan", "training"),
    [
        (GPT2, Plan(stages=(3,), microbatch=2), TRAINING),
        (GPT2, DP2, replace(TRAINING, optimizer="sgd")),
        (LLAMA, SP2, TRAINING),
        (replace(GPT2, dropout=0.1), TP2, replace(TRAINING, clip_norm=0.0)),
        (replace(LLAMA, kv_heads=1, bias=True), replace(TP2, tensor=3, tensor_shares=(1, 1, 1)), TRAINING),
        (replace(LLAMA, dropout=0.1), PP2, replace(TRAINING, precision="fp64")),
        (GPT2, DP2_TP2, TRAINING),
        (replace(GPT2, activation="relu"), DP2_TP2_PP2, TRAINING),
    ],
    ids=["one rank", "dp2", "tp2 sp", "tp2", "tp3", "pp2", "dp2 tp2", "dp2 tp2 pp2"],
)
def test_a_healthy_plan_is_the_same_model(verify, model, plan, training):
    found = verify(model, plan, training)
    assert found.verdict in ("REASSOCIATION", "ZERO")
    assert found.culprit is None
    assert not [row for row in found.tensors if row.axes]
    assert found.drift["fp64"] < 1e-9
    assert {(row.step, row.precision) for row in found.tensors} == {(s, p) for s in (1, 2) for p in ("fp64", "fp32")}
    kinds = {"value", "loss", "gradient", "weight", "optimizer"} | ({"norm"} if training.clip_norm else set())
    assert {row.kind for row in found.tensors} == kinds


def test_noise_inside_a_tensor_is_no_mistake(verify):
    """A key's bias changes no attention: its part of q|k|v has a gradient of rounding alone, which Adam blows up."""
    found = verify(GPT2, TP2, replace(TRAINING, learning_rate=1.0, warmup_steps=0))
    biases = [row for row in found.tensors if row.name.startswith("transformer.h.1.attn.c_attn.bias")]
    assert {row.verdict for row in biases} == {"EXACT", "REASSOCIATION"}
    assert max(row.error for row in biases if row.kind == "weight" and row.precision == "fp32") > 1e-3


def test_queries_and_keys_of_single_tokens_are_zero_in_mathematics(verify):
    """With one token a sequence there is nothing to choose from, and no gradient but rounding."""
    model = replace(LLAMA, heads=3, kv_heads=3, bias=True, max_positions=1)
    found = verify(model, TP2, replace(TRAINING, sequence_length=1))
    zero = {row.name.partition("/")[0].rpartition(".self_attn.")[2] for row in found.tensors if row.verdict == "ZERO"}
    assert found.verdict == "ZERO"
    assert zero <= {"q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias"}
    assert "k_proj.bias" in zero
    assert max(row.error_eps for row in found.tensors if row.verdict == "ZERO") < 100


def test_a_learning_rate_that_blows_rounding_up_is_no_mistake(verify):
    found = verify(GPT2, TP2, replace(TRAINING, learning_rate=100.0, warmup_steps=0))
    assert found.verdict in ("REASSOCIATION", "ZERO")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_copies_of_key_value_heads_stay_equal_wherever_they_stand(verify, optimizer):
    """Ranks hold a head at different places of their slices; a fused kernel parts them in the last bit."""
    model = replace(LLAMA, heads=8, kv_heads=4, bias=True, hidden=16)  # biases of 2 and 4 features
    plan = replace(TP2, tensor=4, tensor_shares=(2, 1.5, 1, 1.5))
    training = replace(TRAINING, optimizer=optimizer, learning_rate=0.1, warmup_steps=0, weight_decay=1.0)
    assert verify(model, plan, training).verdict == "REASSOCIATION"
    parted = verify(model, plan, training, around=faults.fused_everywhere)
    assert (parted.verdict, parted.culprit.axis) == ("BUG", "tensor")


CASES = {
    "no sums over the sequence": (faults.no_sums_over_the_sequence, LLAMA, SP2, "model.norm.weight", "tensor", 1),
    "no sum of tied copies": (faults.no_sum_of_tied_copies, GPT2, PP2, "transformer.wte.weight", "pipeline", 1),
    "a stage scaled": (partial(faults.first_stage_scaled, 2), LLAMA, PP2, "block 1/gradient", "pipeline", 1),
    "a stage scaled slightly": (
        partial(faults.first_stage_scaled, 1 + 1e-7), LLAMA, PP2, "block 1/gradient", "pipeline", 1,
    ),
    "row bias on every rank": (faults.row_bias_on_every_rank, GPT2, TP2, "block 0", "tensor", 2),
    "norm counts copies": (faults.norm_counts_copies, GPT2, DP2_TP2, "norm", "tensor", 1),
    "a bucket stays local": (faults.first_bucket_stays_local, GPT2, DP2, "transformer.ln_f.bias", "data", 1),
    "divided by local tokens": (faults.divided_by_local_tokens, GPT2, DP2_TP2, "transformer.ln_f.bias", "data", 1),
    "the last microbatch only": (faults.last_microbatch_only, GPT2, DP2, "transformer.ln_f.bias", None, 1),
    "a layer lost": (faults.layer_lost_between_stages, LLAMA, PP2, "block 1", "pipeline", 1),
    "a copy drifts": (faults.one_copy_drifts, LLAMA, DP2, "model.embed_tokens.weight", "data", 1),
    "dropout by local sample": (
        faults.dropout_by_local_sample, replace(GPT2, dropout=0.1), DP2, "embedding", "data", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "model", "plan", "tensor", "axis", "step"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_caught_with_its_tensor_and_axis(verify, fault, model, plan, tensor, axis, step):
    found = verify(model, plan, around=fault)
    assert found.verdict == "BUG"
    assert (found.culprit.tensor, found.culprit.axis) == (tensor, axis)
    assert min(row.step for row in found.tensors if row.verdict == "BUG") == step
    blind = ("no sums", "no sum of", "a stage", "norm", "a bucket", "divided", "the last", "a copy")
    if any(CASES[name][0] is fault for name in CASES if name.startswith(blind)):
        assert found.losses[0] == pytest.approx(found.losses[1], rel=1e-14)  # comparing losses sees nothing


def test_a_model_that_draws_unkeyed_numbers_is_no_bug(verify):
    found = verify(LLAMA, DP2, around=faults.unkeyed_noise)
    assert found.verdict == "NONDETERMINISTIC"
    assert found.culprit is None
    assert "BUG" not in Counter(row.verdict for row in found.tensors)


def test_what_is_not_a_number_is_named(verify):
    found = verify(LLAMA, DP2, around=faults.not_a_number)
    assert found.verdict == "NONFINITE"
    assert (found.culprit.tensor, found.culprit.layer) == ("loss", "head")


def test_a_dying_rank_gives_its_own_traceback(verify):
    with pytest.raises(RankFailure, match="planted"):
        verify(LLAMA, DP2, around=faults.dying_rank)


@contextmanager
def only_in_parallel():
    """Mistaken on two ranks, and broken on one."""
    import os

    if os.environ["WORLD_SIZE"] == "1":
        raise ArithmeticError("broken without the axis")
    with faults.divided_by_local_tokens():
        yield


def test_what_breaks_without_an_axis_blames_none(verify):
    around: type[AbstractContextManager] = only_in_parallel
    found = verify(GPT2, DP2, around=around)
    assert (found.verdict, found.culprit.axis) == ("BUG", None)


def test_the_dump_has_both_sides_whole_gradients(verify, tmp_path):
    verify(GPT2, DP2_TP2, dump=tmp_path / "new" / "dump")
    reference, parallel = (load_file(tmp_path / "new" / "dump" / f"{s}.safetensors") for s in ("reference", "parallel"))
    assert reference.keys() == parallel.keys()
    assert {key.partition("/")[2] for key in reference if key.startswith("step2/fp32")} >= {
        "fp32/transformer.wte.weight"
    }
    for key, gradient in reference.items():
        assert gradient.shape == parallel[key].shape
        assert gradient.dtype == (np.float64 if "/fp64/" in key else np.float32)
        assert np.allclose(gradient, parallel[key], rtol=1e-3, atol=1e-6)
    assert reference["step1/fp64/transformer.wte.weight"].shape == (31, 12)


def test_a_dump_that_can_not_be_written_is_the_user_s_to_mend(verify, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnusableInput, match="can't be written"):
        verify(GPT2, DP2, dump=tmp_path / "file")
    (tmp_path / "dump" / "reference.safetensors").mkdir(parents=True)
    with pytest.raises(UnusableInput, match="can't be written"):
        verify(GPT2, DP2, dump=tmp_path / "dump")


def test_a_clip_that_would_do_nothing_is_made_to_bite(verify):
    found = verify(GPT2, DP2, replace(TRAINING, clip_norm=100.0))
    assert found.narrowed["training.clip_norm"]["job"] == 100.0
    assert found.narrowed["training.clip_norm"]["verified"] < 10.0
    assert "training.clip_norm" in verify(GPT2, DP2, replace(TRAINING, clip_norm=0.01)).kept


@pytest.mark.parametrize("plan", [DP2, PP2], ids=["dp2", "pp2"])
def test_bfloat16_is_proven_in_wider_dtypes_with_its_masters_apart(verify, plan):
    found = verify(GPT2, plan, replace(TRAINING, precision="bf16"))
    assert found.verdict == "REASSOCIATION"
    assert found.narrowed["training.precision"]["job"] == "bf16"
    assert "training.precision" not in found.kept


def test_weights_that_are_not_taken_from_their_masters_are_caught(verify):
    mixed = replace(TRAINING, precision="bf16")
    found = verify(LLAMA, DP2, mixed, around=faults.masters_not_copied)
    assert found.verdict == "BUG"
    assert found.culprit.tensor == "model.embed_tokens.weight"
    assert verify(LLAMA, DP2, around=faults.masters_not_copied).verdict == "REASSOCIATION"  # there are none


def test_a_job_for_a_thousand_ranks_is_proven_on_eight(verify):
    model = replace(LLAMA, layers=32, hidden=4096, heads=32, kv_heads=8, ffn=14336, vocab=128256, max_positions=4096)
    training = TrainingSpec(global_batch=1024, sequence_length=4096)
    shares = {"data_shares": (1,) * 16, "tensor_shares": (1,) * 8}
    plan = Plan(data=16, tensor=8, pipeline=8, stages=(4,) * 8, microbatch=2, sequence_parallel=True, **shares)
    found = verify(model, plan, training)
    assert found.verdict == "REASSOCIATION"
    assert found.narrowed["plan.data"] == {"job": 16, "verified": 2}
    assert found.kept["plan.schedule"] == "1f1b"


def test_it_starts_and_ends_ranks_of_its_own():
    found = verify_plan(Job(model=LLAMA, training=TRAINING), DP2)
    assert found.verdict == "REASSOCIATION"
    assert found.seconds > 0
