"""What ranks do with an asynchronous parameter server in its tests: a ledger that can be read off weights, and a model.

gradient of portion n   = -1 at place n of the weight `ledger`, -1 in `total`         plain SGD, exact in float64
the weights of a worker = which portions they contain, and how often: nothing of the server's own count is asked
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from plait.collectives.process_groups import Mesh, build_mesh
from plait.collectives.recorder import record
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.parallel.data_parallel import Pieces
from plait.parallel.parameter_server import ParameterServer
from plait.plans.holdings import Piece
from plait.plans.plan import Plan
from plait.plans.prediction import Traffic
from plait.sharding.boxes import shares
from plait.sharding.mesh_shape import MeshShape
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at
from plait.training.optimizer import Optimizer
from plait.training.portions import given_out
from plait.training.step import train_step

SPEC = ModelSpec(
    layers=1, hidden=16, heads=2, kv_heads=2, ffn=32, vocab=12, max_positions=8, positions="rope", norm="rms",
    activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip
LENGTH, PORTION, HELD_OUT = 8, 6, 400  # tokens of a sequence; sequences of a portion, and held out
LEARNING = TrainingSpec(learning_rate=2e-2, steps=80, warmup_steps=10, clip_norm=0.0, weight_decay=0.01)


def mesh_of(ranks: int) -> Mesh:
    """This rank's place in a mesh of data ranks alone."""
    return build_mesh(MeshShape(data=ranks))


def pieces_of(shapes: dict[str, torch.Size], plan: Plan) -> Pieces:
    """Rows shared out over the servers of a plan."""
    parts = [float(rank in plan.keepers) for rank in range(plan.data)]
    return {
        name: [Piece(name=name, dim=0, start=start, stop=stop) for start, stop in shares(shape[0], tuple(parts))]
        for name, shape in shapes.items()
    }


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Of one rank: each portion it took, with how often its weights contained which then; `totals` at each settling;
    what the last portion sent."""

    taken: list[tuple[int, list[float]]]
    totals: list[list[float]]
    traffic: tuple[Traffic, ...]


def keep_ledger(plan: Plan, rounds: int, steps: int, naps: tuple[float, ...]) -> Kept:
    """`rounds` times so many steps, settling between; each rank naps as long as `naps` says while it computes."""
    mesh = mesh_of(plan.data)
    place, workers = mesh.coordinate("data"), plan.data - plan.servers
    portions = rounds * steps * workers
    weights = {name: torch.nn.Parameter(torch.zeros(size, dtype=torch.float64)) for name, size in
               (("ledger", portions), ("total", 1))}  # fmt: skip
    gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    pieces = pieces_of({name: weight.shape for name, weight in weights.items()}, plan)
    server = ParameterServer(weights, gradients, pieces, mesh, workers=workers, staleness=plan.staleness)
    plain = TrainingSpec(optimizer="sgd", betas=(0.0, 0.0), weight_decay=0.0)
    decays = dict.fromkeys(server.shards, False)
    server.start(Optimizer(server.shards, server.shard_gradients, decays, plain) if server.shards else Nothing())
    taken: list[tuple[int, list[float]]] = []
    totals: list[list[float]] = []
    traffic: tuple[Traffic, ...] = ()
    for number in range(rounds):
        while True:
            with record() as recorder:
                portion = server.take((number + 1) * steps * workers)
                if portion is None:
                    break
                taken.append((portion, (weights["ledger"] / workers).tolist()))
                time.sleep(naps[place])
                gradients["ledger"].zero_()[portion] = -1.0
                gradients["total"].fill_(-1.0)
                server.step(float(workers))  # at which the rate of one portion is 1
            traffic = recorder.traffic()
        server.settle() if number + 1 < rounds else server.close()
        totals.append([*(weights["ledger"] / workers).tolist(), float(weights["total"]) / workers])
    return Kept(taken=taken, totals=totals, traffic=traffic)


class Nothing:
    """The update of a rank that serves nothing."""

    def step(self, learning_rate: float) -> None:
        raise AssertionError("nothing is served here")


def text_of(seed: int, first: int, count: int) -> Sequences:
    """`count` sequences of a language in which every word has one that mostly follows it, from sample `first` on."""
    language = torch.Generator().manual_seed(7)
    follows = torch.randperm(SPEC.vocab, generator=language)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + first)
    tokens = torch.randint(SPEC.vocab, (count, LENGTH + 1), generator=generator)
    likely = torch.rand(count, LENGTH, generator=generator) < 0.7
    for at in range(LENGTH):
        tokens[:, at + 1] = torch.where(likely[:, at], follows[tokens[:, at]], tokens[:, at + 1])
    return Sequences.of(tokens[:, :-1], tokens[:, 1:], step=0)


def beginning(seed: int) -> Decoder:
    """A model that has learned nothing."""
    decoder = Decoder(SPEC, seed=seed)
    initialise(decoder, SPEC, seed)
    return decoder


def held_out(decoder: Decoder) -> float:
    """The mean loss of what is never learned from."""
    with torch.no_grad():
        return float(decoder(text_of(99, 1 << 20, HELD_OUT))) / (HELD_OUT * LENGTH)


def learned_densely(seed: int, workers: int) -> float:
    """The held-out loss after all steps on one rank, each of the whole batch."""
    decoder = beginning(seed)
    weights = dict(decoder.named_parameters())
    gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    optimizer = Optimizer(weights, gradients, dict.fromkeys(weights, True), LEARNING)
    for step in range(LEARNING.steps):
        for name, weight in weights.items():
            weight.grad = gradients[name].zero_()
        for part in range(workers):
            loss = decoder(text_of(seed, (step * workers + part) * PORTION, PORTION))
            (loss / (workers * PORTION * LENGTH)).backward()
        optimizer.step(learning_rate_at(step, LEARNING))
    return held_out(decoder)


def learned_from_a_server(plan: Plan, seeds: tuple[int, ...], naps: tuple[float, ...]) -> list[tuple[float, int]]:
    """By seed, the held-out loss after as many samples, and how many portions this rank computed."""
    mesh, found = mesh_of(plan.data), list[tuple[float, int]]()
    for seed in seeds:
        decoder, count = beginning(seed), 0
        model = parallelize(decoder, replace(plan, microbatch=PORTION), mesh)
        assert model.server is not None
        optimizer = Optimizer(model.shards, model.applied, dict.fromkeys(model.held, True), LEARNING)
        model.server.start(optimizer)
        workers = model.server.workers
        for portion, _ in given_out(model.server, LEARNING.steps * workers):
            time.sleep(naps[mesh.rank])
            rows = replace(text_of(seed, portion * PORTION, PORTION), step=portion // workers)
            train_step(model, optimizer, rows, workers * PORTION * LENGTH, LEARNING)
            count += 1
        model.server.close()
        found.append((held_out(decoder), count))
    return found
