"""Links by names that no table has: Ethernet at any rate."""

from __future__ import annotations

import pytest

from plait.specs.catalogue import between_named


@pytest.mark.parametrize(
    ("name", "bits"), [("ethernet-2.5gbit", 2.5e9), ("ethernet-100mbit", 1e8), ("ethernet-5gbit-x4", 20e9)]
)
def test_ethernet_is_known_at_any_rate(name, bits):
    link = between_named(name)
    assert link.name == name
    assert link.peak * link.cards * 8 == pytest.approx(bits)


@pytest.mark.parametrize(
    "name", ["ethernet-0gbit", "ethernet-2gb", "ethernet--1gbit", "ethernet-99999gbit", "ethernet-"]
)
def test_what_is_no_rate_names_no_ethernet(name):
    assert between_named(name) is None
