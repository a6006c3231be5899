"""The rules between the keys of `[model]`: what no plan could mend."""

from __future__ import annotations

from plait.plans.arrangements import divisors_near
from plait.plans.rule import Breach, Rule, multiples_near
from plait.specs.job import Job

__all__ = ["MODEL_RULES"]


def _even_heads(job: Job) -> bool:
    model = job.model
    return model.head_width is not None or model.latent is not None or model.hidden % model.heads == 0


def _uneven_heads(job: Job) -> Breach:
    model = job.model
    heads = [n for n in divisors_near(model.hidden, model.heads) if n % model.kv_heads == 0]
    return Breach(
        key="model.hidden",
        message=f"hidden = {model.hidden} does not divide into {model.heads} heads",
        remedies=(("model.heads", heads), ("model.hidden", multiples_near(model.hidden, model.heads))),
        legal=f"a multiple of {model.heads}",
    )


def _even_groups(job: Job) -> bool:
    return job.model.heads % job.model.kv_heads == 0


def _uneven_groups(job: Job) -> Breach:
    model = job.model
    return Breach(
        key="model.kv_heads",
        message=f"kv_heads = {model.kv_heads} does not divide the {model.heads} heads",
        remedies=(
            ("model.kv_heads", divisors_near(model.heads, model.kv_heads)),
            ("model.heads", multiples_near(model.heads, model.kv_heads)),
        ),
        legal=f"a divisor of {model.heads}",
    )


def _rotates(job: Job) -> bool:
    model = job.model
    rotated = model.head_dim if model.latent is None else model.latent.rotated
    return model.positions != "rope" or not _even_heads(job) or rotated % 2 == 0


def _odd_head(job: Job) -> Breach:
    model = job.model
    heads = [
        n for n in divisors_near(model.hidden, model.heads) if n % model.kv_heads == 0 and model.hidden // n % 2 == 0
    ]
    return Breach(
        key="model.heads",
        message=(
            f"hidden / heads = {model.hidden} / {model.heads} = {model.head_dim} features a head is odd; "
            "rope turns them in pairs"
        ),
        remedies=(
            ("model.heads", heads),
            ("model.hidden", multiples_near(model.hidden, 2 * model.heads)),
            ("model.positions", ("learned",)),
        ),
        legal="heads of an even number of features",
    )


MODEL_RULES = (
    Rule(reads=frozenset({"model.hidden", "model.heads"}), holds=_even_heads, breach=_uneven_heads),
    Rule(reads=frozenset({"model.heads", "model.kv_heads"}), holds=_even_groups, breach=_uneven_groups),
    Rule(
        reads=frozenset({"model.hidden", "model.heads", "model.positions"}),
        holds=_rotates,
        breach=_odd_head,
    ),
)
