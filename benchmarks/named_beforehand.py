"""What does the planner name for the peers' job on a slow link, before any of it has run?

    peers' job, a link's name ──► `plait plan`'s search ──► choices, fastest first ──► plans, as they are to be run

Asked with measurements of one host and the link's declared speed alone. It knows no network and starts no rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from peer_job import spec_of, training_of

from plait.planner.hiding import Choice, Hiding, gentlest
from plait.planner.search import search
from plait.plans.files import plan_table
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.measurements import Measurements

__all__ = ["WANTED", "as_recorded", "job_on", "name_of", "named", "picked"]

WANTED: Mapping[str, float] = {"1gbit": 0.97, "200mbit": 0.95, "50mbit": 0.9}  # of a system's own unlimited speed


def job_on(size: str, rate: str) -> Job:
    """The peers' job on two hosts of one rank, over a link of that rate ("200mbit"), as plain replicas."""
    cluster = ClusterSpec(ranks=2, nodes=2, devices_per_node=1, inter_link=f"ethernet-{rate}")
    return Job(model=spec_of(size), training=training_of(size), cluster=cluster, constraints={"data": 2, "zero": 0})


def named(size: str, rates: Sequence[str], measurements: Measurements) -> dict[str, Hiding]:
    """By rate, what would hide its link; a rate at which nothing has to be hidden, or that is "none", is left out."""
    limits = [rate for rate in rates if rate != "none"]
    found = {rate: search(job_on(size, rate), measurements).would_hide for rate in limits}
    return {rate: one for rate, one in found.items() if one is not None}


def picked(found: Hiding, wanted: float, most: int) -> tuple[Choice, ...]:
    """The mildest of them that keeps as much of the speed as is wanted, and the fastest of all, which it may be."""
    fastest, mild = found.choices[0], gentlest(found.choices, wanted)
    return ((fastest,) if mild is None or mild is fastest else (mild, fastest))[:most]


def name_of(choice: Choice) -> str:
    """In words: "diloco 4, int8"."""
    steps = choice.keys.get("local_steps", "")
    alone = f"{choice.keys.get('synchronisation', '')} {steps}".strip()
    return ", ".join(part for part in (alone, str(choice.keys.get("compression", ""))) if part)


def as_recorded(found: Hiding) -> dict[str, Any]:
    """What was named, in its order, with what was promised of each, ready for JSON."""
    return {
        "link": asdict(found.link),
        "unhindered_seconds": found.unhindered_seconds,
        "dense_seconds": found.dense_seconds,
        "choices": [
            {
                "name": name_of(one),
                "step_seconds": one.step_seconds,
                "run_seconds": one.run_seconds,
                "kept": one.kept,
                "plan": plan_table(one.plan),
            }
            for one in found.choices
        ],
    }
