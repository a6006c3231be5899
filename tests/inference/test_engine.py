"""The engine: what is answered depends on the weights, the prompt and its sampling, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.tokenizer import ByteTokenizer
from plait.errors import UnusableInput
from plait.inference.engine import Engine
from plait.inference.sampler import Sampling, sample
from tests.inference.models import BYTES, GPT2, LLAMA, Letters, decoder, leave_run, plain_logits

SPECS = pytest.mark.parametrize("spec", [GPT2, LLAMA], ids=["learned", "rope"])
GREEDY = Sampling(temperature=0)
WARM = Sampling(temperature=2.0, top_k=20, top_p=0.95, seed=4)
LETTERS = Engine(decoder(LLAMA), Letters())


@SPECS
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_the_tokens_are_those_of_the_plain_model_one_after_another(spec, sampling: Sampling) -> None:
    made, known = decoder(spec), Letters().encode("plait")
    for _ in range(30):  # beyond the 12 positions that it has
        known.append(sample(plain_logits(made, known), sampling, len(known)))
    (found,) = Engine(made, Letters()).generate(["plait"], max_tokens=30, sampling=sampling)
    assert list(found.tokens) == known[5:]
    assert found.text == Letters().decode(known[5:])
    assert found.seconds > 0
    assert len(set(found.tokens)) > 2  # or this would show little


@SPECS
def test_a_stream_is_the_same_piece_by_piece(spec) -> None:
    engine = Engine(decoder(spec), Letters())
    (whole,) = engine.generate(["abc"], max_tokens=20, sampling=WARM)
    pieces = list(engine.stream("abc", max_tokens=20, sampling=WARM))
    assert tuple(piece.token for piece in pieces) == whole.tokens
    assert [piece.text for piece in pieces] == list(whole.text)


@SPECS
def test_it_does_not_matter_what_is_answered_beside(spec) -> None:
    engine = Engine(decoder(spec), Letters())
    prompts = ["a", "plaitplaitplait", "zz", "a"]
    samplings = [WARM, GREEDY, replace(WARM, seed=5), replace(WARM, temperature=1.0)]
    together = engine.generate(prompts, max_tokens=25, sampling=samplings)
    for prompt, sampling, found in zip(prompts, samplings, together, strict=True):
        (alone,) = engine.generate([prompt], max_tokens=25, sampling=sampling)
        assert found.tokens == alone.tokens


@given(st.text(st.sampled_from("abcxyz"), min_size=1, max_size=30), st.integers(1, 20), st.integers(0, 9))
@settings(max_examples=15)
def test_what_was_generated_may_as_well_have_been_given(prompt: str, cut: int, seed: int) -> None:
    sampling = replace(WARM, seed=seed)
    (whole,) = LETTERS.generate([prompt], max_tokens=25, sampling=sampling)
    (rest,) = LETTERS.generate([prompt + whole.text[:cut]], max_tokens=25 - cut, sampling=sampling)
    assert whole.text[cut:] == rest.text


def test_another_seed_is_another_text_and_the_same_seed_the_same() -> None:
    one, two, again = LETTERS.generate(["a"] * 3, max_tokens=20, sampling=[WARM, replace(WARM, seed=5), WARM])
    assert one.tokens == again.tokens != two.tokens


def test_streams_may_take_turns() -> None:
    expected = LETTERS.generate(["abc", "xyz"], max_tokens=10, sampling=WARM)
    one, other = (LETTERS.stream(prompt, max_tokens=10, sampling=WARM) for prompt in ("abc", "xyz"))
    turns = list(zip(one, other, strict=True))
    assert tuple(turn[0].token for turn in turns) == expected[0].tokens
    assert tuple(turn[1].token for turn in turns) == expected[1].tokens


def test_a_stream_works_as_it_is_read() -> None:
    stream = LETTERS.stream("abc", max_tokens=10**15, sampling=WARM)  # nobody waits for the end
    assert len([next(stream) for _ in range(20)]) == 20


def test_an_empty_prompt_begins_after_a_line_end() -> None:
    engine = Engine(decoder(BYTES), ByteTokenizer())
    empty, line = engine.generate(["", "\n"], max_tokens=10, sampling=WARM)
    assert empty.tokens == line.tokens


def test_an_empty_prompt_begins_with_some_token_where_there_is_no_line_end() -> None:
    class Mute(Letters):
        def encode(self, text: str) -> list[int]:
            return []

    (found,) = Engine(decoder(LLAMA), Mute()).generate([""], max_tokens=5, sampling=WARM)
    (expected,) = LETTERS.generate(["a"], max_tokens=5, sampling=WARM)
    assert found.tokens == expected.tokens


def test_a_token_that_the_tokenizer_has_not_is_never_drawn() -> None:
    engine = Engine(decoder(LLAMA), Letters(vocab=3))
    (found,) = engine.generate(["abc"], max_tokens=60, sampling=Sampling(temperature=50.0))
    assert set(found.tokens) == {0, 1, 2}


def test_characters_come_whole_from_a_model_of_bytes() -> None:
    engine = Engine(decoder(BYTES), ByteTokenizer())
    (whole,) = engine.generate(["é"], max_tokens=50, sampling=Sampling(temperature=9.0))
    assert whole.text == ByteTokenizer().decode(whole.tokens)
    pieces = list(engine.stream("é", max_tokens=50, sampling=Sampling(temperature=9.0)))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert "" in [piece.text for piece in pieces]


def test_dropout_is_for_training() -> None:
    spec = replace(GPT2, dropout=0.5)
    plain, dropping = Engine(decoder(GPT2), Letters()), Engine(decoder(spec).train(), Letters())
    assert (
        plain.generate(["a"], max_tokens=9, sampling=GREEDY)[0].tokens
        == dropping.generate(["a"], max_tokens=9, sampling=GREEDY)[0].tokens
    )


def test_no_prompt_no_answer() -> None:
    assert LETTERS.generate([], max_tokens=5) == ()


def test_a_run_is_answered_from(tmp_path) -> None:
    made = leave_run(tmp_path / "run")
    expected = Engine(made, ByteTokenizer()).generate(["def "], max_tokens=12, sampling=GREEDY)
    assert (
        Engine.of_run(tmp_path / "run").generate(["def "], max_tokens=12, sampling=GREEDY)[0].text == expected[0].text
    )


@pytest.mark.parametrize("count", [0, -3])
def test_fewer_than_one_token_is_refused(count: int) -> None:
    with pytest.raises(UnusableInput, match=f"max-tokens = {count}: a whole number of tokens from 1 on"):
        LETTERS.generate(["a"], max_tokens=count)
    with pytest.raises(UnusableInput, match="max-tokens"):
        LETTERS.stream("a", max_tokens=count)  # before the first piece is asked for


def test_a_broken_prompt_is_refused() -> None:
    with pytest.raises(UnusableInput, match="the prompt is not valid text: surrogates not allowed at character 2"):
        LETTERS.stream("ab\udcff", max_tokens=3)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    with pytest.raises(UnusableInput, match="the tokenizer has 256 tokens, and the model knows 26"):
        Engine(decoder(LLAMA), ByteTokenizer())


def test_there_is_one_sampling_a_prompt() -> None:
    with pytest.raises(ValueError, match="argument"):
        LETTERS.generate(["a", "b"], max_tokens=3, sampling=[WARM])


def test_weights_that_learnt_nothing_finite_are_named() -> None:
    made = decoder(LLAMA)
    with torch.no_grad():
        made.head.weight.fill_(torch.nan)
    with pytest.raises(UnusableInput, match="its training has diverged"):
        Engine(made, Letters()).generate(["a"], max_tokens=3)
