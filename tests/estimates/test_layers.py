"""One plan layer by layer: what can be made later of a backward, and that the parts are those of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates.layers import Layers, layers_of
from plait.estimates.step import times
from plait.estimates.task import Task
from tests.estimates.arranged import GPT, arranged, task

# next to nothing but products: long rows, short sequences, few words
WIDE = replace(GPT, hidden=8192, heads=64, kv_heads=64, ffn=32768, layers=8)


def layers(one: Task, **keys: int | str) -> Layers:
    """Of two stages alike."""
    return layers_of(one, arranged(pipeline=2, **keys), np.array([one.model.layers // 2] * 2))


@pytest.mark.parametrize(("recompute", "share"), [("none", 1 / 2), ("full", 1 / 3)])
def test_gradients_of_weights_are_a_product_of_three_and_of_four_where_forward_is_done_again(
    recompute: str, share: float
) -> None:
    block = layers(replace(task(WIDE), sequence=512), recompute=recompute, microbatch=8).blocks[0]
    assert block.weights / block.backward == pytest.approx(share, rel=0.08)
    assert block.weights / block.backward < share  # attention itself and element-wise work have no weights


def test_norms_behind_a_block_s_halves_take_as_long_as_those_before_them() -> None:
    """Each of the two is read and written once forward and twice backward, in two bytes a feature."""
    one = task(WIDE)
    plain, normed = (
        layers(replace(one, model=replace(WIDE, post_norms=more)), microbatch=8).blocks[0] for more in (False, True)
    )
    moved = one.constants.loose * 2 * (1 + 2) * 2 * 2 * 8 * 2048 * WIDE.hidden
    seconds = moved / (one.machines.device.memory_bandwidth * one.constants.moved)
    assert normed.seconds - plain.seconds == pytest.approx(seconds, rel=0.02)


def test_long_sequences_leave_them_less_of_backward() -> None:
    short, long = (
        layers(replace(task(WIDE), sequence=sequence), microbatch=32768 // sequence).blocks[0]
        for sequence in (512, 32768)
    )
    assert long.weights == pytest.approx(short.weights, rel=0.01)
    assert long.weights < 0.4 * long.backward


def test_neither_table_nor_head_is_made_later() -> None:
    found = layers(task())
    assert found.embedding.weights == found.head.weights == 0


def test_where_they_are_made_apart_they_hide_no_sum_over_the_tensor_axis() -> None:
    whole, apart = (layers(task(WIDE), tensor=4, schedule=kind).blocks[0] for kind in ("1f1b", "zb-h1"))
    assert apart.tensor > whole.tensor
    assert apart.backward - whole.backward == pytest.approx(apart.tensor - whole.tensor, rel=0.05)
    columns = times(task(), arranged(2, pipeline=2, tensor=4, schedule=[0, 3]))
    assert columns.tensor[1] > columns.tensor[0]
