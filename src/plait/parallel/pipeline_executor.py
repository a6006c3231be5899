"""The orchestra: performs a rank's program, action by action, exactly as the schedule lists it.

    program of stage 1 of 2, 1F1B      RECV_F0  F0  B0  (SEND_B0 + RECV_F1)  F1  B1  SEND_B1

What a receive brought, or another stage of the rank made, waits in `arrived` until its computation; what a computation
made for another rank waits in `leaving` until its send. A send is started in its place in the list and waited for
before the next transfer, so that it runs beside the computation in between and never more than one step's hold on to
their tensors. A receive is waited for in its place, and started one transfer ahead where the wire can, from that
neighbour (`Wire.receives_ahead`): it, too, runs beside the computation before it. I runs backward with what makes
gradients of weights set apart, W makes them (`Apart`). The executor knows the rank's stages, their neighbours and the
list; no rule of any schedule.

A schedule may have more microbatches than there are: those of another replica's list that this one lacks. Nothing is
computed or sent of them; `absent` is told in their places, so that what goes between replicas keeps its order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import torch

from plait.collectives.point_to_point import Exchange, start_transfers
from plait.collectives.process_groups import Group
from plait.collectives.wire import Transfer
from plait.schedules.action import COMPUTE, RECEIVES, SENDS, Action, Kind, Step
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import Timed

__all__ = ["Apart", "BeforeBackward", "PipelineExecutor", "Stage"]

Inputs = TypeVar("Inputs")
StageInputs = TypeVar("StageInputs", contravariant=True)

_MAKES_WEIGHTS = (Kind.B, Kind.W)


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

    def __call__(self, action: Action, *, last: bool) -> None:
        """B, or W; `last`: of its stage in this step."""
        ...


class Apart(Protocol):
    """Who holds back gradients of weights between I and W."""

    def set_apart(self, stage: int, microbatch: int) -> AbstractContextManager[None]:
        """Inside, backward leaves them to be made."""
        ...

    def make_apart(self, stage: int, microbatch: int) -> None:
        """Make what was left."""
        ...


class PipelineExecutor(Generic[Inputs]):
    """Performs programs on the stages of one rank, by their number. `before_backward(action, last=...)` is called
    before what makes gradients of weights, B or W, the stage's last in the step or not, and `after_backward(action)`
    after it; `absent(action)` in the place of a computation whose microbatch is not there. `apart` is there where
    programs have I and W."""

    def __init__(
        self,
        stages: Mapping[int, Stage[Inputs]],
        group: Group,
        before_backward: BeforeBackward,
        after_backward: Callable[[Action], None] | None = None,
        absent: Callable[[Action], None] | None = None,
        apart: Apart | None = None,
    ) -> None:
        self._stages = stages
        self._group = group
        self._before_backward = before_backward
        self._after_backward, self._absent, self._apart = after_backward, absent, apart
        self.timeline: list[Timed] = []

    def run(self, schedule: Schedule | None, microbatches: Sequence[Inputs], loss_scale: float) -> torch.Tensor | None:
        """Perform this rank's program (None: there is nothing to do). Returns, where the last stage is, the sum of all
        losses, if there are any; gradients are scaled by `loss_scale` (one over the global number of target tokens)."""
        self.timeline = []
        if schedule is None:
            return None
        steps, there = schedule.programs[self._group.index], len(microbatches)
        program = steps if self._absent is None else [_of_present(step, there) for step in steps]
        last = {one.stage: one for step in program for one in step if one.kind in _MAKES_WEIGHTS}
        performance = _Performance(
            self._stages, self._group, schedule.stage_rank, microbatches, loss_scale, program, self._apart
        )
        for step in filter(None, program):
            start = perf_counter()
            action = step[0]
            if action.kind in _MAKES_WEIGHTS:
                self._before_backward(action, last=action == last[action.stage])
            if self._absent is None or action.microbatch < there:
                performance.perform(step)
            else:
                self._absent(action)
            if action.kind in _MAKES_WEIGHTS and self._after_backward is not None:
                self._after_backward(action)
            end = perf_counter()
            self.timeline.extend(Timed(action=one, start=start, end=end) for one in step)
        return performance.finish()


def _of_present(step: Step, there: int) -> Step:
    """Without the transfers of microbatches that are not there; both ends of them leave theirs out."""
    return tuple(action for action in step if action.microbatch < there or action.kind in COMPUTE)


class _Performance(Generic[Inputs]):
    """One run of a `program`: what has arrived, what is held for backward, what is about to leave, all by stage and
    microbatch."""

    def __init__(
        self,
        stages: Mapping[int, Stage[Inputs]],
        group: Group,
        stage_rank: Sequence[int],
        microbatches: Sequence[Inputs],
        loss_scale: float,
        program: Sequence[Step],
        apart: Apart | None,
    ) -> None:
        self._stages, self._group, self._microbatches, self._loss_scale = stages, group, microbatches, loss_scale
        self._stage_rank, self._apart = stage_rank, apart
        self._arrived: dict[tuple[Kind, int, int], torch.Tensor] = {}  # of F and B: I needs what B needs
        self._held: dict[tuple[int, int], tuple[torch.Tensor | None, torch.Tensor]] = {}
        self._leaving: dict[tuple[Kind, int, int], torch.Tensor] = {}
        self._losses: list[torch.Tensor] = []
        self._under_way: Exchange | None = None
        transfers = [step for step in program if step and step[0].kind not in COMPUTE]
        self._coming = iter([self._received(step, ahead=True) for step in transfers])
        self._expected: Exchange | None = None
        self._expect_next()

    def perform(self, step: Step) -> None:
        """One computation, or one fused group of transfers."""
        match step[0].kind:
            case Kind.F:
                self._forward(step[0])
            case Kind.B:
                self._backward(step[0])
            case Kind.I:
                with self._divided().set_apart(step[0].stage, step[0].microbatch):
                    self._backward(step[0])
            case Kind.W:
                self._divided().make_apart(step[0].stage, step[0].microbatch)
            case _:
                self._exchange(step)

    def finish(self) -> torch.Tensor | None:
        """Wait for the last send; the sum of the losses, where the last stage is, if there was any."""
        self._wait_for_sends()
        return torch.stack(self._losses).sum() if self._losses else None

    def _divided(self) -> Apart:
        assert self._apart is not None, "nobody holds back the gradients of weights"
        return self._apart

    def _forward(self, action: Action) -> None:
        stage, microbatch = action.stage, action.microbatch
        hidden = self._arrived.pop((Kind.F, stage, microbatch), None)
        if hidden is not None:
            hidden.requires_grad_(torch.is_grad_enabled())
        output = self._stages[stage].forward(hidden, self._microbatches[microbatch])
        if stage == len(self._stage_rank) - 1:
            self._losses.append(output.detach())
        else:
            self._hand_on(Kind.F, stage, stage + 1, microbatch, output.detach())
        if torch.is_grad_enabled():
            self._held[stage, microbatch] = (hidden, output)

    def _backward(self, action: Action) -> None:
        stage, microbatch = action.stage, action.microbatch
        hidden, output = self._held.pop((stage, microbatch))
        gradient = self._arrived.pop((Kind.B, stage, microbatch), None)
        if gradient is None:
            gradient = torch.full_like(output, self._loss_scale)
        torch.autograd.backward(output, gradient)
        if hidden is not None:
            assert hidden.grad is not None  # a leaf that every stage's output depends on
            self._hand_on(Kind.B, stage, stage - 1, microbatch, hidden.grad)

    def _hand_on(self, kind: Kind, stage: int, to: int, microbatch: int, value: torch.Tensor) -> None:
        """To a stage of this rank, or to whoever sends it."""
        if self._stage_rank[to] == self._group.index:
            self._arrived[kind, to, microbatch] = value
        else:
            self._leaving[kind, stage, microbatch] = value

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
        value = self._leaving.pop((computed, action.stage, action.microbatch)).contiguous()
        return Transfer(direction="send", tensor=value, peer=self._stage_rank[action.peer])

    def _received(self, step: Step, *, ahead: bool) -> Step:
        """What these transfers receive, started before their place in the list or in it."""
        wire = self._group.wire
        assert wire is not None, "there is nobody to receive from"
        return tuple(
            one for one in step if one.kind in RECEIVES and wire.receives_ahead(self._stage_rank[one.peer]) == ahead
        )

    def _receive(self, action: Action) -> Transfer:
        needed_by = Kind.F if action.kind is Kind.RECV_F else Kind.B
        buffer = self._stages[action.stage].hidden_like(self._microbatches[action.microbatch])
        self._arrived[needed_by, action.stage, action.microbatch] = buffer
        return Transfer(direction="receive", tensor=buffer, peer=self._stage_rank[action.peer])

    def _wait_for_sends(self) -> None:
        if self._under_way is not None:
            self._under_way.wait_for_sends()
            self._under_way = None
