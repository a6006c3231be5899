"""What a step and a whole run cost on machines of the catalogue, money and energy, and how well the devices are used.

    money          price_per_hour × devices × hours          energy    power_watts × devices × seconds
    utilisation    the model's FLOPs / (seconds × the peaks of all devices): MFU, where nothing counts twice

Every device is paid for and switched on whether it works or waits, so that of plans for the same machines the fastest
is also the cheapest. Power is the board's, at its limit: what a data sheet says, and more than is drawn while waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from plait.errors import UnusableInput
from plait.estimates.model_flops import model_flops
from plait.estimates.task import Task
from plait.specs.machines import Machines

__all__ = ["Bill", "Objective", "bill_of", "require_known"]

Objective = Literal["time", "money", "energy"]
_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Of one step, and of a run of `steps`. Money is in the job's currency, energy in joules; None: nobody said what a
    device costs, or knows its power. `device_flops`: model FLOP/s of one device in the mean, `utilisation` its part of
    the peak in the job's dtype."""

    steps: int
    step_seconds: float
    step_money: float | None
    step_joules: float | None
    device_flops: float
    utilisation: float

    @property
    def run_seconds(self) -> float:
        """Of all steps."""
        return self.steps * self.step_seconds

    @property
    def run_money(self) -> float | None:
        """Of all steps."""
        return None if self.step_money is None else self.steps * self.step_money

    @property
    def run_joules(self) -> float | None:
        """Of all steps."""
        return None if self.step_joules is None else self.steps * self.step_joules


def bill_of(seconds: float, tasks: Sequence[Task], steps: int) -> Bill:
    """What steps of so many seconds cost on all devices of the tasks' machines."""
    groups = [task.machines for task in tasks]
    flops, devices = model_flops(tasks[0]) / seconds, sum(group.ranks for group in groups)
    peaks = sum(group.ranks * (group.device.peak(task.dtype) or 0.0) for group, task in zip(groups, tasks, strict=True))
    prices = [(group.price_per_hour, group.ranks) for group in groups]
    powers = [(group.power_watts, group.ranks) for group in groups]
    money, watts = _of_all(prices), _of_all(powers)
    return Bill(
        steps=steps,
        step_seconds=seconds,
        step_money=None if money is None else money * seconds / _HOUR,
        step_joules=None if watts is None else watts * seconds,
        device_flops=flops / devices,
        utilisation=flops / peaks,
    )


def require_known(objective: Objective, groups: Sequence[Machines]) -> None:
    """Raises UnusableInput where what is to be least is not known of some device."""
    key = {"money": "price_per_hour", "energy": "power_watts"}.get(objective)
    if key is None:
        return
    for group in groups:
        if getattr(group, key) is None:
            raise UnusableInput(
                f"the least {objective} needs cluster.{key} of {group.device.name}: nobody has said it, and the "
                "catalogue has none"
            )


def _of_all(each: Sequence[tuple[float | None, int]]) -> float | None:
    known = [value * ranks for value, ranks in each if value is not None]
    return sum(known) if len(known) == len(each) else None
