"""What a user wrote stays words, whatever it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.report.markup import Markup, element, fragment, number, text
from tests.report.reading import parse


@given(st.text(), st.text())
def test_words_come_back_as_they_were_and_open_no_element(words, attribute):
    tree = parse(element("p", words, data_tip=attribute))
    paragraph = tree.one("p")
    assert paragraph.children == []
    printable = "".join(c if text(c) != "\ufffd" else "\ufffd" for c in words)
    assert paragraph.text.replace("\r\n", "\n").replace("\r", "\n") == printable.replace("\r\n", "\n").replace(
        "\r", "\n"
    )
    assert set(paragraph.attributes) == {"data-tip"}


def test_a_script_is_words():
    assert element("b", "<script>alert(1)</script>") == "<b>&lt;script&gt;alert(1)&lt;/script&gt;</b>"
    assert element("b", class_='"><script>') == '<b class="&quot;&gt;&lt;script&gt;"></b>'


def test_markup_is_taken_as_it_is_and_joined_as_markup():
    both = fragment(element("i", "a"), "<", between=" ")
    assert both == "<i>a</i> &lt;"
    assert isinstance(both, Markup)
    assert element("p", both) == "<p><i>a</i> &lt;</p>"


def test_names_of_attributes_are_written_as_html_has_them():
    assert element("line", class_="x", stroke_width=2.0, data_tip=None) == '<line class="x" stroke-width="2"></line>'


def test_void_elements_are_not_closed():
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


@pytest.mark.parametrize("unprintable", ["\x00", "\x1b", "\ud800", "\ufffe"])
def test_what_no_document_may_hold_is_replaced(unprintable):
    assert text(f"a{unprintable}b") == "a\ufffdb"
    element("p", unprintable, title=unprintable).encode("utf-8")


@pytest.mark.parametrize(
    ("value", "written"),
    [(12.0, "12"), (0.125, "0.12"), (-0.001, "0"), (-0.5, "-0.5"), (100, "100"), (1060.5, "1060.5")],
)
def test_coordinates_are_short(value, written):
    assert number(value) == written
