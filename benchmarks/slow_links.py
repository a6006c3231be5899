"""How much of its speed does data parallelism keep on a slow link between two hosts? Beside the peers' hooks, and with
what the planner names for each link before anything runs.

    python benchmarks/slow_links.py --size main --rates none,1gbit,200mbit,50mbit --out FILE    (as root)

Two hosts of one rank each, in network namespaces; `tc tbf` limits the cable. In each round every system runs once at
every rate, whole; every second round goes backwards. A figure is the median over periods of the mean step of a period:
H steps of what meets every H steps, so that its meeting is in it, and one step of all else, peers and Plait alike. The
share is that of the system's own speed without a limit.

What the planner names is asked first (of `--measurements`, or what this machine's cache has), and run as it was named.
--out has that, and every step of every system: the slower rank's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import Any

import torch.distributed as dist
from named_beforehand import WANTED, as_recorded, name_of, named, picked
from peer_job import PeerJob, common
from wires_between_hosts import hosts_apart

from plait import api
from plait.planner.hiding import Hiding
from plait.plans.files import plan_table
from plait.plans.plan import Plan
from plait.specs.tables import with_tuples

__all__ = ["Run", "System", "main", "systems", "table_lines", "turns", "typical"]

PEERS = Path(__file__).parent / "peers"
_WARM_UP = 2
_ATTEMPTS = 3
_PORT = 29_611
_SECONDS = 1800.0
_CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "plait dense": {},
    "plait fp16": {"compression": "fp16"},
    "plait int8": {"compression": "int8"},
    "plait powersgd:4": {"compression": "powersgd:4"},
    "plait diloco 8, int8": {"synchronisation": "diloco", "local_steps": 8, "compression": "int8"},
    "plait diloco 32, int8": {"synchronisation": "diloco", "local_steps": 32, "compression": "int8"},
}
_HOOKS = {"DDP": (), "DDP fp16": ("--hook", "fp16"), "DDP powersgd:4": ("--hook", "powersgd4")}

Space = tuple[str, str, str]  # namespace, device, address


@dataclass(frozen=True, kw_only=True)
class System:
    """Plait under a `plan`, or without one the peers' DDP with a `hook`. `only`: the rate that it was named for, beside
    which it runs without a limit alone; None: it runs at all."""

    name: str
    plan: Plan | None = None
    hook: tuple[str, ...] = ()
    only: str | None = None

    @property
    def period(self) -> int:
        """Steps from one meeting to the next."""
        return self.plan.local_steps if self.plan is not None and self.plan.averages else 1

    def steps(self, least: int, rounds: int) -> int:
        """How many are timed in each of the rounds: whole periods, two at least in all of them together."""
        return max(-(-2 // rounds), least // self.period) * self.period

    def runs_at(self, rate: str) -> bool:
        """Whether it does."""
        return self.only in (None, rate) or rate == "none"


@dataclass(frozen=True, kw_only=True)
class Run:
    """`seconds`: of each step after the warm-up, the slower rank's; none where it died."""

    round: int
    rate: str
    system: str
    seconds: Sequence[float]


def systems(size: str, names: Sequence[str], found: Mapping[str, Hiding], most: int) -> list[System]:
    """Those of `names`, and for each rate, of what the planner has `found`, the first `most` that keep what is wanted,
    as it has named them."""
    c = common.cfg_of(size)
    plain = Plan(data=2, stages=(c.layers,), microbatch=c.batch // 2, data_shares=(1, 1))
    chosen = [System(name=name, plan=replace(plain, **_CHOSEN[name])) for name in names if name in _CHOSEN]
    peers = [System(name=name, hook=_HOOKS[name]) for name in names if name in _HOOKS]
    beforehand = [
        System(name=f"named for {rate}: {name_of(one)}", plan=one.plan, only=rate)
        for rate, hiding in found.items()
        for one in picked(hiding, WANTED.get(rate, 0.0), most)
    ]
    return [*chosen, *beforehand, *peers]


def turns(known: Sequence[System], rates: Sequence[str], rounds: int) -> Iterator[tuple[int, str, list[System]]]:
    """Round, rate and the systems in their order: forwards, then backwards, and so on."""
    for number in range(rounds):
        there = -1 if number % 2 else 1
        for rate in rates[::there]:
            yield number, rate, [one for one in known[::there] if one.runs_at(rate)]


def typical(runs: Sequence[Sequence[float]], period: int) -> float:
    """The median over the periods of all runs of a period's mean step; nan where there is no whole one."""
    means = [
        sum(steps[start : start + period]) / period
        for steps in runs
        for start in range(0, len(steps) - period + 1, period)
    ]
    return median(means) if means else nan


def table_lines(known: Sequence[System], rates: Sequence[str], runs: Sequence[Run]) -> Iterator[str]:
    """A row for each system; a dash where it has not run."""
    yield f"| s a step (share of its own speed without a limit) | {' | '.join(rates)} |"
    yield f"|---|{'--:|' * len(rates)}"
    for one in known:
        of = {rate: [run.seconds for run in runs if (run.system, run.rate) == (one.name, rate)] for rate in rates}
        found = {rate: typical(seconds, one.period) for rate, seconds in of.items() if seconds}
        free = found.get("none", nan)
        yield f"| {one.name} | {' | '.join(_cell(found.get(rate), free) for rate in rates)} |"


def _cell(seconds: float | None, free: float) -> str:
    if seconds is None or isnan(seconds):
        return "–" if seconds is None else "died"
    return f"{seconds:.2f}" if isnan(free) else f"{seconds:.2f} ({free / seconds:.0%})"


def rank(size: str, plan: Plan, steps: int) -> None:
    """One of the two ranks: prints every step's seconds."""
    dist.init_process_group("gloo")
    job = PeerJob(size, plan)
    seconds: list[float] = []
    for number in range(_WARM_UP + steps):
        start = time.perf_counter()
        job.step(number)
        seconds.append(time.perf_counter() - start)
    dist.barrier()
    print(json.dumps(seconds[_WARM_UP:]))


def peer(size: str, hook: Sequence[str], steps: int) -> None:
    """One of the two ranks of the peers' own script, which says its steps, too, when it reports."""
    report = common.Meter.report

    def telling(meter: Any) -> None:
        report(meter)
        print(json.dumps(meter.t[meter.warmup :]), flush=True)

    common.Meter.report = telling
    sys.argv = ["native.py", "ddp", "--size", size, "--steps", str(steps), "--warmup", str(_WARM_UP), *hook]
    runpy.run_path(str(PEERS / "native.py"), run_name="__main__")


def steps_of(spaces: Sequence[Space], size: str, system: System, steps: int) -> list[float]:
    """The slower rank's seconds of each of so many steps; nothing where a peer dies in each of three attempts.

    torch's PowerSGD hook now and then does on gloo: its collectives start in callbacks, whose order two ranks need not
    share."""
    command = [sys.executable, __file__, "--size", size, "--steps", str(steps)]
    if system.plan is not None:
        return _slower(_both(spaces, [*command, "--rank", json.dumps(plan_table(system.plan))]))
    for _ in range(_ATTEMPTS):
        more = {"BENCH_OUT": os.devnull, "LOCAL_RANK": "0"}
        words = _both(spaces, [*command, "--peer", json.dumps(system.hook)], more, ends_well=False)
        if all(said.strip().endswith("]") for said in words):  # it may die at its very end, all said
            return _slower(words)
        print(f"{system.name} died", file=sys.stderr, flush=True)
    return []


def _slower(words: Sequence[str]) -> list[float]:
    return [max(pair) for pair in zip(*(json.loads(said.splitlines()[-1]) for said in words), strict=True)]


def _both(
    spaces: Sequence[Space], command: Sequence[str], more: Mapping[str, str] | None = None, *, ends_well: bool = True
) -> list[str]:
    """One command on both hosts; what each printed. Raises CalledProcessError where one fails that should end well."""
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


def measure(given: argparse.Namespace) -> None:
    """Ask the planner, run all turns, print the table; the record is written before the first run, and after each."""
    rates = given.rates.split(",")
    found = named(given.size, rates, api.measured(given.measurements, tell=print)) if given.named else {}
    known, runs = systems(given.size, given.systems.split(",,"), found, given.named), list[Run]()
    document = {
        "question": "two hosts of one rank each on a slow link, seconds a step",
        "size": given.size,
        "machine": platform.processor() or platform.machine(),
        "date": time.strftime("%F"),
        "command": " ".join(sys.argv),
        "named_beforehand": {rate: as_recorded(one) for rate, one in found.items()},
        "systems": {one.name: {"period": one.period, "plan": one.plan and plan_table(one.plan)} for one in known},
    }
    _record(given.out, document, runs)
    for number, rate, order in turns(known, rates, given.rounds):
        with hosts_apart(2, rate, f"s{os.getpid() % 100000}") as spaces:
            for one in order:
                seconds = steps_of(spaces, given.size, one, one.steps(given.steps, given.rounds))
                runs.append(Run(round=number, rate=rate, system=one.name, seconds=seconds))
                _record(given.out, document, runs)
                shown = f"{typical([seconds], one.period):8.3f} s a step"
                print(f"{number} {rate:9} {one.name:34} {shown}", file=sys.stderr, flush=True)
    print("\n".join(table_lines(known, rates, runs)))


def _record(out: Path | None, document: Mapping[str, Any], runs: Sequence[Run]) -> None:
    if out is not None:
        out.write_text(json.dumps({**document, "runs": [vars(run) for run in runs]}) + "\n", encoding="utf-8")


def main() -> None:
    """What is asked for on the command line; or one rank of it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", choices=("tiny", "main"), default="main")
    arguments.add_argument("--rates", default="none,1gbit,200mbit,50mbit")
    arguments.add_argument("--systems", default=",,".join([*_CHOSEN, *_HOOKS]), help="names, between double commas")
    arguments.add_argument("--named", type=int, default=2, help="so many, at each rate, of what the planner names")
    arguments.add_argument("--measurements", type=Path, help="of `plait profile`, that the planner is asked with")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=3, help="of a run, at least; of what has periods, whole ones")
    arguments.add_argument("--rank", help=argparse.SUPPRESS)
    arguments.add_argument("--peer", help=argparse.SUPPRESS)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    if given.rank is not None:
        rank(given.size, Plan(**with_tuples(json.loads(given.rank))), given.steps)
    elif given.peer is not None:
        peer(given.size, json.loads(given.peer), given.steps)
    else:
        measure(given)


if __name__ == "__main__":
    main()
