"""Every way in which replicas keep together, over torchrun between two hosts of two ranks: one start for all of them.

    equal      tensor, pipeline, ZeRO 1 and 3, a server that waits for all          to one rank
    alone      DiLoCo, whose averages arrive a step late                            to four ranks here, over gloo
    int8       rounded sums, in each step and in each meeting                       near what is summed whole
    portions   a server that does not wait                                          by its ledger, and by its loss

What a plan compresses is left open: bytes between hosts are `test_bytes`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from plait.checkpoint.load import load_whole
from plait.data.dataset import prepare_tokens
from plait.specs.files import job_from_table
from tests.hosts.forms import FORMS, LEDGER, RANKS, H, perform, perform_over_gloo
from tests.hosts.namespaces import Hosts
from tests.hosts.test_training import MODEL, PATIENCE, TWO_STEPS
from tests.hosts.test_verifying import said
from tests.training.runs import tables

EXACT = ["tp2 x dp2", "pp2 x tp2", "ZeRO 1", "ZeRO 3", "a server"]
ROUNDED = {"int8": "one rank", "DiLoCo, int8": "DiLoCo"}  # with what each is laid beside
NO_WAIT = "a server that is not to wait"
HERE = ["one rank", "DiLoCo"]
THERE = [name for name in FORMS if name != "one rank"]
MOST_ROUNDED = 0.05  # of the largest change: int8 rounds each block's numbers by up to 1/254 of its largest, twice
SCRIPT = """
import json
import sys
from pathlib import Path
from plait.launchers import ranks_for, together
from tests.hosts.forms import RANKS, perform_with_ledger

asked, events = json.loads(sys.argv[1]), []
with together() as world, ranks_for(RANKS, timeout=100) as ranks:
    told = ranks.run(perform_with_ledger, *asked, on_event=lambda rank, event: rank == 0 and events.append(event))
    if world.rank == 0:
        Path("told.json").write_text(json.dumps({"ledgers": told, "events": events}))
"""

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """By form, the weights that four ranks on two hosts ended with, and a run `here`; what they `told`."""

    there: Mapping[str, Weights]
    here: Mapping[str, Weights]
    first: Weights
    told: Mapping[str, Any]

    def losses(self, name: str) -> list[float]:
        """The held-out losses of a form's run."""
        found: dict[str, list[float]] = {}
        for event in self.told["events"]:
            if event["event"] == "form":
                found[event["name"]] = []
            elif event["event"] == "validation":
                found[list(found)[-1]].append(event["loss"])
        return found[name]


@pytest.fixture(scope="module")
def trained(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory, rank_pools: Any) -> Trained:
    """All forms, there and here."""
    place, here = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("here")
    table = tables(place, model=MODEL, training=TWO_STEPS)
    job = job_from_table(table)
    tokens = prepare_tokens(
        text=job.data.text, tokenizer=job.data.tokenizer, validation_fraction=job.data.validation_fraction,
        sequence_length=job.training.sequence_length, vocab=job.model.vocab, cache=place / "tokens",
    )  # fmt: skip
    asked = (str(tokens.folder), table)
    (place / "forms.py").write_text(SCRIPT)
    hosts.throttle("200mbit")
    launch = hosts.launch(place, ["forms.py", json.dumps([str(place), *asked, THERE])])
    begun = {**table, "training": {**table["training"], "learning_rate": 0.0}}
    rank_pools.run(1, perform, str(here), *asked, ["one rank"])
    rank_pools.run(RANKS, perform_over_gloo, str(here), *asked, ["DiLoCo"])
    weights = {name: load_whole(here / name) for name in HERE}
    rank_pools.run(1, perform, str(here), asked[0], begun, ["one rank"])
    assert launch.wait(2 * PATIENCE) == [0, 0], said(launch)
    return Trained(
        there={name: load_whole(place / name) for name in THERE},
        here=weights,
        first=load_whole(here / "one rank"),
        told=json.loads((place / "told.json").read_text()),
    )


def apart(ours: Weights, theirs: Weights) -> float:
    """The largest difference of any weight."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("name", EXACT)
def test_four_ranks_on_two_hosts_equal_one(trained: Trained, name: str) -> None:
    assert apart(trained.there[name], trained.here["one rank"]) < 1e-12
    assert apart(trained.there[name], trained.first) > 1e-3


def test_averages_arrive_late_there_as_they_do_over_gloo(trained: Trained) -> None:
    """Those of H - 1 steps alone, of H, and of what a run that ends has left."""
    assert apart(trained.there["DiLoCo"], trained.here["DiLoCo"]) < 1e-12
    assert FORMS["DiLoCo"].training["steps"] > 2 * H


@pytest.mark.parametrize(("name", "whole"), ROUNDED.items())
def test_what_is_rounded_ends_near_what_is_summed_whole(trained: Trained, name: str, whole: str) -> None:
    far = apart(trained.here[whole], trained.first)
    assert 0 < apart(trained.there[name], trained.here[whole]) < MOST_ROUNDED * far


def test_a_server_that_is_not_to_wait_learns(trained: Trained) -> None:
    before, after = trained.losses(NO_WAIT)
    assert after < 0.95 * before


def test_a_server_counts_each_portion_once_and_never_later_than_the_bound(trained: Trained) -> None:
    (rounds, steps), ledgers = LEDGER, trained.told["ledgers"]
    portions = rounds * steps * RANKS
    taken = [(portion, contained) for ledger in ledgers for portion, contained in ledger["taken"]]
    assert sorted(portion for portion, _ in taken) == list(range(portions))
    for number in range(rounds):
        done = (number + 1) * steps * RANKS
        assert all(one["totals"][number] == [1.0] * done + [0.0] * (portions - done) + [done] for one in ledgers)
    for portion, contained in taken:
        assert set(contained) <= {0.0, 1.0}
        assert all(contained[: max(0, portion // RANKS - 1) * RANKS]), "a step before the one before is missing"
