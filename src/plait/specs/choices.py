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
from plait.specs.catalogue import LINKS
from plait.specs.compression import compression_problem
from plait.specs.grids import SCHEDULES, schedule_problem
from plait.specs.wording import nearest, shown

__all__ = ["CHOICES", "COMING_KEYS", "Choice", "judge"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The values of one key. `coming` lists those without a part yet, `forms` is a pattern for what can't be listed.

    `sometimes`: built, but legal only with some values of other keys, which is the matter of a rule (`plans`).
    `judged`: who says what is wrong with a value, in place of these lists.
    """

    built: tuple[str | int, ...]
    sometimes: tuple[str | int, ...] = ()
    coming: Sequence[str | int] = ()
    forms: str = ""
    judged: Callable[[object], Problem | None] | None = None


_ANY = range(-1, 2**63)  # every whole number that the border lets pass

CHOICES: Mapping[str, Choice] = {
    "model.family": Choice(built=("gpt",), coming=("bert", "t5")),
    "model.positions": Choice(built=("learned", "rope"), coming=("alibi", "relative")),
    "model.norm": Choice(built=("layer", "rms")),
    "model.activation": Choice(built=("gelu", "relu", "swiglu")),
    "training.precision": Choice(built=("fp32", "bf16", "fp64")),
    "training.optimizer": Choice(built=("adamw", "sgd")),
    "training.decay": Choice(built=("cosine", "linear", "none")),
    "cluster.name": Choice(built=("local",), forms=".+"),  # the catalogue
    "cluster.inter_link": Choice(built=tuple(LINKS), forms="(ib|roce)-.+"),
    "plan.context": Choice(built=(1,), coming=_ANY),
    "plan.expert": Choice(built=(1,), coming=_ANY),
    "plan.schedule": Choice(built=SCHEDULES, judged=schedule_problem),
    "plan.offload": Choice(built=("none", "optimizer")),
    "plan.recompute": Choice(built=("none",), coming=("selective", "full")),
    "plan.synchronisation": Choice(built=("all-reduce", "local-sgd", "diloco", "parameter-server")),
    "plan.compression": Choice(built=("none", "fp16", "bf16", "int8"), judged=compression_problem),
    "plan.gradient_precision": Choice(built=("fp32",), sometimes=("fp64",), coming=("bf16", "fp16")),
}

COMING_KEYS = frozenset(  # keys that have no value yet with which they would be legal
    {
        "model.huggingface",
        "cluster.device",
        "cluster.intra_link",
        "cluster.groups",
        "cluster.price_per_hour",
        "cluster.power_watts",
    }
)


def judge(key: str, value: object) -> Problem | None:
    """What is wrong with the value of a key, as far as its list of values says; None for any other key."""
    name = key.rpartition(".")[2]
    if key in COMING_KEYS:
        return Problem(key=key, message=f"{name} is not built yet", legal="leave it out")
    choice = CHOICES.get(key)
    if choice is not None and choice.judged is not None:
        return choice.judged(value)
    if choice is None or value in choice.built or value in choice.sometimes:
        return None
    if value in choice.coming or (isinstance(value, str) and choice.forms and re.fullmatch(choice.forms, value)):
        return Problem(key=key, message=f"{name} = {shown(value)} is not built yet", legal=choice.built)
    known = [str(word) for word in (*choice.built, *choice.coming)]
    found = nearest(str(value), known)[0]
    coming = ", which is not built yet" if found not in map(str, choice.built) else ""
    message = f"{name} = {shown(value)} is not one of its values; the nearest is {found}{coming}"
    return Problem(key=key, message=message, legal=choice.built)
