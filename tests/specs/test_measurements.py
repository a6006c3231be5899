"""Measurements as data: frozen, said by keyword, and with neutral values for whatever was not measured."""

from __future__ import annotations

import dataclasses

import pytest

from plait.specs.measurements import Contention, Dispatch, Gemm, Measurements

GEMM = Gemm(m=64, n=64, k=64, dtype="fp32", flops_per_second=1e9)


def test_what_was_not_measured_costs_nothing():
    bare = Measurements(gemm=(GEMM,), memory_bandwidth=1e10)
    assert bare.collectives == bare.attention == bare.memory_bound == bare.optimizer == bare.overlap == ()
    assert bare.dispatch == Dispatch(plain=0.0, forward=0.0, backward=0.0)
    assert bare.contention == Contention(ranks=1, gemm=1.0, memory=1.0)
    assert bare.host is None


def test_a_product_is_forward_unless_it_says_otherwise():
    assert GEMM.layout == "forward"


def test_measurements_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GEMM.m = 1  # pyright: ignore[reportAttributeAccessIssue]
