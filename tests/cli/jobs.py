"""Broken jobs and good ones: each a change of the contract's job, which is legal as it stands.

A broken job has the key that is to be blamed and a word of what is said about it.
"""

from __future__ import annotations

from typing import Any

from tests.contract.golden import contract_table

Changes = dict[str, Any]

# The parts of the contract's [plan] that hold each other; without them, one of them can be tried alone.
FREE = (
    "plan.data", "plan.tensor", "plan.pipeline", "plan.microbatch", "plan.stages", "plan.tensor_shares",
    "plan.data_shares", "cluster.ranks",
)  # fmt: skip
SHAPE = ("model.layers", "model.hidden", "model.heads", "model.kv_heads", "model.ffn", "model.vocab")

SERVED: Changes = {"plan.synchronisation": "parameter-server"}

# name: (changes, keys left out, key to blame, a word of the message)
BROKEN: dict[str, tuple[Changes, tuple[str, ...], str, str]] = {
    # keys
    "a slip in a key": ({"plan.tenosr": 2}, (), "plan.tenosr", "nearest known key is tensor"),
    "a slip in a table": ({"trainig": {"steps": 3}}, (), "trainig", "nearest known key is training"),
    "a key of another table": ({"training.tensor": 2}, (), "training.tensor", "plan.tensor"),
    "a key outside of every table": ({"layers": 2}, (), "layers", "model.layers"),
    "another tool's word": ({"plan.tp": 2}, (), "plan.tp", "nearest known key is tensor"),
    "another tool's word, elsewhere": ({"plan.lr": 0.1}, (), "plan.lr", "training.learning_rate"),
    "a key of a group": ({"cluster.groups": [{"devise": "a100"}]}, (), "cluster.groups.devise", "device"),
    # kinds
    "a table that is a number": ({"model": 3}, (), "model", "whole number"),
    "a list of tables": ({"plan": [{"tensor": 1}]}, (), "plan", "list"),
    "a number in quotes": ({"plan.tensor": "2"}, (), "plan.tensor", "text"),
    "a degree with a point": ({"plan.tensor": 1.0}, (), "plan.tensor", "point"),
    "a truth value for a number": ({"model.layers": True}, (), "model.layers", "truth value"),
    "a number for a truth value": ({"plan.sequence_parallel": 1}, (), "plan.sequence_parallel", "whole number"),
    "a text that is a number": ({"model.norm": 3}, (), "model.norm", "whole number"),
    "no heads": ({"model.heads": 0}, (), "model.heads", "out of range"),
    "a negative batch": ({"training.global_batch": -16}, (), "training.global_batch", "out of range"),
    "not a number": ({"training.learning_rate": float("nan")}, (), "training.learning_rate", "not finite"),
    "an infinite norm": ({"training.clip_norm": float("inf")}, (), "training.clip_norm", "not finite"),
    "dropout of everything": ({"model.dropout": 1.0}, (), "model.dropout", "out of range"),
    "one beta": ({"training.betas": [0.9]}, (), "training.betas", "length"),
    "a beta of 1": ({"training.betas": [0.9, 1]}, (), "training.betas", "out of range"),
    "everything held out": ({"data.validation_fraction": 1.0}, (), "data.validation_fraction", "out of range"),
    "an empty stage": ({"plan.stages": [7, 0]}, (), "plan.stages", "out of range"),
    "a share of nothing": ({"plan.tensor_shares": [0]}, (), "plan.tensor_shares", "out of range"),
    "a share in quotes": ({"plan.data_shares": [1, "1"]}, (), "plan.data_shares", "text"),
    "no bucket": ({"plan.bucket_bytes": 0}, (), "plan.bucket_bytes", "out of range"),
    "more than 64 bits": ({"model.ffn": 2**63}, (), "model.ffn", "out of range"),
    # values
    "an unknown activation": ({"model.activation": "swigul"}, (), "model.activation", "nearest is swiglu"),
    "an unknown precision": ({"training.precision": "tf32"}, (), "training.precision", "not one of"),
    "an unknown model": ({"model": {"name": "lama3-8b"}}, (), "model.name", "llama3-8b"),
    "a model of no known family": ({"model": {"name": "gemma2"}}, (), "model.name", "there are gpt2, gpt3, llama2"),
    "a model without a shape": ({"model": {"layers": 7}}, (), "model.heads", "missing"),
    "no model": ({}, ("model",), "model", "no [model]"),
    "a tokenizer of 12 tokens": ({"data.tokenizer": "bpe:12"}, (), "data.tokenizer", "256"),
    "a tokenizer that nobody knows": ({"data.tokenizer": "wordpiece"}, (), "data.tokenizer", "wordpiece"),
    "text that is not there": ({"data.text": "no/such/file.txt"}, (), "data.text", "no file"),
    "a glob of nothing": ({"data.text": ["python-stdlib", "no/such/*.txt"]}, (), "data.text", "matches"),
    # not built yet
    "another family": ({"model.family": "bert"}, (), "model.family", "not built yet"),
    "a checkpoint that is not there": ({"model": {"huggingface": "no/such"}}, (), "model.huggingface", "No such file"),
    "a model with experts": ({"model": {"name": "mixtral-8x7b"}}, ("plan",), "model.name", "not built yet"),
    "experts by key": ({"model.experts": {"count": 4, "per_token": 2, "ffn": 8}}, (), "model.experts", "not built yet"),
    "experts without a number": ({"model.experts": {"count": 4}}, (), "model.experts", "not built yet"),
    "a slip in a table of the model": ({"model.experts": {"cuont": 4}}, (), "model.experts.cuont", "count"),
    "a model twice": ({"model": {"name": "gpt2", "huggingface": "x"}}, (), "model.huggingface", "both name a model"),
    "alibi": ({"model.positions": "alibi"}, (), "model.positions", "not built yet"),
    "JSON lines": ({"data.text": "corpus.jsonl"}, (), "data.text", "not built yet"),
    "a link of no host": ({"cluster.inter_link": "ib-hdx-x8"}, (), "cluster.inter_link", "nearest is ib-hdr"),
    "a link of no cards": ({"cluster.inter_link": "ib-hdr-x0"}, (), "cluster.inter_link", "nearest is ib-hdr"),
    "a link inside between": ({"cluster.inter_link": "nvlink3"}, (), "cluster.inter_link", "of one host"),
    "a link inside this machine": ({"cluster.intra_link": "nvlink3"}, (), "cluster.intra_link", "there is no device"),
    "a price of this machine": ({"cluster.price_per_hour": 2.0}, (), "cluster.price_per_hour", "there is no device"),
    "a link that is none": ({"cluster.inter_link": "ethernet-2gb"}, (), "cluster.inter_link", "nearest is ethernet-"),
    "hosts of unequal ranks": ({"cluster.nodes": 3}, (), "cluster.nodes", "can't stand on 3 nodes"),
    "ranks that the hosts don't have": (
        {"cluster.nodes": 2, "cluster.devices_per_node": 3}, ("plan",), "cluster.ranks", "2 × 3 = 6",
    ),
    "hosts without a number of ranks": (
        {"cluster.nodes": 2}, ("cluster.ranks", "plan"), "cluster.devices_per_node", "missing",
    ),
    "hosts beyond all bounds": (
        {"cluster.nodes": 2**40, "cluster.devices_per_node": 2}, ("cluster.ranks", "plan"), "cluster.nodes", "the most",
    ),
    "a device that is none": ({"cluster.device": "A100"}, (), "cluster.device", "nearest is a100-"),
    "a link between inside": (
        {"cluster.device": "h200", "cluster.intra_link": "ib-ndr"}, (), "cluster.intra_link", "joins hosts",
    ),
    "devices that the hosts don't have": (
        {"cluster.device": "h200", "cluster.nodes": 3, "cluster.devices_per_node": 8}, ("plan",), "cluster.ranks",
        "= 24",
    ),
    "ranks of half a host": ({"cluster.device": "h200", "cluster.ranks": 13}, ("plan",), "cluster.nodes", "13"),
    "a group without a device": ({"cluster.groups": [{"nodes": 2}]}, (), "cluster.groups.device", "no device"),
    "a group of a device that is none": (
        {"cluster.groups": [{"device": "rtx4090"}]}, ("cluster.ranks",), "cluster.groups.device", "nearest is rtx-4090",
    ),
    "no groups": ({"cluster.groups": []}, (), "cluster.groups", "no group"),
    "a device and groups": (
        {"cluster.groups": [{"device": "h200"}], "cluster.device": "h200"}, ("cluster.ranks", "plan"), "cluster.device",
        "each group",
    ),
    "groups that are not the ranks": (
        {"cluster.groups": [{"device": "h200"}, {"device": "b200", "nodes": 2}]}, ("plan",), "cluster.ranks",
        "24 devices",
    ),
    "groups beyond all bounds": (
        {"cluster.groups": [{"device": "h200", "nodes": 2**30}]}, ("cluster.ranks", "plan"), "cluster.groups",
        "the most",
    ),
    "an encoder of all layers": (
        {"model": {"name": "t5-small", "layers": 4}, "cluster.device": "h200"}, ("plan",), "model.encoder_layers",
        "none of the 4 layers",
    ),
    "an encoder beside a decoder of another kind": (
        {"model": {"name": "gpt2", "encoder_layers": 2}, "cluster.device": "h200"}, ("plan",), "model.encoder_layers",
        "no encoder of its own",
    ),
    "more experts a token than there are": (
        {"model.experts": {"count": 2, "per_token": 3, "ffn": 8}, "cluster.device": "h200"}, (), "model.experts",
        "3 of count = 2",
    ),
    "half of a table of experts": (
        {"model.experts": {"count": 2}, "cluster.device": "h200"}, (), "model.experts", "lacks per_token, ffn",
    ),
    "half of latent attention": (
        {"model.latent": {"plain": 2, "rotated": 2}, "cluster.device": "h200"}, (), "model.latent", "lacks query_rank",
    ),
    "odd heads that rotate, of their own width": (
        {"model.head_width": 5, "cluster.device": "h200"}, (), "model.head_width", "odd",
    ),
    "odd latent heads that rotate": (
        {"model.latent": {"query_rank": 0, "kv_rank": 4, "plain": 2, "rotated": 3, "value": 2},
         "cluster.device": "h200"},
        (), "model.latent", "odd",
    ),
    "experts of a model without": (
        {"cluster.device": "h200", "plan.expert": 2}, (), "plan.expert", "no experts",
    ),
    "more context ranks than tokens": (
        {"cluster.device": "h200", "plan.context": 256, "cluster.nodes": 128}, FREE, "plan.context",
        "128 tokens",
    ),
    "context parallel": ({"plan.context": 2}, (), "plan.context", "not built yet"),
    "experts": ({"plan.expert": 2}, (), "plan.expert", "not built yet"),
    "interleaving": ({"plan.virtual_stages": 2}, (), "plan.virtual_stages", "gives each rank 1 stage"),
    "a grid": ({"plan.schedule": "grids/mine.txt"}, (), "plan.schedule", "is no grid that can be read"),
    "ZeRO": ({"plan.zero": 4}, (), "plan.zero", "out of range"),
    "offload of what nobody said": ({"plan.offload": "weights"}, (), "plan.offload", "nearest is"),
    "recompute": ({"plan.recompute": "selective"}, (), "plan.recompute", "not built yet"),
    "16-bit gradients": ({"plan.gradient_precision": "bf16"}, (), "plan.gradient_precision", "not built yet"),
    "a replica without rows": ({"plan.data_shares": [40, 1]}, (), "plan.data_shares", "without any of the 16"),
    # rules between keys
    "heads that don't divide": ({"model.hidden": 121}, (), "model.hidden", "5 heads"),
    "groups that don't divide": ({"model.kv_heads": 2}, (), "model.kv_heads", "5 heads"),
    "an odd head that rotates": ({"model.hidden": 125}, (), "model.hidden", "odd"),
    "fewer words than tokens": ({"model.vocab": 1000}, (), "model.vocab", "1003"),
    "more tensor ranks than heads": ({"plan.tensor": 6}, FREE, "plan.tensor", "exceeds the 5 heads"),
    "more tensor ranks than features": (
        {"model.ffn": 2, "plan.tensor": 3}, FREE, "plan.tensor", "exceeds the 2 ffn features",
    ),
    "shares that starve a rank": ({"plan.tensor_shares": [9, 1]}, FREE, "plan.tensor_shares", "tensor rank 1"),
    "a sequence too short to split": (
        {"training.sequence_length": 2, "plan.sequence_parallel": True, "plan.tensor": 3}, FREE,
        "plan.sequence_parallel", "2 tokens",
    ),
    "more stages than layers": ({"plan.pipeline": 8}, FREE, "plan.pipeline", "exceeds the 7 layers"),
    "stages that lose a layer": ({"plan.stages": [3, 3]}, (), "plan.stages", "6 layers"),
    "stages for another pipeline": ({"plan.stages": [3, 2, 2]}, (), "plan.stages", "pipeline = 2"),
    "shares for another tensor": ({"plan.tensor_shares": [1, 1]}, (), "plan.tensor_shares", "tensor = 1"),
    "shares for other replicas": ({"plan.data_shares": [1, 1, 1]}, (), "plan.data_shares", "data = 2"),
    "a batch of one for two": ({"training.global_batch": 1, "plan.microbatch": 1}, (), "training.global_batch", "1 s"),
    "a microbatch that doesn't fit": ({"plan.microbatch": 9}, (), "plan.microbatch", "the 8 sequences"),
    "replicas that the ranks can't be": ({"plan.data": 3}, (), "plan.data", "3 × 1 × 2 = 6"),
    "more ranks than the plan has": ({"cluster.ranks": 6}, (), "cluster.ranks", "but the cluster has 6"),
    "one degree too many": ({"plan.tensor": 3}, (), "plan.tensor", "12 ranks"),
    "a degree that doesn't divide the ranks": (
        {"cluster.ranks": 4, "plan.tensor": 3}, FREE[:-1], "plan.tensor", "can't be 4 ranks",
    ),
    "ranks that nothing fills": ({"cluster.ranks": 17}, FREE[:-1], "cluster.ranks", "can't be 17 ranks"),
    "a compression that nobody knows": ({"plan.compression": "zip"}, (), "plan.compression", "not one of its values"),
    "a compression without its number": ({"plan.compression": "powersgd"}, (), "plan.compression", "whole number"),
    "compressed pieces": ({"plan.compression": "int8", "plan.zero": 1}, (), "plan.compression", "zero = 1"),
    "several steps without local SGD": ({"plan.local_steps": 8}, (), "plan.synchronisation", "local_steps = 8"),
    "local SGD in pieces": (
        {"plan.synchronisation": "diloco", "plan.zero": 2}, (), "plan.synchronisation", "share nothing out",
    ),
    "staleness of what waits": ({"plan.staleness": 2}, (), "plan.staleness", "no servers"),
    "servers of nothing": ({"plan.servers": 1}, (), "plan.synchronisation", "no servers"),
    "staleness below -1": ({"plan.staleness": -2}, (), "plan.staleness", "out of range"),
    "servers that nobody works for": (SERVED | {"plan.servers": 2}, (), "plan.servers", "none is left that works"),
    "servers that nobody works for, on ranks left open": (
        SERVED | {"plan.servers": 3}, ("cluster.ranks",), "plan.servers", "none is left that works",
    ),
    "a server in pieces": (SERVED | {"plan.zero": 1}, (), "plan.zero", "shared out over the servers already"),
    "a server that is sent less": (SERVED | {"plan.compression": "int8"}, (), "plan.compression", "travels whole"),
    "a server every few steps": (SERVED | {"plan.local_steps": 2}, (), "plan.synchronisation", "local_steps = 2"),
    "copies that would part": (
        SERVED | {"plan.staleness": 1, "plan.tensor": 2, "cluster.ranks": 8, "model.tie_embeddings": False}, (),
        "plan.staleness", "hold alike",
    ),
    "stages that would part": (SERVED | {"plan.staleness": -1}, (), "plan.staleness", "tie_embeddings = false"),
    "shares of what goes to who asks": (
        SERVED | {"plan.staleness": 1, "plan.data_shares": [2, 1], "model.tie_embeddings": False}, (),
        "plan.staleness", "goes to who asks",
    ),
    "equal runs of what comes in any order": (
        SERVED | {"plan.staleness": 1, "training.deterministic": True, "model.tie_embeddings": False}, (),
        "plan.staleness", "equal runs",
    ),
    "offload of what the host serves": (
        SERVED | {"plan.staleness": 1, "plan.offload": "optimizer", "model.tie_embeddings": False}, (),
        "plan.offload", "host memory already",
    ),
    "gradients too wide": ({"plan.gradient_precision": "fp64"}, (), "plan.gradient_precision", "fp32"),
}  # fmt: skip

GOOD: dict[str, tuple[Changes, tuple[str, ...]]] = {
    "the contract's own": ({}, ()),
    "a plan left open": ({}, ("plan",)),
    "a name alone": ({"model": {"name": "gpt2"}}, ("data", "training", "cluster", "plan")),
    "a shape alone": (
        {"model": {"layers": 2, "hidden": 8, "heads": 2}}, ("data", "training", "cluster", "plan"),
    ),
    "a named model, cut short": ({"model": {"name": "llama3-8b", "layers": 2}}, ("plan",)),
    "more tensor ranks than kv heads": (
        {"plan.tensor": 4, "model.heads": 4, "model.kv_heads": 2}, FREE,
    ),
    "uneven heads": ({"plan.tensor": 3, "cluster.ranks": 3}, FREE),
    "uneven shares": ({"plan.tensor_shares": [3, 2.5]}, FREE),
    "every layer a stage": ({"plan.stages": [1] * 7}, FREE),
    "everything split": (
        {"plan.data": 2, "plan.tensor": 5, "plan.pipeline": 7, "plan.sequence_parallel": True}, FREE,
    ),
    "one sequence a microbatch": ({"plan.microbatch": 1}, ()),
    "the batch in one piece": ({"plan.microbatch": 8}, ()),
    "gpipe": ({"plan.schedule": "gpipe"}, ()),
    "double precision": ({"training.precision": "fp64"}, ()),
    "double precision, spelt out": ({"training.precision": "fp64", "plan.gradient_precision": "fp64"}, ()),
    "half precision": ({"training.precision": "bf16"}, ()),
    "sgd without anything": (
        {"training.optimizer": "sgd", "training.clip_norm": 0.0, "training.weight_decay": 0},
        (),
    ),
    "integers where numbers go": ({"model.rope_theta": 10000, "training.learning_rate": 1, "model.norm_eps": 1}, ()),
    "a larger vocabulary than the tokenizer's": ({"model.vocab": 50257, "data.tokenizer": "bytes"}, ()),
    "huge numbers": ({"model.ffn": 10**15, "training.steps": 10**12, "training.seed": 2**63 - 1}, ()),
    "one rank": ({"cluster.ranks": 1}, ("plan",)),
    "two hosts": (
        {"cluster.nodes": 2, "cluster.devices_per_node": 2, "cluster.inter_link": "ethernet-1gbit"}, ("cluster.ranks",),
    ),
    "two hosts that share the ranks": ({"cluster.nodes": 2}, ()),
    "an InfiniBand link": ({"cluster.nodes": 2, "cluster.inter_link": "ib-hdr-x8"}, ()),
    "a catalogue device": ({"cluster.device": "a100-80gb"}, ()),
    "the page's own cluster": (
        {"cluster.device": "a100-80gb", "cluster.nodes": 128, "cluster.devices_per_node": 8,
         "cluster.intra_link": "nvlink3", "cluster.inter_link": "ib-hdr-x8", "training.global_batch": 1024},
        ("cluster.ranks", "plan"),
    ),
    "unequal machines": (
        {"cluster.groups": [{"device": "rtx-4090", "nodes": 2, "devices_per_node": 4, "price_per_hour": 0.40,
                             "power_watts": 450}, {"device": "a100-80gb"}]}, ("cluster.ranks", "plan"),
    ),
    "experts of a catalogue cluster": (
        {"model": {"name": "mixtral-8x7b"}, "cluster.device": "h200", "cluster.nodes": 2, "plan.expert": 8,
         "plan.context": 2, "plan.recompute": "full"}, FREE,
    ),
    "a prime number of ranks": ({"cluster.ranks": 7}, ("plan",)),
    "equal replicas by any number": ({"plan.data_shares": [2.5, 2.5]}, ()),
    "unequal replicas": ({"plan.data_shares": [2, 1]}, ()),
    "a batch that does not divide": ({"training.global_batch": 15}, ()),
    "a smaller last microbatch": ({"plan.microbatch": 3}, ()),
    "a small bucket": ({"plan.bucket_bytes": 1}, ()),
    "offload": ({"plan.offload": "optimizer"}, ()),
    "offload, left open": ({"plan.offload": "optimizer"}, FREE),
    "offload of what servers keep": (SERVED | {"plan.offload": "optimizer"}, ()),
    "offload of replicas that learn alone": ({"plan.offload": "optimizer", "plan.synchronisation": "diloco"}, ()),
    "a parameter server": (SERVED, ()),
    "a server alone": (
        SERVED | {"plan.servers": 1, "plan.data": 3, "plan.data_shares": [1] * 3, "cluster.ranks": 6}, (),
    ),
    "a server that waits for nobody": (SERVED | {"plan.staleness": -1, "model.tie_embeddings": False}, ()),
    "a server, left open": (SERVED | {"plan.staleness": 3, "plan.servers": 1}, FREE),
    "one token a sequence": ({"training.sequence_length": 1}, ()),
    "an odd head that doesn't rotate": ({"model.hidden": 125, "model.positions": "learned"}, ()),
}  # fmt: skip


def table_of(changes: Changes, without: tuple[str, ...]) -> dict[str, Any]:
    """The job as tables. What is left out is left out before anything is changed."""
    return contract_table(changes, tuple(key for key in without))
