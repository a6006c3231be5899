"""The other ranks of this host, as processes: whether one is gone, and the end of one that hangs.

A descriptor of the process (Linux) stands for that very process and no later one of the same number; where there are
none (other systems), this knows nothing, and ranks are missed by their beats alone. It must not know what they say.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

__all__ = ["Siblings"]


class Siblings:
    """Ranks of this host, by number, once they have told their process id."""

    def __init__(self) -> None:
        self._descriptors: dict[int, int] = {}
        self._poll = select.poll()

    def know(self, rank: int, pid: int) -> None:
        """Take note of a rank's process. One that is gone already is left to its beats."""
        if sys.platform != "linux":
            return
        with contextlib.suppress(OSError):
            self._descriptors[rank] = os.pidfd_open(pid)
            self._poll.register(self._descriptors[rank], select.POLLIN)

    def gone(self) -> set[int]:
        """The ranks whose processes have ended."""
        ended = {descriptor for descriptor, _ in self._poll.poll(0)}
        return {rank for rank, descriptor in self._descriptors.items() if descriptor in ended}

    def end(self, rank: int) -> None:
        """Kill a rank of this host that does not answer: stopped, it can't end by itself."""
        if sys.platform == "linux" and rank in self._descriptors:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                signal.pidfd_send_signal(self._descriptors[rank], signal.SIGKILL)
