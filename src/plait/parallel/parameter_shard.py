"""What one server has of the weights, updated by each portion as it comes: several threads ask it, one at a time.

    push   gradient of a portion ─► × workers ─► update at learning rate / workers ─► the next one
    pull   wait until the portion may begin ─► a copy of the weights as they are then
    settle wait until every rank settles ─► the same copy for all

**Scaling.** A portion's gradient is its part of the mean over a whole step's targets. It is applied as an estimate of
that mean, times the number of workers, with the learning rate divided by it: so that the portions of a step together
move the weights as far, and decay them as much, as one dense step. Plain SGD's sum of pushes is then exactly the dense
step's (scaling both leaves the product); Adam's step, which does not depend on the gradient's size, would be as many
times too large otherwise. Betas count updates and stay as they are: momentum remembers fewer samples than dense, which
is the side to err on, since asynchrony adds momentum of its own (Mitliagkas et al., "Asynchrony Begets Momentum, with
an Application to Deep Learning", 2016).

It knows portions, places and named tensors; messages are `parameter_server`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from plait.collectives.beside import VIGIL_SECONDS
from plait.errors import PeerLost
from plait.parallel.data_parallel import views_of
from plait.plans.portions import Portions

__all__ = ["Shard", "Update"]


class Update(Protocol):
    """An optimizer over a shard's weights and gradients."""

    def step(self, learning_rate: float) -> None:
        """Update the weights from the gradients."""
        ...


class Shard:
    """The weights `values` that one of `ranks` (by place) serves the first `workers` of them. `patience`: seconds
    without any news after which those that wait give up."""

    def __init__(
        self,
        values: Mapping[str, Tensor],
        dtype: torch.dtype,
        portions: Portions,
        *,
        ranks: Sequence[int],
        workers: int,
        patience: float,
        look: Callable[[float, Sequence[int]], None] = lambda seconds, places: None,
    ) -> None:
        """`dtype`: that gradients come in. `look(seconds, places)` is called now and then in a wait for these, and
        raises where they can't come any more."""
        shapes = {name: value.shape for name, value in values.items()}
        self.count = sum(value.numel() for value in values.values())
        like = next(iter(values.values()), torch.empty(0))
        self._flat = torch.empty(self.count, dtype=like.dtype, device=like.device)
        views = views_of(self._flat, shapes)
        for name, view in views.items():
            view.copy_(values[name])
        self.weights = {name: torch.nn.Parameter(view) for name, view in views.items()}
        self._pushed = torch.zeros(self.count, dtype=dtype, device=like.device)
        self.gradients = views_of(self._pushed, shapes)
        self._portions, self._ranks, self._workers, self._patience = portions, tuple(ranks), range(workers), patience
        self._changed, self._look = threading.Condition(), look
        self._waiting: set[int] = set()
        self._heard = [0.0] * len(ranks)  # by place, when it last asked for anything
        self._settled = [0] * len(ranks)  # by place, how often
        self._snapshot = self._flat  # of when all had settled last
        self._update: Update | None = None
        self.failed: BaseException | None = None

    def start(self, update: Update) -> None:
        """Updates are this one's from now on."""
        self._update = update

    def empty_gradient(self) -> Tensor:
        """Room for a flat gradient."""
        return torch.empty_like(self._pushed)

    def empty_weights(self) -> Tensor:
        """Room for the flat weights."""
        return torch.empty_like(self._flat)

    def hear(self, place: int) -> None:
        """The rank at `place` has asked for something."""
        self._heard[place] = time.monotonic()

    def give(self, limit: int) -> int | None:
        """The next portion below `limit`, if any is left."""
        with self._changed:
            return self._portions.give(limit)

    def push(self, portion: int, learning_rate: float, gradient: Tensor) -> None:
        """Apply a portion's flat gradient; `learning_rate` is its step's. Raises PlaitError where it came before."""
        with self._changed:
            self._portions.apply(portion)
            workers = len(self._workers)
            torch.mul(gradient, workers, out=self._pushed)
            assert self._update is not None, "a shard is started before anybody pushes"
            self._update.step(learning_rate / workers)
            self._changed.notify_all()

    def pull(self, place: int, portion: int, into: Tensor) -> None:
        """The flat weights as soon as the portion may begin. Raises PeerLost where that does not come."""
        with self._changed:
            self._until(place, lambda: self._portions.may_begin(portion))
            into.copy_(self._flat)

    def await_workers(self, place: int) -> None:
        """Return when all workers have settled once more than the rank at `place` has, which does not work."""
        with self._changed:
            self._until(place, lambda: min(self._settled[one] for one in self._workers) > self._settled[place])

    def settle(self, place: int, into: Tensor) -> None:
        """The flat weights as they are when all ranks have called this equally often. Raises PeerLost."""
        with self._changed:
            self._settled[place] += 1
            times = self._settled[place]
            if min(self._settled) == times:
                self._snapshot = self._flat.clone()
                self._changed.notify_all()
            elif place in self._workers:
                self._changed.notify_all()
            self._until(place, lambda: min(self._settled) >= times)
            into.copy_(self._snapshot)

    def fail(self, error: BaseException) -> None:
        """It can't be served any more: all that wait, or ask, raise this."""
        with self._changed:
            self.failed = self.failed or error
            self._changed.notify_all()

    def require_alive(self) -> None:
        """Raises what has failed, if anything has."""
        if self.failed is not None:
            raise self.failed

    def _until(self, place: int, met: Callable[[], bool]) -> None:
        self._waiting.add(place)
        began = looked = news = time.monotonic()
        try:
            while not met():
                self.require_alive()
                came, now = self._changed.wait(min(self._patience, VIGIL_SECONDS)), time.monotonic()
                news = now if came else news
                if now - news >= self._patience:
                    raise PeerLost(self._told())
                if now - looked >= VIGIL_SECONDS:
                    looked = now
                    self._look_after(now, began)
        finally:
            self._waiting.discard(place)

    def _look_after(self, now: float, began: float) -> None:
        """At those that are awaited since `began`: news of others is none of theirs."""
        for place in self._late():
            self._look(now - max(began, self._heard[place]), [place])

    def _late(self) -> list[int]:
        """The places of those that wait for nobody here."""
        return [place for place in range(len(self._ranks)) if place not in self._waiting]

    def _told(self) -> str:
        late = [self._ranks[place] for place in self._late()]
        who = f"rank {late[0]} hangs" if len(late) == 1 else f"of ranks {', '.join(map(str, late))} one hangs"
        return f"{who}: nothing has been pushed for {self._patience:.0f} s"
