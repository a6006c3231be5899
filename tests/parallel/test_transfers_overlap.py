"""Transfers between stages travel while both compute: on a link that takes its time and no core, few are waited for.

    stage 0   F0 F1 F2 F3 …
    link         ░0 ░1 ░2 ░3          begins once it is sent and expected
    stage 1         F0 F1 F2 F3 …     expects the next one before it computes

Two threads are the stages, whose computation sleeps.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch

from plait.collectives.c10d import C10d
from plait.collectives.process_groups import Group
from plait.collectives.wire import Exchange
from plait.parallel.pipeline_executor import PipelineExecutor
from plait.schedules.registry import BUILT
from plait.schedules.timeline import simulate
from tests.schedules.drawing import built

pytestmark = pytest.mark.clock

COMPUTE, TRANSFER = 0.080, 0.050  # seconds of a stage's forward or backward, of a tensor on the link
MICROBATCHES = 6
_TRIES = 10  # other work on the machine makes a step longer, never shorter
MOST_EXPOSED = 0.3


@dataclass
class Meeting:
    """One transfer: it moves from the moment at which both ends are there."""

    both: threading.Event = field(default_factory=threading.Event)
    sent: torch.Tensor | None = None
    into: torch.Tensor | None = None
    moment: float = 0.0

    def wait(self) -> None:
        assert self.both.wait(timeout=10.0), "the other end never came"
        time.sleep(max(0.0, self.moment - time.monotonic()))


class Links:
    """What stages have offered each other: the n-th send of a pair meets the n-th receive."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.meetings: dict[tuple[int, int], list[Meeting]] = defaultdict(list)
        self.offered: dict[tuple[int, int, str], int] = defaultdict(int)

    def offer(self, source: int, target: int, end: str, tensor: torch.Tensor) -> Meeting:
        with self.lock:
            number = self.offered[source, target, end]
            self.offered[source, target, end] += 1
            pair = self.meetings[source, target]
            if number == len(pair):
                pair.append(Meeting())
            meeting = pair[number]
            if end == "send":
                meeting.sent = tensor.clone()
            else:
                meeting.into = tensor
            if meeting.sent is not None and meeting.into is not None:
                meeting.into.copy_(meeting.sent)
                meeting.moment = time.monotonic() + TRANSFER
                meeting.both.set()
        return meeting


class SleepingLink(C10d):
    """One stage's end of `links`."""

    def __init__(self, links: Links, index: int, ahead: bool) -> None:
        self.links, self.index, self.ahead = links, index, ahead

    def receives_ahead(self, peer: int) -> bool:
        return self.ahead

    def exchange(self, transfers) -> Exchange:
        found: dict[str, list[Meeting]] = {"send": [], "receive": []}
        for one in transfers:
            pair = (self.index, one.peer) if one.direction == "send" else (one.peer, self.index)
            found[one.direction].append(self.links.offer(*pair, one.direction, one.tensor))
        return Exchange(receives=found["receive"], sends=found["send"])


class Sleeping(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        time.sleep(COMPUTE)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(COMPUTE)
        return gradient * 2


class Apart:
    """Gradients of weights, which sleep as long as those of inputs."""

    @contextmanager
    def set_apart(self, stage, microbatch):
        yield

    def make_apart(self, stage, microbatch):
        time.sleep(COMPUTE)


class Stage:
    def __init__(self, last: bool) -> None:
        self.last = last

    def forward(self, hidden, inputs):
        x = torch.full((2,), 1.0 + inputs, requires_grad=True) if hidden is None else hidden
        result = Sleeping.apply(x)
        return result.sum() if self.last else result

    def hidden_like(self, inputs):
        return torch.empty(2)


def fastest(kind: str, ahead: bool, enough: float) -> float:
    """Seconds of the fastest of some steps; the first that takes no longer than `enough` will do."""
    found = float("inf")
    for _ in range(_TRIES):
        found = min(found, step_seconds(kind, ahead))
        if found <= enough:
            break
    return found


def step_seconds(kind: str, ahead: bool) -> float:
    """Of a step on two ranks; its loss is right."""
    links, schedule = Links(), built(kind, 2, MICROBATCHES)
    together = threading.Barrier(2)

    def run(place: int) -> torch.Tensor | None:
        group = Group(axis="pipeline", ranks=(0, 1), index=place, wire=SleepingLink(links, place, ahead))
        stages = {n: Stage(n == schedule.stages - 1) for n, one in enumerate(schedule.stage_rank) if one == place}
        executor = PipelineExecutor(stages, group, lambda action, *, last: None, apart=Apart())
        together.wait(timeout=10.0)
        return executor.run(schedule, range(MICROBATCHES), 1.0)

    start = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        losses = list(threads.map(run, range(2)))
    seconds = time.monotonic() - start
    loss = losses[schedule.stage_rank[-1]]
    assert loss is not None
    assert loss.item() == sum(2 * 2**schedule.stages * (1 + number) for number in range(MICROBATCHES))
    return seconds


def simulated(kind: str, transfer: float, ahead: bool = False) -> float:
    schedule = built(kind, 2, MICROBATCHES)
    return simulate(schedule, lambda _: COMPUTE, lambda _: transfer, ahead=lambda _: ahead, waits=False).step_seconds


def exposed_share(kind: str, ahead: bool) -> float:
    """Of the time that tensors take on the link, there and back, what a step takes longer for it."""
    silent, link = simulated(kind, 0.0), 2 * MICROBATCHES * TRANSFER
    return (fastest(kind, ahead, 1.05 * simulated(kind, TRANSFER, ahead)) - silent) / link


@pytest.fixture(autouse=True, scope="module")
def warmed_up():
    """The first backward of a process takes longer than a step."""
    step_seconds("gpipe", ahead=True)


def test_what_is_expected_ahead_travels_behind_the_computation():
    assert exposed_share("gpipe", ahead=True) < MOST_EXPOSED


def test_a_receive_that_is_started_when_it_is_needed_exposes_all_of_it():
    assert exposed_share("gpipe", ahead=False) > 2 * MOST_EXPOSED


@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize("ahead", [True, False])
def test_a_step_takes_what_the_simulation_says(kind, ahead):
    expected = simulated(kind, TRANSFER, ahead)
    assert fastest(kind, ahead, 1.1 * expected) == pytest.approx(expected, rel=0.1)
