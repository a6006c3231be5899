"""The orchestra: performs a stage's program, action by action, exactly as the schedule lists it.

    program of stage 1 of 2, 1F1B      RECV_F0  F0  B0  (SEND_B0 + RECV_F1)  F1  B1  SEND_B1

What a receive brought waits in `_arrived` until its computation; what a computation made waits in `_leaving` until its
send. A send is started in its place in the list and only waited for at the end, since nothing reads it again.
The executor knows one stage, its two neighbours and the list; no rule of any schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import torch
import torch.distributed as dist

from plait.collectives.point_to_point import Transfer, start_transfers
from plait.collectives.process_groups import Group
from plait.collectives.recorder import blocked
from plait.schedules.action import Kind, Step
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import Timed

__all__ = ["PipelineExecutor", "Stage"]

Inputs = TypeVar("Inputs", contravariant=True)


class Stage(Protocol[Inputs]):
    """What the executor needs of a stage: its computation, and the shape of the value that reaches it."""

    def forward(self, hidden: torch.Tensor | None, inputs: Inputs) -> torch.Tensor:
        """The value for the next stage, or on the last stage the sum of the losses."""
        ...

    def hidden_like(self, inputs: Inputs) -> torch.Tensor:
        """An empty tensor for the value (batch, sequence share, hidden) that crosses a stage boundary."""
        ...


class PipelineExecutor(Generic[Inputs]):
    """Performs programs on one stage. `before_last_backward` is called when the next backward is the step's last."""

    def __init__(self, stage: Stage[Inputs], group: Group, before_last_backward: Callable[[], None]) -> None:
        self._stage = stage
        self._group = group
        self._before_last_backward = before_last_backward
        self._first, self._last = group.index == 0, group.index == group.size - 1
        self.timeline: list[Timed] = []

    def run(self, schedule: Schedule, microbatches: Sequence[Inputs], loss_scale: float) -> torch.Tensor | None:
        """Perform this rank's program. Returns, on the last stage, the sum of all losses; gradients are scaled by
        `loss_scale` (one over the global number of target tokens)."""
        self._microbatches, self._loss_scale = microbatches, loss_scale
        self._arrived: dict[tuple[Kind, int], torch.Tensor] = {}
        self._leaving: dict[tuple[Kind, int], torch.Tensor] = {}
        self._held: dict[int, tuple[torch.Tensor | None, torch.Tensor]] = {}
        self._sends: list[dist.Work] = []
        self._losses: list[torch.Tensor] = []
        self._backwards_left = sum(action.kind == Kind.B for step in self._program(schedule) for action in step)
        self.timeline = []
        for step in self._program(schedule):
            start = perf_counter()
            self._perform(step)
            end = perf_counter()
            self.timeline.extend(Timed(action=action, start=start, end=end) for action in step)
        with blocked(self._group.axis):
            for work in self._sends:
                work.wait()
        return torch.stack(self._losses).sum() if self._last else None

    def _program(self, schedule: Schedule) -> Sequence[Step]:
        return schedule.programs[self._group.index]

    def _perform(self, step: Step) -> None:
        match step[0].kind:
            case Kind.F:
                self._forward(step[0].microbatch)
            case Kind.B:
                self._backward(step[0].microbatch)
            case _:
                self._transfer(step)

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
        self._backwards_left -= 1
        if self._backwards_left == 0:
            self._before_last_backward()
        torch.autograd.backward(output, gradient)
        if hidden is not None:
            assert hidden.grad is not None  # a leaf that every stage's output depends on
            self._leaving[Kind.B, microbatch] = hidden.grad

    def _transfer(self, step: Step) -> None:
        receives: list[int] = []
        transfers: list[Transfer] = []
        for place, action in enumerate(step):
            computed = Kind.F if action.kind in (Kind.SEND_F, Kind.RECV_F) else Kind.B
            if action.kind in (Kind.RECV_F, Kind.RECV_B):
                buffer = self._stage.hidden_like(self._microbatches[action.microbatch])
                self._arrived[computed, action.microbatch] = buffer
                transfers.append(Transfer(direction="receive", tensor=buffer, peer=action.peer))
                receives.append(place)
            else:
                value = self._leaving.pop((computed, action.microbatch)).contiguous()
                transfers.append(Transfer(direction="send", tensor=value, peer=action.peer))
        works = start_transfers(transfers, self._group)
        with blocked(self._group.axis):
            for place, work in enumerate(works):
                if place in receives:
                    work.wait()
                else:
                    self._sends.append(work)
