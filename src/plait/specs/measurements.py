"""What a machine was measured to do: operations and links, as `plait profile` writes them and the planner reads them.

    one rank, one thread                        between ranks
    ├── gemm           by shape and layout      ├── collectives   t = alpha0 + steps · alpha1 + bytes / bandwidth
    ├── attention      by shape                 ├── overlap       what hiding a transfer behind compute leaves
    ├── memory_bound   by kind and size         ├── contention    what ranks at work at once cost each other
    ├── optimizer      by parameters            └── speeds        of each rank, beside the first
    ├── dispatch       of one small operator
    └── blocks         by kind: of small blocks, operators and calls and all

It knows numbers and their units, not how they were taken (`devices`), where they lie (`measurement_files`), nor what
follows from them (`planner`).

All times are in seconds, sizes in bytes. Every time of an operation includes its dispatch and the allocation of its
result, as in training. A part that was not measured is empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from plait.specs.links import Count, Delay, Link, NotNegative, Overlap, Positive, Rate
from plait.specs.model import Norm
from plait.specs.training import Dtype

__all__ = [
    "BUSY_CORES",
    "LEAST_RATIO",
    "MOST_RATIO",
    "Attention",
    "Contention",
    "Corrected",
    "Correction",
    "Dispatch",
    "Gemm",
    "Host",
    "Layout",
    "Measurements",
    "MemoryBound",
    "MemoryBoundKind",
    "Optimizer",
    "Processor",
    "SmallBlock",
]

Layout = Literal["forward", "input_gradient", "weight_gradient"]
MemoryBoundKind = Literal[
    "copy",
    "add",
    "gelu",
    "relu",
    "swiglu",
    "layer_norm",
    "rms_norm",
    "rope",
    "softmax",
    "dropout",
    "embedding",
    "cross_entropy",
    "square_sum",
]


Corrected = Literal["computing", "optimizer", "links inside a host", "links between hosts"]
LEAST_RATIO, MOST_RATIO = 1 / 3, 3.0  # what differs by more is no error of a measurement
BUSY_CORES = 0.25  # of other programs, from which what was measured beside them is not to be trusted


class Processor(NamedTuple):
    """A processor by its model's name, and how many of its cores a process may use."""

    name: str
    cores: int


@dataclass(frozen=True, kw_only=True)
class Host:
    """The machine and when it was measured: `cores` that this process may use, `device` as torch names it (cpu, cuda).

    `busy_cores`: cores that other programs kept busy just before; a profile of a busy machine is noise. `rank_bytes`:
    of the memory, what a rank takes before it holds any tensor: interpreter and libraries, or a device's context.
    `host_memory_bytes`: of an accelerator's host, where `memory_bytes` are the device's own; 0: not known.
    """

    processor: str
    cores: Count
    memory_bytes: Count
    device: str = "cpu"
    torch: str = ""
    date: str = ""
    busy_cores: NotNegative = 0.0
    rank_bytes: Annotated[int, Field(ge=0)] = 0
    host_memory_bytes: Annotated[int, Field(ge=0)] = 0

    @property
    def on(self) -> Processor:
        """What was profiled."""
        return Processor(self.processor, self.cores)

    @property
    def was_busy(self) -> bool:
        """Whether other programs were at work when it was profiled."""
        return self.busy_cores > BUSY_CORES

    @property
    def busy_share(self) -> float:
        """The part of its cores that other programs kept busy when it was profiled; 0 where they were not at work."""
        return min(1.0, self.busy_cores / self.cores) if self.was_busy else 0.0


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """A product of (m, k) by (k, n): 2·m·n·k operations. For x of (tokens, inner) and a weight of (outer, inner):

    forward          y = x · Wᵀ       m = tokens, n = outer, k = inner
    input_gradient   dx = dy · W      m = tokens, n = inner, k = outer
    weight_gradient  dW = dyᵀ · x     m = outer,  n = inner, k = tokens
    """

    m: Count
    n: Count
    k: Count
    dtype: Dtype
    flops_per_second: Rate
    layout: Layout = "forward"


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Causal attention of q, k, v of (batch, heads, seq, head_dim) each."""

    batch: Count
    heads: Count
    seq: Count
    head_dim: Count
    dtype: Dtype
    forward_seconds: Positive
    backward_seconds: Positive


@dataclass(frozen=True, kw_only=True)
class MemoryBound:
    """Work that moves memory rather than multiplies, over `elements` in rows of `width`; backward 0 where it has none.

    `elements` counts the input's: hidden features of a norm, logits of a loss; of an embedding the result's.
    """

    kind: MemoryBoundKind
    elements: Count
    width: Count
    dtype: Dtype
    forward_seconds: Positive
    backward_seconds: Delay


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One step over `parameters` elements in `tensors` tensors, state and weights in fp32."""

    name: Literal["adamw", "sgd"]
    tensors: Count
    parameters: Count
    seconds: Positive


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """What one operator on a few elements costs: without a graph, recorded in one, and its share of backward."""

    plain: Delay = 0.0
    forward: Delay = 0.0
    backward: Delay = 0.0


@dataclass(frozen=True, kw_only=True)
class SmallBlock:
    """One of the `layers.small_blocks` with this norm."""

    norm: Norm
    forward_seconds: Positive
    backward_seconds: Positive


@dataclass(frozen=True, kw_only=True)
class Contention:
    """How many times longer one rank's work takes while `ranks` of them do the same: 1 is "lose nothing". `gemm`: of
    products; `cached`: of element-wise work that finds its operands in some cache; `memory`: of what finds them in
    none."""

    ranks: Count = 1
    gemm: Positive = 1.0
    memory: Positive = 1.0
    cached: Positive = 1.0


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How many times longer than these measurements say something took in runs: a step's computing, its update, or
    messages. `source`: which runs, `date`: of them. `asked_for`: whatever its ratio (`--cut`)."""

    what: Corrected
    ratio: Annotated[float, Field(ge=LEAST_RATIO, le=MOST_RATIO)]
    source: str
    date: str = ""
    asked_for: bool = False

    @property
    def cut(self) -> bool:
        """Whether it stands at a bound, and what was measured lies there or beyond."""
        return not LEAST_RATIO < self.ratio < MOST_RATIO

    @property
    def believed(self) -> bool:
        """Whether predictions are to contain it: not what was cut, which files of before hold unasked."""
        return self.asked_for or not self.cut


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """What one machine was measured to do. `memory_bandwidth`: bytes read and written a second by one rank that
    copies; `memory_bandwidth_all`: the sum over all cores at once, 0 if not measured. `seconds`: what it took.
    Of several hosts that were measured together `host` is the first, and links say on how many they were timed.

    `speeds`: how fast each rank multiplies while all do, beside the rank whose operations these are: 1 is as fast.
    `corrections`: what runs said of all this since, kept apart from it; none of a new profile."""

    gemm: Annotated[tuple[Gemm, ...], Field(min_length=1)]
    memory_bandwidth: Rate
    collectives: tuple[Link, ...] = ()
    host: Host | None = None
    memory_bandwidth_all: NotNegative = 0.0
    attention: tuple[Attention, ...] = ()
    memory_bound: tuple[MemoryBound, ...] = ()
    optimizer: tuple[Optimizer, ...] = ()
    dispatch: Dispatch = field(default_factory=Dispatch)
    blocks: tuple[SmallBlock, ...] = ()
    contention: Contention = field(default_factory=Contention)
    overlap: tuple[Overlap, ...] = ()
    speeds: tuple[Positive, ...] = ()
    seconds: NotNegative = 0.0
    corrections: tuple[Correction, ...] = ()

    def correction(self, what: Corrected) -> float:
        """The ratio by which to multiply what is predicted from these; 1 where no run has said anything believable."""
        return next((one.ratio for one in self.corrections if one.what == what and one.believed), 1.0)
