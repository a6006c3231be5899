"""Good jobs, and uneven ones before all: most are such as other frameworks refused or met badly.

Each stands for numbers from a public issue, where one is named; `cautioned` are the keys that `check` warns of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.check.published import Table, job

__all__ = ["GOOD", "Good"]


@dataclass(frozen=True, kw_only=True)
class Good:
    """`name`: an issue, or what is special about it."""

    name: str
    table: Table
    cautioned: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name


def _good(name: str, table: Table, cautioned: str = "") -> Good:
    return Good(name=name, table=table, cautioned=frozenset(cautioned.split()))


def _llama(layers: int, hidden: int, heads: int, kv_heads: int, **more: Any) -> Table:
    return {"layers": layers, "hidden": hidden, "heads": heads, "kv_heads": kv_heads, "positions": "rope",
            "norm": "rms", "activation": "swiglu", "bias": False, "tie_embeddings": False, **more}  # fmt: skip


def _tensor(*shares: float, **more: Any) -> Table:
    return {"tensor": len(shares), "tensor_shares": list(shares), **more}


_SPARE = "model.vocab"  # bytes alone never fill a published vocabulary

GOOD = [
    # heads that the ranks don't divide
    _good("vllm-project/vllm#596: 40 heads on 3", job((2, 160, 40), plan={"tensor": 3})),
    _good("vllm-project/vllm#414: 52 heads on 3", job(_llama(2, 208, 52, 52), plan={"tensor": 3})),
    _good("deepspeedai/DeepSpeed#3634: 52 heads on 8", job(_llama(2, 208, 52, 52), plan={"tensor": 8})),
    _good("MIV-XJTU/FSDrive#21: 12 heads on 8", job(_llama(2, 48, 12, 2), plan={"tensor": 8})),
    _good("hpcaitech/ColossalAI#116: 25 heads on 4", job((2, 100, 25), plan={"tensor": 4})),
    _good("more tensor ranks than half the heads", job((2, 40, 5), plan={"tensor": 3})),
    # more ranks than heads for keys
    _good("vllm-project/vllm#11797: 28 heads, 4 for keys, on 8", job(_llama(2, 112, 28, 4), plan={"tensor": 8})),
    _good("huggingface/transformers#48307: 4 for keys on 8", job(_llama(2, 64, 32, 4), plan={"tensor": 8})),
    _good("pytorch/torchtitan#2577: 2 for keys on 4", job(_llama(2, 64, 16, 2), plan={"tensor": 4})),
    _good("NVIDIA-NeMo/Automodel#799: 10 for keys on 4", job(_llama(2, 80, 40, 10), plan={"tensor": 4})),
    _good("one for all queries", job(_llama(2, 24, 6, 1), plan={"tensor": 3})),
    # vocabularies that the ranks don't divide
    _good("vllm-project/vllm#440: 250682 on 8",
          job({"name": "gpt2", "layers": 2, "vocab": 250682}, plan={"tensor": 8}), _SPARE),
    _good("NVIDIA-NeMo/Megatron-Bridge#1331: 151669 on 4",
          job(_llama(2, 64, 8, 8, vocab=151669), plan={"tensor": 4}), _SPARE),
    _good("vllm-project/vllm#31474: 151552 on 6",
          job(_llama(2, 192, 96, 8, vocab=151552), plan={"tensor": 6}), _SPARE),
    _good("sgl-project/sglang#31799: 129280 on 24",
          job(_llama(2, 128, 64, 64, vocab=129280), plan={"tensor": 24}), _SPARE),
    _good("hpcaitech/ColossalAI#6167: 65535 on 2", job(_llama(2, 64, 32, 32, vocab=65535), plan={"tensor": 2}), _SPARE),
    _good("50257 on 4", job({"name": "gpt2", "layers": 2}, plan={"tensor": 4}), _SPARE),
    # layers that the stages don't divide
    _good("NVIDIA/Megatron-LM#381: 7 layers on 2", job((7, 24, 4), plan={"pipeline": 2, "microbatch": 4})),
    _good("Oneflow-Inc/libai#225: 12 layers on 5", job((12, 24, 4), plan={"pipeline": 5, "microbatch": 1})),
    _good("PaddlePaddle/PaddleFleet#259: 9 layers as 2 3 3 1",
          job((9, 24, 4), plan={"stages": [2, 3, 3, 1], "microbatch": 1})),
    _good("AMD-AGI/Primus#69: 32 layers as 7 8 9 8", job((32, 24, 4), plan={"stages": [7, 8, 9, 8], "microbatch": 1})),
    _good("13 layers on 4, gpipe", job((13, 24, 4), plan={"pipeline": 4, "schedule": "gpipe", "microbatch": 1})),
    _good("a layer a stage", job((4, 24, 4), plan={"stages": [1, 1, 1, 1]})),
    # microbatches, sequences, shares
    _good("pytorch/torchtitan#775: fewer microbatches than stages",
          job((8, 24, 4), training__global_batch=2, plan={"pipeline": 4, "data": 1}), "plan.pipeline"),
    _good("huggingface/nanotron#347: one microbatch for 8 stages",
          job((8, 24, 4), training__global_batch=1, plan={"pipeline": 8}), "plan.pipeline"),
    _good("pytorch/torchtitan#1306: a sequence that the ranks don't divide",
          job(_llama(2, 48, 8, 4), training__sequence_length=10, plan={"tensor": 4, "sequence_parallel": True})),
    _good("feifeibear/long-context-attention#154: 8423 tokens on 2",
          job(_llama(2, 24, 4, 4), training__sequence_length=8423, plan={"tensor": 2, "sequence_parallel": True})),
    _good("mosaicml/examples#41: 100 sequences on 8", job(training__global_batch=100, plan={"data": 8})),
    _good("verl-project/verl#1811: microbatches of 2 out of 3 sequences a rank",
          job(training__global_batch=12, plan={"data": 4, "microbatch": 2})),
    _good("unequal replicas", job(plan={"data": 3, "data_shares": [3, 1, 2.5], "microbatch": 2, "zero": 2})),
    _good("unequal shares", job((2, 56, 7), plan=_tensor(2, 1))),
    _good("shares of any numbers", job((2, 48, 12), plan=_tensor(1.5, 0.5, 1, sequence_parallel=True))),
    # learning
    _good("NVIDIA-NeMo/Megatron-Bridge#2857: a warm-up of 2000 for 10 steps",
          job(training={"steps": 10, "warmup_steps": 2000}), "training.warmup_steps"),
    _good("deepspeedai/DeepSpeed#771: a warm-up of one step", job(training__warmup_steps=1, plan={"data": 2})),
    _good("a learning rate of 0", job(training__learning_rate=0, plan={"data": 2}), "training.learning_rate"),
    _good("sgd without anything", job(plan={"data": 4}, training={
        "optimizer": "sgd", "clip_norm": 0.0, "weight_decay": 0, "warmup_steps": 0, "decay": "none"})),
    _good("bf16", job(_llama(2, 24, 4, 2), training__precision="bf16", plan={"data": 2, "tensor": 2})),
    _good("fp64", job(training__precision="fp64", plan={"data": 2, "gradient_precision": "fp64"})),
    _good("dropout", job({"layers": 2, "hidden": 24, "heads": 4, "dropout": 0.2}, plan={"tensor": 2, "data": 2})),
    # sharded states
    _good("deepspeedai/DeepSpeed#823: ZeRO 2 with a pipeline", job(plan={"data": 2, "pipeline": 2, "zero": 2})),
    _good("deepspeedai/DeepSpeed#1629: offload and ZeRO 3 with a pipeline",
          job(plan={"data": 2, "pipeline": 2, "zero": 3, "offload": "optimizer"}), "plan.offload"),
    _good("ZeRO 3 with everything", job(_llama(3, 40, 10, 5, ffn=37), plan={
        "data": 2, "tensor": 2, "pipeline": 2, "sequence_parallel": True, "zero": 3})),
    _good("ZeRO 1 over more ranks than a norm has rows", job((1, 2, 1), training__global_batch=4,
                                                             plan={"data": 4, "zero": 1})),
    # everything at once
    _good("one rank", job(cluster={"ranks": 1})),
    _good("one of everything", job((1, 1, 1), training={"global_batch": 1, "sequence_length": 1}, cluster={"ranks": 1}),
          "training.sequence_length"),
    _good("all axes, tied", job((3, 28, 7), plan={"data": 2, "tensor": 2, "pipeline": 2, "microbatch": 2})),
    _good("all axes, many buckets", job(_llama(3, 40, 10, 5, ffn=37, vocab=259), plan={
        "data": 2, "tensor": 2, "pipeline": 2, "microbatch": 2, "sequence_parallel": True, "bucket_bytes": 4096})),
]  # fmt: skip
