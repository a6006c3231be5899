"""The zoo: every planted defect, where it is planted, and what `verify` has to say of it.

    python benchmarks/zoo.py            plants all of them; prints docs/defects.md's table, losses beside verdicts

A case names the tensor and the axis that are to be found, `{n}` standing for the number of the block in which it is
planted. `seen` are the relative differences of the float32 losses after one and after two steps of training: all that a
comparison of losses has to go by. Tests plant the same cases (tests/defects/test_zoo.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from plait.defects import DEFECTS, plant
from plait.launchers import RankPools
from plait.planner.work import work_of_ranks
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.report import Verification
from plait.verification.verify import RunOnRanks, verify_plan

__all__ = ["CASES", "Case", "Placement", "placements", "prove"]

GPT2 = ModelSpec(layers=3, hidden=12, heads=3, kv_heads=3, ffn=18, vocab=31, max_positions=9)
LLAMA = replace(
    GPT2, heads=6, kv_heads=2, hidden=24, positions="rope", norm="rms", activation="swiglu", bias=False,
    tie_embeddings=False,
)  # fmt: skip
FIVE = replace(LLAMA, layers=5)
DROPS = replace(GPT2, dropout=0.2)
DISPLACED = replace(LLAMA, heads=8, kv_heads=4, bias=True, hidden=48)  # odd ends
TRAINING = TrainingSpec(global_batch=8, sequence_length=9)
LARGE_STEPS = replace(TRAINING, learning_rate=0.1, warmup_steps=0, weight_decay=1.0)
RAGGED = replace(TRAINING, global_batch=11)
BF16 = replace(TRAINING, precision="bf16")

DP2 = Plan(data=2, data_shares=(1, 1), stages=(3,), microbatch=2, bucket_bytes=4096)
TP2 = Plan(tensor=2, tensor_shares=(1, 1), stages=(3,), microbatch=4)
SP2 = replace(TP2, sequence_parallel=True)
TP4 = replace(TP2, tensor=4, tensor_shares=(2, 1.5, 1, 1.5))
PP2 = Plan(pipeline=2, stages=(2, 1), microbatch=2)
DP2_TP2 = replace(TP2, data=2, data_shares=(1, 1), microbatch=2)
DP2_SP2 = replace(DP2_TP2, sequence_parallel=True)
ZERO1, ZERO2, ZERO3 = (replace(DP2, zero=level) for level in (1, 2, 3))
ZERO1_TP2 = replace(DP2_TP2, zero=1)
SERVED = replace(DP2, synchronisation="parameter-server")
SERVED_TP2 = replace(DP2_TP2, synchronisation="parameter-server")
SERVED_ALONE = replace(DP2_TP2, data=3, data_shares=(1,) * 3, synchronisation="parameter-server", servers=1)
ZERO3_TP2 = replace(DP2_TP2, zero=3, bucket_bytes=4096)
UNEVEN = replace(DP2, data_shares=(2, 3))  # of 11 rows 4 and 7: two microbatches, and four, the last one smaller
UNEVEN_TP2 = replace(DP2_TP2, data_shares=(2, 3))
DP2_PP2 = replace(PP2, data=2, data_shares=(1, 1))
INTERLEAVED = replace(PP2, schedule="interleaved", virtual_stages=2, stages=(1, 1, 1, 2))
ZB_V = replace(INTERLEAVED, schedule="zb-v")
TP2_PP2 = replace(TP2, pipeline=2, stages=(2, 1), microbatch=2)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A defect in a job, and what is to be found: `tensor`, or one of the `others` where a processor's rounding decides
    which departs first. `blocks`: those of which one is drawn to plant it in, none: it is planted in all layers;
    `steps`: the steps of which one is drawn (None: in all)."""

    defect: str
    model: ModelSpec
    plan: Plan
    tensor: str
    axis: str | None
    training: TrainingSpec = TRAINING
    along: str | None = None
    blocks: tuple[int, ...] = ()
    steps: tuple[int | None, ...] = (None, 1, 2)
    first_step: int = 1
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = [self.along] if self.along else []
        more += [self.plan.schedule] if len(self.plan.stages) > self.plan.pipeline else []
        more += ["uneven"] if len(set(self.plan.data_shares)) > 1 else []
        more += [f"ZeRO {self.plan.zero}"] if self.plan.zero else []
        more += ["a server alone" if self.plan.servers else "served"] if self.plan.served else []
        return f"{self.defect} ({', '.join(more)})" if more else self.defect


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A case with its block and its step drawn."""

    case: Case
    block: int | None
    step: int | None

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors of which one is to be named."""
        return tuple(one.format(n=self.block) for one in (self.case.tensor, *self.case.others))

    @property
    def first_step(self) -> int:
        """The first step in which anything is wrong."""
        return max(self.case.first_step, self.step or 1)


ALL = (0, 1, 2)
ALWAYS: tuple[int | None, ...] = (None,)


def _uneven(level: int) -> Iterator[Case]:
    """What goes wrong where replicas have neither all states nor as many rows as each other."""
    cases: tuple[tuple[str, ModelSpec, Plan, str, str], ...] = (
        ("norm-counts-replicas", GPT2, UNEVEN_TP2, "norm", "tensor"),
        ("clip-before-reduction", GPT2, UNEVEN, "transformer.ln_f.bias", "data"),
        ("mean-of-means", LLAMA, UNEVEN, "lm_head.weight", "data"),
        ("last-slice-not-updated", LLAMA, UNEVEN, "model.embed_tokens.weight", "data"),
        ("ragged-batch-dropped", GPT2, UNEVEN, "embedding", "data"),
    )
    for defect, model, plan, tensor, axis in cases:
        yield Case(
            defect=defect,
            model=model,
            plan=replace(plan, zero=level),
            training=RAGGED,
            tensor=tensor,
            axis=axis,
            steps=ALWAYS if defect == "norm-counts-replicas" else (None, 1, 2),
        )


CASES = (
    Case(defect="norm-gradient-partial", model=LLAMA, plan=DP2_SP2, blocks=ALL,
         tensor="model.layers.{n}.post_attention_layernorm.weight", axis="tensor"),
    Case(defect="microbatch-gradients-wiped", model=LLAMA, plan=PP2, blocks=ALL,
         tensor="model.layers.{n}.mlp.down_proj.weight", axis="pipeline"),
    Case(defect="stage-divided-twice", model=LLAMA, plan=PP2, blocks=(0, 1),
         tensor="model.layers.1.mlp.down_proj.weight", axis="pipeline"),
    Case(defect="layers-dropped", model=LLAMA, plan=PP2, steps=ALWAYS, tensor="block 1", axis="pipeline"),
    Case(defect="vocabulary-padding-in-softmax", model=GPT2, plan=DP2_TP2, tensor="loss", axis="tensor"),
    Case(defect="tied-gradient-not-summed", model=GPT2, plan=DP2_PP2, tensor="transformer.wte.weight", axis="pipeline"),
    Case(defect="norm-counts-replicas", model=GPT2, plan=DP2_TP2, steps=ALWAYS, tensor="norm", axis="tensor"),
    Case(defect="clip-before-reduction", model=GPT2, plan=DP2, tensor="transformer.ln_f.bias", axis="data"),
    Case(defect="divided-by-local-tokens", model=GPT2, plan=DP2_TP2, tensor="transformer.ln_f.bias", axis="data"),
    Case(defect="ragged-batch-dropped", model=LLAMA, plan=UNEVEN, training=RAGGED, tensor="embedding", axis="data"),
    Case(defect="mean-of-means", model=LLAMA, plan=DP2_PP2, tensor="lm_head.weight", axis="data"),
    Case(defect="row-bias-on-every-rank", model=GPT2, plan=DP2_TP2, blocks=ALL, steps=ALWAYS,
         tensor="block {n}/evaluated", axis="tensor"),
    Case(defect="stale-activation", model=LLAMA, plan=DP2_PP2, tensor="block 2", axis="pipeline"),
    Case(defect="stale-activation", model=FIVE, plan=INTERLEAVED, tensor="block 1", axis="pipeline"),
    Case(defect="stale-activation", model=FIVE, plan=ZB_V, tensor="block 1", axis="pipeline"),
    Case(defect="dropout-same-on-replicas", model=DROPS, plan=DP2, tensor="embedding", axis="data"),
    Case(defect="dropout-differs-on-copies", model=DROPS, plan=DP2_TP2, blocks=ALL, tensor="block {n}", axis="tensor"),
    Case(defect="arriving-gradient-scaled", model=LLAMA, plan=PP2, tensor="block 1/gradient", axis="pipeline"),
    Case(defect="input-gradient-partial", model=LLAMA, plan=DP2_TP2, blocks=ALL,
         tensor="model.layers.{n}.post_attention_layernorm.weight", axis="tensor"),
    Case(defect="kv-copies-partial", model=replace(LLAMA, kv_heads=1), plan=DP2_TP2, blocks=ALL,
         tensor="model.layers.{n}.self_attn.v_proj.weight", axis="tensor"),
    Case(defect="bucket-not-reduced", model=GPT2, plan=DP2, tensor="transformer.ln_f.bias", axis="data"),
    Case(defect="gradients-swapped", model=LLAMA, plan=DP2, blocks=(1, 2), axis="data",
         tensor="model.layers.{n}.input_layernorm.weight"),
    Case(defect="narrow-wire", model=LLAMA, plan=DP2, tensor="lm_head.weight", axis="data"),
    Case(defect="bfloat16-wire", model=LLAMA, plan=DP2, tensor="lm_head.weight", axis="data"),
    Case(defect="norm-counts-tied-twice", model=GPT2, plan=DP2_PP2, steps=ALWAYS, tensor="norm", axis="pipeline"),
    Case(defect="norm-of-own-part", model=GPT2, plan=TP2_PP2, along="pipeline", tensor="norm", axis="pipeline"),
    Case(defect="norm-of-own-part", model=GPT2, plan=TP2_PP2, along="tensor", tensor="norm", axis="tensor"),
    Case(defect="replica-drifts", model=LLAMA, plan=DP2_TP2, along="data",
         tensor="model.embed_tokens.weight", axis="data"),
    Case(defect="replica-drifts", model=LLAMA, plan=DP2_TP2, along="tensor",
         tensor="model.layers.0.input_layernorm.weight", axis="tensor"),
    Case(defect="momentum-lost", model=GPT2, plan=DP2_TP2, along="data", blocks=ALL, steps=ALWAYS, first_step=2,
         tensor="transformer.h.{n}.ln_1.weight/exp_avg", axis="data"),
    Case(defect="momentum-lost", model=LLAMA, plan=TP2_PP2, along="tensor", blocks=ALL, steps=ALWAYS, first_step=2,
         tensor="model.layers.{n}.input_layernorm.weight/exp_avg", axis="tensor"),
    Case(defect="dropout-step-stuck", model=DROPS, plan=DP2_PP2, along="pipeline", steps=ALWAYS, first_step=2,
         tensor="embedding", axis="pipeline"),
    Case(defect="late-learning-rate", model=LLAMA, plan=DP2_PP2, steps=ALWAYS, first_step=2,
         tensor="model.layers.2.input_layernorm.weight", axis="pipeline"),
    Case(defect="norms-decay", model=LLAMA, plan=DP2, steps=ALWAYS,
         tensor="model.layers.0.input_layernorm.weight", axis=None),
    Case(defect="masters-not-copied", model=LLAMA, plan=DP2, training=BF16,
         tensor="model.embed_tokens.weight", axis=None),
    Case(defect="offloaded-weight-left-behind", model=GPT2, plan=replace(ZERO1, offload="optimizer"),
         tensor="transformer.ln_f.bias", axis=None),
    Case(defect="widened-overwrites", model=LLAMA, plan=DP2, training=BF16, tensor="lm_head.weight", axis=None),
    Case(defect="evaluation-moves-weights", model=LLAMA, plan=DP2, tensor="model.embed_tokens.weight", axis=None),
    Case(defect="displaced-copies-fused", model=DISPLACED, plan=TP4, training=LARGE_STEPS, blocks=ALL,
         steps=ALWAYS, first_step=2,
         tensor="model.layers.{n}.self_attn.k_proj.bias/exp_avg_sq", axis="tensor",
         others=("model.layers.{n}.self_attn.v_proj.bias/exp_avg_sq",)),
    Case(defect="last-slice-not-updated", model=LLAMA, plan=ZERO1, axis="data",
         tensor="model.embed_tokens.weight"),
    Case(defect="last-slice-not-updated", model=LLAMA, plan=ZERO3_TP2, axis="data",
         tensor="model.embed_tokens.weight"),
    Case(defect="new-weights-not-spread", model=GPT2, plan=ZERO1, tensor="transformer.wte.weight", axis="data"),
    Case(defect="pieces-not-added", model=GPT2, plan=ZERO2, tensor="transformer.ln_f.bias", axis="data"),
    Case(defect="pieces-not-summed", model=GPT2, plan=ZERO1, tensor="transformer.ln_f.bias", axis="data"),
    Case(defect="fetched-too-early", model=LLAMA, plan=ZERO3, steps=(None, 2), first_step=2,
         tensor="embedding", axis="data"),
    Case(defect="clip-before-reduction", model=GPT2, plan=ZERO1, tensor="transformer.ln_f.bias", axis="data"),
    Case(defect="mean-of-means", model=LLAMA, plan=ZERO2, tensor="lm_head.weight", axis="data"),
    Case(defect="norm-counts-replicas", model=GPT2, plan=ZERO1_TP2, steps=ALWAYS, tensor="norm", axis="tensor"),
    Case(defect="norm-of-own-part", model=GPT2, plan=ZERO1_TP2, along="data", tensor="norm", axis="data"),
    Case(defect="clip-before-reduction", model=GPT2, plan=SERVED, tensor="transformer.ln_f.bias", axis="data"),
    Case(defect="mean-of-means", model=LLAMA, plan=SERVED, tensor="lm_head.weight", axis="data"),
    Case(defect="norm-counts-replicas", model=GPT2, plan=SERVED_TP2, steps=ALWAYS, tensor="norm", axis="tensor"),
    Case(defect="norm-counts-replicas", model=GPT2, plan=SERVED_ALONE, steps=ALWAYS, tensor="norm", axis="tensor"),
    Case(defect="norm-of-own-part", model=GPT2, plan=SERVED_TP2, along="data", tensor="norm", axis="data"),
    Case(defect="last-slice-not-updated", model=LLAMA, plan=SERVED, axis="data", tensor="model.embed_tokens.weight"),
    Case(defect="ragged-batch-dropped", model=GPT2, plan=replace(UNEVEN, synchronisation="parameter-server"),
         training=RAGGED, tensor="embedding", axis="data"),
    Case(defect="work-done-twice", model=GPT2, plan=DP2_TP2, blocks=ALL, steps=(None, 1),
         tensor="forward FLOPs of block {n}", axis="tensor"),
    Case(defect="sum-taken-twice", model=GPT2, plan=DP2, steps=(None, 1),
         tensor="all_reduce of 1,488 bytes", axis="data"),
    *(case for level in (1, 2, 3) for case in _uneven(level)),
)  # fmt: skip


def placements(seed: int) -> list[Placement]:
    """Each case with a block and a step drawn from `seed`."""
    return [_placed(case, Random(f"{seed} {case}")) for case in CASES]


def _placed(case: Case, random: Random) -> Placement:
    block = random.choice(case.blocks) if case.blocks else None
    return Placement(case=case, block=block, step=random.choice(case.steps))


def prove(placement: Placement, run: RunOnRanks) -> Verification:
    """`verify`, with the defect planted."""
    case = placement.case
    layer = None if placement.block is None else f"block {placement.block}"
    with plant(case.defect, layer=layer, axis=case.along, step=placement.step):
        return verify_plan(Job(model=case.model, training=case.training), case.plan, run=run, work_of=work_of_ranks)


def main() -> None:
    """Plant all, and print a row of the docs' table for each, and the counts."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    rows, caught, seen = [], 0, 0
    with RankPools() as pools:
        for placement in placements(seed=0):
            found = prove(placement, pools.run)
            apart = [abs(many - one) / one for one, many in found.losses]
            caught += _right(placement, found)
            seen += float(f"{max(apart):.0e}") >= 1e-3  # as the page has it
            rows.append(" | ".join(_cells(placement, found, apart)))
    print("| defect | seen in | what it does | losses after 1 and 2 steps | verify names | its axis |")
    print("|---|---|---|---|---|---|")
    print("\n".join(f"| {row} |" for row in rows))
    print(f"\ncaught with tensor and axis: {caught} / {len(rows)}; losses apart by 0.1 % or more: {seen} / {len(rows)}")


def _right(placement: Placement, found: Verification) -> bool:
    culprit = found.culprit
    named = culprit is not None and culprit.tensor in placement.tensors and culprit.axis == placement.case.axis
    return found.verdict == "BUG" and named


def _cells(placement: Placement, found: Verification, apart: list[float]) -> Iterator[str]:
    kind, culprit = DEFECTS[placement.case.defect], found.culprit
    where = "" if placement.block is None else f", in block {placement.block}"
    when = "" if placement.step is None else f", in step {placement.step}"
    yield f"`{placement.case}`{where}{when}"
    yield kind.issue
    yield " ".join((kind.__doc__ or "").split())
    yield ", ".join(f"{difference:.0e}" for difference in apart)
    yield "nothing" if culprit is None else f"`{culprit.tensor}`"
    yield "none" if culprit is None or culprit.axis is None else culprit.axis


if __name__ == "__main__":
    main()
