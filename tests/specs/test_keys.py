"""What an unknown key was probably meant to be."""

import pytest

from plait.specs.keys import unknown_key
from plait.specs.tables import known_keys

TABLES = ("model", "data", "training", "cluster", "plan")


@pytest.mark.parametrize(
    ("table", "name", "meant"),
    [
        ("plan", "tenosr", "tensor"),
        ("plan", "micro_batch", "microbatch"),
        ("plan", "pipline", "pipeline"),
        ("plan", "synchronization", "synchronisation"),
        ("training", "learning_rat", "learning_rate"),
        ("training", "sequence_lenght", "sequence_length"),
        ("model", "layer", "layers"),
        ("", "trainig", "training"),
        ("", "Model", "model"),
        ("cluster.groups", "device_per_node", "devices_per_node"),
        # another table's
        ("training", "tensor", "plan.tensor"),
        ("plan", "seed", "training.seed"),
        ("", "ranks", "cluster.ranks"),
        ("training", "pipelin", "plan.pipeline"),
        # another tool's
        ("plan", "tp", "tensor"),
        ("plan", "pipeline_model_parallel_size", "pipeline"),
        ("plan", "micro-batch-size", "microbatch"),
        ("model", "n_embd", "hidden"),
        ("model", "num_attention_heads", "heads"),
        ("training", "lr", "learning_rate"),
        ("plan", "world_size", "cluster.ranks"),
    ],
)
def test_what_was_meant(table, name, meant):
    problem = unknown_key(table, name)
    assert problem.key == (f"{table}.{name}" if table else name)
    assert problem.legal[0] == meant
    assert f"nearest known key is {meant}" in problem.message


@pytest.mark.parametrize("table", ["", *TABLES, "cluster.groups"])
@pytest.mark.parametrize("name", ["zzzz", "", "0", "a.b", "é"])
def test_there_is_always_an_answer(table, name):
    assert unknown_key(table, name).legal


@pytest.mark.parametrize("table", TABLES)
def test_a_letter_more_or_less_is_forgiven(table):
    for key in known_keys(table):
        for slip in (key[:-1], key + "s", key[1:], key[0] + key):
            if len(key) > 4 and slip not in known_keys(table):
                assert unknown_key(table, slip).legal[0] == key
