"""What crosses the cable between two hosts is what the planner says: the interface's own counter beside the formula.

recorded payloads ──ring formula (`specs.links`)──► bytes sent      =      tx_bytes - headers, within 2 %
"""

from __future__ import annotations

import json

import pytest

from plait.planner.communication_volume import traffic_of_step
from plait.plans.plan import Plan
from plait.specs.links import wire_bytes
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from tests.hosts.test_wires import pytestmark, said, two_hosts

__all__ = ["pytestmark", "two_hosts"]  # fixtures, and the reason to be skipped

STEPS = 4
MODEL = ModelSpec(layers=2, hidden=256, heads=4, kv_heads=4, ffn=1024, vocab=1000, max_positions=16)
TRAINING = TrainingSpec(global_batch=4, sequence_length=16)
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
model = parallelize(decoder, plan(LEVEL), build_mesh(plan(LEVEL).mesh))
optimizer = Optimizer(model.shards, model.gradients, dict.fromkeys(model.shards, True), TRAINING)
tokens = torch.randint(1000, (4, 17), generator=torch.Generator().manual_seed(0))
rows = Sequences.of(tokens[:, :-1], tokens[:, 1:]).rows(2 * rank, 2 * rank + 2)
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


def plan(level: int) -> Plan:
    return Plan(data=2, zero=level, stages=(2,), microbatch=1, data_shares=(1, 1), bucket_bytes=1 << 20)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_the_interface_counts_what_the_formula_says(two_hosts, level):
    rows = traffic_of_step(MODEL, TRAINING, plan(level), 0)
    expected = STEPS * sum(row.count * wire_bytes(row.kind, 2, row.bytes) for row in rows)
    for words in said(two_hosts, COUNTING.replace("LEVEL", str(level))):
        sent, packets = json.loads(words)
        assert sent - HEADERS * packets == pytest.approx(expected, rel=0.02)
