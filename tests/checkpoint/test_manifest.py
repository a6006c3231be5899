"""The manifest: what it promises for any plan, and what it refuses to believe."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.checkpoint.manifest import MANIFEST, parse_manifest, plan_manifest, read_manifest, stored_boxes
from plait.checkpoint.tiling import sizes
from plait.errors import UnusableInput
from plait.layers.gpt import describe_gpt
from plait.plans.plan import Plan
from tests.checkpoint.layouts import GPT2, LLAMA, decoders, one_rank, plans


def valid() -> dict:
    """A small manifest, to be spoilt."""
    return {
        "format": 1,
        "step": 3,
        "dtype": "float32",
        "shapes": {"w": [4, 6]},
        "boxes": [
            {"name": "w", "box": [[0, 1], [0, 6]], "file": "step-3/rank-0.safetensors", "key": "w@0"},
            {"name": "w", "box": [[1, 4], [0, 6]], "file": "step-3/rank-1.safetensors", "key": "w@0"},
        ],
    }


def box(**changed: object) -> dict:
    return {**valid()["boxes"][1], **changed}


@given(st.data())
@settings(max_examples=50)
def test_every_element_of_any_model_is_stored_exactly_once_under_any_plan(data) -> None:
    spec = data.draw(decoders())
    plan = data.draw(plans(spec))
    layers = describe_gpt(spec)
    manifest = plan_manifest(layers, plan, step=5, dtype="float32", folder="step-5")
    assert parse_manifest(manifest.text()) == manifest  # which holds every tensor's boxes against its shape
    unique = {weight.name: prod(weight.shape) for layer in layers for weight in layer.weights}
    assert sum(prod(sizes(stored.box)) for stored in manifest.boxes) == sum(unique.values())
    assert len({(stored.file, stored.key) for stored in manifest.boxes}) == len(manifest.boxes)


def test_copies_are_written_once() -> None:
    layers = describe_gpt(LLAMA)  # 2 kv heads on 4 ranks
    plan = Plan(data=2, tensor=4, pipeline=1, stages=(3,), tensor_shares=(1, 1, 1, 1), data_shares=(1, 1))
    writers = [{place.name for _, place in stored_boxes(layers, plan, rank, "step-0")} for rank in range(plan.ranks)]
    k = "model.layers.0.self_attn.k_proj.weight"
    assert [k in names for names in writers] == [
        True,
        False,
        True,
        False,
        *[False] * 4,
    ]  # data rank 0, one a pair
    norm = "model.norm.weight"
    assert [norm in names for names in writers] == [True, *[False] * 7]


def test_a_tied_weight_is_written_by_its_first_stage() -> None:
    layers = describe_gpt(GPT2)
    plan = Plan(pipeline=3, stages=(1, 1, 1))
    writers = [{place.name for _, place in stored_boxes(layers, plan, rank, "step-0")} for rank in range(plan.ranks)]
    assert ["transformer.wte.weight" in names for names in writers] == [True, False, False]


def test_its_text_has_one_line_a_box() -> None:
    manifest = plan_manifest(describe_gpt(GPT2), one_rank(GPT2), step=0, dtype="float64", folder="step-0")
    assert sum('"key"' in line for line in manifest.text().splitlines()) == len(manifest.boxes)


SPOILT = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a list": [],
    "nothing": {},
    "a newer format": {**valid(), "format": 2},
    "a negative step": {**valid(), "step": -1},
    "a step in words": {**valid(), "step": "3"},
    "an unknown dtype": {**valid(), "dtype": "float31"},
    "a dtype that torch has as something else": {**valid(), "dtype": "nn"},
    "no shapes": {**valid(), "shapes": {}},
    "a negative size": {**valid(), "shapes": {"w": [4, -6]}},
    "a size that is no whole number": {**valid(), "shapes": {"w": [4, 6.5]}},
    "a size beyond 64 bits": {**valid(), "shapes": {"w": [4, 10**40]}},
    "a larger tensor than its boxes": {**valid(), "shapes": {"w": [4, 2**62]}},
    "a smaller one": {**valid(), "shapes": {"w": [3, 6]}},
    "a tensor without boxes": {**valid(), "shapes": {"w": [4, 6], "v": [1]}},
    "a box missing": {**valid(), "boxes": valid()["boxes"][:1]},
    "a box twice": {**valid(), "boxes": [*valid()["boxes"], box()]},
    "boxes that overlap": {**valid(), "boxes": [valid()["boxes"][0], box(box=[[0, 3], [0, 6]])]},
    "a box with a dim too few": {**valid(), "boxes": [valid()["boxes"][0], box(box=[[1, 4]])]},
    "an interval with three ends": {**valid(), "boxes": [valid()["boxes"][0], box(box=[[1, 4, 5], [0, 6]])]},
    "a negative box": {**valid(), "boxes": [valid()["boxes"][0], box(box=[[-1, 4], [0, 6]])]},
    "a file above": {**valid(), "boxes": [valid()["boxes"][0], box(file="../rank-1.safetensors")]},
    "a file elsewhere": {**valid(), "boxes": [valid()["boxes"][0], box(file="/etc/passwd")]},
    "a file around": {**valid(), "boxes": [valid()["boxes"][0], box(file="step-3/../../rank-1.safetensors")]},
    "a file with a line end": {**valid(), "boxes": [valid()["boxes"][0], box(file="step-3/rank-1.safetensors\n")]},
    "a pickle": {**valid(), "boxes": [valid()["boxes"][0], box(file="step-3/rank-1.pt")]},
    "no key": {**valid(), "boxes": [valid()["boxes"][0], {"name": "w", "box": [[1, 4], [0, 6]]}]},
}


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
def test_it_says_where_it_is_and_what_is_wrong(tmp_path: Path, content: object) -> None:
    path = tmp_path / MANIFEST
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(UnusableInput) as caught:
        read_manifest(tmp_path)
    words = str(caught.value)
    assert words.startswith(f"{path}: not a manifest of saved weights: ")
    assert len(words) > len(f"{path}: not a manifest of saved weights: ") + 10
    assert "\n" not in words


def test_a_valid_one_is_read(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(valid()))
    manifest = read_manifest(tmp_path)
    assert (manifest.step, manifest.shapes, manifest.boxes[1].box) == (3, {"w": (4, 6)}, ((1, 4), (0, 6)))


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.just("x"), lambda inner: st.lists(inner, max_size=3)),
    st.data(),
)
@settings(max_examples=50)
def test_nothing_in_any_place_escapes(value: object, data: st.DataObject) -> None:
    spoilt = valid()
    place = data.draw(st.sampled_from([spoilt, spoilt["boxes"][0], spoilt["shapes"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = value
    try:
        parse_manifest(json.dumps(spoilt))
    except ValueError as error:
        words = str(error)
        assert words


@pytest.mark.parametrize("missing", ["nowhere", "file/weights"])
def test_no_manifest_means_not_saved_whole(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusableInput, match=r"manifest\.json: not there, .* not saved whole"):
        read_manifest(tmp_path / missing)


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(UnusableInput, match="can't be read: Is a directory"):
        read_manifest(tmp_path)
