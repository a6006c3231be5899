"""Keys with a closed list of values: which of them are built, and which have their place but no part yet.

The contract names more than stands: a value whose part is to come is refused with "not built yet", never ignored.
Whoever builds a part moves its value from `coming` to `built`; nothing else has to know. Where values are words with a
number in them, the room that reads them (`compression`) judges them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from plait.errors import Problem
from plait.specs.catalogue import device_problem, inter_link_problem, intra_link_problem
from plait.specs.compression import compression_problem
from plait.specs.connections import BETWEEN, INSIDE
from plait.specs.devices import DEVICES
from plait.specs.grids import SCHEDULES, schedule_problem
from plait.specs.wording import nearest, shown

__all__ = ["CHOICES", "COMING_KEYS", "ELSEWHERE", "Choice", "judge"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The values of one key. `coming` lists those without a part yet, `forms` is a pattern for what can't be listed.

    `sometimes`: built, but legal only with some values of other keys, which is the matter of a rule (`plans`).
    `judged`: who says what is wrong with a value, in place of these lists. `label`: of machines elsewhere, any word
    will do.
    """

    built: tuple[str | int, ...]
    sometimes: tuple[str | int, ...] = ()
    coming: Sequence[str | int] = ()
    forms: str = ""
    judged: Callable[[object], Problem | None] | None = None
    label: bool = False


def _by_name(key: str, problem: Callable[[str, str], Problem | None]) -> Callable[[object], Problem | None]:
    return lambda value: problem(key, str(value))


_ANY = range(-1, 2**63)  # every whole number that the border lets pass

CHOICES: Mapping[str, Choice] = {
    "model.family": Choice(built=("gpt",), coming=("bert", "t5")),
    "model.positions": Choice(built=("learned", "rope"), coming=("alibi", "relative")),
    "model.norm": Choice(built=("layer", "rms")),
    "model.activation": Choice(built=("gelu", "relu", "swiglu"), coming=("geglu",)),
    "model.encoder_layers": Choice(built=(0,), coming=_ANY),
    "model.query_norm": Choice(built=(False,), coming=(True,)),
    "model.branches": Choice(built=("serial",), coming=("parallel", "one-norm")),
    "model.post_norms": Choice(built=(False,), coming=(True,)),
    "model.embedding_norm": Choice(built=(False,), coming=(True,)),
    "model.token_types": Choice(built=(0,), coming=_ANY),
    "model.prediction_layers": Choice(built=(0,), coming=_ANY),
    "training.precision": Choice(built=("fp32", "bf16", "fp64")),
    "training.optimizer": Choice(built=("adamw", "sgd")),
    "training.decay": Choice(built=("cosine", "linear", "none")),
    "cluster.name": Choice(built=("local",), forms=".+", label=True),
    "cluster.device": Choice(built=tuple(DEVICES), judged=_by_name("cluster.device", device_problem)),
    "cluster.intra_link": Choice(built=tuple(INSIDE), judged=_by_name("cluster.intra_link", intra_link_problem)),
    "cluster.inter_link": Choice(built=tuple(BETWEEN), judged=_by_name("cluster.inter_link", inter_link_problem)),
    "plan.context": Choice(built=(1,), coming=_ANY),
    "plan.expert": Choice(built=(1,), coming=_ANY),
    "plan.schedule": Choice(built=SCHEDULES, judged=schedule_problem),
    "plan.offload": Choice(built=("none", "optimizer")),
    "plan.recompute": Choice(built=("none",), coming=("selective", "full")),
    "plan.synchronisation": Choice(built=("all-reduce", "local-sgd", "diloco", "parameter-server")),
    "plan.compression": Choice(built=("none", "fp16", "bf16", "int8"), judged=compression_problem),
    "plan.gradient_precision": Choice(built=("fp32",), sometimes=("fp64",), coming=("bf16", "fp16")),
}

COMING_KEYS = frozenset(  # keys that have no value yet with which this machine could run a job
    {
        "model.head_width",
        "model.window",
        "model.query_bias",
        "model.norm_bias",
        "model.experts",
        "model.latent",
    }
)
ELSEWHERE = frozenset({"cluster.intra_link", "cluster.price_per_hour", "cluster.power_watts"})  # of catalogue machines


def judge(key: str, value: object, *, here: bool = True) -> Problem | None:
    """What is wrong with the value of a key, as far as its list of values says; None for any other key.

    `here`: whether this machine is to run it. For machines of the catalogue a job is planned only, and may have what is
    described and can be priced before there is a part that runs it.
    """
    name = key.rpartition(".")[2]
    if key in COMING_KEYS:
        return Problem(key=key, message=f"{name} is not built yet", legal="leave it out") if here else None
    if here and key in ELSEWHERE:
        message = f"{name} is of a catalogue device's machines, and there is no device"
        return Problem(key=key, message=message, legal="leave it out, or name a device")
    choice = CHOICES.get(key)
    if choice is not None and choice.judged is not None:
        return choice.judged(value)
    if choice is None or value in choice.built or value in choice.sometimes:
        return None
    if not here and (choice.label or value in choice.coming):
        return None
    return _refused(key, value, choice)


def _refused(key: str, value: object, choice: Choice) -> Problem:
    name = key.rpartition(".")[2]
    if value in choice.coming or (isinstance(value, str) and choice.forms and re.fullmatch(choice.forms, value)):
        return Problem(key=key, message=f"{name} = {shown(value)} is not built yet", legal=choice.built)
    known = [str(word) for word in (*choice.built, *choice.coming)]
    found = nearest(str(value), known)[0]
    coming = ", which is not built yet" if found not in map(str, choice.built) else ""
    message = f"{name} = {shown(value)} is not one of its values; the nearest is {found}{coming}"
    return Problem(key=key, message=message, legal=choice.built)
