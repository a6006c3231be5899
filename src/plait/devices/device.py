"""A rank's device: the only place that knows an accelerator, through `torch.accelerator`; the CPU where there is none.

    kind   backend     memory                 synchronize
    cpu    gloo        the process's own      nothing to wait for
    cuda   nccl        the device's           until all queued kernels are done
    ...    torch's default for that kind of device; other vendors' need no line here

It must not know what is computed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from plait.devices import host
from plait.specs.training import Dtype

__all__ = ["Device", "current_device", "deterministic", "device_of", "dtype_of", "rank_device"]

_DTYPES: dict[Dtype, torch.dtype] = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def dtype_of(name: Dtype) -> torch.dtype:
    """The torch dtype that a job's word names."""
    return _DTYPES[name]


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device of this host: its `kind` as torch names it and its number."""

    kind: str = "cpu"
    index: int = 0

    @property
    def is_accelerator(self) -> bool:
        """Whether it is something other than the CPU."""
        return self.kind != "cpu"

    @property
    def torch(self) -> torch.device:
        """What tensors are put on."""
        return torch.device(self.kind, self.index) if self.is_accelerator else torch.device("cpu")

    @property
    def backend(self) -> str:
        """The torch.distributed backend between devices of this kind: gloo, nccl, ..."""
        return dist.get_default_backend_for_device(self.torch)

    @property
    def name(self) -> str:
        """The kind and number (`cuda:1`), or the processor's name."""
        return str(self.torch) if self.is_accelerator else host.processor_name()

    @property
    def total_memory(self) -> int:
        """Bytes there are: the device's, or the host's that this process may use."""
        return torch.accelerator.get_memory_info(self.torch)[1] if self.is_accelerator else host.memory_bytes()

    @property
    def allocated_memory(self) -> int:
        """Bytes of tensors on the device now; on the CPU all that is the process's own, not a file's."""
        if self.is_accelerator:
            return torch.accelerator.memory_allocated(self.torch)
        return host.resident_bytes() - host.resident_file_bytes()

    @property
    def process_memory(self) -> int:
        """Bytes of it that are gone before this process holds a tensor: an accelerator's context, and whatever others
        hold there; on the CPU what is this process's own now."""
        if not self.is_accelerator:
            return self.allocated_memory
        self.synchronize()  # makes the context
        free, total = torch.accelerator.get_memory_info(self.torch)
        return total - free

    @property
    def peak_memory(self) -> int:
        """The most that was allocated since `reset_peak_memory`; on a CPU that can't, since the process began. Files
        count as if all had been in memory at that moment: they come, and hardly ever go."""
        if self.is_accelerator:
            return torch.accelerator.max_memory_allocated(self.torch)
        return host.peak_resident_bytes() - host.resident_file_bytes()

    def reset_peak_memory(self) -> None:
        """Begin a new peak; what is free is given back on the CPU first, so that it counts again when it is used."""
        if self.is_accelerator:
            torch.accelerator.reset_peak_memory_stats(self.torch)
        else:
            host.begin_new_peak()

    def synchronize(self) -> None:
        """Wait until everything queued on the device is done."""
        if self.is_accelerator:
            torch.accelerator.synchronize(self.torch)


def current_device(local_rank: int = 0) -> Device:
    """The device of the `local_rank`-th rank of this host: accelerators go round, without one it is the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return Device()
    return Device(kind=accelerator.type, index=local_rank % torch.accelerator.device_count())


def device_of(tensor: torch.Tensor) -> Device:
    """The device that a tensor lives on."""
    return Device(kind=tensor.device.type, index=tensor.device.index or 0)


def rank_device() -> Device:
    """This rank's own, made the one that its kernels and collectives use by default; torch.distributed is joined."""
    device = current_device(int(os.environ.get("LOCAL_RANK", dist.get_rank())))
    if device.is_accelerator:
        torch.accelerator.set_device_index(device.index)
    return device


@contextmanager
def deterministic(enabled: bool = True) -> Iterator[None]:
    """Within, equal inputs give equal bits, run after run, or an operation that can't raises RuntimeError.

    Random numbers need nothing here: they are keyed. The mode that stood before stands again afterwards.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if enabled:
        # cuBLAS reads it once, when it starts: a fixed workspace fixes the order of its sums
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(enabled)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
