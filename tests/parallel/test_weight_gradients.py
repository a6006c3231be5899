"""Weights' gradients that wait for a sum over tensor ranks: the same model, and the sum's time hides behind them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest
import torch

from plait.collectives.process_groups import Group, Mesh
from plait.collectives.recorder import record
from plait.collectives.shared_memory import SharedMemory
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.parallel.weight_gradients import WeightGradients
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.verification.compare import assembled, differing_copies
from tests.parallel.test_exposed import SleepingLink
from tests.parity.harness import BITING, BOUND, GPT2, LLAMA, TRAINING, distance, plan, run_candidate, run_reference

CLIPPED = replace(TRAINING, clip_norm=BITING)
LAYOUTS = {
    "tp2, tied": (GPT2, {"tensor": 2, "microbatch": 4}),
    "tp2 sp": (LLAMA, {"tensor": 2, "sequence_parallel": True, "microbatch": 4}),
    "dp2 tp2, zero 2": (LLAMA, {"data": 2, "tensor": 2, "zero": 2}),
    "dp2 tp2, zero 3": (replace(LLAMA, bias=True), {"data": 2, "tensor": 2, "zero": 3}),
    "tp2 pp2": (replace(GPT2, layers=3, tie_embeddings=False), {"tensor": 2, "pipeline": 2, "microbatch": 4}),
}


@dataclass
class Counted:
    """How many weights' gradients waited."""

    waited: int = 0


def run_deferred(model, training, chosen):
    """As if the ranks' shared memory went on by itself; and how many gradients waited."""
    counted, wait_for = Counted(), WeightGradients.wait_for

    def counting(*args):
        counted.waited += 1
        wait_for(*args)

    SharedMemory.in_background, WeightGradients.wait_for = True, counting
    try:
        return run_candidate(model, training, chosen), counted.waited
    finally:
        SharedMemory.in_background, WeightGradients.wait_for = False, wait_for


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_the_same_model(run_on_ranks, layout):
    model, degrees = LAYOUTS[layout]
    chosen = plan(layers=model.layers, **degrees)
    (reference,) = run_on_ranks(1, run_reference, model, CLIPPED, chosen.microbatch)
    found = run_on_ranks(chosen.ranks, run_deferred, model, CLIPPED, chosen)
    assert all(waited for _, waited in found)
    ranks = [trace for trace, _ in found]
    assert not differing_copies(ranks, chosen.mesh)
    whole = assembled(ranks)
    assert reference.keys() == whole.keys()
    assert max(distance(reference, whole, entry) for entry in reference) < BOUND


SUM = 0.010  # seconds of one sum on the link


class BackgroundLink(SleepingLink):
    """Sums of one rank's own, which take their time and no core."""

    in_background = True


def exposed_share(*, deferred: bool) -> float:
    """Of the time that the sums of one backward take on the link, what is waited for; a product's weight takes longer
    than a sum."""
    link = BackgroundLink(message_seconds=SUM)
    link.in_background = deferred
    axes = {axis: Group(axis=axis, ranks=(0,), index=0) for axis in AXES}
    mesh = Mesh(shape=MeshShape(tensor=2), rank=0, axes={**axes, "tensor": Group(
        axis="tensor", ranks=(0, 1), index=0, wire=link)})  # fmt: skip
    with torch.device("meta"):
        decoder = Decoder(LLAMA)
    model = parallelize(decoder, plan(tensor=2), mesh)
    rows = Sequences.of(torch.zeros(2, 13, dtype=torch.long), torch.zeros(2, 13, dtype=torch.long))
    loss = model.stages[0].forward(None, rows)
    sent = link.transfers
    with record() as recorder:
        loss.backward()
    return recorder.blocked_seconds["tensor"] / ((link.transfers - sent) * SUM)


@pytest.mark.clock
def test_sums_hide_behind_them(monkeypatch):
    add = WeightGradients._add

    def slow(*args):
        time.sleep(1.2 * SUM)
        add(*args)

    monkeypatch.setattr(WeightGradients, "_add", slow)
    assert exposed_share(deferred=True) < 0.3
    assert exposed_share(deferred=False) > 0.9
