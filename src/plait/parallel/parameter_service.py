"""The threads of a parameter server: one for every other rank, which performs what that one asks of the shard.

    request   kind, number, learning rate   [ gradient ]        answer
    PUSH      the portion, its step's       the portion's       none
    TAKE      the limit                                         the next portion, -1 where none is left
    PULL      the portion that begins                           the weights, when it may
    SETTLE    (END: the last request)                           the weights, when all have settled

A thread that waits sleeps in the kernel: gloo's receives hold no lock of the interpreter. What a thread raises is kept
by the shard, for whoever asks or waits next.
"""

from __future__ import annotations

import threading
from enum import IntEnum
from functools import partial

import torch

from plait.collectives.peers import Peers
from plait.errors import PlaitError
from plait.parallel.parameter_shard import Shard

__all__ = ["Request", "Service"]


class Request(IntEnum):
    """What a rank may ask."""

    PUSH = 0
    TAKE = 1
    PULL = 2
    SETTLE = 3
    END = 4


class Service:
    """Serves `shard` to all others of a group; requests and answers go with tags of their own."""

    def __init__(self, shard: Shard, requests: Peers, answers: Peers, *, workers: int) -> None:
        self._shard, self._requests, self._answers, self._workers = shard, requests, answers, workers
        others = [place for place in range(requests.size) if place != requests.index]
        self._threads = [
            threading.Thread(target=partial(self._serve, peer), name=f"serves {peer}", daemon=True) for peer in others
        ]
        for thread in self._threads:
            thread.start()

    def end(self, within: float) -> None:
        """Return when all others have asked for the end. Raises PlaitError where that takes more than so many
        seconds."""
        for thread in self._threads:
            thread.join(within)
        if any(thread.is_alive() for thread in self._threads):
            raise PlaitError("a server can't end: some rank has not closed its own")

    def _serve(self, peer: int) -> None:
        try:
            with torch.no_grad():
                while self._answer(peer):
                    pass
        except BaseException as error:  # whoever asks next, or waits, raises it
            self._shard.fail(error)

    def _answer(self, peer: int) -> bool:
        """Serve one request; whether more may follow."""
        shard = self._shard
        if peer >= self._workers:
            shard.await_workers(peer)  # it asks for nothing before
        header = torch.empty(3, dtype=torch.float64)
        self._requests.receive(header, peer).wait()
        shard.hear(peer)
        kind, number = Request(int(header[0])), int(header[1])
        match kind:
            case Request.PUSH:
                gradient = shard.empty_gradient()
                self._requests.receive(gradient, peer).wait()
                shard.push(number, float(header[2]), gradient)
                return True
            case Request.TAKE:
                portion = shard.give(number)
                answer = torch.tensor([-1 if portion is None else portion], dtype=torch.float64)
            case Request.PULL:
                answer = shard.empty_weights()
                shard.pull(peer, number, answer)
            case Request.SETTLE | Request.END:
                answer = shard.empty_weights()
                shard.settle(peer, answer)
        self._answers.send(answer, peer).wait()
        return kind != Request.END
