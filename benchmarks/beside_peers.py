"""How do data, tensor and pipeline parallelism and ZeRO on two ranks stand beside the peers? One job, run in turn.

    python benchmarks/beside_peers.py --size tiny --rounds 5 --steps 50
    python benchmarks/beside_peers.py --size main --rounds 3 --steps 9
    python benchmarks/beside_peers.py … --deepspeed /path/to/python       DeepSpeed too, by a Python that has it

Each round runs every system once, whole: the peers by their own unchanged scripts under torchrun, Plait on its ranks
with their weights and batches. A run's figure is the median step of its slowest rank; what is printed are the medians
over the rounds, every raw figure, and the loss that each run ended with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from peer_job import PeerJob, common

from plait.launchers import RankPool
from plait.plans.plan import Plan

__all__ = ["steps_of_rank"]

PEERS = Path(__file__).parent / "peers"
WARM_UP = 2
_TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29533")
_DEEPSPEED = {"zero1": "ZeRO 1", "zero2": "ZeRO 2", "zero3": "ZeRO 3", "pipe": "pipeline"}


def plans(size: str) -> dict[str, Plan]:
    """Plait's plans by name; pipeline stages balanced by FLOPs with the head counted."""
    c = common.cfg_of(size)
    quarter = c.batch // 8
    data = Plan(data=2, stages=(c.layers,), microbatch=c.batch // 2, data_shares=(1, 1))
    return {
        "plait dp2": data,
        **{f"plait ZeRO {level}": replace(data, zero=level) for level in (1, 2, 3)},
        "plait tp2": Plan(tensor=2, stages=(c.layers,), microbatch=c.batch, tensor_shares=(1, 1)),
        "plait pp2": Plan(pipeline=2, stages=stages(c), microbatch=max(1, quarter)),
    }


def stages(c: Any) -> tuple[int, int]:
    """Blocks of two stages, so that the larger one has the fewest FLOPs; the head counts as so many blocks."""
    block = 4 * c.hidden**2 + 3 * c.hidden * c.ffn + 2 * c.seq * c.hidden
    head = c.hidden * c.vocab
    first = min(range(1, c.layers), key=lambda blocks: max(blocks * block, (c.layers - blocks) * block + head))
    return first, c.layers - first


def peers(size: str, steps: int, deepspeed: str | None) -> dict[str, list[str]]:
    """The peers' command lines, by name; `deepspeed`: a Python that has it."""
    microbatch = ["--mb", str(max(1, common.cfg_of(size).batch // 8))]
    tail = ["--size", size, "--steps", str(steps), "--warmup", str(WARM_UP)]

    def native(system: str, *more: str) -> list[str]:
        return [sys.executable, *_TORCHRUN, "native.py", system, *more, *tail]

    found = {
        "DDP": native("ddp"),
        "ZeRO 1, torch": native("ddp_zero1"),
        "FSDP2, ZeRO 2": native("fsdp2_zero2"),
        "FSDP2": native("fsdp2"),
        "tp by hand": native("tp_manual"),
        "tp DTensor": native("tp"),
        "pp torch 1F1B": native("pp_1f1b", *microbatch),
    }
    if deepspeed is not None:
        for system, name in _DEEPSPEED.items():
            found[f"DeepSpeed {name}"] = [deepspeed, *_TORCHRUN, "deepspeed_peer.py", system, *microbatch, *tail]
    return found


def main() -> None:
    """Run the rounds and print one JSON document."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", choices=list(common.SIZES), default="tiny")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--deepspeed", help="a Python that has the package; without one its systems are left out")
    given = arguments.parse_args()
    seconds: dict[str, list[float]] = {}
    losses: dict[str, float] = {}
    for _ in range(given.rounds):
        for name, plan in plans(given.size).items():
            note(seconds, losses, name, *run_plait(given.size, plan, given.steps))
        for name, command in peers(given.size, given.steps, given.deepspeed).items():
            note(seconds, losses, name, *run_peer(command))
    document = {
        "question": "two ranks beside the peers, seconds a step",
        "size": given.size,
        "machine": platform.processor() or platform.machine(),
        "date": time.strftime("%F"),
        "medians": {name: median(values) for name, values in seconds.items()},
        "last_loss": losses,
        "seconds": seconds,
    }
    print(json.dumps(document))


def note(seconds: dict[str, list[float]], losses: dict[str, float], name: str, step: float, loss: float) -> None:
    """Keep one run's figures, and say them on stderr."""
    seconds.setdefault(name, []).append(step)
    losses[name] = loss
    print(f"{name:18} {step * 1e3:9.1f} ms  loss {loss:.5f}", file=sys.stderr, flush=True)


def run_plait(size: str, plan: Plan, steps: int) -> tuple[float, float]:
    """The median step of the slowest rank, and the last loss."""
    with RankPool(plan.ranks, timeout=300) as ranks:
        results = ranks.run(steps_of_rank, size, plan, steps)
    loss = next(loss for _, loss in reversed(results) if loss is not None)
    return max(step for step, _ in results), loss


def steps_of_rank(size: str, plan: Plan, steps: int) -> tuple[float, float | None]:
    """What one rank measures: the median of its steps after warm-up, and the last loss where it is known."""
    job = PeerJob(size, plan)
    times: list[float] = []
    loss = None
    for number in range(WARM_UP + steps):
        start = time.perf_counter()
        loss = job.step(number)
        times.append(time.perf_counter() - start)
    return median(times[WARM_UP:]), loss


def run_peer(command: list[str]) -> tuple[float, float]:
    """The same of a peer, from the line that its script appends to its results. Raises CalledProcessError where it has
    failed before that (DeepSpeed's processes abort now and then when all is done)."""
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory) / "results.jsonl"
        environment = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "BENCH_OUT": str(results)}
        ended = subprocess.run(
            command,
            cwd=PEERS,
            env=os.environ | environment,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=900,
        )
        if not results.exists():
            raise subprocess.CalledProcessError(ended.returncode, command, stderr=ended.stderr)
        row = json.loads(results.read_text(encoding="utf-8").splitlines()[-1])
    return row["med_s"], row["loss_last"]


if __name__ == "__main__":
    main()
