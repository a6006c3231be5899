"""How well does the planner predict this machine? Every setting: a profile of just it, then plans in turns.

    python benchmarks/prediction.py --out prediction                         all of it: hours, on a quiet machine
    python benchmarks/prediction.py --out prediction --models tiny --ranks 2 --rates none --plans 6 --steps 5

    models   tiny, 5m          ranks    2, 4          rates   none: one host; 1gbit, 200mbit: two, in network namespaces
                                                              (root, and `ip` and `tc` of iproute2)

It goes on where it stopped: a setting's profile, plans and turns (`plait bench`) lie in its folder of --out, a turn a
line of turns.jsonl. A machine of which others have a share may be twice as slow in one minute as in the next, and a
prediction is of the profile's minute: before plans are chosen the profile's small blocks are timed once more, and where
they differ by more than 10 % it is profiled again, three times at most, before any step is measured. `blocks` in a
verdict says how long they took at the end, the profile's 1. What it prints: Spearman (0.9 wanted), regret of the pick
(3 %), the median error of a step (at 2 ranks the larger of 5 % and the repeat spread), plans that could not be
launched, refused ones that could (none of either).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from wires_between_hosts import hosts_apart

from plait.api import load
from plait.devices.drift import times_as_long
from plait.errors import PlaitError
from plait.launchers import RankPools
from plait.plans.arrangements import even_stages
from plait.plans.files import plan_table, read_plan
from plait.plans.legality import is_legal
from plait.plans.plan import Plan
from plait.plans.rows import microbatches_of
from plait.specs.job import Job
from plait.specs.measurement_files import read_measurements
from plait.specs.training import PRECISIONS
from plait.training.hosts import prepared_tokens
from plait.training.rehearsal import rehearsal_of, rehearse

__all__ = ["Setting", "chosen", "main", "settings"]

_LLAMA = 'norm = "rms"\nactivation = "swiglu"\npositions = "rope"\nbias = false'
MODELS = {  # the peers' tiny job (0.9 M parameters), and 5.0 M
    "tiny": ("layers = 4\nhidden = 128\nheads = 4\nffn = 352\nvocab = 512", 8, 64),
    "5m": ("layers = 6\nhidden = 256\nheads = 8\nffn = 688\nvocab = 1003", 16, 128),
}
RATES = ("none", "1gbit", "200mbit")
_JOB = """[model]
{model}
{llama}
[data]
text = "python-stdlib"
tokenizer = "bytes"
[training]
global_batch = {batch}
sequence_length = {length}
[cluster]
ranks = {ranks}
{hosts}"""
_PORT = 29_733
_SECONDS = 6 * 3600.0  # of one command
_REFUSED_SECONDS = 30.0
_LEAST_ERROR = 0.05
_MOST_PROFILES, _DRIFT, _BLOCKS_SECONDS = 3, 0.1, 1.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One model on so many ranks, all on one host or shared out over two that a link of this rate joins."""

    model: str
    ranks: int
    rate: str
    out: Path

    @property
    def hosts(self) -> int:
        """How many."""
        return 1 if self.rate == "none" else 2

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.out / f"{self.model}-{self.ranks}-{self.rate}"

    @property
    def measurements(self) -> Path:
        """The profile of just these ranks and links."""
        return self.folder / "measurements.json"

    def write_job(self) -> Path:
        """The job's file."""
        hosts = f"nodes = 2\ndevices_per_node = {self.ranks // 2}\n" if self.hosts == 2 else ""
        path = self.folder / "job.toml"
        self.folder.mkdir(parents=True, exist_ok=True)
        model, batch, length = MODELS[self.model]
        shape = {"model": model, "llama": _LLAMA, "batch": batch, "length": length}
        path.write_text(_JOB.format(**shape, ranks=self.ranks, hosts=hosts), encoding="utf-8")
        return path


def settings(out: Path, models: Sequence[str], ranks: Sequence[int], rates: Sequence[str]) -> Iterator[Setting]:
    """All combinations."""
    for rate, count, model in product(rates, ranks, models):
        yield Setting(model=model, ranks=count, rate=rate, out=out)


def chosen(plans: Sequence[Any], most: int) -> list[Any]:
    """At most so many of ranked plans: the best, the worst, and others evenly between."""
    if len(plans) <= most:
        return list(plans)
    return [plans[round(place * (len(plans) - 1) / max(1, most - 1))] for place in range(most)]


def plait(setting: Setting, *words: str, alone: bool = False) -> dict[str, Any]:
    """The document of a command, on the setting's hosts; `alone`: on this one, without ranks. Raises where it fails."""
    with ExitStack() as stack:
        if alone or setting.hosts == 1:
            commands = [[sys.executable, "-m", "plait", *words]]
        else:
            spaces = stack.enter_context(hosts_apart(2, setting.rate, f"p{os.getpid() % 100_000}"))
            commands = [_torchrun(setting, spaces, host, words) for host in range(2)]
        known = os.environ | {"OMP_NUM_THREADS": "1"}
        running = [subprocess.Popen(one, env=known, stdout=subprocess.PIPE, text=True) for one in commands]
        try:
            told = running[0].communicate(timeout=_SECONDS)[0]
            for one in running[1:]:
                one.communicate(timeout=_SECONDS)
        finally:
            for one in running:
                one.kill()
    found = json.loads(told[told.index("{\n") :] if "{\n" in told else told)
    if "error" in found:
        raise PlaitError(f"plait {words[0]} failed in {setting.folder.name}: {found['error']['message']}")
    return found


def _torchrun(setting: Setting, spaces: Sequence[tuple[str, str, str]], host: int, words: Sequence[str]) -> list[str]:
    name, _, address = spaces[host]
    cores, here = sorted(os.sched_getaffinity(0)), setting.ranks // 2
    part = cores[host::2] if 2 * here > len(cores) else cores  # else each host would count the other's as its own
    return [
        "taskset", "-c", ",".join(map(str, part)), "ip", "netns", "exec", name,
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
        "--nproc-per-node", str(setting.ranks // 2), "--rdzv-backend", "c10d", "--rdzv-id", "prediction",
        "--rdzv-endpoint", f"{spaces[0][2]}:{_PORT}", "--rdzv-conf", f"is_host={1 - host}", "--local-addr", address,
        "-m", "plait", *words,
    ]  # fmt: skip


def profiled(setting: Setting) -> None:
    """Measure the setting's machine and links, unless they are: again while the machine is not as it was then."""
    if (setting.folder / "plans").exists():
        return
    for _ in range(_MOST_PROFILES):
        if setting.measurements.exists() and abs(now_beside(setting) - 1) <= _DRIFT:
            return
        ranks = ["--ranks", str(setting.ranks)] if setting.hosts == 1 else []
        plait(setting, "profile", *ranks, "--out", str(setting.measurements), "--json")


def now_beside(setting: Setting) -> float:
    """How many times as long as in the setting's profile small blocks take now."""
    found = times_as_long(read_measurements(setting.measurements), budget=_BLOCKS_SECONDS)
    assert found is not None, "it was profiled here"
    return found


def planned(setting: Setting, job: Path, most: int) -> list[Path]:
    """Files of the plans that are to be measured, as they were chosen first."""
    known = ["--measurements", str(setting.measurements)]
    folder = setting.folder / "plans"
    if not folder.exists():
        best = str(setting.folder / "best.toml")
        found = plait(setting, "plan", str(job), *known, "--out", best, "--json", alone=True)
        folder.mkdir()
        for place, one in enumerate(chosen(found["plans"], most)):
            lines = (f"{key} = {json.dumps(value)}" for key, value in one["plan"].items())
            (folder / f"{place:02}.toml").write_text("[plan]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return sorted(folder.glob("*.toml"))


def benched(setting: Setting, job: Path, plans: Sequence[Path], repeats: int, steps: int) -> dict[str, Any]:
    """The bench of all plans. What fails under torchrun ends it: it goes on without that plan, which is told."""
    left, lost = list(plans), []
    while True:
        asked = [word for path in left for word in ("--plan", str(path))]
        run = setting.folder / f"bench-{len(list(setting.folder.glob('bench-*')))}"
        how = ["--repeats", str(repeats), "--steps", str(steps), "--record", str(setting.folder / "turns.jsonl")]
        known = ["--measurements", str(setting.measurements), "--out", str(run), "--json"]
        found = plait(setting, "bench", str(job), *asked, *how, *known)
        real = [one for one in found["failed"] if "can't be started anew" not in one["error"]]
        lost += real
        if len(real) == len(found["failed"]) or not real:
            return found | {"failed": lost}
        gone = [one["plan"] for one in real]
        loaded = load(job)
        left = [path for path in left if _table(path, loaded) not in gone]


def _table(path: Path, job: Job) -> dict[str, Any]:
    return json.loads(json.dumps(plan_table(read_plan(path, job).plan)))


def refused(job: Job) -> Iterator[dict[str, Any]]:
    """Combinations for the job's ranks that `plait check` refuses, beyond those that a search comes by."""
    batch, ranks = job.training.global_batch, job.cluster.ranks
    for data, tensor, pipeline in product(range(1, ranks + 1), repeat=3):
        for microbatch, zero, compression in product((1, 3, batch, 2 * batch), (0, 1, 2, 3), ("none", "int8")):
            choices = {
                "data": data, "tensor": tensor, "pipeline": pipeline, "microbatch": microbatch, "zero": zero,
                "compression": compression,
            }  # fmt: skip
            asked = replace(job, constraints={**job.constraints, **choices})
            if data * tensor * pipeline == ranks and not is_legal(asked):
                yield choices


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Of a sample of refused combinations: how many can't even be written down as a plan; how many the ranks failed at;
    how many ran as a legal plan of another name, their microbatches smaller than they say; and which of them trained
    as they are."""

    unwritten: int = 0
    failed: int = 0
    renamed: int = 0
    ran: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        """All of them."""
        return self.unwritten + self.failed + self.renamed + len(self.ran)


def refused_that_run(job: Job, most: int) -> Refused:
    """Hand a sample of what is refused to the ranks all the same, past every check of a plan's keys together."""
    found = list(refused(job))
    sample = random.Random(0).sample(found, min(most, len(found)))
    folder = str(prepared_tokens(job).folder)
    found_out = Refused()
    with RankPools(timeout=_REFUSED_SECONDS) as pools:
        for choices in sample:
            try:
                plan = unchecked(job, choices)
            except (PlaitError, ValueError):
                found_out = replace(found_out, unwritten=found_out.unwritten + 1)
                continue
            try:
                given = rehearsal_of(job, plan, 1, [folder] * plan.ranks, None)
                pools.run(plan.ranks, rehearse, given, timeout=_REFUSED_SECONDS)
            except (PlaitError, ValueError, AssertionError):  # some before they start, others on a rank
                found_out = replace(found_out, failed=found_out.failed + 1)
                continue
            largest = max(max(microbatches_of(plan, job.training.global_batch, data)) for data in range(plan.data))
            if largest < plan.microbatch:
                found_out = replace(found_out, renamed=found_out.renamed + 1)
            else:
                found_out = replace(found_out, ran=(*found_out.ran, json.dumps(choices)))
    return found_out


def unchecked(job: Job, choices: Mapping[str, Any]) -> Plan:
    """The plan of these choices, legal or not: even stages, equal shares."""
    data, tensor, pipeline = (choices[axis] for axis in ("data", "tensor", "pipeline"))
    return Plan(
        **choices, stages=even_stages(job.model.layers, pipeline), schedule="1f1b", tensor_shares=(1,) * tensor,
        data_shares=(1,) * data, gradient_precision=PRECISIONS[job.training.precision].reduce,
    )  # fmt: skip


def verdict(setting: Setting, found: dict[str, Any], refused: Refused) -> dict[str, Any]:
    """The setting's line."""
    agreed = found["agreement"] or {}
    allowed = max(_LEAST_ERROR, agreed.get("repeat_spread", 0.0))
    return {
        "setting": setting.folder.name,
        "plans": len(found["plans"]),
        "not launched": [one["error"] for one in found["failed"]],
        "spearman": agreed.get("spearman"),
        "regret": agreed.get("regret"),
        "median_error": agreed.get("median_error"),
        "allowed_error": allowed,
        "blocks": now_beside(setting),
        "refused tried": refused.tried,
        "refused unwritten": refused.unwritten,
        "refused that ran as a legal one": refused.renamed,
        "refused that ran": list(refused.ran),
    }


def _row(line: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    rho = "–" if line["spearman"] is None else f"{line['spearman']:.3f}"
    cells = [
        line["setting"], str(line["plans"]), rho, percent(line["regret"]), percent(line["median_error"]),
        percent(line["allowed_error"]), str(len(line["not launched"])),
        f"{len(line['refused that ran'])} of {line['refused tried']}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure every setting that was asked for, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path("prediction"))
    arguments.add_argument("--models", nargs="+", choices=tuple(MODELS), default=tuple(MODELS))
    arguments.add_argument("--ranks", nargs="+", type=int, default=(2, 4))
    arguments.add_argument(
        "--rates", nargs="+", default=RATES, help="of each host's link, as tc has it; none: one host"
    )
    arguments.add_argument("--plans", type=int, default=60, help="at most so many of a setting")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=15)
    arguments.add_argument("--refused", type=int, default=12, help="refused plans to try")
    given = arguments.parse_args()
    if any(rate != "none" for rate in given.rates) and os.geteuid() != 0:
        sys.exit("network namespaces are made by root alone: run this as root, or with --rates none")
    lines: list[dict[str, Any]] = []
    for setting in settings(given.out.absolute(), given.models, given.ranks, given.rates):
        job = setting.write_job()
        print(f"{setting.folder.name} ...", file=sys.stderr, flush=True)
        profiled(setting)
        found = benched(setting, job, planned(setting, job, given.plans), given.repeats, given.steps)
        lines.append(verdict(setting, found, refused_that_run(load(job), given.refused)))
        (setting.folder / "verdict.json").write_text(json.dumps(lines[-1], indent=1) + "\n", encoding="utf-8")
    print("| setting | plans | Spearman | regret | median error | allowed | not launched | refused that ran |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    print("\n".join(map(_row, lines)))


if __name__ == "__main__":
    main()
