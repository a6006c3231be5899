"""Several plans of a job, measured in turns on the same ranks, each beside what was predicted of it before.

    round 1     A  D  B  C        a turn: some steps of one plan, on ranks that are warm
    round 2     C  B  D  A        what disturbs a machine for a while disturbs all of them alike
    round 3     B  D  A  C        a plan's figures are medians over its rounds

A plan that can't be launched, or fails in a turn, is told with its reason; the others go on, where ranks can be started
anew. Every turn is on disk before the next begins, and one that is there already is not taken again. It never plans:
predictions are handed in.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from plait.devices.device import current_device
from plait.errors import PlaitError, RankFailure, UnusableInput
from plait.launchers import RankPools, World, led
from plait.plans.files import plan_table
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction
from plait.specs.documents import finite
from plait.specs.files import job_table
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from plait.training.bench_result import Benched, BenchResult, Failed
from plait.training.hosts import prepared_tokens
from plait.training.measures import measure_from_table
from plait.training.rehearsal import CLASSES, TASKS, prepared_on_rank, rehearsal_of, rehearse
from plait.training.result import Measured, measured_from_table, summed_up
from plait.training.run_directory import written

__all__ = ["Contest", "Entry", "OnTurn", "bench", "bench_on", "taken"]

_PATIENCE = 120.0  # seconds of a turn without a word from any rank, beside ten times what is predicted
_BEGINNING = b'{"key": "'  # of a turn's line
_LONGEST = 1800.0  # the same under torchrun, whose ranks are asked for all turns before any is known


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A plan, what was predicted of it, and where that lies outside what was measured. `left_open`: what its file
    leaves open, with what was taken."""

    plan: Plan
    prediction: Prediction
    guesses: tuple[str, ...] = ()
    link: LinkSpeed | None = None  # between hosts, as it was priced
    left_open: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who is measured, and how: `repeats` rounds of `steps` steps; `record`: the file of the turns that were taken."""

    job: Job
    entries: tuple[Entry, ...]
    repeats: int
    steps: int
    record: Path


OnTurn = Callable[[int, Entry, Measured | str], None]  # the round from 1, and what was measured or why not


class _Ranks(Protocol):
    """Performs a function on the first so many ranks, given the seconds after which they count as hung."""

    def __call__(self, ranks: int, function: Callable[..., Any], *args: object, timeout: float) -> list[Any]: ...


def bench(contest: Contest, on_turn: OnTurn) -> BenchResult:
    """Measure all of them on ranks of this machine. Raises UnusableInput for data or a record that can't be used."""
    folder = str(prepared_tokens(contest.job).folder)
    with RankPools(backend=current_device().backend, timeout=_PATIENCE) as pools:
        folders = [folder] * max(entry.plan.ranks for entry in contest.entries)
        return _Bench(contest, pools.run, folders, on_turn).result()


def bench_on(world: World, contest: Callable[[], Contest], on_turn: OnTurn) -> BenchResult | None:
    """Measure all of them on the processes that torchrun has started; every one of them calls this, and rank 0 alone
    asks for the `contest` and gets a result. There a plan that fails in its turn is the last that was measured.

    Raises as `bench` and `led` do; UnusableInput where hosts have other tokens.
    """
    found: list[BenchResult] = []

    def program(run: Callable[..., list[Any]]) -> None:
        asked = contest()
        job = asked.job
        told = run(world.size, prepared_on_rank, job.data, job.model, job.training)
        if len({digest for _, digest in told}) > 1:
            raise UnusableInput(
                "the text that data.text names gives other tokens on another host: copy the files there"
            )

        def on_ranks(ranks: int, function: Callable[..., Any], *args: object, timeout: float) -> list[Any]:
            del timeout  # the led ranks have one for all turns
            return run(ranks, function, *args)

        folders = [folder for folder, _ in told]
        found.append(_Bench(asked, on_ranks, folders, on_turn, hosts=len(world.hosts), goes_on=False).result())

    led(world, program, tasks=TASKS, classes=CLASSES, backend=current_device().backend, timeout=_LONGEST)
    return found[0] if found else None


@dataclass
class _Bench:
    """One contest under way."""

    contest: Contest
    run: _Ranks
    folders: Sequence[str]
    on_turn: OnTurn
    hosts: int = 1
    goes_on: bool = True
    taken: dict[int, list[Measured]] = field(default_factory=dict[int, list[Measured]])
    failed: dict[int, str] = field(default_factory=dict[int, str])

    def result(self) -> BenchResult:
        """Take every turn."""
        contest = self.contest
        record = _Record(contest)
        for turn, place in self._turns():
            entry = contest.entries[place]
            try:
                measured = record.known(turn, entry) or self._measured(entry)
            except PlaitError as error:
                self.failed[place] = _words(error)
                self.on_turn(turn, entry, self.failed[place])
                continue
            record.keep(turn, entry, measured)
            self.taken.setdefault(place, []).append(measured)
            self.on_turn(turn, entry, measured)
        return self._told()

    def _turns(self) -> Iterator[tuple[int, int]]:
        """Round and entry. The order is drawn, the same in every bench; each second round has it backwards, so that who
        is early is late as often. A plan that has failed has no more turns; where ranks can't be started anew, nor has
        any other."""
        drawn, order = random.Random(0), list(range(len(self.contest.entries)))
        for turn in range(1, self.contest.repeats + 1):
            if turn % 2:
                drawn.shuffle(order)
            else:
                order.reverse()
            for place in tuple(order):
                if place not in self.failed and (self.goes_on or not self.failed):
                    yield turn, place

    def _measured(self, entry: Entry) -> Measured:
        contest, plan = self.contest, entry.plan
        given = rehearsal_of(contest.job, plan, contest.steps, self.folders, entry.link)
        patience = _PATIENCE + 10 * given.training.steps * entry.prediction.step_seconds
        told = self.run(plan.ranks, rehearse, given, timeout=patience)
        return summed_up(plan, [measure_from_table(table) for table in told], hosts=self.hosts)

    def _told(self) -> BenchResult:
        entries = self.contest.entries
        why = "another plan failed before, and torchrun's ranks can't be started anew"
        lost = {place: why for place in range(len(entries)) if place not in self.taken} | self.failed
        return BenchResult(
            plans=tuple(
                Benched(
                    plan=entry.plan,
                    prediction=entry.prediction,
                    runs=tuple(self.taken[place]),
                    guesses=entry.guesses,
                    left_open=entry.left_open,
                )
                for place, entry in enumerate(entries)
                if place not in lost
            ),
            failed=tuple(
                Failed(plan=entry.plan, prediction=entry.prediction, error=lost[place], left_open=entry.left_open)
                for place, entry in enumerate(entries)
                if place in lost
            ),
        )


def _words(error: PlaitError) -> str:
    """One line: of a rank that failed, which, and what it raised."""
    told = f"rank {error.rank}: {error.report}" if isinstance(error, RankFailure) else str(error)
    return told.partition("\n")[0]


class _Record:
    """The turns on disk, a line each, by what was asked: job, plan, steps and round."""

    def __init__(self, contest: Contest) -> None:
        self._contest, self._path = contest, contest.record
        self._known, self._end = _read(contest.record)

    def known(self, turn: int, entry: Entry) -> Measured | None:
        """What was measured in this turn before, if it was."""
        return self._known.get(self._key(turn, entry))

    def keep(self, turn: int, entry: Entry, measured: Measured) -> None:
        """Add it. Raises UnusableInput where the disk takes no more."""
        key = self._key(turn, entry)
        if key in self._known:
            return
        line = {"key": key, "round": turn, "plan": plan_table(entry.plan), "measured": asdict(measured)}
        with written(self._path) as path, path.open("ab") as file:
            if (end := self._end) is not None:
                file.truncate(end.whole)
                file.write(b"\n" if end.open else b"")
                self._end = None
            file.write(json.dumps(finite(line), allow_nan=False).encode() + b"\n")

    def _key(self, turn: int, entry: Entry) -> str:
        tables = job_table(self._contest.job)
        asked = [tables["model"], tables["training"], plan_table(entry.plan), self._contest.steps, turn]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def taken(record: Path) -> dict[str, Measured]:
    """The turns in a file, none where there is no such file yet, by what was asked; a last line that was cut off in the
    middle is none. Raises UnusableInput for a file that can't be read, or holds anything else."""
    return _read(record)[0]


class _End(NamedTuple):
    """How a record ends: after so many bytes, and whether its last line is still `open`, without a line's end."""

    whole: int
    open: bool


def _read(record: Path) -> tuple[dict[str, Measured], _End | None]:
    try:
        text = record.read_bytes()
        last = text[text.rfind(b"\n") + 1 :]
        torn = last.startswith(_BEGINNING) and not last.endswith(b"}}")
        whole = text[: len(text) - len(last)] if torn else text
        lines = whole.decode().splitlines()
    except FileNotFoundError:
        return {}, None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UnusableInput(f"turns can't be read from {record}: {reason}") from error
    found = dict(_turn(line, f"line {number} of {record}") for number, line in enumerate(lines, 1))
    return found, _End(whole=len(whole), open=bool(last) and not torn)


def _turn(line: str, where: str) -> tuple[str, Measured]:
    try:
        row: Mapping[str, Any] = json.loads(line)
        measured = measured_from_table(row["measured"])
        if not measured.memory_bytes:
            raise ValueError("measured.memory_bytes names no rank")
        return row["key"], measured
    except KeyError as error:
        raise UnusableInput(f"{where} is no turn of a bench: it has no {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise UnusableInput(f"{where} is no turn of a bench: {error}") from error
