"""Two lists that pages end with: every key of a plan, and the commands that do it again.

It knows a plan's keys and lines of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from plait.plans.plan import Plan
from plait.report.markup import Markup, element

__all__ = ["commands", "settings"]


def settings(plan: Plan) -> Markup:
    """Every key of the plan; what differs from the default stands out."""
    defaults = {field.name: field.default for field in fields(Plan)}
    rows = [_setting(key, value, value != defaults[key]) for key, value in vars(plan).items()]
    summary = element("summary", "every key of the plan")
    return element("details", summary, element("dl", *rows, class_="settings"))


def _setting(key: str, value: object, chosen: bool) -> Markup:
    written = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return element("div", element("dt", key), element("dd", written), class_="set" if chosen else None)


def commands(lines: Sequence[str]) -> Markup:
    """Lines for a shell, in their order; nothing at all without one."""
    items = [element("li", element("code", line)) for line in lines]
    return element("ol", *items, class_="commands") if items else Markup("")
