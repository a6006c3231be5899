"""Has a module the weights that its description says, and no others? Asked before it is cut, and before a proof."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from plait.layers.layer import Layer

__all__ = ["require_described"]


def require_described(module: nn.Module, layers: Sequence[Layer]) -> None:
    """Raises ValueError where a weight is on one side alone or of another shape, one in the module and two in its
    description, or frozen."""
    described = {weight.path: weight.shape for layer in layers for weight in layer.weights}
    found = dict(module.named_parameters(remove_duplicate=False))
    for path, shape in described.items():
        if path not in found:
            raise ValueError(f"{path} is in the description and not in the module")
        if tuple(found[path].shape) != shape:
            raise ValueError(f"{path} is {tuple(found[path].shape)} in the module, {shape} in its description")
        if not found[path].requires_grad:
            raise ValueError(f"{path} is frozen (requires_grad is False), and what doesn't learn is not built yet")
    ours = {id(found[path]) for path in described}
    for path, parameter in found.items():
        if id(parameter) not in ours:
            raise ValueError(f"{path} is in the module and not in its description: give rules that describe it")
    names = {weight.name: weight.path for layer in layers for weight in layer.weights}
    owners: dict[int, str] = {}
    for name, path in names.items():
        other = owners.setdefault(id(found[path]), name)
        if other != name:
            raise ValueError(f"{other} and {name} are one weight in the module and two in its description")
