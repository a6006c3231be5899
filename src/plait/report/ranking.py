"""The plans that were considered, best first: seconds a step with their bounds, memory, and why the others lost.

    1  data 2 × pipeline 2, 1f1b   [compute   ][bubble]            312 ms   412 MiB   chosen
                                                   ├────┤
    2  data 4                      [compute   ][data     ]         341 ms   590 MiB   gradient sums: +41 ms
                                                      ├────┤

It knows plans and their predictions as data; why one lost is the planner's own sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from plait.plans.describe import plan_name
from plait.plans.plan import Plan
from plait.report.comparison import term_seconds
from plait.report.data import RankedPlan, Search
from plait.report.figures import count, seconds, size, unbroken
from plait.report.markup import Markup, element, fragment
from plait.report.shares import stacked, terms_legend
from plait.report.svg import Scale, line, picture, words

__all__ = ["ranking"]

_MOST_PLANS = 12  # shown
_FARTHEST = 3.0  # times the best plan: longer bars end at the edge, with an arrow
_WIDTH, _HEIGHT = 300.0, 24.0


def ranking(search: Search, chosen: Plan | None = None) -> Markup:
    """The table and what the search looked at; nothing at all without plans."""
    if not search.plans:
        return Markup("")
    shown = search.plans[:_MOST_PLANS]
    scale = Scale(low=0.0, high=_longest(shown), start=0.0, end=_WIDTH - 4)
    heads = ("", "plan", "predicted step and its interval", "", "most on a rank", "")
    head = element("tr", *(element("th", words, scope="col") for words in heads))
    rows = [_row(place, plan, scale, chosen) for place, plan in enumerate(shown, 1)]
    table = element("table", element("thead", head), element("tbody", *rows), class_="ranking")
    named = terms_legend(_parts(plan) for plan in shown if plan.terms)
    return fragment(table, named, element("p", _sentence(search, len(shown)), class_="note"))


def _longest(plans: Sequence[RankedPlan]) -> float:
    """Where the drawing ends: at the slowest plan, but not so far out that the best ones can't be told apart."""
    bounds = [bound for plan in plans for bound in (*plan.interval, plan.step_seconds) if isfinite(bound)]
    best = min((plan.step_seconds for plan in plans if isfinite(plan.step_seconds)), default=0.0)
    return min(max(bounds, default=0.0), _FARTHEST * best)


def _row(place: int, ranked: RankedPlan, scale: Scale, chosen: Plan | None) -> Markup:
    won = ranked.plan == chosen if chosen else place == 1
    peak = size(max(ranked.memory_bytes)) if ranked.memory_bytes else "–"
    verdict = element("b", "chosen") if won else ""
    why = fragment(*(part for part in (verdict, ranked.lost_because or "") if part), between=" · ")
    cells = [
        element("td", str(place), class_="figure place"),
        element("th", _named(ranked.plan), scope="row"),
        element("td", _drawing(ranked, scale)),
        element("td", seconds(ranked.step_seconds), class_="figure"),
        element("td", peak, class_="figure"),
        element("td", why, class_="why"),
    ]
    return element("tr", *cells, class_="chosen" if won else None)


def _named(plan: Plan) -> Markup:
    """The degrees, and what else tells it apart in small below."""
    split, _, rest = unbroken(plan_name(plan)).partition(", ")
    return fragment(split, element("small", rest))


def _drawing(ranked: RankedPlan, scale: Scale) -> Markup:
    """The predicted step, by its terms where they are known, and below it the interval of its end."""
    low, high = ranked.interval
    if not all(map(isfinite, (low, high, ranked.step_seconds))):
        return Markup("")
    label = f"{seconds(ranked.step_seconds)}, between {seconds(low)} and {seconds(high)}"
    below = _HEIGHT - 4
    whisker = [
        line((scale(low), below), (scale(high), below), class_="interval"),
        *(line((scale(end), below - 3), (scale(end), below + 3), class_="interval") for end in (low, high)),
    ]
    if high > scale.high:
        whisker = [words((_WIDTH - 8, _HEIGHT / 2 + 5), "›", anchor="end", class_="value")]
    bar = stacked(_parts(ranked), scale, 1.0, _HEIGHT - 10)
    return picture(_WIDTH, _HEIGHT, label, element("g", bar, class_="predicted"), *whisker)


def _parts(ranked: RankedPlan) -> dict[str, float]:
    if ranked.terms is None:
        return {"step": ranked.step_seconds}
    return {kind: amount for kind, amount in term_seconds(ranked.terms).items() if amount > 0}


def _sentence(search: Search, shown: int) -> str:
    hidden = len(search.plans) - shown + search.more
    left_out = f"; {count(hidden)} more are not shown" if hidden else ""
    looked = f"{count(search.considered)} plans considered, {count(search.legal)} legal{left_out}"
    close = _closeness(search.plans) if search.too_close_to_call else ""
    return f"{looked}. The search took {seconds(search.search_seconds)}.{close}"


def _closeness(plans: Sequence[RankedPlan]) -> str:
    if len(plans) < 2:
        return ""
    apart = abs(plans[1].step_seconds - plans[0].step_seconds)
    return f" The first two are {seconds(apart)} apart, closer than the predictions are sure: too close to call."
