"""The run that is judged: every rank tells what it holds and where, and a step can begin from a given state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.defects import plant
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.compare import assembled, largest, largest_difference
from plait.verification.trace import Entry, RankTrace, Trace
from tests.verification import own_defects  # noqa: F401  (defining them registers them)

MODEL = ModelSpec(layers=2, hidden=12, heads=3, kv_heads=3, ffn=18, vocab=31, max_positions=9)
TRAINING = TrainingSpec(global_batch=4, sequence_length=9, learning_rate=1e-2, warmup_steps=0, clip_norm=0.1)
REPLICAS = Plan(data=2, data_shares=(1, 1), stages=(2,), microbatch=2)
SPLIT = Plan(tensor=2, tensor_shares=(1, 1), stages=(2,), microbatch=4, sequence_parallel=True)
STAGES = Plan(pipeline=2, stages=(1, 1), microbatch=2)


def reference(microbatch: int) -> Trace:
    from plait.verification.reference import reference_trace
    from plait.verification.source import Experiment

    experiment = Experiment.of(MODEL, TRAINING, Plan(stages=(2,), microbatch=microbatch))
    return reference_trace(experiment, precision="fp64").trace


def candidate(plan: Plan, state: Trace | None = None) -> RankTrace:
    from plait.verification.candidate import candidate_trace
    from plait.verification.source import Experiment

    return candidate_trace(Experiment.of(MODEL, TRAINING, plan), precision="fp64", state=state)


def distances(one: Trace, other: Trace) -> dict[Entry, float]:
    return {entry: largest_difference(one[entry], other[entry]) / (largest(one[entry]) or 1) for entry in one}


@pytest.mark.parametrize("plan", [REPLICAS, SPLIT, STAGES], ids=["replicas", "split", "stages"])
def test_the_ranks_together_have_what_the_reference_has(run_on_ranks, plan):
    plain = run_on_ranks(1, reference, plan.microbatch)[0]
    whole = assembled(run_on_ranks(2, candidate, plan))
    assert whole.keys() == plain.keys()
    assert max(distances(plain, whole).values()) < 1e-11


def test_values_lie_where_the_plan_puts_them(run_on_ranks):
    value = Entry(2, "value", "block 1/gradient")
    by_rows = run_on_ranks(2, candidate, REPLICAS)
    assert [rank.tensors[value].shape for rank in by_rows] == [(2, 9, 12)] * 2
    assert [rank.intervals["block 1"][0] for rank in by_rows] == [((0, 2),), ((2, 4),)]
    by_positions = run_on_ranks(2, candidate, SPLIT)
    assert [rank.tensors[value].shape for rank in by_positions] == [(4, 5, 12), (4, 4, 12)]
    first, second = run_on_ranks(2, candidate, STAGES)
    assert value not in first.tensors
    assert value in second.tensors


@pytest.mark.parametrize("plan", [REPLICAS, SPLIT, STAGES], ids=["replicas", "split", "stages"])
def test_a_second_step_from_the_reference_s_state_forgets_the_first(run_on_ranks, plan):
    """The first step's update goes wrong; the second step is right where it begins from the reference's state."""
    plain = run_on_ranks(1, reference, plan.microbatch)[0]
    with plant("first-update-too-long"):
        judged = distances(plain, assembled(run_on_ranks(2, candidate, plan, plain)))
        free = distances(plain, assembled(run_on_ranks(2, candidate, plan)))
    weight, loss = Entry(1, "weight", "transformer.wte.weight"), Entry(2, "loss", "loss")
    assert judged[weight] == free[weight] > 1e-3
    assert free[loss] > 1e-6
    assert max(error for entry, error in judged.items() if entry.step == 2) < 1e-11


def test_what_is_noted_is_not_changed_afterwards(run_on_ranks):
    """The gradient before clipping is kept, though it is clipped in place."""
    plain = run_on_ranks(1, reference, 2)[0]
    rank = run_on_ranks(2, candidate, REPLICAS)[0]
    entry = Entry(1, "gradient", "transformer.ln_f.weight")
    assert largest_difference(plain[entry], rank.tensors[entry]) < 1e-14
    clipped = rank.tensors[Entry(1, "gradient", f"{entry.name}/clipped")]
    assert largest(clipped) < largest(rank.tensors[entry])
    assert not np.shares_memory(clipped, rank.tensors[entry])


def test_without_clipping_there_is_no_norm(run_on_ranks):
    rank = run_on_ranks(1, unclipped)[0]
    assert not [entry for entry in rank.tensors if entry.kind == "norm" or entry.name.endswith("/clipped")]


def unclipped() -> RankTrace:
    from plait.verification.candidate import candidate_trace
    from plait.verification.source import Experiment

    alone = Experiment.of(MODEL, replace(TRAINING, clip_norm=0.0), Plan(stages=(2,), microbatch=4))
    return candidate_trace(alone, precision="fp32", steps=1)
