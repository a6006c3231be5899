"""torchrun's processes led by rank 0's program, on one host: fewer ranks than there are, arrays, one that raises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
import numpy as np, torch, torch.distributed as dist
from plait.errors import RankFailure
from plait.launchers import carry, end_where_python_would_wait, led, together

@dataclass(frozen=True)
class Found:
    sums: dict
    note: str = ""

factor = 1

@contextmanager
def tenfold():
    global factor
    factor = 10
    yield
    factor = 1

def summed(found):
    total = torch.from_numpy(found.sums[("a", 1)]) * (dist.get_rank() + 1) * factor
    dist.all_reduce(total)
    return Found({("a", 1): total.numpy()}, f"{dist.get_rank()} of {dist.get_world_size()}")

def broken():
    if dist.get_rank() == 1:
        raise ValueError("not today")
    dist.barrier()

def program(run):
    start = Found({("a", 1): np.arange(400_000.0)})
    notes = []
    for ranks in (2, 1, 2):
        found = run(ranks, summed, start)
        notes += [one.note for one in found]
        expected = start.sums[("a", 1)] * 10 * (3 if ranks == 2 else 1)
        assert all(np.array_equal(one.sums[("a", 1)], expected) for one in found)
    for task in (broken, summed):  # the second is not begun
        try:
            run(2, task)
        except RankFailure as failure:
            notes.append(f"rank {failure.rank}: {failure.report.splitlines()[0]}")
    return Found({}, " ".join(notes))

def before(run):
    return run(2, summed, Found({("a", 1): np.ones(3)}))[1]

with together() as world, carry(tenfold):
    for task in ("its first", "another"):  # one program after another, in one world
        told = led(world, before, tasks=[summed], classes=[Found], timeout=20)
        assert told.note == "1 of 2" and told.sums[("a", 1)].tolist() == [30.0] * 3, task
    answer = led(world, program, tasks=[summed, broken], classes=[Found], timeout=60)
print(answer.note, flush=True)
end_where_python_would_wait(7)
"""


def test_a_program_is_performed_and_all_get_its_answer_though_one_hangs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    failed = "rank 1: ValueError: not today"
    assert done.stdout.splitlines() == [f"0 of 2 1 of 2 0 of 1 0 of 2 1 of 2 {failed} {failed}"] * 2, done.stderr
    assert done.stderr.count("exitcode  : 7") == 2, "neither waits for the barrier of rank 0"
