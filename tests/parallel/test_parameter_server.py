"""An asynchronous parameter server: nothing is lost or applied twice, the bound holds, it learns, it names the dead.

The ledger (`served`) writes each portion into the weights that the workers get, so that what they contained is seen
there, and not in the server's count.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch

from plait.collectives.process_groups import Group, Mesh
from plait.errors import PeerLost, PlaitError
from plait.parallel.parameter_server import ParameterServer
from plait.parallel.parameter_shard import Shard
from plait.plans.holdings import Piece
from plait.plans.plan import Plan
from plait.plans.portions import Portions
from plait.plans.serving import portion_messages
from plait.sharding.boxes import shares
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer
from tests.parallel.served import LEARNING, Nothing, keep_ledger, learned_densely, learned_from_a_server

SEEDS = (1, 2, 3)


def plan(data: int, servers: int, staleness: int) -> Plan:
    shares, how = (1,) * data, "parameter-server"
    return Plan(data=data, servers=servers, staleness=staleness, stages=(1,), data_shares=shares, synchronisation=how)


@pytest.mark.parametrize("staleness", [0, 1, 3, -1])
@pytest.mark.parametrize(("data", "servers"), [(2, 0), (2, 1), (3, 0), (4, 2)])
def test_each_portion_counts_once_and_never_later_than_the_bound(run_on_ranks, data, servers, staleness):
    rounds, steps, workers = 2, 8, data - servers
    naps = (0.012, *(0.001,) * (data - 1))
    chosen = plan(data, servers, staleness)
    ranks = run_on_ranks(data, keep_ledger, chosen, rounds, steps, naps)
    portions = rounds * steps * workers
    taken = sorted(portion for rank in ranks for portion, _ in rank.taken)
    assert taken == list(range(portions))
    for number in range(rounds):  # all ranks have the same, and each portion once
        done = (number + 1) * steps * workers
        assert all(rank.totals[number] == [1.0] * done + [0.0] * (portions - done) + [done] for rank in ranks)
    serving = data - (servers or data)
    counts = [stop - start for start, stop in shares(portions, (1,) * (data - serving))]
    counts[0] += 1  # of `total`
    for place, rank in enumerate(ranks[:workers]):
        travels = portion_messages([0] * serving + counts, chosen, place, gradient_bytes=8, weight_bytes=8)
        assert Counter({(one.kind, one.bytes): one.count for one in rank.traffic}) == Counter(travels)
    ages = [0]
    for portion, contained in (one for rank in ranks for one in rank.taken):
        step, round_begins = portion // workers, portion // (steps * workers) * steps * workers
        assert all(contained[:round_begins])  # settling leaves nothing behind
        assert set(contained) <= {0.0, 1.0}
        missing = [one // workers for one, times in enumerate(contained[: step * workers]) if not times]
        ages += [step - min(missing, default=step)]
    if staleness >= 0:
        assert max(ages) <= staleness
    if workers > 1 and staleness in (1, -1):
        assert max(ages) >= 1  # the fast one has not waited for the slow


def test_without_a_bound_nobody_waits_for_a_slow_rank(run_on_ranks):
    slow, fast = run_on_ranks(2, keep_ledger, plan(2, 0, -1), 1, 20, (0.1, 0.001))
    assert len(slow.taken) < 12 < 28 < len(fast.taken)


@pytest.mark.parametrize("staleness", [1, -1])
def test_it_learns_as_well_as_dense_from_as_many_samples_with_a_slow_rank(run_on_ranks, staleness):
    ranks = run_on_ranks(2, learned_from_a_server, plan(2, 0, staleness), SEEDS, (0.003, 0.008))
    for number, seed in enumerate(SEEDS):
        (loss, fast), (same, slow) = (rank[number] for rank in ranks)
        assert loss == same
        assert fast + slow == 2 * LEARNING.steps
        assert fast > slow
        assert loss < 1.01 * densely(seed)


@cache
def densely(seed: int) -> float:
    return learned_densely(seed, 2)


def alone() -> Mesh:
    return Mesh(shape=MeshShape(), rank=0, axes={axis: Group(axis=axis, ranks=(0,), index=0) for axis in AXES})


def one_rank(
    *, optimizer: str = "sgd", betas: tuple[float, float] = (0.0, 0.0)
) -> tuple[ParameterServer, torch.Tensor]:
    weights = {"w": torch.nn.Parameter(torch.ones(3, dtype=torch.float64))}
    pieces = {"w": [Piece(name="w", dim=0, start=0, stop=3)]}
    gradients = {"w": torch.full((3,), 0.5, dtype=torch.float64)}
    server = ParameterServer(weights, gradients, pieces, alone(), workers=1, staleness=0)
    training = replace(TrainingSpec(weight_decay=0.0), optimizer=optimizer, betas=betas)
    server.start(Optimizer(server.shards, server.shard_gradients, {"w": False}, training))
    return server, weights["w"].data


@pytest.mark.parametrize(("optimizer", "betas"), [("sgd", (0.9, 0.0)), ("adamw", (0.9, 0.95))])
def test_a_rank_alone_is_its_own_server_with_momentum_and_adam(optimizer, betas):
    server, weights = one_rank(optimizer=optimizer, betas=betas)
    plain = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    stepping = (
        torch.optim.SGD([plain], lr=0.1, momentum=betas[0])
        if optimizer == "sgd"
        else torch.optim.AdamW([plain], lr=0.1, betas=betas, weight_decay=0.0, fused=True)
    )
    while server.take(4) is not None:
        server.step(0.1)
        plain.grad = torch.full((3,), 0.5, dtype=torch.float64)
        stepping.step()
    server.close()
    torch.testing.assert_close(weights, plain.data, rtol=1e-14, atol=0.0)


def test_a_gradient_without_a_portion_is_refused():
    server, _ = one_rank()
    with pytest.raises(PlaitError, match="nothing to push"):
        server.step(0.1)
    assert server.take(1) == 0
    server.step(0.1)
    with pytest.raises(PlaitError, match="nothing to push"):
        server.step(0.1)


def shard_of(*, patience: float = 60.0) -> Shard:
    shard = Shard({"w": torch.zeros(2)}, torch.float32, Portions(2, 0), ranks=(4, 5), workers=2, patience=patience)
    shard.start(Nothing())
    return shard


def test_who_hangs_is_named_when_patience_ends():
    with pytest.raises(PeerLost, match=r"rank 4 hangs: nothing has been pushed for 0 s"):
        shard_of(patience=0.05).pull(1, 2, torch.empty(2))


def test_what_failed_beside_the_program_is_raised_by_it():
    shard = shard_of()
    shard.fail(PeerLost("rank 5 has died"))
    shard.fail(ArithmeticError("a consequence"))
    with pytest.raises(PeerLost, match="rank 5"):
        shard.pull(0, 2, torch.empty(2))
    with pytest.raises(PeerLost, match="rank 5"):
        shard.require_alive()


LOSING = """
import os, sys, time, torch, torch.distributed as dist
from datetime import timedelta
from tests.parallel.served import keep_ledger
from tests.parallel.test_parameter_server import plan
from plait.parallel.parameter_server import ParameterServer
rank, how, servers, staleness, store = int(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5]
limit = timedelta(seconds=4)
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=3, timeout=limit)
step, calls = ParameterServer.step, []
def failing(server, learning_rate):
    calls.append(1)
    if rank == 1 and len(calls) == 3:
        os.kill(os.getpid(), how)
    step(server, learning_rate)
ParameterServer.step = failing
start = time.monotonic()
try:
    keep_ledger(plan(3, servers, staleness), 1, 10, (0.01,) * 3)
except Exception as error:
    print(type(error).__name__, error, "after", time.monotonic() - start, flush=True)
    time.sleep(1.0)  # who goes at once is what the others lose next
"""


@pytest.mark.parametrize(("how", "servers", "staleness"), [(signal.SIGKILL, 0, -1), (signal.SIGSTOP, 1, 1)])
def test_a_lost_worker_is_named_and_nobody_waits_for_ever(tmp_path, how, servers, staleness):
    arguments = [str(int(how)), str(servers), str(staleness), str(tmp_path / "store")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", LOSING, str(n), *arguments], env=environment, stdout=-1, text=True)
        for n in range(3)
    ]
    try:
        said = {n: ranks[n].communicate(timeout=90)[0] for n in (0, 2)}
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert all("PeerLost" in words and float(words.split("after")[1]) < 12 for words in said.values()), said
    assert "rank 1" in said[2], said  # which serves it
