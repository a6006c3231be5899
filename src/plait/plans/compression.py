"""What travels of a bucket of gradients between data ranks, for each form of compression: messages, bytes, what stays.

    fp16, bf16    [ scale | 2 bytes an element ]               one payload a slice
    int8          [ scales, one a block | 1 byte an element ]  one payload a slice
    topk          [ values | their places ]                    one payload a bucket
    powersgd      all P (rows × rank) │ all Q (columns × rank) │ the tensors that are no matrices

    2 ranks       all-gather of the payloads                                  each sums both
    more          all-to-all of the slices' payloads, all-gather of the sums' each sums its own slice (topk: as 2 ranks)

With S bytes of payload, one hop costs each rank (n - 1) S sent bytes and two hops 2 (n - 1) / n · S: the same for two
ranks, where one hop rounds once and waits once. A form that would send no less than an all-reduce of the gradients is
not taken: a matrix of powersgd, or else a bucket, then travels whole.

Where several ranks stand on some of several hosts (`in_two_levels`), hosts sum first, and one slice for each rank of
the smallest of them is compressed among the h ranks at one place, as above with n = h; a message then has the bytes of
all slices. What is compressed at all does not depend on where ranks stand: a form that pays among n ranks apart pays
among fewer hosts. powersgd's messages are sums, which the wire takes in two levels as any other.

Planner and runtime read the same functions; the recorder counts the same bytes. It knows shapes, and no tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from plait.sharding.redistribute import CollectiveKind
from plait.specs.compression import Compression
from plait.specs.links import LinkKind, link_steps
from plait.specs.wording import counted
from plait.units import Bytes

__all__ = [
    "BLOCK",
    "Message",
    "Packing",
    "Shape",
    "in_two_levels",
    "kept_count",
    "matrix",
    "packing",
    "packing_words",
    "payload_bytes",
    "sent_bytes",
]

BLOCK = 256  # elements that share a scale (int8)
_SCALE_BYTES = 4  # float32
_INDEX_BYTES = 4  # int32
_INDICES = 2**31
_LINKS: dict[CollectiveKind, LinkKind] = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "all_to_all": "all_gather",  # as many bytes, if to other places
}

_NONE = Compression(kind="none")

Shape = tuple[int, ...]


class Message(NamedTuple):
    """One collective, with the bytes that the recorder counts for it."""

    kind: CollectiveKind
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How one bucket travels: which of its tensors `compressed`, which `whole` (in one message), by their places.

    `messages`: among ranks of one host, or each on a host of its own. `kept_bytes`: what each rank keeps from step to
    step: residuals, and powersgd's last Q. `flops`: of the matrix products in which one rank packs and unpacks it.
    `form`: how what is compressed is.
    """

    compressed: tuple[int, ...]
    whole: tuple[int, ...]
    messages: tuple[Message, ...]
    kept_bytes: int
    flops: int = 0
    form: Compression = _NONE

    def between(self, hosts: Sequence[int], elements: int, itemsize: int) -> tuple[Message, ...]:
        """What travels of the bucket's `elements` where so many of the group's ranks stand on each of `hosts`."""
        if not self.compressed or self.form.kind == "powersgd" or not in_two_levels(hosts):
            return self.messages
        longest, slices = -(-elements // min(hosts)), min(hosts)
        counts = [max(0, min(longest, elements - number * longest)) for number in range(slices)]
        found = [_payloads(self.form, count, itemsize, len(hosts)) for count in counts if count]
        return tuple(Message(one[0].kind, sum(each.bytes for each in one)) for one in zip(*found, strict=True))


def packing(compression: Compression, shapes: Sequence[Shape], itemsize: int, ranks: int) -> Packing:
    """How a bucket of tensors of those shapes, `itemsize` bytes an element, is summed over so many ranks."""
    everything = tuple(range(len(shapes)))
    if ranks > 1 and compression.kind == "powersgd":
        return _factored(compression, shapes, itemsize)
    elements = sum(prod(shape) for shape in shapes)
    dense = _dense(elements * itemsize)
    if ranks > 1 and compression.kind != "none" and elements < _INDICES:
        messages = _payloads(compression, elements, itemsize, ranks)
        if _steps(messages, ranks) < _steps(dense, ranks):
            kept = elements * itemsize
            return Packing(compressed=everything, whole=(), messages=messages, kept_bytes=kept, form=compression)
    return Packing(compressed=(), whole=everything, messages=dense if ranks > 1 else (), kept_bytes=0)


def in_two_levels(hosts: Sequence[int]) -> bool:
    """Whether sums of a group of which so many ranks stand on each of `hosts` go inside the hosts first, then across:
    of CPUs, which share their host's memory."""
    return len(hosts) > 1 and max(hosts) > 1


def payload_bytes(compression: Compression, elements: int, itemsize: int) -> int:
    """One rank's payload for a slice of so many elements (fp16, bf16, int8) or a bucket of them (topk).

    A multiple of `itemsize`, so that payloads can lie behind one another.
    """
    match compression.kind:
        case "fp16" | "bf16":
            size = itemsize + 2 * elements
        case "int8":
            size = _SCALE_BYTES * -(-elements // BLOCK) + elements
        case "topk":
            size = (itemsize + _INDEX_BYTES) * kept_count(compression.fraction, elements)
        case "none" | "powersgd":
            raise ValueError(f"{compression} has no payloads: its messages are sums")
    return -(-size // itemsize) * itemsize


def kept_count(fraction: float, elements: int) -> int:
    """How many elements of a bucket topk sends: the fraction of them, at least one where there are any."""
    return min(elements, max(1, round(fraction * elements)))


def matrix(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a tensor seen as a matrix: its first dim, and all others together."""
    return shape[0], prod(shape[1:])


def sent_bytes(messages: Iterable[Message], ranks: int) -> float:
    """What each rank sends for these messages, in bytes, by the best algorithms (`specs.links`)."""
    return _steps(messages, ranks) / ranks


def packing_words(
    compression: Compression,
    buckets: Sequence[Sequence[Shape]],
    itemsize: int,
    ranks: int,
    alike: Sequence[Sequence[Shape]] = (),
    *,
    what: str = "gradients",
    often: str = "a step",
    hosts: Sequence[int] = (),
) -> str:
    """What a compression does for one rank's buckets, as a sentence without its point; what is not compressed is told.

    `buckets` has the shapes of each bucket's tensors, `alike` those of buckets that tensor ranks have in common: these
    travel whole. `what` travels, and how `often`: replicas that learn alone send something else, and not in each step.
    With `hosts` that sum first (`in_two_levels`) it is told what leaves a host.
    """
    if ranks == 1:
        return f"one replica: no {what} travel"
    who, senders = ("host", len(hosts)) if in_two_levels(hosts) else ("replica", ranks)
    packed = [packing(compression, shapes, itemsize, ranks) for shapes in buckets]
    packed += [packing(_NONE, shapes, itemsize, ranks) for shapes in alike]
    sizes = [sum(prod(shape) for shape in shapes) for shapes in (*buckets, *alike)]
    before = Bytes(sum(sent_bytes(_dense(itemsize * elements), senders) for elements in sizes))
    if compression.kind == "none":
        return f"{what} travel as they are: each {who} sends {before} {often}"
    whole = sum(len(one.whole) for one in packed)
    tensors = sum(len(shapes) for shapes in (*buckets, *alike))
    if whole == tensors:
        return f"{compression} makes nothing smaller here: {what} travel whole, {before} {often} from each {who}"
    sent = (sent_bytes(one.between(hosts, n, itemsize), senders) for one, n in zip(packed, sizes, strict=True))
    now = Bytes(sum(sent))
    kept = Bytes(sum(one.kept_bytes for one in packed))
    words = f"{what} travel as {compression}: each {who} sends {now} {often}, not {before}, and "
    words += f"{'keeps' if who == 'replica' else 'each of its ranks keeps'} {kept} of what was lost"
    if whole:
        held = sum(len(shapes) for shapes in alike)
        why = "are held alike by tensor ranks" if held == whole else "would not be smaller"
        why += f" or are held alike by tensor ranks ({held})" if 0 < held < whole else ""
        words += f"; {whole} of {counted(tensors, 'tensor')} {why} and go whole"
    return words


def _dense(size: int) -> tuple[Message, ...]:
    return (Message("all_reduce", size),) if size else ()


def _payloads(compression: Compression, elements: int, itemsize: int, ranks: int) -> tuple[Message, ...]:
    if not elements:
        return ()
    if ranks == 2 or compression.kind == "topk":
        return (Message("all_gather", ranks * payload_bytes(compression, elements, itemsize)),)
    size = ranks * payload_bytes(compression, -(-elements // ranks), itemsize)
    return Message("all_to_all", size), Message("all_gather", size)


def _factored(compression: Compression, shapes: Sequence[Shape], itemsize: int) -> Packing:
    rank = compression.rank
    compressed = tuple(place for place, shape in enumerate(shapes) if _is_smaller(rank, shape))
    whole = tuple(place for place in range(len(shapes)) if place not in compressed)
    matrices = [matrix(shapes[place]) for place in compressed]
    rows, columns = sum(m for m, _ in matrices), sum(n for _, n in matrices)
    sizes = (rank * rows, rank * columns, sum(prod(shapes[place]) for place in whole))
    return Packing(
        compressed=compressed,
        whole=whole,
        messages=tuple(Message("all_reduce", size * itemsize) for size in sizes if size),
        kept_bytes=(sum(m * n for m, n in matrices) + rank * columns) * itemsize,
        flops=sum(4 * 2 * m * n * rank for m, n in matrices),
        form=compression,
    )


def _is_smaller(rank: int, shape: Shape) -> bool:
    if len(shape) < 2:
        return False
    rows, columns = matrix(shape)
    return rank * (rows + columns) < rows * columns


def _steps(messages: Iterable[Message], ranks: int) -> int:
    """Bytes that each rank sends, times the number of ranks."""
    return sum(link_steps(_LINKS[message.kind], ranks) * message.bytes for message in messages)
