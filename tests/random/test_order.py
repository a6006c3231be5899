"""The shuffled order: a bijection of any size, near uniform for small ones, and the same element by element."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.random.order import permuted
from plait.random.words import stream_key


@given(size=st.integers(1, 3000), key=st.integers(0, (1 << 64) - 1))
def test_it_is_a_permutation(size: int, key: int) -> None:
    assert sorted(permuted(np.arange(size), size, key).tolist()) == list(range(size))


@given(size=st.integers(1, 1 << 62), key=st.integers(0, (1 << 64) - 1), data=st.data())
def test_large_sizes_stay_inside_and_do_not_collide(size: int, key: int, data: st.DataObject) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), unique=True, max_size=8)), dtype=np.int64)
    result = permuted(index, size, key)
    assert len(set(result.tolist())) == len(index)
    assert all(0 <= value < size for value in result.tolist())


def test_an_element_does_not_depend_on_its_company() -> None:
    whole = permuted(np.arange(1000), 1000, 5)
    assert np.array_equal(permuted(np.array([[7, 900], [0, 7]]), 1000, 5), whole[[[7, 900], [0, 7]]])
    assert whole.dtype == np.int64


@pytest.mark.parametrize("size", [3, 5])
def test_all_permutations_of_a_few_are_about_equally_likely(size: int) -> None:
    trials = 2000
    seen = Counter(tuple(permuted(np.arange(size), size, stream_key(seed, "order")).tolist()) for seed in range(trials))
    factorial = int(np.prod(np.arange(1, size + 1)))
    assert len(seen) == factorial
    expected = trials / factorial
    chi_squared = sum((count - expected) ** 2 / expected for count in seen.values())
    assert chi_squared < (factorial - 1) + 6 * (2 * (factorial - 1)) ** 0.5


def test_large_orders_are_shuffled() -> None:
    order = permuted(np.arange(100_003), 100_003, 1)
    assert abs(np.corrcoef(order, np.arange(100_003))[0, 1]) < 5 / 100_003**0.5
    assert (np.diff(order) == 1).sum() < 10  # neighbours that stay neighbours: 1 expected
    assert (order == permuted(np.arange(100_003), 100_003, 2)).sum() < 10


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 10\)"):
        permuted(np.array([index]), 10, 0)


def test_no_index_gives_no_result() -> None:
    assert permuted(np.array([], dtype=np.int64), 10, 0).shape == (0,)
