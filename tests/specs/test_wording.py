"""Refused words are shown as they stood, cut where they are long, beside the nearest known ones."""

import datetime

import pytest

from plait.specs.wording import kind_of, nearest, shown, visible


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ("a b", '"a b"'),
        (3, "3"),
        (1e-5, "1e-05"),
        ([1, "x", False], '[1, "x", false]'),
        ((4, 3), "[4, 3]"),
        ({"a": 1}, "a table"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ("a\x1b[31m\nb", r'"a\u001B[31m\nb"'),
    ],
)
def test_values_are_shown_as_toml_has_them(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Zürich × 2 … 日本 🙂", "Zürich × 2 … 日本 🙂"),
        ("\x1b]0;title\x07", r"\u001B]0;title\u0007"),
        ("a\r\n\tb\x7f\x9b", r"a\r\n\tb\u007F\u009B"),
        ("\u202egnp.exe", r"\u202Egnp.exe"),
        ("a\u061cb\u200b\ufeffc", r"a\u061Cb\u200B\uFEFFc"),
        ("\udcff", r"\uDCFF"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, seen):
    assert visible(text) == seen
    seen.encode()


def test_numbers_too_long_for_python_to_write_are_described():
    assert shown(10**5000) == "an integer of 16610 bits"


@pytest.mark.parametrize("value", ["x" * 1000, [1] * 1000, [2**500] * 3], ids=["text", "list", "numbers"])
def test_long_values_are_cut(value):
    assert len(shown(value)) <= 60
    assert shown(value).endswith("…")


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "a truth value"), (1, "a whole number"), (1.0, "a number with a point"), ("1", "a text"), ([], "a list"),
     ({}, "a table"), (datetime.date(2020, 1, 2), "a date")],
)  # fmt: skip
def test_kinds_have_names(value, words):
    assert kind_of(value) == words


def test_a_word_that_is_begun_or_contained_comes_before_one_that_looks_alike():
    devices = ["h200", "h100-96gb", "h100-80gb-pcie", "h100-80gb", "rtx-4090"]
    assert nearest("h100", devices, 3) == ("h100-80gb", "h100-96gb", "h100-80gb-pcie")
    assert nearest("4090", devices) == ("rtx-4090",)


def test_what_is_not_alike_enough_is_not_near():
    assert nearest("gemma2", ["gpt2", "llama2-7b"], 3, least=0.6) == ()
    assert nearest("qwen", ["qwen2.5-0.5b-of-a-long-name", "gpt2"], 3, least=0.6) == ("qwen2.5-0.5b-of-a-long-name",)


def test_something_is_always_nearest():
    assert nearest("tenosr", ["tensor", "data"]) == ("tensor",)
    assert nearest("###", ["tensor", "data"], 2) in {("tensor", "data"), ("data", "tensor")}
