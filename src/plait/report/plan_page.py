"""The page of a plan, before anything runs: which one, what it will take and cost, and why not another.

    head · the plans, ranked · the plan · one step · memory · cost · what would change it · what else comes to mind

It is a page like a run's (`frame`), from the same pictures. It knows what was found (`plan_data`), not how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.plans.describe import describe, plan_name
from plait.report.bill import bill
from plait.report.figures import count, energy, money, percent, rate, seconds, size
from plait.report.frame import framed, section
from plait.report.markup import Markup, element, fragment
from plait.report.masthead import masthead, tile
from plait.report.memory import Bar, memory
from plait.report.mesh import mesh
from plait.report.plan_data import Cost, PlanPage, Room, Thought
from plait.report.ranking import ranking
from plait.report.sensitivity import sensitivity
from plait.report.settings import commands, settings
from plait.report.strips import fill, interval
from plait.report.timeline import timeline

__all__ = ["render_plan"]

_DAY = 86400.0


def render_plan(data: PlanPage) -> str:
    """The whole page as HTML; names are escaped, and the same data give the same bytes."""
    return framed(data.name, masthead(data.name, "", data.facts, _promise(data), _tiles(data)), *_sections(data))


def _promise(data: PlanPage) -> str:
    split, _, rest = plan_name(data.plan).partition(", ")
    how = f"{split[0].upper()}{split[1:]}, {rest}" if rest else split
    whole = f", {_days(data.cost.run_seconds)} for {count(data.cost.steps)} steps" if data.cost.steps > 1 else ""
    return f"{how}: {seconds(data.step_seconds)} a step{whole}."


def _days(run_seconds: float) -> str:
    return seconds(run_seconds) if run_seconds < 2 * _DAY else f"{run_seconds / _DAY:.3g} days"


def _tiles(data: PlanPage) -> Iterator[Markup]:
    low, high = data.interval
    between = f"predicted, {seconds(low)} to {seconds(high)}"
    yield tile("step", seconds(data.step_seconds), between, interval((low, data.step_seconds, high)))
    yield tile("throughput", rate(data.tokens_per_step / data.step_seconds), "tokens a second")
    if data.plan.pipeline > 1:
        share = data.terms.bubble / data.step_seconds
        yield tile("bubble", percent(share), "of the step, on the busiest rank", fill(share, 1.0))
    yield from _memory_tile(data.rooms)
    yield from _cost_tile(data.cost)


def _cost_tile(cost: Cost) -> Iterator[Markup]:
    power = "" if cost.run_joules is None else energy(cost.run_joules)
    if cost.run_money is not None:
        below = f"in the job's currency; {power}" if power else "in the job's currency"
        yield tile("cost of the run", money(cost.run_money), below)
    elif power:
        yield tile("energy of the run", power, "every device at full power")


def _memory_tile(rooms: Sequence[Room]) -> Iterator[Markup]:
    """The bar that comes nearest to its limit; without limits the longest."""

    def nearness(one: tuple[Bar, int | None]) -> tuple[float, int]:
        bar, limit = one
        return (bar.total / limit if limit else 0.0, bar.total)

    bars = [(bar, room.limit) for room in rooms for bar in room.bars]
    if not bars:
        return
    fullest, limit = max(bars, key=nearness)
    below = "predicted" if limit is None else f"of {size(limit)}"
    yield tile(
        f"memory, {_whose(fullest, rooms)}",
        size(fullest.total),
        below,
        "" if limit is None else fill(fullest.total, limit),
    )


def _whose(nearest: Bar, rooms: Sequence[Room]) -> str:
    """Who it is that comes nearest to a limit; of unequal machines a rank that holds more may have more room."""
    if nearest.rank is None:
        return "all ranks"
    most = max(bar.total for room in rooms for bar in room.bars if bar.rank is not None)
    return "fullest rank" if nearest.total == most else "rank nearest to its limit"


def _sections(data: PlanPage) -> Iterator[Markup]:
    if data.search:
        yield from section("rivals", "Ranked plans", data.interval_words, ranking(data.search, data.plan))
    drawn = mesh(data.plan) if data.plan.context == 1 else Markup("")
    yield from section("plan", "The best plan" if data.search else "The plan", describe(data.plan), drawn,
                       settings(data.plan))  # fmt: skip
    steps = timeline(data.lanes, (), data.lane_names)
    yield from section("step", "One step", _step_words(data), steps)
    yield from section("memory", "Memory", "", *_memory(data.rooms))
    yield from section(
        "cost", "Where a step goes, and what it costs", "", bill(data.cost, data.step_seconds, data.terms)
    )
    lede = "The best plan on machines that differ in one thing. The upright line is the step as things are."
    yield from section("changes", "What would change the answer", lede, sensitivity(data.step_seconds, data.changes))
    yield from section("thoughts", "Plans that come to mind", "", _thoughts(data.thoughts))
    notes = [element("li", note) for note in data.notes]
    yield from section("notes", "To know before", "", element("ul", *notes) if notes else Markup(""))
    yield from section("again", "Do it again", "", commands(data.commands))


def _step_words(data: PlanPage) -> str:
    said: list[str] = []
    if data.plan.pipeline > 1:
        said.append(
            f"Hatched is the bubble. In {percent(data.idle)} of the schedule ranks wait, or only send and receive."
        )
    if data.replicas_differ:
        said.append("Replicas differ: the slowest one is drawn.")
    if data.ranks_a_lane > 1:
        said.append(f"A line stands for {count(data.ranks_a_lane)} ranks that do the same at the same time.")
    return " ".join(said)


def _memory(rooms: Sequence[Room]) -> Iterator[Markup]:
    for room in rooms:
        title = element("h3", room.title) if room.title else ""
        yield fragment(title, memory(room.bars, room.limit))


def _thoughts(thoughts: Sequence[Thought]) -> Markup:
    rows = [
        element(
            "tr",
            element("th", one.name, scope="row"),
            element("td", "–" if one.step_seconds is None else seconds(one.step_seconds), class_="figure"),
            element("td", one.why, class_="why"),
        )
        for one in thoughts
    ]
    heads = element("tr", *(element("th", name, scope="col") for name in ("", "step", "why not")))
    table = element("table", element("thead", heads), element("tbody", *rows), class_="ranking thoughts")
    return table if rows else Markup("")
