"""Sequences number their positions and samples, and compute what many layers read once."""

from __future__ import annotations

from dataclasses import replace

import torch

from plait.models.sequences import Sequences
from tests.models.shapes import GROUPED, batch, decoder


def test_whole_samples_begin_at_position_zero() -> None:
    made = Sequences.of(torch.zeros(2, 5, dtype=torch.int64), first_sample=7, step=3)
    assert made.positions.tolist() == [[0, 1, 2, 3, 4]]
    assert made.samples.tolist() == [7, 8]
    assert (made.targets, made.step, made.segments) == (None, 3, None)


def test_rows_are_some_samples_with_all_that_is_theirs() -> None:
    made = replace(batch(GROUPED, step=4), samples=torch.tensor([5, 7, 9]))
    part = made.rows(1, 3)
    assert (part.samples.tolist(), part.step) == ([7, 9], 4)
    assert torch.equal(part.tokens, made.tokens[1:3])
    assert torch.equal(part.targets, made.targets[1:3])
    assert part.positions is made.positions  # one row for all
    each = replace(made, tokens=None, targets=None, positions=torch.arange(6).view(3, 2)).rows(1, 3)
    assert (each.tokens, each.targets, each.positions.tolist()) == (None, None, [[2, 3], [4, 5]])


def test_what_is_asked_twice_is_computed_once_by_name() -> None:
    made, calls = batch(GROUPED), []
    for name in ("a", "b", "a"):
        assert made.once(name, lambda name=name: calls.append(name) or name) == name
    assert calls == ["a", "b"]
    assert replace(made, positions=made.positions + 1).once("a", lambda: "anew") == "anew"


def test_what_follows_from_positions_is_shared_by_all_that_have_them() -> None:
    tokens = torch.zeros(2, 7, dtype=torch.int64)
    made = Sequences.of(tokens)
    assert made.once("shared", lambda: "first") == "first"
    for other in (made.rows(0, 1), replace(made, step=5), Sequences.of(tokens + 1, step=1)):
        assert other.once("shared", lambda: "anew") == "first"
    for other in (Sequences.of(tokens[:, :5]), replace(made, positions=made.positions.clone())):
        assert other.once("shared", lambda: "anew") == "anew"


def test_what_was_found_in_inference_serves_training() -> None:
    made = Sequences.of(torch.zeros(1, 23, dtype=torch.int64))
    weight = torch.ones(1, requires_grad=True)
    with torch.inference_mode():
        made.once("angles", lambda: made.positions * 0.5)
    (weight * made.once("angles", lambda: None)).sum().backward()
    assert weight.grad.item() == sum(range(23)) / 2


def test_all_layers_of_all_microbatches_share_one_rotation() -> None:
    model, whole = decoder(GROUPED), batch(GROUPED)
    whole = replace(whole, positions=whole.positions.clone())  # which no test has asked of
    with torch.profiler.profile() as profile:
        for place in range(2):
            model(whole.rows(place, place + 1))
    assert {event.key: event.count for event in profile.key_averages()}["aten::cos"] == 1
