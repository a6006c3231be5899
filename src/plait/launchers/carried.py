"""Contexts that travel: what a program enters around its calls of ranks is entered by the ranks around what they do.

    with carry(context):                      context() is entered on every rank, and left again, around each task
        pool.run(function)

A context is given by a callable that can be pickled, and is made anew on every rank for every task. It knows tasks as
functions; it must not know what they compute, nor what a context is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

__all__ = ["Context", "carried", "carry", "within"]

Context = Callable[[], AbstractContextManager[object]]
T = TypeVar("T")

_carried: list[Context] = []


@contextmanager
def carry(context: Context) -> Iterator[None]:
    """Let every task that this process gives to ranks, for the length of the block, be done inside of `context()`."""
    _carried.append(context)
    try:
        yield
    finally:
        _carried.remove(context)


def carried() -> tuple[Context, ...]:
    """What is carried now, the outermost first."""
    return tuple(_carried)


def within(contexts: tuple[Context, ...], function: Callable[..., T], *args: object) -> T:
    """On a rank: the task, inside of what was carried along with it."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context())
        return function(*args)
