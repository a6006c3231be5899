"""What a plan's own choice changes of the mathematics, and what can be proven of it all the same.

    values, loss, gradients of values            judged as ever: nothing lossy has touched them
    gradients that travel compressed             LOSSY
      └ restored: + what is owed, over ranks     judged as ever: sent + owed after = gradient + owed before
    norm, clipped or not; weights, optimizer     LOSSY, if their gradient is, or any is where the norm is clipped
    what the new weights give                    LOSSY

Replicas that learn alone have gradients of their own: put together, each by its part of the targets, they are judged as
ever; norm and optimizer have no counterpart and are left out; weights, once averaged, are LOSSY, with equal bits.

So it is where a parameter server applies the portions of a step as they come. Each worker takes one of a step's, all
from the same weights; put together their gradients are the step's. The order in which they are applied is chance, so
that equal runs differ in what is LOSSY then.

All of it, the optimizer too, is judged on the plan's `dense` twin, which has not made that choice (the same servers,
once they wait for all); there a mistake is a mistake. Pure: plans and names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from plait.layers.layer import Layer
from plait.plans.meetings import dense_steps
from plait.plans.plan import Plan
from plait.plans.reductions import reductions
from plait.specs.training import TrainingSpec
from plait.verification.trace import Entry, Trace

__all__ = ["NOTHING", "RESTORED", "Lossy", "at_once", "dense", "is_restored", "lossy_of", "restored"]

RESTORED = "/restored"  # a gradient, with what is owed of it
_ITEMSIZES = (4, 8)  # of the precisions in which gradients are summed here


@dataclass(frozen=True, kw_only=True)
class Lossy:
    """`weights`: those whose gradients are not the whole ones. `spreads`: whether one step's norm takes that to all.
    `alone`: whether each replica has gradients, a norm and an optimizer of its own; gradients are put together.
    `unordered`: whether updates come in the order of chance."""

    weights: frozenset[str]
    spreads: bool = True
    alone: bool = False
    unordered: bool = False

    def touches(self, entry: Entry) -> bool:
        """Whether the choice has changed what this tensor is."""
        if (not self.weights and not self.alone) or is_restored(entry):
            return False
        match entry.kind:
            case "gradient":
                return entry.owner in self.weights and not self.alone
            case "norm":
                return True
            case "weight" | "optimizer":
                return self.spreads or entry.owner in self.weights
            case _:
                return entry.evaluated

    def unsteady(self, entry: Entry) -> bool:
        """Whether equal runs may differ in it."""
        return self.unordered and self.touches(entry)

    def omits(self, entry: Entry) -> bool:
        """Whether each replica has one of its own, so that there is no whole to be judged."""
        return self.alone and entry.kind in ("norm", "optimizer")


NOTHING = Lossy(weights=frozenset())


def lossy_of(plan: Plan, layers: Sequence[Layer], *, clips: bool = True) -> Lossy:
    """What a plan changes; where nothing is clipped, weights that travel whole are none of it."""
    if plan.averages or plan.asynchronous:
        return Lossy(weights=frozenset(), alone=True, unordered=plan.asynchronous)
    return Lossy(weights=frozenset(_compressed(plan, layers)), spreads=clips) if plan.compresses else NOTHING


def dense(plan: Plan) -> Plan:
    """The same plan without the choice that changes the mathematics."""
    if plan.asynchronous:
        return replace(plan, staleness=0)
    return replace(plan, compression="none", synchronisation="all-reduce", local_steps=1)


def at_once(training: TrainingSpec, plan: Plan) -> tuple[TrainingSpec, Plan]:
    """The same with the plan's own choice in each of the two steps that are proven: none is dense in its place, and
    replicas that learn alone meet in both."""
    own = replace(training, warmup_steps=0) if dense_steps(plan, training) else training
    return own, replace(plan, local_steps=1)


def is_restored(entry: Entry) -> bool:
    """Whether it is a gradient, put together again."""
    return entry.kind == "gradient" and entry.name.endswith(RESTORED)


def restored(trace: Trace, lossy: Lossy) -> Trace:
    """A reference's tensors, with the gradients of the lossy weights under the name of what is restored, too."""
    more = {
        entry._replace(name=entry.name + RESTORED): array
        for entry, array in trace.items()
        if entry.kind == "gradient" and entry.name in lossy.weights
    }
    return {**trace, **more}


def _compressed(plan: Plan, layers: Sequence[Layer]) -> Iterator[str]:
    """The weights that some rank compresses in some precision."""
    for itemsize in _ITEMSIZES:
        for rank in range(plan.ranks):
            for one in reductions(layers, plan, rank, itemsize):
                for place in one.packing.compressed if one.packing else ():
                    yield one.pieces[place].name
