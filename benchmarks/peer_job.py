"""The peers' one fixed job, as Plait runs it: their weights (renamed), their batches, their optimizer's settings.

    peers                                   Plait (published Llama names)
    tok_embeddings.weight                   model.embed_tokens.weight
    layers.0.attention.wq.weight            model.layers.0.self_attn.q_proj.weight
    layers.0.feed_forward.w1 / w3 / w2      model.layers.0.mlp.gate_proj / up_proj / down_proj

So that both end at the same loss, and only the time is left to compare.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from plait.collectives.process_groups import Mesh, build_mesh
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.parallel.model import ParallelModel
from plait.plans.plan import Plan
from plait.plans.rows import rows_of
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer
from plait.training.step import train_step

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import common  # pyright: ignore[reportMissingImports]  # the peers' scripts are no package

__all__ = ["PeerJob", "decoder_of", "last_losses", "spec_of", "training_of"]

_NAMES = {
    "tok_embeddings": "model.embed_tokens",
    "output": "lm_head",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "norm": "model.norm",
}
# AdamW(lr=3e-4, weight_decay=0.1) of every peer: constant rate, torch's default betas, decay on all weights
_TRAINING = TrainingSpec(
    learning_rate=3e-4, warmup_steps=0, decay="none", weight_decay=0.1, betas=(0.9, 0.999), clip_norm=0.0
)


def spec_of(size: str) -> ModelSpec:
    """The peers' model of that size ("main", "tiny") as Plait describes it."""
    c = common.cfg_of(size)
    return ModelSpec(
        layers=c.layers,
        hidden=c.hidden,
        heads=c.heads,
        kv_heads=c.heads,
        ffn=c.ffn,
        vocab=c.vocab,
        max_positions=c.seq,
        positions="rope",
        norm="rms",
        activation="swiglu",
        bias=False,
        tie_embeddings=False,
    )


def training_of(size: str) -> TrainingSpec:
    """The peers' optimizer, with the batches of that size."""
    c = common.cfg_of(size)
    return replace(_TRAINING, global_batch=c.batch, sequence_length=c.seq)


def decoder_of(size: str) -> Decoder:
    """Plait's decoder with the very weights that the peers begin with."""
    decoder = Decoder(spec_of(size))
    weights = common.build_model(common.cfg_of(size)).state_dict()
    decoder.load_state_dict({_renamed(name): tensor for name, tensor in weights.items()})
    return decoder


class PeerJob:
    """One rank's part of the peers' job under a plan; `step(i)` takes their i-th step. `mesh`, `rows`: where the rank
    stands and what it learns from, if that isn't what the plan says."""

    def __init__(self, size: str, plan: Plan, mesh: Mesh | None = None, rows: tuple[int, int] | None = None) -> None:
        self._c = common.cfg_of(size)
        self._batches = common.make_batches(self._c)
        self._model: ParallelModel = parallelize(decoder_of(size), plan, mesh or build_mesh(plan.mesh))
        decays = dict.fromkeys(self._model.shards, True)
        self._optimizer = Optimizer(self._model.shards, self._model.applied, decays, _TRAINING)
        self._rows = rows or rows_of(plan, self._c.batch, self._model.mesh.coordinate("data"))

    def step(self, number: int) -> float | None:
        """One whole training step."""
        tokens, targets = self._batches[number % len(self._batches)]
        rows = Sequences.of(tokens, targets, step=number).rows(*self._rows)
        return train_step(self._model, self._optimizer, rows, targets.numel(), _TRAINING).loss


def last_losses(size: str, plan: Plan, steps: int) -> list[Any]:
    """The losses of `steps` steps; every rank of the plan calls it."""
    torch.set_num_threads(1)
    job = PeerJob(size, plan)
    return [job.step(number) for number in range(steps)]


def _renamed(name: str) -> str:
    stem, _, leaf = name.rpartition(".")
    if stem.startswith("layers."):
        _, number, part = stem.split(".", 2)
        return f"model.layers.{number}.{_NAMES[part]}.{leaf}"
    return f"{_NAMES[stem]}.{leaf}"
