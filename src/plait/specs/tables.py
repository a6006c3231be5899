"""The border: every table of a job file as pydantic reads it, key by key as the contract has them.

Only the form of single values is judged here: true is no number, 1.0 is no count, nothing is infinite. Which words a
key takes, and which are built, stands in `choices`; what values mean together in `plans/legality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, cast, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict  # before Python 3.12, pydantic can't configure typing's own

from plait.specs.values import (
    BelowOne,
    Betas,
    Count,
    Degree,
    Depth,
    Depths,
    DepthsFromZero,
    Fraction,
    NotNegative,
    Positive,
    Shares,
    Size,
    SomeDepth,
    SomeSize,
    Staleness,
    Switch,
    Text,
    Whole,
    Word,
    ZeroLevel,
)

__all__ = [
    "RARE",
    "TABLES",
    "ClusterTable",
    "DataTable",
    "ExpertsTable",
    "GroupTable",
    "JobTable",
    "LatentTable",
    "ModelTable",
    "PlanTable",
    "TrainingTable",
    "accepts",
    "description",
    "known_keys",
    "with_lists",
    "with_tuples",
]

_BORDER = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@with_config(_BORDER)
class ExpertsTable(TypedDict, total=False):
    """`[model.experts]`: what stands in place of a feed-forward part. The first three are required."""

    count: Depth
    per_token: Depth
    ffn: Size
    shared: SomeDepth
    shared_gate: Switch
    dense: DepthsFromZero
    router_bias: Switch


@with_config(_BORDER)
class LatentTable(TypedDict, total=False):
    """`[model.latent]`: multi-head latent attention. All are required."""

    query_rank: SomeSize
    kv_rank: Size
    plain: Size
    rotated: SomeSize
    value: Size


@with_config(_BORDER)
class ModelTable(TypedDict, total=False):
    """`[model]`: a shape, or the name of one, or both, the keys then overriding the named shape."""

    name: Word
    huggingface: Word
    family: Word
    layers: Depth
    hidden: Size
    heads: Depth
    kv_heads: Depth
    ffn: Size
    vocab: Size
    positions: Word
    rope_theta: Positive
    norm: Word
    norm_eps: Positive
    activation: Word
    bias: Switch
    dropout: BelowOne
    tie_embeddings: Switch
    encoder_layers: SomeDepth
    head_width: Size
    window: Size
    query_bias: Switch
    norm_bias: Switch
    query_norm: Switch
    branches: Word
    post_norms: Switch
    embedding_norm: Switch
    token_types: SomeSize
    relative_buckets: Size
    prediction_layers: SomeDepth
    experts: Annotated[ExpertsTable, Field(description="a table, written [model.experts]")]
    latent: Annotated[LatentTable, Field(description="a table, written [model.latent]")]


@with_config(_BORDER)
class DataTable(TypedDict, total=False):
    """`[data]`."""

    text: Text
    tokenizer: Word
    validation_fraction: Fraction


@with_config(_BORDER)
class TrainingTable(TypedDict, total=False):
    """`[training]`."""

    steps: Count
    global_batch: Size
    sequence_length: Size
    precision: Word
    optimizer: Word
    learning_rate: NotNegative
    warmup_steps: Whole
    decay: Word
    weight_decay: NotNegative
    betas: Betas
    clip_norm: NotNegative
    validate_every: Count
    deterministic: Switch
    seed: Whole


@with_config(_BORDER)
class GroupTable(TypedDict, total=False):
    """One `[[cluster.groups]]`: some of the machines of an unequal cluster."""

    device: Word
    nodes: Count
    devices_per_node: Count
    intra_link: Word
    inter_link: Word
    price_per_hour: NotNegative
    power_watts: NotNegative


@with_config(_BORDER)
class ClusterTable(GroupTable, total=False):
    """`[cluster]`: ranks of this machine; or equal machines, described like a group; or unequal ones, in groups."""

    name: Word
    ranks: Degree
    groups: Annotated[list[GroupTable], Field(description="a list of tables, written [[cluster.groups]]")]


@with_config(_BORDER)
class PlanTable(TypedDict, total=False):
    """`[plan]`: of a job, whatever its user fixes; of a plan file, every key."""

    data: Degree
    tensor: Degree
    pipeline: Degree
    context: Degree
    expert: Degree
    microbatch: Size
    schedule: Word
    virtual_stages: Count
    stages: Depths
    tensor_shares: Shares
    data_shares: Shares
    zero: ZeroLevel
    offload: Word
    sequence_parallel: Switch
    recompute: Word
    synchronisation: Word
    compression: Word
    local_steps: Count
    staleness: Staleness
    servers: Whole
    gradient_precision: Word
    bucket_bytes: Count


@with_config(_BORDER)
class JobTable(TypedDict, total=False):
    """A whole job file."""

    model: ModelTable
    data: DataTable
    training: TrainingTable
    cluster: ClusterTable
    plan: PlanTable


TABLES: dict[str, Any] = {
    "": JobTable,
    "model": ModelTable,
    "model.experts": ExpertsTable,
    "model.latent": LatentTable,
    "data": DataTable,
    "training": TrainingTable,
    "cluster": ClusterTable,
    "cluster.groups": GroupTable,
    "plan": PlanTable,
}


# keys of [model] beyond the page's, for networks that it can't describe; written only where they say something
RARE = tuple(ModelTable.__annotations__)[tuple(ModelTable.__annotations__).index("encoder_layers") :]


def known_keys(table: str) -> tuple[str, ...]:
    """The keys of `[table]`, in the order of the contract; "" for the tables themselves."""
    return tuple(TABLES[table].__annotations__)


def description(key: str) -> str:
    """What `key` takes, in words: "a whole number from 1" of "plan.tensor"."""
    table, _, leaf = key.rpartition(".")
    hint = get_type_hints(TABLES[table], include_extras=True)[leaf]
    found = [note.description for note in getattr(hint, "__metadata__", ()) if isinstance(note, FieldInfo)]
    return next((words for words in reversed(found) if words), "a table")


def accepts(key: str, value: object) -> bool:
    """Whether `key` ("plan.tensor") takes the value (a list as a tuple), looked at by itself."""
    try:
        _adapter(key).validate_python(list(cast("tuple[Any]", value)) if isinstance(value, tuple) else value)
    except ValidationError:
        return False
    return True


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    table, _, leaf = key.rpartition(".")
    return TypeAdapter(get_type_hints(TABLES[table], include_extras=True)[leaf], config=_BORDER)


def with_tuples(keys: Mapping[str, Any]) -> dict[str, Any]:
    """A table as the specs have it: what TOML writes as a list is a tuple."""
    return {key: tuple(cast("list[Any]", value)) if isinstance(value, list) else value for key, value in keys.items()}


def with_lists(keys: Mapping[str, Any]) -> dict[str, Any]:
    """A table as TOML and JSON have it: tuples are lists, parts of a spec are tables, and None is left out of these."""
    return {key: _plain(value) for key, value in keys.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any]", value)]
    if is_dataclass(value):
        return {key: _plain(part) for key, part in vars(value).items() if part is not None}
    return value
