"""Is one rank of Plait as fast as a plain PyTorch loop? Paired steps in one process, taken in turn.

    python benchmarks/one_rank.py --size tiny --pairs 40
    python benchmarks/one_rank.py --size main --pairs 20

Three loops with the peers' weights and batches: the peers' own model and AdamW as their script has it; Plait's plain
decoder with fused AdamW in a hand-written loop; Plait as it trains (plan, schedule, executor, buckets). The target is
a ratio of at most 1.02 to the faster of the two plain loops.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from peer_job import PeerJob, common, decoder_of

from plait.models.sequences import Sequences
from plait.plans.plan import Plan

_SAME_STEPS = 50  # in float32 two orders of summing drift apart; over these steps they have to end as one


def main() -> None:
    """Time the three loops and print one JSON document."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", choices=list(common.SIZES), default="tiny")
    arguments.add_argument("--pairs", type=int, default=20)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    loops = {
        "peers' plain loop": peers_loop(given.size),
        "plain loop": plain_loop(given.size),
        "plait": plait(given.size),
    }
    seconds = timed(loops, given.pairs)
    medians = {name: median(values) for name, values in seconds.items()}
    plain = min(medians["peers' plain loop"], medians["plain loop"])
    print(
        json.dumps(
            {
                "question": "one rank of Plait beside a plain loop",
                "size": given.size,
                "machine": platform.processor() or platform.machine(),
                "date": time.strftime("%F"),
                "medians": medians,
                "ratio": medians["plait"] / plain,
                "seconds": seconds,
            }
        )
    )


def peers_loop(size: str) -> Callable[[int], float]:
    """The peers' `single`, as in their script."""
    c = common.cfg_of(size)
    model, batches = common.build_model(c), common.make_batches(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)

    def step(number: int) -> float:
        tokens, targets = batches[number % len(batches)]
        loss = common.loss_fn(model(tokens), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def plain_loop(size: str) -> Callable[[int], float]:
    """Plait's plain decoder in the loop that anyone would write, with the fused optimizer."""
    decoder, batches = decoder_of(size), common.make_batches(common.cfg_of(size))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-4, weight_decay=0.1, fused=True)

    def step(number: int) -> float:
        tokens, targets = batches[number % len(batches)]
        loss = decoder(Sequences.of(tokens, targets)) / targets.numel()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def plait(size: str) -> Callable[[int], float]:
    """Plait under a plan of one rank."""
    c = common.cfg_of(size)
    job = PeerJob(size, Plan(stages=(c.layers,), microbatch=c.batch))

    def step(number: int) -> float:
        loss = job.step(number)
        assert loss is not None  # one rank is the last stage
        return loss

    return step


def timed(loops: dict[str, Callable[[int], float]], pairs: int) -> dict[str, list[float]]:
    """Seconds of every step of every loop, after two steps of warm-up; the loops take turns, and their losses agree."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(pairs + 2):
        losses: list[float] = []
        for name, step in loops.items():
            start = time.perf_counter()
            losses.append(step(number))
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
        if number < _SAME_STEPS and max(losses) - min(losses) > 1e-4:
            raise SystemExit(f"step {number}: the losses part: {losses}")
    return seconds


if __name__ == "__main__":
    main()
