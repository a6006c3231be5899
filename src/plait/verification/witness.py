"""A witness from outside: the published module of a model's family, on the same weights and tokens, one step.

    Decoder (the reference) ── state_dict ──► transformers' LlamaForCausalLM or GPT2LMHeadModel ──► loss, gradients

The one-process reference shares its model with the run that it judges, and so could share a mistake of the model. This
one shares nothing but weights. Casts to float32 inside it are lifted. It knows the two published families and no plan.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from plait.errors import UnusableInput
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.lift import Lift
from plait.verification.probe import DTYPES
from plait.verification.source import Drawn
from plait.verification.trace import Entry, Precision, Trace

__all__ = ["published_module", "witness_traces"]


def witness_traces(model: ModelSpec, training: TrainingSpec, precision: Precision) -> tuple[Trace, Trace]:
    """Loss and gradients of the first step, dropout off: Plait's decoder's, and the published module's.

    Raises UnusableInput where there is none of this shape, or no transformers.
    """
    source = Drawn(model=replace(model, dropout=0.0), training=training)
    ours, batch = source.whole(precision), source.batch(0)
    lift: AbstractContextManager[object] = Lift() if precision == "fp64" else nullcontext()
    with lift:  # frequencies of the rotation are computed where it is built
        theirs = published_module(model).to(DTYPES[precision])
    theirs.load_state_dict(ours.state_dict(), strict=True)
    targets = int((batch.targets != IGNORED).sum()) if batch.targets is not None else 0
    loss = ours(batch) / targets
    loss.backward()
    with lift:
        told = _loss(theirs, batch, targets)
    told.backward()
    return _trace(ours, loss), _trace(theirs, told)


def _loss(theirs: torch.nn.Module, batch: Sequences, targets: int) -> torch.Tensor:
    logits = theirs(input_ids=batch.tokens).logits.flatten(0, 1)
    assert batch.targets is not None
    return F.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORED, reduction="sum") / targets


def _trace(module: torch.nn.Module, loss: torch.Tensor) -> Trace:
    found: Trace = {Entry(1, "loss", "loss"): loss.detach().numpy()}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            found[Entry(1, "gradient", name)] = parameter.grad.numpy()
    return found


def published_module(spec: ModelSpec, attention: str = "eager") -> torch.nn.Module:
    """transformers' module of this shape, dropout off, weights as they happen to be."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    common: dict[str, Any] = {
        "vocab_size": spec.vocab,
        "tie_word_embeddings": spec.tie_embeddings,
        "attn_implementation": attention,
    }
    if _is_gpt2(spec):
        config = GPT2Config(
            n_layer=spec.layers, n_embd=spec.hidden, n_head=spec.heads, n_inner=spec.ffn,
            n_positions=spec.max_positions, layer_norm_epsilon=spec.norm_eps, attn_pdrop=0.0, resid_pdrop=0.0,
            embd_pdrop=0.0, activation_function={"gelu": "gelu_new", "relu": "relu"}[spec.activation],
            bos_token_id=0, eos_token_id=0, **common,
        )  # fmt: skip
        return GPT2LMHeadModel(config).train()
    if not _is_llama(spec):
        raise UnusableInput(
            "transformers has no module of this shape: GPT-2 has learned positions, layer norms, gelu or relu, biases "
            "and as many key/value heads as heads; Llama has rotary positions, rms norms and swiglu"
        )
    rotary: dict[str, Any] = {"rope_theta": spec.rope_theta}
    config = LlamaConfig(
        num_hidden_layers=spec.layers, hidden_size=spec.hidden, num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads, intermediate_size=spec.ffn, max_position_embeddings=spec.max_positions,
        rms_norm_eps=spec.norm_eps, attention_bias=spec.bias, mlp_bias=spec.bias,
        **common, **rotary,
    )  # fmt: skip
    return LlamaForCausalLM(config).train()


def _is_gpt2(spec: ModelSpec) -> bool:
    plain = spec.norm == "layer" and spec.activation in ("gelu", "relu") and spec.bias
    return spec.positions == "learned" and plain and spec.kv_heads == spec.heads


def _is_llama(spec: ModelSpec) -> bool:
    return spec.positions == "rope" and spec.norm == "rms" and spec.activation == "swiglu"
