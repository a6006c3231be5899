"""How fast are the collectives between ranks of this host, beside gloo's and OpenMPI's shared memory?

    python benchmarks/collectives.py                         two ranks
    python benchmarks/collectives.py --ranks 4
    python benchmarks/collectives.py --mpirun 'mpirun -n 2 --oversubscribe /path/to/python'     OpenMPI too (mpi4py)

Wires take turns, in bursts of calls, on the same ranks; OpenMPI's own processes run right after them. A figure is the
p50 and p90 over calls of the slower rank's time for one.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from plait.collectives.c10d import C10d
from plait.collectives.functional import buffer
from plait.collectives.process_groups import join
from plait.collectives.wire import Transfer, Wire
from plait.launchers import RankPool

__all__ = ["measured"]

_BURSTS = 8
SIZES = tuple(1 << power for power in (10, 12, 14, 16, 18, 20, 24, 26))
OPENMPI = Path(__file__).with_name("collectives_openmpi.py")
_Calls = dict[str, Callable[[], object]]


def measured(sizes: Iterable[int]) -> list[dict[str, Any]]:
    """On every rank: for each size, kind and wire the seconds of each call, the last rank's."""
    group, world = join("data", tuple(range(dist.get_world_size()))), dist.group.WORLD
    assert group is not None
    assert group.wire is not None
    assert world is not None
    wires: dict[str, Wire] = {group.wire.name: group.wire, "gloo": C10d(world, group.ranks, group.index)}
    rows: list[dict[str, Any]] = []
    for size in sizes:
        calls = {name: _calls(wire, size, group.index, group.size) for name, wire in wires.items()}
        held = buffer(size // 4, torch.float32, torch.device("cpu"), group)
        calls[group.wire.name]["all_reduce of a buffer"] = partial(_reduce, group.wire, held.own)
        rows += _timed(calls, size)
    return rows


def _calls(wire: Wire, size: int, rank: int, ranks: int) -> _Calls:
    """One call of each kind on a payload of that many bytes."""
    whole, other = torch.ones(size // 4), torch.zeros(size // 4)
    parts = list(whole.chunk(ranks))
    return {
        "all_reduce": partial(_reduce, wire, whole),
        "reduce_scatter": lambda: wire.reduce_scatter(parts).wait(),
        "all_gather": lambda: wire.all_gather(parts[rank], [len(part) for part in parts]).wait(),
        "send": partial(_passed, wire, rank, whole, other),
    }


def _reduce(wire: Wire, tensor: Tensor) -> None:
    wire.all_reduce(tensor, "max").wait()


def _passed(wire: Wire, rank: int, ours: Tensor, theirs: Tensor) -> None:
    """From rank 0 to rank 1 and back; others look on."""
    to = Transfer(direction="send", tensor=ours, peer=1 - rank)
    back = Transfer(direction="receive", tensor=theirs, peer=1 - rank)
    for transfer in () if rank > 1 else (to, back) if rank == 0 else (back, to):
        wire.exchange([transfer]).wait()


def _timed(calls: Mapping[str, _Calls], size: int) -> Iterator[dict[str, Any]]:
    """Bursts of calls, the wires in turn; the first call of a burst, to which ranks come apart, does not count."""
    burst = 4 if size > 1 << 23 else 12 if size > 1 << 19 else 100
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(_BURSTS):
        for name, kinds in calls.items():
            for kind, call in kinds.items():
                dist.barrier()
                stamps = [time.perf_counter()]
                for _ in range(burst):
                    call()
                    stamps.append(time.perf_counter())
                each = [after - before for before, after in pairwise(stamps)]
                taken.setdefault((name, kind), []).extend(each[1:])
    for (name, kind), mine in taken.items():
        seconds = torch.tensor(mine, dtype=torch.float64)
        dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
        ways = 2 if kind == "send" else 1
        yield {"wire": name, "kind": kind, "bytes": size, "seconds": (seconds / ways).tolist()}


def main() -> None:
    """Measure, print the table, and one JSON line a row under --json."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ranks", type=int, default=2)
    arguments.add_argument("--mpirun", help="how OpenMPI starts as many processes of a Python that has mpi4py")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    with RankPool(given.ranks, timeout=300.0) as pool:
        rows = pool.run(measured, SIZES)[0]
    if given.mpirun:
        command = [*shlex.split(given.mpirun), str(OPENMPI), *map(str, SIZES)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
        rows += [json.loads(line) for line in told.splitlines()]
    if given.json:
        sys.stdout.writelines(json.dumps(row) + "\n" for row in rows)
        return
    print("\n".join(_table(rows)))


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A block a kind, in µs."""
    wires = list(dict.fromkeys(row["wire"] for row in rows))
    found = {(row["kind"], row["bytes"], row["wire"]): sorted(row["seconds"]) for row in rows}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        yield f"\n| {kind} | " + " | ".join(f"{wire}: p50, p90 µs" for wire in wires) + " | of gloo's |"
        yield "|---|" + "---:|" * (len(wires) + 1)
        for size in dict.fromkeys(row["bytes"] for row in rows):
            cells = [found.get((kind, size, wire)) for wire in wires]
            gloo = found.get((kind, size, "gloo")) or found["all_reduce", size, "gloo"]
            ratio = "" if cells[0] is None else f"{cells[0][len(cells[0]) // 2] / gloo[len(gloo) // 2]:.3f}"
            yield f"| {size:,} | " + " | ".join(_cell(cell) for cell in cells) + f" | {ratio} |"


def _cell(seconds: list[float] | None) -> str:
    if not seconds:
        return ""
    return f"{seconds[len(seconds) // 2] * 1e6:,.1f}, {seconds[int(0.9 * len(seconds))] * 1e6:,.1f}"


if __name__ == "__main__":
    main()
