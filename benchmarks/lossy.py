"""Does what loses something learn as well? The held-out loss after the same tokens, beside the dense run's.

    python benchmarks/lossy.py --steps 400 --seeds 3        writes benchmarks/results/lossy.json, and prints a table

Two replicas of a small decoder read this project's documents as bytes; the last tenth is held out. A ratio of 1.01 is
1 % more loss than dense.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import fmean

import torch

from plait.collectives.process_groups import build_mesh
from plait.launchers import RankPool
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.parallel.model import ParallelModel
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer
from plait.training.portions import given_out
from plait.training.step import train_step

__all__ = ["PLANS", "held_out_loss", "main"]

DENSE = Plan(data=2, data_shares=(1, 1), stages=(2,), microbatch=8)
PLANS = {
    "dense": DENSE,
    "int8": replace(DENSE, compression="int8"),
    "powersgd:4": replace(DENSE, compression="powersgd:4"),
    "topk:0.01": replace(DENSE, compression="topk:0.01"),
    "local-sgd, H = 8": replace(DENSE, synchronisation="local-sgd", local_steps=8),
    "diloco, H = 8": replace(DENSE, synchronisation="diloco", local_steps=8),
    "server, staleness 2": replace(DENSE, synchronisation="parameter-server", staleness=2),
    "server, unbounded": replace(DENSE, synchronisation="parameter-server", staleness=-1),
    "diloco, H = 8, int8": replace(DENSE, synchronisation="diloco", local_steps=8, compression="int8"),
}
_MODEL = ModelSpec(layers=2, hidden=64, heads=4, kv_heads=4, ffn=256, vocab=256, max_positions=64)
_ROOT = Path(__file__).resolve().parent


def held_out_loss(plan: Plan, steps: int, seed: int) -> float:
    """On every rank: train, and the mean loss of what was held out."""
    training = TrainingSpec(
        steps=steps, global_batch=16, sequence_length=64, learning_rate=2e-3, warmup_steps=steps // 10, seed=seed
    )
    with torch.device("meta"):
        decoder = Decoder(_MODEL, seed=seed)
    model = parallelize(decoder, plan, build_mesh(plan.mesh))
    decays = {weight.name: weight.decays for layer in describe_gpt(_MODEL) for weight in layer.weights}
    optimizer = Optimizer(model.shards, model.applied, decays, training)
    learned, held_out = _texts()
    share = training.global_batch // plan.data
    place = model.mesh.coordinate("data")
    mine = (place * share, (place + 1) * share)
    for step, part in _portions(model, optimizer, steps) if model.server else ((step, place) for step in range(steps)):
        rows = _rows(learned, training, torch.Generator().manual_seed(1000 * seed + step), step)
        rows = rows.rows(part * share, (part + 1) * share)
        train_step(model, optimizer, rows, training.global_batch * training.sequence_length, training)
    total, asked = 0.0, 16
    for number in range(asked):
        rows = _rows(held_out, training, torch.Generator().manual_seed(number), number)
        total += model.evaluate(rows.rows(*mine)) or 0.0
    return total / (asked * training.global_batch * training.sequence_length)


def _portions(model: ParallelModel, optimizer: Optimizer, steps: int) -> Iterator[tuple[int, int]]:
    """The steps, and the parts of them, that a server gives this rank."""
    server = model.server
    assert server is not None
    server.start(optimizer)
    for portion, _ in given_out(server, steps * server.workers):
        yield divmod(portion, server.workers)
    server.close()


def _texts() -> tuple[torch.Tensor, torch.Tensor]:
    texts = b"".join(path.read_bytes() for path in sorted((_ROOT.parent / "docs").glob("*.md")))
    tokens = torch.frombuffer(bytearray(texts), dtype=torch.uint8).long()
    border = len(tokens) * 9 // 10
    return tokens[:border], tokens[border:]


def _rows(text: torch.Tensor, training: TrainingSpec, generator: torch.Generator, step: int) -> Sequences:
    length = training.sequence_length
    starts = torch.randint(len(text) - length, (training.global_batch,), generator=generator)
    whole = text[starts[:, None] + torch.arange(length + 1)]  # (global batch, length + 1)
    return Sequences.of(whole[:, :-1], whole[:, 1:], first_sample=step * training.global_batch, step=step)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all plans, and record their losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--record", type=Path, default=_ROOT / "results" / "lossy.json")
    asked = parser.parse_args(arguments)
    losses: dict[str, list[float]] = {name: [] for name in PLANS}
    with RankPool(2) as pool:
        for seed in range(asked.seeds):
            for name, plan in PLANS.items():
                losses[name].append(pool.run(held_out_loss, plan, asked.steps, seed, timeout=600.0)[0])
                ratio = losses[name][-1] / losses["dense"][-1]
                print(f"seed {seed}  {name:22} {losses[name][-1]:.4f}  {ratio:.4f}", flush=True)
    ratios = {name: fmean(found) / fmean(losses["dense"]) for name, found in losses.items()}
    record = {"date": date.today().isoformat(), "steps": asked.steps, "losses": losses, "ratios": ratios}
    asked.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
