"""Does a parameter server beat an all-reduce where one rank is twice as slow? Ranks whose computing is a sleep.

    python benchmarks/parameter_server.py --rounds 5 --steps 30 --nap 0.1 --weights 262144

    even       every rank sleeps --nap seconds a portion
    one slow   the last rank sleeps twice as long, always
    at turns   in each portion a rank sleeps twice as long or not, by a coin of its own

Sleeps leave the cores to the messages, the updates (AdamW of so many --weights) and each other. Systems take turns in
the same processes; a figure is the median over rounds of the samples that all ranks together get through in a second,
beside the round that went worst and best. An all-reduce gives every rank the same share of each batch; an asynchronous
server gives the next share to who asks.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

from plait.collectives.process_groups import Mesh, build_mesh
from plait.launchers import RankPool
from plait.parallel.data_parallel import GradientBuffers, Pieces
from plait.parallel.parameter_server import ParameterServer
from plait.parallel.synchronous_server import PulledWeights, PushedGradients
from plait.plans.holdings import Piece
from plait.sharding.boxes import shares
from plait.sharding.mesh_shape import MeshShape
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer

__all__ = ["samples_by_system"]

_TENSORS = 4
_PORTION = 8  # samples
_RATE = 1e-4
_TRAINING = TrainingSpec(clip_norm=0.0)
STALENESS = {"server, staleness 1": 1, "server, staleness 4": 4, "server, unbounded": -1}
SYSTEMS = ("all-reduce", "server, synchronous", *STALENESS)
MACHINES = ("even", "one slow", "at turns")


def samples_by_system(rounds: int, steps: int, nap: float, weights: int) -> dict[tuple[str, str], list[float]]:
    """On each rank: samples a second of every round, by machine and system."""
    torch.set_num_threads(1)
    ranks = dist.get_world_size()
    mesh = build_mesh(MeshShape(data=ranks))
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + 1):
        for machine in MACHINES:
            for system in SYSTEMS:
                naps = (nap * factor for factor in _factors(machine, mesh, turn))
                seconds = _performed(system, mesh, steps if turn else 3, naps, weights)
                if turn:
                    rate = steps * ranks * _PORTION / seconds
                    found.setdefault((machine, system), []).append(rate)
    return found


def _factors(machine: str, mesh: Mesh, turn: int) -> Iterator[int]:
    """How slow this rank is, portion after portion; the same for every system of a round."""
    chance = random.Random(1000 * turn + mesh.rank)
    while True:
        slow = (
            mesh.rank == mesh.shape.ranks - 1 if machine == "one slow" else machine != "even" and chance.random() < 0.5
        )
        yield 1 + slow


def _performed(system: str, mesh: Mesh, steps: int, naps: Iterator[float], count: int) -> float:
    """Seconds until all ranks have done their part of so many steps."""
    names = [f"w{number}" for number in range(_TENSORS)]
    weights = {name: torch.nn.Parameter(torch.ones(count // _TENSORS)) for name in names}
    run = (_asynchronous if system in STALENESS else _synchronous)(system, mesh, weights)
    dist.barrier()
    start = time.perf_counter()
    run(steps, naps)
    dist.barrier()
    return time.perf_counter() - start


Run = Callable[[int, Iterator[float]], None]


def _synchronous(system: str, mesh: Mesh, weights: dict[str, torch.nn.Parameter]) -> Run:
    group, buckets = mesh.axis("data"), [[name] for name in weights]
    decoder: Any = SimpleNamespace(layers=list)
    if system == "all-reduce":
        sums, spread = GradientBuffers(weights, buckets, group, torch.float32), None
        optimizer = Optimizer(weights, sums.kept, dict.fromkeys(weights, True), _TRAINING)
    else:
        pieces = _pieces(weights, group.size)
        spread = PulledWeights(decoder, (), weights, buckets, pieces, group)
        sums = PushedGradients(weights, buckets, group, torch.float32, pieces, workers=group.size)
        kept = {name: torch.nn.Parameter(piece) for name, piece in spread.kept.items()}
        optimizer = Optimizer(kept, sums.kept, dict.fromkeys(kept, True), _TRAINING)

    def run(steps: int, naps: Iterator[float]) -> None:
        for _ in range(steps):
            sums.begin()
            time.sleep(next(naps))
            for view in sums.views.values():
                view.fill_(1e-3)
            sums.finish()
            optimizer.step(_RATE)
            if spread is not None:
                spread.renew()
                spread.settle()

    return run


def _asynchronous(system: str, mesh: Mesh, weights: dict[str, torch.nn.Parameter]) -> Run:
    ranks = mesh.shape.ranks
    gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    server = ParameterServer(
        weights, gradients, _pieces(weights, ranks), mesh, workers=ranks, staleness=STALENESS[system]
    )
    decays = dict.fromkeys(server.shards, True)
    server.start(Optimizer(server.shards, server.shard_gradients, decays, _TRAINING))

    def run(steps: int, naps: Iterator[float]) -> None:
        while server.take(steps * ranks) is not None:
            time.sleep(next(naps))
            for gradient in gradients.values():
                gradient.fill_(1e-3)
            server.step(_RATE)
        server.close()

    return run


def _pieces(weights: dict[str, torch.nn.Parameter], ranks: int) -> Pieces:
    return {
        name: [Piece(name=name, dim=0, start=a, stop=b) for a, b in shares(len(weight), (1,) * ranks)]
        for name, weight in weights.items()
    }


def main() -> None:
    """Run, and print a table for each number of ranks."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ranks", type=int, nargs="+", default=[2, 3])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=30)
    arguments.add_argument("--nap", type=float, default=0.1)
    arguments.add_argument("--weights", type=int, default=1 << 18)
    given = arguments.parse_args()
    for ranks in given.ranks:
        with RankPool(ranks, timeout=600.0) as pool:
            found = pool.run(samples_by_system, given.rounds, given.steps, given.nap, given.weights)[0]
        print(f"\n| {ranks} ranks, samples a second | {' | '.join(MACHINES)} |\n|---|--:|--:|--:|")
        for system in SYSTEMS:
            print(f"| {system} | {' | '.join(_cell(found, machine, system) for machine in MACHINES)} |")


def _cell(found: dict[tuple[str, str], list[float]], machine: str, system: str) -> str:
    rates = found[machine, system]
    beside = median(rates) / median(found[machine, SYSTEMS[0]])
    return f"{median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f}), {beside:.2f}×"


if __name__ == "__main__":
    main()
