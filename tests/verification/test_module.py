"""A module of the user's own, proven as a job is; and what can't be proven of one, told as such."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import plait
from plait.errors import IllegalJob
from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer, Weight
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.sequences import Sequences
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.source import Experiment
from plait.verification.verify import verify_module

SPEC = ModelSpec(
    layers=2, hidden=24, heads=6, kv_heads=2, ffn=18, vocab=31, max_positions=9, positions="rope", norm="rms",
    activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip
DP2 = Plan(data=2, data_shares=(1, 1), stages=(2,), microbatch=2)
TP2 = Plan(tensor=2, tensor_shares=(1, 1), stages=(2,), microbatch=4)
PP2 = Plan(pipeline=2, stages=(1, 1), microbatch=2)
BATCH = torch.randint(31, (8, 10), generator=torch.Generator().manual_seed(0))
TRAINING = TrainingSpec(clip_norm=0.1)


def plain() -> Decoder:
    decoder = Decoder(SPEC, seed=1)
    initialise(decoder, SPEC, seed=1)
    return decoder


def torch_s_own_draw() -> Decoder:
    """As most modules begin: from torch's generator."""
    decoder = Decoder(SPEC)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.05)
    return decoder


class Gain(nn.Module):
    """A block, scaled by a weight of its own."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.gain = nn.Parameter(torch.full((SPEC.hidden,), 1.5))

    def forward(self, hidden, sequences):
        return self.block(hidden, sequences) * self.gain


def gained() -> Decoder:
    decoder = plain()
    decoder.blocks["1"] = Gain(decoder.blocks["1"])
    return decoder


def rules_of_gained() -> list[Layer]:
    """Plait's own, with the paths inside of the block moved, and the gain beside them."""
    found = list(describe_gpt(SPEC))
    root = "model.layers.1"
    moved = [replace(w, path=w.path.replace(root, f"{root}.block"), name=w.name.replace(root, f"{root}.block"))
             for w in found[2].weights]  # fmt: skip
    like = moved[0]
    gain = Weight(name=f"{root}.gain", path=f"{root}.gain", dims=like.dims, init=like.init, decays=False)
    found[2] = replace(found[2], weights=(*moved, gain))
    return found


class Around(nn.Module):
    """A block, and something done to what it gives."""

    def __init__(self, block: nn.Module, change) -> None:
        super().__init__()
        self.block, self.change = block, change

    def forward(self, hidden, sequences):
        return self.change(self.block(hidden, sequences))


def changed(change) -> Decoder:
    """A decoder whose first block's values are changed; weights keep their names."""
    decoder = plain()
    block = decoder.blocks["0"]
    forward = block.forward
    block.forward = lambda hidden, sequences: change(forward(hidden, sequences))
    return decoder


def noisy() -> Decoder:
    return changed(lambda x: x + 1e-3 * torch.randn(()))


def branching() -> Decoder:
    """Flips its sign by last bits, which are rounding alone: ranks that sum otherwise go the other way."""
    whole = {4: torch.int32, 8: torch.int64}
    return changed(lambda x: x if x.detach().contiguous().view(whole[x.element_size()]).sum() % 2 > 0 else -x)


def guarded() -> Decoder:
    """Looks at its data, and never goes another way."""
    return changed(lambda x: x if torch.isfinite(x).all() and x.abs().max().item() < 1e9 else x / 0)


def cast_by_name() -> Decoder:
    return changed(lambda x: (x.float() * 1.25).to(x.dtype))


def cast_for_good() -> Decoder:
    return changed(lambda x: (x.type("torch.FloatTensor") * 1.25).to(x.dtype))


def not_a_number() -> Decoder:
    decoder = plain()
    with torch.no_grad():
        decoder.get_parameter("model.layers.1.mlp.down_proj.weight")[0, 0] = float("inf")
    return decoder


@pytest.fixture
def verify(run_on_ranks):
    def one(build, plan, rules=None, training=TRAINING):
        return verify_module(Experiment.given(build, rules, plan, BATCH, training), run=run_on_ranks)

    return one


@pytest.mark.parametrize("more", [{"synchronisation": "diloco", "local_steps": 4}, {"compression": "topk:0.1"}])
def test_a_module_s_replicas_are_proven_by_what_the_plan_does_and_not_by_its_dense_beginning(verify, more):
    found = verify(plain, replace(DP2, **more))
    assert found.verdict == "LOSSY", str(found)
    assert found.narrowed["training.warmup_steps"] == {"job": 20, "verified": 0}
    assert found.narrowed.keys() & found.kept.keys() == set()
    assert found.narrowed.get("plan.local_steps") == ({"job": 4, "verified": 1} if "local_steps" in more else None)


@pytest.mark.parametrize("plan", [DP2, TP2, PP2], ids=["dp2", "tp2", "pp2"])
@pytest.mark.parametrize("build", [plain, torch_s_own_draw])
def test_a_module_is_proven_as_a_job_is(verify, build, plan):
    found = verify(build, plan)
    assert found.verdict in ("REASSOCIATION", "ZERO")
    assert found.culprit is None
    kinds = {"value", "loss", "gradient", "norm", "weight", "optimizer"}
    assert {(row.kind, row.step) for row in found.tensors} == {(kind, step) for kind in kinds for step in (1, 2)}


@pytest.mark.parametrize("plan", [DP2, TP2, PP2], ids=["dp2", "tp2", "pp2"])
def test_a_weight_of_its_own_comes_in_by_rules(verify, plan):
    found = verify(gained, plan, rules_of_gained())
    assert found.verdict in ("REASSOCIATION", "ZERO")
    assert "model.layers.1.gain" in {row.name for row in found.tensors}


def test_a_mistake_in_it_is_named(verify):
    with plait.defects.plant("bucket-not-reduced"):
        found = verify(plain, DP2)
    assert (found.verdict, found.culprit.axis) == ("BUG", "data")


def test_unkeyed_randomness_is_no_bug(verify):
    found = verify(noisy, DP2)
    assert found.verdict == "NONDETERMINISTIC"
    assert found.culprit.layer == "block 0"


def test_control_flow_that_depends_on_the_data_is_no_bug(verify):
    found = verify(branching, TP2)
    assert found.verdict == "NONDETERMINISTIC"
    assert "BUG" not in {row.verdict for row in found.tensors}


def test_a_look_at_the_data_excuses_nothing_where_both_sides_saw_the_same(verify):
    assert verify(guarded, TP2).verdict == "REASSOCIATION"
    with plait.defects.plant("input-gradient-partial", layer="block 0"):
        assert verify(guarded, TP2).verdict == "BUG"


def test_a_cast_to_float32_is_lifted(verify):
    assert verify(cast_by_name, TP2).verdict == "REASSOCIATION"


def test_what_can_not_be_lifted_is_pinned(verify):
    found = verify(cast_for_good, TP2)
    assert (found.verdict, found.pinned) == ("PINNED", ("block 0",))
    with plait.defects.plant("stage-divided-twice"):
        assert verify(cast_for_good, PP2).verdict == "BUG"


def test_what_is_not_finite_is_named(verify):
    found = verify(not_a_number, DP2)
    assert found.verdict == "NONFINITE"
    assert found.culprit.layer == "block 1"


def test_a_plan_that_is_not_legal_for_it_is_refused():
    with pytest.raises(IllegalJob, match="heads"):
        plait.verify(plain, None, replace(TP2, tensor=7, tensor_shares=(1,) * 7), BATCH)


def test_a_plan_of_more_ranks_than_a_proof_has_is_refused():
    with pytest.raises(IllegalJob, match=r"16 ranks.*at most 8"):
        plait.verify(plain, None, replace(DP2, data=16, data_shares=(1,) * 16), BATCH)


def frozen() -> Decoder:
    decoder = plain()
    decoder.get_parameter("model.norm.weight").requires_grad_(False)
    return decoder


def undescribed() -> Decoder:
    decoder = plain()
    decoder.extra = torch.nn.Parameter(torch.ones(3))
    return decoder


def no_decoder() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (frozen, ValueError, "model.norm.weight is frozen"),
        (undescribed, ValueError, "extra is in the module and not in its description"),
        (no_decoder, TypeError, "Linear"),
    ],
)
def test_a_module_that_can_not_be_cut_is_told_before_any_rank_is_asked(build, error, words):
    with pytest.raises(error, match=words):
        plait.verify(build, None, DP2, BATCH)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (BATCH + 1000, "vocabulary; one of them is 10"),
        (BATCH - 500, "tokens go from 0"),
        (BATCH[:, :1], "at least"),
        (BATCH[0], "at least"),
        (BATCH[:0], "none of them empty"),
        (BATCH.float(), "int64"),
        (Sequences.of(BATCH[:, 1:], torch.full_like(BATCH[:, 1:], -100)), "nothing to learn"),
        (Sequences.of(BATCH), "targets"),
    ],
)
def test_a_batch_that_proves_nothing_is_told_before_any_rank_is_asked(batch, words):
    with pytest.raises(ValueError, match=words):
        plait.verify(plain, None, DP2, batch)


def test_a_batch_that_is_too_long_for_the_model_is_illegal():
    long = BATCH.repeat(1, 40)
    with pytest.raises(IllegalJob, match="positions that the model has learned"):
        plait.verify(tied_shapes, None, DP2, long)


def tied_shapes() -> Decoder:
    """Learned positions, a head that is the embedding, and no values yet."""
    spec = replace(plain().spec, positions="learned", tie_embeddings=True)
    with torch.device("meta"):
        return Decoder(spec, seed=0)


def gained_shapes() -> Decoder:
    """No values yet, also of a weight that only rules know of."""
    with torch.device("meta"):
        return gained()


def test_a_weight_of_its_own_is_drawn_too(verify):
    assert verify(gained_shapes, TP2, rules_of_gained()).verdict in ("REASSOCIATION", "ZERO")


@pytest.mark.parametrize("plan", [DP2, PP2], ids=["dp2", "pp2"])
def test_a_tied_module_of_shapes_alone_is_drawn(verify, plan):
    assert verify(tied_shapes, plan).verdict == "REASSOCIATION"


def test_from_python_on_ranks_of_its_own():
    found = plait.verify(plain, None, DP2, BATCH)
    assert found.verdict == "REASSOCIATION"
