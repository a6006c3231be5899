"""A run's directory: loaded whatever plan it was trained under, and refused in words where it is not whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from plait.data.tokenizer import make_tokenizer
from plait.errors import UnusableInput
from plait.inference.saved_run import load_run
from plait.plans.plan import Plan
from tests.checkpoint.layouts import one_rank, save_as
from tests.inference.models import BYTES, GPT2, decoder, leave_run, plain_logits

PLANS = {
    "one rank": one_rank(BYTES),
    "tensor": Plan(tensor=4, stages=(2,), tensor_shares=(1, 2, 1, 1)),
    "pipeline": Plan(pipeline=2, stages=(1, 1)),
    "all": Plan(data=2, tensor=2, pipeline=2, stages=(1, 1), tensor_shares=(1, 1), data_shares=(1, 1)),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_it_is_the_model_that_was_trained_bit_for_bit(tmp_path: Path, plan: Plan) -> None:
    made = leave_run(tmp_path / "run", plan=plan)
    run = load_run(tmp_path / "run")
    found, expected = dict(run.decoder.named_parameters()), dict(made.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(plain_logits(run.decoder, [1, 2, 3]), plain_logits(made, [1, 2, 3]))
    assert (run.step, run.tokenizer.encode("é"), run.decoder.spec) == (7, [0xC3, 0xA9], BYTES)
    assert not run.decoder.training


def test_tied_and_learned_too(tmp_path: Path) -> None:
    spec = replace(GPT2, vocab=256)
    made = leave_run(tmp_path / "run", spec, plan=Plan(tensor=3, pipeline=2, stages=(1, 1), tensor_shares=(1, 1, 1)))
    run = load_run(tmp_path / "run")
    assert run.decoder.head.weight.data_ptr() == run.decoder.trunk["wte"].weight.data_ptr()
    assert torch.equal(plain_logits(run.decoder, [1, 2, 3]), plain_logits(made, [1, 2, 3]))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    leave_run(tmp_path / "run", plan=PLANS["tensor"])
    return tmp_path / "run"


def refused(run: Path) -> str:
    with pytest.raises(UnusableInput) as caught:
        load_run(run)
    assert str(caught.value).startswith(str(run))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_model(run: Path, **changed: object) -> None:
    (run / "model.json").write_text(json.dumps({**asdict(BYTES), **changed}))


def test_no_run(tmp_path: Path) -> None:
    assert "there is no such run; `plait train` leaves one" in refused(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert "there is no such run" in refused(tmp_path / "file")


def test_a_directory_of_something_else(tmp_path: Path) -> None:
    assert "model.json: missing, so that this is no run" in refused(tmp_path)


def test_training_that_has_not_finished(run: Path) -> None:
    (run / "weights" / "manifest.json").unlink()
    assert "has no saved weights: its training has not finished" in refused(run)
    shutil.rmtree(run / "weights")
    assert "has no saved weights: its training has not finished" in refused(run)


def test_no_tokenizer(run: Path) -> None:
    (run / "tokenizer.json").unlink()
    with pytest.raises(UnusableInput, match=r"tokenizer\.json can't be read"):
        load_run(run)


def test_another_tokenizer(run: Path) -> None:
    make_tokenizer("bpe:260", ["plain words, plain words and more plain words"]).save(run / "tokenizer.json")
    assert "tokenizer.json: has 260 tokens, and the model knows 256" in refused(run)


SPOILT = {
    "no JSON": ("{", "Invalid JSON"),
    "no text": (b"\xff", "Invalid JSON"),
    "empty": ("{}", "layers Field required"),
    "words": ({"layers": "2"}, "layers Input should be a valid integer"),
    "no layers": ({"layers": 0}, "layers = 0"),
    "fewer than none": ({"vocab": -256}, "vocab = -256"),
    "more than there are numbers": ({"ffn": 10**30}, "ffn = 1000"),
    "heads that do not fit": ({"heads": 5}, "24 features, 5 heads and 2 kv heads"),
    "kv heads that do not fit": ({"kv_heads": 3}, "4 heads and 3 kv heads"),
    "an odd turn": ({"hidden": 12}, "3 features of a head can't be turned in pairs"),
    "another family": ({"family": "t5"}, "a t5 with rope positions"),
    "an unknown family": ({"family": "rwkv"}, "family Input should be 'gpt'"),
    "other positions": ({"positions": "alibi"}, "a gpt with alibi positions"),
}


@pytest.mark.parametrize(("content", "words"), SPOILT.values(), ids=SPOILT)
def test_a_shape_that_is_none(run: Path, content: object, words: str) -> None:
    match content:
        case dict():
            write_model(run, **content)
        case bytes():
            (run / "model.json").write_bytes(content)
        case _:
            (run / "model.json").write_text(str(content))
    assert refused(run).startswith(f"{run / 'model.json'}: not the shape of a model: ")
    assert words in refused(run)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"layers": 10**12}, "the weights of fewer layers than the 1000000000000 of model.json"),
        ({"layers": 3}, "holds no model.layers.2.input_layernorm.weight"),
        ({"ffn": 41}, "gate_proj.weight is (40, 24), and the model needs (41, 24)"),
        ({"vocab": 10**15}, "embed_tokens.weight is (256, 24), and the model needs (1000000000000000, 24)"),
        ({"bias": True}, "holds no"),
    ],
)
def test_a_shape_of_another_model(run: Path, changed: dict, words: str) -> None:
    write_model(run, **changed)
    assert words in refused(run)


def test_a_directory_in_the_place_of_a_file(run: Path) -> None:
    (run / "model.json").unlink()
    (run / "model.json").mkdir()
    assert "model.json: can't be read: Is a directory" in refused(run)


def test_damaged_weights(run: Path) -> None:
    path = run / "weights" / "step-7" / "rank-2.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    assert "rank-2.safetensors: damaged" in refused(run)


def test_the_newest_weights_are_the_ones(run: Path) -> None:
    newer = {name: weight + 1 for name, weight in decoder(BYTES, dtype=torch.float32).named_parameters()}
    save_as(one_rank(BYTES), run / "weights", BYTES, newer, step=9)
    loaded = load_run(run)
    assert loaded.step == 9
    assert all(torch.equal(weight, newer[name]) for name, weight in loaded.decoder.named_parameters())


@pytest.mark.device
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="this machine has no accelerator")
def test_weights_go_where_they_are_wanted(run: Path) -> None:
    device = torch.accelerator.current_accelerator()
    found = load_run(run, device).decoder
    assert {weight.device.type for weight in found.parameters()} == {device.type}
