"""What it costs a rank to compress its gradients and to sum what others sent, and when that pays.

    start     gradient + residual, written into a payload, and what was lost of it           while backward runs
    end       payloads read and added up; of more than two ranks, sums written once more     after it

Estimated from the measured times of memory-bound operations: so many copies of the elements, as they were timed on one
core (16 MB of float32: fp16 written as fast as 3 copies, read as 2; int8 5 and 2; the largest found in 16), and the
dispatch of their operators, which is most of it for small buckets. powersgd's products are priced as products. It knows
operations, no link.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from plait.planner.operations import Move, Multiply, Operation, Views
from plait.plans.compression import Shape, kept_count, matrix
from plait.plans.reductions import Reduction
from plait.specs.compression import Compression

__all__ = ["PackingOperations", "packing_operations"]

_WRITE = {"fp16": 3, "bf16": 3, "int8": 5, "topk": 16}  # in copies of the elements
_READ = 2
_OPERATORS = (40, 20)  # dispatched to write a bucket and what was lost of it, and to read one payload
_OWED = 2  # the whole residual added to what a host sums, and set to zero
_CARRY = 4  # the residual added before, corrected after, looked through for NaN


class PackingOperations(NamedTuple):
    """What one rank does for one bucket."""

    start: tuple[Operation, ...]
    end: tuple[Operation, ...]


def packing_operations(
    bucket: Reduction, shapes: Mapping[str, Shape], compression: Compression, ranks: int, hosts: Sequence[int] = ()
) -> PackingOperations:
    """The operations of one compressed sum; none where the bucket travels whole. `shapes`: of its weights, by name.
    `hosts`: so many of the ranks stand on each where hosts sum first, of which a rank packs its own slice alone."""
    packing = bucket.packing
    if packing is None or not packing.compressed:
        return PackingOperations((), ())
    if compression.kind == "powersgd":
        return _factored([shapes[bucket.pieces[place].name] for place in packing.compressed], compression.rank)
    count, owed = bucket.elements, ()
    if hosts:
        count, ranks, owed = -(-count // min(hosts)), len(hosts), tuple(_copies(bucket.elements, _OWED))
    start, end = _rounded(compression, count, ranks)
    writing, reading = _OPERATORS
    return PackingOperations((Views(writing, "forward"), *owed, *start), (Views(reading * ranks, "forward"), *end))


def _rounded(compression: Compression, count: int, ranks: int) -> PackingOperations:
    write = _WRITE[compression.kind]
    if compression.kind == "topk":
        sent = kept_count(compression.fraction, count)
        return PackingOperations(tuple(_copies(count, write + _CARRY)), tuple(_copies(ranks * sent, _READ)))
    start = tuple(_copies(count, write + _CARRY))
    if ranks == 2:
        return PackingOperations(start, tuple(_copies(count, ranks * _READ)))
    own = -(-count // ranks)
    end = (*_copies(own, ranks * _READ + write + _CARRY), *_copies(count, _READ))
    return PackingOperations(start, end)


def _factored(shapes: list[Shape], rank: int) -> PackingOperations:
    start: list[Operation] = []
    end: list[Operation] = []
    for rows, columns in map(matrix, shapes):
        start += [*_copies(rows * columns, 1), Multiply(rows, rank, columns, "forward")]
        end += [
            Multiply(rows, rank, rank, "forward", 2),  # orthonormal columns
            Multiply(columns, rank, rows, "forward"),
            Multiply(rows, columns, rank, "forward", 2),
            *_copies(rows * columns, 2),
        ]
    return PackingOperations(tuple(start), tuple(end))


def _copies(elements: int, times: int) -> Iterator[Operation]:
    for _ in range(times):
        yield Move("copy", elements, elements, "forward")
