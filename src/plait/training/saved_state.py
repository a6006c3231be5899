"""All that a run keeps from step to step, saved and read again: weights, the optimizer's state, what averages and
compressed sums remember. Any plan can go on from what any other left.

    same number of replicas     each reads its own; the next steps are those of a run that was never ended, to the bit
    another number              an optimizer's state of its own: the mean of all replicas' in its place
                                what is owed to sums of gradients: all of it, shared out evenly (the sum is conserved)
                                what is owed to averages: the mean, to each (so is theirs)
    owed of the other kind      dropped: an error of gradients is none of weights' changes, nor the other way round
    not saved                   zeros (a plan that did not have it); Q of another slice: drawn anew

Of what several tensor ranks or stages owe of one element, the sum is saved, and owed by the first of them from then on;
averages take the first one's values anyway. Replicas that learn alone have to be together when they are saved
(`train_step(settles=True)`): their weights are one model then, and the anchors are those weights.

An asynchronous parameter server is refused, saved or read: its Adam has updated once a portion, not once a step, and
its portions are counted from the first; a manifest says neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from plait.checkpoint.families import (
    GRADIENT_RESIDUAL,
    RIGHT,
    WEIGHTS,
    Family,
    families_of,
    optimizer_kinds,
    residual_kind,
)
from plait.checkpoint.load import load_like, load_whole
from plait.checkpoint.manifest import Manifest, read_manifest
from plait.checkpoint.save import save_tensors
from plait.errors import PlaitError
from plait.parallel.model import ParallelModel
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer

__all__ = ["load_state", "save_state"]

_REPLICA = re.compile(r"replica-(\d+)/([^/]+)/")
_Tensors = dict[str, torch.Tensor]


def save_state(
    directory: Path,
    model: ParallelModel,
    optimizer: Optimizer,
    training: TrainingSpec,
    *,
    step: int,
    barrier: Callable[[], object],
) -> None:
    """Save a run that has taken `step` steps, in place of what `directory` held; every rank calls it.

    Raises ValueError where replicas have learned alone since they last met, UnusableInput as `save_tensors` does,
    PlaitError under an asynchronous server.
    """
    _require_steps(model)
    if not model.carried.together:
        raise ValueError("replicas have learned alone since they last met: save after train_step(settles=True)")
    families = families_of(model.layers, model.plan, training)
    tensors = {family: _local(family, model, optimizer) for family in families}
    save_tensors(directory, tensors, model.layers, model.plan, model.mesh.rank, step=step, barrier=barrier)


@torch.no_grad()
def load_state(directory: Path, model: ParallelModel, optimizer: Optimizer, training: TrainingSpec) -> int:
    """Go on from what was saved in `directory`; how many steps had been taken. Every rank calls it.

    Raises UnusableInput for files that are missing, damaged, or another model's; PlaitError under an asynchronous
    server.
    """
    _require_steps(model)
    manifest = read_manifest(directory)
    families = {family.kind: family for family in families_of(model.layers, model.plan, training)}
    found = {kind: _read(directory, manifest, family, model) for kind, family in families.items()}
    model.settle()
    for name, master in optimizer.masters.items():
        master.copy_(found[WEIGHTS.kind][name])
    optimizer.spread()
    optimizer.go_on({kind: found[kind] for kind in optimizer_kinds(training)}, manifest.step)
    model.renew_weights()
    owed = found.get(residual_kind(model.plan), {})
    model.carried.go_on(optimizer.masters, found.get("outer", {}), owed, found.get(RIGHT, {}))
    return manifest.step


def _require_steps(model: ParallelModel) -> None:
    """Before anything is sent or read: what is saved counts updates in steps."""
    plan = model.plan
    if plan.asynchronous:
        raise PlaitError(
            f"staleness = {plan.staleness}: the state of an asynchronous parameter server can't be saved or gone on"
            f" from: a step of it is {plan.workers} updates, and a saved state counts steps; staleness = 0 can, and"
            " weights alone are saved under any"
        )


def _local(family: Family, model: ParallelModel, optimizer: Optimizer) -> Mapping[str, torch.Tensor]:
    match family.kind:
        case WEIGHTS.kind:
            return optimizer.masters
        case "outer":
            return model.carried.outer_momentum
        case kind if kind == residual_kind(model.plan):
            return model.carried.owed_in_all()
        case kind if kind == RIGHT:
            return model.carried.right
        case kind:
            state = optimizer.state
            return {name: state[name].get(kind, torch.zeros_like(master)) for name, master in optimizer.masters.items()}


def _read(directory: Path, manifest: Manifest, family: Family, model: ParallelModel) -> _Tensors:
    """This rank's tensors of a family, from whichever replicas have left them."""
    plan, replica = model.plan, model.mesh.coordinate("data")
    if family.whose == "slice":
        return _read_slices(directory, manifest, family, model)
    replicas = sorted({int(m[1]) for name in manifest.shapes if (m := _REPLICA.match(name)) and m[2] == family.kind})
    if not replicas:
        return _read_from(directory, manifest, Family(kind=family.kind, only=family.only), model, 0)
    own = Family(kind=family.kind, whose="replica", only=family.only)
    if family.whose == "replica" and len(replicas) == plan.data:
        return _read_from(directory, manifest, own, model, replica)
    scale = plan.data if family.kind == GRADIENT_RESIDUAL else len(replicas)
    total: _Tensors = {}
    for one in replicas:
        for name, tensor in _read_from(directory, manifest, own, model, one).items():
            total[name] = total[name].add_(tensor) if name in total else tensor
    return {name: tensor.div_(scale) for name, tensor in total.items()}


def _read_from(directory: Path, manifest: Manifest, family: Family, model: ParallelModel, replica: int) -> _Tensors:
    """Of one replica, what is there: a weight that only one of both plans compresses is not."""
    held = [one for one in model.kept.values() if one.elements]
    if family.kind:
        held = [one for one in held if family.name(one.weight.name, replica=replica) in manifest.shapes]
    return load_like(directory, family, held, replica)


def _read_slices(directory: Path, manifest: Manifest, family: Family, model: ParallelModel) -> _Tensors:
    """Those of a slice as long as this rank's: any Q will do, if it is the same on all replicas."""
    names = {family.name(name, tensor_rank=model.mesh.coordinate("tensor")): name for name in model.carried.right}
    alike = {
        saved for saved, name in names.items() if manifest.shapes.get(saved) == tuple(model.carried.right[name].shape)
    }
    return {names[saved]: tensor for saved, tensor in load_whole(directory, only=alike).items()}
