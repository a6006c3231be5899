"""A run saved with the optimizer in host memory goes on without, and the other way round, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from plait.parallel.model import ParallelModel
from plait.training.optimizer import Optimizer
from plait.training.saved_state import load_state, save_state
from tests.parallel.cases import Case
from tests.parallel.measured import build, decays
from tests.training.test_saved_state import CASES, END, SAVED, go, kept


def parts(one: Case, offload: bool) -> tuple[ParallelModel, Optimizer]:
    model = build(one)
    return model, Optimizer(
        model.shards, model.gradients, decays(one), one.training, unfused=model.displaced, offload=offload
    )


def whole(one: Case, directory: Path, offload: bool) -> dict[str, torch.Tensor]:
    model, optimizer = parts(one, offload)
    go(one, model, optimizer, 0, SAVED)
    save_state(directory, model, optimizer, one.training, step=SAVED, barrier=dist.barrier)
    go(one, model, optimizer, SAVED, END)
    return kept(model, optimizer)


def taken_up(one: Case, directory: Path, offload: bool) -> dict[str, torch.Tensor]:
    model, optimizer = parts(one, offload)
    for master in optimizer.masters.values():
        master.data.add_(1.0)
    assert load_state(directory, model, optimizer, one.training) == SAVED
    go(one, model, optimizer, SAVED, END)
    return kept(model, optimizer)


@pytest.mark.parametrize("one", CASES, ids=str)
def test_offload_is_not_in_what_is_saved(run_on_ranks, tmp_path, one):
    ends = [run_on_ranks(one.plan.ranks, whole, one, tmp_path / str(how), how) for how in (False, True)]
    for how in (False, True):
        resumed = run_on_ranks(one.plan.ranks, taken_up, one, tmp_path / str(not how), how)
        for expected, found in zip(ends[0], resumed, strict=True):
            assert expected.keys() == found.keys()
            assert [name for name in found if not torch.equal(expected[name], found[name])] == []
