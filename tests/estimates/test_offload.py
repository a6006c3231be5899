"""State in host memory: bytes counted by hand, and seconds as the runtime performs an update there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates import offload
from plait.estimates.estimate import fullness, running_out
from plait.estimates.memory import memory
from plait.estimates.offload import in_fullest_host, kept_in_host, update_in_host
from plait.estimates.step import floors, times
from plait.estimates.weights import held_by
from plait.layers.parameters import parameters
from plait.plans.offload import BATCH_BYTES, HOST_RATE
from plait.specs.connections import TO_HOST
from plait.specs.hardware import MemoryLink
from tests.estimates.arranged import GPT, arranged, machines, task

ELEMENTS = np.array([1e9])


@pytest.mark.parametrize(("zero", "ranks"), [(0, 1), (1, 8), (2, 8), (3, 8)])
@pytest.mark.parametrize(
    ("keys", "state", "host"),
    [
        ({}, 12, 16),  # bf16: master, two moments; and a gradient beside them
        ({"moments": 1}, 8, 12),
        ({"dtype": "fp32"}, 8, 16),  # a device's weights are their own masters, a host's are not
    ],
)
def test_a_weight_s_state_moves_from_device_to_host(zero, ranks, keys, state, host):
    asked, (without, moved) = task(**keys), (arranged(data=8, zero=zero, offload=moved) for moved in (False, True))
    here, there = memory(asked, without), memory(asked, moved)
    elements = parameters(GPT).total / ranks
    assert here.total[0] - there.total[0] == pytest.approx(state * elements, rel=1e-9)
    assert in_fullest_host(asked, moved)[0] == pytest.approx(8 * host * elements, rel=1e-9)
    assert (in_fullest_host(asked, without)[0], there.optimizer[0]) == (0, 0)


@pytest.mark.parametrize(("pipeline", "data", "stages"), [(2, 8, 1), (4, 4, 2), (8, 2, 4), (8, 1, 8), (3, 4, 2)])
def test_the_fullest_host_has_all_its_stages(pipeline, data, stages):
    asked = replace(task(), machines=machines(nodes=max(1, pipeline * data // 8), each=8))
    plan = arranged(pipeline=pipeline, data=data, zero=1, offload=True)
    each, mean = GPT.layers / pipeline, np.array([GPT.layers / pipeline])
    assert each == int(each)
    first, middle, last = (
        kept_in_host(asked, plan, held_by(asked, plan, place, mean))[0] for place in ("first", "middle", "last")
    )
    ends = first + last if stages == pipeline else max(first, last)
    others = stages - 1 - (stages == pipeline)
    assert in_fullest_host(asked, plan)[0] == pytest.approx(min(8, data) * (ends + others * middle))


def test_the_longest_of_the_three_is_paid_and_a_batch_of_the_others():
    link = TO_HOST["pcie4"].bytes_per_second
    out, back, update = 4e9 / link, 2e9 / link, 32e9 / HOST_RATE
    batches = np.ceil(4e9 / BATCH_BYTES)
    assert update_in_host(task(), ELEMENTS)[0] == pytest.approx(update + (out + back) / batches)
    few = np.array([1e6])  # one batch: nothing lies beside anything
    assert update_in_host(task(), few)[0] == pytest.approx((out + back + update) / 1000)


def test_faster_links_are_never_slower_and_slow_ones_are_what_is_waited_for(monkeypatch):
    def seconds(gigabytes: float) -> float:
        link = MemoryLink(name="wire", peak=gigabytes * 1e9, reached=1.0, source="drawn")
        monkeypatch.setattr(offload, "to_host_of", lambda _: link)
        return float(times(task(), arranged(data=8, zero=1, offload=True)).optimizer[0])

    rates = [0.1, 0.5, 1.0, 1.25, 2.0, 8.0, 32.0, 450.0]
    found = [seconds(rate) for rate in rates]
    assert np.all(np.diff(found) < 0)
    assert found[0] > 4.9 * found[1]  # the wire decides
    assert found[-2] < 1.05 * found[-1]  # the host does


@pytest.mark.parametrize("link", TO_HOST)
def test_a_step_is_longer_by_what_the_update_is(link):
    asked = task()
    device = replace(asked.machines.device, to_host=link)
    asked = replace(asked, machines=replace(asked.machines, device=device))
    plans = [arranged(data=8, zero=1, offload=moved) for moved in (False, True)]
    here, there = (times(asked, plan) for plan in plans)
    assert there.step[0] > here.step[0]
    slower = 1 + asked.constants.jitter * 3
    assert there.step[0] - here.step[0] == pytest.approx(slower * (there.optimizer[0] - here.optimizer[0]))
    assert there.optimizer[0] == pytest.approx(update_in_host(asked, np.array([parameters(GPT).total / 8]))[0])
    assert floors(asked, plans[1])[0] == floors(asked, plans[0])[0] < there.step[0]


def test_plans_with_and_without_it_stand_side_by_side():
    both = times(task(), arranged(2, data=8, zero=1, offload=[0, 1])).step
    each = [times(task(), arranged(data=8, zero=1, offload=moved)).step[0] for moved in (False, True)]
    assert both.tolist() == each


def test_a_host_whose_memory_is_known_may_run_out():
    asked = replace(task(), machines=machines("gb200", nodes=1, each=4))
    part = asked.machines.device.host_memory_bytes
    assert part is not None
    assert part == 240e9
    one = np.array([1e9])
    assert running_out(asked, one, np.array([part * 4.0]))[0] < 0.5
    assert running_out(asked, one, np.array([part * 4 + 1.0]))[0] == 1.0
    assert running_out(task(), one, np.array([1e15]))[0] < 0.5  # nobody knows: told, not refused
    assert fullness(asked, one, np.array([12.0 * part]))[0] == 3.0
    assert fullness(asked, one, one)[0] == pytest.approx((1.05e9 + 2 * 2**30) / asked.machines.device.memory_bytes)
