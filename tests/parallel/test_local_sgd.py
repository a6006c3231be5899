"""Replicas that learn alone: every H steps they have equal weights, send 1/H of the bytes, and with H = 1 and plain SGD
they are dense mathematics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from plait.collectives.c10d import C10d
from plait.collectives.process_groups import Group, Mesh
from plait.collectives.recorder import record
from plait.collectives.shared_memory import SharedMemory
from plait.planner.communication_volume import traffic_of_step
from plait.plans.meetings import dense_steps
from plait.plans.plan import Plan
from plait.plans.prediction import Traffic
from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at
from plait.training.optimizer import Optimizer
from tests.parallel.cases import FP64, GPT2, LLAMA, Case, case, plan, rows_of
from tests.parallel.measured import build, decays, learn

PLAIN = replace(FP64, optimizer="sgd", betas=(0.0, 0.95), clip_norm=0.0, learning_rate=0.1, warmup_steps=0)


def weights_after(one: Case, steps: int) -> list[tuple[dict[str, torch.Tensor], int]]:
    """After each step this rank's weights, and how many bytes went along the data axis, but for the loss."""
    model = build(one)
    optimizer = Optimizer(model.shards, model.gradients, decays(one), one.training, unfused=model.displaced)
    found = []
    for step in range(steps):
        with record() as recorder:
            learn(one, model, optimizer, step)
        sent = sum(row.bytes * row.count for row in recorder.traffic() if row.axis == "data" and row.bytes > 8)
        found.append(({name: weight.detach().clone() for name, weight in model.weights.items()}, sent))
    return found


def test_with_one_step_and_plain_sgd_it_is_dense(run_on_ranks):
    dense = run_on_ranks(2, weights_after, case("dense", GPT2, plan(data=2), PLAIN), 3)
    alone = run_on_ranks(2, weights_after, case("sgd", GPT2, plan(data=2, synchronisation="local-sgd"), PLAIN), 3)
    for (expected, _), (found, _) in zip(dense[0], alone[0], strict=True):
        for name, weight in expected.items():
            torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shares", [(3, 1), (1, 2)])
def test_rows_weigh_alike_wherever_they_are(run_on_ranks, shares):
    """With one step and plain SGD a mean of weights is dense only if replicas count by their targets."""
    uneven = plan(data=2, data_shares=shares)
    dense = run_on_ranks(2, weights_after, case("dense", GPT2, uneven, PLAIN), 3)
    alone = replace(uneven, synchronisation="local-sgd")
    for compression in ("none", "topk:1"):
        found = run_on_ranks(2, weights_after, case("sgd", GPT2, replace(alone, compression=compression), PLAIN), 3)
        for (expected, _), (weights, _) in zip(dense[0], found[0], strict=True):
            for name, weight in expected.items():
                torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-14)


def test_a_replica_counts_by_all_its_targets_since_the_last_meeting(run_on_ranks):
    """One of them learns alone: the mean is its, for another step, and then a mean."""
    (found, _), (other, _) = run_on_ranks(
        2, weighed, case("sgd", GPT2, plan(data=2, synchronisation="local-sgd"), PLAIN)
    )
    assert found == other == [7 / 8, 0.0, 0.5]


def weighed(one: Case) -> tuple[list[float], int]:
    """What an average of replicas with weights 0 and 1 is: by 7 targets of 8, by none, and where nobody counted."""
    model = build(one)
    place = model.mesh.coordinate("data")
    found = []
    for own, of in (((1, 7)[place], 8), ((4, 0)[place], 4), (0, 0)):
        for weight in model.shards.values():
            weight.data.fill_(float(place))
        model._averaging.learns_from(own, of)
        assert model.average(dict(model.shards), "meets")
        values = {float(value) for weight in model.shards.values() for value in (weight.min(), weight.max())}
        assert len(values) == 1
        found += values
    return found, place


@pytest.mark.parametrize(
    "more",
    [
        {"synchronisation": "local-sgd"},
        {"synchronisation": "diloco"},
        {"synchronisation": "local-sgd", "compression": "powersgd:1"},
        {"synchronisation": "diloco", "compression": "int8"},
    ],
    ids=lambda more: "-".join(more.values()),
)
def test_they_meet_every_h_steps_and_send_a_part(run_on_ranks, more):
    training = TrainingSpec(global_batch=6, sequence_length=9, warmup_steps=0)
    one = case("alone", GPT2, plan(data=3, local_steps=3, **more), training)
    ranks = run_on_ranks(3, weights_after, one, 6)
    every = run_on_ranks(3, weights_after, replace(one, plan=replace(one.plan, local_steps=1)), 6)
    for step in range(6):
        meeting = (step + 1) % 3 == 0
        (first, sent), *others = (rank[step] for rank in ranks)
        alike = all(torch.equal(first[name], other[name]) for other, _ in others for name in first)
        assert (alike, sent > 0) == (meeting, meeting)
    total, dense = (sum(sent for _, sent in runs[0]) for runs in (ranks, every))
    assert 3 * total == dense


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_what_ranks_hold_in_common_stays_alike(run_on_ranks, compression):
    """Four tensor ranks with two kv heads: what is compressed of their copies would not be the same."""
    model = replace(LLAMA, bias=True)
    shape = {"data": 2, "tensor": 4, "synchronisation": "diloco", "compression": compression}
    ranks = run_on_ranks(8, weights_after, case("copies", model, plan(**shape), FP64), 3)
    norm, copy = "model.norm.weight", "model.layers.0.self_attn.k_proj.weight"
    for step in range(3):
        found = [rank[step][0] for rank in ranks]
        assert all(torch.equal(found[0][norm], one[norm]) for one in found)
        assert all(torch.equal(found[place][copy], found[4 + place][copy]) for place in range(4))  # replicas
        assert torch.equal(found[2][copy], found[3][copy])  # both read the second kv head alone


def outer_steps(one: Case) -> float:
    """The largest distance from torch's own SGD, of weights that replicas have moved by random amounts, three times."""
    model = build(one)
    masters = dict(model.shards)
    expected = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in masters.items()}
    outer = torch.optim.SGD(expected.values(), lr=0.7, momentum=1 - 0.7 / 2**0.5, nesterov=True)
    for step in range(3):
        moved = {}
        for name, weight in masters.items():
            both = torch.randn(2, *weight.shape, dtype=weight.dtype, generator=torch.Generator().manual_seed(step))
            weight.data.add_(both[model.mesh.coordinate("data")])
            moved[name] = both.mean(0)
        for name, weight in expected.items():
            weight.grad = -moved[name]
        outer.step()
        assert model.average(masters, "meets")
    return max(float((masters[name] - weight).abs().max()) for name, weight in expected.items())


def test_the_outer_step_is_nesterov_s(run_on_ranks):
    one = case("outer", GPT2, plan(data=2, synchronisation="diloco"), FP64)
    assert max(run_on_ranks(2, outer_steps, one)) < 1e-13


def test_the_last_step_of_a_run_brings_them_together(run_on_ranks):
    training = replace(FP64, steps=2)
    one = case("short", GPT2, plan(data=2, local_steps=8, synchronisation="diloco"), training)
    first, second = run_on_ranks(2, weights_after, one, 2)
    assert not all(torch.equal(first[0][0][name], second[0][0][name]) for name in first[0][0])
    assert all(torch.equal(first[1][0][name], second[1][0][name]) for name in first[1][0])


def test_who_learns_alone_is_said():
    alone = Plan(data=2, data_shares=(1, 1), stages=(2,), synchronisation="diloco", local_steps=8)
    assert alone.averages
    assert not replace(alone, data=1, data_shares=(1,)).averages
    assert not replace(alone, synchronisation="all-reduce").averages


# ---- averages that arrive a step later -----------------------------------------------------------------------------

STEPS = 11
MOMENTUM = 1 - 0.7 / 2**0.5  # of two replicas
RUN = replace(FP64, steps=STEPS, warmup_steps=1, learning_rate=1e-2)


def weights_of_a_late_run(one: Case) -> tuple[list[dict[str, torch.Tensor]], list[list[Traffic]]]:
    """After each step this rank's weights; and what it had said along the data axis. As if shared memory went on by
    itself."""
    with mock.patch.object(SharedMemory, "in_background", new=True):
        return weights_and_messages(one)


def weights_over_gloo(one: Case) -> tuple[list[dict[str, torch.Tensor]], list[list[Traffic]]]:
    """The same over a wire that does."""
    group = dist.group.WORLD
    assert group is not None
    assert group.size() == 2
    over = Group(axis="data", ranks=(0, 1), index=dist.get_rank(), wire=C10d(group, (0, 1), dist.get_rank()))
    axis = Mesh.axis
    with mock.patch.object(Mesh, "axis", lambda mesh, name: over if name == "data" else axis(mesh, name)):
        return weights_and_messages(one)


def weights_and_messages(one: Case) -> tuple[list[dict[str, torch.Tensor]], list[list[Traffic]]]:
    model = build(one)
    optimizer = Optimizer(model.shards, model.gradients, decays(one), one.training, unfused=model.displaced)
    weights, messages = [], []
    for step in range(one.training.steps):
        with record() as recorder:
            learn(one, model, optimizer, step)
        messages.append([row for row in recorder.traffic() if row.axis == "data"])
        weights.append({name: weight.detach().clone() for name, weight in model.weights.items()})
    return weights, messages


def late_replicas(one: Case) -> list[list[dict[str, torch.Tensor]]]:
    """What each of two replicas has after each step, from the definition: one process, no collective."""
    alone = replace(one, plan=replace(one.plan, data=1, data_shares=(1,), synchronisation="all-reduce", local_steps=1))
    replicas = [build(alone) for _ in range(2)]
    optimizers = [Optimizer(m.shards, m.gradients, decays(one), one.training) for m in replicas]
    anchor = {name: weight.detach().clone() for name, weight in replicas[0].weights.items()}
    velocity = {name: torch.zeros_like(weight) for name, weight in anchor.items()}
    left: list[dict[str, torch.Tensor]] = []  # the replicas' weights when the meeting under way began

    def arrive() -> None:
        outer = one.plan.synchronisation == "diloco"
        for name, old in anchor.items():
            moved = old - torch.stack([weights[name] for weights in left]).mean(0)
            velocity[name] = MOMENTUM * velocity[name] + moved
            new = old - 0.7 * (moved + MOMENTUM * velocity[name]) if outer else old - moved
            for replica, weights in zip(replicas, left, strict=True):
                replica.weights[name].data.add_(new - weights[name])
            anchor[name] = new
        left.clear()

    found: list[list[dict[str, torch.Tensor]]] = [[], []]
    for step in range(one.training.steps):
        dense, last = step < dense_steps(one.plan, one.training), step + 1 == one.training.steps
        for rank, replica in enumerate(replicas):
            rows = rows_of(one, rank, step)
            replica.forward_backward(rows, (2 if dense else 1) * rows.positions.numel() * len(rows.samples))
        if dense:
            for name in anchor:
                total = torch.stack([replica.gradients[name] for replica in replicas]).sum(0)
                for replica in replicas:
                    replica.gradients[name].copy_(total)
        for replica, optimizer in zip(replicas, optimizers, strict=True):
            replica.clip_gradients(one.training.clip_norm)
            optimizer.step(learning_rate_at(step, one.training))
        if dense:
            anchor = {name: weight.detach().clone() for name, weight in replicas[0].weights.items()}
        else:
            if left:
                arrive()
            if last or (step + 1) % one.plan.local_steps == 0:
                left = [{name: weight.detach().clone() for name, weight in r.weights.items()} for r in replicas]
            if last:
                arrive()
        for rank, replica in enumerate(replicas):
            found[rank].append({name: weight.detach().clone() for name, weight in replica.weights.items()})
    return found


@pytest.mark.parametrize("how", ["local-sgd", "diloco"])
@pytest.mark.parametrize("run", [weights_of_a_late_run, weights_over_gloo])
def test_averages_that_arrive_late_are_those_of_the_definition(run_on_ranks, how, run):
    one = case("late", GPT2, plan(data=2, local_steps=3, synchronisation=how), RUN)
    (expected,) = run_on_ranks(1, late_replicas, one)
    found = [weights for weights, _ in run_on_ranks(2, run, one)]
    for step in range(STEPS):
        for rank in range(2):
            for name, weight in expected[rank][step].items():
                torch.testing.assert_close(found[rank][step][name], weight, rtol=0, atol=1e-13)
    alike = [all(torch.equal(found[0][step][name], found[1][step][name]) for name in found[0][0]) for step in range(11)]
    assert alike == [True] * 3 + [False] * 7 + [True]  # dense, alone (none of them is ever the other), settled


@pytest.mark.parametrize("compression", ["none", "int8", "powersgd:1"])
def test_late_or_not_the_messages_are_those_predicted(run_on_ranks, compression):
    """One meeting in three steps, whichever step its messages are sent in; dense sums in the first three."""
    chosen = plan(data=2, local_steps=3, synchronisation="diloco", compression=compression)
    one = case("counted", GPT2, chosen, RUN)
    predicted = traffic_of_step(GPT2, RUN, chosen, 0)
    whole = traffic_of_step(GPT2, RUN, replace(chosen, compression="none"), 0)
    report = next(row for row in predicted if row.axis == "data" and row.bytes == 8)
    meeting = counted(row for row in predicted if row.axis == "data" and row != report)
    dense = counted(row for row in whole if row.axis == "data" and row != report)
    for run in (weights_of_a_late_run, weights_and_messages):
        for _, messages in run_on_ranks(2, run, one):
            said = [counted(row for row in step if row != report) for step in messages]
            assert said[:3] == [dense] * 3
            assert all(report in step for step in messages)
            # steps 6 and 9 (from 1), and the last: what is late of the first two is sent in the step after them
            assert sum(said[3:], Counter()) == Counter({row: 3 * count for row, count in meeting.items()})


def counted(rows: Iterable[Traffic]) -> Counter[tuple[str, int]]:
    """How often each message."""
    return Counter({(row.kind, row.bytes): row.count for row in rows})


def test_with_one_step_nothing_is_late(run_on_ranks):
    one = case("each", GPT2, plan(data=2, synchronisation="local-sgd"), replace(RUN, steps=4))
    late, plain = (run_on_ranks(2, run, one) for run in (weights_of_a_late_run, weights_and_messages))
    for (found, _), (expected, _) in zip(late, plain, strict=True):
        assert all(torch.equal(a[n], b[n]) for a, b in zip(found, expected, strict=True) for n in a)


@pytest.mark.parametrize("form", ["local-sgd", "diloco", "powersgd:1", "topk:0.1"])
def test_at_first_all_is_dense(run_on_ranks, form):
    key = "compression" if ":" in form else "synchronisation"
    training = replace(FP64, warmup_steps=1)
    lossy = run_on_ranks(2, weights_after, case("lossy", GPT2, plan(data=2, local_steps=1, **{key: form}), training), 4)
    dense = run_on_ranks(2, weights_after, case("dense", GPT2, plan(data=2), training), 4)
    same = [all(torch.equal(lossy[0][s][0][n], dense[0][s][0][n]) for n in dense[0][0][0]) for s in range(4)]
    assert same == [True, True, True, False]
