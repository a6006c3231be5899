"""The timeline: every action at its time, on its rank, on its side; the bubble as what nothing covers."""

import pytest

from plait.report.spans import Span, busy_seconds, end_of
from plait.report.timeline import timeline
from tests.report.example import lanes
from tests.report.reading import assert_all_inside, parse, rectangles

LEFT, RIGHT = 66.0, 1046.0


def drawn(predicted, measured):
    return parse(timeline(predicted, measured))


def test_each_span_is_as_long_as_it_lasts():
    predicted = lanes()
    end = end_of(predicted)
    boxes = {kind: rectangles(drawn(predicted, ()), kind) for kind in ("forward", "backward", "pipeline", "optimizer")}
    for kind, found in boxes.items():
        spans = [span for lane in predicted for span in lane if span.kind == kind]
        lasts = sorted((span.start, span.end) for span in spans)
        places = sorted(
            ((x - LEFT) / (RIGHT - LEFT) * end, (x + w - LEFT) / (RIGHT - LEFT) * end) for x, _, w, _ in found
        )
        assert places == [pytest.approx(times, abs=1e-5) for times in lasts], kind


def test_predicted_stands_over_measured_on_one_axis():
    tree = drawn(lanes(), lanes(slower=0.1))
    above, below = (tree.all("g", side) for side in ("predicted", "measured"))
    assert len(above) == len(below) == 2
    for upper, lower in zip(above, below, strict=True):
        assert upper.one("rect", "idle").number("y") < lower.one("rect", "idle").number("y")
    slow, fast = end_of(lanes(slower=0.1)), end_of(lanes())
    assert below[0].one("rect", "idle").number("width") == pytest.approx(RIGHT - LEFT)
    assert above[0].one("rect", "idle").number("width") == pytest.approx((RIGHT - LEFT) * fast / slow, abs=0.01)


def test_the_bubble_is_the_share_that_nothing_covers():
    predicted = lanes()
    idle = 1 - sum(map(busy_seconds, predicted)) / (len(predicted) * end_of(predicted))
    (entry,) = (item for item in drawn(predicted, ()).all("li") if item.all("i", "idle"))
    assert entry.text == f"idle{idle:.1%}".replace("%", " %")
    assert 0.1 < idle < 0.4


def test_what_runs_side_by_side_counts_once_in_its_share():
    lane = tuple(Span(kind="pipeline", name="pipeline", start=0.0, end=end) for end in (1.0, 2.0))
    tree = drawn(((*lane, Span(kind="forward", name="0F0", start=1.0, end=4.0, microbatch=0)),), ())
    assert [item.text for item in tree.all("li")][:3] == ["forward75.0 %", "pipeline messages50.0 %", "idle0.0 %"]


def test_the_legend_names_what_occurs_and_nothing_else():
    kinds = {next(iter(i.classes - {"swatch"})) for i in drawn(lanes(stages=1), ()).all("i", "swatch")}
    assert kinds == {"forward", "backward", "data", "optimizer", "idle"}


def test_a_microbatch_can_be_followed():
    boxes = drawn(lanes(microbatches=3), ()).all("rect")
    assert {box.attributes.get("data-microbatch") for box in boxes} == {"0", "1", "2", None}


def test_a_mark_says_what_it_is():
    span = Span(kind="forward", name="0F7", start=0.002, end=0.005, microbatch=7)
    box = drawn([(span,)], ()).one("rect", "forward")
    assert box.attributes["data-tip"] == "0F7  forward\n2 ms to 5 ms: 3 ms"
    assert drawn([(span,)], ()).one("text", "forward").text == "7"


@pytest.mark.parametrize(("stages", "microbatches"), [(1, 1), (2, 1), (3, 7), (8, 8), (9, 2), (64, 64)])
def test_nothing_leaves_the_picture(stages, microbatches):
    tree = drawn(lanes(stages, microbatches), lanes(stages, microbatches, slower=0.2))
    assert_all_inside(tree)
    names = [text.text for text in tree.all("text", "name")]
    assert names[0] == "rank 0"
    assert names[-1] == f"rank {stages - 1}"
    assert len(names) == min(stages, 16)
    assert ("16 of the 64 ranks are drawn." in tree.text) == (stages == 64)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_tiny_and_huge_seconds(scale):
    scaled = tuple(
        tuple(Span(kind=s.kind, name=s.name, start=s.start * scale, end=s.end * scale) for s in lane)
        for lane in lanes()
    )
    assert_all_inside(drawn(scaled, scaled))


def test_what_is_too_fine_is_drawn_as_one():
    fine = tuple(Span(kind="forward", name=f"0F{k}", start=k * 1.0, end=k + 1.0, microbatch=k) for k in range(10_000))
    boxes = drawn((fine,), ()).all("rect", "forward")
    assert len(boxes) < 2500
    assert sum(box.number("width") for box in boxes) == pytest.approx(RIGHT - LEFT, rel=0.01)


def test_more_lanes_on_one_side_leave_the_other_empty():
    tree = drawn(lanes(stages=3), lanes(stages=2))
    assert [len(tree.all("g", side)) for side in ("predicted", "measured")] == [3, 2]
    assert_all_inside(tree)


@pytest.mark.parametrize("nothing", [(), ((),), ((), ())])
def test_without_spans_there_is_nothing(nothing):
    assert timeline(nothing, nothing) == ""
