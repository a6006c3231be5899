"""The page of a bench: do predictions rank plans as they ran, and where were they wrong?

    head · predicted against measured · plan by plan, by measured step · what was not measured

Self-contained like every page (`frame`). It knows what was found (`bench_run`), not how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.report.bench_run import BenchData, Contender, Side
from plait.report.comparison import term_seconds
from plait.report.figures import percent, seconds, signed_percent, size
from plait.report.frame import framed, section
from plait.report.markup import Markup, element, fragment
from plait.report.masthead import machine_facts, masthead, tile
from plait.report.scatter import scatter
from plait.report.shares import stacked, terms_legend
from plait.report.svg import Scale, picture

__all__ = ["render_bench"]

_WIDTH, _HEIGHT = 300.0, 34.0


def render_bench(data: BenchData) -> str:
    """The whole page as HTML; names and errors are escaped."""
    facts = [f"{len(data.plans)} plans measured", *machine_facts(data.machine)]
    return framed(data.name, masthead(data.name, data.date, facts, _promise(data), _tiles(data)), *_sections(data))


def _promise(data: BenchData) -> str:
    if data.agreement is None:
        return "No plan was measured."
    pick = min(data.plans, key=lambda one: one.predicted.step_seconds)
    took = f"The pick, {pick.name}, took {seconds(pick.measured.step_seconds)} a step"
    if data.agreement.regret == 0:
        words = "nothing that was measured is faster."
    else:
        words = f"{percent(data.agreement.regret)} longer than the fastest."
    drift = f" {data.drift[0].upper()}{data.drift[1:]}." if data.drift else ""
    return f"{took}: {words}{drift}"


def _tiles(data: BenchData) -> Iterator[Markup]:
    agreed = data.agreement
    if agreed is None:
        return
    if agreed.spearman is not None:
        yield tile("do they rank alike?", f"{agreed.spearman:.2f}", "Spearman, of step times; 1 is the same order")
    yield tile("regret of the pick", percent(agreed.regret), "longer than the fastest that was measured")
    yield tile("error of a step", percent(agreed.median_error), "median over the plans")
    yield tile("repeat spread", f"±{percent(data.repeat_spread)}", "of one plan from round to round, median")


def _sections(data: BenchData) -> Iterator[Markup]:
    several = len(data.plans) > 1
    worst = max(data.plans, key=lambda one: abs(one.error)) if several else None
    yield from section("scatter", "Predicted against measured", "", scatter(data.plans, worst))
    lede = "By measured step. Predicted above, pale; measured below, full. Hatched is the bubble."
    yield from section("plans", "Plan by plan", lede, _table(data.plans, worst))
    yield from section("failed", "Not measured", "", _failed(data.failed))
    guesses = tuple(dict.fromkeys(guess for one in data.plans for guess in one.guesses))
    lines = [element("li", guess) for guess in guesses]
    yield from section("guesses", "Outside what was measured", "", element("ul", *lines) if lines else Markup(""))


def _table(plans: Sequence[Contender], worst: Contender | None) -> Markup:
    if not plans:
        return Markup("")
    longest = max(side.step_seconds for one in plans for side in (one.predicted, one.measured))
    scale = Scale(low=0.0, high=longest, start=0.0, end=_WIDTH - 4)
    heads = ("", "plan", "where a step goes", "predicted", "measured", "error", "memory, fullest rank", "")
    head = element("tr", *(element("th", words, scope="col") for words in heads))
    rows = [_row(place, one, scale, one is worst) for place, one in enumerate(plans, 1)]
    table = element("table", element("thead", head), element("tbody", *rows), class_="ranking bench")
    sides = [side for one in plans for side in (one.predicted, one.measured)]
    return fragment(table, terms_legend(_parts(side) for side in sides))


def _row(place: int, one: Contender, scale: Scale, worst: bool) -> Markup:
    split, _, rest = one.name.partition(", ")
    why = [element("b", "worst predicted", class_="bad")] if worst else []
    cells = [
        element("td", str(place), class_="figure place"),
        element("th", fragment(split, element("small", rest)), scope="row"),
        element("td", _drawing(one, scale)),
        element("td", seconds(one.predicted.step_seconds), class_="figure"),
        element("td", fragment(seconds(one.measured.step_seconds), element("small", f"±{percent(one.spread)}")),
                class_="figure"),
        element("td", signed_percent(one.error), class_="figure"),
        element("td", fragment(_most(one.measured), element("small", f"predicted {_most(one.predicted)}")),
                class_="figure"),
        element("td", fragment(*why, *one.departures, between=" · "), class_="why"),
    ]  # fmt: skip
    return element("tr", *cells, class_="worst" if worst else None)


def _drawing(one: Contender, scale: Scale) -> Markup:
    half = _HEIGHT / 2
    above = element("g", stacked(_parts(one.predicted), scale, 2.0, half - 3), class_="predicted")
    below = element("g", stacked(_parts(one.measured), scale, half + 1.0, half - 3), class_="measured")
    label = f"predicted {seconds(one.predicted.step_seconds)}, measured {seconds(one.measured.step_seconds)}"
    return picture(_WIDTH, _HEIGHT, label, above, below)


def _parts(side: Side) -> dict[str, float]:
    return {kind: amount for kind, amount in term_seconds(side.terms).items() if amount > 0}


def _most(side: Side) -> str:
    return size(max(side.memory_bytes)) if side.memory_bytes else "–"


def _failed(failed: Sequence[tuple[str, str]]) -> Markup:
    rows = [
        element("tr", element("th", name, scope="row"), element("td", error, class_="why")) for name, error in failed
    ]
    return element("table", element("tbody", *rows), class_="ranking") if rows else Markup("")
