"""The one formula of a link, against the ring's counts written by hand, and the laws that any n obeys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.specs.links import Link, LinkKind, link_steps, wire_bytes

BY_HAND = [
    # kind, ranks, steps, wire bytes of a payload of 1200
    ("all_reduce", 2, 2, 1200),
    ("all_reduce", 4, 6, 1800),
    ("reduce_scatter", 4, 3, 900),
    ("all_gather", 3, 2, 800),
    ("send", 2, 1, 1200),
    ("send", 8, 1, 1200),
    ("exchange", 4, 1, 1200),
]


@pytest.mark.parametrize(("kind", "ranks", "steps", "sent"), BY_HAND)
def test_steps_and_bytes_by_hand(kind: LinkKind, ranks: int, steps: int, sent: int):
    assert link_steps(kind, ranks) == steps
    assert wire_bytes(kind, ranks, 1200) == sent


@given(ranks=st.integers(2, 1000), payload=st.integers(1, 2**40))
def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather(ranks: int, payload: int):
    halves = ("reduce_scatter", "all_gather")
    assert link_steps("all_reduce", ranks) == sum(link_steps(kind, ranks) for kind in halves)
    assert wire_bytes("all_reduce", ranks, payload) == pytest.approx(sum(wire_bytes(k, ranks, payload) for k in halves))


@pytest.mark.parametrize("kind", ["all_reduce", "reduce_scatter", "all_gather"])
def test_a_group_of_one_sends_nothing(kind: LinkKind):
    assert link_steps(kind, 1) == 0
    assert wire_bytes(kind, 1, 1e6) == 0


def test_the_time_of_a_payload():
    link = Link(backend="gloo", kind="all_reduce", ranks=4, alpha0=1e-4, alpha1=1e-5, bytes_per_second=1e9)
    assert link.seconds(4e6) == pytest.approx(1e-4 + 6e-5 + 6e6 / 1e9)
    assert link.seconds(0) == pytest.approx(1.6e-4)
