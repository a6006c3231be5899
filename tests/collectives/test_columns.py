"""Who is whose counterpart: every place crosses in one column, and is as near its own as it can be."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from plait.collectives.columns import Columns

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def hosts_of(sizes):
    return [tuple(range(stop - size, stop)) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def test_by_hand():
    hosts = ((0, 1, 2), (3, 4))
    assert Columns(hosts, 0).all == [(0, 2, 3), (1, 4)]
    assert Columns(hosts, 0).places(0) == [(0, 2), (3,)]
    assert [Columns(hosts, place).own for place in range(5)] == [0, 1, None, 0, 1]
    assert [Columns(hosts, place).handed_on for place in range(5)] == [True] * 3 + [False] * 2
    assert [(one.host, one.local) for one in (Columns(hosts, place) for place in range(5))] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1),
    ]  # fmt: skip


@given(SIZES)
def test_every_place_crosses_once_and_a_column_has_a_rank_of_each_host(sizes):
    hosts = hosts_of(sizes)
    known = [Columns(hosts, place) for place in range(sum(sizes))]
    assert sorted(place for column in known[0].all for place in column) == list(range(sum(sizes)))
    for column in range(known[0].number):
        owners = [one.index for one in known if one.own == column]
        assert [known[owner].host for owner in owners] == list(range(len(sizes)))
        for owner, places in zip(owners, known[0].places(column), strict=True):
            assert owner == places[0]
            assert {known[place].host for place in places} == {known[owner].host}
