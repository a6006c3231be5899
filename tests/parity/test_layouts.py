"""Every layout, GPT-2- and Llama-shaped, tied and untied; dropout, clipping and SGD pairwise over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import pytest

from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

SEVEN_HEADS = {"hidden": 28, "heads": 7, "kv_heads": 7}
TWO_KV_HEADS = {"kv_heads": 2}
SEVEN_LAYERS = {"layers": 7}
SPLIT_SEQUENCE = {"tensor": 2, "sequence_parallel": True}  # 13 positions: 7 and 6

# name: the plan's degrees, and what the model has to be
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dp2": ({"data": 2}, {}),
    "dp3": ({"data": 3}, {}),
    "tp2": ({"tensor": 2, "microbatch": 4}, {}),
    "tp2 sp": ({**SPLIT_SEQUENCE, "microbatch": 4}, {}),
    "tp3": ({"tensor": 3, "microbatch": 6}, SEVEN_HEADS),
    "tp4": ({"tensor": 4, "microbatch": 6}, TWO_KV_HEADS),
    "pp2": ({"pipeline": 2}, SEVEN_LAYERS),
    "pp4": ({"pipeline": 4, "schedule": "gpipe"}, SEVEN_LAYERS),
    "dp2 tp2": ({"data": 2, **SPLIT_SEQUENCE}, {}),
    "dp2 pp2": ({"data": 2, "pipeline": 2}, {"layers": 3}),
    "tp2 pp2": ({**SPLIT_SEQUENCE, "pipeline": 2, "microbatch": 4}, {"layers": 3}),
    "dp2 tp2 pp2": ({"data": 2, **SPLIT_SEQUENCE, "pipeline": 2}, {"layers": 3}),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One layout with one choice of everything else."""

    layout: str
    shape: str
    tied: bool
    dropout: bool
    clipped: bool
    sgd: bool

    def __str__(self) -> str:
        on = [name for name in ("tied", "dropout", "clipped", "sgd") if getattr(self, name)]
        return "-".join([self.layout, self.shape, *on]).replace(" ", "_")

    @property
    def model(self) -> ModelSpec:
        base = GPT2 if self.shape == "gpt2" else LLAMA
        changes = {"tie_embeddings": self.tied, "dropout": 0.1 if self.dropout else 0.0, **LAYOUTS[self.layout][1]}
        return replace(base, **changes)

    @property
    def training(self) -> TrainingSpec:
        clip, optimizer = (BITING if self.clipped else 0.0), ("sgd" if self.sgd else "adamw")
        return replace(TRAINING, clip_norm=clip, optimizer=optimizer)

    @property
    def plan(self) -> Plan:
        return plan(**{"layers": self.model.layers, **LAYOUTS[self.layout][0]})


def cases() -> Iterator[Case]:
    """Four a layout. The three other choices turn with the layout, so that each pair of values meets somewhere."""
    for number, layout in enumerate(LAYOUTS):
        for shape, tied in product((0, 1), (0, 1)):
            yield Case(
                layout=layout,
                shape=("gpt2", "llama")[shape],
                tied=bool(tied),
                dropout=bool((shape ^ tied ^ number) & 1),
                clipped=bool((shape ^ number >> 1) & 1),
                sgd=bool((tied ^ number >> 2) & 1),
            )


CASES = list(cases())
CHOICES = ("shape", "tied", "dropout", "clipped", "sgd")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layout_is_the_same_model(parity, case):
    parity.holds(case.model, case.training, case.plan)


@pytest.mark.parametrize(("one", "other"), list(combinations(CHOICES, 2)))
def test_every_pair_of_choices_meets(one, other):
    assert len({(getattr(case, one), getattr(case, other)) for case in CASES}) == 4


@pytest.mark.parametrize("choice", CHOICES)
def test_every_layout_meets_every_choice(choice):
    assert len({(case.layout, getattr(case, choice)) for case in CASES}) == 2 * len(LAYOUTS)
