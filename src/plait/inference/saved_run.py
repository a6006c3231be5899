"""What a training run has left, made ready to answer: the model's shape, its weights, its tokenizer.

    runs/demo/  model.json ──► ModelSpec ──┐
                weights/   ──► tensors ────┴─► Decoder
                tokenizer.json ──────────────► Tokenizer

Nothing that stands in these files is believed before it is checked against the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from plait.checkpoint.load import load_weights
from plait.checkpoint.manifest import MANIFEST, read_manifest
from plait.data.tokenizer import Tokenizer, load_tokenizer
from plait.errors import UnusableInput
from plait.inference.decoder import decoder_around
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.plans.holdings import held_weights
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.training.run_directory import RunDirectory

__all__ = ["SavedRun", "load_run"]

_SPEC = TypeAdapter(ModelSpec)
_COUNTS = ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "max_positions")


@dataclass(frozen=True, kw_only=True)
class SavedRun:
    """A trained model with the tokenizer that it was trained with."""

    decoder: Decoder
    tokenizer: Tokenizer
    step: int


def load_run(path: Path, device: torch.device | str = "cpu") -> SavedRun:
    """The model of a run, on `device`. Raises UnusableInput where there is no run, where its training has not saved
    anything yet, and for files that are missing, damaged or of different models."""
    run = RunDirectory(path)
    if not path.is_dir():
        raise UnusableInput(f"{path}: there is no such run; `plait train` leaves one")
    spec = _read_spec(path / "model.json")
    if not (run.weights / MANIFEST).exists():
        raise UnusableInput(f"{path}: has no saved weights: its training has not finished")
    tokenizer = load_tokenizer(run.tokenizer)
    if tokenizer.vocab > spec.vocab:
        raise UnusableInput(f"{run.tokenizer}: has {tokenizer.vocab} tokens, and the model knows {spec.vocab}")
    manifest = read_manifest(run.weights)
    if spec.layers > len(manifest.shapes):  # before a description of so many layers is made
        raise UnusableInput(f"{run.weights}: the weights of fewer layers than the {spec.layers} of model.json")
    held = held_weights(describe_gpt(spec), Plan(stages=(spec.layers,)), 0)
    weights = {name: weight.to(device) for name, weight in load_weights(run.weights, held).items()}
    return SavedRun(decoder=decoder_around(spec, weights), tokenizer=tokenizer, step=manifest.step)


def _read_spec(path: Path) -> ModelSpec:
    try:
        spec = _SPEC.validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        raise UnusableInput(f"{path}: missing, so that this is no run that `plait train` has left") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnusableInput(f"{path}: not the shape of a model: {place} {first['msg']}") from error
    except OSError as error:
        raise UnusableInput(f"{path}: can't be read: {error.strerror or error}") from error
    if fault := _fault(spec):
        raise UnusableInput(f"{path}: not the shape of a model: {fault}")
    return spec


def _fault(spec: ModelSpec) -> str:
    """Why no decoder can have this shape; empty where one can."""
    for name in _COUNTS:
        if not 1 <= getattr(spec, name) < 2**63:
            return f"{name} = {getattr(spec, name)}"
    if spec.hidden % spec.heads or spec.heads % spec.kv_heads:
        return f"{spec.hidden} features, {spec.heads} heads and {spec.kv_heads} kv heads don't divide one another"
    if spec.family != "gpt" or spec.positions not in ("learned", "rope"):
        return f"a {spec.family} with {spec.positions} positions is no decoder of this version"
    if spec.positions == "rope" and spec.head_dim % 2:
        return f"{spec.head_dim} features of a head can't be turned in pairs"
    return ""
