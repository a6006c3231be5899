"""What benchmarks of whole steps share: systems that take turns, and what is printed and kept of them: medians by
system, their ratios to others, every raw figure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import torch.distributed as dist
from peer_job import PeerJob

__all__ = ["in_turns", "options", "slower_rank", "tell"]

_WARM_UP = 2


def options(description: str | None) -> argparse.Namespace:
    """What the command line asks for: size, rounds, steps, and a file for the raw figures."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", choices=("tiny", "main"), default="tiny")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--out", type=Path)
    return arguments.parse_args()


def in_turns(jobs: Mapping[str, PeerJob], rounds: int, steps: int) -> dict[str, list[float]]:
    """On every rank: the seconds of `steps` steps of each job, one job after another, in each of so many rounds. Ranks
    begin each step together; the first steps of a job don't count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            for number in range(steps if turn else _WARM_UP):
                dist.barrier()
                start = perf_counter()
                job.step(number)
                if turn:
                    seconds[name].append(perf_counter() - start)
    return seconds


def slower_rank(ranks: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Of what each rank took for every step the longest, by system."""
    return {name: [max(one) for one in zip(*(rank[name] for rank in ranks), strict=True)] for name in ranks[0]}


def tell(size: str, seconds: Mapping[str, Sequence[float]], to: Sequence[str], out: Path | None) -> None:
    """Print a Markdown table, ratios to the systems `to`; write every step's seconds to `out`, if there is one."""
    if out is not None:
        out.write_text(json.dumps({"size": size, "seconds": seconds}) + "\n", encoding="utf-8")
    middle = {name: median(values) for name, values in seconds.items()}
    print(f"| {size} | ms a step | {' | '.join(f'to {name}' for name in to)} |\n|---|--:|{'--:|' * len(to)}")
    for name, one in middle.items():
        print(f"| {name} | {1e3 * one:.1f} | {' | '.join(f'{one / middle[other]:.3f}' for other in to)} |")
