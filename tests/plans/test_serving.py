"""Who serves what: every element once; and what travels, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.plans.holdings import held_weights
from plait.plans.plan import Plan
from plait.plans.prediction import Traffic
from plait.plans.serving import (
    portion_traffic,
    served_elements,
    served_piece,
    servers,
    synchronous_traffic,
    workers,
)
from plait.specs.model import ModelSpec

SMALL = ModelSpec(layers=1, hidden=4, heads=2, kv_heads=1, ffn=3, vocab=5, max_positions=4)
LAYERS = describe_gpt(SMALL)


def plan(data: int, servers: int = 0, tensor: int = 1) -> Plan:
    return Plan(
        data=data, servers=servers, tensor=tensor, stages=(1,), data_shares=(1,) * data, tensor_shares=(1,) * tensor
    )


@pytest.mark.parametrize(("chosen", "serving", "working"), [(plan(3), "012", "012"), (plan(3, 1), "2", "01")])
def test_the_last_ranks_serve_alone(chosen, serving, working):
    assert ["".join(map(str, ranks(chosen))) for ranks in (servers, workers)] == [serving, working]


@given(data=st.integers(1, 7), alone=st.integers(0, 6), tensor=st.integers(1, 3), rank=st.integers(0, 2))
def test_every_element_is_served_once_and_evenly(data, alone, tensor, rank):
    chosen = plan(data, min(alone, data - 1), tensor)
    held = held_weights(LAYERS, chosen, min(rank, tensor - 1))
    assert sum(served_elements(held, chosen)) == sum(one.elements for one in held)
    for one in held:
        pieces = [served_piece(one, chosen, place) for place in range(data)]
        filled = [piece for place, piece in enumerate(pieces) if place in servers(chosen)]
        assert [piece.start for piece in filled[1:]] == [piece.stop for piece in filled[:-1]]
        assert all(piece.start == piece.stop for piece in pieces[: servers(chosen).start])


def rows(*found: tuple[str, int, int]) -> tuple[Traffic, ...]:
    return tuple(Traffic(axis="data", kind=kind, bytes=size, count=count) for kind, size, count in found)  # type: ignore[arg-type]


def test_what_travels_in_a_step_of_two_that_work_and_serve():
    weight = [one for one in held_weights(LAYERS, plan(2), 0) if one.shape == (5, 4)]
    chosen = plan(2)
    assert served_elements(weight, chosen) == (12, 8)  # three rows and two
    first = synchronous_traffic([weight], chosen, 0, gradient_bytes=4, weight_bytes=2)
    assert first == rows(("receive", 16, 1), ("receive", 48, 1), ("send", 24, 1), ("send", 32, 1))
    second = synchronous_traffic([weight], chosen, 1, gradient_bytes=4, weight_bytes=2)
    assert second == rows(("receive", 24, 1), ("receive", 32, 1), ("send", 16, 1), ("send", 48, 1))


def test_what_travels_for_a_portion():
    assert portion_traffic((12, 8), plan(2), 0, gradient_bytes=4, weight_bytes=2) == rows(
        ("receive", 16, 1), ("send", 24, 2), ("send", 32, 1)
    )
    assert portion_traffic((0, 0, 20), plan(3, 1), 1, gradient_bytes=4, weight_bytes=2) == rows(
        ("receive", 8, 1), ("receive", 40, 1), ("send", 24, 3), ("send", 80, 1)
    )
    assert portion_traffic((20,), plan(1), 0, gradient_bytes=4, weight_bytes=2) == ()
