"""Where a prediction lies outside what was looked at, on machines of the catalogue: its interval's width, and words.

    runs of this device in this dtype      as wide as four of five of them lie      a100-80gb in bf16
    runs of its generation                 as wide as the widest device's           h200 in bf16
    none                                   as wide as hidden generations were       mi300x, tpu-v5p; a100-80gb in fp32

The widths are those that `python benchmarks/unseen_devices.py RUNS.csv` found (docs/cost_model.md). It knows devices
and counts of runs, no plan.
"""

from __future__ import annotations

from plait.specs.hardware import DeviceSpec
from plait.specs.published import runs_of, runs_of_generation
from plait.specs.wording import counted

__all__ = ["few_looked_at", "outside_what_was_looked_at", "spread_of"]

_FEW = 5  # runs below which a device was not looked at
_SEEN = 0.18  # four of five of all runs
_SEEN_NARROW = 0.28  # of those in 8 bits, whose programs cast and scale in ways that no row states
_KIN = 0.25  # of the device whose runs lie widest
_UNSEEN = 0.6  # of Hopper's and Blackwell's, predicted from their data sheets as if nobody had looked at one
_NARROW = ("fp8", "mxfp8")


def spread_of(device: DeviceSpec, dtype: str) -> float:
    """The part of a step by which four of five are expected to differ from what is predicted."""
    seen = _SEEN_NARROW if dtype in _NARROW else _SEEN
    if runs_of(device.name, dtype) >= _FEW:
        return seen
    return max(seen, _KIN) if runs_of_generation(device.architecture, dtype) >= _FEW else _UNSEEN


def few_looked_at(device: DeviceSpec, dtype: str) -> str | None:
    """How few runs of a device in a dtype were looked at, or of its generation where these are few as well; None where
    enough were."""
    if (own := runs_of(device.name, dtype)) >= _FEW:
        return None
    if (kin := runs_of_generation(device.architecture, dtype)) >= _FEW:
        return _runs(own, f"of {device.name} in {dtype}")
    return _runs(kin, f"on {device.architecture} devices ({device.name}) in {dtype}")


def outside_what_was_looked_at(device: DeviceSpec, dtype: str) -> str | None:
    """The same as a sentence, without its point, with what speaks for the device and how wide its interval is."""
    looked_at, wide = few_looked_at(device, dtype), f"the interval is ±{spread_of(device, dtype):.0%}"
    if looked_at is None:
        return None
    if runs_of_generation(device.architecture, dtype) >= _FEW:
        return f"{looked_at}: those of other {device.architecture} devices speak for it, and {wide}"
    return f"{looked_at}: its data sheet alone speaks for it, steps may well take longer than predicted, and {wide}"


def _runs(count: int, of: str) -> str:
    if count == 0:
        return f"no published run {of} was looked at"
    return f"only {counted(count, 'published run')} {of} {'was' if count == 1 else 'were'} looked at"
