"""Reading back: any plan reads what any other wrote, and damage is named, never returned."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from plait.checkpoint import load
from plait.checkpoint.load import load_weights, load_whole
from plait.checkpoint.manifest import MANIFEST, Manifest, read_manifest
from plait.errors import UnusableInput
from plait.layers.gpt import describe_gpt
from plait.plans.plan import Plan
from tests.checkpoint.layouts import GPT2, LLAMA, cut, decoders, held_by, one_rank, plans, save_as, whole_weights

LAYERS = describe_gpt(GPT2)
TWO = Plan(tensor=2, stages=(3,), tensor_shares=(1, 1))
WTE = "transformer.wte.weight"


@given(st.data())
@settings(max_examples=30)
def test_any_plan_reads_what_any_other_wrote(data) -> None:
    spec = data.draw(decoders())
    writer, reader = data.draw(plans(spec)), data.draw(plans(spec))
    layers = describe_gpt(spec)
    whole = whole_weights(layers, dtype=data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16])))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        save_as(writer, directory, spec, whole)
        for rank in range(reader.ranks):
            held = held_by(layers, reader, rank)
            found = load_weights(directory, held)
            expected = {one.weight.name: cut(whole[one.weight.name], one) for one in held}
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[key], expected[key]) for key in expected)
            assert all(found[key].dtype == expected[key].dtype for key in expected)
        again = load_whole(directory)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Weights as two tensor ranks leave them."""
    save_as(TWO, tmp_path, GPT2, whole_weights(LAYERS), step=4)
    return tmp_path


def file_of(saved: Path, rank: int = 1) -> Path:
    return saved / "step-4" / f"rank-{rank}.safetensors"


def refused(saved: Path) -> str:
    """The words in which reading is refused, which name the path."""
    with pytest.raises(UnusableInput) as caught:
        load_whole(saved)
    assert str(caught.value).startswith(str(saved))
    return str(caught.value)


def rewrite(path: Path, change) -> None:
    """Another file with other tensors and the old checksums, all well-formed."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as source:
        metadata = source.metadata()
    save_file(change(tensors), path, metadata=metadata)


def test_values_come_in_the_dtype_asked_for(saved: Path) -> None:
    whole = whole_weights(LAYERS)
    assert torch.equal(load_whole(saved, torch.float64)[WTE], whole[WTE].double())
    found = load_weights(saved, held_by(LAYERS, one_rank(GPT2), 0), torch.bfloat16)
    assert torch.equal(found[WTE], whole[WTE].bfloat16())


def test_one_flipped_bit_is_found(saved: Path) -> None:
    content = bytearray(file_of(saved).read_bytes())
    content[-100] ^= 4
    file_of(saved).write_bytes(content)
    assert "rank-1.safetensors: transformer." in refused(saved)
    assert "is damaged: its checksum is not the saved one" in refused(saved)


def test_damage_elsewhere_does_not_keep_a_rank_from_its_part(saved: Path) -> None:
    file_of(saved, 1).unlink()
    first = held_by(LAYERS, TWO, 0)
    assert load_weights(saved, first).keys() == {held.weight.name for held in first}


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_truncated_file(saved: Path, kept: int) -> None:
    content = file_of(saved).read_bytes()
    file_of(saved).write_bytes(content[:kept])
    assert "rank-1.safetensors: damaged, or no file of saved weights" in refused(saved)


def test_a_header_of_nonsense(saved: Path) -> None:
    file_of(saved).write_bytes(b"\xff" * 1000)
    assert "damaged" in refused(saved)


def test_a_missing_file(saved: Path) -> None:
    file_of(saved).unlink()
    assert "rank-1.safetensors: missing, though its manifest names it" in refused(saved)


def test_a_directory_in_its_place(saved: Path) -> None:
    file_of(saved).unlink()
    file_of(saved).mkdir()
    assert "damaged, or no file" in refused(saved)


def test_a_box_that_is_not_there(saved: Path) -> None:
    rewrite(file_of(saved), lambda tensors: {key: t for key, t in tensors.items() if not key.startswith(WTE)})
    assert f"{WTE}@0" in refused(saved)


def test_a_box_of_another_shape(saved: Path) -> None:
    rewrite(file_of(saved), lambda tensors: {**tensors, f"{WTE}@0": torch.zeros(5, 11)})
    assert f"{WTE}@0 is F32 (5, 11); its manifest says F32 (5, 12)" in refused(saved)


def test_a_box_of_another_dtype(saved: Path) -> None:
    rewrite(file_of(saved), lambda tensors: {**tensors, f"{WTE}@0": tensors[f"{WTE}@0"].double()})
    assert f"{WTE}@0 is F64 (5, 12); its manifest says F32 (5, 12)" in refused(saved)


def test_other_values_under_the_same_key(saved: Path) -> None:
    rewrite(file_of(saved), lambda tensors: {**tensors, f"{WTE}@0": tensors[f"{WTE}@0"] + 1})
    assert f"{WTE}@0 is damaged" in refused(saved)


def test_a_file_without_checksums(saved: Path) -> None:
    save_file(load_file(file_of(saved)), file_of(saved))
    assert "is damaged: its checksum" in refused(saved)


def test_sizes_that_no_machine_has_are_refused_before_anything_is_allocated(saved: Path) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    boxes = [box for box in manifest["boxes"] if box["name"] == WTE]
    for box in boxes:
        box["box"][1] = [0, 2**40]
    manifest["shapes"][WTE][1] = 2**40
    (saved / MANIFEST).write_text(json.dumps(manifest))
    assert f"{WTE}@0 is F32 (6, 12); its manifest says F32 (6, {2**40})" in refused(saved)


def test_another_model_s_weights(saved: Path) -> None:
    with pytest.raises(UnusableInput, match=r"holds no model\.embed_tokens\.weight: these are another model's weights"):
        load_weights(saved, held_by(describe_gpt(LLAMA), one_rank(LLAMA), 0))
    larger = replace(GPT2, vocab=12)
    with pytest.raises(UnusableInput, match=r"wte\.weight is \(11, 12\), and the model needs \(12, 12\)"):
        load_weights(saved, held_by(describe_gpt(larger), one_rank(larger), 0))


def test_what_is_saved_anew_while_it_is_read_is_read_anew(saved: Path, monkeypatch) -> None:
    older, newer = read_manifest(saved), whole_weights(LAYERS, seed=9)
    save_as(TWO, saved, GPT2, newer, step=5)
    manifests: list[Manifest] = [older, read_manifest(saved)]
    monkeypatch.setattr(load, "read_manifest", lambda _: manifests.pop(0))
    assert torch.equal(load_whole(saved)[WTE], newer[WTE])
    assert manifests == []
