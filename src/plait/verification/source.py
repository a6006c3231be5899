"""Where the model and the batch of a proof come from: a job's own decoder, or a module and a batch of the user's.

    Drawn     ModelSpec, TrainingSpec      weights, tokens and targets by address; a rank holds only what it owns
    Given     build_model(), rules, batch  as the user made them: built anew on every rank, then cut

Both sides of a proof ask one source, in one precision. It knows plain models; not whether they are cut afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.models.described import require_described
from plait.models.gpt import Decoder
from plait.models.init import fill, initialise
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.lift import Lift
from plait.verification.probe import DTYPES, probe_batch
from plait.verification.trace import Precision

__all__ = ["Drawn", "Experiment", "Given", "Source"]


class Source(Protocol):
    """What a side needs to begin."""

    @property
    def spec(self) -> ModelSpec:
        """The model's shape."""
        ...

    @property
    def layers(self) -> Sequence[Layer]:
        """The description of the model's layers and weights."""
        ...

    def whole(self, precision: Precision) -> Decoder:
        """The whole model, its weights in place."""
        ...

    def to_cut(self, precision: Precision) -> Decoder:
        """The same for `parallelize`; its weights may be shapes alone, which are then drawn."""
        ...

    def batch(self, step: int) -> Sequences:
        """The whole global batch of a step, from 0."""
        ...

    def computing(self, precision: Precision, lift: Lift) -> AbstractContextManager[object]:
        """The context in which a side computes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A decoder of a job's shape."""

    model: ModelSpec
    training: TrainingSpec

    @property
    def spec(self) -> ModelSpec:
        return self.model

    @property
    def layers(self) -> Sequence[Layer]:
        return describe_gpt(self.model)

    def whole(self, precision: Precision) -> Decoder:
        decoder = Decoder(self.model, seed=self.training.seed).to(DTYPES[precision])
        initialise(decoder, self.model, self.training.seed)
        return decoder

    def to_cut(self, precision: Precision) -> Decoder:
        with torch.device("meta"):
            return Decoder(self.model, seed=self.training.seed).to(DTYPES[precision])

    def batch(self, step: int) -> Sequences:
        return probe_batch(self.model, self.training, step)

    def computing(self, precision: Precision, lift: Lift) -> AbstractContextManager[object]:
        return nullcontext()  # nothing in it casts to float32 by itself


@dataclass(frozen=True, kw_only=True)
class Given:
    """A module of the user's. Every call of `build_model` begins from the same state of torch's generator."""

    build_model: Callable[[], Decoder]
    rules: Sequence[Layer] | None
    rows: Sequences

    @property
    def layers(self) -> Sequence[Layer]:
        return self._described(self.spec)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @cached_property
    def _spec(self) -> ModelSpec:  # kept, since it takes a build to know
        return self.whole("fp32").spec

    def _described(self, spec: ModelSpec) -> Sequence[Layer]:
        return describe_gpt(spec) if self.rules is None else self.rules

    def whole(self, precision: Precision) -> Decoder:
        with _seeded():
            built = self.build_model()
        if not isinstance(built, Decoder):
            raise TypeError(
                f"build_model gave {type(built).__name__}; what can be parallelized is a Decoder, or one changed"
            )
        layers = self._described(built.spec)
        require_described(built, layers)
        if any(parameter.is_meta for parameter in built.parameters()):
            built = _drawn(built, layers)
        return built.to(DTYPES[precision])

    def to_cut(self, precision: Precision) -> Decoder:
        return self.whole(precision)

    def batch(self, step: int) -> Sequences:
        return replace(self.rows, step=step)

    def computing(self, precision: Precision, lift: Lift) -> AbstractContextManager[object]:
        return lift if precision == "fp64" else nullcontext()


def _drawn(built: Decoder, layers: Sequence[Layer]) -> Decoder:
    """A module of shapes alone with the first values of what is described; a weight of two places stays one."""
    places = list(built.named_parameters(remove_duplicate=False))
    built = built.to_empty(device="cpu")
    first = {id(shape): path for path, shape in reversed(places)}
    for path, shape in places:
        owner, _, leaf = path.rpartition(".")
        setattr(built.get_submodule(owner), leaf, built.get_parameter(first[id(shape)]))
    fill(built, layers, built.seed)
    return built


@contextmanager
def _seeded() -> Iterator[None]:
    """torch's generator at the same place for every build, and where it was afterwards."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(state)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What both sides run: two steps of `training` from `source`, in one process and under `plan`."""

    source: Source
    training: TrainingSpec
    plan: Plan

    @classmethod
    def of(cls, model: ModelSpec, training: TrainingSpec, plan: Plan) -> Experiment:
        """A job's own decoder under a plan."""
        return cls(source=Drawn(model=model, training=training), training=training, plan=plan)

    @classmethod
    def given(
        cls,
        build_model: Callable[[], Decoder],
        rules: Sequence[Layer] | None,
        plan: Plan,
        batch: Sequences | Tensor,
        training: TrainingSpec,
    ) -> Experiment:
        """A user's module under a plan, on a global batch: sequences with targets, or tokens (sequences, length + 1),
        each of which is the target of the one before it. Its size goes before that of `training`.

        Raises TypeError for what is no batch, or no Decoder; ValueError for a batch that nothing can be learned from,
        or a module that its description does not fit.
        """
        rows = _rows(batch)
        assert rows.tokens is not None
        size, length = rows.tokens.shape
        fitting = replace(training, global_batch=size, sequence_length=length)
        source = Given(build_model=build_model, rules=rules, rows=rows)
        _require_known(rows, source.spec.vocab)
        return cls(source=source, training=fitting, plan=plan)

    def targets(self, step: int) -> int:
        """How many targets a step's global batch has."""
        targets: Tensor | None = self.source.batch(step).targets
        assert targets is not None
        return int((targets != IGNORED).sum())


def _rows(batch: Sequences | Tensor) -> Sequences:
    """The batch as sequences of two dims, with targets."""
    if isinstance(batch, Tensor):
        if batch.dim() != 2 or batch.shape[1] < 2:
            raise ValueError(
                f"a batch of tokens is (sequences, length + 1), at least (1, 2); this is {tuple(batch.shape)}"
            )
        batch = Sequences.of(batch[:, :-1], batch[:, 1:])
    elif not isinstance(batch, Sequences):
        raise TypeError(f"a batch is a tensor of tokens or Sequences, not {type(batch).__name__}")
    tokens, targets = batch.tokens, batch.targets
    if tokens is None or targets is None:
        raise ValueError("a proof needs a batch with tokens and targets")
    if tokens.dim() != 2 or 0 in tokens.shape or targets.shape != tokens.shape:
        shapes = f"{list(tokens.shape)}, {list(targets.shape)}"
        raise ValueError(f"tokens and targets are (sequences, length), none of them empty: {shapes}")
    return batch


def _require_known(rows: Sequences, vocab: int) -> None:
    """Raises ValueError for tokens or targets that the model can't know, or no target at all."""
    for name, values, least in (("tokens", rows.tokens, 0), ("targets", rows.targets, IGNORED)):
        assert values is not None
        if values.dtype != torch.int64:
            raise ValueError(f"{name} are whole numbers of 64 bits (torch.int64), not {values.dtype}")
        known = (values >= 0) & (values < vocab) | (values == IGNORED if least < 0 else False)
        if not known.all():
            wrong = int(values[~known][0])
            raise ValueError(f"{name} go from 0 to {vocab - 1}, the model's vocabulary; one of them is {wrong}")
    if bool((rows.targets == IGNORED).all()):
        raise ValueError("a batch in which every target is left out has nothing to learn")
