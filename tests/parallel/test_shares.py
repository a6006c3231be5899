"""Nobody holds or computes what is not theirs: every element lives somewhere, copies where they must, no padding.

Ideal shares are units / ranks. What a rank really has is less than one unit off; of key/value heads it has those that
its query heads read, which may begin and end within a group.
"""

from __future__ import annotations

from math import ceil, prod

import numpy as np
import pytest
import torch

from plait.models.gpt import Decoder
from tests.parallel.cases import CASES, GPT2, Case

EQUAL = [case for case in CASES if len(set(case.plan.tensor_shares)) == 1 and case.plan.zero < 3]
KINDS = {  # the names of weights that show a rank's share: of the vocabulary, of ffn features, of features of heads
    "learned": {"vocab": "transformer.wte.weight", "ffn": "mlp.c_fc.bias", "heads": "attn.c_proj.weight"},
    "rope": {"vocab": "model.embed_tokens.weight", "ffn": "mlp.up_proj.weight", "heads": "self_attn.v_proj.weight"},
}


def whole_shapes(case: Case) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in Decoder(case.model).named_parameters()}


def one_replica(case: Case) -> list[int]:
    """The ranks that hold the model once: under ZeRO 3 all of them."""
    ranks = range(case.plan.ranks)
    return [rank for rank in ranks if case.plan.zero == 3 or case.plan.mesh.coordinate(rank, "data") == 0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_element_counts_once(measured, case):
    elements = sum(prod(shape) for shape in whole_shapes(case).values())
    for one in measured(case):
        assert round(one.norm_of_ones**2) == elements


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_element_is_held_and_only_copies_twice(measured, case):
    ranks = measured(case)
    for name, shape in whole_shapes(case).items():
        holders = np.zeros(shape, dtype=int)
        for rank in one_replica(case):
            if name in ranks[rank].shapes:
                index = [np.concatenate([np.arange(*pair) for pair in dim]) for dim in ranks[rank].intervals[name]]
                holders[np.ix_(*index)] += 1
                assert ranks[rank].shapes[name] == tuple(map(len, index))
        assert (holders == expected_holders(case, name)).all()


def expected_holders(case: Case, name: str) -> np.ndarray:
    """On how many ranks of a replica each element lives, by rows: replicated weights on all tensor ranks of a stage,
    tied ones on two of its ranks, a key/value head on every rank that has one of its readers."""
    if "k_proj" in name or "v_proj" in name:
        return holders_of_kv_heads(case).repeat(case.model.head_dim)[:, None]
    replicated = any(part in name for part in ("norm", "ln_", "wpe", "c_proj.bias"))
    apart = case.plan.stage_rank[0] != case.plan.last_place  # a V ends where it began
    tied = case.model.tie_embeddings and apart and ("wte" in name or "embed_tokens" in name)
    return np.array((case.plan.tensor if replicated else 1) * (2 if tied else 1))


def holders_of_kv_heads(case: Case) -> np.ndarray:
    heads_of_rank = np.array_split(np.arange(case.model.heads), case.plan.tensor)
    readers = case.model.queries_per_kv_head
    kv_heads_of_rank = [set((heads // readers).tolist()) for heads in heads_of_rank]
    return np.array([sum(head in held for held in kv_heads_of_rank) for head in range(case.model.kv_heads)])


def share(case: Case, shapes: dict[str, tuple[int, ...]], kind: str) -> int | None:
    """Rows (or biases) of the first weight of a kind on one rank; None where its stage has none."""
    suffix = KINDS[case.model.positions][kind]
    return next((shape[0] for name, shape in shapes.items() if name.endswith(suffix)), None)


@pytest.mark.parametrize("case", EQUAL, ids=str)
def test_shares_are_less_than_a_unit_off_the_ideal(measured, case):
    model, tensor = case.model, case.plan.tensor
    for one in measured(case):
        vocab, ffn, features = (share(case, one.shapes, kind) for kind in ("vocab", "ffn", "heads"))
        assert vocab is None or abs(vocab - model.vocab / tensor) < 1
        assert ffn is not None
        assert abs(ffn - model.ffn / tensor) < 1
        assert features is not None
        heads, rest = divmod(features, model.head_dim)
        assert rest == 0
        if model.kv_heads == model.heads:
            assert abs(heads - model.heads / tensor) < 1
        else:
            assert heads <= ceil(ceil(model.heads / tensor) / model.queries_per_kv_head) + 1


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.model == GPT2 and "powersgd" not in case.plan.compression], ids=str
)
def test_all_ranks_together_compute_what_one_does(measured, case):
    (one_rank,) = measured(next(case for case in CASES if case.plan.ranks == 1))
    assert sum(one.flops for one in measured(case)) == one_rank.flops
