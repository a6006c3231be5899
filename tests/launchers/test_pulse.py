"""What a rank says arrives everywhere, in one order, whatever its size; and who stops beating falls quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed import TCPStore

from plait.launchers.pulse import Pulse

SECONDS = 30


@contextmanager
def pulses(count: int) -> Iterator[list[Pulse]]:
    limit = timedelta(seconds=SECONDS)
    served = TCPStore("127.0.0.1", 0, None, True, limit, wait_for_workers=False)
    others = [TCPStore("127.0.0.1", served.port, None, False, limit, wait_for_workers=False) for _ in range(count)]
    made = [Pulse(store, rank) for rank, store in enumerate(others)]
    try:
        for pulse in made:
            pulse.start()
        yield made
    finally:
        for pulse in made:
            pulse.stop(5)


def heard(pulse: Pulse, count: int) -> list[tuple[int, str, Any]]:
    found = [pulse.inbox.get(timeout=SECONDS) for _ in range(count)]
    return [(message.sender, message.kind, message.body) for message in found]


def test_all_hear_all_in_one_order_and_rank_0_alone_what_is_for_it():
    with pulses(3) as made:
        for turn in range(5):
            for pulse in made:
                pulse.say("word", turn)
        made[1].say("event", {"loss": 1.5}, to_first=True)
        told = [heard(pulse, 15 + (rank == 0)) for rank, pulse in enumerate(made)]
        assert (1, "event", {"loss": 1.5}) in told[0]
        told[0].remove((1, "event", {"loss": 1.5}))
        assert told[0] == told[1] == told[2]
        for rank in range(3):
            assert [body for sender, _, body in told[0] if sender == rank] == list(range(5)), "in each one's order"
        assert all(pulse.inbox.empty() for pulse in made[1:])


@pytest.mark.parametrize("length", [0, 1, (1 << 20) - 16, 3 << 20])
def test_messages_of_any_size_arrive_whole(length: int) -> None:
    with pulses(1) as (pulse,):
        pulse.say("result", "ü" * length, to_first=True)
        assert heard(pulse, 1) == [(0, "result", "ü" * length)]


def test_what_json_can_t_carry_is_refused_at_once():
    with pulses(1) as (pulse,), pytest.raises(TypeError):
        pulse.say("result", object())


def test_who_stops_beating_falls_quiet():
    with pulses(3) as made:
        made[0].watch(1)
        made[0].watch(2)
        made[1].stop(5)
        end = time.monotonic() + SECONDS
        while made[0].quiet(1) < 2.0 and time.monotonic() < end:
            time.sleep(0.05)
        assert made[0].quiet(1) >= 2.0 > made[0].quiet(2)
        assert made[0].beats[2] > made[0].beats[1]


def test_time_in_which_it_could_not_look_is_nobodys_silence():
    with pulses(2) as (pulse, other):
        other.stop(5)
        pulse.stop(5)
        pulse.watch(1)
        began = time.monotonic()
        pulse._beat(began)
        pulse._beat(began + 60)  # asleep for a minute, or no answer for so long
        assert pulse.quiet(1) < 1.0
        for beat in range(8):
            pulse._beat(began + 60.5 + beat / 2)
        assert pulse.quiet(1) > 4.0, "awake, and the other still silent"


def test_a_store_that_is_gone_is_trouble():
    limit = timedelta(seconds=SECONDS)
    served = TCPStore("127.0.0.1", 0, None, True, limit, wait_for_workers=False)
    pulse = Pulse(TCPStore("127.0.0.1", served.port, None, False, limit, wait_for_workers=False), 0)
    pulse.start()
    del served
    end = time.monotonic() + SECONDS
    while pulse.trouble is None and time.monotonic() < end:
        time.sleep(0.05)
    assert pulse.trouble is not None
