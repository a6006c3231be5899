"""One task's answers, with the ranks played by the test at the other ends of the channels."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

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
