"""The ranks that torchrun has started, seen from one of them: who has come, what they say, who is gone.

    join ──► all are here ──► say / hear ──► ... ──► leave
                 │                 │
      who is missing, by name      └── a rank that raised, died, or fell silent: named, on every rank, within seconds

Each rank is watched by all others through the store, and by those of its own host as a process. `hear` and `listen`
raise what has become of the others, so that no wait for them outlasts them. It must not know what the ranks compute.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from math import nan
from queue import Empty
from types import FrameType
from typing import Any

from plait.errors import IllegalJob, PlaitError, Problem, RankFailure, UnusableInput
from plait.launchers.interfaces import choose_interface
from plait.launchers.pulse import Message, Pulse
from plait.launchers.roster import Roster, raised_by
from plait.launchers.siblings import Siblings
from plait.launchers.stopwatch import Stopwatch
from plait.launchers.torchrun import Place

__all__ = ["START_VARIABLE", "World"]

START_VARIABLE = "PLAIT_START_SECONDS"

_START_SECONDS = 120.0  # until all ranks have imported torch
_SILENCE_SECONDS = 5.0
_PARTING_SECONDS = 3.0
_FAINT_SECONDS = 1.5  # without a beat: a rank that has not left by then may not be able to
_LONGEST_START = 1e6
_LISTEN_SECONDS = 0.1
_NUMBERS = count()


class World:
    """This process among its ranks; every one of them makes it, and returns from that once all have come.

    Raises RankFailure naming those that are not there after PLAIT_START_SECONDS (120), or that failed meanwhile;
    UnusableInput for a network interface that does not exist, here or on another rank.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rank, self.size = place.rank, place.size
        self.news: deque[Message] = deque()  # on rank 0: events and results, in the order in which they were said
        self._roster = Roster(place.rank, place.size)
        self._siblings = Siblings()
        self._stop_asked = self._attentive = self._over = False
        self.hanging = False  # whether ranks have been left in a collective that doesn't end
        self.programs = count(1)  # numbers what is performed within it, in one order on every process (`led`)
        self._patience = _start_seconds()
        self._number = next(_NUMBERS)  # every process makes its worlds in one order: what the last one said stays there
        self._unanswered, self._answer = Stopwatch(), 0.0
        self._ended: dict[int, int] = {}  # by rank of this host, the pulse's round in which its process was seen gone
        self._pulse = Pulse(self._connected("plait", holds=place.rank == 0 and not place.agent_store), self.rank)
        self._pulse.start()
        self._previous = _on_sigterm(self._asked_to_stop)
        try:
            self._gather()
            choose_interface(place.address, place.port)
        except BaseException as error:
            self.leave(error)
            raise

    def store(self, name: str) -> Any:
        """Another connection to the ranks' store; `name` keeps its keys apart from those of others."""
        return self._connected(name, holds=False)

    def require(self, ranks: int) -> None:
        """Raises IllegalJob where the ranks that torchrun has started are not as many."""
        if ranks != self.size:
            message = f"the plan occupies {ranks} ranks, and torchrun has started {self.size}"
            raise IllegalJob([Problem(key="cluster.ranks", message=message, legal=(self.size,))])

    def say(self, kind: str, body: Any = None) -> None:
        """Tell every rank, once; `hear` waits for it there. Raises TypeError on what JSON can't carry."""
        self._pulse.say(kind, body)

    def tell_first(self, kind: str, body: Any) -> None:
        """Tell rank 0 alone: it finds it among its `news`. From any thread."""
        self._pulse.say(kind, body, to_first=True)

    def hear(self, kind: str, sender: int, seconds: float) -> Any:
        """What a rank said, or will say. Raises as `listen` does, and RankFailure after `seconds`."""
        end = time.monotonic() + seconds
        said = self._roster.said.setdefault(kind, {})
        while sender not in said:
            if time.monotonic() > end:
                words = f"{self._roster.name(sender)} lives, and has not said {kind!r} for {seconds:g} s"
                raise RankFailure(sender, words)
            self.listen()
        return said[sender]

    def heard(self, kind: str, sender: int) -> Any:
        """What a rank has said, as far as `listen` has taken it in; None where it has not."""
        return self._roster.said.get(kind, {}).get(sender)

    @property
    def hosts(self) -> tuple[tuple[int, ...], ...]:
        """The ranks of each of torchrun's nodes."""
        nodes: dict[int, list[int]] = {}
        for rank, who in sorted(self._roster.said["here"].items()):
            nodes.setdefault(who["node"], []).append(rank)
        return tuple(tuple(ranks) for _, ranks in sorted(nodes.items()))

    def hear_all(self, kind: str, seconds: float) -> list[Any]:
        """What every rank said, by rank; raises as `hear` does."""
        end = time.monotonic() + seconds
        return [self.hear(kind, rank, max(0.0, end - time.monotonic())) for rank in range(self.size)]

    def listen(self, seconds: float = _LISTEN_SECONDS) -> None:
        """Take in what is said meanwhile. Raises RankFailure naming the rank that failed first, or UnusableInput in its
        words where that is what it raised; RankFailure where the store is gone."""
        self._attentive = True
        try:
            self._take_in(seconds)
            self._miss()
            if self._stop_asked or self._roster.broken:
                raise self._verdict()
        finally:
            self._attentive = False

    def failed(self, error: BaseException) -> PlaitError:
        """Tell all that this rank raised `error`; what is to be raised for it: the failure that explains it."""
        self._attentive = True
        self.say("raised", raised_by(self.rank, error))
        while not self._roster.broken:  # it comes back as all hear it
            self._take_in(_LISTEN_SECONDS)
            self._miss()
        return self._verdict()

    def require_whole(self) -> None:
        """After all have left: raises RankFailure naming a rank that was lost meanwhile."""
        if self._roster.lost:
            raise self._roster.first_cause()

    def end_by_itself(self) -> None:
        """Once all have parted, let this process end by its own exit code: as soon as one rank of a host has ended by
        another code than 0, torchrun tells the others to stop, and they would end by that signal."""
        self._previous = signal.SIG_IGN

    def leave(self, error: BaseException | None = None) -> None:
        """The end: of all, or of this rank by `error`, which the others hear of. Returns once all have left, or after
        some seconds; the ranks of this host that were lost, now too, are killed. Again, it does nothing."""
        if self._over:
            return
        self._over = True
        if error is not None and not self._roster.broken:
            self.say("raised", raised_by(self.rank, error))
        self.say("left")
        end = time.monotonic() + _PARTING_SECONDS
        while self._without_store() is None and self._roster.staying:
            beats = all(self._pulse.quiet(rank) < _FAINT_SECONDS for rank in self._roster.staying)
            if time.monotonic() > end and (beats or time.monotonic() > end + 2 * _SILENCE_SECONDS):
                break
            self._take_in(_LISTEN_SECONDS)
            self._miss_ranks()
        self._pulse.stop(_PARTING_SECONDS if self._without_store() is None else 0.0)
        for rank in self._roster.lost:
            self._siblings.end(rank)
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _connected(self, name: str, *, holds: bool) -> Any:
        from torch._C._distributed_c10d import PrefixStore, TCPStore

        place, patience = self.place, timedelta(seconds=self._patience)
        try:
            store = TCPStore(place.address, place.port, None, holds, patience, wait_for_workers=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise PlaitError(f"rank {self.rank} can't reach {place.address}:{place.port}: {reason}") from error
        return PrefixStore(f"plait/{place.attempt}/{self._number}/{name}", store)

    def _gather(self) -> None:
        self.say("here", {"host": socket.gethostname(), "node": self.place.host, "pid": os.getpid()})
        end = time.monotonic() + self._patience
        while self._roster.absent:
            if time.monotonic() > end:
                raise self._roster.missing(f"within {self._patience:g} s ({START_VARIABLE})")
            try:
                self.listen()
            except RankFailure:
                if self._roster.broken or not self._stop_asked or not self._roster.absent:
                    raise
                raise self._roster.missing("before torchrun told the others to stop") from None

    def _take_in(self, seconds: float) -> None:
        """Sort what has arrived; wait `seconds` for the first of it."""
        try:
            self._sort(self._pulse.inbox.get(timeout=seconds))
            while True:
                self._sort(self._pulse.inbox.get_nowait())
        except Empty:
            return

    def _sort(self, message: Message) -> None:
        if message.kind in ("event", "result"):
            self.news.append(message)
            return
        self._roster.note(message)
        if message.kind == "here" and message.sender != self.rank:
            self._pulse.watch(message.sender)
            if message.body["node"] == self.place.host:
                self._siblings.know(message.sender, message.body["pid"])

    def _miss(self) -> None:
        """Look who is gone. Raises RankFailure where the store is."""
        if (why := self._without_store()) is not None:
            where = f"{self.place.address}:{self.place.port}"
            raise RankFailure(0, f"the ranks' store at {where} is gone, with torchrun there or the link to it: {why}")
        self._miss_ranks()

    def _miss_ranks(self) -> None:
        """Who has ended has said all that it said before: it is lost if a whole round of reading, begun after its end
        was seen, has brought no farewell."""
        for rank in self._siblings.gone():
            self._ended.setdefault(rank, self._pulse.rounds)
        read = self._pulse.rounds
        self._take_in(0.0)
        for rank in self._roster.staying:
            if read >= self._ended.get(rank, read) + 2:  # one may have been under way
                self._lose(rank, "its process is gone: it was killed, or ended without a word")
            elif self._pulse.quiet(rank) > _SILENCE_SECONDS:
                self._lose(rank, f"nothing has been heard of it for {_SILENCE_SECONDS:g} s: killed, stopped or cut off")

    def _without_store(self) -> str | None:
        """Why the store can't be reached, if it can't. Time in which this process was stopped itself is not counted."""
        stalled = self._unanswered.seconds() > _SILENCE_SECONDS
        if self._answer != (answer := self._pulse.answered):
            self._answer, stalled = answer, False
            self._unanswered.anew()
        return self._pulse.trouble or (f"it has not answered for {_SILENCE_SECONDS:g} s" if stalled else None)

    def _lose(self, rank: int, words: str) -> None:
        told = {"rank": rank, "words": f"{self._roster.name(rank)}: {words}"}
        self._roster.note(Message(sender=self.rank, kind="lost", body=told))
        self.say("lost", told)

    def _verdict(self) -> PlaitError:
        """What came first, once each rank that might have died before is known to have lived after."""
        before, began = dict(self._pulse.beats), time.monotonic()
        while not self._roster.lost and time.monotonic() < began + _SILENCE_SECONDS + 1.5:
            unsure = [rank for rank in self._roster.staying if self._pulse.beats[rank] < before.get(rank, 0) + 2]
            if not unsure and (self._roster.broken or time.monotonic() > began + 2.0):
                break
            self._take_in(_LISTEN_SECONDS)
            self._miss()
        return self._roster.first_cause()

    def _asked_to_stop(self, _: int, __: FrameType | None) -> None:
        """torchrun ends what is left of its ranks once one has ended: this one looks for the cause first."""
        self._stop_asked = True
        if not self._attentive and not self._over:
            raise self._verdict()


def _start_seconds() -> float:
    """How long to wait for all to come. Raises UnusableInput where the environment says something else than seconds."""
    told = os.environ.get(START_VARIABLE)
    try:
        seconds = _START_SECONDS if told is None else float(told)
    except ValueError:
        seconds = nan
    if not 0 < seconds <= _LONGEST_START:
        raise UnusableInput(f"{START_VARIABLE} is {told}, and has to be seconds above 0, at most {_LONGEST_START:,.0f}")
    return seconds


def _on_sigterm(handler: Callable[[int, FrameType | None], None]) -> Any:
    """Set it, and return what was there; None outside of the main thread, which alone may."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, handler)
