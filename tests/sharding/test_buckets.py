"""Buckets hold every gradient once, in the order of backward, none larger than allowed unless it has to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.sharding.buckets import bucket_boundaries

SIZES = st.lists(st.integers(0, 100), max_size=30)
BYTES = st.integers(1, 200)


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ([10, 10, 10], 20, ((2, 1), (0,))),
        ([10, 10, 10], 30, ((2, 1, 0),)),
        ([10, 99, 10], 20, ((2,), (1,), (0,))),
        ([10, 10], 1, ((1,), (0,))),
        ([], 20, ()),
    ],
)
def test_known_buckets(sizes, most, expected):
    assert bucket_boundaries(sizes, most) == expected


@given(SIZES, BYTES)
def test_every_gradient_travels_once_from_the_last_to_the_first(sizes, most):
    buckets = bucket_boundaries(sizes, most)
    assert [index for bucket in buckets for index in bucket] == list(reversed(range(len(sizes))))
    assert all(buckets)


@given(SIZES, BYTES)
def test_a_bucket_is_as_full_as_it_may_be(sizes, most):
    buckets = bucket_boundaries(sizes, most)
    totals = [sum(sizes[index] for index in bucket) for bucket in buckets]
    assert all(total <= most or len(bucket) == 1 for total, bucket in zip(totals, buckets, strict=True))
    assert all(total + sizes[bucket[0]] > most for total, bucket in zip(totals, buckets[1:], strict=False))
