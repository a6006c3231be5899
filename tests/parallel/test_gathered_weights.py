"""What of the weights really stands at each use under ZeRO 3, storages and receive buffers, beside the prediction."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from plait.collectives import c10d, process_groups
from plait.parallel import gathered_weights
from plait.parallel.gathered_weights import GatheredWeights
from plait.planner.stage import stage_of
from plait.planner.weight_volume import whole_elements
from plait.plans.fetching import Turn, Unit
from plait.training.optimizer import Optimizer
from tests.parallel.cases import GPT2, LLAMA, TRAINING, Case, plan
from tests.parallel.measured import build, decays, learn

EVEN = replace(GPT2, layers=4, vocab=64, max_positions=10)  # every rank keeps as much of each unit
CASES = [
    Case(name="tied", model=EVEN, plan=plan(data=2, zero=3, stages=(4,)), training=TRAINING),
    Case(
        name="blocks alone in a stage", model=replace(LLAMA, layers=5, vocab=64),
        plan=plan(data=2, pipeline=3, zero=3, stages=(1, 3, 1)), training=TRAINING,
    ),
    Case(
        name="several stages a rank", model=replace(EVEN, tie_embeddings=False),
        plan=plan(data=2, pipeline=2, zero=3, schedule="interleaved", virtual_stages=2, stages=(1,) * 4),
        training=TRAINING,
    ),
]  # fmt: skip


@dataclass
class Standing:
    """Bytes that stand on this rank, and the most of them that were seen since the last `begin`."""

    weights: Sequence[torch.Tensor] = ()
    received: list[tuple[StorageWeakRef, int]] = field(default_factory=list)
    most: int = 0

    def _now(self) -> int:
        self.received = [(storage, size) for storage, size in self.received if not storage.expired()]
        return sum(w.untyped_storage().nbytes() for w in self.weights) + sum(size for _, size in self.received)

    def look(self) -> None:
        if self._now() > self.most:
            time.sleep(0.02)  # gloo's thread may hold for a moment what it has just finished
            self.most = max(self.most, self._now())


@contextmanager
def watched(patch: pytest.MonkeyPatch) -> Iterator[tuple[Standing, list[tuple[Turn, int]]]]:
    """Within: what stands, and what there was at most during each use that has ended."""
    standing, seen = Standing(), []
    gather, put_back, use, walk = (
        c10d._ALL_GATHER, gathered_weights.put_back, GatheredWeights._use, gathered_weights.turns,
    )  # fmt: skip
    turn: list[Turn] = []

    def gathering(received, *rest, **more):
        standing.received.append((StorageWeakRef(received.untyped_storage()), received.nbytes))
        standing.look()
        return gather(received, *rest, **more)

    def putting(*pieces):
        standing.look()
        put_back(*pieces)

    def walking(known: Sequence[Unit], order: Sequence[int]) -> Iterator[Turn]:
        for one in walk(known, order):
            turn.append(one)
            yield one

    def using(weights: GatheredWeights, place: int) -> None:
        standing.most = 0
        use(weights, place)
        standing.look()
        seen.append((turn[-1], standing.most))

    patch.setattr(c10d, "_ALL_GATHER", gathering)
    patch.setattr(gathered_weights, "put_back", putting)
    patch.setattr(gathered_weights, "turns", walking)
    patch.setattr(GatheredWeights, "_use", using)
    yield standing, seen


def most_at_each_use(case: Case, shared: bool):
    """Of a steady step of this rank: each use with the most bytes that stood during it, the bytes of its units, and
    what is left after the step."""
    with pytest.MonkeyPatch.context() as patch, watched(patch) as (standing, seen):
        if not shared:
            patch.setitem(os.environ, "PLAIT_SHARED_MEMORY", "0")
            process_groups._made.clear()
        model = build(case)
        if not shared:
            process_groups._made.clear()
        optimizer = Optimizer(model.shards, model.gradients, decays(case), case.training)
        standing.weights = [one for one in model.decoder.parameters() if one.device.type != "meta"]
        learn(case, model, optimizer, 0)
        seen.clear()
        learn(case, model, optimizer, 1)
        sizes = [unit.elements * 4 for unit in model._weights._known]
        return seen, sizes, standing._now()


def expected(turn: Turn, sizes: Sequence[int]) -> int:
    """What is whole or on its way, and what is put together a second time."""
    arriving = max((sizes[number] for number in turn.arriving), default=0)
    return max(sum(sizes[n] for n in turn.there), arriving + sum(sizes[n] for n in turn.meanwhile))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_over_gloo_as_much_stands_at_each_use_as_is_predicted(run_on_ranks, case):
    for rank, (seen, sizes, left) in enumerate(run_on_ranks(case.plan.ranks, most_at_each_use, case, False)):
        assert [most for _, most in seen] == [expected(turn, sizes) for turn, _ in seen]
        stage = stage_of(case.model, case.training, case.plan, rank)
        place = case.plan.mesh.coordinate(rank, "pipeline")
        predicted = whole_elements(stage, case.training, case.plan, place, received=True)
        assert max(most for _, most in seen) == predicted * 4
        assert left == 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_on_shared_memory_nothing_stands_twice(run_on_ranks, case):
    for rank, (seen, sizes, left) in enumerate(run_on_ranks(case.plan.ranks, most_at_each_use, case, True)):
        assert all(most <= sum(sizes[n] for n in turn.there) for turn, most in seen)
        stage = stage_of(case.model, case.training, case.plan, rank)
        place = case.plan.mesh.coordinate(rank, "pipeline")
        assert max(most for _, most in seen) <= 4 * whole_elements(
            stage, case.training, case.plan, place, received=False
        )
        assert left == 0
