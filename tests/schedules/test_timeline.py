"""The simulator against times worked out by hand and by a slower definition; shared cores; drawing and trace."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.schedules.action import COMPUTE, Action, Kind
from plait.schedules.forward_only import forward_only
from plait.schedules.gpipe import gpipe
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.pictures import chrome_trace, draw
from plait.schedules.registry import BUILT
from plait.schedules.schedule import Schedule, schedule_from_orders
from plait.schedules.timeline import Timed, Timeline, simulate
from tests.schedules.drawing import built, ends, free, unit

shapes = st.builds(built, st.sampled_from(BUILT), st.integers(1, 5), st.integers(1, 6))


def thirds(action: Action) -> float:
    """Seconds that no binary fraction holds, other ones on each stage."""
    return (1 + action.stage) / 3


def test_transfers_lengthen_the_way_there_and_back():
    timeline = simulate(gpipe(3, 1), lambda action: {"F": 2.0, "B": 3.0}[action.kind], lambda action: 0.5)
    assert timeline.step_seconds == 3 * 2.0 + 3 * 3.0 + 4 * 0.5
    assert Timed(Action.parse("1SEND_F0"), 4.5, 5.0) in timeline.ranks[1]
    assert Timed(Action.parse("2RECV_F0"), 4.5, 5.0) in timeline.ranks[2], "both ends are occupied"


def test_a_send_waits_for_its_receive():
    """Rank 0 is quick, rank 1 slow: nothing is buffered, so that rank 0 can't run ahead."""
    timeline = simulate(forward_only(range(2), 3), lambda action: (1.0, 10.0)[action.stage], free)
    times = ends(timeline)
    assert [times[Action(0, Kind.SEND_F, k)] for k in range(3)] == [1.0, 11.0, 21.0]
    assert times[Action(0, Kind.F, 2)] == 12.0
    assert timeline.step_seconds == 31.0


def test_uneven_stages():
    """The slow last stage of 2 works without a pause from its first forward on: 1 + 4·(3 + 6) + 2."""
    timeline = simulate(one_f_one_b(2, 4), lambda a: {"F": (1.0, 3.0), "B": (2.0, 6.0)}[a.kind][a.stage], free)
    assert timeline.step_seconds == 39.0
    assert timeline.bubble_fraction == (2 * 39 - 4 * 12) / (2 * 39)


def test_the_transfers_of_a_fused_step_run_side_by_side():
    seconds = {"0SEND_F1": 5.0, "1SEND_B0": 3.0}
    times = ends(simulate(one_f_one_b(2, 2), unit, lambda send: seconds.get(str(send), 0.0)))
    assert times[Action.parse("0F1")] == 2.0
    assert times[Action.parse("1B0")] == 3.0
    assert (times[Action.parse("0RECV_B0")], times[Action.parse("0SEND_F1")]) == (6.0, 8.0)
    assert times[Action.parse("0B0")] == 9.0, "the step ends with its last transfer"


def test_only_what_goes_by_itself_is_offered_early():
    """Rank 1 has what rank 0 sends by the time it needs it, where that goes by itself, and waits a quarter each time
    for what it sends to rank 2; where only this does, nothing is gained."""

    def begins(*boundaries: int) -> list[float]:
        def ahead(action: Action) -> bool:
            return min(action.stage, action.peer) in boundaries

        times = ends(simulate(forward_only(range(3), 4), unit, lambda send: (1.0, 0.25)[send.stage], ahead=ahead))
        return [times[Action(1, Kind.F, k)] - 1.0 for k in range(4)]

    assert begins() == begins(1) == [2.0, 4.0, 6.0, 8.0]
    assert begins(0) == [2.0, 3.25, 4.5, 5.75]
    assert begins(0, 1) == [2.0, 3.0, 4.0, 5.0]


def test_a_send_that_nobody_waits_for_holds_up_the_next_transfer_alone():
    """Rank 0 is quick, rank 1 slow: it goes on, with one send under way."""
    seconds = (1.0, 10.0)
    timeline = simulate(forward_only(range(2), 3), lambda action: seconds[action.stage], free, waits=False)
    times = ends(timeline)
    assert [times[Action(0, Kind.F, k)] for k in range(3)] == [1.0, 2.0, 3.0]
    assert [times[Action(0, Kind.SEND_F, k)] for k in range(3)] == [1.0, 11.0, 21.0]
    assert timeline.step_seconds == 31.0


@settings(deadline=None)
@given(shapes)
def test_not_to_wait_for_sends_never_makes_a_step_longer(schedule):
    strict, free_hand = (simulate(schedule, unit, lambda _: 0.25, waits=how).step_seconds for how in (True, False))
    assert free_hand <= strict


@settings(deadline=None)
@given(shapes)
def test_each_cost_is_asked_once_and_transfers_by_their_send(schedule):
    asked: list[Action] = []
    timeline = simulate(schedule, lambda a: asked.append(a) or 1.0, lambda a: asked.append(a) or 1.0)
    performed = [action for timed in timeline.ranks for action, _, _ in timed]
    assert sorted(asked) == sorted(action for action in performed if not action.kind.startswith("RECV"))
    assert sorted(performed) == sorted(action for program in schedule.programs for step in program for action in step)


def slow_ends(schedule: Schedule, seconds: dict[Action, float]) -> dict[Action, float]:
    """By the definition, slowly: relax start and end of every step until nothing moves."""
    begins: dict[Action, float] = {action: 0.0 for p in schedule.programs for step in p for action in step}
    while True:
        before = dict(begins)
        for program in schedule.programs:
            now = 0.0
            for step in program:
                for action in step:
                    begins[action] = max(now, begins[action.counterpart])
                now = max(begins[action] + seconds[action] for action in step)
        if begins == before:
            return {action: start + seconds[action] for action, start in begins.items()}


@settings(deadline=None)
@given(shapes, st.data())
def test_it_agrees_with_the_slow_definition(schedule, data):
    seconds: dict[Action, float] = {}
    for action in (action for program in schedule.programs for step in program for action in step):
        seconds[action] = seconds.get(action.counterpart, float(data.draw(st.integers(0, 7))))
    timeline = simulate(schedule, seconds.__getitem__, seconds.__getitem__)
    assert ends(timeline) == slow_ends(schedule, seconds)
    for timed in timeline.ranks:
        assert all(end - start == seconds[action] for action, start, end in timed)
        assert [t.end for t in timed] == sorted(t.end for t in timed)


# ---- cores shared ----


def test_two_that_run_at_once_on_one_core_take_twice_as_long():
    """
    rank 0   F0 F1───── .. .. B0───── B1       . a second a unit, twice as long side by side
    rank 1   .. F0───── F1 B0 B1───── ..
    """
    timeline = simulate(gpipe(2, 2), unit, free, cores=1)
    computed = [[(str(a)[1:], s, e) for a, s, e in timed if a.kind in COMPUTE] for timed in timeline.ranks]
    assert computed[0] == [("F0", 0, 1), ("F1", 1, 3), ("B0", 5, 7), ("B1", 7, 8)]
    assert computed[1] == [("F0", 1, 3), ("F1", 3, 4), ("B0", 4, 5), ("B1", 5, 7)]


@settings(deadline=None)
@given(shapes, st.data())
def test_on_one_core_the_step_is_the_sum_of_all_work(schedule, data):
    work = {a: data.draw(st.floats(0.01, 10)) for p in schedule.programs for (a, *_) in p if a.kind in COMPUTE}
    timeline = simulate(schedule, work.__getitem__, free, cores=1)
    assert math.isclose(timeline.step_seconds, sum(work.values()), rel_tol=1e-9)


@settings(deadline=None)
@given(shapes, st.floats(0.5, 8), st.floats(0.5, 2))
def test_sharing_lies_between_the_work_bound_and_one_after_the_other(schedule, cores, demand):
    work = sum(action.kind in COMPUTE for program in schedule.programs for step in program for action in step)
    own = simulate(schedule, unit, free).step_seconds
    shared = simulate(schedule, unit, free, cores=cores, demand=demand).step_seconds
    alone = max(1.0, demand / cores)  # seconds that a computation takes with nobody beside it
    assert max(own, work * demand / cores) <= shared * (1 + 1e-9)
    assert shared <= work * alone * (1 + 1e-9)


@settings(deadline=None)
@given(shapes, st.floats(0.1, 4))
def test_cores_enough_for_all_are_as_good_as_own_ones(schedule, demand):
    cores = schedule.ranks * demand * 1.001
    assert simulate(schedule, thirds, free, cores=cores, demand=demand) == simulate(schedule, thirds, free)


@settings(deadline=None)
@given(shapes, st.sampled_from([0.3, 0.7, 1.0, 1.1]), st.sampled_from([0.1, 1 / 3]))
@example(gpipe(2, 2), 1.0, 1 / 3)
def test_time_never_runs_backwards_by_rounding(schedule, cores, seconds):
    for timed in simulate(schedule, lambda _: seconds, free, cores=cores).ranks:
        assert all(start <= end for _, start, end in timed)
        assert [t.end for t in timed] == sorted(t.end for t in timed)


def test_demand_is_counted_in_cores():
    assert simulate(gpipe(3, 4), unit, free, cores=8, demand=4) == simulate(gpipe(3, 4), unit, free, cores=2)


def test_hosts_share_no_cores():
    """
    rank 0   F0───── F1─────  ..          two cores' worth of work on a core: what the other host does changes nothing
    rank 1   ..      F0      F1           a core's worth, alone or not
    """
    forward = forward_only(range(2), 2)
    alone = simulate(forward, unit, free, cores=1, demand=2, hosts=(0, 1))
    assert ends(alone) == ends(simulate(forward, lambda _: 2.0, free))
    assert alone.step_seconds == 6.0 < simulate(forward, unit, free, cores=1, demand=2).step_seconds == 8.0


@settings(deadline=None)
@given(shapes, st.data())
def test_hosts_are_numbered_in_any_order_and_one_alone_is_no_host(schedule, data):
    hosts = data.draw(st.lists(st.integers(0, 3), min_size=schedule.ranks, max_size=schedule.ranks))
    work = {a: data.draw(st.floats(0.01, 10)) for p in schedule.programs for (a, *_) in p if a.kind in COMPUTE}

    def on(hosts):
        return simulate(schedule, work.__getitem__, free, cores=1.5, hosts=hosts)

    assert on([3 - host for host in hosts]).step_seconds == pytest.approx(on(hosts).step_seconds)
    assert on([7] * schedule.ranks) == simulate(schedule, work.__getitem__, free, cores=1.5)
    busiest = max(
        sum(seconds for action, seconds in work.items() if hosts[schedule.stage_rank[action.stage]] == host)
        for host in hosts
    )
    own = simulate(schedule, work.__getitem__, free).step_seconds
    assert on(hosts).step_seconds >= max(own, busiest / 1.5) * (1 - 1e-9)


def test_a_transfer_needs_no_core():
    """From second 4 on, 0SEND_F1 moves for 3 seconds; beside it 2F0 has the only core for itself."""
    times = ends(
        simulate(forward_only(range(3), 2), unit, lambda send: 3.0 if str(send) == "0SEND_F1" else 1.0, cores=1)
    )
    assert times[Action.parse("0F1")] == times[Action.parse("1F0")] == 4.0, "these two shared it from 2 to 4"
    assert times[Action.parse("2F0")] == 6.0
    assert times[Action.parse("0SEND_F1")] == 7.0


# ---- refusals ----


@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan])
def test_seconds_that_can_t_be(bad):
    with pytest.raises(PlaitError, match=r"0F0 can't take"):
        simulate(gpipe(2, 1), lambda _: bad, free)
    with pytest.raises(PlaitError, match=r"0SEND_F0 can't take"):
        simulate(gpipe(2, 1), unit, lambda _: bad)


@pytest.mark.parametrize(("cores", "demand"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 0.0)])
def test_cores_that_can_t_be(cores, demand):
    with pytest.raises(PlaitError, match="cores and demand must be above 0"):
        simulate(gpipe(2, 1), unit, free, cores=cores, demand=demand)


# ---- pictures ----


def test_the_staircase_is_drawn_with_its_bubbles():
    timeline = simulate(one_f_one_b(3, 3), lambda action: 1.0 + (action.kind == "B"), free)
    assert draw(timeline, 7 + 45).splitlines() == [
        "rank 0 F0─F1─F2─············B0════···B1════···B2════",
        "rank 1 ···F0─F1─······B0════F2─B1════···B2════······",
        "rank 2 ······F0─B0════F1─B1════F2─B2════············",
    ]


@settings(deadline=None)
@given(shapes, st.integers(20, 150))
def test_a_line_a_rank_no_wider_than_asked(schedule, width):
    lines = draw(simulate(schedule, unit, lambda _: 0.3), width).splitlines()
    assert [line.split()[:2] for line in lines] == [["rank", str(rank)] for rank in range(schedule.ranks)]
    assert {len(line) for line in lines} == {width}


def test_transfers_are_drawn_and_stages_named_where_a_rank_has_several():
    assert draw(simulate(gpipe(2, 1), unit, lambda _: 1.0), 7 + 18).splitlines() == [
        "rank 0 F0─~~~······~~~B0═",
        "rank 1 ···~~~F0─B0═~~~···",
    ]
    orders = [[Action.parse(word) for word in ["0F0", "1F0", "1B0", "0B0"]]]
    both = simulate(schedule_from_orders("both", 1, orders, stage_rank=(0, 0)), unit, free)
    assert draw(both, 7 + 16) == "rank 0 0F0─1F0─1B0═0B0═"


def test_a_name_without_room_is_left_out_and_never_cut_into_another_s():
    timeline = simulate(gpipe(1, 12), unit, free)
    assert draw(timeline, 7 + 48) == "rank 0 " + "".join(
        [*(f"F{n}" for n in range(10)), "F─", "F─", *(f"B{n}" for n in range(10)), "B═", "B═"]
    )


def test_a_line_names_the_ranks_that_do_the_same():
    timeline = simulate(gpipe(2, 1), unit, free)
    assert draw(timeline, 10 + 8, each=4).splitlines() == ["ranks 0–3 F0····B0", "ranks 4–7 ··F0B0··"]
    trace = json.loads(json.dumps(chrome_trace(timeline, each=4)))
    named = {e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert named == {0: "ranks 0–3", 4: "ranks 4–7"}


def test_nothing_to_draw():
    empty = Timeline(ranks=())
    assert (empty.step_seconds, empty.bubble_fraction, draw(empty)) == (0.0, 0.0, "")
    assert draw(simulate(gpipe(1, 1), free, free), 10) == "rank 0 ···"


@settings(deadline=None)
@given(shapes)
def test_the_trace_has_the_shape_that_viewers_read(schedule):
    timeline = simulate(schedule, unit, lambda _: 0.25)
    trace = json.loads(json.dumps(chrome_trace(timeline)))
    named = {e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert named == {rank: f"rank {rank}" for rank in range(schedule.ranks)}
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert {(e["pid"], e["name"], e["ts"], e["dur"]) for e in spans} == {
        (rank, str(action), start * 1e6, (end - start) * 1e6)
        for rank, timed in enumerate(timeline.ranks)
        for action, start, end in timed
    }
    lanes: dict[tuple[int, int], float] = {}
    for event in spans:  # on one thread no span may overlap the one before: viewers would nest them
        lane = (event["pid"], event["tid"])
        assert event["ts"] >= lanes.get(lane, 0.0)
        lanes[lane] = event["ts"] + event["dur"]


def test_a_long_pipeline():
    timeline = simulate(one_f_one_b(64, 128), lambda action: 1.0 + (action.kind == "B"), free)
    assert timeline.step_seconds == (128 + 63) * 3
