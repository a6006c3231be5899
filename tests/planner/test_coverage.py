"""What was not measured is said; what was, is not."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from plait.planner.coverage import corrected_by_runs, doubts, outside_what_was_measured
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import predict
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.links import Transfer
from plait.specs.measurements import (
    Attention,
    Correction,
    Gemm,
    Host,
    MemoryBound,
    MemoryBoundKind,
    Optimizer,
    Processor,
)
from tests.planner.machines import machine
from tests.planner.shapes import GPT2, TRAINING

CORNERS = [(m, n, k) for m in (1, 64) for n in (1, 64) for k in (1, 64)]
MEASURED = replace(
    machine(),
    gemm=tuple(Gemm(m=m, n=n, k=k, dtype="fp32", flops_per_second=1e9) for m, n, k in CORNERS),
    attention=tuple(
        Attention(batch=1, heads=1, seq=size, head_dim=size, dtype="fp32", forward_seconds=1e-6, backward_seconds=1e-6)
        for size in (1, 64)
    ),
    memory_bound=tuple(
        MemoryBound(kind=kind, elements=64, width=8, dtype="fp32", forward_seconds=1e-6, backward_seconds=1e-6)
        for kind in get_args(MemoryBoundKind)
    ),
    optimizer=(Optimizer(name="adamw", tensors=1, parameters=1, seconds=1e-6),),
)


def told(plan, measurements=MEASURED, model=GPT2, cluster=None):
    return outside_what_was_measured(plan, JobPrices(model, TRAINING, measurements, cluster))


def test_nothing_is_said_of_what_was_measured():
    assert told(Plan(stages=(2,))) == ()
    assert told(Plan(data=2, pipeline=2, stages=(1, 1), data_shares=(1, 1))) == ()


def test_kinds_of_operations_that_were_not_timed():
    plan, rest = Plan(stages=(2,)), "was timed in fp32: products and the memory's bandwidth speak for what is missing"
    without_norms = tuple(one for one in MEASURED.memory_bound if "norm" not in one.kind)
    assert told(plan, replace(MEASURED, memory_bound=without_norms)) == (f"no layer norm {rest}",)
    assert told(plan, replace(MEASURED, attention=(), optimizer=())) == (f"no attention, adamw {rest}",)
    (words,) = told(plan, replace(MEASURED, attention=(), memory_bound=(), optimizer=()))
    assert words.startswith("no add, attention, copy, cross entropy, ")
    assert (
        told(replace(plan, offload="optimizer"), replace(MEASURED, optimizer=()))[:1]
        == told(replace(plan, offload="optimizer"))[:1]
    )


def test_a_group_that_was_not_measured():
    (words,) = told(Plan(data=3, stages=(2,), data_shares=(1,) * 3))
    assert words.startswith("links between 3 data ranks were not measured")


def test_speeds_that_were_not_measured():
    pair, four = (Plan(data=n, stages=(2,), data_shares=(1,) * n) for n in (2, 4))
    unlike, alike = (replace(MEASURED, speeds=speeds) for speeds in ((1.0, 0.5), (1.0, 0.95)))
    assert told(pair, unlike) == told(four, alike) == ()
    (words,) = told(four, unlike)
    assert words.startswith("ranks differ in speed, and some of these were not measured")
    hosts = ClusterSpec(ranks=4, nodes=2, inter_link="ethernet-1gbit")
    assert any(words == one for one in told(four, unlike, cluster=hosts))


def test_a_link_that_was_not_measured():
    alone = replace(MEASURED, collectives=tuple(link for link in MEASURED.collectives if link.kind == "all_reduce"))
    assert told(Plan(pipeline=2, stages=(1, 1)), alone) == (
        "sends were not measured: another collective's formula speaks for them",
    )
    # between hosts it is another link, and of a host's own nothing is asked
    apart = ClusterSpec(ranks=2, nodes=2, inter_link="ethernet-1gbit")
    assert told(Plan(pipeline=2, stages=(1, 1)), alone, cluster=apart) == ()


def test_a_product_beyond_the_measured_shapes():
    (words,) = told(Plan(stages=(2,), microbatch=4), model=replace(GPT2, vocab=100))
    # 24 tokens, 8 features, 100 columns: forward, and two gradients; the others have at most 64 on a side
    assert words == "3 of 15 products lie outside the measured shapes (the largest: 100 × 8 × 24)"


def test_the_search_passes_it_on():
    job = Job(model=GPT2, training=TRAINING, cluster=ClusterSpec(ranks=1))
    assert search(job, MEASURED).guesses == ()
    assert len(search(replace(job, model=replace(GPT2, vocab=100)), MEASURED).guesses) == 1


def test_links_between_hosts_that_nobody_has_said_or_measured():
    plan, two = Plan(data=2, stages=(2,), data_shares=(1, 1)), ClusterSpec(ranks=2, nodes=2)
    (words,) = told(plan, cluster=two)
    assert words.startswith("nobody has said or measured what joins the hosts")
    across = tuple(replace(link, hosts=2, backend="nccl") for link in MEASURED.collectives)
    measured = replace(MEASURED, collectives=(*MEASURED.collectives, *across))
    assert told(plan, measured, cluster=two) == ()
    assert told(plan, cluster=replace(two, inter_link="ethernet-1gbit")) == ()


def test_messages_between_hosts_that_were_not_measured_to_interrupt():
    """On CPUs; within a host they take nothing, and an accelerator's are not its processor's."""
    plan, two = Plan(data=2, stages=(2,), data_shares=(1, 1)), ClusterSpec(ranks=2, nodes=2)
    cpu = replace(MEASURED, host=machine(cores=4).host)
    words = "what a message between hosts takes from who computes was not measured: it is taken for nothing"

    def apart(overhead):
        links = (replace(link, hosts=2, overhead=overhead) for link in cpu.collectives)
        return replace(cpu, collectives=(*cpu.collectives, *links))

    assert words in told(plan, apart(0.0), cluster=two)
    assert told(plan, apart(1e-4), cluster=two) == told(plan, apart(0.0)) == ()
    declared = replace(two, inter_link="ethernet-1gbit")
    assert told(plan, cpu, cluster=declared) == told(plan, apart(1e-4), cluster=declared) == (words,)
    assert words in told(plan, cpu, cluster=two)
    assert words not in told(plan, MEASURED, cluster=two)


HOST = Host(processor="an abacus", cores=8, memory_bytes=1)


def test_a_profile_of_a_busy_machine():
    busy = replace(HOST, busy_cores=1.5)
    (words,) = doubts(busy, busy.on)
    assert words == "profiled while other programs kept 1.5 cores busy: predictions are of that"
    assert list(doubts(replace(HOST, busy_cores=0.2), None)) == []


def test_a_profile_of_another_machine():
    assert list(doubts(HOST, HOST.on)) == list(doubts(HOST, None)) == []
    (fewer,) = doubts(HOST, Processor("an abacus", 2))
    assert fewer == "profiled on 8 cores, and this runs on 2 cores: `plait profile` measures this machine"
    (other,) = doubts(HOST, Processor("a slide rule", 1))
    assert other.startswith("profiled on 8 cores of an abacus, and this runs on 1 core of a slide rule: ")


def test_what_is_doubted_of_the_profile_comes_first():
    elsewhere = replace(MEASURED, host=replace(MEASURED.host, busy_cores=1.0))
    prices = JobPrices(replace(GPT2, vocab=100), TRAINING, elsewhere)
    found = outside_what_was_measured(Plan(stages=(2,)), prices, HOST.on)
    assert [words.partition(" ")[0] for words in found] == ["profiled", "profiled", "3"]
    assert outside_what_was_measured(Plan(stages=(2,)), prices) == (found[0], found[2])


def test_a_host_that_was_not_measured():
    offloaded = Plan(stages=(2,), offload="optimizer")
    rate, room = told(offloaded)
    assert "10 GB/s a rank are assumed" in rate
    assert room == "how much memory the host has was not measured: it is taken to be enough"
    assert MEASURED.host is not None
    known = replace(MEASURED, host=replace(MEASURED.host, host_memory_bytes=2**40))
    assert told(offloaded, known) == (rate,)
    shared = replace(MEASURED, host=machine(cores=4).host)
    assert told(offloaded, shared) == ()


def test_messages_larger_than_any_that_was_timed():
    """Gradients of both layers and the table in one bucket, beside a link that was timed to 1 KiB, and to 1 MiB."""
    pair = Plan(data=2, stages=(2,), data_shares=(1, 1))

    def timed(size):
        transfers = tuple(Transfer(bytes=one, seconds=1e-3) for one in (64, size))
        return replace(MEASURED, collectives=tuple(replace(link, transfers=transfers) for link in MEASURED.collectives))

    (words,) = told(pair, timed(2**10))
    assert words.startswith("messages of ")
    assert "along data exceed the largest that was timed (1 KiB)" in words
    assert told(pair, timed(2**20)) == ()


def test_attention_beyond_the_measured_shapes():
    def attended(rows, sequence):
        one = Attention(batch=rows, heads=1, seq=sequence, head_dim=4, dtype="fp32", forward_seconds=1e-3,
                        backward_seconds=1e-3)  # fmt: skip
        return replace(MEASURED, attention=(one, replace(one, batch=1, seq=1, head_dim=1)))

    assert told(Plan(stages=(2,)), attended(64, 64)) == ()
    (words,) = told(Plan(stages=(2,)), attended(64, 3))
    assert words == "attention over 6 tokens, 4 features a head, lies outside the measured shapes"


def test_a_correction_that_was_cut_unasked_is_left_out_and_that_is_said():
    """As files of before hold it: the ratio at its bound, and no word of who wanted it."""
    plain = Correction(what="computing", ratio=3.0, source="runs/x", date="2026-11-29")
    plan = Plan(stages=(2,))
    before, held, wanted = (
        replace(MEASURED, corrections=corrections) for corrections in ((), (plain,), (replace(plain, asked_for=True),))
    )
    (words,) = told(plan, held)
    assert words.startswith("a correction is left out: computing: more than 3.00 times what was profiled, as runs/x")
    assert told(plan, wanted) == ()
    assert (corrected_by_runs(held), len(corrected_by_runs(wanted))) == ((), 1)
    steps = [predict(plan, JobPrices(GPT2, TRAINING, one)).step_seconds for one in (before, held, wanted)]
    assert steps[0] == steps[1] < steps[2]
