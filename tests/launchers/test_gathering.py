"""One task's answers, with the ranks played by the test at the other ends of the channels."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from plait.launchers import gathering as module
from plait.launchers.failure import first_cause
from plait.launchers.gathering import Gathering
from plait.launchers.messages import WHERE, Channel, Event, Message, Raised, Result, Whereabouts, encode


class PlayedRanks:
    """Both ends of three channels: `ours` for the gathering, and `say` for what a rank says."""

    def __init__(self) -> None:
        self._sockets = [socket.socketpair() for _ in range(3)]
        self.ours = {rank: Channel(ours) for rank, (ours, _) in enumerate(self._sockets)}
        self.theirs = [Channel(theirs) for _, theirs in self._sockets]

    def say(self, rank: int, *messages: Message) -> None:
        for message in messages:
            self.theirs[rank].send(encode(message))

    def close(self) -> None:
        for ours, theirs in self._sockets:
            ours.close()
            theirs.close()


@pytest.fixture
def ranks() -> Iterator[PlayedRanks]:
    ranks = PlayedRanks()
    yield ranks
    ranks.close()


def test_every_rank_answers(ranks: PlayedRanks) -> None:
    heard: list[tuple[int, object]] = []
    gathering = Gathering(ranks.ours, lambda rank, event: heard.append((rank, event)))
    ranks.say(1, Event(text='{"step": 1}'), Event(text='{"step": 2}'), Result(value="one"))
    ranks.say(0, Result(value="zero"))
    ranks.say(2, Result(value="two"))
    gathering.wait(5.0)
    assert gathering.results == {0: "zero", 1: "one", 2: "two"}
    assert heard == [(1, {"step": 1}), (1, {"step": 2})]
    assert not gathering.failures
    assert not gathering.silent


def test_events_that_nobody_wants_are_dropped(ranks: PlayedRanks) -> None:
    gathering = Gathering({0: ranks.ours[0]}, None)
    ranks.say(0, Event(text="{}"), Result(value=1))
    gathering.wait(5.0)
    assert gathering.results == {0: 1}


def test_a_death_ends_the_waiting_at_once(ranks: PlayedRanks) -> None:
    gathering = Gathering(ranks.ours, None)
    ranks.theirs[2].close()
    gathering.wait(600.0)
    assert [(failure.rank, failure.died) for failure in gathering.failures] == [(2, True)]


def test_all_reports_of_a_failure_are_gathered(ranks: PlayedRanks) -> None:
    gathering = Gathering(ranks.ours, None)
    ranks.say(0, Raised(when=2.0, report="RuntimeError: peer"))
    ranks.say(1, Raised(when=1.0, report="ValueError: boom"))
    gathering.wait(600.0)  # rank 2 never answers: the grace is what ends this
    assert {failure.rank: failure.when for failure in gathering.failures} == {0: 2.0, 1: 1.0}


def test_silent_ranks_are_asked_where_they_stand(ranks: PlayedRanks) -> None:
    gathering = Gathering(ranks.ours, None)
    ranks.say(0, Result(value=0))

    def answer_when_asked() -> None:
        for rank, place in ((1, "in all_reduce"), (2, "in recv")):
            assert ranks.theirs[rank].receive() == [WHERE]
            ranks.say(rank, Whereabouts(stack=place))

    listener = threading.Thread(target=answer_when_asked)
    listener.start()
    gathering.wait(0.05)
    listener.join()
    assert gathering.silent == {1: "in all_reduce", 2: "in recv"}
    assert gathering.results == {0: 0}


class Clock:
    """The clock, set forward where this process would have stood still."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def stand_still(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks as often as fits a test: what takes a second takes 20 ms."""
    for name in ("LOOK", "ASLEEP", "STOPPED", "SUSPECT"):
        long = getattr(module, f"_{name}_SECONDS")
        monkeypatch.setattr(module, f"_{name}_SECONDS", long / 50)


@pytest.mark.usefixtures("quick")
def test_a_rank_that_stays_stopped_has_failed_though_the_others_go_on_talking(ranks: PlayedRanks) -> None:
    gathering = Gathering(ranks.ours, None, stopped=lambda: {1})
    ending = threading.Event()

    def talk() -> None:
        while not ending.wait(0.005):
            ranks.say(0, Event(text="{}"))

    talker, began = threading.Thread(target=talk), time.monotonic()
    talker.start()
    gathering.wait(600.0)
    ending.set()
    talker.join()
    assert [(failure.rank, failure.died) for failure in gathering.failures] == [(1, False)]
    assert time.monotonic() - began > module._STOPPED_SECONDS
    assert (gathering.failures[0].report or "").startswith("its process has been stopped for ")


@pytest.mark.usefixtures("quick")
def test_who_is_let_go_on_has_not_failed_and_begins_anew(ranks: PlayedRanks) -> None:
    looks: list[int] = []

    def stopped() -> set[int]:
        looks.append(1)
        if len(looks) == 20:
            for rank in range(3):
                ranks.say(rank, Result(value=rank))
        return set() if len(looks) % 4 == 0 else {0, 2}  # three looks in turn: two seconds' worth

    gathering = Gathering(ranks.ours, None, stopped=stopped)
    gathering.wait(600.0)
    assert not gathering.failures
    assert gathering.results == {0: 0, 1: 1, 2: 2}


@pytest.mark.usefixtures("quick")
def test_a_stopped_rank_explains_what_others_raise_for_it(ranks: PlayedRanks) -> None:
    looks: list[int] = []

    def stopped() -> set[int]:
        looks.append(1)
        if len(looks) == 3:
            ranks.say(0, Raised(when=time.monotonic(), report="PeerLost: rank 1 hangs"))
        return {1}

    gathering = Gathering(ranks.ours, None, stopped=stopped)
    gathering.wait(600.0)
    assert {failure.rank for failure in gathering.failures} == {0, 1}
    assert first_cause(gathering.failures).rank == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("where", ["while it takes in what they say", "while it looks at them"])
def test_nobody_is_accused_of_the_time_in_which_this_process_stood_still_too(
    ranks: PlayedRanks, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Ctrl-Z of all, and fg ten minutes later: the others stop a moment before this one, and go on a moment after."""
    clock, looks = Clock(), []
    monkeypatch.setattr(module, "time", clock)

    def pause() -> None:
        if where == "while it looks at them":
            clock.stand_still(600.0)
        else:
            ranks.say(0, Event(text="{}"))

    def stopped() -> set[int]:
        looks.append(1)
        if len(looks) == 1:
            pause()
        if len(looks) == 4:
            for rank in range(3):
                ranks.say(rank, Result(value=rank))
        return {0, 1, 2} if len(looks) < 3 else set()

    gathering = Gathering(ranks.ours, lambda rank, event: clock.stand_still(600.0), stopped=stopped)
    gathering.wait(8.0)
    assert len(looks) == 4
    assert not gathering.failures
    assert not gathering.silent
    assert gathering.results == {0: 0, 1: 1, 2: 2}
