"""The executor performs the list and nothing else, keeps what backward needs and no more, and sums what one rank sums.

A stage of these tests multiplies by its weight; its values stand in memory that tells when it is given back.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist

from plait.collectives.c10d import C10d
from plait.collectives.process_groups import Group, build_mesh
from plait.collectives.wire import Exchange
from plait.parallel.pipeline_executor import PipelineExecutor
from plait.schedules.action import COMPUTE, Kind
from plait.schedules.forward_only import forward_only
from plait.schedules.registry import BUILT, build_schedule
from plait.schedules.validate import held_microbatches
from plait.sharding.mesh_shape import MeshShape

SIZE = 6
VIRTUAL = {"interleaved": 2, "zb-v": 2}
SHAPES = [(1, 3), (2, 1), (2, 5), (3, 2), (3, 6)]  # stages, microbatches


class Product(torch.autograd.Function):
    """x · weight, in memory that `watch` sees end."""

    @staticmethod
    def forward(ctx, x, weight, watch):
        memory = np.empty(SIZE)
        watch(memory)
        product = torch.from_numpy(memory)
        ctx.save_for_backward(x, weight)
        return product.copy_(x * weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).sum(), None


@dataclass
class Lives:
    """How many values of a rank's stages live, and lived at most."""

    now: int = 0
    most: int = 0

    def begin(self):
        self.now += 1
        self.most = max(self.most, self.now)

    def end(self):
        self.now -= 1


class Stage:
    """Multiplies; the last one sums to a loss. `calls` is the order of what was asked of its rank, `lives` counts
    the rank's values."""

    def __init__(self, place: int, stages: int, calls: list[str], lives: Lives | None = None) -> None:
        self.weight = torch.nn.Parameter(torch.tensor(2.0 + place, dtype=torch.float64))
        self.first, self.last = place == 0, place == stages - 1
        self.place, self.calls = place, calls
        self.lives = lives or Lives()

    def forward(self, hidden, inputs):
        self.calls.append(f"{self.place}F{inputs}")
        assert (hidden is None) == self.first
        x = torch.full((SIZE,), 1.0 + inputs, dtype=torch.float64) if hidden is None else hidden
        product = Product.apply(x, self.weight, self.watch)
        if product.requires_grad:
            product.register_hook(lambda _: self.calls.append(f"{self.place}B{inputs}"))
        return product.square().sum() if self.last else product

    def hidden_like(self, inputs):
        return torch.empty(SIZE, dtype=torch.float64)

    def watch(self, memory):
        self.lives.begin()
        weakref.finalize(memory, self.lives.end)


def perform(kind, stages, microbatches, over=None):
    """One run: its actions, the order of calls, what came out, and how many values of this stage lived at once."""
    group = build_mesh(MeshShape(pipeline=stages)).axis("pipeline")
    if over == "gloo":  # whose receives are started ahead
        assert dist.group.WORLD is not None
        group = replace(group, wire=C10d(dist.group.WORLD, group.ranks, group.index))
    schedule, calls = schedule_of(kind, stages, microbatches), []
    own = [number for number, place in enumerate(schedule.stage_rank) if place == group.index]
    lives = Lives()
    parts = {number: Stage(number, schedule.stages, calls, lives) for number in own}
    told = partial(announce, calls)
    executor = PipelineExecutor(parts, group, told, apart=Apart(calls))
    inputs = range(microbatches)
    if kind == "forward only":
        with torch.no_grad():
            loss = executor.run(schedule, inputs, 1.0)
    else:
        loss = executor.run(schedule, inputs, 0.5)
    actions = [str(timed.action) for timed in executor.timeline]
    times = [(timed.start, timed.end) for timed in executor.timeline]
    gradients = {n: part.weight.grad.item() for n, part in parts.items() if part.weight.grad is not None}
    return actions, times, calls, loss and loss.item(), gradients, (lives.most, lives.now)


def announce(calls, action, *, last):
    calls.append("last" if last else "next")


class Apart:
    """Tells when gradients of weights are made; here they are made with those of the inputs."""

    def __init__(self, calls: list[str]) -> None:
        self.calls, self.left = calls, set()

    @contextmanager
    def set_apart(self, stage, microbatch):
        yield
        self.left.add((stage, microbatch))

    def make_apart(self, stage, microbatch):
        self.left.remove((stage, microbatch))
        self.calls.append(f"{stage}W{microbatch}")


@pytest.fixture
def performed(run_on_ranks) -> Callable:
    return lambda kind, stages, microbatches, over=None: run_on_ranks(stages, perform, kind, stages, microbatches, over)


def schedule_of(kind, stages, microbatches):
    """Of the name of a schedule, of forward alone, or of these with the stages of a V."""
    if kind == "forward only":
        return forward_only([*range(stages), *reversed(range(stages))] if stages > 1 else range(1), microbatches)
    return build_schedule(kind, stages, microbatches, VIRTUAL.get(kind, 1))


@pytest.mark.parametrize("kind", [*BUILT, "forward only"])
@pytest.mark.parametrize(("stages", "microbatches"), SHAPES)
def test_the_log_is_the_program(performed, kind, stages, microbatches):
    programs = schedule_of(kind, stages, microbatches).programs
    for program, (actions, times, calls, *_) in zip(programs, performed(kind, stages, microbatches), strict=True):
        assert actions == [str(action) for step in program for action in step]
        assert all(start <= end for start, end in times)
        assert times == sorted(times)
        computed = [a for step in program for a in step if a.kind in COMPUTE]
        expected = [f"{a.stage}{'B' if a.kind == 'I' else a.kind}{a.microbatch}" for a in computed]
        assert [call for call in calls if call not in ("next", "last")] == expected


@pytest.mark.parametrize("over", [None, "gloo"])
@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize(("stages", "microbatches"), SHAPES)
def test_losses_and_gradients_are_one_rank_s(performed, kind, stages, microbatches, over):
    placed = schedule_of(kind, stages, microbatches).stage_rank
    weights = [torch.tensor(2.0 + n, dtype=torch.float64, requires_grad=True) for n in range(len(placed))]
    inputs = torch.arange(1.0, microbatches + 1, dtype=torch.float64)
    loss = SIZE * (inputs * torch.stack(weights).prod()).square().sum()
    (loss * 0.5).backward()
    for place, (*_, found, gradients, _) in enumerate(performed(kind, stages, microbatches, over)):
        assert found == (loss.item() if place == placed[-1] else None)
        assert gradients == {n: weights[n].grad.item() for n, one in enumerate(placed) if one == place}


class Arrived:
    """A transfer that is over at once."""

    def wait(self) -> None:
        pass


class Told(C10d):
    """A wire that tells what is started on it, in one line a group; what comes from the places of `far` goes on by
    itself. Nothing travels."""

    def __init__(self, told: list[str], far: set[int]) -> None:
        self.told, self.far = told, far

    def receives_ahead(self, peer: int) -> bool:
        return peer in self.far

    def exchange(self, transfers) -> Exchange:
        self.told.append(" ".join(f"{one.direction} {one.peer}" for one in transfers))
        of = {way: [Arrived() for one in transfers if one.direction == way] for way in ("send", "receive")}
        return Exchange(receives=of["receive"], sends=of["send"])


@pytest.mark.parametrize(
    ("far", "told"),
    [
        (set(), "receive 0, F0, send 2 receive 0, F1, send 2 receive 2, B0, send 0 receive 2, B1, send 0"),
        ({0, 2}, "receive 0, receive 0, F0, send 2, receive 2, F1, send 2, receive 2, B0, send 0, B1, send 0"),
        ({0}, "receive 0, receive 0, F0, send 2, F1, send 2 receive 2, B0, send 0 receive 2, B1, send 0"),
        ({2}, "receive 0, F0, send 2 receive 0, receive 2, F1, send 2, receive 2, B0, send 0, B1, send 0"),
    ],
    ids=["nobody", "both", "the stage before", "the stage behind"],
)
def test_a_receive_is_started_one_transfer_ahead_where_it_can_come_by_itself(far, told):
    """The second of three stages, which expects something of the neighbours in `far` alone."""
    found = []
    group = Group(axis="pipeline", ranks=(0, 1, 2), index=1, wire=Told(found, far))
    executor = PipelineExecutor({1: Stage(1, 3, found)}, group, lambda action, *, last: None)
    executor.run(build_schedule("gpipe", 3, 2), range(2), 1.0)
    assert ", ".join(one.removeprefix("1") for one in found) == told


@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize(("stages", "microbatches"), SHAPES)
def test_each_backward_is_announced_right_before_it(performed, kind, stages, microbatches):
    """What makes gradients of weights: B, or W; by stage."""
    schedule = schedule_of(kind, stages, microbatches)
    makes = "W" if any(a.kind == "W" for program in schedule.programs for step in program for a in step) else "B"
    for place, (_, _, calls, *_) in enumerate(performed(kind, stages, microbatches)):
        for number in (n for n, one in enumerate(schedule.stage_rank) if one == place):
            told = [calls[i - 1] for i, call in enumerate(calls) if call.startswith(f"{number}{makes}")]
            assert told == ["next"] * (microbatches - 1) + ["last"]


@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize(("stages", "microbatches"), [(2, 5), (3, 6)])
def test_a_stage_keeps_what_its_schedule_holds(performed, kind, stages, microbatches):
    if kind in ("zb-h1", "zb-v"):
        pytest.skip("these stages let go of their values at I")
    held = held_microbatches(schedule_of(kind, stages, microbatches))
    for most, (*_, (most_alive, alive)) in zip(held, performed(kind, stages, microbatches), strict=True):
        assert most <= most_alive <= most + 1  # and perhaps one that is still being sent
        assert alive == 0


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_forward_only_keeps_nothing(performed, stages):
    for *_, loss, gradients, (most_alive, alive) in performed("forward only", stages, 9):
        assert loss is None or loss > 0
        assert not gradients
        assert most_alive <= 2 * min(stages, 2)  # the one at hand, and one that is still being sent
        assert alive == 0


def test_nothing_announces_a_backward_that_never_comes(performed):
    assert all("last" not in calls for _, _, calls, *_ in performed("forward only", 2, 3))


def test_a_failed_run_leaves_no_trace_in_the_next():
    stage = Stage(0, 1, [])
    group = Group(axis="pipeline", ranks=(0,), index=0)
    executor = PipelineExecutor({0: stage}, group, lambda action, *, last: None)
    with pytest.raises(IndexError):
        executor.run(build_schedule("1f1b", 1, 2), range(1), 1.0)
    assert [action.kind for action in (timed.action for timed in executor.timeline)] == [Kind.F, Kind.B]
    assert executor.run(build_schedule("1f1b", 1, 2), range(2), 1.0).item() == SIZE * (4.0 + 16.0)
    assert stage.lives.now == 0
