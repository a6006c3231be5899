"""How many random mistakes in `parallel` and `collectives` does `verify` catch?

    python benchmarks/mutations.py --record benchmarks/results/mutations.jsonl             go on with the campaign
    python benchmarks/mutations.py --record benchmarks/results/mutations.jsonl --summary   its table, in markdown

Each mutation is planted on the ranks and `verify` is run on one small job after the other, those that execute the
mutated line first, until one catches it: by its verdict, or loudly, where a rank raises or hangs. What survives them
all has been looked at by a person: `mutations_reviewed.toml` says why it changes nothing, or what is missed. One JSON
line a mutation; a campaign that was stopped goes on where it was. Reference runs are made once a job: a reference
reaches nothing that is mutated (a contract of the imports).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mutation_jobs import JOBS, Line, Trial, traced
from mutation_summary import read_record, reviewed, summary

from plait.defects.mutations import Mutation, mutations, planted
from plait.errors import RankFailure
from plait.launchers import RankPools, carry
from plait.planner.work import work_of_ranks
from plait.verification.report import Verification
from plait.verification.verify import verify_plan

_PATIENCE = 20.0  # seconds without a word after which a run counts as hung, if it does so twice; whole, it takes one
_TRACING_PATIENCE = 200.0
_CAUGHT = ("BUG", "NONFINITE", "NONDETERMINISTIC")
_OF_THE_REFERENCE = ("share_of_references", "smallest_norm")


class Ranks:
    """Pools of ranks, and the reference runs of every job, kept."""

    def __init__(self, pools: RankPools) -> None:
        self._pools = pools
        self._references: dict[str, list[Any]] = {}
        self.asked = False  # for the parallel run, in this proof
        self.executed: set[Line] | None = None  # where lines are traced

    def run(self, ranks: int, function: Callable[..., Any], *args: object) -> list[Any]:
        """As `verify_plan` asks for it. Which axis is to blame is not looked for: caught is caught."""
        if function.__name__ not in _OF_THE_REFERENCE:
            if self.asked:
                raise RankFailure(0, "no plan but the job's own is run")
            self.asked = True
            return self._perform(ranks, function, *args)
        key = repr((ranks, function.__name__, args))
        if key not in self._references:
            self._references[key] = self._pools.run(ranks, function, *args)
        return self._references[key]

    def _perform(self, ranks: int, function: Callable[..., Any], *args: object) -> list[Any]:
        if self.executed is None:
            return self._pools.run(ranks, function, *args)
        both = self._pools.run(ranks, traced, function, *args, timeout=_TRACING_PATIENCE)
        self.executed.update(*(lines for _, lines in both))
        return [result for result, _ in both]

    def verified(self, trial: Trial) -> Verification:
        """A whole proof."""
        self.asked = False
        return verify_plan(trial.job, trial.plan, run=self.run, work_of=work_of_ranks)

    def renew(self) -> None:
        """New ranks: a mutated run may have left messages under way, and groups of its own."""
        self._pools.renew()


def main() -> None:
    """Run the campaign, or print its table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--record", type=Path, default=Path("benchmarks/results/mutations.jsonl"))
    arguments.add_argument("--sample", type=int, help="only that many, drawn with a fixed seed")
    arguments.add_argument("--again", action="store_true", help="try what has survived once more")
    arguments.add_argument("--summary", action="store_true")
    given = arguments.parse_args()
    if given.summary:
        print(summary(read_record(given.record)))
        return
    wanted = random.Random(0).sample(mutations(), len(mutations()) if given.sample is None else given.sample)
    wanted.sort(key=lambda mutation: mutation.key in reviewed())  # what is known to survive takes longest
    done = {key for key, line in read_record(given.record).items() if not (given.again and line["caught"] is None)}
    campaign([mutation for mutation in wanted if mutation.key not in done], given.record)


def campaign(wanted: list[Mutation], record: Path) -> None:
    """Try each, and write it down."""
    record.parent.mkdir(parents=True, exist_ok=True)
    with RankPools(timeout=_PATIENCE) as pools:
        ranks = Ranks(pools)
        executed = {name: executed_by(trial, ranks) for name, trial in JOBS.items()}
        for number, mutation in enumerate(wanted):
            line = tried(mutation, executed, ranks)
            with record.open("a") as file:
                file.write(("\n" if _is_torn(record) else "") + json.dumps(line, ensure_ascii=False) + "\n")
            print(f"{number + 1}/{len(wanted)}  {line['caught'] or 'SURVIVED'}  {mutation.description}", flush=True)


def executed_by(trial: Trial, ranks: Ranks) -> set[Line]:
    """The lines that a healthy run executes. The run has to be healthy."""
    ranks.executed = set()
    found = ranks.verified(trial)
    if found.verdict in _CAUGHT:
        raise SystemExit(f"a false alarm, nothing is planted: {found.culprit}")
    executed, ranks.executed = ranks.executed, None
    return executed


def tried(mutation: Mutation, executed: dict[str, set[Line]], ranks: Ranks) -> dict[str, Any]:
    """What became of one mutation."""
    start = time.perf_counter()
    reached = list(_in_order(mutation, executed))
    if mutation.module.endswith("process_groups"):
        ranks.renew()  # a process keeps the groups that it has made
    outcome: dict[str, Any] = {"caught": None, "job": None, "said": None}
    for job in reached:
        caught, said = _verdict(mutation, JOBS[job], ranks)
        if caught == "hang":  # or the machine was busy
            ranks.renew()
            caught, said = _verdict(mutation, JOBS[job], ranks)
        if caught is not None:
            outcome = {"caught": caught, "job": job, "said": said}
            ranks.renew()
            break
    return {
        "mutation": mutation.key,
        "module": mutation.module.removeprefix("plait."),
        "operator": mutation.operator,
        "description": mutation.description,
        **outcome,
        "jobs": len(reached),
        "seconds": round(time.perf_counter() - start, 2),
    }


def _in_order(mutation: Mutation, executed: dict[str, set[Line]]) -> Iterator[str]:
    """The jobs that execute the line, the quickest first; where none does (a default, a line in the middle of a
    statement), those that execute the function."""
    function = (mutation.module, mutation.qualname)
    on_line = [job for job, lines in executed.items() if (*function, mutation.line) in lines]
    in_function = [job for job, lines in executed.items() if any(line[:2] == function for line in lines)]
    yield from sorted(on_line or in_function, key=lambda job: JOBS[job].plan.ranks)


def _verdict(mutation: Mutation, trial: Trial, ranks: Ranks) -> tuple[str | None, str | None]:
    """How it was caught, and in which words; None where it was not."""
    with carry(partial(planted, mutation)):
        try:
            found = ranks.verified(trial)
        except RankFailure as error:
            said = str(error).partition("\n")[2].partition("\n")[0]
            return ("hang" if "not answered for" in said else "raised"), said[:300]
        except (ValueError, KeyError, TypeError, AssertionError) as error:  # verify can't lay the two side by side
            return "raised", f"{type(error).__name__}: {error}"[:300]
    if found.verdict not in _CAUGHT:
        return None, None
    culprit = found.culprit
    return found.verdict, None if culprit is None else culprit.tensor


def _is_torn(record: Path) -> bool:
    return record.exists() and record.stat().st_size > 0 and not record.read_bytes().endswith(b"\n")


if __name__ == "__main__":
    main()
