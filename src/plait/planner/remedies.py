"""Why no plan fits the memory, and what would, whoever knows what ranks hold: the rank that dies first, what fills it,
and changes of the job that were tried.

    the smallest plan     rank 0: 18.3 GiB of 16.0, most of it optimizer
    tried                 a key that the job fixes, left open │ … │ more ranks │ half a sequence
    said                  the first of each kind that fits; where none does, the one that comes nearest

Nothing is guessed: each change is a job whose smallest plan is looked for. Which changes there are, and what a plan
holds, `shortage` of each planner says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from plait.plans.describe import plan_name
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.wording import shown
from plait.units import Bytes

__all__ = ["Change", "Smallest", "dies_first", "freed", "shorter", "unsafe", "why_nothing_fits"]


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """A job's plan that comes nearest to fitting, or one that `fits`. Its `rank` that dies first holds `held` bytes,
    `most` of them of one `kind`, and `fewer` says what would lessen those. `room` is what `whose` memory has; where
    ranks share it, `together` is what all of them hold. `in_host`: what a plan keeps in each host's memory besides."""

    plan: Plan
    fits: bool
    rank: int
    held: int
    kind: str
    most: int
    fewer: str
    room: int
    whose: str
    together: int | None = None
    in_host: int = 0

    @property
    def need(self) -> int:
        """Bytes that the room is for."""
        return self.held if self.together is None else self.together


class Change(NamedTuple):
    """A job that differs a little, in words. `key`: of [plan], left open; what is advised is its value in the plan that
    fits."""

    job: Job
    words: str
    key: str = ""


_Lookup = Callable[[Job], Smallest | None]


def why_nothing_fits(one: Smallest, kinds: Iterable[Iterable[Change]], smallest_of: _Lookup) -> str:
    """The smallest plan, what fills its fullest rank, and the nearest change of each kind with which one would fit.
    `smallest_of`: of a changed job; None where none of its plans is legal or has a price."""
    least = f"the one that needs least ({plan_name(one.plan)})"
    return f"no legal plan fits. Of {least} {dies_first(one)}; {_advice(kinds, smallest_of)}"


def dies_first(one: Smallest) -> str:
    """What a plan that does not fit needs, on the rank that dies first, and of which bytes most is."""
    room, needs = f" of the {Bytes(one.room)} that {one.whose}", f"it needs {Bytes(one.held)}"
    most = f"most of it {one.kind}: {Bytes(one.most)}; fewer with {one.fewer}"
    if one.together is None:
        return f"rank {one.rank} dies first: {needs}{room}, {most}"
    return f"all ranks together need {Bytes(one.together)}{room}; rank {one.rank} dies first: {needs}, {most}"


def unsafe(risk: float) -> str:
    """What to know of a plan that is proposed since none is safer."""
    return f"no plan is safe: the best one runs out of memory with a probability of {risk:.0%}, the others are no safer"


def freed(job: Job, keys: Iterable[str]) -> Iterator[Change]:
    """Each of these keys that the job fixes, left open."""
    for key in (key for key in keys if key in job.constraints):
        left = {name: value for name, value in job.constraints.items() if name != key}
        yield Change(replace(job, constraints=left), f"plan.{key} left open", key)


def shorter(job: Job) -> Iterator[Change]:
    """Half a sequence, and half of that."""
    length = job.training.sequence_length
    while (length := length // 2) >= 1:
        training = replace(job.training, sequence_length=length)
        yield Change(replace(job, training=training), f"training.sequence_length = {length}")


def _advice(kinds: Iterable[Iterable[Change]], smallest_of: _Lookup) -> str:
    fitting: list[str] = []
    nearest: tuple[float, str] | None = None
    for kind in kinds:
        for change in kind:
            found = smallest_of(change.job)
            if found is None:
                continue
            words = f"{_advised(change, found)}: {Bytes(found.need)} of {Bytes(found.room)}"
            words += f", and {Bytes(found.in_host)} in each host's memory" if found.in_host else ""
            if found.fits:
                fitting.append(words)
                break
            tried = found.need / found.room, words
            nearest = min(nearest or tried, tried)
    if fitting:
        return f"the nearest change that would fit: {'; or '.join(fitting)}"
    return "nothing that was tried would fit" + (f"; nearest comes {nearest[1]}" if nearest else "")


def _advised(change: Change, found: Smallest) -> str:
    return f"plan.{change.key} = {shown(getattr(found.plan, change.key))}" if change.key else change.words
