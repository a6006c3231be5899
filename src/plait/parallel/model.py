"""A model as one rank of a plan runs it: its stages, its slices of the weights, their gradients, and the schedule.

forward_backward   the schedule's actions over this rank's microbatches; data buckets leave while backward runs
sum_gradients      the sums that are left (`gradients`)
clip_gradients     by the one global norm
renew_weights      after an update, to those who have only received it
server             where a step falls into portions: it gives them out, and updates (`parameter_server`)
evaluate           the loss alone, forward only
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import torch

from plait.collectives.functional import all_reduce
from plait.collectives.process_groups import Mesh
from plait.collectives.recorder import record
from plait.devices.device import Device, device_of
from plait.errors import IllegalJob
from plait.layers.layer import Layer
from plait.models.sequences import Sequences
from plait.parallel.carried import Carried
from plait.parallel.compressed_gradients import CompressedGradients
from plait.parallel.data_parallel import piece_of
from plait.parallel.gradients import clip, global_norm, perform_reductions
from plait.parallel.local_sgd import Averaging, LocalGradients, targets_of
from plait.parallel.model_parts import Place
from plait.parallel.pipeline_executor import PipelineExecutor
from plait.parallel.pipeline_stage import DecoderStage
from plait.parallel.weight_gradients import WeightGradients
from plait.plans.holdings import Held, rank_layers
from plait.plans.keeping import displaced, kept
from plait.plans.legality import batch_problems
from plait.plans.meetings import Pace
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND, norm_axes
from plait.schedules.action import Action
from plait.schedules.checked import evaluation_schedule, training_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import Timed

__all__ = ["ParallelModel"]


class ParallelModel:
    """One rank's part of a model; `stages` are its own by number, around one `decoder`. All goes by global names.

    `held`: what its computations use of each weight. `kept`: what it updates, and has the summed gradient of. The two
    differ under ZeRO (`plans.keeping`). `shards` and `gradients` are the tensors of what is kept; `server` is there
    where a server applies portions as they come: then `gradients` are a portion's, of all that is held, and it has the
    gradients that the `shards` are updated from, as `applied`.
    """

    def __init__(
        self,
        *,
        stages: Mapping[int, DecoderStage],
        plan: Plan,
        mesh: Mesh,
        layers: Sequence[Layer],
        held: Mapping[str, Held],
        weights: dict[str, torch.nn.Parameter],
        waiting: WeightGradients,
        values: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """`weights`: the rank's own, each as long as what is held of it. `waiting`: the gradients that its backward
        leaves to be made. `values`: what is kept of each weight, where only that was drawn."""
        self.plan, self.mesh, self.layers, self.held = plan, mesh, layers, held
        self.kept = {name: kept(one, plan, mesh.coordinate("data")) for name, one in held.items()}
        self.stages, self.decoder = stages, next(iter(stages.values())).decoder
        self.device: Device = device_of(next(iter(weights.values())))
        place = Place(plan=plan, mesh=mesh, layers=layers, held=held, weights=weights, waiting=waiting)
        compressed = place.compressed_sums()
        self._weights, self._sharing = place.shared_out(self.decoder, values or {}, compressed)
        self.shards = {name: _parameter(piece) for name, piece in self._weights.kept.items()}
        self.gradients = self.applied = self._sharing.kept
        self.server = place.parameter_server(self.gradients)
        if self.server is not None:
            self.shards, self.applied = dict(self.server.shards), self.server.shard_gradients
        self._sums, self._answers_for = place.later_sums(), place.answers_for
        self._owned = self._owned_views()
        self._averaging: Averaging | None = None
        if isinstance(self._sharing, LocalGradients):
            shared = (self._sharing, self.shards, mesh.axis("data"), compressed, self._sums)
            self._averaging = Averaging(plan, *shared)
        self.carried = Carried(
            plan=plan,
            buckets=place.buckets,
            compressed=compressed,
            averaging=self._averaging,
            gradients=self.gradients,
            kept=self.kept,
            later=self._sums,
            answers_for=place.answers_for,
        )
        self.blocked_seconds: Mapping[str, float] = {}  # by axis, while the last schedule ran
        self.beginning_seconds = 0.0  # of the last step: until its gradients were zero
        self._legal: set[int] = set()  # lengths of sequences that were found to be so
        self._waiting = waiting
        names = {id(weight): name for name, weight in weights.items()}
        waiting.made = lambda weight: self._sharing.collect(names[id(weight)], weight)
        self._turns = {stage: turn for turn, stage in enumerate(stages)}
        readers = _readers(rank_layers(layers, plan, mesh.coordinate("pipeline")))
        self._read_by = {name: readers[name] for name in held}
        self._unfinished: dict[str, int] = {}  # by weight, the stages whose last backward is still to come
        around = (self._before_backward, self._after_backward, self._absent)
        self._executor = PipelineExecutor(stages, mesh.axis("pipeline"), *around, apart=waiting)

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """What this rank has of each weight between steps: as much as is held, or kept under ZeRO 3. Every rank asks:
        new ones may still have to come."""
        return self._weights.there

    @property
    def is_last_stage(self) -> bool:
        """Whether this rank knows the loss."""
        return self.mesh.coordinate("pipeline") == self.plan.last_place

    @property
    def timeline(self) -> list[Timed]:
        """When each action of the last schedule ran; on an accelerator, when it was queued."""
        return self._executor.timeline

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that this rank has between steps."""
        served = self.server.weight_bytes if self.server is not None else 0
        return served + sum(weight.nbytes for weight in self.weights.values())

    @property
    def gradient_bytes(self) -> int:
        """Bytes of the gradients that this rank has through a step."""
        return self._sharing.nbytes + (self.server.gradient_bytes if self.server is not None else 0)

    @property
    def displaced(self) -> frozenset[str]:
        """The weights of which tensor ranks hold some elements in common, each in another place of its slice."""
        return frozenset(name for name, held in self.held.items() if displaced(held, self.plan))

    def forward_backward(self, rows: Sequences, target_count: int, pace: Pace = "meets") -> float | None:
        """Gradients of `rows`, this data rank's share of a global batch with `target_count` targets in all.

        Data ranks may have different numbers of rows, none included, and a last microbatch may be smaller. Returns the
        mean loss of the global batch on the ranks of the last stage, None elsewhere; where `rows` are a portion, its
        part of that.
        """
        self.require_legal(rows)
        microbatches = self._microbatches(rows)
        beginning = perf_counter()
        dense = self._begin(pace)
        self.beginning_seconds = perf_counter() - beginning
        self._train(True)
        rounds = self._rounds(len(microbatches))
        schedule = self._scheduled(training_schedule, rounds)
        counted = target_count
        if self._averaging is not None and not dense:
            counted = max(1, own := targets_of(rows))  # where there are none, there is nothing to divide
            self._averaging.learns_from(own, target_count)
        total = self._run(schedule, microbatches, 1.0 / counted)
        if schedule is None:  # zeros, in the place where others sum what their backward has made
            for turn in self._turns.values():
                self._sharing.before_backward(turn=turn, last=list(self.held))
                self._sharing.after_backward()
        if total is None:
            return None
        return (total.item() if self.plan.asynchronous else self._over_data(total)) / target_count

    def average(self, masters: Mapping[str, torch.Tensor], pace: Pace) -> bool:
        """After an update of `masters` where replicas learn alone: bring them together, in place, as the pace of the
        step asks (`plans.meetings`). Returns whether the masters were written."""
        return self._averaging is not None and self._averaging.attend(masters, pace)

    def require_legal(self, rows: Sequences) -> None:
        """Raises IllegalJob, with what `plait check` says, where the sequences are too long or too short: no rank has
        sent anything then."""
        length = rows.positions.shape[-1]
        if length not in self._legal:
            if wrong := batch_problems(self.decoder.spec, self.plan, None, length):
                raise IllegalJob(wrong)
            self._legal.add(length)

    def evaluate(self, rows: Sequences) -> float | None:
        """The sum of the losses of all data ranks' `rows` on the ranks of the last stage, None elsewhere."""
        microbatches = self._microbatches(rows)
        self._train(False)
        with torch.no_grad():
            rounds = self._rounds(len(microbatches))
            schedule = self._scheduled(evaluation_schedule, rounds)
            total = self._run(schedule, microbatches, 1.0)
        return None if total is None else self._over_data(total)

    def sum_gradients(self) -> None:
        """Complete every sum over ranks: afterwards `gradients` are the global batch's."""
        self._sharing.finish()
        perform_reductions(self.gradients, self._sums)

    def sum_apart(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Do to one tensor for each gradient what `sum_gradients` does where nothing is compressed, in place."""
        for tensor in tensors.values():
            all_reduce(tensor, self.mesh.axis("data")).wait()
        perform_reductions(tensors, self._sums)

    def clip_gradients(self, limit: float) -> float:
        """Scale the gradients to a global norm of at most `limit`; returns the norm before. A portion's are an estimate
        of the whole step's once they are as many times larger as there are portions."""
        portions = self.plan.workers if self.plan.asynchronous else 1
        norm = global_norm(self._owned, self.mesh, norm_axes(self.plan))
        clip(self._sharing.summed, norm, limit / portions)
        return norm * portions

    def renew_weights(self) -> None:
        """After an update of `shards`: all ranks are to compute with it. Every rank calls it."""
        self._weights.renew()

    def settle(self) -> None:
        """Return when nobody reads this rank's `shards`: before they are written outside of a step. Every rank calls
        it."""
        self._weights.settle()

    def _begin(self, pace: Pace) -> bool:
        """Begin a step from zero gradients; whether these are summed whole, though the plan's are not."""
        dense = pace == "dense"
        if isinstance(self._sharing, CompressedGradients | LocalGradients):
            self._sharing.dense = dense
        self._sharing.begin()
        self._unfinished = {name: len(readers) for name, readers in self._read_by.items()}
        return dense

    def _rounds(self, microbatches: int) -> int:
        """How many microbatches are gone through: this rank's own; where data ranks meet at each of them, as under ZeRO
        2 and 3, as many as the one with the most has."""
        if self.plan.sharding_level < MET_EACH_ROUND:
            return microbatches
        count = torch.tensor([microbatches], dtype=torch.float64, device=self.device.torch)
        return int(all_reduce(count, self.mesh.axis("data"), "max").wait().item())

    def _train(self, learning: bool) -> None:
        for stage in self.stages.values():
            stage.train(learning)

    def _scheduled(self, build: Callable[[str, int, int, int], Schedule], rounds: int) -> Schedule | None:
        plan = self.plan
        return build(plan.schedule, plan.pipeline, rounds, plan.virtual_stages) if rounds else None

    def _before_backward(self, action: Action, *, last: bool) -> None:
        """A weight has its last gradient with the last backward of all stages that read it."""
        turn = self._turns[action.stage]
        over: list[str] = []
        for name in (name for name, readers in self._read_by.items() if last and turn in readers):
            self._unfinished[name] -= 1
            if not self._unfinished[name]:
                over.append(name)
        self._sharing.before_backward(turn=turn, last=over)

    def _after_backward(self, action: Action) -> None:
        self._waiting.make()
        self._sharing.after_backward()

    def _absent(self, action: Action) -> None:
        self._weights.absent(self._turns[action.stage], action.kind)

    def _run(
        self, schedule: Schedule | None, microbatches: Sequence[Sequences], loss_scale: float
    ) -> torch.Tensor | None:
        program = () if schedule is None else schedule.programs[self.mesh.coordinate("pipeline")]
        self._weights.begin([(self._turns[action.stage], action.kind) for step in program for action in step])
        with record() as recorder:
            total = self._executor.run(schedule, microbatches, loss_scale)
        self.blocked_seconds = recorder.blocked_seconds
        self._weights.end()
        return torch.zeros(1, device=self.device.torch) if total is None and self.is_last_stage else total

    def _microbatches(self, rows: Sequences) -> list[Sequences]:
        count = len(rows.samples)
        return [rows.rows(start, start + self.plan.microbatch) for start in range(0, count, self.plan.microbatch)]

    def _over_data(self, total: torch.Tensor) -> float:
        return all_reduce(total.double().reshape(1), self.mesh.axis("data")).wait().item()

    def _owned_views(self) -> list[torch.Tensor]:
        here = self.held if self.plan.asynchronous else self.kept
        return [piece_of(self.gradients, piece) for one in here.values() for piece in self._answers_for(one)]


def _readers(stages: Sequence[Sequence[Layer]]) -> dict[str, frozenset[int]]:
    """By weight, which of these stages read it."""
    reading: dict[str, set[int]] = {}
    for turn, stage in enumerate(stages):
        for weight in (weight for layer in stage for weight in layer.weights):
            reading.setdefault(weight.name, set()).add(turn)
    return {name: frozenset(turns) for name, turns in reading.items()}


def _parameter(piece: torch.Tensor) -> torch.nn.Parameter:
    return piece if isinstance(piece, torch.nn.Parameter) else torch.nn.Parameter(piece)
