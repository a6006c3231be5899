"""The word `[plan] compression`: legal forms are read and written back, others refused with the legal ones."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import IllegalJob
from plait.specs.compression import FORMS, Compression, compression_of, compression_problem


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("none", Compression(kind="none")),
        ("fp16", Compression(kind="fp16")),
        ("bf16", Compression(kind="bf16")),
        ("int8", Compression(kind="int8")),
        ("powersgd:4", Compression(kind="powersgd", rank=4)),
        ("topk:0.01", Compression(kind="topk", fraction=0.01)),
        ("topk:1", Compression(kind="topk", fraction=1.0)),
        ("topk:1e-3", Compression(kind="topk", fraction=1e-3)),
        ("topk:.5", Compression(kind="topk", fraction=0.5)),
    ],
)
def test_legal_words(word, meant):
    assert compression_problem(word) is None
    assert compression_of(word) == meant


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("powersgd", "a whole number"),
        ("powersgd:", "a whole number"),
        ("powersgd:0", "rank 0"),
        ("powersgd:-1", "a whole number"),
        ("powersgd:2.5", "a whole number"),
        ("powersgd:1_0", "a whole number"),
        ("powersgd:٣", "a whole number"),
        ("topk", "a number"),
        ("topk:0", "above 0"),
        ("topk:1e-400", "above 0"),
        ("topk:1e-1000", "a number"),
        ("topk:1.01", "at most 1"),
        ("topk:nan", "a number"),
        ("topk:inf", "a number"),
        ("topk:1.2.3", "a number"),
        ("int8:4", "stands alone"),
        ("int4", "the nearest is int8"),
        ("", "the nearest"),
        (8, "not a text"),
        (True, "not a text"),
    ],
)
def test_other_words_are_told_the_legal_forms(word, said):
    problem = compression_problem(word)
    assert problem is not None
    assert said in problem.message
    assert problem.key == "plan.compression"
    assert all(form in problem.message for form in FORMS)
    assert [compression_problem(value) for value in problem.legal] == [None] * len(FORMS)
    if isinstance(word, str):
        with pytest.raises(IllegalJob, match="powersgd:RANK"):
            compression_of(word)


@given(st.integers(1, 10**9 - 1), st.floats(0, 1, exclude_min=True))
def test_what_is_written_is_read_back(rank, fraction):
    for one in (Compression(kind="powersgd", rank=rank), Compression(kind="topk", fraction=fraction)):
        assert compression_of(str(one)) == one


@given(st.text(max_size=12) | st.from_regex(r"(powersgd|topk):[0-9.e+-]{0,8}", fullmatch=True))
def test_any_text_is_read_or_refused(word):
    if compression_problem(word) is None:
        found = compression_of(word)
        assert (found.rank >= 1) == (found.kind == "powersgd")
        assert (0 < found.fraction <= 1) == (found.kind == "topk")
        assert not math.isnan(found.fraction)
