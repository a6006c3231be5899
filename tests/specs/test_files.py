"""Reading a job: what a TOML file says becomes a job, and what it says wrong is told all at once."""

import os

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import IllegalJob, UnusableInput
from plait.specs.cluster import ClusterSpec, usable_cores
from plait.specs.files import job_from_table, job_table, parse_job, read_job, read_table
from plait.specs.job import fixed_degree
from plait.specs.tables import TABLES, description, known_keys
from plait.specs.training import DataSpec, TrainingSpec
from tests.contract.golden import JOB, contract_table

SHAPE = {"layers": 3, "hidden": 12, "heads": 2}


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_a_job():
    assert read_job(JOB) == job_from_table(contract_table())
    assert read_job(str(JOB)) == read_job(JOB)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "job.toml").write_bytes(b"\xef\xbb\xbf" + JOB.read_bytes())
    assert read_job(tmp_path / "job.toml") == read_job(JOB)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = [1,\n 2\n y", "line 3"),
        (b"\n\n  \xfe\n", "line 3, column 3"),
        (b"x = 1" + b"0" * 5000, "limit"),
        (b"x = " + b"{a = " * 20000, "nested"),
    ],
)
def test_what_is_no_toml_says_where(tmp_path, content, said):
    (tmp_path / "job.toml").write_bytes(content)
    with pytest.raises(UnusableInput, match=said):
        read_table(tmp_path / "job.toml")


def test_what_can_t_be_opened_says_why(tmp_path):
    with pytest.raises(UnusableInput, match="No such file"):
        read_table(tmp_path / "none.toml")
    with pytest.raises(UnusableInput, match="directory"):
        read_table(tmp_path)
    with pytest.raises(UnusableInput, match="can't be read"):
        read_table("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_is_closed_to_us(tmp_path):
    (tmp_path / "job.toml").touch(mode=0o000)
    with pytest.raises(UnusableInput, match="Permission"):
        read_table(tmp_path / "job.toml")


# ---- defaults -------------------------------------------------------------------------------------------------------


def test_only_a_shape_is_needed():
    job = job_from_table({"model": SHAPE})
    model = job.model
    assert (model.kv_heads, model.ffn, model.vocab) == (2, 48, 256)
    assert (model.positions, model.norm, model.activation) == ("learned", "layer", "gelu")
    assert (model.bias, model.tie_embeddings, model.dropout) == (True, True, 0.0)
    assert job.data == DataSpec()
    assert job.training == TrainingSpec()
    assert job.constraints == {}


def test_the_vocabulary_is_the_tokenizer_s():
    assert job_from_table({"model": SHAPE, "data": {"tokenizer": "bpe:777"}}).model.vocab == 777


def test_the_positions_are_those_of_the_training():
    assert job_from_table({"model": SHAPE, "training": {"sequence_length": 99}}).model.max_positions == 99


def test_a_short_run_has_a_short_warm_up():
    assert job_from_table({"model": SHAPE, "training": {"steps": 5}}).training.warmup_steps == 5
    asked = {"steps": 5, "warmup_steps": 9}
    assert job_from_table({"model": SHAPE, "training": asked}).training.warmup_steps == 9


def ranks(plan, cores, monkeypatch) -> int:
    monkeypatch.setattr("plait.specs.placing.usable_cores", lambda: cores)
    return job_from_table({"model": SHAPE, "plan": plan}).cluster.ranks


@pytest.mark.parametrize(
    ("plan", "cores", "expected"),
    [
        ({}, 6, 6),
        ({"data": 2, "tensor": 1, "pipeline": 1}, 6, 2),
        ({"data": 2}, 6, 6),
        ({"data": 4}, 6, 4),
        ({"data": 8}, 6, 8),
        ({"stages": [1, 2]}, 5, 4),
        ({"data": 2, "tensor_shares": [1, 1], "stages": [3]}, 64, 4),
    ],
)
def test_ranks_default_to_the_cores_in_whole_copies_of_what_is_fixed(plan, cores, expected, monkeypatch):
    assert ranks(plan, cores, monkeypatch) == expected


def test_there_is_a_core():
    assert usable_cores() >= 1
    assert job_from_table({"model": SHAPE, "cluster": {"ranks": 3}}).cluster == ClusterSpec(ranks=3)


def test_a_degree_is_fixed_by_its_number_or_its_list():
    assert fixed_degree({"tensor": 3}, "tensor") == 3
    assert fixed_degree({"tensor_shares": (1, 2)}, "tensor") == 2
    assert fixed_degree({"stages": (1, 2, 3)}, "pipeline") == 3
    assert fixed_degree({"tensor": 3}, "data") is None


# ---- all at once ----------------------------------------------------------------------------------------------------


def test_every_problem_is_raised_at_once():
    wrong = {"model.layers": "x", "training.steps": 0, "plan.zero": 4, "plan.dta": 1, "data.tokenizer": "x"}
    with pytest.raises(IllegalJob) as caught:
        job_from_table(contract_table(wrong))
    assert {problem.key for problem in caught.value.problems} == set(wrong)


def test_what_can_be_taken_is_taken():
    parsed = parse_job(contract_table({"model.hidden": "x", "plan.tensor": 2.0, "cluster": 3}))
    assert parsed.job.model.layers == 7
    assert parsed.job.constraints["pipeline"] == 2
    assert {"model.hidden", "plan.tensor", "cluster.ranks", "cluster.name"} <= parsed.unknown
    assert "model.layers" not in parsed.unknown


def test_what_follows_from_the_unknown_is_unknown():
    model = {"layers": 2, "hidden": 0, "heads": "x"}
    unknown = parse_job({"model": model, "data": {"tokenizer": "x"}}).unknown
    assert {"model.heads", "model.kv_heads", "model.hidden", "model.ffn", "model.vocab"} <= unknown


def test_a_name_that_nobody_has_hides_the_whole_shape():
    parsed = parse_job({"model": {"name": "gtp2", "heads": 3}})
    assert [problem.key for problem in parsed.problems] == ["model.name"]
    assert {"model.layers", "model.norm", "model.kv_heads"} <= parsed.unknown
    assert "model.heads" not in parsed.unknown


# ---- properties -----------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.none(), st.dates(),
    st.sampled_from(["gpt", "rope", "none", "local", "bytes", 10**400]),
)  # fmt: skip
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=4), SCALARS, max_size=2))
NAMES = {table: st.one_of(st.sampled_from(known_keys(table)), st.text(max_size=6)) for table in known_keys("")}
ANY_TABLES = st.fixed_dictionaries(
    {}, optional={name: st.one_of(st.dictionaries(keys, VALUES, max_size=4), VALUES) for name, keys in NAMES.items()}
)


@given(ANY_TABLES)
def test_nothing_that_stands_in_a_file_is_too_strange(tables):
    parsed = parse_job(tables)
    keys = [problem.key for problem in parsed.problems]
    assert len(keys) == len(set(keys))
    assert all(problem.message and problem.legal != "" for problem in parsed.problems)


@given(st.sampled_from([f"{table}.{key}" for table in known_keys("") for key in known_keys(table)]), VALUES)
def test_a_value_is_taken_as_it_is_or_its_key_is_refused(key, value):
    table = contract_table({key: value})
    parsed = parse_job(table)
    section, _, name = key.partition(".")
    if key in {problem.key for problem in parsed.problems} or key == "model.name":
        return
    if name in job_table(parsed.job)[section]:
        assert job_table(parsed.job)[section][name] == value


def test_a_job_survives_a_file(tmp_path):
    table = contract_table({"data.text": ["python-stdlib", "x.txt"], "plan.tensor_shares": [1.5]}, ["plan.stages"])
    path = tmp_path / "job.toml"
    path.write_text(tomli_w.dumps(job_table(job_from_table(table))))
    assert read_job(path) == job_from_table(table)


@pytest.mark.parametrize("table", TABLES)
def test_every_key_says_what_it_takes(table):
    for key in known_keys(table):
        assert len(description(f"{table}.{key}" if table else key).split()) > 1
