"""Ranks that only serve, and what travels in a synchronous step: as the plan's own arithmetic has it, on both wires."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plait.collectives.recorder import record
from plait.layers.gpt import describe_gpt
from plait.parallel.synchronous_server import PulledWeights, PushedGradients
from plait.plans.holdings import held_weights
from plait.plans.keeping import kept_piece
from plait.plans.plan import Plan
from plait.plans.prediction import Traffic
from plait.plans.serving import pulled, pushed
from tests.parallel.served import SPEC, mesh_of

HELD = held_weights(describe_gpt(SPEC), Plan(stages=(1,)), 0)
BUCKETS = [HELD[:3], HELD[3:]]


def plan(data: int, servers: int) -> Plan:
    shares = (1,) * data
    return Plan(data=data, servers=servers, stages=(1,), data_shares=shares, synchronisation="parameter-server")


def given(rank: int, step: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The gradient of one worker: whole numbers, which add up alike in any order."""
    generator = torch.Generator().manual_seed(1000 * step + 10 * rank + len(name))
    return torch.randint(-9, 9, shape, generator=generator).double()


def served_steps(chosen: Plan) -> tuple[dict[str, Any], tuple[Traffic, ...]]:
    """Two steps of plain descent; a rank's weights after them, and the messages of the second."""
    mesh = mesh_of(chosen.data)
    rank, group = mesh.rank, mesh.axis("data")
    weights = {one.weight.name: torch.nn.Parameter(torch.zeros(one.shape, dtype=torch.float64)) for one in HELD}
    pieces = {one.weight.name: [kept_piece(one, chosen, place) for place in range(chosen.data)] for one in HELD}
    names = [[one.weight.name for one in bucket] for bucket in BUCKETS]
    decoder: Any = SimpleNamespace(layers=list)
    spread = PulledWeights(decoder, (), weights, names, pieces, group)
    sums = PushedGradients(weights, names, group, torch.float64, pieces, workers=chosen.workers)
    for step in range(2):
        with record() as recorder:
            sums.begin()
            sums.before_backward(turn=0, last=list(weights))
            if rank < chosen.workers:
                torch.stack(
                    [(given(rank, step, name, weight.shape) * weight).sum() for name, weight in weights.items()]
                ).sum().backward()
            sums.finish()
            with torch.no_grad():
                for name, piece in spread.kept.items():
                    piece.sub_(sums.kept[name])
            spread.renew()
            spread.settle()
    return {name: weight.detach().numpy() for name, weight in weights.items()}, recorder.traffic()


def served_steps_over_gloo(chosen: Plan) -> tuple[dict[str, Any], tuple[Traffic, ...]]:
    """The same without shared memory."""
    from plait.collectives import process_groups

    with without_shared_memory():
        process_groups._made.clear()
        found = served_steps(chosen)
    process_groups._made.clear()
    return found


@contextmanager
def without_shared_memory() -> Iterator[None]:
    os.environ["PLAIT_SHARED_MEMORY"] = "0"
    try:
        yield
    finally:
        del os.environ["PLAIT_SHARED_MEMORY"]


@pytest.mark.parametrize("perform", [served_steps, served_steps_over_gloo])
@pytest.mark.parametrize(("data", "servers"), [(2, 0), (2, 1), (3, 1), (3, 2)])
def test_servers_sum_the_workers_and_send_what_is_predicted(run_on_ranks, data, servers, perform):
    chosen = plan(data, servers)
    for rank, (weights, traffic) in enumerate(run_on_ranks(data, perform, chosen)):
        for one in HELD:
            name = one.weight.name
            sums = [given(worker, step, name, one.shape) for worker in range(chosen.workers) for step in range(2)]
            assert torch.equal(torch.from_numpy(weights[name]), -torch.stack(sums).sum(0))
        planned = Counter(one for way in (pushed, pulled) for bucket in BUCKETS for one in way(bucket, chosen, rank, 8))
        assert Counter({(one.kind, one.bytes): one.count for one in traffic}) == planned
