"""How long others have been silent, when this process may have been asleep itself. It knows its own clock alone."""

from __future__ import annotations

import time

__all__ = ["ASLEEP_SECONDS", "Stopwatch"]

ASLEEP_SECONDS = 2.0  # between two looks that follow each other closely: this process was not there itself


class Stopwatch:
    """How long somebody has been waited for, by one who asks again and again: time in which this process stood still
    itself (Ctrl-Z, a debugger, a machine asleep) is nobody's doing, and doesn't count."""

    def __init__(self) -> None:
        self._began = self._asked = time.monotonic()

    def seconds(self) -> float:
        """Since it began, or began anew."""
        now = time.monotonic()
        if now - self._asked > ASLEEP_SECONDS:
            self._began += now - self._asked
        self._asked = now
        return now - self._began

    def anew(self) -> None:
        """What was waited for has come: now the next is."""
        self._began = self._asked
