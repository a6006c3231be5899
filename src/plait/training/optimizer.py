"""AdamW and SGD by torch.optim, fused, over the weights that one rank holds.

    weight (compute dtype)  ──►  forward, backward  ──►  gradient (reduce dtype)
         ▲                                                    │
         └───── cast ────  master weight (master dtype)  ◄────┘  optimizer step

Where compute and master dtype agree the weight is its own master, unless masters are asked for. It knows named tensors,
not how they are split.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from plait.specs.training import TrainingSpec

__all__ = ["Optimizer"]


class Optimizer:
    """Keeps the master weights and their state. `decays` says which weights are subject to weight decay;
    `separate_masters` gives every weight a master of its own where the dtypes agree, too (verify proves that way)."""

    def __init__(
        self,
        weights: Mapping[str, torch.nn.Parameter],
        gradients: Mapping[str, torch.Tensor],
        decays: Mapping[str, bool],
        training: TrainingSpec,
        *,
        separate_masters: bool = False,
    ) -> None:
        self._gradients = gradients
        self.masters = {
            name: _master(weight, gradients[name].dtype, separate_masters) for name, weight in weights.items()
        }
        self._copies = [
            (weight, self.masters[name]) for name, weight in weights.items() if self.masters[name] is not weight
        ]
        groups = [
            {"params": [self.masters[name] for name in weights if decays[name] is decayed], "weight_decay": decay}
            for decayed, decay in ((True, training.weight_decay), (False, 0.0))
        ]
        self._torch = _build([group for group in groups if group["params"]], training)

    @property
    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """The optimizer's tensors for each weight; empty before the first step, and for SGD without momentum."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for name, master in self.masters.items():
            entries = self._torch.state.get(master, {})
            found[name] = {key: value for key, value in entries.items() if isinstance(value, torch.Tensor)}
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of state, and of master weights where they are not the weights themselves."""
        states = sum(tensor.nbytes for entries in self.state.values() for tensor in entries.values())
        return states + sum(master.nbytes for _, master in self._copies)

    def step(self, learning_rate: float) -> None:
        """Update the masters from the gradients, then the weights from the masters."""
        for group in self._torch.param_groups:
            group["lr"] = learning_rate
        for name, master in self.masters.items():
            master.grad = self._gradients[name]
        self._torch.step()
        with torch.no_grad():
            for weight, master in self._copies:
                weight.copy_(master)


def _master(weight: torch.nn.Parameter, dtype: torch.dtype, separate: bool) -> torch.nn.Parameter:
    if weight.dtype == dtype and not separate:
        return weight
    return torch.nn.Parameter(weight.detach().to(dtype, copy=True))


def _build(groups: list[dict[str, object]], training: TrainingSpec) -> torch.optim.Optimizer:
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.betas[0], fused=True)
