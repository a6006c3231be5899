"""What every page is: one self-contained HTML file, light and dark, with style and script in it; and its sections.

It knows the form of a page, not what stands on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from plait.report.markup import Markup, element, fragment
from plait.report.palette import style_variables
from plait.report.svg import picture

__all__ = ["framed", "section"]

_HATCH = Markup(
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" class="hatched"></rect><line y2="6" class="hatching"></line></pattern></defs>'
)


def framed(name: str, *content: Markup) -> str:
    """The whole page as HTML, called `name`."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{name} · Plait"),
        element("style", _style()),
    )
    shared = element("div", picture(0, 0, "", _HATCH), class_="shared", aria_hidden="true")
    body = element("body", shared, element("main", *content), element("script", Markup(_packaged("page.js"))))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def section(name: str, title: str, lede: str, *body: Markup) -> Iterator[Markup]:
    """One section, or nothing where its body is empty."""
    if not any(body):
        return
    lines = fragment(*lede.splitlines(), between="<br>") if lede else ""
    opening = element("p", lines, class_="lede") if lede else ""
    yield element("section", element("h2", title), opening, element("div", *body, class_="panel"), id=name)


def _style() -> Markup:
    light, dark = style_variables("light"), style_variables("dark")
    variables = f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    return Markup(variables + _packaged("page.css"))


def _packaged(name: str) -> str:
    return files("plait.report").joinpath(name).read_text(encoding="utf-8")
