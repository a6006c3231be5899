"""What does a compressed sum of gradients cost beside a dense one, and on which links would it pay?

    python benchmarks/compression.py                   1, 16 and 64 MB, over shared memory and over gloo
    python benchmarks/compression.py --megabytes 16 --calls 20

A bucket is a block of a GPT of fitting width. Forms take turns, call by call, on the same two ranks; a time is the
slower rank's: the best of all calls, and their median. Over shared memory nothing is as fast as sending it all; what a
form takes longer there is its arithmetic, so that it pays on links slower than

    bytes it saves / seconds it takes longer (of the best)
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from math import prod, sqrt
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor

from plait.collectives.compression import Compressed
from plait.collectives.functional import buffer
from plait.collectives.meeting import VARIABLE
from plait.collectives.process_groups import Group, join
from plait.launchers import RankPool
from plait.plans.compression import Shape, packing, sent_bytes
from plait.specs.compression import compression_of

__all__ = ["block", "measured"]

_FORMS = ("none", "fp16", "bf16", "int8", "powersgd:4", "topk:0.01")
_Times = dict[str, list[float]]


def block(megabytes: int) -> tuple[Shape, ...]:
    """The weights of one GPT block of about that many MB in float32."""
    h = round(sqrt(megabytes * 1e6 / 4 / 12) / 8) * 8
    weights = ((3 * h, h), (3 * h,), (h, h), (h,), (4 * h, h), (4 * h,), (h, 4 * h), (h,))
    return (*weights, (h,), (h,), (h,), (h,))  # two norms


def measured(megabytes: int, calls: int) -> _Times:
    """On every rank: the seconds of each form's calls, the slower rank's, in order of size."""
    group = join("data", tuple(range(dist.get_world_size())))
    assert group is not None
    shapes = block(megabytes)
    count = sum(map(prod, shapes))
    gradient = torch.randn(count, generator=torch.Generator().manual_seed(group.index)) * 1e-3
    flat = buffer(count, torch.float32, torch.device("cpu"), group).own  # as the runtime holds its buckets
    forms = {word: Compressed(compression_of(word), shapes, torch.float32, group, key=0) for word in _FORMS}
    taken: dict[str, list[float]] = {word: [] for word in _FORMS}
    for number in range(calls + 1):
        for word, form in forms.items():
            seconds = _timed(form, flat, gradient, group)
            if number:  # the first connects, and touches its memory
                taken[word].append(seconds)
    return {word: sorted(seconds) for word, seconds in taken.items()}


def _timed(form: Compressed, flat: Tensor, gradient: Tensor, group: Group) -> float:
    flat.copy_(gradient)
    dist.barrier()
    began = time.perf_counter()
    form.start(flat).wait()
    seconds = torch.tensor([time.perf_counter() - began], dtype=torch.float64)
    dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
    return float(seconds)


def main() -> None:
    """Measure over both wires, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--megabytes", type=int, nargs="+", default=[1, 16, 64])
    arguments.add_argument("--calls", type=int, default=15)
    given = arguments.parse_args()
    wires = {"shared memory": "1", "gloo": "0"}
    found = {wire: _on(value, given.megabytes, given.calls) for wire, value in wires.items()}
    print("\n".join(_table(given.megabytes, found["shared memory"], found["gloo"])))


def _on(value: str, sizes: Sequence[int], calls: int) -> list[_Times]:
    """The seconds of each size, over shared memory or ("0") without it."""
    os.environ[VARIABLE] = value
    with RankPool(2, timeout=300.0) as pool:
        return [pool.run(measured, size, calls)[0] for size in sizes]


def _table(sizes: Sequence[int], shared: Sequence[_Times], gloo: Sequence[_Times]) -> Iterator[str]:
    yield "| bucket | form | sent by each rank | shared memory: best, median ms | gloo | pays on links below |"
    yield "|---|---|---:|---:|---:|---:|"
    for size, near, far in zip(sizes, shared, gloo, strict=True):
        sent = {word: sent_bytes(packing(compression_of(word), block(size), 4, 2).messages, 2) for word in _FORMS}
        for word in _FORMS:
            longer = near[word][0] - near["none"][0]
            saved = sent["none"] - sent[word]
            below = "" if word == "none" else f"{saved / longer / 1e6:,.0f} MB/s" if longer > 0 else "any"
            times = f"{_both(near[word])} | {_both(far[word])}"
            yield f"| {size} MB | {word} | {sent[word] / 1e6:,.3f} MB | {times} | {below} |"


def _both(seconds: Sequence[float]) -> str:
    return f"{seconds[0] * 1e3:,.2f}, {median(seconds) * 1e3:,.2f}"


if __name__ == "__main__":
    main()
