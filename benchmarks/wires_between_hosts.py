"""Which all-reduce is fastest between ranks of several hosts? Hosts are network namespaces of this machine, joined by a
bridge; their links are as fast as they are, or slowed by `tc`. Needs root, and `ip` and `tc` (iproute2).

    sudo python benchmarks/wires_between_hosts.py                            hosts of 1, and of 2 ranks; three speeds
    sudo python benchmarks/wires_between_hosts.py --hosts 2 1 --rates 1gbit
    sudo python benchmarks/wires_between_hosts.py --hosts 1 1 1 --json

Wires take turns, in bursts of calls, on the same ranks. A figure is the median over calls of the slowest rank's time.
All hosts share this machine's cores: what computing costs here, hosts of their own would do at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist

from plait.collectives.c10d import C10d
from plait.collectives.halving_doubling import HalvingDoubling
from plait.collectives.hierarchical import Hierarchical
from plait.collectives.peers import Peers
from plait.collectives.process_groups import join
from plait.collectives.ring import Ring
from plait.collectives.stepwise import Stepwise
from plait.collectives.wire import Wire

__all__ = ["hosts_apart", "main", "measured"]

SIZES = tuple(1 << power for power in (12, 14, 16, 18, 20, 22, 24, 26))
RATES = ("none", "1gbit", "200mbit")
_BURSTS, _PORT, _NETWORK = 3, 29_571, "10.231.77"
_SECONDS = 600


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20, capture_output=True, text=True)


@contextmanager
def hosts_apart(count: int, rate: str, prefix: str) -> Iterator[list[tuple[str, str, str]]]:
    """Namespaces on one bridge: of each its name, its device and its address. `rate` as `tc` has it, or "none"; names
    begin with `prefix`, of 8 characters at most."""
    bridge, found = f"{prefix}-br", [(f"{prefix}{n}", f"{prefix}-e{n}", f"{_NETWORK}.{n + 1}") for n in range(count)]
    with ExitStack() as undo:
        _ip("link", "add", bridge, "type", "bridge")
        undo.callback(_ip, "link", "del", bridge)
        _ip("link", "set", bridge, "up")
        for space, device, address in found:
            _ip("netns", "add", space)
            undo.callback(_ip, "netns", "del", space)
            port = f"{device}p"
            _ip("link", "add", port, "type", "veth", "peer", "name", device, "netns", space)
            undo.callback(_ip, "link", "del", port)  # a namespace keeps its end for as long as any process is in it
            _ip("link", "set", port, "master", bridge, "up")
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", device)
            _ip("-n", space, "link", "set", device, "up")
            _ip("-n", space, "link", "set", "lo", "up")
            if rate != "none":
                shaped = ["tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", rate]
                burst = ["burst", "256k", "latency", "50ms"]
                subprocess.run(["ip", "netns", "exec", space, *shaped, *burst], check=True, timeout=20)
        yield found


def measured(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """On every rank: of each size and wire the seconds of each call, the slowest rank's."""
    wires = _wires()
    rows: list[dict[str, Any]] = []
    for size in sizes:
        calls = {name: partial(_reduce, wire, torch.zeros(size // 4)) for name, wire in wires.items()}
        rows += [{"wire": name, "bytes": size, "seconds": taken} for name, taken in _timed(calls, size).items()]
    return rows


def _wires() -> dict[str, Wire | Stepwise]:
    ranks, world = tuple(range(dist.get_world_size())), dist.group.WORLD
    group = join("data", ranks)
    assert group is not None
    assert world is not None
    gloo = C10d(world, ranks, group.index)
    wires: dict[str, Wire | Stepwise] = {
        "gloo": gloo,
        "ring": Ring(Peers(gloo, tag=11)),
        "halving-doubling": HalvingDoubling(Peers(gloo, tag=12)),
    }
    if isinstance(group.wire, Hierarchical):
        wires["hierarchical"] = group.wire
    return wires


def _reduce(wire: Wire | Stepwise, tensor: torch.Tensor) -> None:
    wire.all_reduce(tensor, "sum").wait()


def _timed(calls: dict[str, Callable[[], None]], size: int) -> dict[str, list[float]]:
    burst = 2 if size > 1 << 23 else 4 if size > 1 << 19 else 12
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_BURSTS):
        for name, call in calls.items():
            dist.barrier()
            stamps = [time.perf_counter()]
            for _ in range(burst):
                call()
                stamps.append(time.perf_counter())
            taken[name] += [after - before for before, after in pairwise(stamps)][1:]
    for name, mine in taken.items():
        seconds = torch.tensor(mine, dtype=torch.float64)
        dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
        taken[name] = seconds.tolist()
    return taken


def _run(hosts: Sequence[int], rate: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """One rank a process, inside its host's namespace; rank 0 prints what was measured."""
    with hosts_apart(len(hosts), rate, f"b{os.getpid()}") as spaces:
        places = [space for space, count in zip(spaces, hosts, strict=True) for _ in range(count)]
        processes = [_started(rank, place, spaces[0][2], len(places), sizes) for rank, place in enumerate(places)]
        try:
            told = processes[0].communicate(timeout=_SECONDS)[0]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    return [{"hosts": list(hosts), "rate": rate, **row} for row in json.loads(told or "[]")]


def _started(
    rank: int, place: tuple[str, str, str], meeting: str, ranks: int, sizes: Sequence[int]
) -> subprocess.Popen[str]:
    space, device, _ = place
    environment = os.environ | {
        "RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": meeting, "MASTER_PORT": str(_PORT),
        "GLOO_SOCKET_IFNAME": device, "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = ["ip", "netns", "exec", space, sys.executable, __file__, "--rank", "--sizes", *map(str, sizes)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _rank(sizes: Sequence[int]) -> None:
    dist.init_process_group("gloo")
    rows = measured(sizes)
    if dist.get_rank() == 0:
        print(json.dumps(rows), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    """Measure, and print a table for each link and grouping, or under --json a line a row."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--hosts", type=int, nargs="+", help="how many ranks on each host")
    arguments.add_argument("--rates", nargs="+", default=RATES, help="of each host's link, as tc has it, or none")
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes")
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.rank:
        _rank(given.sizes)
        return
    if os.geteuid() != 0:
        sys.exit("network namespaces are made by root alone: run this as root")
    for hosts in [given.hosts] if given.hosts else [[1, 1], [2, 2]]:
        for rate in given.rates:
            rows = _run(hosts, rate, given.sizes)
            lines = [json.dumps(row) for row in rows] if given.json else _table(rows)
            print("\n".join(lines), flush=True)


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Medians in ms."""
    if not rows:
        return
    wires = list(dict.fromkeys(row["wire"] for row in rows))
    found = {(row["bytes"], row["wire"]): sorted(row["seconds"]) for row in rows}
    hosts = " + ".join(map(str, rows[0]["hosts"]))
    yield f"\n| {hosts} ranks, link {rows[0]['rate']}: bytes | " + " | ".join(f"{wire}, ms" for wire in wires) + " |"
    yield "|---:|" + "---:|" * len(wires)
    for size in dict.fromkeys(row["bytes"] for row in rows):
        medians = [found[size, wire][len(found[size, wire]) // 2] for wire in wires]
        yield f"| {size:,} | " + " | ".join(f"{median * 1e3:,.2f}" for median in medians) + " |"


if __name__ == "__main__":
    main()
