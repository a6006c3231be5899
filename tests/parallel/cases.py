"""The plans that are run and measured: each axis alone, their products, and every share that does not go even.

One step of a case takes some milliseconds, so that its ranks are asked once for everything (`measured`), and the tests
look at what came back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from plait.models.sequences import Sequences
from plait.plans import rows
from plait.plans.plan import Plan
from plait.specs.grids import tidy
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

GPT2 = ModelSpec(layers=2, hidden=24, heads=6, kv_heads=6, ffn=50, vocab=67, max_positions=9)
LLAMA = replace(
    GPT2, kv_heads=2, positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False
)  # fmt: skip
TIED = replace(LLAMA, tie_embeddings=True)
SEVEN = replace(GPT2, hidden=28, heads=7, kv_heads=7)
FOUR_LAYERS = replace(GPT2, layers=4)
TRAINING = TrainingSpec(global_batch=6, sequence_length=9, warmup_steps=0)  # from the first step as in the last
UNCLIPPED = replace(TRAINING, clip_norm=0.0)
BF16, FP64 = replace(TRAINING, precision="bf16"), replace(TRAINING, precision="fp64")
UNCLIPPED_BF16 = replace(UNCLIPPED, precision="bf16")
SGD = replace(TRAINING, optimizer="sgd")

INTERLEAVED = {"schedule": "interleaved", "virtual_stages": 2, "stages": (1,) * 4, "microbatch": 1}
ZB_V = {"schedule": "zb-v", "virtual_stages": 2, "stages": (1,) * 4, "microbatch": 1}
GRID = tidy("""
0F0 0F1 0F2 0F3 0F4 0F5 3F0 3B0 3F1 3B1 3F2 3B2 3F3 3B3 3F4 3B4 3F5 3I5 0I0 0I1 0B2 0B3 0B4 0B5 3W5 0W1 0W0
1F0 1F1 1F2 1F3 1F4 1F5 2F0 2F1 2F2 2F3 2F4 2F5 2B0 2B1 2B2 2B3 2B4 2I5 1I0 1B1 1B2 1B3 1B4 1B5 2W5 1W0
""")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, how it learns, and a plan for it."""

    name: str
    model: ModelSpec
    plan: Plan
    training: TrainingSpec

    def __str__(self) -> str:
        return self.name


def plan(*, data: int = 1, tensor: int = 1, pipeline: int = 1, **more: object) -> Plan:
    """A plan for 2 layers, with equal shares, and a microbatch that 2 or 3 data ranks can have of 6 sequences."""
    chosen: dict[str, object] = {
        "data": data, "tensor": tensor, "pipeline": pipeline, "microbatch": 2 if data == 1 else 1,
        "data_shares": (1,) * data, "tensor_shares": (1,) * tensor, "stages": (2 // pipeline,) * pipeline,
    }  # fmt: skip
    return Plan(**(chosen | more))  # type: ignore[arg-type]


def case(name: str, model: ModelSpec, chosen: Plan, training: TrainingSpec = TRAINING) -> Case:
    return Case(name=name, model=model, plan=chosen, training=training)


CASES = [
    case("one rank", GPT2, plan()),
    case("dp2", GPT2, plan(data=2)),
    case("dp2, unclipped, bf16", LLAMA, plan(data=2), UNCLIPPED_BF16),
    case("dp3, many buckets, fp64", LLAMA, plan(data=3, bucket_bytes=4096), FP64),
    case("dp2, a bucket for each weight, sgd", GPT2, plan(data=2, bucket_bytes=1), SGD),
    case("tp2", GPT2, plan(tensor=2)),
    case("tp2, llama, unclipped, bf16", LLAMA, plan(tensor=2), UNCLIPPED_BF16),
    case("tp2, dropout", replace(LLAMA, dropout=0.1), plan(tensor=2)),
    case("tp2, sequence parallel", GPT2, plan(tensor=2, sequence_parallel=True)),
    case("tp2, sequence parallel, llama, fp64", LLAMA, plan(tensor=2, sequence_parallel=True), FP64),
    case("tp2, shares 2 to 1", GPT2, plan(tensor=2, tensor_shares=(2, 1), sequence_parallel=True)),
    case("tp3, 7 heads", SEVEN, plan(tensor=3)),
    case("tp3, 7 heads, sequence parallel", SEVEN, plan(tensor=3, sequence_parallel=True)),
    case("tp4, 2 kv heads", LLAMA, plan(tensor=4)),
    case("tp4, 2 kv heads, sequence parallel, bf16", LLAMA, plan(tensor=4, sequence_parallel=True), BF16),
    case("pp2, gpipe", GPT2, plan(pipeline=2, schedule="gpipe")),
    case("pp2, 1f1b, untied, fp64", LLAMA, plan(pipeline=2), FP64),
    case("pp3, uneven stages", FOUR_LAYERS, plan(pipeline=3, stages=(1, 2, 1))),
    case("pp4, 1f1b", FOUR_LAYERS, plan(pipeline=4, stages=(1,) * 4, microbatch=1)),
    case("pp2, interleaved, tied", FOUR_LAYERS, plan(pipeline=2, **INTERLEAVED)),
    case("pp2, zb-h1, fp64", LLAMA, plan(pipeline=2, schedule="zb-h1"), FP64),
    case("pp4, zb-h1, bf16", FOUR_LAYERS, plan(pipeline=4, stages=(1,) * 4, microbatch=1, schedule="zb-h1"), BF16),
    case("pp2, zb-v, tied", FOUR_LAYERS, plan(pipeline=2, **ZB_V)),
    case("pp2, a grid", FOUR_LAYERS, plan(pipeline=2, **(ZB_V | {"schedule": GRID}))),
    case("dp2 pp2, interleaved, shares, zero 3", FOUR_LAYERS, plan(data=2, pipeline=2, data_shares=(5, 1), zero=3,
                                                                  **(INTERLEAVED | {"microbatch": 2}))),
    case("dp2 pp2, zb-v, some buckets, zero 2", replace(LLAMA, layers=4), plan(data=2, pipeline=2, zero=2,
                                                                              bucket_bytes=4096, **ZB_V)),
    case("dp2 pp2, zb-h1, zero 3", TIED, plan(data=2, pipeline=2, schedule="zb-h1", zero=3)),
    case("dp2 pp2, interleaved, zero 1", FOUR_LAYERS, plan(data=2, pipeline=2, zero=1, **INTERLEAVED)),
    case("tp2 pp2, zb-v, sequence parallel", replace(TIED, layers=4), plan(tensor=2, pipeline=2,
                                                                          sequence_parallel=True, **ZB_V)),
    case("tp2 pp2, interleaved, tied", FOUR_LAYERS, plan(tensor=2, pipeline=2, **INTERLEAVED)),
    case("dp2 pp2, zb-v, int8", FOUR_LAYERS, plan(data=2, pipeline=2, compression="int8", **ZB_V)),
    case("dp2 pp2, zb-h1, local sgd", GPT2, plan(data=2, pipeline=2, schedule="zb-h1", synchronisation="local-sgd")),
    case("dp2 pp2, interleaved, served", FOUR_LAYERS, plan(data=2, pipeline=2, synchronisation="parameter-server",
                                                          **INTERLEAVED)),
    case("dp2 tp2", GPT2, plan(data=2, tensor=2)),
    case("dp2 pp2, bf16", GPT2, plan(data=2, pipeline=2), BF16),
    case("tp2 pp2, tied", GPT2, plan(tensor=2, pipeline=2)),
    case("tp2 pp2, sequence parallel", LLAMA, plan(tensor=2, pipeline=2, sequence_parallel=True)),
    case("dp2, zero 1", GPT2, plan(data=2, zero=1)),
    case("dp3, zero 2, many buckets, bf16", LLAMA, plan(data=3, zero=2, bucket_bytes=4096), BF16),
    case("dp2, zero 3", GPT2, plan(data=2, zero=3)),
    case("dp2 tp4, 2 kv heads, zero 1", LLAMA, plan(data=2, tensor=4, zero=1)),
    case("dp2 tp3, 7 heads, sequence parallel, zero 2", SEVEN, plan(data=2, tensor=3, sequence_parallel=True, zero=2)),
    case("dp2 pp2, untied, zero 3, fp64", LLAMA, plan(data=2, pipeline=2, zero=3, bucket_bytes=4096), FP64),
    case("all axes, zero 3", TIED, plan(data=2, tensor=2, pipeline=2, sequence_parallel=True, zero=3)),
    case("dp2, shares 3 to 1", GPT2, plan(data=2, data_shares=(3, 1), microbatch=2)),
    case("dp3, a smaller last one, zero 2", LLAMA, plan(data=3, data_shares=(1, 1, 2), microbatch=2, zero=2)),
    case("dp2 tp2 sp, shares, zero 3", TIED, plan(data=2, tensor=2, data_shares=(5, 1), microbatch=2, zero=3,
                                                  sequence_parallel=True)),
    case("dp2 pp2, shares, 1f1b", GPT2, plan(data=2, pipeline=2, data_shares=(1, 5), microbatch=2)),
    case("dp2 pp2, shares, gpipe, zero 3", LLAMA, plan(data=2, pipeline=2, data_shares=(5, 1), microbatch=2, zero=3,
                                                       schedule="gpipe")),
    case("dp2, int8", GPT2, plan(data=2, compression="int8")),
    case("dp3, fp16, many buckets", LLAMA, plan(data=3, compression="fp16", bucket_bytes=4096)),
    case("dp2, topk, fp64", LLAMA, plan(data=2, compression="topk:0.05"), FP64),
    case("dp2 tp2, powersgd, bf16", GPT2, plan(data=2, tensor=2, compression="powersgd:2"), BF16),
    case("dp2 tp4, 2 kv heads, int8", LLAMA, plan(data=2, tensor=4, compression="int8")),
    case("dp2, powersgd of too high a rank", GPT2, plan(data=2, compression="powersgd:64")),
    case(
        "all axes, bf16 sums", TIED,
        plan(data=2, tensor=2, pipeline=2, sequence_parallel=True, compression="bf16", bucket_bytes=4096),
    ),
    case("dp2, local sgd", GPT2, plan(data=2, synchronisation="local-sgd")),
    case("dp2, diloco, bf16", LLAMA, plan(data=2, synchronisation="diloco", bucket_bytes=4096), BF16),
    case(
        "dp2 tp4, 2 kv heads, diloco, int8", LLAMA,
        plan(data=2, tensor=4, synchronisation="diloco", compression="int8"),
    ),
    case(
        "all axes, local sgd, fp16", GPT2,
        plan(data=2, tensor=2, pipeline=2, synchronisation="local-sgd", compression="fp16"),
    ),
    case("dp2, served", GPT2, plan(data=2, synchronisation="parameter-server")),
    case(
        "dp3, served by one, many buckets, bf16", LLAMA,
        plan(data=3, synchronisation="parameter-server", servers=1, bucket_bytes=4096), BF16,
    ),
    case("dp2 tp4, 2 kv heads, served, fp64", LLAMA, plan(data=2, tensor=4, synchronisation="parameter-server"), FP64),
    case(
        "dp3 pp2, tied, served by one", GPT2,
        plan(data=3, pipeline=2, synchronisation="parameter-server", servers=1, data_shares=(2, 1, 1)),
    ),
    case(
        "all axes, served, sequence parallel", TIED,
        plan(data=2, tensor=2, pipeline=2, sequence_parallel=True, synchronisation="parameter-server"),
    ),
    case("one rank, offload", GPT2, plan(offload="optimizer")),
    case("dp2, zero 1, offload, bf16", LLAMA, plan(data=2, zero=1, offload="optimizer"), BF16),
    case("dp3, zero 2, offload, sgd", GPT2, plan(data=3, zero=2, offload="optimizer", bucket_bytes=4096), SGD),
    case("all axes, zero 3, offload, fp64", TIED,
         plan(data=2, tensor=2, pipeline=2, sequence_parallel=True, zero=3, offload="optimizer"), FP64),
    case("dp3, served by one, offload, bf16", LLAMA,
         plan(data=3, synchronisation="parameter-server", servers=1, offload="optimizer"), BF16),
    case("dp2, diloco, offload, bf16", LLAMA, plan(data=2, synchronisation="diloco", offload="optimizer"), BF16),
    case("all axes, some buckets", GPT2, plan(data=2, tensor=2, pipeline=2, bucket_bytes=16384)),
    case("all axes, sequence parallel", TIED, plan(data=2, tensor=2, pipeline=2, sequence_parallel=True)),
]  # fmt: skip


def rows_of(one: Case, data_rank: int, step: int) -> Sequences:
    """What that data rank learns from in that step: its share of random tokens that all ranks draw alike."""
    training, generator = one.training, torch.Generator().manual_seed(step)
    shape = (training.global_batch, training.sequence_length + 1)
    tokens = torch.randint(one.model.vocab, shape, generator=generator)
    whole = Sequences.of(tokens[:, :-1], tokens[:, 1:], first_sample=step * training.global_batch, step=step)
    return whole.rows(*rows.rows_of(one.plan, training.global_batch, data_rank))
