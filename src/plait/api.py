"""Plait from Python: what a user's own program calls, and what the commands call.

    load ──> Job ──> check ──> Report
                 └─> plan ──> Plans        (from the machine's measurements: `measured`)
                 └─> verify_job ──> Verification      (verify: of a module of one's own)
                 └─> train ──> TrainingResult, and a run on disk

Here, and in `cli`, planner and runtime meet. Rooms that are heavy to import are imported by the function that needs
them, so that `load` and `check` stay free of torch and numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import IllegalJob, Problem
from plait.launchers.started import hosts_of, on_started_ranks, require_hosts
from plait.layers.parameters import parameters
from plait.plans.cautions import cautions
from plait.plans.legality import problems
from plait.plans.offers import sound_offers
from plait.plans.planned import another_model, on_this_machine, require_this_machine
from plait.plans.report import Report
from plait.specs.cluster import ClusterSpec, has_accelerator, usable_cores
from plait.specs.files import job_table, parse_job, read_table
from plait.specs.job import Job
from plait.specs.texts import Look, look_at_texts

if TYPE_CHECKING:
    from torch import Tensor

    from plait.clusters.answer import ClusterPlans
    from plait.devices.grid import Grid
    from plait.launchers import World
    from plait.layers.layer import Layer
    from plait.models.gpt import Decoder
    from plait.models.sequences import Sequences
    from plait.planner.search import Plans
    from plait.plans.plan import Plan
    from plait.specs.measurements import Measurements
    from plait.specs.training import TrainingSpec
    from plait.training.result import TrainingResult
    from plait.verification.report import Verification
    from plait.verification.trial import RunOnRanks

__all__ = [
    "check",
    "load",
    "measured",
    "plan",
    "profile",
    "report",
    "require_legal",
    "train",
    "verify",
    "verify_job",
]

_PATIENCE = 300.0  # seconds: nobody hears from a rank while it measures
_MOST_RANKS = 8  # of a proof, on this machine
_SAMPLE_TOKENS = 160
_CUTTING = {"training.sequence_length", "data.tokenizer", "data.validation_fraction"}  # who knows if texts suffice?


def load(path: str | PathLike[str]) -> Job:
    """The job in a file, ready for every other verb. One without `cluster.ranks` gets the most that this machine's
    cores and its own numbers allow; where torchrun has started the program, as many as it has started.

    Raises UnusableInput if the file can't be read as TOML, and IllegalJob with every problem if a key can't be taken.
    What the keys mean together is left to `check`: a job that can be read can be asked about.
    """
    table = read_table(path)
    parsed = parse_job(table)
    if parsed.problems:
        raise IllegalJob(_report(table).errors)
    return on_started_ranks(parsed.job)


def check(job: Job | str | PathLike[str]) -> Report:
    """Is the job legal, and what is suspicious about it? All errors at once, each with the values that would be legal.

    Takes a job or the path of one. Raises UnusableInput if there is a path and it can't be read as TOML.
    """
    return _report(job_table(job), job.left_alone) if isinstance(job, Job) else _report(read_table(job))


def require_legal(job: Job) -> None:
    """Raises IllegalJob with every error that `check` finds, if any: to be called before anything starts."""
    report = check(job)
    if not report.ok:
        raise IllegalJob(report.errors)


def profile(
    ranks: int | None = None, *, grid: Grid | None = None, tell: Callable[[str], None] = lambda stage: None
) -> Measurements:
    """Measure this machine with ranks of its own (default: `devices.benchmark.default_ranks`), in 20 to 60 seconds.

    Where torchrun has started the program, its processes are the ranks: each calls this, the operations are the first
    one's, links are timed inside its host and between hosts, and all get the same result.
    """
    from plait.launchers import together

    with together() as world:
        if world is None:
            return _profile_here(ranks, grid=grid, tell=tell)
        from plait.collectives.profiled import profiled_on

        if ranks is not None:
            world.require(ranks)
        return profiled_on(world, grid, tell, _PATIENCE)


def _profile_here(ranks: int | None = None, *, grid: Grid | None = None, tell: Callable[[str], None]) -> Measurements:
    from functools import partial

    from plait.collectives.links import measure_links
    from plait.devices.benchmark import default_ranks, measure_machine
    from plait.devices.device import current_device
    from plait.launchers import RankPool

    count = ranks or default_ranks()
    with RankPool(count, backend=current_device().backend) as pool:
        return measure_machine(partial(pool.run, timeout=_PATIENCE), count, measure_links, grid=grid, tell=tell)


def measured(
    path: Path | None = None, *, hosts: int = 1, tell: Callable[[str], None] = lambda stage: None
) -> Measurements:
    """What is known of this machine: the measurements at `path`; without one, those in the cache, taken now if there
    are none yet. For several `hosts`: of these, if they were measured together. Raises UnusableInput for a file that
    can't be read, or a cache that can't be written."""
    from plait.specs.measurement_files import nearest_path, read_measurements, require_place, write_measurements

    place = path or nearest_path(hosts)
    if path is not None or place.exists():
        return read_measurements(place)
    require_place(place)
    found = _profile_here(tell=tell)
    write_measurements(found, place)
    return found


def plan(job: Job, measurements: Measurements | None = None, *, sure: int = 10) -> Plans | ClusterPlans:
    """The legal plans of a job, best first, with what is predicted of each and why the others lost. The first `sure`
    are certainly the best so many; of a large space, others may not be played (`RankedPlan.played`). For machines of
    the catalogue nothing is measured, and the answer is a ClusterPlans of the same shape.

    Raises IllegalJob for a job that no plan can make legal, NothingFits where none fits the memory, UnusableInput for a
    choice that has no price on machines of the catalogue.
    """
    require_legal(job)
    if job.cluster.elsewhere:
        from plait.clusters.answer import plan_cluster

        return plan_cluster(job)
    return _search(job, measurements or measured(hosts=hosts_of(job)), sure)


def train(
    job: Job,
    plan: Plan | None = None,
    *,
    run: str | PathLike[str] = "runs/plait",
    measurements: Measurements | None = None,
    samples: Sequence[str] = (),
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> TrainingResult:
    """Train `job` under `plan` (default: the best one) into the new directory `run`, continue the texts `samples` with
    what was learned, and leave the report.

    Where torchrun has started the program, its processes are the ranks: each calls this, the first one decides, and all
    get the same result. What is predicted is on disk before the first step.
    Raises IllegalJob for a plan that is not legal for the job,
    UnusableInput for data or a directory that can't be used, RankFailure for a rank that failed.
    """
    from plait.launchers import together
    from plait.training.hosts import follow
    from plait.training.run_directory import RunDirectory

    with together() as world:
        require_legal(job)
        require_this_machine(job)
        if world is not None and not job.cluster.ranks_open:
            world.require(job.cluster.ranks)
        require_hosts(job.cluster.nodes)
        if world is not None and world.rank > 0:
            return follow(world, job, RunDirectory(Path(run)))
        result = _trained(job, plan, Path(run), measurements, on_event)
        if samples:
            result.run.write_json("samples.json", _continued(result.run.path, samples))
        report(result.run.path)
        return result


def _trained(
    job: Job,
    plan: Plan | None,
    run: Path,
    measurements: Measurements | None,
    on_event: Callable[[Mapping[str, Any]], None] | None,
) -> TrainingResult:
    from plait.devices.host import this_processor
    from plait.launchers import together
    from plait.planner.coverage import outside_what_was_measured
    from plait.planner.prices import JobPrices
    from plait.planner.simulator import played, state
    from plait.plans.legality import on_ranks_of, plan_problems
    from plait.training.run_directory import RunDirectory
    from plait.training.trainer import train as train_under

    if plan is not None and (wrong := plan_problems(job, plan)):
        raise IllegalJob(wrong)
    with together() as world:
        if world is not None and plan is not None:
            world.require(plan.ranks)
    RunDirectory.require_free(run)
    known = measurements or measured(hosts=hosts_of(job))
    chosen = plan or _search(job, known).best.plan
    prices = JobPrices(job.model, job.training, known, job.cluster)
    priced = played(chosen, prices)
    directory = RunDirectory.create(run)
    asked, predicted = on_ranks_of(job, chosen), state(priced, prices)
    guesses = outside_what_was_measured(chosen, prices, this_processor())
    link = prices.machine.between_hosts
    return train_under(asked, chosen, predicted, priced.step.timeline, directory, on_event, link=link, guesses=guesses)


def verify_job(
    job: Job,
    plan: Plan | None = None,
    *,
    ranks: int | None = None,
    dump: str | PathLike[str] | None = None,
    witness: bool = False,
) -> Verification:
    """Is `job` under `plan` (default: what the job fixes of one, completed) the same model as one process?

    On at most `ranks` processes of this machine (default 8); a larger job is narrowed, and the result says how. `dump`:
    a directory for both sides' gradients. `witness`: lay the one process itself beside transformers' module on the same
    weights.
    Where torchrun has started the program, its processes are the ranks, by default all: each calls this, the first one
    proves its own job, and all get the same result.
    Raises IllegalJob for a job or a plan that is not legal, or that occupies fewer ranks than torchrun has started;
    UnusableInput for a dump that can't be written or a witness that there is not, RankFailure for a rank that failed.
    """
    from plait.launchers import together
    from plait.verification.verify import PATIENCE

    with together() as world:
        if world is None:
            return _proven(job, plan, dump, witness, ranks=ranks or _MOST_RANKS)
        from plait.verification.on_hosts import proven_on

        def prove(run: RunOnRanks) -> Verification:
            most = min(ranks or world.size, world.size)
            return _proven(job, plan, dump, witness, ranks=most, run=run, world=world)

        return proven_on(world, prove, PATIENCE)


def _proven(
    job: Job,
    plan: Plan | None,
    dump: str | PathLike[str] | None,
    witness: bool,
    *,
    ranks: int,
    run: RunOnRanks | None = None,
    world: World | None = None,
) -> Verification:
    from plait.collectives.meeting import shares_memory
    from plait.planner.work import work_of_ranks
    from plait.plans.completion import own_plan
    from plait.plans.legality import plan_problems
    from plait.verification.verify import verify_plan

    job = on_this_machine(job)
    require_legal(job)
    chosen = plan or own_plan(job)
    if wrong := plan_problems(job, chosen):
        raise IllegalJob(wrong)
    if world is not None and chosen.ranks < world.size:
        world.require(chosen.ranks)
    hosts = () if world is None else world.hosts
    work_of = partial(work_of_ranks, hosts=hosts if shares_memory() else ())
    return verify_plan(job, chosen, ranks=ranks, dump=dump, run=run, work_of=work_of, witness=witness, hosts=hosts)


def verify(
    build_model: Callable[[], Decoder],
    rules: Sequence[Layer] | None,
    plan: Plan,
    batch: Sequences | Tensor,
    *,
    training: TrainingSpec | None = None,
    dump: str | PathLike[str] | None = None,
) -> Verification:
    """Is a module of your own under `plan` the same model as one process? For any that `parallelize` takes.

    `build_model`: gives the plain module, the same on every call; it is called on every rank, so that it has to stand
    at the top level of a module or script. `rules`: its layers, as for `parallelize`; None for a decoder that is as
    Plait describes it. `batch`: the global batch, as `Sequences` with targets, or tokens (sequences, length + 1).
    `training`: optimizer, clipping and learning rate; the batch's own sizes count.
    Raises IllegalJob for a plan of more than 8 ranks or not legal for module and batch, RankFailure for a failed rank,
    UnusableInput for a dump that can't be written; ValueError or TypeError for a batch without targets or with tokens
    that the model does not know, and for a module that is no decoder or that its rules don't fit; what building raises.
    """
    from plait.plans.legality import batch_problems, plan_problems
    from plait.specs.training import TrainingSpec
    from plait.verification.source import Experiment
    from plait.verification.verify import verify_module

    if plan.ranks > _MOST_RANKS:
        message = f"it has {plan.ranks} ranks, and a module can't be made smaller for fewer"
        raise IllegalJob([Problem(key="plan", message=message, legal=f"at most {_MOST_RANKS}")])
    experiment = Experiment.given(build_model, rules, plan, batch, training or TrainingSpec())
    model, asked = experiment.source.spec, experiment.training
    job = Job(model=model, training=asked, cluster=ClusterSpec(ranks=plan.ranks))
    wrong = plan_problems(job, plan) or batch_problems(model, plan, asked.global_batch, asked.sequence_length)
    if wrong:
        raise IllegalJob(wrong)
    return verify_module(experiment, dump=dump)


def report(run: str | PathLike[str]) -> Path:
    """Draw the report of a run or a bench that has ended, `report.html` in its directory; returns its path.

    Raises UnusableInput for a directory that holds no such run.
    """
    from plait.report.bench_page import render_bench
    from plait.report.bench_run import bench_data
    from plait.report.page import render_report
    from plait.report.run import report_data
    from plait.training.run_directory import RunDirectory

    directory = RunDirectory(Path(run))
    if directory.bench.exists():
        directory.write_page(render_bench(bench_data(directory.path)))
    else:
        directory.write_page(render_report(report_data(directory.path)))
    return directory.report


def _continued(run: Path, prompts: Sequence[str]) -> list[dict[str, str]]:
    from plait.inference.engine import Engine
    from plait.inference.sampler import Sampling

    sampling = Sampling(temperature=0.7, top_k=50)
    told = Engine.of_run(run).generate(prompts, max_tokens=_SAMPLE_TOKENS, sampling=sampling)
    return [{"prompt": prompt, "text": one.text} for prompt, one in zip(prompts, told, strict=True)]


def _search(job: Job, measurements: Measurements, sure: int = 10) -> Plans:
    from plait.devices.host import this_processor
    from plait.planner.search import search

    return search(job, measurements, sure, here=this_processor())


def _report(table: Mapping[str, Any], left_alone: tuple[str, ...] = ()) -> Report:
    """`left_alone`: what was, when the job whose table this is was read from a file."""
    parsed = parse_job(table)
    job, unknown = replace(parsed.job, left_alone=left_alone or parsed.job.left_alone), parsed.unknown
    length = None if unknown & _CUTTING else job.training.sequence_length
    texts = Look() if "data.text" in unknown or job.cluster.elsewhere else look_at_texts(job.data, length)
    refused = () if parsed.problems else another_model(job)  # where it was read, it was refused there
    errors = (*sound_offers(table, parsed), *refused, *texts.problems, *problems(job, unknown))
    settled = job if errors else on_started_ranks(job)
    errors = errors or tuple(problems(settled, unknown - {"cluster.ranks"}))  # what `load` settles may still be illegal
    hosts_a_node = hosts_of(settled) // settled.cluster.nodes  # unequal hosts of torchrun's count as one
    cores = usable_cores() * hosts_a_node
    seen = {"texts_seen": texts.whole, "accelerated": has_accelerator()}
    warnings = tuple(cautions(settled, cores, unknown, left_out=parsed.left_out, **seen))
    return Report(errors=errors, warnings=warnings, parameters=None if errors else parameters(settled.model))
