"""Sampling: which tokens are left, how often each is drawn, and what a draw depends on."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import UnusableInput
from plait.inference.sampler import Sampling, gumbel_noise, kept, sample

SCORES = st.lists(st.integers(-40, 0).map(lambda tenth: tenth / 10), min_size=1, max_size=30)


def left_by_hand(scores: list[float], top_k: int, top_p: float) -> list[int]:
    """The rule in words: of the top_k best, the fewest whose probabilities reach top_p; and all equals of those."""
    order = sorted(scores, reverse=True)
    if top_k:
        order = [score for score in order if score >= order[min(top_k, len(order)) - 1]]
    total, reached, least = sum(math.exp(score) for score in order), 0.0, order[0]
    for score in order:
        if reached >= top_p:
            break
        least = score
        reached += math.exp(score) / total
    return [token for token, score in enumerate(scores) if score >= least]


@given(SCORES, st.integers(0, 40), st.sampled_from([0.05, 0.3, 0.777, 0.95, 1.0]))
def test_what_top_k_and_top_p_leave(scores: list[float], top_k: int, top_p: float) -> None:
    found = kept(torch.tensor(scores, dtype=torch.float64), Sampling(top_k=top_k, top_p=top_p))
    assert found.tolist() == left_by_hand(scores, top_k, top_p)


def test_transformers_leaves_the_same() -> None:
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    generator = torch.Generator().manual_seed(0)
    for top_k, top_p in ((5, 1.0), (0, 0.9), (20, 0.5), (1, 0.1), (50, 0.99)):
        scores = 3 * torch.randn(50, generator=generator, dtype=torch.float64)
        theirs = scores[None]
        if top_k:
            theirs = TopKLogitsWarper(top_k)(None, theirs)
        if top_p < 1:
            theirs = TopPLogitsWarper(top_p)(None, theirs)
        left = theirs[0].isfinite().nonzero().squeeze(1)
        assert torch.equal(kept(scores, Sampling(top_k=top_k, top_p=top_p)), left)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5), Sampling(temperature=3.0), Sampling(top_k=3), Sampling(top_p=0.8)],
    ids=["plain", "cold", "hot", "top-k", "top-p"],
)
def test_each_token_is_drawn_as_often_as_it_is_probable(sampling: Sampling) -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0], dtype=torch.float64)
    left = kept(logits / sampling.temperature, sampling)
    expected = (logits[left] / sampling.temperature).softmax(0)
    draws = 1500
    counts = Counter(sample(logits, sampling, position) for position in range(draws))
    assert set(counts) <= set(left.tolist())
    pairs = [(counts[token], draws * p) for token, p in zip(left.tolist(), expected.tolist(), strict=True)]
    # chi-square of at most 5 degrees of freedom: one in a thousand is larger; the draws are always the same
    assert sum((count - mean) ** 2 / mean for count, mean in pairs) < 21


def test_the_noise_is_gumbel_s() -> None:
    noise = gumbel_noise(1, 2, torch.arange(200_000))
    assert noise.isfinite().all()
    assert abs(noise.mean() - 0.5772156649) < 0.01
    assert abs(noise.var() - math.pi**2 / 6) < 0.02
    assert abs((noise < 0).double().mean() - math.exp(-1)) < 0.005


def test_the_noise_of_a_token_knows_nothing_of_the_others() -> None:
    everything = gumbel_noise(7, 11, torch.arange(1000))
    some = torch.tensor([999, 3, 500])
    assert torch.equal(gumbel_noise(7, 11, some), everything[some])
    assert not torch.equal(gumbel_noise(8, 11, some), everything[some])
    assert not torch.equal(gumbel_noise(7, 12, some), everything[some])


@given(SCORES, st.integers(0, 5), st.integers(0, 100))
def test_a_draw_is_the_largest_of_score_and_noise_among_those_left(scores, seed: int, position: int) -> None:
    sampling = Sampling(temperature=0.7, top_k=4, top_p=0.9, seed=seed)
    logits = torch.tensor(scores, dtype=torch.float64)
    scaled = (logits - logits.max()) / 0.7
    noisy = scaled + gumbel_noise(seed, position, torch.arange(len(scores)))
    left = kept(scaled, sampling)
    assert sample(logits, sampling, position) == int(left[noisy[left].argmax()])


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0), Sampling(temperature=5e-324), Sampling(top_k=1), Sampling(top_p=1e-9)]
)
@given(scores=st.permutations([3.0, 1.0, 2.0, -5.0]), position=st.integers(0, 50))
def test_there_are_four_ways_to_ask_for_the_best(sampling: Sampling, scores: list[float], position: int) -> None:
    assert sample(torch.tensor(scores), sampling, position) == scores.index(3.0)


def test_the_first_of_equals_is_the_best() -> None:
    assert sample(torch.tensor([0.0, 2.0, 2.0, 1.0]), Sampling(temperature=0), 0) == 1


def test_a_token_that_can_not_be_is_never_drawn() -> None:
    logits = torch.tensor([0.0, -math.inf, 0.0])
    drawn = {sample(logits, sampling, n) for n in range(50) for sampling in (Sampling(), Sampling(top_k=3, top_p=0.99))}
    assert drawn == {0, 2}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0), Sampling(top_k=2, top_p=0.5)])
def test_logits_that_are_no_numbers_are_refused(value: float, sampling: Sampling) -> None:
    with pytest.raises(UnusableInput, match="logits are not finite: its training has diverged"):
        sample(torch.tensor([0.0, value, 1.0]), sampling, 0)


def test_so_are_logits_that_leave_nothing() -> None:
    with pytest.raises(UnusableInput, match="not finite"):
        sample(torch.full((3,), -math.inf), Sampling(), 0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": -0.1}, "temperature = -0.1: a number from 0"),
        ({"temperature": math.nan}, "temperature = nan"),
        ({"temperature": math.inf}, "temperature = inf"),
        ({"top_k": -1}, "top-k = -1: a whole number"),
        ({"top_p": 0.0}, "top-p = 0.0: a probability above 0"),
        ({"top_p": 1.1}, "top-p = 1.1"),
        ({"top_p": math.nan}, "top-p = nan"),
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(UnusableInput) as caught:
        Sampling(**wrong)
    assert words in str(caught.value)
