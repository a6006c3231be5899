"""Who serves what: every element once; and what travels, by hand."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.plans.compression import Message
from plait.plans.holdings import held_weights
from plait.plans.keeping import kept_piece
from plait.plans.plan import Plan
from plait.plans.rows import row_counts
from plait.plans.serving import portion_messages, pulled, pushed, served_elements
from plait.specs.model import ModelSpec

SMALL = ModelSpec(layers=1, hidden=4, heads=2, kv_heads=1, ffn=3, vocab=5, max_positions=4)
LAYERS = describe_gpt(SMALL)


def plan(data: int, servers: int = 0, tensor: int = 1) -> Plan:
    shares = {"data_shares": (1,) * data, "tensor_shares": (1,) * tensor}
    return Plan(data=data, servers=servers, tensor=tensor, stages=(1,), synchronisation="parameter-server", **shares)


@pytest.mark.parametrize(("chosen", "serving", "rows"), [(plan(3), "012", (3, 2, 2)), (plan(3, 1), "2", (4, 3, 0))])
def test_the_last_ranks_serve_alone_and_have_no_rows(chosen, serving, rows):
    assert "".join(map(str, chosen.keepers)) == serving
    assert row_counts(chosen, 7) == rows
    assert chosen.workers == sum(count > 0 for count in rows)


@given(data=st.integers(1, 7), alone=st.integers(0, 6), tensor=st.integers(1, 3), rank=st.integers(0, 2))
def test_every_element_is_served_once_and_evenly(data, alone, tensor, rank):
    chosen = plan(data, min(alone, data - 1), tensor)
    held = held_weights(LAYERS, chosen, min(rank, tensor - 1))
    assert sum(served_elements(held, chosen)) == sum(one.elements for one in held)
    for one in held:
        pieces = [kept_piece(one, chosen, place) for place in range(data)]
        filled = [piece for place, piece in enumerate(pieces) if place in chosen.keepers]
        assert [piece.start for piece in filled[1:]] == [piece.stop for piece in filled[:-1]]
        assert all(piece.start == piece.stop for piece in pieces[: chosen.keepers.start])


def counted(messages: Iterable[Message]) -> list[tuple[str, int]]:
    return sorted(messages)


def test_what_travels_in_a_step_of_two_that_work_and_serve():
    chosen = plan(2)
    weight = [one for one in held_weights(LAYERS, chosen, 0) if one.shape == (5, 4)]
    assert served_elements(weight, chosen) == (12, 8)  # three rows and two
    assert counted(pushed(weight, chosen, 0, 4)) == [("receive", 48), ("send", 32)]
    assert counted(pulled(weight, chosen, 0, 2)) == [("receive", 16), ("send", 24)]
    assert counted(pushed(weight, chosen, 1, 4)) == [("receive", 32), ("send", 48)]
    assert counted(pulled(weight, chosen, 1, 2)) == [("receive", 24), ("send", 16)]


def test_what_travels_in_a_step_of_two_that_work_for_one():
    chosen = plan(3, 1)
    weight = [one for one in held_weights(LAYERS, chosen, 0) if one.shape == (5, 4)]
    assert counted(pushed(weight, chosen, 0, 4)) == [("send", 80)]
    assert counted(pulled(weight, chosen, 0, 2)) == [("receive", 40)]
    assert counted(pushed(weight, chosen, 2, 4)) == [("receive", 80)] * 2
    assert counted(pulled(weight, chosen, 2, 2)) == [("send", 40)] * 2


def test_what_travels_for_a_portion():
    def of(chosen: Plan, rank: int) -> list[tuple[str, int]]:
        weight = [one for one in held_weights(LAYERS, chosen, 0) if one.shape == (5, 4)]
        counts = served_elements(weight, chosen)
        return counted(portion_messages(counts, chosen, rank, gradient_bytes=4, weight_bytes=2))

    assert of(plan(2), 0) == [("receive", 16), ("send", 24), ("send", 24), ("send", 32)]
    assert of(plan(3, 1), 1) == [
        ("receive", 8),
        ("receive", 40),
        ("send", 24),
        ("send", 24),
        ("send", 24),
        ("send", 80),
    ]
    assert of(plan(3, 1), 2) == []  # what it serves is counted by those who ask
    assert of(plan(1), 0) == []
