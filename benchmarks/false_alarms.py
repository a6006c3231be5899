"""Does `verify` ever cry wolf? Thousands of random legal jobs on a healthy tree, none of which may raise an alarm.

    python benchmarks/false_alarms.py --count 2000 --record benchmarks/results/false_alarms.jsonl
    python benchmarks/false_alarms.py --only 17          the whole story of job 17, recorded nowhere
    python benchmarks/false_alarms.py --summary          what the record holds, by stratum, as Markdown

Jobs are numbered, and each is a function of its number (`drawn_jobs`). A sitting that was cut off is gone on with by
the same command: numbers that the record holds are skipped, but with --again only those without an alarm. Of several
lines of one job the last counts. Ranks stay alive from job to job.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from alarm_record import append, mend, read
from drawn_jobs import Drawn, numbered
from strata import ALARMS, FAILED, strata, table

from plait.errors import PlaitError, RankFailure
from plait.launchers import RankPools
from plait.planner.work import work_of_ranks
from plait.verification.report import Verification, sentence
from plait.verification.verify import RunOnRanks, verify_plan

__all__ = ["campaign", "line_of"]

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "false_alarms.jsonl"
_ROWS = 40  # of the worst tensors, where one job is told
_NEWS = 25  # jobs
_PATIENCE = 120.0  # seconds without a word from any rank
_BROKEN = 5


def main() -> None:
    """Go on with the campaign, or tell one job, or sum up the record."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--count", type=int, default=2000, help="jobs 0 to count - 1")
    arguments.add_argument("--record", type=Path, default=RECORD)
    arguments.add_argument("--only", type=int, metavar="N", help="job N alone, with all its tensors")
    arguments.add_argument("--again", action="store_true", help="also the jobs that raised an alarm before")
    arguments.add_argument("--summary", action="store_true", help="only what the record holds, by stratum")
    given = arguments.parse_args()
    if given.summary:
        print(table(read(given.record).values()))
    elif given.only is not None:
        with RankPools(timeout=_PATIENCE) as pools:
            tell(given.only, pools.run)
    else:
        try:
            with RankPools(timeout=_PATIENCE) as pools:
                alarms = campaign(given.count, given.record, pools.run, again=given.again)
        except KeyboardInterrupt:
            raise SystemExit(
                f"\ncut off; the same command goes on with it, {given.record} holds what is done"
            ) from None
        raise SystemExit(1 if alarms else 0)


def campaign(count: int, record: Path, run: RunOnRanks, *, again: bool = False) -> int:
    """Verify the jobs below `count` that the record doesn't hold yet, and `again` those that it holds an alarm of; how
    many alarms it then holds. Stops where several jobs in a row break: then it is not the jobs that are broken."""
    mend(record)
    known, tree = read(record), tree_name()
    if strangers := [n for n, line in known.items() if line["strata"] != strata(*numbered(n))]:
        raise SystemExit(f"{record} is of other jobs than those drawn today, such as number {strangers[0]}")
    done = {number for number, line in known.items() if not (again and line["verdict"] in ALARMS)}
    broken = 0
    for number in sorted(set(range(count)) - done):
        line = known[number] = line_of(number, tree, run)
        append(record, line)
        if line["verdict"] in ALARMS:
            print(f"job {number}: {line['verdict']}: {line['culprit']}", file=sys.stderr)
        if number % _NEWS == _NEWS - 1:
            seconds = median(line["seconds"] for line in known.values())
            print(f"{len(known)} of {count} jobs, {_alarms(known)} alarms, median {seconds:.2f} s", file=sys.stderr)
        broken = broken + 1 if line["verdict"] == FAILED else 0
        if broken == _BROKEN:
            raise SystemExit(
                f"{broken} jobs in a row broke, last: {line['culprit']}; --again takes them up once mended"
            )
    return _alarms(known)


def line_of(number: int, tree: str, run: RunOnRanks) -> dict[str, Any]:
    """One job verified, as the record has it. Whatever breaks is recorded as FAILED, its cause as the culprit."""
    drawn = numbered(number)
    start = time.perf_counter()
    try:
        found = _found(verify_plan(drawn.job, drawn.plan, run=run, work_of=work_of_ranks))
    except Exception as error:
        found = {"verdict": FAILED, "worst_eps": 0.0, "worst": None, "copies_differ": [], "culprit": cause(error)}
    seconds = round(time.perf_counter() - start, 3)
    return {"number": number, **found, "seconds": seconds, "tree": tree, "strata": strata(drawn.job, drawn.plan)}


def _found(verification: Verification) -> dict[str, Any]:
    inexact = [row for row in verification.tensors if row.precision == "fp64" and row.verdict != "EXACT"]
    worst = max(inexact, key=lambda row: row.error_eps, default=None)
    culprit = verification.culprit
    return {
        "verdict": verification.verdict,
        "worst_eps": 0.0 if worst is None else round(worst.error_eps, 3),
        "worst": None if worst is None else f"step {worst.step} {worst.kind} {worst.name}",
        "copies_differ": sorted({axis for row in verification.tensors for axis in row.axes}),
        "culprit": None if culprit is None else f"{culprit.tensor} in {culprit.layer} along {culprit.axis}",
    }


def cause(error: Exception) -> str:
    """What broke, in one line: the first of a rank's report, or, of a traceback, the last."""
    if not isinstance(error, RankFailure):
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    lines = [line.strip() for line in error.report.splitlines() if line.strip()] or [""]
    return f"rank {error.rank}: {lines[-1] if lines[0].startswith('Traceback') else lines[0]}"


def tell(number: int, run: RunOnRanks) -> None:
    """All about one job: what was drawn, what was narrowed, the worst tensors."""
    drawn = numbered(number)
    print(_described(number, drawn))
    try:
        found = verify_plan(drawn.job, drawn.plan, run=run, work_of=work_of_ranks)
    except PlaitError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    print(f"{found.verdict}: {sentence(found)}\nculprit: {found.culprit}\nnarrowed: {dict(found.narrowed)}")
    print(f"losses: {found.losses}\ndrift: {dict(found.drift)}\nseconds: {found.seconds:.2f}\n")
    for row in found.tensors[:_ROWS]:
        axes = f"  copies differ along {', '.join(row.axes)}" if row.axes else ""
        place = f"step {row.step}  {row.kind:10}"
        print(f"{row.verdict:16}{row.precision}  {place}{row.error_eps:12.4g} eps  {row.name}{axes}")


def _described(number: int, drawn: Drawn) -> str:
    groups = ", ".join(f"{name}: {value}" for name, value in strata(*drawn).items())
    return f"job {number}\n{drawn.job.model}\n{drawn.job.training}\n{drawn.plan}\n{groups}\n"


def tree_name() -> str:
    """The commit that is tried, with a + where its source was changed; "unknown" outside of a repository."""
    try:
        commit, changes = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", "src"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+" if changes else commit


def _alarms(lines: dict[int, dict[str, Any]]) -> int:
    return sum(line["verdict"] in ALARMS for line in lines.values())


if __name__ == "__main__":
    main()
