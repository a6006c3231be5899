"""Jobs that other people's frameworks met badly: each distilled from a public issue or pull request.

What is kept of an issue are its numbers and the mistake; the rest of a job is small. In BROKEN the mistake is the
user's, and `check` has to say so. In UNEVEN (`test_published`) there is none: the numbers merely don't divide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BROKEN", "Broken", "Table", "job"]

Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Broken:
    """`issue`: where it was met. `happened`: what became of it there. `blamed`: all keys that `check` has to name."""

    issue: str
    happened: str
    table: Table
    blamed: frozenset[str]

    def __str__(self) -> str:
        return self.issue


def job(shape: Mapping[str, Any] | tuple[int, int, int] = (4, 24, 4), **keys: Any) -> Table:
    """A small job of (layers, hidden, heads) or of a whole [model], with keys as `training__steps=3` or `plan=...`."""
    named = isinstance(shape, tuple)
    table: Table = {"model": dict(zip(("layers", "hidden", "heads"), shape, strict=True)) if named else dict(shape)}
    for key, value in keys.items():
        section, _, name = key.partition("__")
        if name:
            table.setdefault(section, {})[name] = value
        else:
            table[section] = value
    table["training"] = {"global_batch": 8, "sequence_length": 12, **table.get("training", {})}
    return table


def _broken(issue: str, happened: str, blamed: str, table: Table) -> Broken:
    return Broken(issue=issue, happened=happened, table=table, blamed=frozenset(blamed.split()))


BROKEN = [
    # stages that don't make up the model
    _broken("NVIDIA/Megatron-LM#1304", "28 of 30 layers were built, without a word", "plan.stages",
            job((30, 24, 4), plan={"pipeline": 4, "stages": [7] * 4})),
    _broken("NVIDIA/Megatron-LM#1303", "16 stages of 2 layers were built of a model of 40", "plan.stages",
            job((40, 24, 4), plan={"stages": [2] * 16})),
    _broken("NVIDIA/Megatron-LM#1778", "a model of one layer was trained, and its speed told as that of 20",
            "plan.stages", job((20, 24, 4), plan={"pipeline": 1, "stages": [1]})),
    _broken("NVIDIA/Megatron-LM#468", "80 layers passed every check, and 64 ran", "plan.stages plan.virtual_stages",
            job((80, 24, 4), plan={"pipeline": 16, "schedule": "1f1b", "virtual_stages": 2, "stages": [4] * 16})),
    _broken("NVIDIA/Megatron-LM#326", "each of 8 ranks lost one of its 5 layers",
            "plan.stages",
            job((40, 24, 4), plan={"pipeline": 8, "schedule": "interleaved", "virtual_stages": 2, "stages": [4] * 8})),
    _broken("ml-explore/mlx-lm#1688", "2 of 10 layers belonged to no rank", "plan.stages",
            job((10, 24, 4), plan={"pipeline": 3, "stages": [2, 3, 3]})),
    _broken("ml-explore/mlx-lm#1816", "2 of 62 layers were dropped: wrong output, no error", "plan.stages",
            job((62, 24, 4), plan={"pipeline": 4, "stages": [15] * 4})),
    _broken("NVIDIA/Megatron-LM#1852", "a stage without layers deadlocked", "plan.stages",
            job((6, 24, 4), plan={"pipeline": 4, "stages": [2, 2, 2, 0]})),
    _broken("huggingface/nanotron#108", "a stage came out without any parameter, and crashed while it was built",
            "plan.stages", job((2, 24, 4), plan={"stages": [2, 0]})),
    _broken("vllm-project/vllm#6115", "asked in review: should fewer layers than stages not be an error?",
            "plan.pipeline", job((2, 24, 4), plan={"pipeline": 4})),
    # ranks
    _broken("modelscope/ms-swift#3739", "8 processes were started for 4 · 1 ranks; they raised after starting",
            "plan.data", job(cluster={"ranks": 8}, plan={"data": 1, "tensor": 4, "pipeline": 1})),
    _broken("huggingface/accelerate#2497", "more ranks than stages: it raised deep inside the pipeline library",
            "plan.data", job(cluster={"ranks": 2}, plan={"data": 1, "tensor": 1, "pipeline": 1})),
    _broken("huggingface/finetrainers#408", "degrees for more than the 2 processes: it raised when all had started",
            "plan.tensor", job((1, 24, 4), cluster={"ranks": 2}, plan={"tensor": 4})),
    _broken("GitM-Labs/runtime#76", "16 ranks were asked of 4: the network library failed, naming no setting",
            "plan.data", job(cluster={"ranks": 4}, plan={"data": 4, "tensor": 4})),
    _broken("NVIDIA-NeMo/Speech#14838", "4 ranks for a product of 8, of which the user could not tell the factors",
            "plan.expert plan.virtual_stages",
            job((24, 24, 4), cluster={"ranks": 4}, plan={"pipeline": 2, "expert": 2, "virtual_stages": 24})),
    # the batch
    _broken("mosaicml/examples#41", "more ranks than sequences: the batch was silently cut", "plan.data",
            job(training__global_batch=6, plan={"data": 8})),
    _broken("marin-community/levanter#1261", "a microbatch larger than the batch ended in an assertion",
            "plan.microbatch", job(training__global_batch=16, plan={"microbatch": 32})),
    _broken("verl-project/verl#1811", "a batch that ranks × microbatch don't divide passed the check",
            "plan.microbatch", job(training__global_batch=12, plan={"data": 4, "microbatch": 4})),
    _broken("alibaba/Megatron-LLaMA#61", "TP, DP and 8 GPUs by wishful thinking, and one sequence for all",
            "plan.data", job((2, 64, 8), training__global_batch=1, cluster={"ranks": 8},
                             plan={"data": 8, "tensor": 8, "pipeline": 1, "microbatch": 1})),
    # the shape of the model
    _broken("huggingface/transformers#48101", "heads of 65 features were accepted; the first forward crashed in rope",
            "model.hidden", job({"layers": 2, "hidden": 520, "heads": 8, "positions": "rope"})),
    _broken("huggingface/transformers#23081", "1024 features for 12 heads: a reshape failed in forward",
            "model.hidden", job((2, 1024, 12))),
    _broken("huggingface/transformers#46211", "1792 features for 24 heads were refused by one class, not by another",
            "model.hidden", job((2, 1792, 24))),
    _broken("delphi-suite/delphi#144", "54 features for 4 heads stood in a published configuration",
            "model.hidden", job((2, 54, 4))),
    _broken("huggingface/transformers#48643", "7 heads and 2 for keys were accepted, to fail while running",
            "model.kv_heads", job({"layers": 2, "hidden": 224, "heads": 7, "kv_heads": 2})),
    _broken("NVIDIA/Megatron-LM#5756", "32 heads in 5 groups: a view deep in attention failed at the first forward",
            "model.kv_heads", job({"layers": 2, "hidden": 64, "heads": 32, "kv_heads": 5})),
    _broken("boathit/t2vec#17", "18864 words for 18866 tokens: out of bounds, in some versions only",
            "model.vocab", job({"layers": 2, "hidden": 24, "heads": 4, "vocab": 18864}, data__tokenizer="bpe:18866")),
    _broken("lucidrains/DALLE-pytorch#56", "a table of 10000 rows for 40000 tokens: fine until a rare word comes",
            "model.vocab", job({"layers": 2, "hidden": 24, "heads": 4, "vocab": 10000}, data__tokenizer="bpe:40000")),
    # values
    _broken("hiyouga/LlamaFactory#4014", "2e-5 without a point was a text: training started, and raised",
            "training.learning_rate", job(training__learning_rate="2e-5")),
    _broken("DendrouLab/panpipes#304", "1e-08 was a text, and compared with a number in the optimizer",
            "model.norm_eps", job({"layers": 2, "hidden": 24, "heads": 4, "norm_eps": "1e-08"})),
    _broken("mosaicml/examples#321", "a precision by another library's name was unknown when training began",
            "training.precision", job(training__precision="amp_bf16")),
    _broken("open-edge-platform/anomalib#718", "16 for fp16: an error that told nobody what is right",
            "training.precision", job(training__precision=16)),
    _broken("jgraving/DeepPoseKit#7", "everything was held out for validation; building the generator raised",
            "data.validation_fraction", job(data__validation_fraction=1)),
    # keys
    _broken("unslothai/unsloth#10452", "keys in the wrong place or spelling were dropped; the loss told, hours later",
            "learning_rate training.warmup-steps model.lora_r",
            job({"layers": 2, "hidden": 24, "heads": 4, "lora_r": 8},
                learning_rate=1e-4, training={"warmup-steps": 5})),
    _broken("EleutherAI/gpt-neox#1311", "bf16 switched on in one place and not in the other: an obscure crash",
            "training.bf16", job(training__bf16=True)),
    # data
    _broken("google/automl#308", "a pattern that matches no file came to light in the compiled input pipeline",
            "data.text", job(data__text="no/such/*.tfrecord")),
    _broken("hiyouga/LlamaFactory#6191", "every rank raised that a misspelt file is not there", "data.text",
            job(data__text=["data/mllm_dome.json"])),
    _broken("instructlab/instructlab#2257", "a folder where a file was meant ended the run", "data.text",
            job(data__text=".")),
    # what is not built here either: it is said, not ignored
    _broken("EleutherAI/gpt-neox#62", "a pipeline, ZeRO 2 and recomputation: any two of them worked",
            "plan.recompute", job(plan={"pipeline": 2, "zero": 2, "recompute": "full"})),
    _broken("modelscope/ms-swift#5737", "46 layers on 4 stages were refused at rank 14, in the launched job",
            "plan.expert plan.recompute",
            job((46, 32, 8), training__global_batch=16,
                plan={"tensor": 8, "pipeline": 4, "expert": 16, "recompute": "full", "microbatch": 2})),
    _broken("verl-project/verl#1226", "40 heads, 8 for keys: no more than 8 ranks could share a sequence",
            "plan.context", job({"layers": 2, "hidden": 80, "heads": 40, "kv_heads": 8}, plan={"context": 16})),
    # several mistakes in one job, as they come
    _broken("deepspeedai/Megatron-DeepSpeed#474", "of a long command line the first thing wrong was told, and no other",
            "plan.pipeline_model_parallel_size training.lr training.seq_length",
            job((24, 1024, 16), training={"seq_length": 1024, "global_batch": 32, "lr": 1.5e-4},
                plan={"tensor": 4, "pipeline_model_parallel_size": 1, "microbatch": 4, "zero": 3})),
]  # fmt: skip
