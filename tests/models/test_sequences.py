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
    assert batch(GROUPED).once("a", lambda: "anew") == "anew"


def test_all_layers_share_one_rotation() -> None:
    with torch.profiler.profile() as profile:
        decoder(GROUPED)(batch(GROUPED))
    assert {event.key: event.count for event in profile.key_averages()}["aten::cos"] == 1
