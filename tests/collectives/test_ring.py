"""A peer that is lost in a ring. What rings have in common with others is in `test_stepwise`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

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
