"""The page in a real browser: it is drawn, light and dark; its script runs without a word; every section is there."""

import pytest
from PIL import Image

from plait.report.page import render_report
from plait.report.palette import DARK, GROUND, LIGHT
from tests.report.browser import CHROMIUM, look_at
from tests.report.example import example
from tests.report.reading import parse
from tests.report.test_page import SECTIONS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian's package chromium has it)")


@pytest.fixture(scope="module")
def looks(tmp_path_factory):
    """The example in both modes: what the browser made of it, and the picture."""
    folder = tmp_path_factory.mktemp("browser")
    page = folder / "report.html"
    page.write_text(render_report(example()), encoding="utf-8")
    found = {}
    for mode in ("light", "dark"):
        look = look_at(page, folder / f"{mode}.png", dark=mode == "dark")
        found[mode] = (look, Image.open(folder / f"{mode}.png").convert("RGB"))
    return found


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_section_is_there_and_nothing_is_said(looks, mode):
    look, _ = looks[mode]
    assert look.console == ()
    tree = parse(look.document)
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS
    assert tree.one("div", "tip")  # made by the script, so that it ran


def rgb(colour):
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


@pytest.mark.parametrize(("mode", "colours", "ground"), [("light", LIGHT, "#f5f4f0"), ("dark", DARK, "#121418")])
def test_it_is_drawn_in_the_colours_of_its_mode(looks, mode, colours, ground):
    _, picture = looks[mode]
    area = picture.width * picture.height
    counts = {colour: count for count, colour in picture.getcolors(maxcolors=area)}
    assert max(counts, key=counts.__getitem__) in {rgb(ground), rgb(GROUND[mode])}
    drawn = {
        name: counts.get(rgb(colours[name]), 0) for name in ("forward", "backward", "pipeline", "data", "optimizer")
    }
    assert {name for name, pixels in drawn.items() if pixels < 100} == set(), drawn


def test_pointing_at_a_microbatch_says_what_it_is_and_dims_the_others(tmp_path):
    page = tmp_path / "report.html"
    probe = """<script>document.querySelector('rect[data-microbatch="2"]')
        .dispatchEvent(new PointerEvent("pointerover", {bubbles: true, clientX: 9, clientY: 9}))</script></body>"""
    page.write_text(render_report(example()).replace("</body>", probe), encoding="utf-8")
    tree = parse(look_at(page, tmp_path / "p.png", height=200).document)
    tip = tree.one("div", "tip")
    assert "hidden" not in tip.attributes
    assert tip.text.startswith("0RECV_F2") or tip.text.startswith("0F2")
    dimmed = {rect.attributes.get("data-microbatch") for rect in tree.all("rect", "dim")}
    assert dimmed == {"0", "1", "3"}


def test_a_console_error_would_be_heard(tmp_path):
    page = tmp_path / "loud.html"
    page.write_text("<!doctype html><title>x</title><script>throw new Error('planted')</script>")
    assert any("planted" in line for line in look_at(page, tmp_path / "loud.png", height=200).console)


def test_it_fits_a_laptop_and_a_telephone_without_scrolling_sideways(tmp_path):
    page = tmp_path / "report.html"
    probe = "<script>document.title = String(document.documentElement.scrollWidth <= innerWidth)</script></body>"
    page.write_text(render_report(example()).replace("</body>", probe), encoding="utf-8")
    for width in (1280, 500):
        look = look_at(page, tmp_path / f"{width}.png", width=width, height=900)
        assert parse(look.document).one("title").text == "true", width
