"""What is suspicious is told once, under its key, and what is usual is not."""

from dataclasses import replace

import pytest

from plait.plans.cautions import cautions
from plait.plans.planned import Caution
from plait.plans.report import Report
from plait.plans.rule import with_value
from plait.specs.files import job_from_table
from tests.contract.golden import contract_table

CONTRACT = job_from_table(contract_table())
OPEN = replace(CONTRACT, constraints={})


def test_the_contract_s_job_is_not_suspicious():
    assert cautions(CONTRACT, cores=4) == []


@pytest.mark.parametrize(
    ("key", "value", "suspicious", "word"),
    [
        ("training.learning_rate", 0.0, "training.learning_rate", "nothing"),
        ("training.warmup_steps", 201, "training.warmup_steps", "longer"),
        ("training.sequence_length", 1, "training.sequence_length", "1 token"),
        ("plan.microbatch", 8, "plan.pipeline", "1 microbatch for 2 stages"),
        ("plan.sequence_parallel", True, "plan.sequence_parallel", "nothing"),
        ("training.precision", "fp64", "plan.gradient_precision", "fp64"),
        ("cluster.ranks", 5, "cluster.ranks", "4 cores"),
        ("cluster.inter_link", "ib-hdr", "cluster.inter_link", "name `nodes`, or let torchrun"),
        ("training.learning_rate", 3.0, "training.learning_rate", "far above"),
        ("training.weight_decay", 1.0, "training.weight_decay", "faster than they learn"),
        ("training.betas", (0.95, 0.9), "training.betas", "swapped"),
        ("data.validation_fraction", 0.98, "data.validation_fraction", "98%"),
        ("model.dropout", 0.9, "model.dropout", "more than it keeps"),
        ("model.norm_eps", 1.0, "model.norm_eps", "usual"),
        ("model.vocab", 50257, "model.vocab", "1003 tokens"),
        ("plan.offload", "optimizer", "plan.offload", "nothing on a CPU"),
        ("plan.bucket_bytes", 25, "plan.bucket_bytes", "counts bytes"),
    ],
)
def test_what_is_suspicious(key, value, suspicious, word):
    (caution,) = cautions(with_value(CONTRACT, key, value), cores=4)
    assert caution.key == suspicious
    assert word in caution.message


def test_offload_is_suspicious_where_there_is_no_accelerator():
    asked = with_value(CONTRACT, "plan.offload", "optimizer")
    assert cautions(asked, cores=4, accelerated=True) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.warmup_steps", 200),
        ("plan.microbatch", 4),
        ("training.sequence_length", 2),
        ("cluster.ranks", 4),
        ("training.learning_rate", 0.1),
        ("data.validation_fraction", 0.5),
        ("model.dropout", 0.5),
        ("model.norm_eps", 1e-2),
        ("model.vocab", 2006),
        ("plan.bucket_bytes", 1024),
    ],
)
def test_what_is_just_usual(key, value):
    assert cautions(with_value(CONTRACT, key, value), cores=4) == []


@pytest.mark.parametrize(("ranks", "told"), [(4, False), (8, False), (10, True)])
def test_ranks_share_the_cores_of_their_own_host_alone(ranks, told):
    apart = replace(CONTRACT, cluster=replace(CONTRACT.cluster, ranks=ranks, nodes=2))
    found = [caution.message for caution in cautions(apart, cores=4) if caution.key == "cluster.ranks"]
    assert found == (["5 ranks share the 4 cores of each host: they will wait for each other"] if told else [])


def coarse(steps, warm_up, **plan):
    job = with_value(with_value(CONTRACT, "training.steps", steps), "training.warmup_steps", warm_up)
    for key, value in plan.items():
        job = with_value(job, f"plan.{key}", value)
    return job


DILOCO = {"synchronisation": "diloco", "local_steps": 4}
FORMS = [DILOCO, DILOCO | {"synchronisation": "local-sgd"}, {"compression": "powersgd:4"}, {"compression": "topk:0.1"}]


@pytest.mark.parametrize("plan", FORMS)
def test_a_dense_beginning_that_fills_the_run_is_told_with_what_would_end_it(plan):
    (caution,) = cautions(coarse(100, 40, **plan), cores=4)
    assert caution.key == "training.warmup_steps"
    assert "all 100 steps are dense" in caution.message
    assert "above 120" in caution.message
    assert "at most 33" in caution.message
    assert cautions(coarse(99, 33, **plan), cores=4) != []
    assert cautions(coarse(100, 33, **plan | {"local_steps": 1}), cores=4) == []
    assert cautions(coarse(121, 40, **plan | {"local_steps": 1}), cores=4) == []
    unknown = frozenset({"training.steps"})
    assert cautions(coarse(100, 40, **plan), 4, unknown) == []


@pytest.mark.parametrize("form", ["none", "fp16", "bf16", "int8", "powersgd:0"])
def test_what_does_not_begin_dense_may_warm_up_for_long(form):
    assert cautions(coarse(100, 40, compression=form), cores=4) == []


def test_steps_alone_beyond_the_end_of_the_run_are_told():
    (caution,) = cautions(coarse(200, 20, synchronisation="diloco", local_steps=141), cores=4)
    assert caution.key == "plan.local_steps"
    assert "141 is more than the 140 steps that follow 60 dense ones" in caution.message
    (caution,) = cautions(coarse(200, 20, synchronisation="diloco", local_steps=50), cores=4)
    assert "replicas meet 3 times in the 140 steps that follow 60 dense ones" in caution.message
    assert cautions(coarse(200, 20, synchronisation="diloco", local_steps=40), cores=4) == []
    (caution,) = cautions(coarse(200, 0, synchronisation="local-sgd", local_steps=201), cores=4)
    assert "the 200 steps of the run" in caution.message


def test_replicas_that_are_never_alone_are_told_of_the_key():
    unsaid = with_value(with_value(OPEN, "plan.synchronisation", "local-sgd"), "plan.data", 2)
    (caution,) = cautions(unsaid, cores=4)
    assert caution.key == "plan.local_steps"
    assert "saves no message" in caution.message
    assert cautions(coarse(200, 0, synchronisation="local-sgd", local_steps=1), cores=4) == []


@pytest.mark.parametrize(("data", "servers", "told"), [(2, 1, True), (3, 1, True), (4, 1, False), (3, 0, False)])
def test_ranks_that_serve_alone_are_told_where_they_are_many(data, servers, told):
    served = {"synchronisation": "parameter-server", "data": data, "servers": servers, "data_shares": ()}
    keys = [caution.key for caution in cautions(coarse(200, 0, **served), cores=8)]
    assert ("plan.servers" in keys) == told


def test_one_replica_has_nobody_to_begin_dense_with():
    alone = {"data": 1, "data_shares": (1,), "pipeline": 2}
    for plan in (DILOCO | {"local_steps": 400}, {"compression": "powersgd:4"}):
        keys = {caution.key for caution in cautions(coarse(100, 40, **plan | alone), cores=4)}
        assert not keys & {"training.warmup_steps", "plan.local_steps"}


def test_an_open_plan_may_still_have_enough_microbatches():
    assert cautions(with_value(OPEN, "plan.pipeline", 7), cores=4) == []
    assert [c.key for c in cautions(with_value(with_value(OPEN, "plan.pipeline", 7), "plan.data", 8), 4)] == [
        "plan.pipeline"
    ]


def test_nothing_is_said_of_what_stands_in_for_something_else():
    job = with_value(CONTRACT, "training.warmup_steps", 500)
    assert [caution.key for caution in cautions(job, 4)] == ["training.warmup_steps"]
    assert cautions(job, 4, frozenset({"training.steps"})) == []


def test_what_could_not_be_looked_at_is_said():
    (caution,) = cautions(CONTRACT, 4, texts_seen=False)
    assert caution.key == "data.text"
    assert "in time" in caution.message


def test_a_larger_rate_is_the_optimizer_s_matter():
    assert (
        cautions(with_value(with_value(CONTRACT, "training.optimizer", "sgd"), "training.learning_rate", 0.5), 4) == []
    )


def test_warnings_forbid_nothing():
    assert Report(warnings=(Caution(key="cluster.ranks", message="many"),)).ok
    assert {"ok": True, "errors": [], "warnings": []}.items() <= Report().document().items()
