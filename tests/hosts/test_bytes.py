"""What crosses the cable between two hosts is what the planner says: the interface's own counter beside the formula.

recorded payloads ──ring formula (`specs.links`)──► bytes sent      =      tx_bytes - headers, within 2 %

One rank a host, all ways of telling replicas less among them; and two ranks a host, where it is the same formula, of as
many as there are hosts: all crosses once a host. All of a standing's plans run in the same processes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from benchmarks.wires_between_hosts import hosts_apart
from plait.planner.communication_volume import traffic_of_step
from plait.plans.plan import Plan
from plait.specs.links import wire_bytes
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from tests.hosts.test_wires import pytestmark, said

__all__ = ["pytestmark"]  # the reason to be skipped

H = 4
MODEL = ModelSpec(layers=2, hidden=256, heads=4, kv_heads=4, ffn=1024, vocab=1000, max_positions=16)
TRAINING = TrainingSpec(global_batch=4, sequence_length=16, warmup_steps=0)
HEADERS = 66  # bytes of a packet: Ethernet 14, IP 20, TCP 32 with its time stamps
FORMS: Mapping[str, Mapping[str, Any]] = {
    "dense": {},
    "ZeRO 1": {"zero": 1},
    "ZeRO 2": {"zero": 2},
    "ZeRO 3": {"zero": 3},
    "fp16": {"compression": "fp16"},
    "int8": {"compression": "int8"},
    "powersgd:32": {"compression": "powersgd:32"},  # of lower ranks headers of gloo's own are more than 2 %
    "topk:0.05": {"compression": "topk:0.05"},
    "local SGD": {"synchronisation": "local-sgd", "local_steps": H},
    "DiLoCo, int8": {"synchronisation": "diloco", "local_steps": H, "compression": "int8"},
    "a server": {"synchronisation": "parameter-server"},
}
PAIRED = ("dense", "ZeRO 1", "ZeRO 2", "ZeRO 3", "fp16", "int8", "topk:0.05")
COUNTING = """
import os
from pathlib import Path
from plait.models.gpt import Decoder
from plait.parallel.apply import parallelize
from plait.plans.rows import rows_of
from plait.training.optimizer import Optimizer
from plait.training.step import train_step
from plait.models.sequences import Sequences
from tests.hosts.test_bytes import H, MODEL, TRAINING, plan, steps_of

counters = Path("/sys/class/net") / os.environ["GLOO_SOCKET_IFNAME"] / "statistics"

def sent():
    return [int((counters / name).read_text()) for name in ("tx_bytes", "tx_packets")]

def counted(chosen):
    with torch.device("meta"):
        decoder = Decoder(MODEL)
    model = parallelize(decoder, chosen, build_mesh(chosen.mesh))
    optimizer = Optimizer(model.shards, model.applied, dict.fromkeys(model.shards, True), TRAINING)
    generator = torch.Generator().manual_seed(0)

    def learn(step):
        tokens = torch.randint(1000, (4, 17), generator=generator)
        whole = Sequences.of(tokens[:, :-1], tokens[:, 1:], step=step)
        train_step(model, optimizer, whole.rows(*rows_of(chosen, 4, rank)), 64, TRAINING)

    first = H + 1 if chosen.averages else 1  # what was sent at the H-th step has arrived
    for step in range(first):
        learn(step)
    model.settle()
    dist.barrier()
    before = sent()
    for step in range(first, first + steps_of(chosen)):
        learn(step)
    model.settle()
    time.sleep(0.2)
    after = sent()
    dist.barrier()
    return before, after

print(json.dumps([counted(plan(ranks, name)) for name in NAMES]))
time.sleep(0.5)
dist.barrier()
"""


def plan(ranks: int, name: str) -> Plan:
    """So many replicas, in that form."""
    equal, kept = (1,) * ranks, FORMS[name]
    return Plan(data=ranks, stages=(2,), microbatch=1, data_shares=equal, bucket_bytes=1 << 20, **kept)


def steps_of(chosen: Plan) -> int:
    """How many are counted, or those with two meetings."""
    return 2 * H if chosen.averages else 2


def counted_on(hosts: Sequence[int], names: Sequence[str]) -> dict[str, list[float]]:
    """By form, what each of the hosts has sent, headers taken off; `hosts`: by rank, where it stands. Ranks of one host
    read one counter: from the first that begins to the last that ends."""
    with hosts_apart(2, "none", f"c{os.getpid()}") as spaces:
        script = COUNTING.replace("NAMES", repr(list(names)))
        told = [json.loads(words) for words in said([spaces[host] for host in hosts], script)]
    found: dict[str, list[float]] = {}
    for number, name in enumerate(names):
        for host in sorted(set(hosts)):
            stamps = [ranks[number] for rank, ranks in enumerate(told) if hosts[rank] == host]
            before, after = min(first for first, _ in stamps), max(last for _, last in stamps)
            found.setdefault(name, []).append(after[0] - before[0] - HEADERS * (after[1] - before[1]))
    return found


def expected(chosen: Plan) -> float:
    """What one of two hosts sends, by the formula, in the steps that are counted."""
    times = steps_of(chosen) / (H if chosen.averages else 1)
    rows = traffic_of_step(MODEL, TRAINING, chosen, 0, (chosen.data // 2,) * 2)
    return times * sum(row.count * wire_bytes(row.kind, 2, row.bytes) for row in rows if row.kind != "receive")


@pytest.fixture(scope="module")
def alone() -> dict[str, list[float]]:
    """One rank a host."""
    return counted_on((0, 1), list(FORMS))


@pytest.mark.parametrize("name", FORMS)
def test_the_interface_counts_what_the_formula_says(alone: dict[str, list[float]], name: str) -> None:
    assert alone[name] == [pytest.approx(expected(plan(2, name)), rel=0.02)] * 2


def test_h_steps_alone_send_what_one_dense_step_does(alone: dict[str, list[float]]) -> None:
    """2 H steps of local SGD, beside 2 dense ones."""
    assert alone["local SGD"] == pytest.approx(alone["dense"], rel=0.02)


@pytest.fixture(scope="module")
def paired() -> dict[str, list[float]]:
    """Two ranks a host."""
    return counted_on((0, 0, 1, 1), PAIRED)


@pytest.mark.parametrize("name", PAIRED)
def test_all_of_two_ranks_a_host_crosses_once(paired: dict[str, list[float]], name: str) -> None:
    """In slices: as two ranks would send it, alone on their hosts."""
    assert paired[name] == [pytest.approx(expected(plan(4, name)), rel=0.02)] * 2
