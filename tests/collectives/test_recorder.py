"""The recorder counts by axis, kind and size, and times what blocks; pure, since `note` and `blocked` are its doors."""

from __future__ import annotations

import itertools

import pytest

from plait.collectives import recorder as recorder_module
from plait.collectives.recorder import blocked, note, record
from plait.plans.prediction import Traffic


@pytest.fixture
def seconds(monkeypatch):
    """A clock that goes on by one second whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(recorder_module, "perf_counter", lambda: float(next(ticks)))


def test_equal_messages_are_one_row_and_rows_are_sorted():
    with record() as recorder:
        note("tensor", "all_reduce", 8)
        note("data", "all_reduce", 64)
        note("data", "all_reduce", 8)
        note("data", "all_reduce", 64)
    assert recorder.traffic() == (
        Traffic(axis="data", kind="all_reduce", bytes=8, count=1),
        Traffic(axis="data", kind="all_reduce", bytes=64, count=2),
        Traffic(axis="tensor", kind="all_reduce", bytes=8, count=1),
    )


def test_only_what_happens_inside_counts():
    note("data", "all_reduce", 1)
    with record() as recorder:
        note("data", "all_reduce", 2)
    note("data", "all_reduce", 3)
    assert [message.bytes for message in recorder.traffic()] == [2]


def test_recorders_within_each_other_all_listen(seconds):
    with record() as outer:
        note("data", "all_reduce", 1)
        with record() as inner:
            note("data", "all_reduce", 2)
            with blocked("data"):
                pass
        note("data", "all_reduce", 3)
    assert [message.bytes for message in inner.traffic()] == [2]
    assert [message.bytes for message in outer.traffic()] == [1, 2, 3]
    assert inner.blocked_seconds == outer.blocked_seconds == {"data": 1.0}


def test_an_inner_recorder_that_heard_the_same_does_not_silence_the_outer():
    with record() as outer:
        with record() as inner:
            note("data", "all_reduce", 1)
        note("data", "all_reduce", 2)
    assert [message.bytes for message in inner.traffic()] == [1]
    assert [message.bytes for message in outer.traffic()] == [1, 2]


def test_blocked_seconds_add_up_by_axis(seconds):
    with record() as recorder:
        for axis in ("data", "tensor", "data"):
            with blocked(axis):
                pass
    assert recorder.blocked_seconds == {"data": 2.0, "tensor": 1.0}


def test_a_wait_that_fails_was_a_wait_too(seconds):
    with record() as recorder, pytest.raises(RuntimeError), blocked("data"):
        raise RuntimeError
    assert recorder.blocked_seconds == {"data": 1.0}


def test_a_recorder_stops_listening_when_its_block_fails():
    with pytest.raises(RuntimeError), record() as recorder:
        raise RuntimeError
    note("data", "all_reduce", 1)
    assert recorder.traffic() == ()
