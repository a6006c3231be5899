"""What the planner prices is what the runtime performs: predicted, recorded and really passed messages are the same.

    traffic_of_step      what the planner says
    record               what the collectives' interface notes
    count_on_the_wire    the tensors that were handed to torch.distributed

Eight plans are counted by hand as well, every row a line of arithmetic, none taken from the code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
import torch.distributed as dist

from plait.collectives.functional import all_reduce
from plait.collectives.process_groups import build_mesh
from plait.models.mlp import MLP
from plait.planner.communication_volume import traffic_of_step
from plait.sharding.mesh_shape import AXES
from tests.parallel.cases import CASES, Case
from tests.parallel.measured import Measured, measure

Rows = Mapping[tuple[str, str, int], int]  # axis, kind, bytes: count
BY_NAME = {case.name: case for case in CASES}


def predicted_rows(case: Case, rank: int) -> Rows:
    return {(t.axis, t.kind, t.bytes): t.count for t in traffic_of_step(case.model, case.training, case.plan, rank)}


def recorded_rows(one: Measured) -> Rows:
    return {(t.axis, t.kind, t.bytes): t.count for t in one.traffic}


def passed_rows(one: Measured, case: Case, rank: int) -> Rows:
    rows: Counter[tuple[str, str, int]] = Counter()
    for (ranks, kind, size), count in one.wire.items():
        axis = next(axis for axis in AXES if set(ranks) <= set(case.plan.mesh.group(rank, axis)))
        rows[axis, kind, size] += count
    return dict(rows)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_predicted_is_recorded_is_passed(measured, case):
    for rank, one in enumerate(measured(case)):
        assert recorded_rows(one) == predicted_rows(case, rank)
        assert recorded_rows(one) == passed_rows(one, case, rank)


# ---- by hand ----------------------------------------------------------------------------------------------------
#
# 6 sequences of 9 tokens, in microbatches of 2 where data = 1: 3 of them; numbers of 4 bytes. A residual stream of 24
# features is 2·9·24·4 = 1728 bytes. 2 blocks cross 10 times: 1 leave of the embedding, 2 enters and 2 leaves a block,
# 1 enter of the head. Without sequence parallelism each crossing is one all-reduce, a leave's forward, an enter's
# backward: 3·10 = 30. The loss takes two: the largest logit of 2·9 tokens is 72 bytes; the sum of the exponentials and
# the target's logit together are 144.

TENSOR = {("tensor", "all_reduce", 1728): 30, ("tensor", "all_reduce", 72): 3, ("tensor", "all_reduce", 144): 3}
CLIPPING = {("tensor", "all_reduce", 8): 1}


def dp2(rank: int) -> Rows:
    # wte 67·24 = 1608, wpe 9·24 = 216; a block has norms 4·24 = 96, c_attn 24·72 + 72 = 1800, c_proj 24·24 + 24 = 600,
    # c_fc 24·50 + 50 = 1250, mlp.c_proj 50·24 + 24 = 1224: 4970; ln_f 48. 1608 + 216 + 2·4970 + 48 = 11812, · 4 bytes
    return {("data", "all_reduce", 47248): 1, ("data", "all_reduce", 8): 1}  # one bucket; the loss


def tp2(rank: int) -> Rows:
    return TENSOR | CLIPPING


def tp2_sequence_parallel(rank: int) -> Rows:
    return {
        # each crossing is a gather one way and a scatter the other; 9 tokens are 5 and 4, on the wire 5 and 5
        ("tensor", "all_gather", 2 * 10 * 24 * 4): 30,
        ("tensor", "reduce_scatter", 2 * 10 * 24 * 4): 30,
        ("tensor", "all_reduce", 72): 3,
        ("tensor", "all_reduce", 144): 3,
        # what acts on one's own tokens only: 5 norms of 48, 2·2 biases of 24 after a product split by rows, wpe 216
        ("tensor", "all_reduce", (240 + 96 + 216) * 4): 1,
        ("tensor", "all_reduce", 8): 1,
    }


def tp4_on_2_kv_heads(rank: int) -> Rows:
    # query heads 0 1 | 2 3 | 4 | 5 read kv heads 0 | 0 1 | 1 | 1. k and v of one kv head in both blocks are
    # 2·2·4·24 = 384 numbers; they are summed over ranks 0 and 1 for kv head 0, over 1, 2 and 3 for the other
    return TENSOR | CLIPPING | {("tensor", "all_reduce", 1536): 2 if rank == 1 else 1}


def pp2_tied(rank: int) -> Rows:
    return {
        ("pipeline", "send", 1728): 3,  # activations from rank 0, their gradients from rank 1
        ("pipeline", "receive", 1728): 3,
        ("pipeline", "all_reduce", 1608 * 4): 1,  # wte's gradient
        ("pipeline", "all_reduce", 8): 1,
    }


def all_three_axes(rank: int) -> Rows:
    """Microbatches of 1: 3 a data rank. A stage is one block of 48 + 2568 numbers and a table of 34 or 33 rows."""
    stage, tensor = rank // 4, rank % 2
    tokens, rows = (5, 34) if tensor == 0 else (4, 33)
    # q 12·24, k and v 4·24 each, o 24·12; gate, up and down 25·24 each: 288 + 192 + 288 + 1800 = 2568
    norms = 48 if stage == 0 else 48 + 24
    both = {
        ("tensor", "all_gather", 10 * 24 * 4): 15,  # 5 crossings a stage: the block's 4, and embedding or head
        ("tensor", "reduce_scatter", 10 * 24 * 4): 15,
        ("tensor", "all_reduce", norms * 4): 1,
        ("tensor", "all_reduce", 8): 1,
        ("pipeline", "send", tokens * 24 * 4): 3,
        ("pipeline", "receive", tokens * 24 * 4): 3,
        ("pipeline", "all_reduce", rows * 24 * 4): 1,
        ("pipeline", "all_reduce", 8): 1,
        ("data", "all_reduce", (norms + 2568 + rows * 24) * 4): 1,
    }
    loss = {("tensor", "all_reduce", 9 * 4): 3, ("tensor", "all_reduce", 2 * 9 * 4): 3, ("data", "all_reduce", 8): 1}
    return both | loss if stage == 1 else both


# Two data ranks share rows: of wte 34 and 33, of wpe 5 and 4, of all else half each; on the wire both as many as the
# first: 34·24 + 5·24 + (11812 - 1608 - 216) / 2 = 5930 numbers
LOSS_AND_NORM = {("data", "all_reduce", 8): 2}


def dp2_zero_1(rank: int) -> Rows:
    both = 2 * 5930 * 4
    return {("data", "reduce_scatter", both): 1, ("data", "all_gather", both): 1} | LOSS_AND_NORM


def dp2_zero_3(rank: int) -> Rows:
    # a microbatch uses embedding, blocks 0 and 1, head; head, blocks 1 and 0. wte is fetched for the embedding, given
    # up for block 1, fetched for the head: 2 · 3; wpe once a microbatch; block 0 in each backward, and for the first
    # forward (later it is still there): 3 + 1; block 1 and ln_f once a microbatch
    return {
        ("data", "all_gather", 2 * 34 * 24 * 4): 6,
        ("data", "all_gather", 2 * 5 * 24 * 4): 3,
        ("data", "all_gather", 4970 * 4): 4 + 3,
        ("data", "all_gather", 48 * 4): 3,
        ("data", "reduce_scatter", 2 * 5930 * 4): 3,
        ("data", "all_reduce", 8): 3,  # how many microbatches there are at most, the loss, the norm
    }


BY_HAND = {
    "dp2, zero 1": dp2_zero_1,
    "dp2, zero 3": dp2_zero_3,
    "dp2": dp2,
    "tp2": tp2,
    "tp2, sequence parallel": tp2_sequence_parallel,
    "tp4, 2 kv heads": tp4_on_2_kv_heads,
    "pp2, gpipe": pp2_tied,
    "all axes, sequence parallel": all_three_axes,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_count_by_hand(measured, name):
    case = BY_NAME[name]
    for rank, one in enumerate(measured(case)):
        expected = BY_HAND[name](rank)
        assert recorded_rows(one) == expected
        assert predicted_rows(case, rank) == expected
        assert passed_rows(one, case, rank) == expected


# ---- what should not be there -----------------------------------------------------------------------------------


def measure_with_stray(case: Case, *, noted: bool) -> Measured:
    """`measure`, while every MLP says something that no rule asks for: through our collectives, or past them."""
    plain, group = MLP.forward, build_mesh(case.plan.mesh).axis("tensor")

    def straying(mlp, x, sequences):
        stray = x.detach().clone()
        all_reduce(stray, group).wait() if noted else dist.all_reduce(stray)
        return plain(mlp, x, sequences)

    MLP.forward = straying
    try:
        return measure(case)
    finally:
        MLP.forward = plain


STRAYS = {("tensor", "all_reduce", 1728): 36}  # 30 and, in 2 blocks, 3 microbatches each


def measure_with_noted_stray(case: Case) -> Measured:
    return measure_with_stray(case, noted=True)


def test_a_stray_collective_is_not_what_was_predicted(run_on_ranks):
    for rank, one in enumerate(run_on_ranks(2, measure_with_noted_stray, BY_NAME["tp2"])):
        assert recorded_rows(one) == predicted_rows(BY_NAME["tp2"], rank) | STRAYS
        assert recorded_rows(one) == passed_rows(one, BY_NAME["tp2"], rank)


def measure_with_hidden_stray(case: Case) -> Measured:
    return measure_with_stray(case, noted=False)


def test_a_collective_past_the_recorder_is_on_the_wire(run_on_ranks):
    for rank, one in enumerate(run_on_ranks(2, measure_with_hidden_stray, BY_NAME["tp2"])):
        assert recorded_rows(one) == predicted_rows(BY_NAME["tp2"], rank)
        assert passed_rows(one, BY_NAME["tp2"], rank) == recorded_rows(one) | STRAYS
