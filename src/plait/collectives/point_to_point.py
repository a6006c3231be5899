"""Sends and receives along the pipeline axis, started together as one fused group.

stage 1     SEND_F3 ─┐              ┌─ SEND_F4
            RECV_B0 ─┴─ Exchange    ┴─ …
                        ├ wait_for_receives   before what arrived is read
                        └ wait_for_sends      before what leaves is overwritten, or let go
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.collectives import wire
from plait.collectives.process_groups import Group
from plait.collectives.recorder import blocked, note

__all__ = ["Exchange", "start_transfers"]


@dataclass(frozen=True)
class Exchange:
    """Transfers under way. The time that a wait takes counts as exposed communication of the axis."""

    axis: str
    _started: wire.Exchange

    def wait_for_receives(self) -> None:
        """Every received tensor is complete."""
        self._wait(self._started.receives)

    def wait_for_sends(self) -> None:
        """Every sent tensor has left."""
        self._wait(self._started.sends)

    def _wait(self, works: Sequence[wire.Work]) -> None:
        if works:
            with blocked(self.axis):
                for work in works:
                    work.wait()


def start_transfers(transfers: Sequence[wire.Transfer], group: Group) -> Exchange:
    """Start all of them at once, in either direction, to any of the group."""
    for transfer in transfers:
        note(group.axis, transfer.direction, transfer.tensor.nbytes)
    assert group.wire is not None, "there is nobody to send to"
    nothing = wire.Exchange(receives=(), sends=())
    return Exchange(group.axis, group.wire.exchange(transfers) if transfers else nothing)
