"""Healthy plans pass, every planted mistake is caught with its tensor and axis, and what can't be proven is not."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from plait.defects import plant
from plait.errors import RankFailure, UnusableInput
from plait.planner.work import work_of_ranks
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.report import Verification
from plait.verification.verify import verify_plan
from tests.verification import own_defects

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
        return verify_plan(Job(model=model, training=training), plan, run=run_on_ranks, work_of=work_of_ranks, **more)

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
    assert found.departures == ()
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
    """With one token a sequence there is nothing to choose from, and no gradient but rounding; where a processor's
    kernels leave none of that either, it is exact."""
    model = replace(LLAMA, heads=3, kv_heads=3, bias=True, max_positions=1)
    found = verify(model, TP2, replace(TRAINING, sequence_length=1))
    chosen = [row for row in found.tensors if re.search(r"self_attn\.[qk]_proj\.", row.name)]
    zero = [row for row in found.tensors if row.verdict == "ZERO"]
    assert {row.verdict for row in chosen if row.kind == "gradient"} <= {"ZERO", "EXACT"}
    assert {row.name for row in zero} <= {row.name for row in chosen}
    assert found.verdict == ("ZERO" if zero else "REASSOCIATION")
    assert max((row.error_eps for row in zero), default=0) < 100


def test_a_learning_rate_that_blows_rounding_up_is_no_mistake(verify):
    found = verify(GPT2, TP2, replace(TRAINING, learning_rate=100.0, warmup_steps=0))
    assert found.verdict in ("REASSOCIATION", "ZERO")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_copies_of_key_value_heads_stay_equal_wherever_they_stand(verify, optimizer):
    """Ranks hold a head at different places of their slices; a fused kernel parts them in the last bit."""
    model = replace(LLAMA, heads=8, kv_heads=4, bias=True, hidden=48)  # biases of odd lengths
    plan = replace(TP2, tensor=4, tensor_shares=(2, 1.5, 1, 1.5))
    training = replace(TRAINING, optimizer=optimizer, learning_rate=0.1, warmup_steps=0, weight_decay=1.0)
    assert verify(model, plan, training).verdict == "REASSOCIATION"
    with plant("displaced-copies-fused"):
        parted = verify(model, plan, training)
    assert (parted.verdict, parted.culprit.axis) == ("BUG", "tensor")


def test_a_model_that_draws_unkeyed_numbers_is_no_bug(verify):
    with plant("unkeyed-noise"):
        found = verify(LLAMA, DP2)
    assert found.verdict == "NONDETERMINISTIC"
    assert (found.culprit.tensor, found.culprit.axis) == ("block 0", None)
    assert "BUG" not in Counter(row.verdict for row in found.tensors)


def test_what_is_not_a_number_is_named(verify):
    with plant("not-a-number"):
        found = verify(LLAMA, DP2)
    assert found.verdict == "NONFINITE"
    assert (found.culprit.tensor, found.culprit.layer) == ("loss", "head")
    assert found.denied  # one process has a number there


def test_the_wider_gradients_of_bfloat16_are_run_too(verify):
    with plant("widened-overwrites"):
        found = verify(LLAMA, DP2, replace(TRAINING, precision="bf16"))
    assert (found.verdict, found.culprit.tensor) == ("BUG", "lm_head.weight")


def test_what_an_evaluation_leaves_is_looked_at(verify):
    with plant("evaluation-moves-weights"):
        found = verify(LLAMA, DP2)
    assert (found.verdict, found.culprit.tensor) == ("BUG", "model.embed_tokens.weight")


def test_a_dying_rank_gives_its_own_traceback(verify):
    with plant("dying-rank"), pytest.raises(RankFailure, match="planted"):
        verify(LLAMA, DP2)


def test_what_breaks_without_an_axis_blames_none(verify):
    with plant("breaks-alone"):
        found = verify(GPT2, DP2)
    assert (found.verdict, found.culprit.axis) == ("BUG", None)


def test_the_defect_that_the_page_defines_does_what_it_says(verify):
    page = (Path(__file__).parents[2] / "docs" / "defects.md").read_text(encoding="utf-8")
    assert inspect.getsource(own_defects.LateClip) in page
    with plant("late-clip", axis="data", step=2):
        found = verify(GPT2, DP2)
    assert (found.verdict, found.culprit.tensor, found.culprit.axis) == ("BUG", "norm/clipped", "data")
    assert min(row.step for row in found.tensors if row.verdict == "BUG") == 2


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


def test_a_clip_that_bites_in_the_first_step_alone_is_made_to_bite_in_both(verify):
    """The norms are 1.084 and 1.070: the second step, which would pass unclipped, would prove nothing of the clip."""
    found = verify(LLAMA, DP2, replace(TRAINING, clip_norm=1.077))
    assert found.narrowed["training.clip_norm"]["job"] == 1.077
    assert found.narrowed["training.clip_norm"]["verified"] < 0.54


@pytest.mark.parametrize("plan", [DP2, PP2], ids=["dp2", "pp2"])
def test_bfloat16_is_proven_in_wider_dtypes_with_its_masters_apart(verify, plan):
    found = verify(GPT2, plan, replace(TRAINING, precision="bf16"))
    assert found.verdict == "REASSOCIATION"
    assert found.narrowed["training.precision"]["job"] == "bf16"
    assert "training.precision" not in found.kept


def test_weights_that_are_not_taken_from_their_masters_are_caught(verify):
    mixed = replace(TRAINING, precision="bf16")
    with plant("masters-not-copied"):
        found = verify(LLAMA, DP2, mixed)
        assert verify(LLAMA, DP2).verdict == "REASSOCIATION"  # there are none
    assert found.verdict == "BUG"
    assert found.culprit.tensor == "model.embed_tokens.weight"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("level", [0, 3])
def test_an_optimizer_in_host_memory_is_proven(verify, level, precision):
    plan = replace(DP2_TP2, zero=level, offload="optimizer")
    found = verify(GPT2, plan, replace(TRAINING, precision=precision))
    assert found.verdict == "REASSOCIATION"
    assert found.departures == ()
    assert found.kept["plan.offload"] == "optimizer"
    with plant("offloaded-weight-left-behind", step=2):
        found = verify(GPT2, plan, replace(TRAINING, precision=precision))
    assert (found.verdict, found.culprit.tensor) == ("BUG", "transformer.ln_f.bias")
    assert min(row.step for row in found.tensors if row.verdict == "BUG") == 2


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
