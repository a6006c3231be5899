"""The optimizer is torch's own, bit for bit, over a rank's weights; and its masters, where these are half precision."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from plait.specs.training import TrainingSpec
from plait.training.masters import InHostMemory
from plait.training.optimizer import Optimizer

ADAMW = TrainingSpec(weight_decay=0.3, betas=(0.8, 0.9))
SGD = replace(ADAMW, optimizer="sgd")
SHAPES = {"table": (5, 3), "norm": (3,), "bias": (4,)}
DECAYS = {"table": True, "norm": False, "bias": False}
RATES = (0.1, 0.03, 0.2)


def weights_of(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return {name: torch.nn.Parameter(value.to(dtype)) for name, value in drawn.items()}


def gradients_of(step, dtype):
    return {name: gradient.detach() for name, gradient in weights_of(dtype, seed=10 + step).items()}


def ours(training, dtype, reduce_dtype, **how):
    """Our optimizer after three steps, and the weights that it moves."""
    weights = weights_of(dtype)
    gradients = {name: torch.zeros(shape, dtype=reduce_dtype) for name, shape in SHAPES.items()}
    optimizer = Optimizer(weights, gradients, DECAYS, training, **how)
    for step, rate in enumerate(RATES):
        for name, gradient in gradients_of(step, reduce_dtype).items():
            gradients[name].copy_(gradient)
        optimizer.step(rate)
    return optimizer, weights, gradients


def torch_s(training, dtype, master_dtype):
    """torch.optim after the same three steps, on weights in the master's dtype."""
    weights = {name: torch.nn.Parameter(weight.detach().to(master_dtype)) for name, weight in weights_of(dtype).items()}
    groups = [
        {"params": [weights["table"]], "weight_decay": training.weight_decay},
        {"params": [weights["norm"], weights["bias"]], "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, betas=training.betas, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, momentum=training.betas[0], fused=True)
    for step, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, gradient in gradients_of(step, master_dtype).items():
            weights[name].grad = gradient
        optimizer.step()
    return optimizer, weights


@pytest.mark.parametrize("training", [ADAMW, SGD, replace(SGD, betas=(0.0, 0.9))], ids=["adamw", "sgd", "no momentum"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_torch_s(training, dtype):
    optimizer, weights, _ = ours(training, dtype, dtype)
    reference, expected = torch_s(training, dtype, dtype)
    for name, weight in expected.items():
        assert torch.equal(weights[name], weight)
        assert optimizer.masters[name] is weights[name]
        state = {key: value for key, value in reference.state[weight].items() if value is not None}
        assert optimizer.state[name].keys() == state.keys()
        assert all(torch.equal(optimizer.state[name][key], value) for key, value in state.items())


@pytest.mark.parametrize("training", [ADAMW, SGD], ids=["adamw", "sgd"])
def test_half_precision_weights_have_masters_in_single(training):
    optimizer, weights, _ = ours(training, torch.bfloat16, torch.float32)
    _, expected = torch_s(training, torch.bfloat16, torch.float32)
    for name, master in expected.items():
        assert torch.equal(optimizer.masters[name], master)
        assert torch.equal(weights[name], master.to(torch.bfloat16))


def test_masters_remember_what_half_precision_can_t_say():
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))  # the next one is 1.0078125
    gradients = {"norm": torch.full((1,), -1.0)}
    training = replace(SGD, betas=(0.0, 0.9))
    optimizer = Optimizer({"norm": weight}, gradients, {"norm": False}, training)
    seen = []
    for _ in range(4):
        optimizer.step(0.0015)
        seen.append(weight.item())
    assert seen == [1.0, 1.0, 1.0078125, 1.0078125]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_masters_may_stand_apart_where_dtypes_agree(dtype):
    alone, apart = weights_of(dtype), weights_of(dtype)
    gradients = {name: torch.full(shape, 0.5, dtype=dtype) for name, shape in SHAPES.items()}
    together = Optimizer(alone, gradients, DECAYS, ADAMW)
    separate = Optimizer(apart, gradients, DECAYS, ADAMW, separate_masters=True)
    assert all(separate.masters[name] is not weight for name, weight in apart.items())
    assert separate.nbytes == sum(weight.nbytes for weight in apart.values())
    together.step(0.1)
    separate.step(0.1)
    assert all(torch.equal(alone[name], apart[name]) for name in SHAPES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("training", [ADAMW, SGD], ids=["adamw", "sgd"])
def test_an_unfused_element_is_updated_alike_wherever_it_stands(training, dtype):
    """Ranks that hold one element in different places of their slices have to keep equal copies of it."""
    generator = torch.Generator().manual_seed(0)
    weight, *steps = (torch.randn(100, generator=generator).to(dtype) for _ in range(4))

    def learned(before: int, after: int) -> list[torch.Tensor]:
        def placed(values):
            return torch.cat([torch.ones(before, dtype=dtype), values, torch.ones(after, dtype=dtype)])

        weights, gradient = {"w": torch.nn.Parameter(placed(weight))}, torch.zeros_like(placed(weight))
        optimizer = Optimizer(weights, {"w": gradient}, {"w": True}, training, unfused=["w"])
        for values in steps:
            gradient.copy_(placed(values))
            optimizer.step(1e-2)
        tensors = [optimizer.masters["w"], *optimizer.state["w"].values()]
        return [tensor.detach()[before : before + 100] for tensor in tensors if tensor.dim()]

    first = learned(0, 0)
    for before, after in product(range(0, 17, 3), (0, 1, 5, 12)):
        assert all(torch.equal(one, other) for one, other in zip(first, learned(before, after), strict=True))


def test_unfused_is_the_same_up_to_rounding():
    one, other = weights_of(torch.float64), weights_of(torch.float64)
    gradients = {name: torch.full(shape, 0.5, dtype=torch.float64) for name, shape in SHAPES.items()}
    for weights, unfused in ((one, []), (other, ["table", "norm"])):
        Optimizer(weights, gradients, DECAYS, ADAMW, unfused=unfused).step(0.1)
    assert all(torch.allclose(one[name], other[name], rtol=1e-15, atol=1e-15) for name in SHAPES)


def test_only_what_decays_decays():
    training = replace(ADAMW, weight_decay=0.5)
    weights = weights_of(torch.float64)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = Optimizer(
        weights, {n: torch.zeros(s, dtype=torch.float64) for n, s in SHAPES.items()}, DECAYS, training
    )
    optimizer.step(0.1)
    assert torch.equal(weights["table"], before["table"] * (1 - 0.1 * 0.5))
    assert torch.equal(weights["norm"], before["norm"])
    assert torch.equal(weights["bias"], before["bias"])


def test_one_kind_of_weight_alone_is_fine():
    weights = {"norm": weights_of(torch.float64)["norm"]}
    optimizer = Optimizer(weights, {"norm": torch.ones(3, dtype=torch.float64)}, DECAYS, ADAMW)
    optimizer.step(0.1)
    assert set(optimizer.state) == {"norm"}


def test_before_the_first_step_there_is_no_state():
    weights = weights_of(torch.float32)
    optimizer = Optimizer(weights, {n: torch.zeros(s) for n, s in SHAPES.items()}, DECAYS, ADAMW)
    assert optimizer.nbytes == 0
    assert optimizer.state == {name: {} for name in SHAPES}


# ---- in host memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 80, 2**24])
@pytest.mark.parametrize("training", [ADAMW, SGD, replace(SGD, betas=(0.0, 0.9))], ids=["adamw", "sgd", "no momentum"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_offload_is_the_same_to_the_bit(dtype, training, at_once, monkeypatch):
    monkeypatch.setattr("plait.training.masters.BATCH_BYTES", at_once)
    wide = torch.promote_types(dtype, torch.float32)
    device, expected, _ = ours(training, dtype, wide)
    host, weights, gradients = ours(training, dtype, wide, offload=True)
    made = gradients_of(len(RATES) - 1, wide)
    for name, weight in weights.items():
        assert torch.equal(weight, expected[name])
        assert torch.equal(gradients[name], made[name])  # the model's own are left alone
        assert torch.equal(host.masters[name], device.masters[name])
        assert host.masters[name].untyped_storage().data_ptr() != weight.untyped_storage().data_ptr()
        assert host.state[name].keys() == device.state[name].keys()
        assert all(torch.equal(value, device.state[name][key]) for key, value in host.state[name].items())
    states = sum(tensor.nbytes for entries in host.state.values() for tensor in entries.values())
    assert host.nbytes == states + 2 * sum(gradient.nbytes for gradient in gradients.values())


def test_batches_are_as_large_as_they_may_be(monkeypatch):
    monkeypatch.setattr("plait.training.masters.BATCH_BYTES", 80)
    weights = weights_of(torch.float32)  # of 60, 12 and 16 bytes
    gradients = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    assert InHostMemory(weights, gradients).batches == [("table", "norm"), ("bias",)]
    assert InHostMemory({}, gradients).batches == []


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masters_and_weights_follow_one_another(dtype, offload):
    weights = weights_of(dtype)
    gradients = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    optimizer = Optimizer(weights, gradients, DECAYS, ADAMW, offload=offload)
    with torch.no_grad():
        for weight in weights.values():
            weight.fill_(0.5)
        optimizer.adopt()
        assert all(torch.equal(master, torch.full_like(master, 0.5)) for master in optimizer.masters.values())
        for master in optimizer.masters.values():
            master.fill_(2.5)
    optimizer.spread()
    assert all(torch.equal(weight, torch.full_like(weight, 2.5)) for weight in weights.values())


def test_a_rank_that_keeps_nothing_updates_nothing():
    for offload in (False, True):
        optimizer = Optimizer({}, {}, {}, ADAMW, offload=offload)
        optimizer.step(0.1)
        optimizer.spread()
        assert (optimizer.nbytes, optimizer.state, dict(optimizer.masters)) == (0, {}, {})
