"""A layer's operations are those that torch performs: their FLOPs are the counted ones, their views too."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode

from plait.devices.flop_counter import flop_counter
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.sequences import Sequences
from plait.planner.flops import FlopCount, Share, flops_of_step, layer_flops
from plait.planner.operations import Attend, Move, Multiply, Views, operations_of
from plait.plans.plan import Plan
from tests.planner.shapes import GPT2, LLAMA, TRAINING

ONE = Plan(stages=(2,), microbatch=2)
PLANS = {
    "one": ONE,
    "tensor": replace(ONE, tensor=2, tensor_shares=(1, 1)),
    "sequence": replace(ONE, tensor=3, tensor_shares=(1, 1, 1), sequence_parallel=True),
    "uneven": replace(ONE, tensor=2, tensor_shares=(3, 1)),
}
MODELS = {"gpt2": replace(GPT2, heads=4, kv_heads=4), "llama": LLAMA, "dropout": replace(LLAMA, dropout=0.1)}
SEQUENCE = TRAINING.sequence_length


def flops(operations):
    total = 0
    for operation in operations:
        match operation:
            case Multiply(m, n, k, _, times):
                total += 2 * m * n * k * times
            case Attend(rows, sequence, head_dim, way):
                total += 2 * rows * sequence**2 * head_dim * (2 if way == "forward" else 5)
    return total


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_the_operations_are_as_many_flops_as_the_layer(model, plan):
    for layer in describe_gpt(model):
        for rank in range(plan.tensor):
            found = operations_of(layer, model, SEQUENCE, plan, rank)
            share = Share(batch=2, sequence=SEQUENCE, tensor_shares=plan.tensor_shares, tensor_rank=rank)
            expected = layer_flops(layer, replace(share, dropout=model.dropout))
            assert FlopCount(forward=flops(found.forward), backward=flops(found.backward)) == expected


def moved(operations, kind):
    return [operation.elements for operation in operations if isinstance(operation, Move) and operation.kind == kind]


def test_residual_work_is_split_with_the_sequence():
    block = describe_gpt(LLAMA)[1]
    whole = operations_of(block, LLAMA, SEQUENCE, PLANS["tensor"], 0)
    split = operations_of(block, LLAMA, SEQUENCE, PLANS["sequence"], 0)
    assert moved(whole.forward, "rms_norm") == [2 * 6 * 8] * 2  # 2 sequences of 6 tokens, 8 features
    assert moved(split.forward, "rms_norm") == [2 * 2 * 8] * 2  # 2 of 6 tokens on each of 3 ranks
    assert moved(whole.forward, "swiglu") == [2 * 6 * 6]  # 12 features of the ffn on 2 ranks
    assert moved(split.forward, "swiglu") == [2 * 6 * 4]


def test_every_gradient_is_collected():
    block = describe_gpt(GPT2)[1]
    collected = moved(operations_of(block, GPT2, SEQUENCE, ONE, 0).backward, "add")
    assert sum(collected[-12:]) == 872  # the block's 12 tensors
    table = describe_gpt(GPT2)[0]
    assert moved(operations_of(table, GPT2, SEQUENCE, PLANS["tensor"], 1).backward, "add")[-2:] == [40, 48]


class Dispatched(TorchDispatchMode):
    """Counts the operators that reach a kernel or make a view."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    def views(self):
        kinds = (
            "t",
            "view",
            "_unsafe_view",
            "transpose",
            "split_with_sizes",
            "unsqueeze",
            "expand",
            "detach",
            "squeeze",
        )
        return sum(self.names[kind] for kind in kinds)


def views(operations):
    return sum(operation.number for operation in operations if isinstance(operation, Views))


@pytest.mark.parametrize("model", [MODELS["gpt2"], LLAMA], ids=["gpt2", "llama"])
def test_views_are_as_many_as_in_the_real_block(model):
    decoder, sequences = run_ready(model)
    hidden = torch.randn(2, SEQUENCE, model.hidden, requires_grad=True)
    block = dict(decoder.layers())["block 1"]
    calls: list[object] = []
    hook = register_module_forward_hook(lambda module, *_: calls.append(module))
    with Dispatched() as forward:
        output = block(hidden, sequences)
    hook.remove()
    with Dispatched() as backward:
        torch.autograd.backward(output, torch.ones_like(output))
    found = operations_of(describe_gpt(model)[2], model, SEQUENCE, ONE, 0)
    assert views(found.forward) == pytest.approx(forward.views() + len(calls), rel=0.15)
    assert views(found.backward) == pytest.approx(backward.views(), rel=0.15)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_torch_counts_the_predicted_flops(model):
    decoder, sequences = run_ready(model)
    with flop_counter() as counter:
        decoder(sequences).backward()
    training = replace(TRAINING, global_batch=2)
    assert counter.get_total_flops() == flops_of_step(model, training, ONE, 0).total


def run_ready(model):
    decoder = Decoder(model)
    initialise(decoder, model, 0)
    tokens = torch.zeros(2, SEQUENCE, dtype=torch.int64)
    return decoder, Sequences.of(tokens, tokens.clone())
