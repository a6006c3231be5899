"""Memory: parts of a bar sum to what was predicted, the tick stands at the measured peak, the limit where it is."""

from dataclasses import replace

import pytest

from plait.report.memory import Bar, memory, memory_bars
from tests.report.example import MIB, prediction
from tests.report.reading import assert_all_inside, parse

LEFT = 66.0


def drawn(bars, limit=None):
    return parse(memory(bars, limit))


def test_the_parts_of_a_bar_sum_to_what_was_predicted():
    before = prediction()
    bars = memory_bars(before, ())
    assert [bar.total for bar in bars] == list(before.memory_bytes)
    assert [bar.parts["other"] for bar in bars] == [12 * MIB, 12 * MIB, 20 * MIB, 20 * MIB]


def test_bars_are_as_long_as_their_bytes_and_unbroken():
    bars = memory_bars(prediction(), ())
    longest = max(bar.total for bar in bars)
    groups = drawn(bars).all("g", "predicted")
    lengths = [sum(part.number("width") for part in group.all("rect", "part")) for group in groups]
    full = max(lengths)
    assert lengths == [pytest.approx(full * bar.total / longest, abs=0.05) for bar in bars]
    for group in groups:
        end = LEFT
        for part in group.all("rect", "part"):
            assert part.number("x") == pytest.approx(end, abs=0.02)
            end = part.number("x") + part.number("width")


def test_the_measured_peak_stands_at_its_bytes():
    (bar,) = memory_bars(prediction(ranks=1), [98 * MIB])
    tree = drawn([bar])
    full = sum(part.number("width") for part in tree.all("rect", "part"))
    tick = tree.one("line", "peak")
    assert (tick.number("x1") - LEFT) / full == pytest.approx(98 / (bar.total / MIB), abs=1e-3)
    assert f"{bar.total // MIB} MiB predicted · 98 MiB measured" in tree.text


def test_a_near_limit_is_a_line_and_a_far_one_a_sentence():
    bars = memory_bars(prediction(), [200 * MIB] * 4)
    near, far = drawn(bars, 256 * MIB), drawn(bars, 24 * 2**30)
    assert near.one("line", "limit")
    assert "limit 256 MiB" in near.text
    assert not far.all("line", "limit")
    assert "The limit, 24 GiB a rank, lies beyond the picture." in far.text
    assert not drawn(bars).all("line", "limit")


@pytest.mark.parametrize("ranks", [1, 4, 9, 24, 64])
@pytest.mark.parametrize("limit", [None, 1, 150 * MIB, 2**50])
def test_nothing_leaves_the_picture(ranks, limit):
    tree = drawn(memory_bars(prediction(ranks), [210 * MIB] * ranks), limit)
    assert_all_inside(tree)
    assert len(tree.all("g", "predicted")) == min(ranks, 24)


def test_of_many_ranks_the_fullest_are_drawn():
    peaks = [(100 + (rank * 37) % 64) * MIB for rank in range(64)]
    bars = memory_bars(None, peaks)
    shown = [int(name.text.removeprefix("rank ")) for name in drawn(bars).all("text", "name")]
    fullest = sorted(range(64), key=lambda rank: -peaks[rank])[:24]
    assert shown == sorted(fullest)
    assert "The 24 fullest of 64 ranks are drawn." in drawn(bars).text


def test_only_measured_and_only_predicted():
    assert [bar.measured for bar in memory_bars(None, [5, 6])] == [5, 6]
    assert memory_bars(None, [5])[0].parts == {}
    assert memory_bars(prediction(2), [5])[1].measured is None
    assert "predicted" not in drawn(memory_bars(None, [5 * MIB])).text


def test_a_peak_of_a_rank_that_nobody_predicted_is_drawn():
    bars = memory_bars(prediction(1), [MIB, 400 * MIB])
    assert bars[1] == Bar(rank=1, parts={}, measured=400 * MIB)
    assert_all_inside(drawn(bars))


def test_a_prediction_below_its_own_parts_has_no_other():
    before = replace(prediction(1), memory_bytes=(1,))
    assert memory_bars(before, ())[0].parts["other"] == 0


@pytest.mark.parametrize("bars", [(), (Bar(rank=0, parts={}),), (Bar(rank=0, parts={"weights": 0}, measured=0),)])
def test_without_bytes_there_is_nothing(bars):
    assert memory(bars) == ""
