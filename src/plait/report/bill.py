"""What a run costs, and what of it goes where: hours, money and energy by the terms of its step.

                          a step           the run                money      energy
    all of it             18.1 s           480 h               2,949,000    197 MWh
    ▌ computing           15.2 s   84.0 %  403 h               2,477,000    165 MWh
    ▌ bubble               1.1 s    6.1 %   29 h                 180,000     12 MWh

Devices are paid for and switched on while they wait, so that every second of a step costs the same. It knows terms and
a sum; nothing of prices.
"""

from __future__ import annotations

from plait.plans.prediction import Terms
from plait.report.comparison import term_name, term_seconds
from plait.report.figures import count, energy, money, percent, seconds
from plait.report.markup import Markup, element, fragment
from plait.report.plan_data import Cost
from plait.report.shares import share_bars

__all__ = ["bill"]

_SMALLEST = 5e-4  # of a step: a term below it is not told


def bill(cost: Cost, step_seconds: float, terms: Terms) -> Markup:
    """A bar of the step and the table below it."""
    parts = {kind: took for kind, took in term_seconds(terms).items() if took > _SMALLEST * step_seconds}
    columns = ["", "a step", "", f"{count(cost.steps)} step" + ("" if cost.steps == 1 else "s")]
    columns += ["money"] if cost.run_money is not None else []
    columns += ["energy"] if cost.run_joules is not None else []
    head = element("tr", *(element("th", name, scope="col") for name in columns))
    whole = _row("all of it", step_seconds, 1.0, cost, class_="step")
    rows = [_row(_named(kind), took, took / step_seconds, cost) for kind, took in parts.items()]
    table = element("table", element("thead", head), element("tbody", whole, *rows), class_="comparison bill")
    return fragment(share_bars({"predicted": (step_seconds, terms)}), table)


def _named(kind: str) -> Markup:
    return fragment(element("i", class_=f"swatch {kind}"), term_name(kind))


def _row(name: str | Markup, took: float, share: float, cost: Cost, class_: str | None = None) -> Markup:
    figures = [seconds(took), percent(share), seconds(share * cost.run_seconds)]
    figures += [money(share * cost.run_money)] if cost.run_money is not None else []
    figures += [energy(share * cost.run_joules)] if cost.run_joules is not None else []
    cells = [element("td", figure, class_="figure") for figure in figures]
    return element("tr", element("th", name, scope="row"), *cells, class_=class_)
