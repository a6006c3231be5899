"""Sequences of different lengths in one batch: what is padded counts for nothing, whoever has it."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.plans.plan import Plan
from plait.verification.compare import assembled, differing_copies
from tests.parity.harness import BOUND, GPT2, TRAINING, distance, plan

LENGTHS = {
    "random": (13, 4, 9, 1, 7, 2, 12, 3),
    "a rank without targets": (13, 4, 9, 1, 7, 0, 0, 0),  # of shares 5 and 3
    "a microbatch without targets": (13, 4, 0, 0, 7, 2, 0, 0),
}
PLANS = {
    "dp2": plan(data=2, data_shares=(5, 3)),
    "dp2, zero 3": plan(data=2, data_shares=(5, 3), zero=3),
    "dp2 tp2 sp": plan(data=2, tensor=2, data_shares=(5, 3), sequence_parallel=True),
    "dp2 pp2": plan(data=2, pipeline=2, data_shares=(5, 3)),
}


def decoder() -> Decoder:
    built = Decoder(GPT2, seed=0).to(torch.float64)
    initialise(built, GPT2, 0)
    return built


def experiment(chosen: Plan, kind: str):
    from plait.verification.source import Experiment

    lengths = torch.tensor(LENGTHS[kind])
    tokens = torch.randint(0, GPT2.vocab, (len(lengths), 14), generator=torch.Generator().manual_seed(0))
    padding = torch.arange(13)[None] >= lengths[:, None]
    batch = Sequences.of(tokens[:, :-1], tokens[:, 1:].masked_fill(padding, IGNORED))
    return Experiment.given(decoder, None, chosen, batch, TRAINING)


def reference(kind: str):
    from plait.verification.reference import reference_trace

    return reference_trace(experiment(plan(), kind), precision="fp64").trace


def candidate(chosen: Plan, kind: str):
    from plait.verification.candidate import candidate_trace

    return candidate_trace(experiment(chosen, kind), precision="fp64")


@pytest.fixture(scope="session")
def reference_of(rank_pools):
    return cache(lambda kind: rank_pools.run(1, reference, kind)[0])


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("name", PLANS)
def test_a_padded_batch_has_the_mean_of_its_targets(rank_pools, reference_of, name, kind):
    chosen = PLANS[name]
    ranks = rank_pools.run(chosen.ranks, candidate, chosen, kind)
    assert not differing_copies(ranks, chosen.mesh)
    whole, alone = assembled(ranks), reference_of(kind)
    assert whole.keys() == alone.keys()
    assert {entry: error for entry in alone if (error := distance(alone, whole, entry)) > BOUND} == {}
