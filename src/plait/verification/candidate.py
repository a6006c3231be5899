"""The run that is judged: the user's plan, performed by the very runtime that trains, on every rank.

Each rank returns what it holds, with the intervals that say where in the whole tensor that lies (`compare` puts it
together again). A step may begin from a given state instead of the one that the step before has left:

    free       step 1 ──► step 2                     as in training
    judged     step 1     step 2                     each from the reference's own state, cut as the plan cuts it
                          └ reference's step 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.distributed as dist

from plait.collectives.functional import all_reduce
from plait.collectives.process_groups import build_mesh
from plait.collectives.recorder import record
from plait.devices.flop_counter import flop_counter
from plait.parallel.apply import parallelize
from plait.parallel.local_sgd import targets_of
from plait.parallel.parameter_server import ParameterServer
from plait.plans.holdings import positions_held
from plait.plans.prediction import Work
from plait.plans.rows import rows_of
from plait.specs.training import PRECISIONS as POLICIES
from plait.training.optimizer import Optimizer
from plait.training.step import StepResult, train_step
from plait.verification.lift import Lift
from plait.verification.lossy import RESTORED, lossy_of
from plait.verification.source import Experiment
from plait.verification.trace import Entry, EntryKind, Precision, RankTrace, Trace
from plait.verification.watch import Watch

__all__ = ["candidate_trace", "work_of_rank"]


def candidate_trace(
    experiment: Experiment, *, precision: Precision, steps: int = 2, state: Trace | None = None
) -> RankTrace:
    """Train for `steps` under the experiment's plan; every rank of it calls this.

    `state`: whole weights and optimizer tensors after each step, from which the next one begins.
    """
    policy = POLICIES[experiment.training.precision]
    # where gradients are wider than weights, as under bfloat16, so they are in the float32 run
    wider = precision == "fp32" and policy.compute != policy.reduce
    rank = _Rank(_summing_in("fp64" if wider else "fp32", experiment), precision)
    trace: Trace = {}
    for step in range(steps):
        rank.learn(step, trace)
        rank.settle()
        rank.evaluate(step, trace)
        rank.leave(step, trace)
        if state is not None and step + 1 < steps:
            _begin_from(state, step + 1, rank)
    rank.close()
    return rank.traced(trace)


def work_of_rank(experiment: Experiment, *, precision: Precision) -> Work:
    """What this rank does in one step, and holds after it: FLOPs and messages counted while they happen."""
    with flop_counter() as counter:
        rank = _Rank(_summing_in("fp32", experiment), precision, counter.get_total_flops)
        with record() as recorder:
            rank.learn(0, {})
            weight_bytes = rank.parallel.weight_bytes  # asked for, new weights leave now, and not before a next step
    rank.close()
    parallel, flops = rank.parallel, rank.watch.flops
    return Work(
        forward_flops=dict(flops),
        backward_flops=counter.get_total_flops() - flops.total(),
        weight_bytes=weight_bytes,
        gradient_bytes=parallel.gradient_bytes,
        optimizer_bytes=sum(tensor.nbytes for _, tensor in _states(rank.optimizer)),
        residual_bytes=parallel.carried.nbytes,
        collectives=recorder.traffic(),
    )


def _summing_in(dtype: str, experiment: Experiment) -> Experiment:
    return replace(experiment, plan=replace(experiment.plan, gradient_precision=dtype))


class _Rank:
    """One rank's part of the model, watched, and its optimizer."""

    def __init__(self, experiment: Experiment, precision: Precision, *performed: Callable[[], int]) -> None:
        self._experiment = experiment
        self._counts = bool(performed)  # its messages and FLOPs: none of ours may be among them
        source, plan, training = experiment.source, experiment.plan, experiment.training
        decoder = source.to_cut(precision)
        self._hidden = decoder.spec.hidden
        rules = source.layers
        self._lossy = lossy_of(plan, rules).weights
        torch.seed()  # as in the reference
        self.parallel = parallelize(decoder, plan, build_mesh(plan.mesh), rules)
        self.watch = Watch(decoder, *performed)
        self.lift = Lift(lambda: (self.watch.layer, self.watch.sample))
        self.watch.around = source.computing(precision, self.lift)
        policy = POLICIES[training.precision]
        self.apart = policy.compute != policy.master
        self.optimizer = Optimizer(
            self.parallel.shards,
            self.parallel.applied,
            {weight.name: weight.decays for layer in rules for weight in layer.weights},
            training,
            unfused=self.parallel.displaced,
            separate_masters=self.apart,
            offload=plan.offloads,
        )
        self._rows = rows_of(plan, training.global_batch, self.parallel.mesh.coordinate("data"))
        if self.parallel.server is not None:
            self.parallel.server.start(self.optimizer)

    def learn(self, step: int, trace: Trace) -> None:
        """One step, and everything that came up in it."""
        experiment, parallel, training = self._experiment, self.parallel, self._experiment.training
        rows, targets = experiment.source.batch(step).rows(*self._rows), experiment.targets(step)
        note, keep_gradients = partial(_note, trace, step + 1), partial(self._keep_gradients, trace, step + 1)
        self._owed = {name: owed.clone() for name, owed in parallel.carried.owed.items()}
        if parallel.server is not None:
            self._take_in_turn(parallel.server, step)
        result = train_step(parallel, self.optimizer, rows, targets, training, on_gradients=keep_gradients)
        share = self._share(step)
        values = self.watch.take().items()
        note("value", {name: value * share if name.endswith("/gradient") else value for name, value in values})
        _note_numbers(trace, step + 1, replace(result, loss=self._whole_loss(result.loss)))
        if training.clip_norm > 0:
            note("gradient", {f"{name}/clipped": gradient for name, gradient in parallel.gradients.items()})

    def settle(self) -> None:
        """What portions have made of the weights is there."""
        if self.parallel.server is not None:
            self.parallel.server.settle()

    def close(self) -> None:
        """Nothing follows."""
        if self.parallel.server is not None:
            self.parallel.server.close()

    def _take_in_turn(self, server: ParameterServer, step: int) -> None:
        """Its own rows are the portion that this rank gets: ranks ask one after another, before anybody pushes."""
        for place in range(server.workers):
            if place == self.parallel.mesh.coordinate("data"):
                server.take((step + 1) * server.workers)
            dist.barrier()

    def _whole_loss(self, loss: float | None) -> float | None:
        """A portion's is its part of the step's."""
        if loss is None or self._counts or not self.parallel.plan.asynchronous:
            return loss
        parts = torch.tensor([loss], dtype=torch.float64)
        return all_reduce(parts, self.parallel.mesh.axis("data")).wait().item()

    def _keep_gradients(self, trace: Trace, step: int) -> None:
        """The summed gradients; and where not all was sent, they and what is owed for this step, put together. Of
        replicas that learn alone, each by its part of the targets; of portions all."""
        parallel, gradients, note = self.parallel, self.parallel.gradients, partial(_note, trace, step)
        if (parallel.plan.averages or parallel.plan.asynchronous) and not self._counts:
            share = self._share(step - 1)
            whole = {name: gradient * share for name, gradient in gradients.items()}
            for part in whole.values():
                all_reduce(part, parallel.mesh.axis("data")).wait()
            note("gradient", whole)
            return
        note("gradient", gradients)
        if self._lossy and not self._counts:
            late = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
            for name, owed in parallel.carried.owed.items():
                late[name] += owed - self._owed[name]
            parallel.sum_apart(late)
            note("gradient", {f"{n}{RESTORED}": gradients[n] + late[n] for n in gradients if n in self._lossy})

    def _share(self, step: int) -> float:
        """What turns this rank's gradients into those of the global mean: 1 but where replicas learn alone."""
        if not self.parallel.plan.averages:
            return 1.0
        rows = self._experiment.source.batch(step).rows(*self._rows)
        return targets_of(rows) / self._experiment.targets(step)

    def evaluate(self, step: int, trace: Trace) -> None:
        """The batch of the step once more, forward only, with the weights that the step has left."""
        loss = self.parallel.evaluate(self._experiment.source.batch(step).rows(*self._rows))
        _note(trace, step + 1, "value", {f"{name}/evaluated": value for name, value in self.watch.take().items()})
        if loss is not None and self.parallel.is_last_stage:  # both say who knows it
            trace[Entry(step + 1, "loss", "loss/evaluated")] = np.array(loss)

    def leave(self, step: int, trace: Trace) -> None:
        """What the next step will find: weights and optimizer."""
        _note(trace, step + 1, "weight", self.parallel.weights)
        if self.apart:
            masters = {f"{name}/master": master for name, master in self.optimizer.masters.items()}
            _note(trace, step + 1, "weight", masters)
        _note(trace, step + 1, "optimizer", dict(_states(self.optimizer)))

    def traced(self, tensors: Trace) -> RankTrace:
        """Tensors of this rank, with where they lie in the whole ones."""
        parallel, length = self.parallel, self._experiment.training.sequence_length
        positions = positions_held(parallel.plan, parallel.mesh.coordinate("tensor"), length)
        values = ((self._rows,), (positions,), ((0, self._hidden),))
        kept = {name: one.intervals for name, one in parallel.kept.items()}
        weights = kept if parallel.plan.sharding_level == 3 else {n: one.intervals for n, one in parallel.held.items()}
        intervals = {**weights, **{layer.name: values for layer in parallel.layers}}
        own = parallel.plan.asynchronous
        return RankTrace(tensors=tensors, intervals=intervals, kept=kept, looks=self.lift.looks, own_gradients=own)


def _note(trace: Trace, step: int, kind: EntryKind, tensors: Mapping[str, torch.Tensor]) -> None:
    trace.update({Entry(step, kind, name): tensor.detach().clone().numpy() for name, tensor in tensors.items()})


def _note_numbers(trace: Trace, step: int, result: StepResult) -> None:
    if result.loss is not None:
        trace[Entry(step, "loss", "loss")] = np.array(result.loss)
    if result.norm is not None:
        trace[Entry(step, "norm", "norm")] = np.array(result.norm)


def _states(optimizer: Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for name, state in optimizer.state.items():
        yield from ((f"{name}/{key}", value) for key, value in state.items())


@torch.no_grad()
def _begin_from(state: Trace, step: int, rank: _Rank) -> None:
    """Overwrite weights and optimizer tensors by this rank's slices of whole ones."""
    rank.parallel.settle()
    targets: dict[Entry, torch.Tensor] = {
        Entry(step, "weight", name): weight for name, weight in rank.parallel.weights.items()
    }
    if rank.apart:
        masters = rank.optimizer.masters.items()
        targets.update({Entry(step, "weight", f"{name}/master"): master for name, master in masters})
    targets.update({Entry(step, "optimizer", name): value for name, value in _states(rank.optimizer)})
    here = rank.traced({entry: target.detach().numpy() for entry, target in targets.items()})
    for entry, target in targets.items():
        target.copy_(torch.as_tensor(state[entry][np.ix_(*here.box(entry))]))
    if not rank.apart:
        rank.optimizer.adopt()
    if rank.parallel.server is not None:
        rank.parallel.server.adopt()
        dist.barrier()  # nobody pulls before all serve what is new
