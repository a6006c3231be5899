"""A rank's device: the CPU's answers here, an accelerator's where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch

from plait.devices import host
from plait.devices.device import Device, current_device, deterministic, device_of, dtype_of, rank_device
from plait.specs.training import ITEMSIZE, Dtype

needs_accelerator = pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")


@pytest.mark.parametrize("name", get_args(Dtype))
def test_every_word_of_a_job_names_a_dtype(name: Dtype):
    assert dtype_of(name).itemsize == ITEMSIZE[name]
    assert dtype_of(name).is_floating_point


def test_the_cpu_is_a_device():
    cpu = Device()
    assert torch.zeros(1, device=cpu.torch).is_cpu
    assert cpu.backend == "gloo"
    assert cpu.name == host.processor_name()
    assert not cpu.is_accelerator
    assert 0 < cpu.allocated_memory <= cpu.total_memory
    assert cpu.peak_memory > 0
    cpu.reset_peak_memory()
    cpu.synchronize()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_without_an_accelerator_every_rank_has_the_cpu():
    assert {current_device(rank) for rank in range(3)} == {Device()}


def test_a_tensor_knows_its_device():
    assert device_of(torch.zeros(1)) == Device()
    assert device_of(torch.zeros(1, device="meta")) == Device(kind="meta")


def test_ranks_know_their_device(run_on_ranks: Callable[..., list[Any]]):
    found = run_on_ranks(2, rank_device)
    assert {device.kind for device in found} == {current_device().kind}


def test_deterministic_refuses_what_is_not_and_restores_what_was():
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        with deterministic(False):
            assert not torch.are_deterministic_algorithms_enabled()
        assert torch.are_deterministic_algorithms_enabled()
        with pytest.raises(RuntimeError, match="deterministic"):
            torch.zeros(2).put_(torch.tensor([0]), torch.tensor([1.0]), accumulate=False)
    assert torch.are_deterministic_algorithms_enabled() == before


def test_deterministic_restores_after_an_exception():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.raises(ZeroDivisionError), deterministic():
            raise ZeroDivisionError
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.device
@needs_accelerator
def test_an_accelerator_counts_its_memory():
    device = current_device()
    assert device.is_accelerator
    assert device.backend != "gloo"
    before = device.allocated_memory
    device.reset_peak_memory()
    tensor = torch.zeros(2**20, device=device.torch)
    device.synchronize()
    assert device.allocated_memory - before == tensor.nbytes
    assert device.peak_memory >= before + tensor.nbytes
    assert device.total_memory > device.allocated_memory


@pytest.mark.device
@needs_accelerator
def test_ranks_go_round_the_accelerators():
    count = torch.accelerator.device_count()
    assert [current_device(rank).index for rank in range(count + 1)] == [*range(count), 0]
