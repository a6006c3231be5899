"""How fast a machine is beside its profile: told in proportion to what the blocks took, and of no other machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from plait.devices.device import Device
from plait.devices.drift import times_as_long
from plait.devices.host import processor_name
from plait.devices.overheads import measure_blocks
from plait.plans.departures import drifted
from plait.specs.measurements import Host, Measurements, SmallBlock
from tests.planner.machines import machine

HERE = Host(processor=processor_name(), cores=99, memory_bytes=2**30, device="cpu")


def known(times: float = 1.0) -> Measurements:
    """A profile of this machine in which blocks took so many times as long."""
    longer = tuple(
        SmallBlock(
            norm=one.norm, forward_seconds=times * one.forward_seconds, backward_seconds=times * one.backward_seconds
        )
        for one in measure_blocks(budget=0.1, device=Device(), start=0.0)
    )
    return replace(machine(), host=HERE, blocks=longer)


def test_a_slower_profile_makes_now_faster_in_proportion(monkeypatch):
    blocks = known().blocks
    monkeypatch.setattr("plait.devices.drift.measure_blocks", lambda **_: blocks)
    for times in (0.5, 1.0, 4.0):
        slower = tuple(
            replace(one, forward_seconds=times * one.forward_seconds, backward_seconds=times * one.backward_seconds)
            for one in blocks
        )
        assert times_as_long(replace(machine(), host=HERE, blocks=slower)) == pytest.approx(1 / times)


def test_it_really_looks_at_this_machine_on_one_thread_and_leaves_others_alone(monkeypatch):
    before, slow = torch.get_num_threads(), known(100.0)
    seen: list[int] = []

    def measured(**how: Any) -> Any:
        seen.append(torch.get_num_threads())
        return measure_blocks(**how)

    monkeypatch.setattr("plait.devices.drift.measure_blocks", measured)
    torch.set_num_threads(2)
    try:
        found = times_as_long(slow, budget=0.05)
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
    assert found is not None
    assert 0 < found < 0.2, "of a profile that was a hundred times slower"


def test_of_another_machine_nothing_is_said():
    blocks = known().blocks
    for host in (None, replace(HERE, processor="another"), replace(HERE, device="cuda")):
        assert times_as_long(replace(machine(), host=host, blocks=blocks)) is None
    assert times_as_long(replace(machine(), host=HERE, blocks=())) is None


@pytest.mark.parametrize(
    ("times", "word"), [(None, None), (1.0, None), (0.93, None), (1.24, "a faster one"), (0.7, "a slower one")]
)
def test_only_what_explains_something_is_told(times, word):
    told = drifted(times)
    assert told == word if word is None else word in told
