"""The words a schedule is written in: an action is one stage's work, or one end of a transfer, for one microbatch.

    stage s - 1            stage s             stage s + 1
         SEND_F ──────> RECV_F  F  SEND_F ──────> RECV_F          activations
         RECV_B <────── SEND_B  B  RECV_B <────── SEND_B          their gradients

Here *stage* is a piece of the model; the *rank* that performs it is the schedule's knowledge (`Schedule.stage_rank`),
since a rank may hold several stages. An action knows neither time nor tensors.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from plait.errors import UnusableInput

__all__ = ["BACKWARD", "COMPUTE", "RECEIVES", "SENDS", "Action", "Kind", "Step", "step_text"]


class Kind(StrEnum):
    """What an action does; B is I and W at once."""

    F = "F"  # forward
    I = "I"  # noqa: E741  backward of the inputs
    W = "W"  # backward of the weights
    B = "B"  # backward of both
    SEND_F = "SEND_F"
    RECV_F = "RECV_F"
    SEND_B = "SEND_B"
    RECV_B = "RECV_B"

    __hash__ = str.__hash__  # not Enum's, which is written in Python: actions are keys by the million


COMPUTE = frozenset({Kind.F, Kind.I, Kind.W, Kind.B})
SENDS = frozenset({Kind.SEND_F, Kind.SEND_B})
RECEIVES = frozenset({Kind.RECV_F, Kind.RECV_B})
BACKWARD = frozenset({Kind.I, Kind.W, Kind.B, Kind.SEND_B, Kind.RECV_B})  # what a forward-only schedule lacks

# Where the other end of a transfer stands, seen from this one, and what it does there.
_OTHER_END = {
    Kind.SEND_F: (+1, Kind.RECV_F),
    Kind.RECV_F: (-1, Kind.SEND_F),
    Kind.SEND_B: (-1, Kind.RECV_B),
    Kind.RECV_B: (+1, Kind.SEND_B),
}
_PATTERN = re.compile(rf"(0|[1-9][0-9]*)({'|'.join(Kind)})(0|[1-9][0-9]*)")


class Action(NamedTuple):
    """One `kind` of work of `stage` for `microbatch`; prints as `2F0`, `2SEND_F0`.

    A tuple, since long schedules hold 10⁵ of them as keys; its fields are read by name.
    """

    stage: int
    kind: Kind
    microbatch: int

    def __str__(self) -> str:
        return f"{self.stage}{self.kind}{self.microbatch}"

    @classmethod
    def parse(cls, text: str) -> Action:
        """The action that prints as `text`; raises UnusableInput when none does."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            kinds = ", ".join(Kind)
            raise UnusableInput(f"{text!r} is no action: it reads <stage><kind><microbatch>, as 2F0; kinds: {kinds}")
        return cls(int(match[1]), Kind(match[2]), int(match[3]))

    @property
    def peer(self) -> int:
        """The stage at the other end of the transfer (it may not exist: `validate`); a computation's is its own."""
        return self.stage + _OTHER_END[self.kind][0] if self.kind in _OTHER_END else self.stage

    @property
    def counterpart(self) -> Action:
        """The action at the other end, without which this one does not complete; a computation's is itself."""
        if self.kind in COMPUTE:
            return self
        offset, kind = _OTHER_END[self.kind]
        return Action(self.stage + offset, kind, self.microbatch)


Step = tuple[Action, ...]  # started together and waited for together: one computation, or a fused group of transfers


def step_text(step: Step) -> str:
    """`2F0`, or `2SEND_F1+2RECV_B0` for a fused group."""
    return "+".join(map(str, step))
