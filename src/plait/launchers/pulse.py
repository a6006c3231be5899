"""One thread of each rank that talks to the ranks' store, and nobody else does: what a dead link holds up is only it.

    say ──► outbox ──► log of all    ──► inbox, on every rank, in one order for all
                  └──► log of rank 0 ──► inbox of rank 0: events, results
            every half second: my count goes up, and whose has not gone up for how long?

Messages are JSON; nothing that arrives is ever unpickled. It knows the store and the clock. It must not know what a
message means, nor end anything: `World` does.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from plait.launchers.parts import drop, put, take
from plait.launchers.stopwatch import ASLEEP_SECONDS

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store  # torch.distributed has it too, but does not type it

__all__ = ["Message", "Pulse"]

_ROUND_SECONDS = 0.1
_BEAT_SECONDS = 0.5
_ALL, _FIRST = "all", "first"


@dataclass(frozen=True, kw_only=True)
class Message:
    """What rank `sender` said: a word for its kind, and anything that JSON carries."""

    sender: int
    kind: str
    body: Any


class Pulse:
    """The rank's thread, once it is started; it looks for another rank's beats from the moment of `watch`."""

    def __init__(self, store: Store, rank: int) -> None:
        self.inbox: SimpleQueue[Message] = SimpleQueue()
        self.answered = time.monotonic()  # when the store last answered anything
        self.trouble: str | None = None  # why the thread has ended, if it has
        self.rounds = 0  # how often all that was said has been read
        self.beats: dict[int, int] = {}  # how often each watched rank has been heard of
        self._store, self._rank = store, rank
        self._changed: dict[int, float] = {}
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._logs = [_Log(store, _ALL, forget=False)] + ([_Log(store, _FIRST, forget=True)] if rank == 0 else [])
        self._wake, self._ending = threading.Event(), threading.Event()
        self._beaten, self._count = time.monotonic(), 0
        self._beat(self._beaten)
        self._thread = threading.Thread(target=self._live, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def say(self, kind: str, body: Any = None, *, to_first: bool = False) -> None:
        """Tell all ranks, this one too, or rank 0 alone. Returns at once; raises TypeError on what JSON can't carry."""
        text = json.dumps([self._rank, kind, body]).encode()
        self._outbox.append((_FIRST if to_first else _ALL, text))
        self._wake.set()

    def watch(self, rank: int) -> None:
        """From now on look for this rank's beats; it has begun to beat."""
        self._changed.setdefault(rank, time.monotonic())
        self.beats.setdefault(rank, 0)

    def quiet(self, rank: int) -> float:
        """For how long a watched rank had not been heard of when this one last looked; time in which this one could not
        look, asleep itself or without an answer, counts as none."""
        return self._beaten - self._changed[rank]

    def stop(self, seconds: float) -> None:
        """Send what is still to be sent, and end: after `seconds` at most."""
        self._ending.set()
        self._wake.set()
        self._thread.join(seconds)

    def _live(self) -> None:
        try:
            while not self._ending.is_set():
                self._round()
                self._wake.wait(_ROUND_SECONDS)
                self._wake.clear()
            self._send()
        except Exception as error:  # the store's own, of several kinds: whoever looks at us tells
            self.trouble = f"{type(error).__name__}: {error}".splitlines()[0]

    def _round(self) -> None:
        began = time.monotonic()
        self._send()
        if began - self._beaten >= _BEAT_SECONDS:
            self._beat(began)
            self.answered = time.monotonic()
        for log in self._logs:
            for text in log.unread():
                sender, kind, body = json.loads(text)
                self.inbox.put(Message(sender=sender, kind=kind, body=body))
                self.answered = time.monotonic()
            self.answered = time.monotonic()
        self.rounds += 1

    def _send(self) -> None:
        while self._outbox:
            log, text = self._outbox[0]
            _append(self._store, log, text)
            self._outbox.popleft()
            self.answered = time.monotonic()

    def _beat(self, now: float) -> None:
        if (missed := now - self._beaten - _BEAT_SECONDS) > ASLEEP_SECONDS:  # I slept, or the store did
            for rank in tuple(self._changed):  # in place: `watch` adds to it from another thread
                self._changed[rank] += missed
        self._count += 1
        self._store.set(_beat_of(self._rank), str(self._count))
        watched = sorted(self._changed)
        found = self._store.multi_get([_beat_of(rank) for rank in watched]) if watched else []
        for rank, count in zip(watched, map(int, found), strict=True):
            if count != self.beats[rank]:
                self.beats[rank], self._changed[rank] = count, now
        self._beaten = now


class _Log:
    """One reader's place in a list of messages that any rank appends to."""

    def __init__(self, store: Store, name: str, *, forget: bool) -> None:
        self._store, self._name, self._forget = store, name, forget
        self._read = 0

    def unread(self) -> Iterator[bytes]:
        """What has been written since the last call."""
        written = self._store.add(f"{self._name}/written", 0)
        # One that is counted and not there is on its way; whoever died over it is missed by its beats.
        while self._read < written and self._store.check([head := f"{self._name}/{self._read + 1}"]):
            self._read += 1
            yield take(self._store, head)
            if self._forget:
                drop(self._store, head)


def _append(store: Store, log: str, text: bytes) -> None:
    put(store, f"{log}/{store.add(f'{log}/written', 1)}", text)


def _beat_of(rank: int) -> str:
    return f"beat/{rank}"
