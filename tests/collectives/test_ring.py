"""The ring's own: what is encoded on its way, and a peer that is lost in it. What it has in common with others is in
`test_stepwise`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from plait.collectives.peers import CHUNK_BYTES, Peers
from plait.collectives.ring import Ring
from plait.specs.compression import compression_of
from tests.collectives.stepping import gloo

CHUNK = CHUNK_BYTES // 8
ONE_HOP = {"fp16": 2**-11, "bf16": 2**-8, "int8": 0.5 / 127}  # how far off one hop is, of the largest number

several = settings(
    max_examples=5, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def encoded(form, counts, dtype):
    ring, oracle = Ring(Peers(gloo()), compression_of(form)), gloo()
    drawing = torch.Generator().manual_seed(dist.get_rank())
    found = []
    for count in counts:
        ours = (torch.rand(count, generator=drawing, dtype=torch.float64) * 2 - 1).to(dtype)
        theirs = ours.clone()
        ring.all_reduce(ours, "sum").wait()
        oracle.all_reduce(theirs, "sum").wait()
        found.append((ours, (ours - theirs).abs().max().item() if count else 0.0))
    return found


@pytest.mark.parametrize("form", ONE_HOP)
@several
@given(
    ranks=st.sampled_from([2, 3, 5]),
    counts=st.lists(st.integers(0, 5 * CHUNK), min_size=1, max_size=2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_what_is_encoded_is_the_same_bits_on_all_ranks_and_as_near_as_its_codec(
    run_on_ranks, form, ranks, counts, dtype
):
    first, *others = run_on_ranks(ranks, encoded, form, counts, dtype)
    for number, (flat, distance) in enumerate(first):
        assert all(torch.equal(flat, other[number][0]) for other in others)
        assert distance <= ranks * ranks * ONE_HOP[form] * 1.01 + 1e-5  # n hops, each of a sum of n at most
        if len(flat) > 1000:
            assert distance > 1e-5  # it was encoded indeed


def not_encoded():
    """Integers, narrow numbers, maxima, gathers and the caller's own parts are never rounded off."""
    ring = Ring(Peers(gloo()), compression_of("int8"))
    rank = dist.get_rank()
    whole = torch.arange(5000) * 1001
    ring.all_reduce(whole, "sum").wait()
    part = torch.rand(777, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    largest = part + rank
    ring.all_reduce(largest, "max").wait()
    narrow = part.to(torch.bfloat16)
    ring.all_reduce(narrow, "sum").wait()
    gathered = ring.all_gather(part, [777] * 2).wait()
    parts = [part.clone(), part.clone()]
    ring.reduce_scatter(parts).wait()
    same = torch.equal(whole, torch.arange(5000) * 2002) and torch.equal(largest, part + 1)
    same = same and torch.equal(narrow, 2 * part.to(torch.bfloat16))
    return same and all(torch.equal(one, part) for one in (*gathered, *parts, parts[rank]))


def test_what_must_not_be_encoded_is_not(run_on_ranks):
    assert run_on_ranks(2, not_encoded) == [True, True]


def not_finite(wrong):
    """An infinite or undefined number of rank 0's, in the block that ends at 2,048 of a ring's hops in int8."""
    flat = torch.ones(6000)
    if dist.get_rank() == 0:
        flat[2000] = wrong
    Ring(Peers(gloo()), compression_of("int8")).all_reduce(flat, "sum").wait()
    return flat


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_int8_does_not_lose_what_is_not_finite(run_on_ranks, wrong):
    for flat in run_on_ranks(2, not_finite, wrong):
        assert flat[1792:2048].isnan().all()
        assert torch.equal(flat[:1792], torch.full((1792,), 2.0))
        assert flat[2048:].isfinite().all()


LOSING = """
import os, signal, sys, time, torch, torch.distributed as dist
from datetime import timedelta
from plait.collectives.peers import Peers
from plait.collectives.c10d import C10d
from tests.collectives.stepping import WIRES
rank, how, name, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=3)
impatient = dist.new_group(timeout=timedelta(seconds=4))
wire = WIRES[name](Peers(C10d(impatient, range(3), rank)))
dist.barrier()
wire.all_reduce(torch.ones(9), "sum").wait()
if rank == 1:
    os.kill(os.getpid(), how)
start = time.monotonic()
try:
    wire.all_reduce(torch.ones(1 << 20), "sum").wait()
except Exception as error:
    print(type(error).__name__, error, "after", time.monotonic() - start)
"""


def lost(tmp_path, how: signal.Signals, name: str) -> dict[int, str]:
    """What the other two of three ranks say when rank 1 is gone, or stopped."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(int(how)), name, str(tmp_path / "store")]
    ranks = [
        subprocess.Popen([sys.executable, "-c", LOSING, str(n), *arguments], env=environment, stdout=-1, text=True)
        for n in range(3)
    ]
    try:
        return {n: ranks[n].communicate(timeout=90)[0] for n in (0, 2)}
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


@pytest.mark.parametrize("name", ["ring", "halving-doubling"])
def test_a_peer_that_has_died_is_named_at_once(tmp_path, name):
    said = lost(tmp_path, signal.SIGKILL, name)
    assert any("PeerLost rank 1 has died, or given up" in words for words in said.values())
    assert all("PeerLost" in words and float(words.split("after")[1]) < 8 for words in said.values())


def test_a_peer_that_hangs_is_named_when_the_group_s_patience_ends(tmp_path):
    said = lost(tmp_path, signal.SIGSTOP, "ring")
    assert "PeerLost rank 1 hangs, or waits for a rank that does" in said[2]  # which receives from it
    assert all("PeerLost" in words and float(words.split("after")[1]) < 8 for words in said.values())
