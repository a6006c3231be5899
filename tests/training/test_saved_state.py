"""A run that is saved, and goes on elsewhere: to the bit where the replicas are as many; else nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from plait.checkpoint.load import load_whole
from plait.collectives.functional import all_reduce
from plait.collectives.shared_memory import SharedMemory
from plait.errors import PlaitError
from plait.models.sequences import Sequences
from plait.parallel.model import ParallelModel
from plait.training.optimizer import Optimizer
from plait.training.saved_state import load_state, save_state
from plait.training.step import train_step
from tests.parallel.cases import BF16, FP64, GPT2, LLAMA, SGD, TRAINING, Case, case, plan, rows_of
from tests.parallel.measured import build, decays

SAVED, END = 5, 12  # steps: in the middle of a period of 3, and some periods later
QUICK = {"learning_rate": 1e-2, "steps": 100}


def parts(one: Case) -> tuple[ParallelModel, Optimizer]:
    model = build(one)
    return model, Optimizer(model.shards, model.gradients, decays(one), one.training, unfused=model.displaced)


def go(one: Case, model: ParallelModel, optimizer: Optimizer, start: int, stop: int) -> None:
    """Learn; the step before the save settles."""
    for step in range(start, stop):
        rows: Sequences = rows_of(one, model.mesh.coordinate("data"), step)
        targets = one.training.global_batch * one.training.sequence_length
        train_step(model, optimizer, rows, targets, one.training, settles=step + 1 == SAVED)


def kept(model: ParallelModel, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Everything that a next step depends on."""
    found = {**optimizer.masters, **{f"{n}/weight": w for n, w in model.weights.items()}}
    for kind, tensors in (
        ("owed", model.carried.owed),
        ("right", model.carried.right),
        ("outer", model.carried.outer_momentum),
    ):
        found.update({f"{name}/{kind}": tensor for name, tensor in tensors.items()})
    for name, state in optimizer.state.items():
        found.update({f"{name}/{kind}": tensor for kind, tensor in state.items()})
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def uninterrupted(one: Case, directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What is kept where it is saved, and at the end."""
    model, optimizer = parts(one)
    go(one, model, optimizer, 0, SAVED)
    saved = kept(model, optimizer)
    save_state(directory, model, optimizer, one.training, step=SAVED, barrier=dist.barrier)
    go(one, model, optimizer, SAVED, END)
    return saved, kept(model, optimizer)


def taken_up(one: Case, directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same of a run that begins from there, with other weights before."""
    model, optimizer = parts(replace(one, model=replace(one.model)))
    for master in optimizer.masters.values():
        master.data.add_(1.0)
    assert load_state(directory, model, optimizer, one.training) == SAVED
    saved = kept(model, optimizer)
    go(one, model, optimizer, SAVED, END)
    return saved, kept(model, optimizer)


def late(function: Callable, *args: object) -> object:
    """As if shared memory went on by itself."""
    with mock.patch.object(SharedMemory, "in_background", new=True):
        return function(*args)


UNTIED = replace(LLAMA, kv_heads=6)
ALONE: dict[str, Any] = {"local_steps": 3, "synchronisation": "diloco"}
CASES = [
    case("one rank", GPT2, plan(), replace(TRAINING, **QUICK)),
    case("dp2 tp2, zero 1", GPT2, plan(data=2, tensor=2, zero=1), replace(FP64, **QUICK)),
    case("dp2, zero 3, bf16", LLAMA, plan(data=2, zero=3), replace(BF16, **QUICK)),
    case("dp3, int8", GPT2, plan(data=3, compression="int8"), replace(TRAINING, **QUICK)),
    case("dp2 tp2, powersgd, sgd", UNTIED, plan(data=2, tensor=2, compression="powersgd:1"), replace(SGD, **QUICK)),
    case("dp2, topk, bf16", GPT2, plan(data=2, compression="topk:0.1"), replace(BF16, **QUICK)),
    case("dp2, local sgd", GPT2, plan(data=2, **ALONE | {"synchronisation": "local-sgd"}), replace(FP64, **QUICK)),
    case("dp2, diloco, powersgd", GPT2, plan(data=2, compression="powersgd:2", **ALONE), replace(TRAINING, **QUICK)),
    case("all axes, diloco, int8", UNTIED, plan(data=2, tensor=2, pipeline=2, compression="int8", **ALONE),
         replace(TRAINING, **QUICK)),
]  # fmt: skip


def assert_goes_on_to_the_bit(run: Callable, one: Case, directory: Path) -> None:
    whole, resumed = (run(one.plan.ranks, each, one, directory) for each in (uninterrupted, taken_up))
    for (saved, end), (found, found_end) in zip(whole, resumed, strict=True):
        assert saved.keys() == found.keys()
        assert end.keys() == found_end.keys()
        assert all(torch.equal(saved[name], found[name]) for name in saved)
        assert all(torch.equal(end[name], found_end[name]) for name in end)
        assert not all(torch.equal(saved[name], end[name]) for name in saved)


@pytest.mark.parametrize("one", CASES, ids=str)
def test_it_goes_on_to_the_bit(run_on_ranks, tmp_path, one):
    assert_goes_on_to_the_bit(run_on_ranks, one, tmp_path)


@pytest.mark.parametrize("one", [one for one in CASES if one.plan.averages], ids=str)
def test_it_goes_on_to_the_bit_where_averages_arrive_late(run_on_ranks, tmp_path, one):
    assert_goes_on_to_the_bit(lambda ranks, *arguments: run_on_ranks(ranks, late, *arguments), one, tmp_path)


def owed(one: Case, directory: Path, begin: bool) -> dict[str, torch.Tensor]:
    """What all replicas owe of each weight, after a run that is saved or where another is begun from it: in all; of
    averages, in the mean."""
    model, optimizer = parts(one)
    if begin:
        load_state(directory, model, optimizer, one.training)
    else:
        go(one, model, optimizer, 0, SAVED)
        save_state(directory, model, optimizer, one.training, step=SAVED, barrier=dist.barrier)
    found = {name: tensor.clone() for name, tensor in model.carried.owed_in_all().items()}
    for tensor in found.values():
        all_reduce(tensor, model.mesh.axis("data")).wait()
        tensor.div_(one.plan.data if one.plan.averages else 1)
    return {name: tensor for name, tensor in found.items() if name in model.carried.owed}


@pytest.mark.parametrize("more", [{}, ALONE], ids=["sums", "averages"])
@pytest.mark.parametrize("replicas", [(3, 2), (2, 3)])
def test_what_is_owed_is_owed_by_other_replicas(run_on_ranks, tmp_path, more, replicas):
    before, after = (
        case("owed", GPT2, plan(data=data, compression="topk:0.1", **more), replace(FP64, **QUICK)) for data in replicas
    )
    (old, *_), (new, *_) = (run_on_ranks(one.plan.data, owed, one, tmp_path, one is after) for one in (before, after))
    for name, tensor in old.items():
        torch.testing.assert_close(new[name], tensor, rtol=0, atol=1e-15)
    assert any(tensor.any() for tensor in old.values())


@pytest.mark.parametrize("first", ["gradients", "changes"])
def test_what_is_owed_of_gradients_is_none_of_changes_nor_the_other_way_round(run_on_ranks, tmp_path, first):
    sums, averages = (
        case("owed", GPT2, plan(data=2, compression="topk:0.1", **more), replace(FP64, **QUICK)) for more in ({}, ALONE)
    )
    before, after = (sums, averages) if first == "gradients" else (averages, sums)
    old, same, other = (
        run_on_ranks(2, owed, one, tmp_path, begin) for one, begin in ((before, False), (before, True), (after, True))
    )
    assert all(any(tensor.any() for tensor in rank.values()) for rank in (*old, *same))
    assert not any(tensor.any() for rank in other for tensor in rank.values())
    assert all(rank.keys() == theirs.keys() for rank, theirs in zip(other, old, strict=True))


@pytest.mark.parametrize("model", [LLAMA, GPT2], ids=["copies", "norms and biases"])
def test_what_tensor_ranks_owe_in_common_is_all_owed_by_one(run_on_ranks, tmp_path, model):
    tensor = 4 if model is LLAMA else 2
    chosen = plan(data=2, tensor=tensor, sequence_parallel=True, compression="int8")
    one = case("common", model, chosen, replace(FP64, **QUICK))
    before, after = (run_on_ranks(2 * tensor, owed, one, tmp_path, begin) for begin in (False, True))
    for old, new in zip(before, after, strict=True):
        for name, found in old.items():
            torch.testing.assert_close(new[name], found, rtol=0, atol=1e-15)


def moments(one: Case, directory: Path) -> dict[str, torch.Tensor]:
    model, optimizer = parts(one)
    load_state(directory, model, optimizer, one.training)
    return {name: state["exp_avg"].clone() for name, state in optimizer.state.items()}


def test_who_has_one_optimizer_begins_with_the_mean_of_all(run_on_ranks, tmp_path):
    alone = case("alone", GPT2, plan(data=2, **ALONE), replace(FP64, **QUICK))
    run_on_ranks(2, uninterrupted, alone, tmp_path)
    (found,) = run_on_ranks(1, moments, replace(alone, plan=plan()), tmp_path)
    saved = load_whole(tmp_path)
    for name, mean in found.items():
        both = [saved[f"replica-{number}/exp_avg/{name}"] for number in range(2)]
        torch.testing.assert_close(mean, (both[0] + both[1]) / 2, rtol=0, atol=1e-16)
        assert mean.numel() < 50 or not torch.equal(*both)


def left_alone(one: Case, directory: Path) -> str:
    model, optimizer = parts(one)
    go(one, model, optimizer, 0, 2)
    try:
        save_state(directory, model, optimizer, one.training, step=2, barrier=dist.barrier)
    except ValueError as error:
        return str(error)
    return ""


def test_replicas_that_differ_are_not_saved_as_one_model(run_on_ranks, tmp_path):
    alone = case("alone", GPT2, plan(data=2, **ALONE), replace(FP64, **QUICK))
    assert all("learned alone" in words for words in run_on_ranks(2, left_alone, alone, tmp_path))
    assert not any(tmp_path.iterdir())


def in_portions(one: Case, directory: Path) -> list[str]:
    """What is said where a server's state is to be saved, and read."""
    model = build(one)
    assert model.server is not None
    optimizer = Optimizer(model.shards, model.applied, decays(one), one.training)
    model.server.start(optimizer)
    words: list[str] = []
    try:
        save_state(directory, model, optimizer, one.training, step=SAVED, barrier=dist.barrier)
    except PlaitError as error:
        words.append(str(error))
    try:
        load_state(directory, model, optimizer, one.training)
    except PlaitError as error:
        words.append(str(error))
    model.server.close()
    return words


def test_a_state_in_portions_is_refused_in_words(run_on_ranks, tmp_path):
    chosen = plan(data=3, synchronisation="parameter-server", servers=1, staleness=1)
    one = case("portions", UNTIED, chosen, replace(TRAINING, **QUICK))
    for words in run_on_ranks(3, in_portions, one, tmp_path):
        assert len(words) == 2
        assert all("a step of it is 2 updates" in said and "staleness = 0 can" in said for said in words)
    assert not any(tmp_path.iterdir())
