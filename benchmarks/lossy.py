"""Does what loses something learn as well? The held-out loss after the same tokens, beside the dense run's.

    python benchmarks/lossy.py --seeds 3                    a small decoder, 400 steps
    python benchmarks/lossy.py --job demo --seeds 3         examples/demo.toml: its model, tokens and 400 steps
    python benchmarks/lossy.py --job demo --late            averages arrive a step later, as between hosts

Two replicas. The small decoder reads this project's documents as bytes, of which the last tenth is held out; the demo
reads the standard library's source. A ratio of 1.01 is 1 % more loss than dense. Writes a record to
benchmarks/results/, and a line for each run as it ends; `--plans` takes names, between double commas.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Literal, Protocol
from unittest import mock

import torch

from plait import load
from plait.collectives.process_groups import build_mesh
from plait.collectives.shared_memory import SharedMemory
from plait.data.dataset import TokenDataset, load_tokens
from plait.data.loader import Batch, Loader, validation_batches
from plait.launchers import RankPool
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.parallel.model import ParallelModel
from plait.plans.plan import Plan
from plait.plans.rows import rows_of
from plait.sharding.boxes import Interval
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.hosts import prepared_tokens
from plait.training.optimizer import Optimizer
from plait.training.portions import given_out
from plait.training.step import train_step

__all__ = ["JOBS", "PLANS", "Task", "held_out_loss", "main", "task_of"]

JobName = Literal["small", "demo"]

JOBS: tuple[JobName, ...] = ("small", "demo")
PLANS = {
    "dense": {},
    "fp16": {"compression": "fp16"},
    "int8": {"compression": "int8"},
    "powersgd:4": {"compression": "powersgd:4"},
    "topk:0.01": {"compression": "topk:0.01"},
    "local-sgd, H = 8": {"synchronisation": "local-sgd", "local_steps": 8},
    "diloco, H = 8": {"synchronisation": "diloco", "local_steps": 8},
    "diloco, H = 2": {"synchronisation": "diloco", "local_steps": 2},
    "diloco, H = 2, int8": {"synchronisation": "diloco", "local_steps": 2, "compression": "int8"},
    "diloco, H = 4, int8": {"synchronisation": "diloco", "local_steps": 4, "compression": "int8"},
    "diloco, H = 8, int8": {"synchronisation": "diloco", "local_steps": 8, "compression": "int8"},
    "diloco, H = 16, int8": {"synchronisation": "diloco", "local_steps": 16, "compression": "int8"},
    "server, staleness 2": {"synchronisation": "parameter-server", "staleness": 2},
    "server, unbounded": {"synchronisation": "parameter-server", "staleness": -1},
}
_MODEL = ModelSpec(layers=2, hidden=64, heads=4, kv_heads=4, ffn=256, vocab=256, max_positions=64)
_TRAINING = TrainingSpec(steps=400, global_batch=16, sequence_length=64, learning_rate=2e-3, warmup_steps=40)
_HELD_OUT_TOKENS = 1 << 16
_ROOT = Path(__file__).resolve().parent
_DEMO = _ROOT.parent / "examples" / "demo.toml"
_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run: what learns, how, under which plan, from which text. `late`: as if the wire went on by itself."""

    model: ModelSpec
    training: TrainingSpec
    plan: Plan
    tokens: Path | None  # the demo's; the small decoder's are bytes
    late: bool


class _Text(Protocol):
    """Batches, as the rows of one replica with the number of targets that the whole batch has."""

    def batch(self, step: int, rows: Interval) -> tuple[Sequences, int]: ...

    def held_out(self, rows: Interval) -> Iterator[tuple[Sequences, int]]: ...


def held_out_loss(task: Task) -> float:
    """On every rank: train, and the mean loss of what was held out."""
    with mock.patch.object(SharedMemory, "in_background", new=task.late):
        return _trained(task)


def _trained(task: Task) -> float:
    model_spec, training, plan = task.model, task.training, task.plan
    with torch.device("meta"):
        decoder = Decoder(model_spec, seed=training.seed)
    model = parallelize(decoder, plan, build_mesh(plan.mesh))
    decays = {weight.name: weight.decays for layer in describe_gpt(model_spec) for weight in layer.weights}
    optimizer = Optimizer(model.shards, model.applied, decays, training)
    place = model.mesh.coordinate("data")
    text = _Bytes(training) if task.tokens is None else _Tokens(load_tokens(task.tokens), training)
    for step, part in _portions(model, optimizer, training.steps) if model.server else _steps(training.steps, place):
        train_step(model, optimizer, *text.batch(step, rows_of(plan, training.global_batch, part)), training)
    total, count = 0.0, 0
    for sequences, targets in text.held_out(rows_of(plan, training.global_batch, place)):
        total += model.evaluate(sequences) or 0.0
        count += targets
    return total / count


def _steps(steps: int, place: int) -> Iterator[tuple[int, int]]:
    """All steps, and this replica's part of each."""
    return ((step, place) for step in range(steps))


def _portions(model: ParallelModel, optimizer: Optimizer, steps: int) -> Iterator[tuple[int, int]]:
    """The steps, and the parts of them, that a server gives this rank."""
    server = model.server
    assert server is not None
    server.start(optimizer)
    for portion, _ in given_out(server, steps * server.workers):
        yield divmod(portion, server.workers)
    server.close()


class _Bytes:
    def __init__(self, training: TrainingSpec) -> None:
        texts = b"".join(path.read_bytes() for path in sorted((_ROOT.parent / "docs").glob("*.md")))
        tokens = torch.frombuffer(bytearray(texts), dtype=torch.uint8).long()
        border = len(tokens) * 9 // 10
        self._learned, self._held_out = tokens[:border], tokens[border:]
        self._training = training

    def batch(self, step: int, rows: Interval) -> tuple[Sequences, int]:
        return self._drawn(self._learned, 1000 * self._training.seed + step, step, rows)

    def held_out(self, rows: Interval) -> Iterator[tuple[Sequences, int]]:
        for number in range(16):
            yield self._drawn(self._held_out, number, number, rows)

    def _drawn(self, text: torch.Tensor, seed: int, step: int, rows: Interval) -> tuple[Sequences, int]:
        length, count = self._training.sequence_length, self._training.global_batch
        starts = torch.randint(len(text) - length, (count,), generator=torch.Generator().manual_seed(seed))
        whole = text[starts[:, None] + torch.arange(length + 1)]  # (global batch, length + 1)
        sequences = Sequences.of(whole[:, :-1], whole[:, 1:], first_sample=step * count, step=step)
        return sequences.rows(*rows), count * length


class _Tokens:
    def __init__(self, dataset: TokenDataset, training: TrainingSpec) -> None:
        self._dataset, self._training = dataset, training
        length, count = training.sequence_length, training.global_batch
        self._loader = Loader(part=dataset.training, sequence_length=length, global_batch=count, seed=training.seed)

    def batch(self, step: int, rows: Interval) -> tuple[Sequences, int]:
        return self._as_sequences(self._loader.batch(step, *rows), step)

    def held_out(self, rows: Interval) -> Iterator[tuple[Sequences, int]]:
        length, count = self._training.sequence_length, self._training.global_batch
        start, stop = rows
        for batch in validation_batches(
            self._dataset.validation, sequence_length=length, global_batch=count,
            max_sequences=_HELD_OUT_TOKENS // length, start=start, stop=stop,
        ):  # fmt: skip
            yield self._as_sequences(batch, 0)

    def _as_sequences(self, batch: Batch, step: int) -> tuple[Sequences, int]:
        return Sequences.of(batch.tokens, batch.targets, samples=batch.samples, step=step), batch.target_count


def task_of(job: JobName, steps: int | None) -> Task:
    """The dense run of a job; `steps` in place of its own, a tenth of them warm-up."""
    if job == "small":
        model, training, tokens = _MODEL, _TRAINING, None
    else:
        demo = load(_DEMO)
        model, training, tokens = demo.model, demo.training, prepared_tokens(demo).folder
    if steps is not None:
        training = replace(training, steps=steps, warmup_steps=steps // 10)
    plan = Plan(data=2, data_shares=(1, 1), stages=(model.layers,), microbatch=training.global_batch // 2)
    return Task(model=model, training=training, plan=plan, tokens=tokens, late=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the plans, and record their losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=JOBS, default="small")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plans", default=",,".join(PLANS))
    parser.add_argument("--late", action="store_true")
    parser.add_argument("--record", type=Path)
    asked = parser.parse_args(arguments)
    whole = replace(task_of(asked.job, asked.steps), late=asked.late)
    names = asked.plans.split(",,")
    losses: dict[str, list[float]] = {name: [] for name in names}
    with RankPool(2) as pool:
        for seed in range(asked.seeds):
            for name in names:
                training, plan = replace(whole.training, seed=seed), replace(whole.plan, **PLANS[name])
                one = replace(whole, training=training, plan=plan)
                losses[name].append(pool.run(held_out_loss, one, timeout=_SECONDS)[0])
                ratio = losses[name][-1] / losses[names[0]][-1]
                print(f"seed {seed}  {name:22} {losses[name][-1]:.4f}  {ratio:.4f}", flush=True)
    ratios = {name: fmean(found) / fmean(losses[names[0]]) for name, found in losses.items()}
    record = {"date": date.today().isoformat(), "job": asked.job, "late": asked.late, "steps": whole.training.steps,
              "losses": losses, "ratios": ratios}  # fmt: skip
    path = asked.record or _ROOT / "results" / f"lossy_{asked.job}{'_late' * asked.late}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
