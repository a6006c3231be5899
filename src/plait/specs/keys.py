"""What a key that nobody knows was probably meant to be: a slip of the pen, another table's key, another tool's word.

It knows the names of keys (`tables`) and what other frameworks call them, and no value.
"""

from __future__ import annotations

from difflib import get_close_matches

from plait.errors import Problem
from plait.specs.tables import known_keys
from plait.specs.wording import nearest

__all__ = ["unknown_key"]

_TABLES = ("model", "data", "training", "cluster", "plan")

# The words of Megatron-LM, DeepSpeed, transformers, nanoGPT and torchtitan for keys that are spelt differently here.
_ELSEWHERE = {
    "model.layers": "num_layers n_layer n_layers num_hidden_layers depth",
    "model.hidden": "hidden_size d_model n_embd dim embed_dim",
    "model.heads": "num_heads n_head n_heads num_attention_heads",
    "model.kv_heads": "num_key_value_heads n_kv_heads num_query_groups num_kv_heads",
    "model.ffn": "ffn_hidden_size intermediate_size n_inner d_ff",
    "model.vocab": "vocab_size padded_vocab_size",
    "model.norm": "normalization",
    "model.tie_embeddings": "tie_word_embeddings",
    "model.huggingface": "hf config pretrained checkpoint",
    "model.encoder_layers": "num_encoder_layers",
    "model.head_width": "head_dim d_kv kv_channels",
    "model.window": "sliding_window window_size",
    "model.query_bias": "qkv_bias attention_bias",
    "model.norm_bias": "layernorm_bias layer_norm_bias",
    "model.query_norm": "qk_norm qk_layernorm",
    "model.experts": "moe num_experts num_local_experts n_routed_experts",
    "model.latent": "mla multi_latent_attention",
    "training.global_batch": "batch_size global_batch_size train_batch_size",
    "training.sequence_length": "seq_len seq_length block_size context_length max_position_embeddings",
    "training.learning_rate": "lr",
    "training.warmup_steps": "warmup",
    "training.steps": "max_steps train_iters max_iters train_steps",
    "training.clip_norm": "grad_clip clip_grad max_norm max_grad_norm gradient_clipping",
    "training.precision": "dtype bf16 fp16 mixed_precision",
    "cluster.ranks": "world_size gpus n_gpus num_gpus",
    "cluster.device": "gpu gpu_type gpu_model accelerator",
    "cluster.nodes": "num_nodes nnodes hosts n_nodes",
    "cluster.devices_per_node": "gpus_per_node nproc_per_node num_gpus_per_node",
    "plan.data": "dp data_parallel dp_size data_parallel_size",
    "plan.tensor": "tp tensor_parallel tp_size tensor_parallel_size tensor_model_parallel_size",
    "plan.pipeline": "pp pipeline_parallel pp_size pipeline_parallel_size pipeline_model_parallel_size",
    "plan.context": "cp context_parallel cp_size context_parallel_size",
    "plan.expert": "ep expert_parallel ep_size expert_parallel_size expert_model_parallel_size",
    "plan.microbatch": "mbs micro_batch micro_batch_size train_micro_batch_size_per_gpu",
    "plan.virtual_stages": "vpp virtual_pipeline_model_parallel_size num_layers_per_virtual_pipeline_stage",
    "plan.zero": "zero_stage",
    "plan.offload": "cpu_offload offload_optimizer",
    "plan.recompute": "activation_checkpointing gradient_checkpointing recompute_granularity",
}
_SYNONYMS = {word: key for key, words in _ELSEWHERE.items() for word in words.split()}


def unknown_key(table: str, name: str) -> Problem:
    """The refusal of `name` in `[table]` ("" for the top of the file), with the key that comes nearest."""
    found = _meant(table, name)
    key = f"{table}.{name}" if table else name
    return Problem(key=key, message=f"unknown key; the nearest known key is {found[0]}", legal=found)


def _meant(table: str, name: str) -> tuple[str, ...]:
    """Known keys, best first: as they are written inside `table` if they belong there, else with their own table."""
    if close := get_close_matches(name, known_keys(table), n=1, cutoff=0.75):
        return tuple(close)
    if synonym := _SYNONYMS.get(name.lower().replace("-", "_")):
        return (synonym.removeprefix(f"{table}."),)
    if places := tuple(f"{place}.{name}" for place in _TABLES if name in known_keys(place)):
        return places
    if close := get_close_matches(name, known_keys(table), n=1):
        return tuple(close)
    everywhere = {key: place for place in _TABLES for key in known_keys(place)}
    if close := get_close_matches(name, everywhere, n=1, cutoff=0.75):
        return (f"{everywhere[close[0]]}.{close[0]}",)
    return nearest(name, known_keys(table))
