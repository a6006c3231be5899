"""AdamW and SGD by torch.optim, fused, over the weights that one rank holds.

    weight (compute dtype)  ──►  forward, backward  ──►  gradient (reduce dtype)
         ▲                                                    │
         └───── cast ────  master weight (master dtype)  ◄────┘  optimizer step

Where compute and master dtype agree the weight is its own master, unless masters are asked for. Where masters live, and
how gradients come to them, is `masters`' matter. It knows named tensors, not how they are split.

On a CPU a fused kernel takes a tensor a vector at a time, and rounds what is left at the end in another way. An element
that several ranks hold, each in another place, would drift apart: such weights are updated by separate operations, and
those round alike everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from plait.specs.training import TrainingSpec
from plait.training.masters import InHostMemory, Masters, OnDevice

__all__ = ["Optimizer"]


class Optimizer:
    """Keeps the master weights and their state. `decays` says which weights are subject to weight decay; `unfused`,
    which have to be updated alike wherever their elements stand; `separate_masters` gives every weight a master of its
    own where the dtypes agree, too (verify proves that way); `offload` keeps masters and state in host memory, and
    updates there."""

    def __init__(
        self,
        weights: Mapping[str, torch.nn.Parameter],
        gradients: Mapping[str, torch.Tensor],
        decays: Mapping[str, bool],
        training: TrainingSpec,
        *,
        unfused: Collection[str] = (),
        separate_masters: bool = False,
        offload: bool = False,
    ) -> None:
        self._kept: Masters = (
            InHostMemory(weights, gradients) if offload else OnDevice(weights, gradients, apart=separate_masters)
        )
        self.masters = self._kept.of
        self._updates = [
            _build(
                _groups({name: self.masters[name] for name in batch}, decays, training.weight_decay, unfused), training
            )
            for batch in self._kept.batches
        ]

    @property
    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """The optimizer's tensors for each weight; empty before the first step, and for SGD without momentum."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for update, batch in zip(self._updates, self._kept.batches, strict=True):
            for name in batch:
                entries = update.state.get(self.masters[name], {})
                found[name] = {key: value for key, value in entries.items() if isinstance(value, torch.Tensor)}
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of state, of master weights where they are not the weights themselves, and of what else is in host
        memory for it."""
        states = sum(tensor.nbytes for entries in self.state.values() for tensor in entries.values())
        return states + self._kept.nbytes

    def step(self, learning_rate: float) -> None:
        """Update the masters from the gradients, then the weights from the masters."""
        self._kept.begin()
        for number, update in enumerate(self._updates):
            for group in update.param_groups:
                group["lr"] = learning_rate
            for name in self._kept.batches[number]:
                self.masters[name].grad = self._kept.gradients[name]
            self._kept.take_in(number)
            update.step()
            self._kept.give_back(number)
        self._kept.end()

    def go_on(self, state: Mapping[str, Mapping[str, torch.Tensor]], step: int) -> None:
        """Take over what another has kept after `step` steps: the tensors of `state`, by kind and weight."""
        names = {id(master): name for name, master in self.masters.items()}
        for update in self._updates:
            table = update.state_dict()
            order = (names[id(master)] for group in update.param_groups for master in group["params"])
            for number, name in enumerate(order):
                kept = {kind: tensors[name] for kind, tensors in state.items() if name in tensors}
                if kept:
                    counts = {"step": torch.tensor(float(step))} if "exp_avg" in kept else {}
                    table["state"][number] = {**counts, **kept}
            update.load_state_dict(table)

    def spread(self) -> None:
        """The weights from the masters, which somebody has written."""
        for number in range(len(self._updates)):
            self._kept.give_back(number)
        self._kept.end()

    def adopt(self) -> None:
        """The masters from the weights, which somebody has written."""
        self._kept.adopt()


def _groups(
    masters: Mapping[str, torch.nn.Parameter],
    decays: Mapping[str, bool],
    weight_decay: float,
    unfused: Collection[str],
) -> list[dict[str, object]]:
    """The weights by what is done to them: whether they decay, and whether in one kernel."""
    by_choice: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, master in masters.items():
        by_choice.setdefault((decays[name], name not in unfused), []).append(master)
    return [
        {"params": params, "weight_decay": weight_decay if decayed else 0.0, "fused": fused}
        for (decayed, fused), params in by_choice.items()
    ]


def _build(groups: list[dict[str, object]], training: TrainingSpec) -> torch.optim.Optimizer:
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas)
        case "sgd":
            return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.betas[0])
