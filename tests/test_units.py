"""Bytes and seconds print in the unit that reads well, without powers of ten where a unit is near."""

import pytest

from plait.units import Bytes, Seconds


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (Bytes(26214400), "25 MiB"),
        (Bytes(1000), "1000 B"),
        (Bytes(1010.5 * 2**20), "1010 MiB"),
        (Bytes(1.5 * 2**40), "1.5 TiB"),
        (Seconds(0.0), "0 µs"),
        (Seconds(0.3116), "312 ms"),
        (Seconds(0.9996), "1000 ms"),
        (Seconds(119.97), "120 s"),
        (Seconds(3600.0), "60 min"),
        (Seconds(90_000.0), "25 h"),
    ],
)
def test_the_unit_reads_well(value, printed):
    assert str(value) == printed
