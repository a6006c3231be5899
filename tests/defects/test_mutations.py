"""Mutations are found everywhere and always the same, are planted and taken out without a trace, and are caught."""

from __future__ import annotations

import ast
import inspect
import pickle
import sys
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import plait
from plait.collectives import functional, recorder
from plait.collectives.process_groups import Group
from plait.defects.mutation_sites import OPERATORS
from plait.defects.mutations import Mutation, mutations, planted
from plait.errors import RankFailure
from plait.launchers import carry
from plait.parallel import data_parallel, gradients
from plait.planner.work import work_of_ranks
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.verify import verify_plan

SOURCE = Path(plait.__file__).parent
MODULES = {f"plait.{room}.{file.stem}" for room in ("parallel", "collectives") for file in (SOURCE / room).glob("*.py")}

LEFT_OUT = (  # instruments and interfaces; what only several hosts, or lossy sums, go through
    "__init__", "links", "profiled", "contents", "wire",
    "background", "between_hosts", "cheapest", "columns", "halves", "hierarchical", "halving_doubling", "hosts_first",
    "levels", "packed", "payloads", "peers", "ring", "stepwise",
    "codecs", "compression", "powersgd", "residual", "rounded", "topk",
    "beside", "local_sgd", "parameter_server", "parameter_service", "parameter_shard", "synchronous_server",
)  # fmt: skip


def the(place: str, operator: str, after: str) -> Mutation:
    """The first in a function ("parallel.gradients:clip") that puts this there."""
    found = [one for one in mutations() if one.key.startswith(f"{place} | {operator} | ") and one.after == after]
    assert found, f"no longer there: {place} {operator} {after}"
    return found[0]


def test_they_are_found_in_every_module_by_every_operator_and_always_the_same():
    found = mutations()
    mutations.cache_clear()
    assert mutations() == found
    assert len({mutation.key for mutation in found}) == len(found) > 250
    assert {mutation.operator for mutation in found} == set(OPERATORS)
    assert {mutation.module for mutation in found} == {
        name for name in MODULES if name.rpartition(".")[2] not in LEFT_OUT
    }
    assert min(sum(mutation.operator == operator for mutation in found) for operator in OPERATORS) > 30


def test_no_site_is_an_error_s_words_an_annotation_or_a_clock():
    for mutation in mutations():
        assert not ast.parse(mutation.after).body or mutation.before != mutation.after
        assert "perf_counter" not in mutation.before
        assert not mutation.before.startswith(("f'", "raise", "assert"))
    assert not [one for one in mutations() if one.qualname == "_moved" and "takes a" in one.before]


def functions_of_plait() -> dict[tuple[str, ...], Any]:
    """Everything that a planting might leave behind, by its place."""
    found: dict[tuple[str, ...], Any] = {}
    for path, module in list(sys.modules.items()):
        if path.partition(".")[0] == "plait":
            for name, value in vars(module).items():
                found[path, name] = value
                if inspect.isclass(value) and path in MODULES:
                    found.update({(path, name, key): member for key, member in vars(value).items()})
    return found


def test_each_can_be_planted_and_taken_out_without_a_trace():
    for module in MODULES:
        import_module(module)
    before = functions_of_plait()
    for mutation in mutations():
        place = (mutation.module, *mutation.qualname.split("."))
        with planted(pickle.loads(pickle.dumps(mutation))):
            assert stands_at(place) is not before[place], mutation
        assert stands_at(place) is before[place]
    after = functions_of_plait()
    assert after.keys() == before.keys()
    assert not [place for place, value in after.items() if value is not before[place]]


def stands_at(place: tuple[str, ...]) -> object:
    module, *path = place
    owner: Any = sys.modules[module]
    for name in path[:-1]:
        owner = getattr(owner, name)
    return inspect.getattr_static(owner, path[-1])


def test_a_function_is_replaced_wherever_it_was_imported_by_name():
    original = functional.all_reduce
    group = Group(axis="data", ranks=(0,), index=0)
    mutation = the("collectives.functional:all_reduce", "wrong choice", "(group.wire is not None)")
    with planted(mutation):
        assert gradients.all_reduce is data_parallel.all_reduce is functional.all_reduce is not original
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'all_reduce'"):
            gradients.all_reduce(torch.ones(1), group)
    assert gradients.all_reduce is data_parallel.all_reduce is functional.all_reduce is original
    assert gradients.all_reduce(torch.ones(1), group).wait() == 1


def test_what_is_decorated_stays_so():
    append = "_listening.append(recorder)"
    with planted(the("collectives.recorder:record", "double", f"{append}\n{append}")):
        with recorder.record() as twice:
            recorder.note("data", "all_reduce", 4)
        assert [row.count for row in twice.traffic()] == [2]
        recorder._listening.clear()
    with recorder.record() as once:
        recorder.note("data", "all_reduce", 4)
    assert [row.count for row in once.traffic()] == [1]


def test_it_is_put_back_where_the_block_raises():
    original, multiply = gradients.clip, "gradients.mul_(scale)"

    def clip_and_fail() -> None:
        with planted(the("parallel.gradients:clip", "double", f"{multiply}\n{multiply}")):
            twice = torch.ones(1, dtype=torch.float64)
            gradients.clip([twice], 2.0, 1.0)
            assert twice.item() == pytest.approx(0.25)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        clip_and_fail()
    assert gradients.clip is original


def test_a_mutation_of_another_source_is_refused():
    mutation = replace(mutations()[0], before="something else")
    with pytest.raises(ValueError, match="the source has changed"), planted(mutation):
        pass


GPT2 = ModelSpec(layers=2, hidden=12, heads=3, kv_heads=3, ffn=18, vocab=31, max_positions=9)
TRAINING = TrainingSpec(global_batch=4, sequence_length=9, warmup_steps=0, clip_norm=0.1)
ONE = Plan(stages=(2,), microbatch=2)
DP2 = replace(ONE, data=2, data_shares=(1, 1), microbatch=1, bucket_bytes=2048)
TP2 = replace(ONE, tensor=2, tensor_shares=(1, 1))
SP2 = replace(TP2, sequence_parallel=True)
PP2 = replace(ONE, pipeline=2, stages=(1, 1), microbatch=1)

SUM = "perform_reductions(self.gradients, self._sums)"
SAMPLE = {  # drawn with a fixed seed from what a campaign caught; with the plan, and what departs first
    "cross where alone": ("collectives.crossing:cross", "wrong choice", "(group.size != 1)", TP2, "embedding"),
    "twice what crossed": ("collectives.crossing:cross", "wrong scale", "return 2 * (result)", TP2, "embedding"),
    "said of another axis": (
        "collectives.point_to_point:start_transfers", "wrong group",
        "('tensor' if group.axis == 'data' else 'data')", PP2, "receive of 432 bytes",
    ),
    "a norm unrooted": ("parallel.gradients:global_norm", "drop", "total", DP2, "norm"),
    "a bucket twice as large": (
        "parallel.data_parallel:GradientBuffers.finish", "wrong scale", "handle.wait().mul_(2)", DP2, "transformer.",
    ),
    "a norm of nothing": ("parallel.gradients:global_norm", "wrong choice", "(not pieces)", DP2, "norm"),
    "summed twice": (
        "parallel.model:ParallelModel.sum_gradients", "double", f"{SUM}\n{SUM}", SP2, "transformer.ln_f.bias",
    ),
    "half of the loss's gradient": (
        "parallel.pipeline_executor:_Performance._backward", "wrong scale", "(self._loss_scale * 0.5)", PP2, "",
    ),
    "a row product without its bias": (
        "parallel.tensor_parallel:_RowMultiply.__call__", "drop", "(whole)", TP2, "transformer.h.1.mlp.c_proj.bias",
    ),
    "tokens of another rank's rows": (
        "parallel.tensor_parallel:_VocabularyLookup.__call__", "drop",
        "(F.embedding(torch.where(here, tokens - start, 0), weight))", TP2, "embedding",
    ),
    "softmax alone": ("parallel.tensor_parallel:_SplitCrossEntropy.backward", "drop", "(softmax)", TP2, "transformer."),
    "a gradient that never leaves": ("parallel.pipeline_executor:_Performance._backward", "drop", "pass", PP2, None),
}  # fmt: skip


@pytest.mark.parametrize(("place", "operator", "after", "plan", "departs"), SAMPLE.values(), ids=SAMPLE.keys())
def test_verify_catches_a_sample(run_on_ranks, place, operator, after, plan, departs):
    context = partial(planted, the(place, operator, after))
    job = Job(model=GPT2, training=TRAINING)
    if departs is None:
        with carry(context), pytest.raises(RankFailure):
            verify_plan(job, plan, run=run_on_ranks, work_of=work_of_ranks)
        return
    with carry(context):
        found = verify_plan(job, plan, run=run_on_ranks, work_of=work_of_ranks)
    assert found.verdict == "BUG"
    assert found.culprit is not None
    assert found.culprit.tensor.startswith(departs)


def test_the_same_jobs_are_sound_without_them(run_on_ranks):
    for plan in (DP2, TP2, SP2, PP2):
        found = verify_plan(Job(model=GPT2, training=TRAINING), plan, run=run_on_ranks, work_of=work_of_ranks)
        assert found.verdict in ("EXACT", "REASSOCIATION", "ZERO")
