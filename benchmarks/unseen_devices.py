"""How far off are predictions of devices that nobody has looked at? Those that were, as if they hadn't been.

    python benchmarks/unseen_devices.py RUNS.csv

Of Hopper and Blackwell the cost model knows what an operation costs in energy, which was fitted to their runs, and
what older attention kernels reach there. Without either they are predicted as a generation that nobody has looked at,
from its data sheet. A line has how many runs there are, the median of predicted / measured - 1, and what four of five
of them, predicted / measured or the other way round, stay within. The first lines count what `specs.published` says.
The file has the columns of `plait evaluate`.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import exp, log
from pathlib import Path
from statistics import median, quantiles

from plait.evaluation.evaluate import judge_run
from plait.evaluation.reading import Run, Unreadable, read_run
from plait.evaluation.rows import Row, read_rows

_HIDDEN = ("hopper", "blackwell")


def main() -> None:
    """Counts by device and dtype, then errors as they are, then with a generation hidden."""
    form = argparse.RawDescriptionHelpFormatter
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    arguments.add_argument("runs", type=Path)
    runs = list(_measured(read_rows(arguments.parse_args().runs)))
    counted = Counter((run.task.machines.device.name, run.task.dtype) for _, run in runs)
    for (device, dtype), count in sorted(counted.items()):
        print(f"{device:12} {dtype:6} {count:5} runs")
    _table("as it is, by device", runs, lambda run: run.task.machines.device.name)
    _table("as it is, by dtype", runs, lambda run: run.task.dtype)
    hidden = [(row, _hidden(run)) for row, run in runs if run.task.machines.device.architecture in _HIDDEN]
    _table("with their generations hidden, by dtype", hidden, lambda run: run.task.dtype)
    _table("with their generations hidden", hidden, lambda run: "all")


def _measured(rows: Sequence[Row]) -> Iterator[tuple[Row, Run]]:
    for row in rows:
        try:
            run = read_run(row)
        except Unreadable:
            continue
        if row.number("iter_s") is not None:
            yield row, run


def _hidden(run: Run) -> Run:
    machines = run.task.machines
    unknown = replace(machines.device, architecture="unknown")
    return replace(run, task=replace(run.task, machines=replace(machines, device=unknown)))


def _table(title: str, runs: Sequence[tuple[Row, Run]], key: Callable[[Run], str]) -> None:
    errors: dict[str, list[float]] = defaultdict(list)
    for row, run in runs:
        pair = judge_run(row, run).pair
        assert pair is not None
        errors[key(run)].append(log(pair[0] / pair[1]))
    print(f"\n{title:40} {'runs':>6} {'bias':>8} {'4 of 5 within':>14}")
    for name, found in sorted(errors.items()):
        sizes = [exp(abs(one)) - 1 for one in found]
        within = quantiles(sizes, n=5, method="inclusive")[-1] if len(sizes) > 1 else sizes[0]
        print(f"{name:40} {len(found):6} {exp(median(found)) - 1:+8.1%} {within:14.1%}")


if __name__ == "__main__":
    main()
