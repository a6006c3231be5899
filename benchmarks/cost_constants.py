"""Are the cost model's constants fitted, and do they hold for runs that they were not fitted to?

    python benchmarks/cost_constants.py RUNS.csv             errors of two random halves, as the constants are
    python benchmarks/cost_constants.py RUNS.csv --fit       fit them to one half by turns; print both errors

The file has the columns of `plait evaluate`. The objective is the mean over sources of the median |log(predicted /
measured)|, so that a source with many rows has no more to say than one with few. Of each source at most --most rows
are used, drawn once by --seed. Nothing of the file stays but fifteen numbers.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from math import log
from pathlib import Path
from statistics import fmean, median

from plait.estimates.constants import FITTED, Constants
from plait.evaluation.evaluate import judge
from plait.evaluation.rows import Row, read_rows

_STEPS = (0.85, 0.95, 1.05, 1.18)


def errors(rows: Sequence[Row], constants: Constants) -> dict[str, float]:
    """By source, the median |log(predicted / measured)|."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        pair = judge(row, constants).pair
        if pair is not None:
            found[row.texts.get("source", "")].append(abs(log(pair[0] / pair[1])))
    return {source: median(sizes) for source, sizes in found.items()}


def objective(rows: Sequence[Row], constants: Constants) -> float:
    """The mean over sources."""
    return fmean(errors(rows, constants).values())


def fitted(rows: Sequence[Row], constants: Constants, rounds: int) -> Constants:
    """By turns: each constant takes the step that lowers the objective most, if one does."""
    least = objective(rows, constants)
    for _ in range(rounds):
        for name, value in asdict(constants).items():
            for step in _STEPS:
                tried = replace(constants, **{name: value * step})
                found = objective(rows, tried)
                if found < least - 1e-5:
                    least, constants = found, tried
            print(f"{least:.4f}  {name} = {getattr(constants, name):.4g}", flush=True)
    return constants


def drawn(rows: Sequence[Row], most: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Two random halves, with at most so many rows of each source in each."""
    chance = random.Random(seed)
    halves: tuple[list[Row], list[Row]] = ([], [])
    by_source: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row.texts.get("source", "")].append(row)
    for source in by_source.values():
        chance.shuffle(source)
        middle = len(source) // 2
        halves[0].extend(source[:middle][:most])
        halves[1].extend(source[middle:][:most])
    return halves


def main() -> None:
    """Fit if asked to; print the errors of both halves."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--fit", action="store_true")
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--most", type=int, default=60, help="rows of each source in each half")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    known, held_out = drawn(read_rows(given.runs), given.most, given.seed)
    constants = fitted(known, FITTED, given.rounds) if given.fit else FITTED
    if given.fit:
        print(constants)
    seen, unseen = errors(known, constants), errors(held_out, constants)
    print(f"{'median |log(predicted / measured)|':44} {'fitted to':>10} {'held out':>10}")
    for source in sorted(unseen, key=lambda name: -unseen[name]):
        print(f"{source[:44]:44} {seen.get(source, float('nan')):10.3f} {unseen[source]:10.3f}")
    print(f"{'mean over sources':44} {fmean(seen.values()):10.3f} {fmean(unseen.values()):10.3f}")


if __name__ == "__main__":
    main()
