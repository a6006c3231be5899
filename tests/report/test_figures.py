"""Numbers are said as a person says them, and what is no number is said to be none."""

from math import inf, nan

import pytest

from plait.report import figures


@pytest.mark.parametrize(
    ("say", "value", "said"),
    [
        (figures.seconds, 0.3116, "312 ms"),
        (figures.size, 25 * 2**20, "25 MiB"),
        (figures.count, 4096, "4,096"),
        (figures.count, 999_999, "999,999"),
        (figures.count, 3_067_392, "3.067 million"),
        (figures.count, 175 * 10**9, "175 billion"),
        (figures.count, 999_999_999, "1000 million"),
        (figures.count, 15 * 10**12, "15 trillion"),
        (figures.rate, 12125.5, "12,126"),
        (figures.rate, 3.14159, "3.14"),
        (figures.rate, 1e20, "1e+20"),
        (figures.decimal, 2.7441, "2.744"),
        (figures.decimal, 0.0, "0.000"),
        (figures.decimal, 1.5e-7, "1.5e-07"),
        (figures.decimal, 123456789.0, "1.23e+08"),
        (figures.money, 12.4, "12.40"),
        (figures.money, 4310.4, "4,310"),
        (figures.energy, 3600.0, "1 Wh"),
        (figures.energy, 2167e3 * 3600, "2,167 kWh"),
        (figures.energy, 20.66e6 * 3600, "20.7 MWh"),
        (figures.energy, 3e11 * 3600, "300 GWh"),
        (figures.percent, 0.1823, "18.2 %"),
        (figures.signed_percent, 0.04, "+4.0 %"),
        (figures.signed_percent, -0.078, "−7.8 %"),
        (figures.signed_percent, -1e-9, "0.0 %"),
    ],
)
def test_numbers_in_words(say, value, said):
    assert say(value) == said


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("say", ["seconds", "size", "rate", "decimal", "money", "energy", "percent", "signed_percent"])
def test_what_is_no_number_is_said_to_be_none(say, value):
    assert getattr(figures, say)(value) == "not a number"


@pytest.mark.parametrize(("largest", "name"), [(2e-4, "µs"), (0.3, "ms"), (5.0, "s"), (7000.0, "min"), (1e6, "h")])
def test_an_axis_of_seconds_has_a_unit_that_reads_well(largest, name):
    assert figures.second_unit(largest)[1] == name


@pytest.mark.parametrize(("largest", "name"), [(100, "B"), (3000, "KiB"), (200 * 2**20, "MiB"), (1e14, "TiB")])
def test_an_axis_of_bytes_has_a_unit_that_reads_well(largest, name):
    factor, found = figures.byte_unit(largest)
    assert found == name
    assert factor == 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(name)


def test_numbers_stay_with_what_they_count():
    assert figures.unbroken("data 2 × pipeline 4, zb-h1 8 × 4, ZeRO 2") == (
        "data\u00a02\u00a0× pipeline\u00a04, zb\u2011h1\u00a08\u00a0×\u00a04, ZeRO\u00a02"
    )
