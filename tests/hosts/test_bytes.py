"""What crosses the cable between two hosts is what the planner says: the interface's own counter beside the formula.

recorded payloads ──ring formula (`specs.links`)──► bytes sent      =      tx_bytes - headers, within 2 %

With several ranks on each host it is the same formula, of as many as there are hosts: all crosses once a host.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from plait.planner.communication_volume import traffic_of_step
from plait.plans.plan import Plan
from plait.specs.links import wire_bytes
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from tests.hosts.test_wires import Space, pytestmark, said, two_hosts

__all__ = ["pytestmark", "two_hosts"]  # fixtures, and the reason to be skipped

STEPS = 4
MODEL = ModelSpec(layers=2, hidden=256, heads=4, kv_heads=4, ffn=1024, vocab=1000, max_positions=16)
TRAINING = TrainingSpec(global_batch=4, sequence_length=16, warmup_steps=0)  # no form begins dense
HEADERS = 66  # bytes of a packet: Ethernet 14, IP 20, TCP 32 with its time stamps
COUNTING = """
import os
from pathlib import Path
from plait.models.gpt import Decoder
from plait.parallel.apply import parallelize
from plait.training.optimizer import Optimizer
from plait.training.step import train_step
from plait.models.sequences import Sequences
from tests.hosts.test_bytes import MODEL, STEPS, TRAINING, plan

counters = Path("/sys/class/net") / os.environ["GLOO_SOCKET_IFNAME"] / "statistics"

def sent():
    return [int((counters / name).read_text()) for name in ("tx_bytes", "tx_packets")]

with torch.device("meta"):
    decoder = Decoder(MODEL)
chosen = plan(ranks, **CHOICE)
model = parallelize(decoder, chosen, build_mesh(chosen.mesh))
optimizer = Optimizer(model.shards, model.gradients, dict.fromkeys(model.shards, True), TRAINING)
tokens = torch.randint(1000, (4, 17), generator=torch.Generator().manual_seed(0))
rows = Sequences.of(tokens[:, :-1], tokens[:, 1:]).rows(4 // ranks * rank, 4 // ranks * (rank + 1))
train_step(model, optimizer, rows, 64, TRAINING)
model.settle()
dist.barrier()
before = sent()
for step in range(STEPS):
    train_step(model, optimizer, rows, 64, TRAINING)
model.settle()
time.sleep(0.2)
print(json.dumps([later - earlier for later, earlier in zip(sent(), before)]))
time.sleep(0.5)
dist.barrier()
"""


def plan(ranks: int, **choice: Any) -> Plan:
    return Plan(data=ranks, stages=(2,), microbatch=1, data_shares=(1,) * ranks, bucket_bytes=1 << 20, **choice)


def sent_and_predicted(spaces: Sequence[Space], each: int, choice: dict[str, Any]) -> list[tuple[int, float]]:
    """Of each rank what its host's interface has sent, and what the formula says: on two hosts of `each` ranks."""
    chosen = plan(2 * each, **choice)
    rows = traffic_of_step(MODEL, TRAINING, chosen, 0, (each, each))
    expected = STEPS * sum(row.count * wire_bytes(row.kind, 2, row.bytes) for row in rows)
    told = said([space for space in spaces for _ in range(each)], COUNTING.replace("CHOICE", repr(choice)))
    found = [json.loads(words) for words in told]
    return [(sent - HEADERS * packets, expected) for sent, packets in found]


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_the_interface_counts_what_the_formula_says(two_hosts, level):
    for sent, expected in sent_and_predicted(two_hosts, 1, {"zero": level}):
        assert sent == pytest.approx(expected, rel=0.02)


CHOICES = [{"zero": level} for level in range(4)]
CHOICES += [{"compression": form} for form in ("fp16", "int8", "topk:0.1")]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_several_ranks_of_a_host_send_no_more_than_one(two_hosts, choice):
    found = sent_and_predicted(two_hosts, 2, choice)
    assert len(found) == 4
    for sent, expected in found:
        assert sent == pytest.approx(expected, rel=0.02)
