"""The exact numbers of each rank are those that the planner's own parts give, and of every rank of the plan."""

from __future__ import annotations

import pytest

from plait.planner.flops import flops_of_step
from plait.planner.memory import memory_of
from plait.planner.stage import stage_of
from plait.planner.work import work_of_ranks
from tests.parallel.cases import CASES


@pytest.mark.parametrize("case", [case for case in CASES if case.training.precision == "fp32"], ids=str)
def test_they_are_the_planner_s(case):
    found = work_of_ranks(case.model, case.training, case.plan)
    assert len(found) == case.plan.ranks
    for rank, work in enumerate(found):
        memory = memory_of(case.model, case.training, case.plan, rank)
        flops = flops_of_step(case.model, case.training, case.plan, rank)
        assert sum(work.forward_flops.values()) == flops.forward
        assert work.backward_flops == flops.backward
        assert (work.weight_bytes, work.gradient_bytes) == (memory.weights, memory.gradients)
        stage = stage_of(case.model, case.training, case.plan, rank)
        copies = 2 * 4 * stage.kept_elements if case.plan.offloads else 0  # masters and gradients, in host memory
        assert work.optimizer_bytes == memory.optimizer + memory.host - copies
