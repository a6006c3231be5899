"""One run on several hosts: rank 0 decides and tells; the others check that they can follow, before the first step.

    rank 0    plans, prepares tokens, makes the run's directory ──briefing──┐          ┌─► run ─► writes ─► tells
    others    same job?  do I see the directory?  my host's tokens alike? ◄─┴──ready───┴─► run ────────────► same result

What can't be followed is refused in words, on every rank, before the first collective.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plait.data.dataset import TokenDataset, prepare_tokens, tokens_digest
from plait.devices.device import current_device
from plait.errors import UnusableInput
from plait.launchers import World, ranks_for
from plait.plans.files import plan_table
from plait.plans.plan import Plan
from plait.specs.cache import cache_directory
from plait.specs.files import job_table
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from plait.specs.tables import with_tuples
from plait.training.measures import in_a_table
from plait.training.rank_trainer import Assignment, train_on_rank
from plait.training.result import TrainingResult, result_from_table
from plait.training.run_directory import RunDirectory, written

__all__ = ["follow", "lead", "prepared_tokens"]

_PLANNING_SECONDS = 3600.0  # rank 0 measures, plans, and trains a tokenizer, while it is watched
_LOOKING_SECONDS = 10.0  # a network's file system shows a new file late
_PREPARING_SECONDS = 3600.0


def prepared_tokens(job: Job) -> TokenDataset:
    """The job's tokens, in this host's cache. Raises UnusableInput as `prepare_tokens` does."""
    return prepare_tokens(
        text=job.data.text,
        tokenizer=job.data.tokenizer,
        validation_fraction=job.data.validation_fraction,
        sequence_length=job.training.sequence_length,
        vocab=job.model.vocab,
        cache=cache_directory() / "tokens",
    )


def lead(world: World, assignment: Assignment, dataset: TokenDataset, run: RunDirectory, patience: float) -> None:
    """On rank 0: tell what is to be done, and return once all are ready. Raises what keeps another from it."""
    with _token(run) as token:
        world.say(
            "briefing",
            {
                "job": _comparable(assignment.job),
                "plan": plan_table(assignment.plan),
                "token": token,
                "tokens": {"folder": str(dataset.folder), "digest": tokens_digest(dataset)},
                "patience": patience,
                "link": None if assignment.link is None else asdict(assignment.link),
            },
        )
        world.say("ready")
        world.hear_all("ready", _PREPARING_SECONDS)


def follow(world: World, job: Job, run: RunDirectory) -> TrainingResult:
    """On every other rank: do what rank 0 tells, and return its result.

    Raises UnusableInput where this host's job or tokens differ, or the run's directory can't be seen; what rank 0 or
    another rank raised; RankFailure for a rank that failed.
    """
    briefing = world.hear("briefing", 0, _PLANNING_SECONDS)
    _require_same(briefing["job"], _comparable(job))
    _require_seen(run, briefing["token"])
    plan = Plan(**with_tuples(briefing["plan"]))
    tokens = _tokens_here(world, job, briefing["tokens"])
    world.say("ready")
    world.hear_all("ready", _PREPARING_SECONDS)
    link = None if briefing["link"] is None else LinkSpeed(**briefing["link"])
    assignment = Assignment(job=job, plan=plan, weights=run.weights, tokens=tokens, link=link)
    with ranks_for(plan.ranks, backend=current_device().backend, timeout=briefing["patience"]) as ranks:
        ranks.run(in_a_table, train_on_rank, assignment)
    return result_from_table(run, world.hear("trained", 0, briefing["patience"]))


@contextmanager
def _token(run: RunDirectory) -> Iterator[str]:
    """The name of a file that is in the run's directory for a while: who sees it sees the directory."""
    name = f".seen-{secrets.token_hex(8)}"
    with written(run.path / name) as path:
        path.touch()
    try:
        yield name
    finally:
        path.unlink(missing_ok=True)


def _comparable(job: Job) -> dict[str, Any]:
    """The job as JSON has it, without the ranks, which a plan may have settled."""
    tables = json.loads(json.dumps(job_table(job)))
    del tables["cluster"]
    return tables


def _require_same(rank_0: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    keys = [
        f"{table}.{key}"
        for table in rank_0
        for key in sorted({*rank_0[table], *here[table]})
        if rank_0[table].get(key) != here[table].get(key)
    ]
    if keys:
        raise UnusableInput(f"this host's job is not rank 0's: they differ in {', '.join(keys)}; copy the job here")


def _require_seen(run: RunDirectory, token: str) -> None:
    end = time.monotonic() + _LOOKING_SECONDS
    while not (run.path / token).exists():
        if time.monotonic() > end:
            raise UnusableInput(
                f"{run.path.absolute()} on this host is not rank 0's directory: every rank saves its weights there,"
                " so that a run on several hosts needs one that all of them see (--out, on a shared file system)"
            )
        time.sleep(0.1)


def _tokens_here(world: World, job: Job, rank_0: Mapping[str, str]) -> Path:
    """The folder of this host's tokens: one rank a host prepares them. Raises UnusableInput where they differ."""
    place = world.place
    if place.host == 0:
        return Path(rank_0["folder"])
    if place.local_rank == 0:
        dataset = prepared_tokens(job)
        world.say("tokens", {"folder": str(dataset.folder), "digest": tokens_digest(dataset)})
    told = world.hear("tokens", world.rank - place.local_rank, _PREPARING_SECONDS)
    if told["digest"] != rank_0["digest"]:
        raise UnusableInput(
            f"the text that data.text names on this host ({told['folder']}) gives other tokens than rank 0's:"
            " copy the same files here"
        )
    return Path(told["folder"])
