"""AdamW and SGD by torch.optim, fused, over the weights that one rank holds.

    weight (compute dtype)  ──►  forward, backward  ──►  gradient (reduce dtype)
         ▲                                                    │
         └───── cast ────  master weight (master dtype)  ◄────┘  optimizer step

Where compute and master dtype agree the weight is its own master, unless masters are asked for. It knows named tensors,
not how they are split.

On a CPU a fused kernel takes a tensor a vector at a time, and rounds what is left at the end in another way. An element
that several ranks hold, each in another place, would drift apart: such weights are updated by separate operations, and
those round alike everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from plait.specs.training import TrainingSpec

__all__ = ["Optimizer"]


class Optimizer:
    """Keeps the master weights and their state. `decays` says which weights are subject to weight decay; `unfused`,
    which have to be updated alike wherever their elements stand; `separate_masters` gives every weight a master of its
    own where the dtypes agree, too (verify proves that way)."""

    def __init__(
        self,
        weights: Mapping[str, torch.nn.Parameter],
        gradients: Mapping[str, torch.Tensor],
        decays: Mapping[str, bool],
        training: TrainingSpec,
        *,
        unfused: Collection[str] = (),
        separate_masters: bool = False,
    ) -> None:
        self._gradients = gradients
        self.masters = {
            name: _master(weight, gradients[name].dtype, separate_masters) for name, weight in weights.items()
        }
        self._copies = [
            (weight, self.masters[name]) for name, weight in weights.items() if self.masters[name] is not weight
        ]
        groups = _groups(self.masters, decays, training.weight_decay, unfused)
        self._torch = _build(groups or [{"params": []}], training)  # a rank may update nothing

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
        self.spread()

    def go_on(self, state: Mapping[str, Mapping[str, torch.Tensor]], step: int) -> None:
        """Take over what another has kept after `step` steps: the tensors of `state`, by kind and weight."""
        names = {id(master): name for name, master in self.masters.items()}
        table = self._torch.state_dict()
        order = (master for group in self._torch.param_groups for master in group["params"])
        for number, master in enumerate(order):
            kept = {kind: tensors[names[id(master)]] for kind, tensors in state.items() if names[id(master)] in tensors}
            if kept:
                counts = {"step": torch.tensor(float(step))} if "exp_avg" in kept else {}
                table["state"][number] = {**counts, **kept}
        self._torch.load_state_dict(table)

    @torch.no_grad()
    def spread(self) -> None:
        """The weights from the masters, which somebody has written."""
        for weight, master in self._copies:
            weight.copy_(master)


def _master(weight: torch.nn.Parameter, dtype: torch.dtype, separate: bool) -> torch.nn.Parameter:
    if weight.dtype == dtype and not separate:
        return weight
    return torch.nn.Parameter(weight.detach().to(dtype, copy=True))


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
