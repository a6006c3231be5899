"""How much of its speed does data parallelism keep on a slow link between two hosts? Beside the peers' hooks.

    python benchmarks/slow_links.py --size main --rates none,1gbit,200mbit,50mbit      (root: network namespaces)

Two hosts of one rank each, in network namespaces; `tc tbf` limits the cable. Systems take turns at each rate. A figure
is the mean step over all steps after the first few, so that what happens every H steps is in it; the share is that of
the system's own speed without a limit. Every raw figure goes to --out, if one is given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import torch.distributed as dist
from peer_job import PeerJob, common
from wires_between_hosts import hosts_apart

from plait.plans.plan import Plan

PEERS = Path(__file__).parent / "peers"
_WARM_UP = 2
_ATTEMPTS = 3
_PORT = 29_611
_SECONDS = 1800.0
# by name: keys of the plan, and steps of which the mean is taken at least
SYSTEMS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "plait dense": ({}, 3),
    "plait fp16": ({"compression": "fp16"}, 3),
    "plait int8": ({"compression": "int8"}, 3),
    "plait powersgd:4": ({"compression": "powersgd:4"}, 3),
    "plait diloco 8, int8": ({"synchronisation": "diloco", "local_steps": 8, "compression": "int8"}, 16),
    "plait diloco 32, int8": ({"synchronisation": "diloco", "local_steps": 32, "compression": "int8"}, 64),
}
HOOKS = {"DDP": [], "DDP fp16": ["--hook", "fp16"], "DDP powersgd:4": ["--hook", "powersgd4"]}

Space = tuple[str, str, str]  # namespace, device, address


def rank(size: str, keys: Mapping[str, Any], steps: int) -> None:
    """One of the two ranks: prints every step's seconds."""
    dist.init_process_group("gloo")
    c = common.cfg_of(size)
    plan = Plan(data=2, stages=(c.layers,), microbatch=c.batch // 2, data_shares=(1, 1))
    job = PeerJob(size, replace(plan, **keys))
    seconds: list[float] = []
    for number in range(_WARM_UP + steps):
        start = time.perf_counter()
        job.step(number)
        seconds.append(time.perf_counter() - start)
    dist.barrier()
    print(json.dumps(seconds[_WARM_UP:]))


def plait_steps(spaces: Sequence[Space], size: str, name: str) -> list[float]:
    """The slower rank's seconds of each step."""
    keys, steps = SYSTEMS[name]
    found = _both(spaces, [sys.executable, __file__, "--size", size, "--rank", json.dumps(keys), "--steps", str(steps)])
    return [max(pair) for pair in zip(*(json.loads(words.splitlines()[-1]) for words in found), strict=True)]


def peer_mean(spaces: Sequence[Space], size: str, name: str, steps: int) -> float:
    """The median step that the peers' script tells; nan where it dies in each of three attempts.

    torch's PowerSGD hook now and then does on gloo: its collectives start in callbacks, whose order two ranks need not
    share."""
    for _ in range(_ATTEMPTS):
        told = _peer_tells(spaces, size, name, steps)
        if told is not None:
            return told
        print(f"{name} died", file=sys.stderr, flush=True)
    return nan


def _peer_tells(spaces: Sequence[Space], size: str, name: str, steps: int) -> float | None:
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory) / "results.jsonl"
        command = [sys.executable, "native.py", "ddp", "--size", size, "--steps", str(steps), "--warmup", str(_WARM_UP)]
        _both(spaces, [*command, *HOOKS[name]], {"BENCH_OUT": str(results), "LOCAL_RANK": "0"}, ends_well=False)
        return json.loads(results.read_text().splitlines()[-1])["med_s"] if results.exists() else None


def _both(
    spaces: Sequence[Space], command: Sequence[str], more: Mapping[str, str] | None = None, *, ends_well: bool = True
) -> list[str]:
    """One command on both hosts; what each printed. Raises CalledProcessError where one fails that should end well (a
    peer now and then dies at its very end, its results written)."""
    running: list[subprocess.Popen[str]] = []
    for number, (space, device, _) in enumerate(spaces):
        environment = os.environ | {
            "RANK": str(number), "WORLD_SIZE": str(len(spaces)), "MASTER_ADDR": spaces[0][2],
            "MASTER_PORT": str(_PORT), "GLOO_SOCKET_IFNAME": device, "OMP_NUM_THREADS": "1", **(more or {}),
        }  # fmt: skip
        inside = ["ip", "netns", "exec", space, *command]
        running.append(subprocess.Popen(inside, env=environment, cwd=PEERS, stdout=subprocess.PIPE, text=True))
    try:
        words = [one.communicate(timeout=_SECONDS)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    for one in running:
        if ends_well and one.returncode:
            raise subprocess.CalledProcessError(one.returncode, command)
    return words


def main() -> None:
    """Run all rates, print a table, keep the raw figures."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", choices=("tiny", "main"), default="main")
    arguments.add_argument("--rates", default="none,1gbit,200mbit,50mbit")
    arguments.add_argument("--systems", default=",,".join([*SYSTEMS, *HOOKS]), help="names, between double commas")
    arguments.add_argument("--steps", type=int, default=3, help="of each peer")
    arguments.add_argument("--rank", help=argparse.SUPPRESS)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    if given.rank is not None:
        rank(given.size, json.loads(given.rank), given.steps)
        return
    means: dict[str, dict[str, float]] = {}
    for rate in given.rates.split(","):
        with hosts_apart(2, rate, f"s{os.getpid() % 100000}") as spaces:
            for name in given.systems.split(",,"):
                if name in SYSTEMS:
                    seconds = plait_steps(spaces, given.size, name)
                    taken = sum(seconds) / len(seconds)
                else:
                    taken = peer_mean(spaces, given.size, name, given.steps)
                means.setdefault(name, {})[rate] = taken
                if given.out is not None:
                    given.out.write_text(json.dumps({"size": given.size, "seconds": means}) + "\n", encoding="utf-8")
                print(f"{rate:9} {name:24} {taken:8.3f} s a step", file=sys.stderr, flush=True)
    rates = given.rates.split(",")
    print(f"| {given.size}, s a step (share of its own speed) | {' | '.join(rates)} |\n|---|{'--:|' * len(rates)}")
    for name, found in means.items():
        cells = [f"{found[rate]:.2f} ({found[rates[0]] / found[rate]:.0%})" for rate in rates]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
