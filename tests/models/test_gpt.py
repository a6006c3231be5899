"""A decoder of any shape: its names, its list of layers, what a part of it computes, and where positions come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.specs.model import ModelSpec
from tests.models.shapes import GPT2, GROUPED, LLAMA, batch, decoder, specs

SPECS = pytest.mark.parametrize("spec", [GPT2, LLAMA, GROUPED], ids=["gpt2", "llama", "grouped"])


@given(spec=specs())
def test_names_and_shapes_are_those_described(spec: ModelSpec) -> None:
    with torch.device("meta"):
        made = Decoder(spec)
    weights = [weight for layer in describe_gpt(spec) for weight in layer.weights]
    assert {name: tuple(value.shape) for name, value in made.state_dict().items()} == {w.path: w.shape for w in weights}
    assert {name for name, _ in made.named_parameters()} == {weight.name for weight in weights}


@given(spec=specs(), dropout=st.sampled_from([0.0, 0.3]))
@settings(max_examples=20)
def test_any_combination_of_options_learns(spec: ModelSpec, dropout: float) -> None:
    spec = replace(spec, dropout=dropout)
    made = decoder(spec)
    loss = made(batch(spec, length=spec.max_positions))
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in made.parameters())


def test_tied_weights_are_one_parameter() -> None:
    made = decoder(GPT2)
    assert made.head.weight is made.trunk["wte"].weight
    made(batch(GPT2)).backward()
    untied = decoder(replace(GPT2, tie_embeddings=False))
    untied.load_state_dict(made.state_dict())
    untied(batch(GPT2)).backward()
    assert untied.head.weight.grad is not None
    torch.testing.assert_close(
        made.head.weight.grad, untied.head.weight.grad + untied.trunk["wte"].weight.grad, rtol=1e-14, atol=1e-15
    )


@SPECS
def test_the_layers_in_order_are_those_described(spec: ModelSpec) -> None:
    assert [name for name, _ in decoder(spec).layers()] == [layer.name for layer in describe_gpt(spec)]


@SPECS
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_stages_one_after_another_are_the_whole(spec: ModelSpec, cut: int) -> None:
    sequences = batch(spec)
    whole = decoder(spec)
    names = [name for name, _ in whole.layers()]
    first, second = decoder(spec), decoder(spec)
    first.keep(names[:cut])
    second.keep(names[cut:])
    assert [name for part in (first, second) for name, _ in part.layers()] == names
    later = replace(sequences, tokens=None)  # a later stage has none
    loss = second(later, first(replace(sequences, targets=None)))
    assert loss == whole(sequences)
    loss.backward()
    assert all(parameter.grad is not None for part in (first, second) for parameter in part.parameters())


@SPECS
def test_a_stage_has_the_weights_of_its_layers_alone(spec: ModelSpec) -> None:
    for layer in describe_gpt(spec):
        made = decoder(spec)
        made.keep({layer.name})
        assert set(made.state_dict()) == {weight.path for weight in layer.weights}


def test_learned_positions_are_the_given_ones() -> None:
    made, sequences = decoder(GPT2), batch(GPT2)
    moved = replace(sequences, positions=sequences.positions.flip(1))
    expected = made.trunk["wte"](sequences.tokens) + made.trunk["wpe"].weight[: sequences.tokens.shape[1]].flip(0)
    assert torch.equal(made.embed(moved), expected)


def test_rotary_positions_are_the_given_ones_and_only_their_distance_counts() -> None:
    made, sequences = decoder(GROUPED), replace(batch(GROUPED), targets=None)
    shifted = replace(sequences, positions=sequences.positions + 1000)
    spread = replace(sequences, positions=sequences.positions * 3)
    expected = made(sequences)
    torch.testing.assert_close(made(shifted), expected, rtol=0, atol=1e-13)  # angles of 1000: 3 digits fewer
    assert (made(spread) - expected).abs().max() > 1e-6


def test_positions_may_differ_from_sample_to_sample() -> None:
    for spec in (GPT2, GROUPED):
        made, sequences = decoder(spec), replace(batch(spec), targets=None)
        offsets = torch.tensor([[0], [2], [5]])
        positions = (sequences.positions + offsets) % spec.max_positions
        sequences = replace(sequences, positions=positions)
        apart = torch.cat([made(sequences.rows(row, row + 1)) for row in range(3)])
        torch.testing.assert_close(made(sequences), apart, rtol=1e-13, atol=1e-15)


def test_a_token_does_not_see_later_ones() -> None:
    for spec in (GPT2, GROUPED, replace(GROUPED, dropout=0.2)):
        made, sequences = decoder(spec), replace(batch(spec), targets=None)
        changed = sequences.tokens.clone()
        changed[:, 6:] = (changed[:, 6:] + 1) % spec.vocab
        before, after = made(sequences), made(replace(sequences, tokens=changed))
        torch.testing.assert_close(before[:, :6], after[:, :6], rtol=1e-13, atol=1e-15)
        assert not torch.equal(before[:, 6:], after[:, 6:])


@SPECS
def test_bfloat16_runs_and_is_near(spec: ModelSpec) -> None:
    narrow, wide = decoder(spec, dtype=torch.bfloat16), decoder(spec, dtype=torch.float32)
    loss, expected = narrow(batch(spec)), wide(batch(spec))
    loss.backward()
    assert loss.dtype == torch.float32  # summed wide
    assert abs(loss - expected) < 2**-8 * expected
    assert all(parameter.grad.dtype == torch.bfloat16 for parameter in narrow.parameters())


def test_a_sum_of_the_losses_of_parts_is_the_loss_of_all() -> None:
    made, sequences = decoder(GROUPED), batch(GROUPED)
    parts = made(sequences.rows(0, 1)) + made(sequences.rows(1, 3))
    torch.testing.assert_close(made(sequences), parts, rtol=1e-14, atol=0)


def test_it_says_what_it_can_not_do() -> None:
    with pytest.raises(ValueError, match="not alibi"):
        Decoder(replace(GPT2, positions="alibi"))
    with pytest.raises(ValueError, match="needs targets"):
        decoder(GPT2).loss(torch.zeros(1, 1, 48), replace(batch(GPT2), targets=None))
