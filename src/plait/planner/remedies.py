"""Why no plan fits the memory, and what would, whoever knows what ranks hold: the rank that dies first, what fills it,
and changes of the job that were tried.

    the smallest plan     rank 0: 18.3 GiB of 16.0, most of it optimizer
    tried                 a key that the job fixes, left open │ … │ more ranks │ half a sequence
    said                  the first of each kind that is safe, and one before it that may fit; where there is neither,
                          the one that comes nearest

Nothing is guessed: each change is a job whose smallest plan is looked for. Which changes there are, and what a plan
holds, `shortage` of each planner says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

from plait.estimates.estimate import DARING, RISK
from plait.plans.describe import plan_name
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.wording import shown
from plait.units import Bytes, Seconds

__all__ = ["Change", "Smallest", "dies_first", "freed", "may_run_out", "shorter", "unsafe", "why_nothing_fits"]


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """A job's plan that comes nearest to fitting, or one that fits; `risk`: the probability that it runs out of memory.
    Its `rank` that dies first holds `held` bytes, `most` of them of one `kind`, and `fewer` says what would lessen
    those. `room` is what `whose` memory has; where ranks share it, `together` is what all hold that are `sharing` it.
    `in_host`: what a plan keeps in each host's memory besides. `seconds`: of the job's step, where it fits and that is
    known; `bound`: no more than these."""

    plan: Plan
    risk: float
    rank: int
    held: int
    kind: str
    most: int
    fewer: str
    room: int
    whose: str
    together: int | None = None
    sharing: str = "all ranks"
    in_host: int = 0
    seconds: float | None = None
    bound: bool = False

    @property
    def need(self) -> int:
        """Bytes that the room is for."""
        return self.held if self.together is None else self.together

    @property
    def safe(self) -> bool:
        """Whether it is proposed wherever it is the fastest."""
        return self.risk <= RISK

    @property
    def fits(self) -> bool:
        """Whether it is proposed at all, if only where nothing is safe."""
        return self.risk <= DARING


class Change(NamedTuple):
    """A job that differs a little, in words. `key`: of [plan], left open; what is advised is its value in the plan that
    fits."""

    job: Job
    words: str
    key: str = ""


_Lookup = Callable[[Job], Smallest | None]


def why_nothing_fits(job: Job, one: Smallest, kinds: Iterable[Iterable[Change]], smallest_of: _Lookup) -> str:
    """The job's smallest plan, what fills its fullest rank, and the nearest change of each kind with which one would
    fit. `smallest_of`: of a changed job; None where none of its plans is legal or has a price."""
    least = f"the one that needs least ({plan_name(one.plan)})"
    return f"no legal plan fits. Of {least} {dies_first(one)}; {_advice(job, kinds, smallest_of)}"


def dies_first(one: Smallest) -> str:
    """What a plan that does not surely fit needs, on the rank that dies first, and of which bytes most is."""
    room, needs = f" of the {Bytes(one.room)} that {one.whose}", f"it needs {Bytes(one.held)}"
    most = f"most of it {one.kind}: {Bytes(one.most)}; fewer with {one.fewer}"
    dies = may_run_out(one.risk) if one.fits else "dies first"
    if one.together is None:
        return f"rank {one.rank} {dies}: {needs}{room}, {most}"
    return f"{one.sharing} together need {Bytes(one.together)}{room}; rank {one.rank} {dies}: {needs}, {most}"


def may_run_out(risk: float) -> str:
    """What is said of a plan that is neither safe nor sure to fail."""
    return f"may run out of memory ({risk:.0%})"


def unsafe(proposed: Sequence[tuple[Plan, float]], seconds_of: Callable[[int], float]) -> str:
    """What to know of plans that are proposed, best first, though none is safe: how likely each is to run out of memory
    stands beside it. `seconds_of`: a step of the one at a place, from 0."""
    (_, risk), *_ = proposed
    best = f"no plan is safe: the best one runs out of memory with a probability of {risk:.0%}"
    place = min(range(len(proposed)), key=lambda place: round(proposed[place][1], 2))
    if place == 0:
        return f"{best}, and of the others that are proposed none is safer by a whole percent"
    plan, risk = proposed[place]
    seconds, more = Seconds(seconds_of(place)), seconds_of(place) / seconds_of(0) - 1
    safest = f"the safest that is proposed, plan {place + 1} ({plan_name(plan)})"
    return f"{best}, and {safest}, with one of {risk:.0%}: it takes {seconds} a step ({more:+.0%})"


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


class _Tried(NamedTuple):
    """A change, and what was found of the job with it."""

    change: Change
    found: Smallest


def _advice(job: Job, kinds: Iterable[Iterable[Change]], smallest_of: _Lookup) -> str:
    """Of the changes with which a plan fits the safe ones first, then those that ask for least (`_asks`), and of these
    the fastest."""
    tried = [list(_tried(kind, smallest_of)) for kind in kinds]
    fitting = sorted((one for kind in tried for one in _told(kind)), key=lambda one: _order(job, one))
    safe, daring = ([_words(one) for one in fitting if one.found.safe is so] for so in (True, False))
    would = [f"the nearest change of each kind that would fit: {'; or '.join(safe)}"] if safe else []
    might = (
        [f"{'that' if safe else 'the nearest change of each kind that'} might fit: {'; or '.join(daring)}"]
        if daring
        else []
    )
    if would or might:
        return "; ".join((*would, *might))
    every = [one for kind in tried for one in kind]
    nearest = min(every, key=lambda one: one.found.need / one.found.room, default=None)
    return "nothing that was tried would fit" + (f"; nearest comes {_words(nearest)}" if nearest else "")


def _tried(kind: Iterable[Change], smallest_of: _Lookup) -> Iterator[_Tried]:
    """The changes of a kind up to the first that is safe."""
    for change in kind:
        found = smallest_of(change.job)
        if found is not None:
            yield _Tried(change, found)
            if found.safe:
                return


def _told(tried: Sequence[_Tried]) -> Iterator[_Tried]:
    """Of one kind the first that fits, and the first that is safe."""
    fitting = [one for one in tried if one.found.fits]
    yield from fitting[:1]
    yield from (one for one in fitting[1:] if one.found.safe)


def _order(job: Job, one: _Tried) -> tuple[int, float]:
    return _asks(job, one.change.job), _seconds_a_token(one)


def _asks(job: Job, changed: Job) -> int:
    """What a change asks for: 0 another plan alone, 1 other machines, 2 that something else is learned."""
    if changed.training != job.training:
        return 2
    return int(changed.cluster != job.cluster)


def _seconds_a_token(one: _Tried) -> float:
    training, seconds = one.change.job.training, one.found.seconds
    return inf if seconds is None else seconds / (training.global_batch * training.sequence_length)


def _words(one: _Tried) -> str:
    change, found = one
    key = f"plan.{change.key} = {shown(getattr(found.plan, change.key))}" if change.key else change.words
    told = [f"{key}: {Bytes(found.need)} of {Bytes(found.room)}"]
    told += [f"and {Bytes(found.in_host)} in each host's memory"] if found.in_host else []
    if found.seconds is not None:
        told.append(f"{'at most ' if found.bound else ''}{Seconds(found.seconds)} a step")
    told += [may_run_out(found.risk)] if found.fits and not found.safe else []
    return ", ".join(told)
