"""From the keys of `[cluster]` to a cluster: how many ranks there are, and on which machines they stand.

    here         ranks, or nodes × devices_per_node, or what this machine offers
    equal        the same, of a catalogue device; what is left out is as such machines usually are
    groups       the sum over the groups; `ranks` may repeat it

Contradictions are problems, and the cluster then a stand-in: the keys that say where ranks stand are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from plait.errors import Problem
from plait.specs.catalogue import device_named, device_problem, inter_link_problem, intra_link_problem
from plait.specs.cluster import ClusterSpec, GroupSpec, misplaced, usable_cores
from plait.specs.devices import DEVICES
from plait.specs.job import fixed_degree
from plait.specs.machines import devices_each
from plait.specs.values import MOST_RANKS
from plait.specs.wording import counted

__all__ = ["PLACES", "Placed", "placed"]

PLACES = ("ranks", "nodes", "devices_per_node")
_BY_NAME = {"device": device_problem, "intra_link": intra_link_problem, "inter_link": inter_link_problem}
_MACHINES = frozenset(f"cluster.{key}" for key in (*PLACES, "device", "groups"))
_Keys = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """`unknown`: the keys that the cluster holds stand-ins for."""

    cluster: ClusterSpec
    problems: tuple[Problem, ...] = ()
    unknown: frozenset[str] = frozenset()


def placed(keys: _Keys, plan: _Keys, refused: frozenset[str]) -> Placed:
    """The cluster that good keys describe. `refused`: keys that were there and could not be taken, which may have said
    where ranks stand."""
    if "groups" in keys:
        return _in_groups(keys)
    if any(key.startswith(("cluster.device", "cluster.groups")) for key in refused - {"cluster.devices_per_node"}):
        return Placed(cluster=ClusterSpec(), unknown=_MACHINES)
    if refused & {f"cluster.{key}" for key in PLACES}:
        return Placed(cluster=_here(_without(keys, PLACES[1:]), plan))
    return _equal(keys, plan) if "device" in keys else _settled(keys, keys, plan, keys.get("devices_per_node"))


def _settled(keys: _Keys, settled: _Keys, plan: _Keys, each: int | None) -> Placed:
    """The cluster of `settled` keys, if so many ranks can stand so; `each` on a host, where that is known."""
    wrong = misplaced(settled.get("nodes", 1), each, settled.get("ranks"))
    if wrong is None:
        return Placed(cluster=_here(settled, plan))
    return Placed(cluster=_here(_without(keys, PLACES), plan), problems=(wrong,), unknown=frozenset({wrong.key}))


def _without(keys: _Keys, left_out: tuple[str, ...]) -> _Keys:
    return {key: value for key, value in keys.items() if key not in left_out}


# ---- this machine, and machines like it -----------------------------------------------------------------------------


def _here(keys: _Keys, plan: _Keys) -> ClusterSpec:
    if "ranks" in keys:
        return ClusterSpec(**keys)
    if "devices_per_node" in keys:
        return ClusterSpec(**keys, ranks=keys.get("nodes", 1) * keys["devices_per_node"])
    return ClusterSpec(**keys, ranks=_default_ranks(plan), ranks_open=True)


def _default_ranks(plan: _Keys) -> int:
    """As many ranks as this machine has cores, in whole copies of what the plan fixes; at least one copy."""
    degrees = [fixed_degree(plan, axis) for axis in ("data", "tensor", "pipeline")]
    fixed = prod(degree or 1 for degree in degrees)
    return fixed if None not in degrees else fixed * max(1, usable_cores() // fixed)


# ---- machines of the catalogue --------------------------------------------------------------------------------------


def _equal(keys: _Keys, plan: _Keys) -> Placed:
    """One device in every host. Left out: the devices of a host, or the hosts of so many ranks."""
    device = device_named(keys["device"])
    each = keys.get("devices_per_node", 1 if device is None else device.per_node)
    settled = {"nodes": -(-keys.get("ranks", 1) // each), **keys}
    if "ranks" in keys:
        return _settled(keys, settled, plan, keys.get("devices_per_node"))
    return _settled(keys, {**settled, "ranks": settled["nodes"] * each}, plan, each)


def _in_groups(keys: _Keys) -> Placed:
    tables: list[_Keys] = keys["groups"]
    problems = [*_twice(keys), *(wrong for table in tables for wrong in _group_problems(table))]
    groups = tuple(GroupSpec(**table) for table in tables) if not problems else ()
    ranks = sum(group.nodes * devices_each(group) for group in groups)
    if not problems:
        problems += _sum_problems(ranks, len(groups), keys.get("ranks"))
    if problems:
        first = {one.key: one for one in reversed(problems)}
        return Placed(cluster=ClusterSpec(), problems=tuple(first.values()), unknown=_MACHINES)
    rest = {key: value for key, value in keys.items() if key not in ("groups", "ranks")}
    nodes = sum(group.nodes for group in groups)
    return Placed(cluster=ClusterSpec(**rest, groups=groups, ranks=ranks, nodes=nodes))


def _twice(keys: _Keys) -> Iterator[Problem]:
    """What the groups say already."""
    if not keys["groups"]:
        yield Problem(key="cluster.groups", message="there is no group", legal="one table [[cluster.groups]] or more")
    for key in ("device", "nodes", "devices_per_node"):
        if key in keys:
            message = f"{key} stands in [cluster] and the machines in [[cluster.groups]]: each group says its own"
            yield Problem(key=f"cluster.{key}", message=message, legal="leave it out, or leave the groups out")


def _group_problems(table: _Keys) -> Iterator[Problem]:
    if "device" not in table:
        yield Problem(
            key="cluster.groups.device", message="a group has no device", legal=f"one of {', '.join(DEVICES)}"
        )
    for name, problem_of in _BY_NAME.items():
        if name in table and (wrong := problem_of(f"cluster.groups.{name}", table[name])):
            yield replace(wrong, legal=f"one of {', '.join(map(str, wrong.legal))}")  # which group is not in the key


def _sum_problems(ranks: int, groups: int, said: int | None) -> Iterator[Problem]:
    if ranks > MOST_RANKS:
        message = (
            f"the {counted(groups, 'group')} have {ranks} devices, and {MOST_RANKS} ranks are the most there may be"
        )
        yield Problem(key="cluster.groups", message=message, legal="fewer nodes, or fewer devices in each")
    elif said not in (None, ranks):
        message = f"ranks = {said}, but the {counted(groups, 'group')} have {ranks} devices"
        yield Problem(key="cluster.ranks", message=message, legal=(ranks,))
