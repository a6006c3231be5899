"""The runner: its logits are those of a plain forward over what the model can see, and nothing is computed twice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.inference.model_runner import ModelRunner, first_seen
from plait.models.attend import Attend
from plait.models.attention import Attention
from tests.inference.models import GPT2, LLAMA, decoder, plain_logits, specs

BOUND = {"rtol": 1e-11, "atol": 1e-12}


@given(st.data())
@settings(max_examples=60)
def test_logits_are_those_of_a_forward_without_a_cache(data) -> None:
    made = decoder(data.draw(specs()))
    tokens = st.integers(0, made.spec.vocab - 1)
    known = data.draw(st.lists(st.lists(tokens, min_size=1, max_size=14), min_size=1, max_size=3))
    runner = ModelRunner(made, rows=len(known), longest=100)
    for _ in range(data.draw(st.integers(1, 8))):
        found = runner.logits(known)
        expected = torch.stack([plain_logits(made, row) for row in known])
        torch.testing.assert_close(found, expected, **BOUND)
        known = [row + data.draw(st.lists(tokens, min_size=1, max_size=3)) for row in known]


@pytest.mark.parametrize("spec", [GPT2, LLAMA], ids=["learned", "rope"])
def test_a_long_sequence_goes_on_over_many_windows(spec) -> None:
    made = decoder(spec)
    known = [[3, 1, 4], [1]]  # the rows slide at different times
    runner = ModelRunner(made, rows=2, longest=60)
    for _ in range(50):
        logits = runner.logits(known)
        torch.testing.assert_close(logits, torch.stack([plain_logits(made, row) for row in known]), **BOUND)
        known = [[*row, int(chosen.argmax())] for row, chosen in zip(known, logits, strict=True)]


@given(st.integers(1, 20), st.integers(1, 200))
def test_what_is_seen(window: int, known: int) -> None:
    seen = known - first_seen(known, window)
    assert 1 <= seen <= window
    assert seen == known or seen > window - max(1, window // 2)
    assert first_seen(known, window) <= first_seen(known + 1, window)


def test_the_window_is_let_go_in_halves() -> None:
    assert [first_seen(known, 8) for known in (1, 8, 9, 12, 13, 16, 17)] == [0, 0, 4, 4, 8, 8, 12]


def test_nothing_is_computed_twice_but_half_a_window(monkeypatch) -> None:
    computed: list[int] = []
    forward = ModelRunner._forward

    def counted(self: ModelRunner, rows, tokens):
        computed.append(sum(map(len, tokens)))
        return forward(self, rows, tokens)

    monkeypatch.setattr(ModelRunner, "_forward", counted)
    runner = ModelRunner(decoder(GPT2), rows=1, longest=40)  # a window of 12
    known = [list(range(8))]
    for _ in range(12):
        runner.logits(known)
        known[0].append(0)
    assert computed == [8, 1, 1, 1, 1, 7, 1, 1, 1, 1, 1, 7]


def test_rows_that_need_equally_much_are_computed_together(monkeypatch) -> None:
    groups: list[list[int]] = []
    forward = ModelRunner._forward

    def seen(self: ModelRunner, rows, tokens):
        groups.append(list(rows))
        return forward(self, rows, tokens)

    monkeypatch.setattr(ModelRunner, "_forward", seen)
    runner = ModelRunner(decoder(GPT2), rows=3, longest=10)
    known = [[1, 2], [1], [2, 1]]
    runner.logits(known)
    runner.logits([[*row, 3] for row in known])
    assert groups == [[0, 2], [1], [0, 1, 2]]


def test_the_decoder_itself_is_left_alone() -> None:
    made = decoder(GPT2)
    made.train()
    ModelRunner(made, rows=1, longest=5).logits([[1, 2]])
    assert made.training
    attentions = [module for module in made.modules() if isinstance(module, Attention)]
    assert len(attentions) == GPT2.layers
    assert all(isinstance(attention.attend, Attend) for attention in attentions)
    assert all(weight.requires_grad for weight in made.parameters())


def test_two_runners_share_a_decoder() -> None:
    made = decoder(LLAMA)
    one, other = (ModelRunner(made, rows=1, longest=9) for _ in range(2))
    for length in range(2, 6):
        first, second = list(range(length)), list(range(9, 9 - length, -1))
        torch.testing.assert_close(one.logits([first])[0], plain_logits(made, first), **BOUND)
        torch.testing.assert_close(other.logits([second])[0], plain_logits(made, second), **BOUND)


def test_however_much_is_asked_for_the_cache_is_no_larger_than_the_window() -> None:
    runner = ModelRunner(decoder(GPT2), rows=1, longest=10**15)
    assert runner._cache.nbytes == ModelRunner(decoder(GPT2), rows=1, longest=12)._cache.nbytes


def test_a_row_without_a_new_token_is_refused() -> None:
    runner = ModelRunner(decoder(GPT2), rows=2, longest=9)
    with pytest.raises(ValueError, match="row 1 has no new token"):
        runner.logits([[1], []])
    runner = ModelRunner(decoder(GPT2), rows=1, longest=9)
    runner.logits([[1, 2]])
    with pytest.raises(ValueError, match="row 0 has no new token"):
        runner.logits([[1, 2]])


def test_a_small_step_of_a_small_model_asks_for_no_second_thread() -> None:
    made = decoder(GPT2)
    runner, wide = (ModelRunner(made, rows=2, longest=9) for _ in range(2))
    wide._small = False  # as if its weights did not fit into a cache
    asked: list[int] = []
    for one in (runner, wide):
        slot = one._blocks[0].attn.attend
        one._blocks[0].attn.attend = lambda *x, slot=slot: (asked.append(torch.get_num_threads()), slot(*x))[1]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for one in (runner, wide):
            one.logits([list(range(9)), list(range(9))])
            one.logits([list(range(10)), list(range(10))])
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert asked == [2, 1, 2, 2]


def test_float32_stays_float32_and_near() -> None:
    narrow, wide = decoder(LLAMA, dtype=torch.float32), decoder(LLAMA)
    runner, known = ModelRunner(narrow, rows=1, longest=9), [5, 6, 7, 8]
    for length in range(1, 5):
        logits = runner.logits([known[:length]])
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits[0].double(), plain_logits(wide, known[:length]), rtol=1e-4, atol=1e-4)


@pytest.mark.device
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="this machine has no accelerator")
@pytest.mark.parametrize("spec", [GPT2, LLAMA], ids=["learned", "rope"])
def test_an_accelerator_computes_the_same(spec) -> None:
    device = torch.accelerator.current_accelerator()
    made = decoder(spec)
    expected, known = ModelRunner(made, rows=2, longest=60), [[3, 1, 4], [1]]
    moved = decoder(spec).to(device)
    found = ModelRunner(moved, rows=2, longest=60)
    for _ in range(30):
        logits = expected.logits(known)
        torch.testing.assert_close(found.logits(known).cpu(), logits, rtol=1e-9, atol=1e-10)
        known = [[*row, int(chosen.argmax())] for row, chosen in zip(known, logits, strict=True)]
