"""Made-up machines with round numbers, so that what a step takes on them can be told by hand."""

from __future__ import annotations

from plait.specs.links import Link
from plait.specs.measurements import Contention, Dispatch, Gemm, Host, Measurements


def machine(
    *,
    flops: float = 100e9,
    bandwidth: float = 10e9,
    latency: float = 1e-4,
    link: float = 1e9,
    cores: int | None = None,
    memory: int = 2**40,
    dispatch: float = 0.0,
    backend: str = "gloo",
) -> Measurements:
    """One rate for every product, one for every byte, one link between any ranks, of `backend` (gloo: they share no
    memory); `cores` None: a device a rank."""
    kinds = ("all_reduce", "reduce_scatter", "all_gather", "send", "exchange")
    return Measurements(
        gemm=(Gemm(m=64, n=64, k=64, dtype="fp32", flops_per_second=flops),),
        memory_bandwidth=bandwidth,
        collectives=tuple(
            Link(backend=backend, kind=kind, ranks=ranks, alpha0=latency, alpha1=0.0, bytes_per_second=link)
            for kind in kinds
            for ranks in (2, 4, 8)
        ),
        host=Host(processor="made up", cores=cores or 1, memory_bytes=memory, device="cpu" if cores else "cuda"),
        contention=Contention(ranks=cores or 1),
        dispatch=Dispatch(plain=dispatch, forward=dispatch, backward=dispatch),
    )


def room_for(held: int) -> int:
    """Bytes of memory in which a rank that holds so many surely fits, with what its allocator can't use."""
    return int(1.15 * held)
