"""Planting: while a context is open, a function of the runtime is replaced by a defect, here and on the ranks.

    test ── with plant(…): verify ──► ranks, each task inside of `planted(…)`      carried along by the launcher
    rank ── with plant(…): train_step                                              a rank of somebody else's launcher

It puts back what it found, also where the block raises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from importlib import import_module
from typing import Any
from unittest.mock import patch

from plait.defects import at_data, at_pipeline, at_shards, at_tensor, at_update  # noqa: F401  (they define the zoo)
from plait.defects.defect import Defect, find
from plait.defects.here import Here
from plait.launchers import carry

__all__ = ["plant", "planted"]

_Instead = Callable[..., Any]  # (function, *args)


@contextmanager
def plant(
    name: str | type[Defect], layer: str | None = None, axis: str | None = None, step: int | None = None
) -> Iterator[None]:
    """Plant the defect called `name` (or the class itself) for the length of the block, in this process and in every
    rank that it gives work to.

    Raises ValueError for a name or an axis that there is not, or a layer or a step that the defect can't obey.
    """
    kind = find(name)
    kind(Here(), layer=layer, axis=axis, step=step)  # so that it is told before any rank is asked
    context = partial(planted, kind, layer=layer, axis=axis, step=step)
    with carry(context), context():
        yield


@contextmanager
def planted(
    kind: type[Defect], *, layer: str | None = None, axis: str | None = None, step: int | None = None
) -> Iterator[None]:
    """The same in this process alone."""
    here = Here(layer)
    defect = kind(here, layer=layer, axis=axis, step=step)
    with ExitStack() as stack:
        for target in (kind.wraps,) if isinstance(kind.wraps, str) else kind.wraps:
            stack.enter_context(_replaced(target, defect.instead))
        stack.enter_context(_replaced("plait.parallel.model:ParallelModel.forward_backward", here.note_step))
        stack.enter_context(_replaced("plait.models.gpt:Decoder.layers", here.note_layers))
        yield


@contextmanager
def _replaced(target: str, instead: _Instead) -> Iterator[None]:
    """What stands at "module:dotted.name" replaced by `instead` of it."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    with patch.object(owner, name, _with(inspect.getattr_static(owner, name), instead)):
        yield


def _with(original: Any, instead: _Instead) -> Any:
    match original:
        case property():
            return property(partial(instead, original.fget))
        case staticmethod():
            return staticmethod(_with(original.__func__, instead))
        case _:

            @wraps(original)
            def replacement(*args: Any, **named: Any) -> Any:
                return instead(original, *args, **named)

            return replacement
