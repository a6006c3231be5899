"""What a pipeline adds to its ranks' work: transfers from place to place, and the bubble.

    domain 0              │ domain 1              │ …        neighbouring ranks are one place along the pipeline;
    place 0 ─near─ place 1 ─far─ place 2 ─near─ place 3      which boundaries are far follows from how many a place has

A rank waits for its two boundaries once a microbatch, and while the pipeline fills for all of them. The bubbles are
those of the schedules when they are played (tests hold them to that). It knows sizes and shares of work, no layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column, Flags, Numbers
from plait.estimates.collectives import Network
from plait.estimates.task import Task

__all__ = ["Transfers", "Work", "bubble", "crosses", "crossings", "transfers"]


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """Seconds of one transfer between places of one domain (`near`) and of two (`far`). `waited`: of a microbatch's,
    those that the rank between the slowest boundaries waits for; `filling`: of all boundaries, each way."""

    near: Column
    far: Column
    waited: Column
    filling: Column


@dataclass(frozen=True, kw_only=True)
class Work:
    """Seconds that a rank with a mean part of the layers works on a microbatch; of these forward passes, and gradients
    of weights that can be made later."""

    seconds: Column
    forward: Column
    weights: Column


def crosses(domain: int, each: Numbers | int, here: Numbers | int, there: Numbers | int) -> Flags | bool:
    """Whether two places along a pipeline, of `each` ranks, are not all in one domain of so many: then some of their
    ranks send across."""
    first, last = np.minimum(here, there) * each, (np.maximum(here, there) + 1) * each - 1
    return first // domain != last // domain


def crossings(domain: int, each: Numbers, pipeline: Numbers) -> Numbers:
    """How many boundaries between neighbouring places do: those at a multiple of the domain, and both beside a place
    that lies on two."""
    multiples = (pipeline * each - 1) // domain
    at_a_place = (pipeline * each - 1) // np.lcm(each, domain)
    in_the_last = multiples * domain > (pipeline - 1) * each  # which has one neighbour
    return np.where(domain < 2 * each, (pipeline - 1) * (multiples > 0), 2 * multiples - at_a_place - in_the_last)


def transfers(task: Task, plans: Arrangements, network: Network) -> Transfers:
    """Of each plan; every stage of a rank sends as often as the only one would."""
    p, v = plans.pipeline, np.maximum(plans.virtual_stages, 1)
    domain, each = task.machines.domain, plans.ranks // p
    size = _sent(task, plans)
    near, far = network.send(size), network.send_across(size, each)
    across = crossings(domain, each, p)
    both = (domain < 2 * each) | (domain % each > 0)  # boundaries of one place are far at once
    pair = np.where(across > 0, far + np.where(both, far, near), 2 * near)
    pair = np.where(across < p - 1, np.maximum(pair, 2 * near), pair)
    return Transfers(near=near, far=far, waited=v * pair, filling=2 * v * ((p - 1 - across) * near + across * far))


def _sent(task: Task, plans: Arrangements) -> Column:
    """Bytes that a rank sends to the next stage for a microbatch."""
    size = plans.microbatch * task.sequence / plans.context * task.model.hidden * float(task.itemsize)
    return size / np.where(plans.sequence_parallel | (not task.practice.whole_sends), plans.tensor, 1)


def bubble(plans: Arrangements, m: Numbers, mean: Work, slowest: Column) -> Column:
    """What the slowest rank waits for others of `m` microbatches, of each of which it has `slowest` seconds: under 1F1B
    and GPipe once for every other rank, interleaved a v-th of that, and as much more for all but the first two as a
    last group of p lacks."""
    p, v = plans.pipeline, np.maximum(plans.virtual_stages, 1)
    missing = -(-m // p) * p - m
    other = np.maximum(p * mean.seconds - slowest, (p - 1) * mean.seconds * 0.5) / np.maximum(p - 1, 1)
    slack = slowest - mean.seconds
    waits = {
        "1f1b": (p - 1) / v * other,
        "gpipe": (p - 1) / v * other,
        "interleaved": np.minimum((p - 1.0), (p - 1) / v + missing) * other,
        "zb-h1": _zb_h1(p, m, mean, other, slack),
        "zb-v": _zb_v(p, m, mean, other, slack),
    }
    return np.where(p == 1, 0.0, np.choose(plans.schedule, [waits[name] for name in SCHEDULES]))


def _zb_h1(p: Numbers, m: Numbers, mean: Work, other: Column, slack: Column) -> Column:
    """(p - 1) (F + I - W), more where microbatches are too few to fill it. From the p-th on F and W take turns, and the
    longer of them is waited for."""
    weights = mean.weights / mean.seconds
    filling = np.maximum((p - 1) * (1 - weights) - (np.minimum(m, p) - 1) * weights, 0) * other
    longer = mean.forward - mean.weights
    return filling + np.maximum(m - p, 0) * np.maximum(longer, np.maximum(-longer - slack, 0))


def _zb_v(p: Numbers, m: Numbers, mean: Work, other: Column, slack: Column) -> Column:
    """F, I and W that ranks perform at once take as long as the longest of them: where they are alike nearly nothing is
    waited for, where I is twice the others up to half of every microbatch, less what a slowest rank has to do besides.
    Read off played schedules, as is how long that takes to begin."""
    inputs = mean.seconds - mean.forward - mean.weights
    apart = sum(
        np.maximum(inputs - one, 0) + 0.5 * np.maximum(one - inputs, 0) for one in (mean.forward, mean.weights)
    ) * np.where(p == 2, 0.5, 1.0)  # fmt: skip
    weights, both = mean.weights / mean.seconds, 1 - inputs / mean.seconds
    few = p * (1 - weights) + weights / 2 - 1 - (m - 1) * both
    rounds = np.maximum(np.minimum(m - 1, 2 * m - 1.6 * p), 0)
    return np.maximum(few * other, (p - 1) / 6 * other + rounds * np.maximum(apart - slack, 0))
