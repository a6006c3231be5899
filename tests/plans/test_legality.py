"""A job is legal if and only if some complete plan for it can run, and what is said of an illegal one helps."""

from __future__ import annotations

import timeit
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import assume, given, settings

from plait.errors import IllegalJob
from plait.plans.arrangements import (
    arrangements,
    data_fits,
    divisors,
    divisors_near,
    even_stages,
    pipeline_fits,
    tensor_fits,
)
from plait.plans.completion import complete, with_most_ranks
from plait.plans.legality import is_legal, plan_problems, problems
from plait.plans.plan import Plan
from plait.plans.rule import with_value
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.specs.files import job_from_table
from tests.contract.golden import contract_table
from tests.plans.drawn import can_run, every_plan, jobs

CONTRACT = job_from_table(contract_table())
OPEN = replace(CONTRACT, constraints={})


def test_the_contract_s_job_and_plan_are_legal():
    assert problems(CONTRACT) == []
    assert plan_problems(CONTRACT, complete(CONTRACT)) == []


# ---- against every plan there is ------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(jobs())
def test_a_job_is_legal_if_and_only_if_a_plan_can_run(job):
    found = problems(job)
    assert (found == []) == is_legal(job) == any(can_run(job, plan) for plan in every_plan(job))


@settings(max_examples=60)
@given(jobs())
def test_a_plan_is_legal_if_and_only_if_it_can_run(job):
    for plan in every_plan(job):
        assert is_legal(replace(job, constraints=vars(plan))) == (plan_problems(job, plan) == []) == can_run(job, plan)


@given(jobs())
def test_plans_are_judged_without_the_job_s_own_wishes(job):
    free = replace(job, constraints={})
    assume(is_legal(free))
    plan = complete(free)
    assert plan_problems(job, plan) == []


@settings(max_examples=300)
@given(jobs())
def test_the_arrangements_are_all_there_are(job):
    ranks = job.cluster.ranks
    fixed = {axis: job.constraints[axis] for axis in AXES if axis in job.constraints}
    fits = {"data": data_fits, "tensor": tensor_fits, "pipeline": pipeline_fits}
    meshes = [MeshShape(pipeline=p, data=d, tensor=t) for p, d, t in product(divisors(ranks), repeat=3)]
    allowed = {
        mesh
        for mesh in meshes
        if mesh.ranks == ranks
        and fixed.items() <= vars(mesh).items()
        and all(fits[axis](job, mesh.size(axis)) for axis in AXES)
    }
    assert set(arrangements(job, ranks)) == allowed


# ---- what is said ---------------------------------------------------------------------------------------------------


@settings(max_examples=500)
@given(jobs())
def test_what_is_said_to_be_legal_mends_the_one_thing_that_is_wrong(job):
    found = problems(job)
    for value in found[0].legal if len(found) == 1 and not isinstance(found[0].legal, str) else ():
        left = problems(with_value(job, found[0].key, value))
        assert all("can't be" in problem.message for problem in left)  # the ranks: asked only when the rest is right


@given(jobs())
def test_following_the_advice_ends_somewhere(job):
    """Putting the first legal value of each problem mends that problem: none comes back under the same words."""
    for problem in problems(job):
        if not isinstance(problem.legal, str):
            mended = problems(with_value(job, problem.key, problem.legal[0]))
            assert problem.message not in [other.message for other in mended]


@given(jobs())
def test_a_key_that_is_unknown_is_not_judged(job):
    for problem in problems(job):
        again = problems(job, frozenset({problem.key}))
        assert problem.key not in {other.key for other in again} or problem not in again


def test_rules_that_one_value_mends_are_told_once():
    """tensor = 3 breaks the product and the length of a list; tensor = 1 mends both."""
    (problem,) = problems(with_value(CONTRACT, "plan.tensor", 3))
    assert (problem.key, problem.legal) == ("plan.tensor", (1,))


def test_independent_errors_are_all_told():
    job = replace(with_value(with_value(OPEN, "plan.tensor", 9), "plan.pipeline", 9), cluster=OPEN.cluster)
    job = with_value(with_value(job, "model.hidden", 121), "plan.microbatch", 17)
    assert [problem.key for problem in problems(job)] == [
        "model.hidden", "plan.tensor", "plan.pipeline", "plan.microbatch",
    ]  # fmt: skip


def told(**changes) -> list[str]:
    """What is said of the contract's job without its plan, with other values under some keys ("plan__tensor")."""
    job = OPEN
    for key, value in changes.items():
        job = with_value(job, key.replace("__", "."), value)
    return [f"{problem.key}: {problem.legal}" for problem in problems(job)]


def test_advice_builds_on_the_advice_before_it():
    """The cluster has 4 ranks, the model 5 heads: what is said of data holds with a tensor that fits both."""
    assert told(plan__data=3, plan__tensor=8, plan__pipeline=1) == [
        "plan.tensor: (1, 2, 3, 4, 5)",
        "plan.data: 1, once plan.tensor = 4",
    ]
    assert told(plan__data=2, plan__tensor=8, plan__pipeline=2, plan__tensor_shares=(1, 1, 1)) == [
        "plan.tensor: (1, 3)",
        "plan.tensor_shares: [1], once plan.tensor = 1",
    ]


def test_a_value_that_needs_company_says_which():
    assert told(model__layers=2, plan__stages=(2, 2, 2), cluster__ranks=3, plan__pipeline=3) == [
        "plan.pipeline: 1, with plan.stages = [2]",
    ]


def test_degrees_that_don_t_divide_the_ranks_are_told_beside_other_errors():
    assert told(cluster__ranks=17, plan__pipeline=3, model__layers=2) == [
        "plan.pipeline: (1,)",
        "cluster.ranks: (6, 9, 12, 15, 18, 21, 24, 27)",
    ]
    assert told(cluster__ranks=1024, plan__stages=(1,) * 7) == ["cluster.ranks: (560,)"]


def test_there_is_an_end_to_the_ranks_of_an_open_cluster():
    model = replace(OPEN.model, layers=2**16, heads=2**16, kv_heads=1, hidden=2**17, ffn=2**16, vocab=2**16)
    cluster = replace(OPEN.cluster, ranks=2, ranks_open=True)
    job = replace(OPEN, model=model, cluster=cluster, constraints={"tensor": 2**16, "pipeline": 2**10})
    (problem,) = problems(job, frozenset({"cluster.ranks"}))
    assert problem.key == "plan.tensor"
    assert max(problem.legal) == 2**10
    assert "67108864 ranks" in problem.message


def test_a_model_is_not_changed_for_the_sake_of_a_plan():
    """60 heads would mend both; but the plan is to fit the model."""
    assert [line.split(":")[0] for line in told(model__kv_heads=12, plan__tensor=41)] == [
        "model.kv_heads",
        "plan.tensor",
    ]


@pytest.mark.parametrize(
    ("ranks", "offered"),
    [(17, (12, 13, 14, 15, 16, 18, 20, 21)), (2**20, (560,)), (19, (14, 15, 16, 18, 20, 21, 22, 24))],
)
def test_ranks_that_nothing_fills_come_with_those_that_something_does(ranks, offered):
    """16 sequences, 5 heads, 7 layers: at most 16 · 5 · 7 ranks."""
    (problem,) = problems(with_value(OPEN, "cluster.ranks", ranks))
    assert problem.key == "cluster.ranks"
    assert problem.legal == offered


def test_a_plan_is_judged_in_microseconds():
    asked = replace(CONTRACT, constraints=vars(complete(CONTRACT)))
    assert min(timeit.repeat(lambda: is_legal(asked), number=100, repeat=5)) / 100 < 500e-6


# ---- completion -----------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(jobs())
def test_a_completed_plan_keeps_what_is_fixed_and_is_legal(job):
    if not is_legal(job):
        with pytest.raises(IllegalJob):
            complete(job)
        return
    plan = complete(job)
    assert can_run(job, plan)
    assert job.constraints.items() <= vars(plan).items()


def test_choices_go_before_the_constraints():
    plan = complete(CONTRACT, microbatch=4, schedule="gpipe")
    assert (plan.microbatch, plan.schedule, plan.stages) == (4, "gpipe", (4, 3))


def test_what_nobody_chose():
    plan = complete(OPEN, pipeline=2, data=1)
    assert plan == Plan(pipeline=2, tensor=2, stages=(4, 3), tensor_shares=(1, 1))
    double = complete(replace(OPEN, training=replace(OPEN.training, precision="fp64")))
    assert double.gradient_precision == "fp64"


@given(jobs())
def test_the_most_ranks_are_filled(job):
    settled = with_most_ranks(job)
    fillable = [r for r in range(1, job.cluster.ranks + 1) if next(arrangements(job, r), None)]
    if fillable:
        assert settled.cluster.ranks == max(fillable)


def test_there_may_have_to_be_more_ranks_than_there_are():
    """Five stages of a machine with fewer cores."""
    job = replace(OPEN, constraints={"stages": (1, 1, 1, 1, 3)}, cluster=replace(OPEN.cluster, ranks=2))
    assert with_most_ranks(job).cluster.ranks == 5


# ---- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 12, 97, 2**20, 720720])
def test_divisors(number):
    assert divisors(number) == tuple(d for d in range(1, number + 1) if number % d == 0)


def test_divisors_near():
    assert divisors_near(12, 5) == [4, 6, 3, 2, 1, 12]
    assert divisors_near(2**62, 8)[:3] == [8, 4, 2]


def test_stages_are_even():
    assert even_stages(7, 2) == (4, 3)
    assert even_stages(7, 3) == (3, 2, 2)
    assert even_stages(4, 4) == (1, 1, 1, 1)
