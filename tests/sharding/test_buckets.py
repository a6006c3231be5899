"""Buckets hold every gradient once, in the order of backward, none larger than allowed unless it has to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.sharding.buckets import best_bucket_bytes, bucket_boundaries

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


def longer(size, *, gradient_bytes, alpha, bytes_per_second, backward_seconds, exposed):
    """How much a step grows by buckets of that size, played bucket by bucket."""
    count = -(-gradient_bytes // size)
    ends, latency = 0.0, alpha * count
    for number in range(1, count + 1):
        filled = min(number * size, gradient_bytes)
        ready = backward_seconds * filled / gradient_bytes
        ends = max(ends, ready) + (filled - (number - 1) * size) / bytes_per_second
    after = ends - backward_seconds
    hidden = max(0.0, gradient_bytes / bytes_per_second - after)
    return latency + after + exposed * hidden


@given(
    st.fixed_dictionaries(
        {
            "gradient_bytes": st.integers(20, 28).map(lambda power: 2**power),  # no small bucket is left over
            "alpha": st.floats(1e-6, 1e-2),
            "bytes_per_second": st.floats(1e6, 1e11),
            "backward_seconds": st.floats(1e-3, 10.0),
            "exposed": st.floats(0.0, 0.9),
        }
    )
)
def test_no_other_power_of_two_is_much_better(link):
    chosen = longer(best_bucket_bytes(**link), **link)
    least = min(longer(2**power, **link) for power in range(16, 29))
    assert chosen <= 1.07 * least  # the best size is rounded to a power of two


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2**20),  # sqrt(1e-4 · 1e8 · 1e8) = 1e6
        ({"alpha": 4e-4}, 2**21),
        ({"bytes_per_second": 1e6}, 2**18),  # slower than backward: the 4e6 a second that are made, sqrt(4e10) = 2e5
        ({"exposed": 0.75}, 2**21),
        ({"exposed": 1.5}, 2**22),  # no more than 0.9 is believed: sqrt(10) times as large
        ({"exposed": 1.5, "alpha": 1e-1, "most": 25 * 2**20}, 25 * 2**20),
        ({"alpha": 1e-9}, 2**16),
        ({"alpha": 10.0}, 2**27),
        ({"gradient_bytes": 0}, 2**16),
        ({"gradient_bytes": 10**12, "alpha": 1.0}, 2**28),
        ({"backward_seconds": 0.0}, 2**27),
    ],
)
def test_sizes_by_hand(changes, expected):
    given_ = {"gradient_bytes": 1e8, "alpha": 1e-4, "bytes_per_second": 1e8, "backward_seconds": 25.0}
    assert best_bucket_bytes(**(given_ | changes)) == expected


@given(st.floats(1, 1e12), st.floats(1e-7, 1.0), st.floats(1e4, 1e12), st.floats(1e-4, 1e3))
def test_more_latency_never_makes_them_smaller(size, alpha, speed, backward):
    link = {"bytes_per_second": speed, "backward_seconds": backward}
    assert best_bucket_bytes(size, alpha=alpha, **link) <= best_bucket_bytes(size, alpha=2 * alpha, **link)
