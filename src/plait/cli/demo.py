"""`plait demo JOB`: the whole loop in one command, each part as its own command would show it.

    profile ─► plan ─► verify ─► train ─► generate ─► report

Nothing happens here that the commands don't do; it only hands on what each of them found.
"""

from __future__ import annotations

import json as json_reader
import sys
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from plait.cli.command_line import command_line
from plait.cli.legal import legal_job
from plait.cli.output import Answer, JsonFlag, Line, tell, write_lines
from plait.units import Seconds

__all__ = ["command"]

_SAMPLES = ("def", "class", "import", "    if")  # a word, not a space after it: that belongs to the next token


def command(
    job: Annotated[Path, typer.Argument(help="The job, a TOML file.", metavar="JOB", show_default=False)],
    out: Annotated[Path, typer.Option(help="The run's directory.", metavar="DIR")] = Path("runs/demo"),
    json: JsonFlag = False,
) -> Answer:
    """Profile this machine, plan a job, prove the plan, train, generate and draw the report, in one command."""
    from plait.api import profile, report, train
    from plait.api import verify_job as verify
    from plait.cli.plan import plans_document, plans_lines
    from plait.cli.profile_tables import profile_lines
    from plait.cli.progress import TrainingProgress
    from plait.cli.train import result_document, result_lines
    from plait.cli.verify import plan_line, verification_lines
    from plait.devices.host import this_processor
    from plait.planner.search import search
    from plait.plans.files import PlanFile, write_plan
    from plait.specs.measurement_files import default_path, write_measurements
    from plait.training.run_directory import RunDirectory
    from plait.verification.report import document

    began = perf_counter()
    plan = Path(f"{out if out.name else out.absolute()}.plan.toml")  # beside the run, which is not there yet
    commands = _commands(job, plan, out)
    asked = legal_job(job)
    RunDirectory.require_free(out)

    _say(commands[0])
    measurements = profile(tell=lambda stage: tell(f"timing {stage} ..."))
    write_measurements(measurements, default_path())
    _show(profile_lines(measurements))

    _say(commands[1])
    plans = search(asked, measurements, here=this_processor())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_plan(plan, plans.best.plan, plans.best.prediction)
    _show([*plans_lines(plans, 8), [("", f"written to {plan}")]])

    _say(commands[2])
    verification = verify(asked, plans.best.plan)
    _show([plan_line(PlanFile(plan=plans.best.plan), plan), *verification_lines(verification)])

    _say(commands[3])
    with TrainingProgress() as progress:
        result = train(
            asked, plans.best.plan, run=out, measurements=measurements, samples=_SAMPLES, on_event=progress.take
        )
    _show(result_lines(result))
    _show(_sample_lines(result.run.path / "samples.json"))

    result.run.write_json("plans.json", plans_document(plans, None))
    result.run.write_json("verify.json", document(verification))
    result.run.write_json("commands.json", list(commands))
    report(out)
    seconds = perf_counter() - began
    _show([[("bold", f"done in {Seconds(seconds)}")], [("", f"ask it yourself: {commands[4]}")]])
    summary = result_document(result) | {"verdict": verification.verdict, "seconds": seconds}
    return Answer(document=summary, code=1 if verification.verdict == "BUG" else 0)


def _sample_lines(samples: Path) -> Iterable[Line]:
    """The first of the texts that the model continued."""
    first = json_reader.loads(samples.read_text(encoding="utf-8"))[0]
    yield [("dim", f"what it writes after {first['prompt']!r} (the others stand in the report):")]
    yield from ([("", f"    {line}")] for line in (first["prompt"] + first["text"]).splitlines()[:16])


def _commands(job: Path, plan: Path, out: Path) -> tuple[str, ...]:
    """What the demo does, as one would type it."""
    samples = " ".join(f'--sample "{text}"' for text in _SAMPLES)
    return (
        "plait profile",
        command_line("plan", job, {"out": plan}),
        command_line("verify", job, {"plan": plan}),
        f"{command_line('train', job, {'plan': plan, 'out': out})} {samples}",
        f'{command_line("generate", out, {})} "def "',
    )


def _say(line: str) -> None:
    _show([[], [("bold cyan", f"$ {line}")]])


def _show(lines: Iterable[Line]) -> None:
    write_lines(list(lines), sys.stdout)
