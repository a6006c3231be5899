"""The rules between the keys of `[model]`: what no plan could mend."""

from __future__ import annotations

from plait.plans.arrangements import divisors_near
from plait.plans.rule import Breach, Rule, multiples_near
from plait.specs.job import Job
from plait.specs.wording import shown

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
    turned = "features a head is odd; rope turns them in pairs"
    if model.latent is not None:
        said = f"latent.rotated = {model.latent.rotated} {turned}"
        return Breach(key="model.latent", message=said, legal="an even number of rotated features")
    if model.head_width is not None:
        near = (model.head_width - 1, model.head_width + 1)
        said = f"head_width = {model.head_width} {turned}"
        return Breach(key="model.head_width", message=said, remedies=(("model.head_width", near),), legal="an even one")
    heads = [
        n for n in divisors_near(model.hidden, model.heads) if n % model.kv_heads == 0 and model.hidden // n % 2 == 0
    ]
    return Breach(
        key="model.heads",
        message=f"hidden / heads = {model.hidden} / {model.heads} = {model.head_dim} {turned}",
        remedies=(
            ("model.heads", heads),
            ("model.hidden", multiples_near(model.hidden, 2 * model.heads)),
            ("model.positions", ("learned",)),
        ),
        legal="heads of an even number of features",
    )


def _stacks(job: Job) -> bool:
    model = job.model
    return model.encoder_layers < model.layers if model.family == "t5" else model.encoder_layers == 0


def _no_stacks(job: Job) -> Breach:
    model = job.model
    own = f"family = {shown(model.family)} has no encoder of its own"
    few = f"encoder_layers = {model.encoder_layers} leave none of the {model.layers} layers to the decoder"
    return Breach(
        key="model.encoder_layers",
        message=few if model.family == "t5" else f"encoder_layers = {model.encoder_layers}, but {own}",
        remedies=(("model.encoder_layers", (model.layers // 2,) if model.family == "t5" else (0,)),),
        legal="fewer than layers, in a t5",
    )


def _chooses(job: Job) -> bool:
    experts = job.model.experts
    return experts is None or experts.per_token <= experts.count


def _too_few_experts(job: Job) -> Breach:
    experts = job.model.experts
    sent, count = (experts.per_token, experts.count) if experts else (0, 0)
    return Breach(
        key="model.experts",
        message=f"a token is sent to per_token = {sent} of count = {count} experts",
        legal=f"per_token from 1 to {count}",
    )


MODEL_RULES = (
    Rule(reads=frozenset({"model.layers", "model.encoder_layers", "model.family"}), holds=_stacks, breach=_no_stacks),
    Rule(reads=frozenset({"model.experts"}), holds=_chooses, breach=_too_few_experts),
    Rule(reads=frozenset({"model.hidden", "model.heads"}), holds=_even_heads, breach=_uneven_heads),
    Rule(reads=frozenset({"model.heads", "model.kv_heads"}), holds=_even_groups, breach=_uneven_groups),
    Rule(
        reads=frozenset({"model.hidden", "model.heads", "model.positions"}),  # widths of their own are judged alone
        holds=_rotates,
        breach=_odd_head,
    ),
)
