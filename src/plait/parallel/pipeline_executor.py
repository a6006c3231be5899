"""The orchestra: performs a stage's program, action by action, exactly as the schedule lists it.

    program of stage 1 of 2, 1F1B      RECV_F0  F0  B0  (SEND_B0 + RECV_F1)  F1  B1  SEND_B1

What a receive brought waits in `arrived` until its computation; what a computation made waits in `leaving` until its
send. A send is started in its place in the list and waited for before the next transfer, so that it runs beside the
computation in between and never more than one holds on to its tensor. A receive is waited for in its place, and started
one transfer ahead where the wire can, from that neighbour (`Wire.receives_ahead`): it, too, runs beside the
computation before it.
The executor knows one stage, its two neighbours and the list; no rule of any schedule.

A schedule may have more microbatches than there are: those of another replica's list that this one lacks. Nothing is
computed or sent of them; `absent` is told in their places, so that what goes between replicas keeps its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import torch

from plait.collectives.point_to_point import Exchange, start_transfers
from plait.collectives.process_groups import Group
from plait.collectives.wire import Transfer
from plait.schedules.action import COMPUTE, RECEIVES, SENDS, Action, Kind, Step
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import Timed

__all__ = ["BeforeBackward", "PipelineExecutor", "Stage"]

Inputs = TypeVar("Inputs")
StageInputs = TypeVar("StageInputs", contravariant=True)


class Stage(Protocol[StageInputs]):
    """What the executor needs of a stage: its computation, and the shape of the value that reaches it."""

    def forward(self, hidden: torch.Tensor | None, inputs: StageInputs) -> torch.Tensor:
        """The value for the next stage, or on the last stage the sum of the losses."""
        ...

    def hidden_like(self, inputs: StageInputs) -> torch.Tensor:
        """An empty tensor for the value (batch, sequence share, hidden) that crosses a stage boundary."""
        ...


class BeforeBackward(Protocol):
    """What is told of a backward that follows."""

    def __call__(self, *, last: bool) -> None:
        """`last`: the step's."""
        ...


class PipelineExecutor(Generic[Inputs]):
    """Performs programs on one stage. `before_backward(last=...)` is called before each, the step's last or not, and
    `after_backward()` after it; `absent(kind)` in the place of a computation whose microbatch is not there."""

    def __init__(
        self,
        stage: Stage[Inputs],
        group: Group,
        before_backward: BeforeBackward,
        after_backward: Callable[[], None] | None = None,
        absent: Callable[[Kind], None] | None = None,
    ) -> None:
        self._stage = stage
        self._group = group
        self._before_backward = before_backward
        self._after_backward, self._absent = after_backward, absent
        self.timeline: list[Timed] = []

    def run(self, schedule: Schedule | None, microbatches: Sequence[Inputs], loss_scale: float) -> torch.Tensor | None:
        """Perform this rank's program (None: there is nothing to do). Returns, on the last stage, the sum of all
        losses, if there are any; gradients are scaled by `loss_scale` (one over the global number of target tokens)."""
        steps = schedule.programs[self._group.index] if schedule is not None else ()
        there = len(microbatches)
        program = steps if self._absent is None else [_of_present(step, there) for step in steps]
        backwards = [action for step in program for action in step if action.kind is Kind.B]
        transfers = [step for step in program if step and step[0].kind not in COMPUTE]
        performance = _Performance(self._stage, self._group, microbatches, loss_scale, transfers)
        self.timeline = []
        for step in filter(None, program):
            start = perf_counter()
            if step[0].kind is Kind.B:
                self._before_backward(last=step[0] == backwards[-1])
            if self._absent is None or step[0].microbatch < there:
                performance.perform(step)
            else:
                self._absent(step[0].kind)
            if step[0].kind is Kind.B and self._after_backward is not None:
                self._after_backward()
            end = perf_counter()
            self.timeline.extend(Timed(action=action, start=start, end=end) for action in step)
        return performance.finish()


def _of_present(step: Step, there: int) -> Step:
    """Without the transfers of microbatches that are not there; both ends of them leave theirs out."""
    return tuple(action for action in step if action.microbatch < there or action.kind in COMPUTE)


class _Performance(Generic[Inputs]):
    """One run of a program, whose `transfers` come in this order: what has arrived, what is held for backward, what is
    about to leave."""

    def __init__(
        self,
        stage: Stage[Inputs],
        group: Group,
        microbatches: Sequence[Inputs],
        loss_scale: float,
        transfers: Sequence[Step],
    ) -> None:
        self._stage, self._group, self._microbatches, self._loss_scale = stage, group, microbatches, loss_scale
        self._last = group.index == group.size - 1
        self._arrived: dict[tuple[Kind, int], torch.Tensor] = {}
        self._held: dict[int, tuple[torch.Tensor | None, torch.Tensor]] = {}
        self._leaving: dict[tuple[Kind, int], torch.Tensor] = {}
        self._losses: list[torch.Tensor] = []
        self._under_way: Exchange | None = None
        self._coming = iter([self._received(step, ahead=True) for step in transfers])
        self._expected: Exchange | None = None
        self._expect_next()

    def perform(self, step: Step) -> None:
        """One computation, or one fused group of transfers."""
        match step[0].kind:
            case Kind.F:
                self._forward(step[0].microbatch)
            case Kind.B:
                self._backward(step[0].microbatch)
            case _:
                self._exchange(step)

    def finish(self) -> torch.Tensor | None:
        """Wait for the last send; the sum of the losses, on the last stage, if there was any."""
        self._wait_for_sends()
        return torch.stack(self._losses).sum() if self._losses else None

    def _forward(self, microbatch: int) -> None:
        hidden = self._arrived.pop((Kind.F, microbatch), None)
        if hidden is not None:
            hidden.requires_grad_(torch.is_grad_enabled())
        output = self._stage.forward(hidden, self._microbatches[microbatch])
        if self._last:
            self._losses.append(output.detach())
        else:
            self._leaving[Kind.F, microbatch] = output.detach()
        if torch.is_grad_enabled():
            self._held[microbatch] = (hidden, output)

    def _backward(self, microbatch: int) -> None:
        hidden, output = self._held.pop(microbatch)
        gradient = self._arrived.pop((Kind.B, microbatch), None)
        if gradient is None:
            gradient = torch.full_like(output, self._loss_scale)
        torch.autograd.backward(output, gradient)
        if hidden is not None:
            assert hidden.grad is not None  # a leaf that every stage's output depends on
            self._leaving[Kind.B, microbatch] = hidden.grad

    def _exchange(self, step: Step) -> None:
        """Sends start now; receives too, unless they are expected already."""
        self._wait_for_sends()
        sends = [self._send(action) for action in step if action.kind in SENDS]
        receives = [self._receive(action) for action in self._received(step, ahead=False)]
        self._under_way = start_transfers([*sends, *receives], self._group)
        for exchange in filter(None, (self._expected, self._under_way)):
            exchange.wait_for_receives()
        self._expect_next()

    def _expect_next(self) -> None:
        """Start what the next transfers receive from where it can come by itself."""
        actions = next(self._coming, ())
        self._expected = start_transfers([self._receive(one) for one in actions], self._group) if actions else None

    def _send(self, action: Action) -> Transfer:
        computed = Kind.F if action.kind is Kind.SEND_F else Kind.B
        value = self._leaving.pop((computed, action.microbatch)).contiguous()
        return Transfer(direction="send", tensor=value, peer=action.peer)

    def _received(self, step: Step, *, ahead: bool) -> Step:
        """What these transfers receive, started before their place in the list or in it."""
        wire = self._group.wire
        assert wire is not None, "there is nobody to receive from"
        return tuple(one for one in step if one.kind in RECEIVES and wire.receives_ahead(one.peer) == ahead)

    def _receive(self, action: Action) -> Transfer:
        needed_by = Kind.F if action.kind is Kind.RECV_F else Kind.B
        buffer = self._stage.hidden_like(self._microbatches[action.microbatch])
        self._arrived[needed_by, action.microbatch] = buffer
        return Transfer(direction="receive", tensor=buffer, peer=action.peer)

    def _wait_for_sends(self) -> None:
        if self._under_way is not None:
            self._under_way.wait_for_sends()
            self._under_way = None
