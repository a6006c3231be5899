"""The machine that prices are for, or several like it: what ranks that share its cores take, and where a plan's stand.

    one operation, one message      `compute_cost`, `communication_cost`, of a rank that is alone
    with the others at work         crowded here, where ranks share cores
    of another rank                 as its `speeds` say, where ranks differ

It knows plans as far as where their ranks stand; nothing of what a step is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from plait.estimates.estimate import FRAGMENTED
from plait.planner.communication_cost import CommunicationCost
from plait.planner.compute_cost import ComputeCost
from plait.planner.cores import SharedCores, shared_cores
from plait.planner.speeds import Speeds
from plait.planner.spread import Spread, inside, neighbours, spread_of
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.links import LinkKind, LinkSpeed
from plait.specs.measurements import Measurements
from plait.specs.training import Dtype
from plait.specs.values import MOST_RANKS

__all__ = ["Machine"]

_Each = TypeVar("_Each")


class Machine:
    """One that was measured, or as many like it as `cluster` has nodes. `host`: which one was, where that is known;
    `cores`: of each of them, None where each rank has its own; `busy_share` of these other programs had while it was
    measured; `memory_bytes` likewise, of the host or of each rank's device, None where that is not known; `rank_bytes`
    of it a rank takes before it holds a tensor; `host_memory_bytes`: of the host of such devices. `links`: how many
    times as fast they are as was measured or said.
    Raises UnusableInput where `dtype` was not measured."""

    def __init__(
        self, measurements: Measurements, dtype: Dtype, cluster: ClusterSpec | None = None, links: float = 1.0
    ) -> None:
        place = cluster or ClusterSpec()
        self.nodes = place.nodes
        self._ranks_a_node = place.ranks_a_node if place.nodes > 1 else MOST_RANKS
        self.compute = ComputeCost(measurements, dtype)
        self.updating = measurements.correction("optimizer")  # how many times longer an update takes than measured
        self.speeds = Speeds(measurements, self._ranks_a_node)
        self.communication = CommunicationCost(measurements, place.inter_link, links)
        self.host = host = measurements.host
        self.disbelieved = tuple(one for one in measurements.corrections if not one.believed)
        on_cpu = host is not None and host.device == "cpu"
        self.cores = float(host.cores) if host is not None and on_cpu else None
        self.busy_share = host.busy_share if host is not None and on_cpu else 0.0
        self.memory_bytes = host.memory_bytes if host is not None else None
        self.rank_bytes = host.rank_bytes if host is not None else 0
        self.shares_memory = on_cpu
        self.host_memory_bytes = None if host is None or on_cpu else host.host_memory_bytes or None

    def crowd(self, ranks: int) -> float:
        """How many times longer anything takes where `ranks` ranks, numbered on end, share the cores of their hosts."""
        return max(1.0, min(ranks, self._ranks_a_node) / self.cores) if self.cores else 1.0

    def shared_cores(self, plan: Plan) -> SharedCores:
        """Who of its pipeline shares cores with whom."""
        return shared_cores(plan.pipeline, plan.data * plan.tensor, ranks_a_host=self._ranks_a_node, cores=self.cores)

    def at_work(self, plan: Plan) -> int:
        """Ranks of one host that compute at the same time, each on a core of its own."""
        ranks = min(plan.ranks, self._ranks_a_node)
        return min(ranks, int(self.cores)) if self.cores else ranks

    def taken(self, held: int) -> int:
        """Bytes that are gone where a rank holds so many: with what its allocator can't use, and its process's own."""
        return round(held * (1 + FRAGMENTED)) + self.rank_bytes

    def hosts(self, of_ranks: Sequence[_Each]) -> Iterator[Sequence[_Each]]:
        """What is said of ranks, host by host."""
        yield from (
            of_ranks[first : first + self._ranks_a_node] for first in range(0, len(of_ranks), self._ranks_a_node)
        )

    def spread(self, plan: Plan, axis: str, members: tuple[int, ...] | None = None) -> Spread:
        """Where the ranks along an axis stand, or those at some places of it."""
        return spread_of(plan.mesh, axis, self._ranks_a_node, members)

    def levels(self, plan: Plan) -> tuple[int, ...]:
        """How many replicas stand on each host where hosts sum first, then across; empty where they don't."""
        return self.communication.levels(self.spread(plan, "data"))

    def neighbours(self, plan: Plan) -> Spread:
        """Where two stages that follow each other stand."""
        return neighbours(plan.mesh, self._ranks_a_node)

    def message(self, kind: LinkKind, group: Spread, size: int, at_once: int, pause: float = 0.0) -> float:
        """Seconds of a message in a group while `at_once` ranks are at it, `pause` seconds after the one before it."""
        ranks = max(group.ranks, at_once)
        return self.uncrowded(kind, group, size, ranks, pause) * self.crowd(ranks)

    def uncrowded(self, kind: LinkKind, group: Spread, size: int, at_once: int, pause: float = 0.0) -> float:
        """What of a message's seconds is left once it is taken out that `at_once` ranks share the cores, for who slows
        all work down by that: a link between more ranks than cores was measured with them sharing the cores, and is not
        slowed down twice; one between hosts does not ask for cores, and is not slowed down at all."""
        ranks = at_once if group.crosses else group.ranks
        return self.communication.seconds(kind, group, size, pause) / self.crowd(ranks)

    def overhead(self, kind: LinkKind, group: Spread) -> float:
        """Seconds that who computes loses by one message in a group, for who slows all work down where ranks share
        cores: it was measured with some sharing them already."""
        link = self.communication.nearest_between(kind, group)
        return link.overhead / self.crowd(link.ranks // link.hosts) if link else 0.0

    def exposed_share(self, plan: Plan) -> float:
        """The part of a sum over data behind compute that lengthens it all the same."""
        group = self.spread(plan, "data")
        ranks = min(plan.ranks, self._ranks_a_node)
        return self.communication.exposed_share(group, cores=self.cores, at_work=ranks)

    def in_background(self, plan: Plan) -> bool:
        """Whether replicas compute while what they send each other goes on."""
        return self.communication.in_background(self.spread(plan, "data"))

    def receives_ahead(self, plan: Plan) -> tuple[bool, ...]:
        """By stage, whether it and the next expect what passes between them before they need it."""
        return tuple(pair.ranks > 1 and self.communication.receives_ahead(pair) for pair in self.boundaries(plan))

    def boundaries(self, plan: Plan) -> tuple[Spread, ...]:
        """By stage, where it and the next stand: one rank's own, or as their wire sees them."""
        pairs = list(pairwise(plan.stage_rank))
        found = {pair: self._boundary(plan, pair) for pair in set(pairs)}
        return tuple(found[pair] for pair in pairs)

    def _boundary(self, plan: Plan, pair: tuple[int, int]) -> Spread:
        low, high = sorted(pair)
        if low == high:
            return inside(1)
        axis = self.spread(plan, "pipeline")
        apart = axis.crosses and max(axis.hosts) == 1  # then the whole axis has one wire (`sharding.standing`)
        return axis if apart else self.spread(plan, "pipeline", (low, high))

    @property
    def between_hosts(self) -> LinkSpeed | None:
        """What is taken to join the hosts; None where there is one."""
        return self.communication.between if self.nodes > 1 else None
