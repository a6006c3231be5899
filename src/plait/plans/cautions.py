"""What is legal but suspicious: a user is told, and nothing is refused.

    learning      a rate of 0, a warm-up longer than the run, more held out than learned from, ...
    the plan      fewer microbatches than stages, a switch that does nothing, bytes that look like megabytes, ...
    the machine   more ranks than cores; of the catalogue's, what was taken for granted (`planned`)

A caution that would have to read a key whose value is not known is not given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from plait.plans.arrangements import degree, row_span, servers_alone
from plait.plans.meetings import FEW, WARM_UPS, is_coarse, meetings_between
from plait.plans.planned import Caution, planned_only
from plait.specs.inputs import vocabulary
from plait.specs.job import Job
from plait.specs.wording import counted, shown

__all__ = ["cautions"]

_STEEP = 0.1  # a learning rate, with Adam
_TINY_BUCKET = 1024  # bytes: nobody means fewer
_SPARE = 2  # times the tokenizer's tokens: a vocabulary beyond it was meant for another


@dataclass(frozen=True, kw_only=True)
class _Sign:
    """`says` is given the job, and answers "" where nothing is odd. `reads`: further keys that it looks at."""

    key: str
    says: Callable[[Job], str]
    reads: frozenset[str] = frozenset()


def cautions(
    job: Job,
    cores: int,
    unknown: frozenset[str] = frozenset(),
    *,
    left_out: frozenset[str] = frozenset(),
    texts_seen: bool = True,
    accelerated: bool = False,
) -> list[Caution]:
    """Everything suspicious about a job that is to run on a machine of so many cores, or on hosts of as many each.

    `unknown`: keys for which the job holds a stand-in. `left_out`: keys of `[training]` that have their default because
    nobody wrote them. `texts_seen`: whether all its texts could be looked at. `accelerated`: whether the machine has an
    accelerator.
    """
    signs = _SIGNS if accelerated else (*_SIGNS, _OF_A_CPU)
    known = [sign for sign in signs if not unknown & {sign.key, *sign.reads}]
    found = [Caution(key=sign.key, message=message) for sign in known if (message := sign.says(job))]
    if job.cluster.elsewhere:
        found += planned_only(job, left_out)
    elif (here := job.cluster.ranks_a_node) > cores:
        where = "this machine" if job.cluster.nodes == 1 else "each host"
        message = f"{counted(here, 'rank')} share the {counted(cores, 'core')} of {where}: "
        found.append(Caution(key="cluster.ranks", message=f"{message}they will wait for each other"))
    if not texts_seen:
        message = "not all of it could be looked at in time: what is missing there, the run will meet"
        found.append(Caution(key="data.text", message=message))
    return found


# ---- learning -------------------------------------------------------------------------------------------------------


def _learning_rate(job: Job) -> str:
    rate = job.training.learning_rate
    if rate == 0:
        return "a learning rate of 0 learns nothing"
    steep = job.training.optimizer == "adamw" and rate > _STEEP
    return f"a learning rate of {rate:g} is far above what adamw takes (1e-5 to 1e-2)" if steep else ""


def _warm_up(job: Job) -> str:
    training = job.training
    longer = training.warmup_steps > training.steps
    return f"warm-up of {training.warmup_steps} steps is longer than the run of {training.steps}" if longer else ""


def _weight_decay(job: Job) -> str:
    decay = job.training.weight_decay
    return f"a weight decay of {decay:g} pulls weights to 0 faster than they learn" if decay >= 1 else ""


def _betas(job: Job) -> str:
    first, second = job.training.betas
    swapped = job.training.optimizer == "adamw" and first > second
    return f"betas = {shown(job.training.betas)}: the first is usually the smaller one; swapped?" if swapped else ""


def _sequence_length(job: Job) -> str:
    return "with sequences of 1 token there is nothing to attend to" if job.training.sequence_length == 1 else ""


def _held_out(job: Job) -> str:
    fraction = job.data.validation_fraction
    return f"{fraction:.0%} of the text are held out: more than is learned from" if fraction > 0.5 else ""


def _dropout(job: Job) -> str:
    dropout = job.model.dropout
    return f"a dropout of {dropout:g} drops more than it keeps" if dropout > 0.5 else ""


def _norm_eps(job: Job) -> str:
    eps = job.model.norm_eps
    return f"norm_eps = {eps:g} outweighs what is normalised (1e-5 is usual)" if eps > 1e-2 else ""


def _vocabulary(job: Job) -> str:
    tokens = vocabulary(job.data.tokenizer)
    if job.cluster.elsewhere or job.model.vocab <= _SPARE * tokens:
        return ""
    return f"vocab = {job.model.vocab}, but tokenizer {shown(job.data.tokenizer)} has {tokens} tokens: most never occur"


def _joins_nothing(job: Job) -> str:
    link = job.cluster.inter_link
    if not link or job.cluster.nodes > 1:
        return ""
    others = "" if job.cluster.elsewhere else ": name `nodes`, or let torchrun start it on several"
    return f"inter_link = {shown(link)} joins nothing where there is one node{others}"


# ---- the plan -------------------------------------------------------------------------------------------------------


def _microbatches(job: Job) -> str:
    stages, replicas = degree(job, "pipeline") or 1, degree(job, "data") or 1
    count = -(-row_span(job, replicas)[1] // cast("int", job.constraints.get("microbatch", 1)))
    some = "1 microbatch" if count == 1 else f"{count} microbatches"
    return f"at most {some} for {stages} stages: some stages always wait" if 0 < count < stages else ""


def _splits_nothing(job: Job) -> str:
    idle = job.constraints.get("sequence_parallel") and degree(job, "tensor") == 1
    return "sequence_parallel does nothing where tensor = 1" if idle else ""


def _shares_with_nobody(job: Job) -> str:
    zero = job.constraints.get("zero")
    return f"zero = {zero} shares nothing out where data = 1" if zero and degree(job, "data") == 1 else ""


def _compresses_nothing(job: Job) -> str:
    form = job.constraints.get("compression", "none")
    idle = form != "none" and degree(job, "data") == 1
    return f"compression = {shown(form)} does nothing where data = 1: no gradients travel" if idle else ""


def _averages_with_nobody(job: Job) -> str:
    how = job.constraints.get("synchronisation", "all-reduce")
    idle = how != "all-reduce" and degree(job, "data") == 1
    return f"synchronisation = {shown(how)} does nothing where data = 1: there is one replica" if idle else ""


def _all_dense(job: Job) -> str:
    how, form = _telling(job)
    steps, first = job.training.steps, WARM_UPS * job.training.warmup_steps
    if not is_coarse(how, form) or degree(job, "data") == 1 or first < steps:
        return ""
    key = f"synchronisation = {shown(how)}" if is_coarse(how, "none") else f"compression = {shown(form)}"
    return (
        f"all {counted(steps, 'step')} are dense: {key} begins after {WARM_UPS} times the warm-up, {first} steps; "
        f"for that training.steps has to be above {first}, or training.warmup_steps at most {(steps - 1) // WARM_UPS}"
    )


def _learns_apart(job: Job) -> str:
    how, _ = _telling(job)
    every = cast("int", job.constraints.get("local_steps", 1))
    first, steps = WARM_UPS * job.training.warmup_steps, job.training.steps
    if not is_coarse(how, "none") or degree(job, "data") == 1 or first >= steps or every == 1:
        return ""
    after = f" that follow {first} dense ones ({WARM_UPS} times the warm-up)" if first else " of the run"
    left = f"the {counted(steps - first, 'step')}{after}"
    if steps - first < every:
        return f"local_steps = {every} is more than {left}: replicas hardly meet before its end"
    count = meetings_between(first, steps, every)
    often = f"replicas meet {counted(count, 'time')} in {left}"
    return f"{often}: too seldom to learn much from each other" if count < FEW else ""


def _learns_never_alone(job: Job) -> str:
    how, _ = _telling(job)
    idle = is_coarse(how, "none") and "local_steps" not in job.constraints and degree(job, "data") != 1
    key = f"synchronisation = {shown(how)}"
    return (
        f"{key} meets in every step, and saves no message: local_steps says how many they learn alone" if idle else ""
    )


def _serves_alone(job: Job) -> str:
    servers, ranks = servers_alone(job), degree(job, "data") or 0
    much = 3 * servers >= ranks > servers > 0
    return f"{servers} of {ranks} data ranks compute nothing; with servers = 0 all serve and compute" if much else ""


def _telling(job: Job) -> tuple[str, str]:
    """How replicas tell each other what they have learned, and in which form."""
    return str(job.constraints.get("synchronisation", "all-reduce")), str(job.constraints.get("compression", "none"))


def _offload(job: Job) -> str:
    if job.constraints.get("offload", "none") == "none" or job.cluster.elsewhere:
        return ""
    return 'offload = "optimizer" makes room on an accelerator; it gains nothing on a CPU, and costs memory and copies'


def _narrow_gradients(job: Job) -> str:
    narrower = job.training.precision == "fp64" and job.constraints.get("gradient_precision") == "fp32"
    return "a job of precision fp64 keeps and sums its gradients in fp64" if narrower else ""


def _buckets(job: Job) -> str:
    size = cast("int", job.constraints.get("bucket_bytes", _TINY_BUCKET))
    return f"bucket_bytes = {size} counts bytes: each weight gets a bucket of its own" if size < _TINY_BUCKET else ""


def _reading(*keys: str) -> frozenset[str]:
    return frozenset(keys)


_DEALT = _reading(
    "plan.stages", "plan.data", "plan.data_shares", "plan.microbatch", "training.global_batch", "model.layers"
)
_TELLING = _reading("plan.synchronisation", "plan.data", "plan.data_shares", "training.steps")

_SIGNS = (
    _Sign(key="training.learning_rate", says=_learning_rate, reads=_reading("training.optimizer")),
    _Sign(key="training.warmup_steps", says=_warm_up, reads=_reading("training.steps")),
    _Sign(key="training.weight_decay", says=_weight_decay),
    _Sign(key="training.betas", says=_betas, reads=_reading("training.optimizer")),
    _Sign(key="training.sequence_length", says=_sequence_length),
    _Sign(key="data.validation_fraction", says=_held_out),
    _Sign(key="model.dropout", says=_dropout),
    _Sign(key="model.norm_eps", says=_norm_eps),
    _Sign(key="model.vocab", says=_vocabulary, reads=_reading("data.tokenizer")),
    _Sign(key="cluster.inter_link", says=_joins_nothing, reads=_reading("cluster.nodes")),
    _Sign(key="plan.pipeline", says=_microbatches, reads=_DEALT),
    _Sign(key="plan.sequence_parallel", says=_splits_nothing, reads=_reading("plan.tensor", "plan.tensor_shares")),
    _Sign(key="plan.zero", says=_shares_with_nobody, reads=_reading("plan.data", "plan.data_shares")),
    _Sign(key="plan.compression", says=_compresses_nothing, reads=_reading("plan.data", "plan.data_shares")),
    _Sign(key="plan.synchronisation", says=_averages_with_nobody, reads=_reading("plan.data", "plan.data_shares")),
    _Sign(key="training.warmup_steps", says=_all_dense, reads=_TELLING | _reading("plan.compression")),
    _Sign(key="plan.local_steps", says=_learns_apart, reads=_TELLING | _reading("training.warmup_steps")),
    _Sign(key="plan.local_steps", says=_learns_never_alone, reads=_TELLING),
    _Sign(key="plan.servers", says=_serves_alone, reads=_TELLING),
    _Sign(key="plan.gradient_precision", says=_narrow_gradients, reads=_reading("training.precision")),
    _Sign(key="plan.bucket_bytes", says=_buckets),
)
_OF_A_CPU = _Sign(key="plan.offload", says=_offload)
