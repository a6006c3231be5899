"""An asynchronous parameter server, as one data rank has it: it works on portions of steps, serves its shard, or both.

    worker   take ─► forward, backward ─► step ─► take ─► …        the program
    server     request ─► answer ─► request ─► …                   beside it: threads (`parameter_service`)

    take      ask the first server for a portion, then all servers for the weights that it begins with
    step      push the portion's gradient, each server's pieces to it: nobody answers
    settle    all ranks together: afterwards each has the same, newest weights

Portions are given out to who asks, so that a slow worker holds up nobody for longer than the bound on staleness asks.
Requests and answers go over a process group of their own (`collectives.beside`), whose waits leave the interpreter to
the program. It takes the place of an optimizer: `step` pushes what `gradients` hold. Each stage of a pipeline has
servers of its own; the first one asks for a portion, and all of its pipeline compute that. Ranks that hold copies of a
weight would see pushes in different orders, so that copies (a tensor axis, tied stages) are not for this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from plait.collectives.beside import Vigil, beside
from plait.collectives.functional import all_reduce
from plait.collectives.packed import packed, put_back
from plait.collectives.peers import Peers
from plait.collectives.process_groups import Mesh, patience
from plait.collectives.recorder import blocked, note
from plait.collectives.wire import Work
from plait.errors import PlaitError
from plait.parallel.data_parallel import Pieces, piece_of
from plait.parallel.parameter_service import Request, Service
from plait.parallel.parameter_shard import Shard, Update
from plait.plans.portions import Portions

__all__ = ["ParameterServer"]

_REQUESTS, _ANSWERS = 1, 2  # tags
_AXIS = "data"
_ALONE_SECONDS = 60.0  # patience where there is no world


class ParameterServer:
    """`weights` and `gradients`: all that this rank computes with, whole; `pieces`: what each data rank serves of them.
    `shards` and `shard_gradients` are what this rank's own `Update` is to be made of (both empty where it only works).

    Every rank of the mesh makes it, and calls `start`, `settle` and `close` alike.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.nn.Parameter],
        gradients: Mapping[str, Tensor],
        pieces: Pieces,
        mesh: Mesh,
        *,
        workers: int,
        staleness: int,
    ) -> None:
        group, self._pipeline = mesh.axis(_AXIS), mesh.axis("pipeline")
        self._place, self.workers, self._gradients, self._pieces = group.index, workers, gradients, pieces
        self._weights = {name: weight.data for name, weight in weights.items()}
        first = next(iter(self._weights.values()))
        counts = [sum(piece.numel() for piece in self._of(self._weights, place)) for place in range(group.size)]
        self._servers = [place for place, count in enumerate(counts) if count]
        over, self._vigil = beside(mesh, _AXIS), Vigil(group)
        self._requests = Peers(over, tag=_REQUESTS) if over is not None else None
        self._answers = Peers(over, tag=_ANSWERS) if over is not None else None
        mine = {name: piece_of(self._weights, pieces[name][group.index]) for name in weights}
        limit = patience().total_seconds() if over is not None else _ALONE_SECONDS
        self._shard = Shard(
            {name: piece for name, piece in mine.items() if piece.numel()},
            next(iter(gradients.values())).dtype,
            Portions(workers, staleness),
            ranks=group.ranks,
            workers=workers,
            patience=limit,
            look=self._vigil.look,
        )
        self._landing = {place: first.new_empty(counts[place]) for place in self._servers}
        self._portion: int | None = None
        self._leaving: list[tuple[Work, int, Tensor]] = []  # with the place that it goes to
        self._service: Service | None = None
        self._patience = limit

    @property
    def shards(self) -> Mapping[str, torch.nn.Parameter]:
        """By name, what this rank serves: memory of its own, that the program does not compute with."""
        return self._shard.weights

    @property
    def shard_gradients(self) -> Mapping[str, Tensor]:
        """By name, of what this rank serves, the gradient that is applied next."""
        return self._shard.gradients

    @property
    def weight_bytes(self) -> int:
        """Bytes of what this rank serves."""
        return sum(weight.nbytes for weight in self.shards.values())

    @property
    def gradient_bytes(self) -> int:
        """Bytes of the gradient that is applied next."""
        return sum(gradient.nbytes for gradient in self.shard_gradients.values())

    def start(self, update: Update) -> None:
        """Serve, with these updates."""
        self._shard.start(update)
        if self._place in self._servers and self._requests is not None and self._answers is not None:
            self._service = Service(self._shard, self._requests, self._answers, workers=self.workers)

    def take(self, limit: int) -> int | None:
        """The next portion to compute, whose weights are there then; None where all below `limit` are given out. Its
        step is `portion // workers`, its part of the global batch `portion % workers`.

        Raises PeerLost where a server is lost, or a worker that has to come first.
        """
        self._shard.require_alive()
        if self._place >= self.workers:
            return None
        ticket = torch.zeros(1, dtype=torch.float64)
        if self._pipeline.index == 0:
            self._fetch_ticket(ticket, limit)
        portion = int(all_reduce(ticket, self._pipeline).wait().item())
        if portion < 0:
            return None
        for place in self._remote():
            self._ask(place, Request.PULL, portion)
        self._renew(partial(self._shard.pull, self._place, portion))
        self._portion = portion
        return portion

    def step(self, learning_rate: float) -> None:
        """Push the gradients of the portion taken last; nothing, where this rank only serves. Raises PlaitError where
        there is none."""
        self._shard.require_alive()
        if self._place >= self.workers:
            return
        portion, self._portion = self._portion, None
        if portion is None:
            raise PlaitError("nothing to push: `take` a portion before its gradients are computed")
        self._leave()
        for place in self._remote():
            self._ask(place, Request.PUSH, portion, learning_rate)
            self._send(self._flat_gradient(place), place)
        if self._place in self._servers:
            with torch.no_grad():
                self._shard.push(portion, learning_rate, self._flat_gradient(self._place))

    @torch.no_grad()
    def adopt(self) -> None:
        """Serve what this rank's weights have become, which somebody has written: between two settlings."""
        for name, shard in self.shards.items():
            shard.copy_(piece_of(self._weights, self._pieces[name][self._place]))

    def settle(self) -> None:
        """Wait until all that was pushed is applied; then all ranks have the same weights. Raises PeerLost."""
        self._settle(Request.SETTLE)

    def close(self) -> None:
        """Settle for the last time: nobody serves any more. Raises PeerLost."""
        self._settle(Request.END)
        if self._service is not None:
            self._service.end(self._patience)

    def _fetch_ticket(self, ticket: Tensor, limit: int) -> None:
        """The number of the next portion below a limit; -1 where there is none."""
        first = self._servers[0]
        if first == self._place:
            portion = self._shard.give(limit)
            ticket.fill_(-1 if portion is None else portion)
        else:
            self._ask(first, Request.TAKE, limit)
            self._receive(ticket, first)

    def _settle(self, kind: Request) -> None:
        self._shard.require_alive()
        if self._place >= self.workers and self._place in self._servers:
            self._shard.await_workers(self._place)  # here, where news of their pushes keeps patience up
        for place in self._remote():
            self._ask(place, kind)
        self._renew(partial(self._shard.settle, self._place))

    def _renew(self, own: partial[None]) -> None:
        """All servers' weights, which have been asked for; this rank's are `own`'s."""
        with torch.no_grad(), blocked(_AXIS):
            for place, landing in self._landing.items():
                if place == self._place:
                    own(landing)
                else:
                    self._receive(landing, place)
                put_back(landing, self._of(self._weights, place))
        self._leave()

    def _remote(self) -> list[int]:
        return [place for place in self._servers if place != self._place]

    def _of(self, tensors: Mapping[str, Tensor], place: int) -> list[Tensor]:
        """What the rank at `place` serves of them, in order."""
        found = (piece_of(tensors, self._pieces[name][place]) for name in self._weights)
        return [piece for piece in found if piece.numel()]

    def _flat_gradient(self, place: int) -> Tensor:
        return packed(self._of(self._gradients, place), self._landing[place]).detach()

    def _ask(self, place: int, kind: Request, number: int = 0, learning_rate: float = 0.0) -> None:
        self._send(torch.tensor([kind, number, learning_rate], dtype=torch.float64), place)

    def _send(self, tensor: Tensor, place: int) -> None:
        assert self._requests is not None, "there is nobody to ask"
        note(_AXIS, "send", tensor.nbytes)
        self._leaving.append((self._requests.send(tensor, place), place, tensor))

    def _receive(self, tensor: Tensor, place: int) -> None:
        assert self._answers is not None, "there is nobody to answer"
        note(_AXIS, "receive", tensor.nbytes)
        self._vigil.wait(self._answers.receive(tensor, place), place)

    def _leave(self) -> None:
        """Wait until all that is being sent has left."""
        leaving, self._leaving = self._leaving, []
        for work, place, _ in leaving:
            self._vigil.wait(work, place)
