"""One task, from the moment it is sent until every rank has answered, failed or fallen silent.

    sent ──> Event* ──> every rank's Result                                        answered
                   └──> a Raised or an end of file ──> GRACE for other reports ──> failures
                   ├──> a rank stopped for STOPPED seconds ──────────────────────> failures
                   └──> no word from any rank for `timeout` ──> WHERE? ──>         silent

Time in which this process itself stood still (Ctrl-Z of a terminal's whole job, a debugger, a machine asleep) is
nobody's silence, and no rank is accused of having been stopped then. Knows the ranks' channels and the clock. It must
not know processes, nor end any: the pool does.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from plait.launchers.failure import Failure, stop_report
from plait.launchers.messages import WHERE, Channel, Event, Raised, Result, Whereabouts, decode

__all__ = ["Gathering", "OnEvent"]

_GRACE_SECONDS = 1.0  # the first failure that is seen need not be the first that happened
_WHERE_SECONDS = 1.0
_LOOK_SECONDS = 1.0  # between two looks at who is stopped
_ASLEEP_SECONDS = 2.0  # two looks further apart than that: this process was not there meanwhile
_STOPPED_SECONDS = 5.0
_SUSPECT_SECONDS = 2.0  # stopped for so long, a rank explains what others raised since

OnEvent = Callable[[int, Any], None]


class Gathering:
    """Collects the answers of `channels` (by rank). `stopped` tells which ranks' processes are stopped now. Read
    `results`, `failures` and `silent` after `wait`."""

    def __init__(
        self,
        channels: Mapping[int, Channel],
        on_event: OnEvent | None,
        stopped: Callable[[], Collection[int]] = frozenset,
    ) -> None:
        self.results: dict[int, Any] = {}
        self.failures: list[Failure] = []
        self.silent: dict[int, str | None] = {}  # rank -> the stack where it stands, if it can say
        self._on_event = on_event
        self._open = dict(channels)  # the ranks that still owe an answer
        self._heard = self._looked = time.monotonic()  # when any rank last said anything, and we last looked at them
        self._stopped = stopped
        self._stopped_for: dict[int, float] = {}  # rank -> seconds of which we know
        self._selector = selectors.DefaultSelector()
        for rank, channel in channels.items():
            self._selector.register(channel, selectors.EVENT_READ, rank)

    def wait(self, timeout: float) -> None:
        """Return when all have answered, soon after one has failed or was stopped, or when no rank spoke for `timeout`
        seconds."""
        with self._selector:
            while self._open and not self.failures:
                heard = self._listen(min(self._heard + timeout, self._looked + _LOOK_SECONDS))
                now = time.monotonic()  # read once: a pause lies between two of these, and never inside of a judgement
                self._look(now)
                if self._fail_stopped(_STOPPED_SECONDS):
                    return  # nothing explains it but itself
                if not heard and now >= self._heard + timeout:
                    self._ask_where()
                    return
            self._wait_for_other_reports()
            self._fail_stopped(_SUSPECT_SECONDS)

    def _look(self, now: float) -> None:
        """Now and then: who is stopped, and for how long was that so while this process looked on?"""
        since = now - self._looked
        if since < _LOOK_SECONDS:
            return
        self._looked = now
        self._heard = min(now, self._heard + max(0.0, since - _ASLEEP_SECONDS))
        known, seen = self._stopped_for, min(since, _ASLEEP_SECONDS)
        self._stopped_for = {rank: known[rank] + seen if rank in known else 0.0 for rank in self._stopped()}

    def _fail_stopped(self, at_least: float) -> bool:
        """Whether there are any that have been stopped for so long."""
        found = [rank for rank, seconds in self._stopped_for.items() if rank in self._open and seconds >= at_least]
        for rank in found:
            seconds = self._stopped_for[rank]
            self._fail(Failure(rank=rank, when=self._looked - seconds, report=stop_report(seconds)))
        return bool(found)

    def _wait_for_other_reports(self) -> None:
        end = time.monotonic() + _GRACE_SECONDS
        while self._open and not any(failure.died for failure in self.failures):
            if not self._listen(end):
                return

    def _ask_where(self) -> None:
        self.silent = dict.fromkeys(self._open)
        for rank in self.silent:
            # A rank that doesn't even read this has no stack to show, and the report says so.
            with contextlib.suppress(OSError):
                self._open[rank].send(WHERE)
        end = time.monotonic() + _WHERE_SECONDS
        while None in self.silent.values() and self._listen(end):
            pass

    def _listen(self, until: float) -> bool:
        """Take in what the ranks say next; False if they say nothing until then."""
        ready = self._selector.select(max(0.0, until - time.monotonic()))
        for key, _ in ready:
            self._read(key.data)
        return bool(ready)

    def _read(self, rank: int) -> None:
        self._heard = time.monotonic()
        try:
            frames = self._open[rank].receive()
        except EOFError:
            self._fail(Failure(rank=rank, when=self._heard, report=None))
            return
        for frame in frames:
            self._take(rank, decode(frame))

    def _take(self, rank: int, message: object) -> None:
        match message:
            case Event(text=text):
                if self._on_event is not None:
                    self._on_event(rank, json.loads(text))
            case Result(value=value):
                self.results[rank] = value
                self._close(rank)
            case Raised(when=when, report=report, unusable=unusable):
                self._fail(Failure(rank=rank, when=when, report=report, unusable=unusable))
            case Whereabouts(stack=stack):
                self.silent[rank] = stack
            case _:
                raise AssertionError(f"rank {rank} sent {message!r}, which a rank never says")

    def _fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self._close(failure.rank)

    def _close(self, rank: int) -> None:
        self._selector.unregister(self._open.pop(rank))
