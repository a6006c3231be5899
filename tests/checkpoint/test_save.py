"""Saving: what stands on disk at every moment, also when it is the last."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from plait.checkpoint.families import WEIGHTS
from plait.checkpoint.load import load_whole
from plait.checkpoint.manifest import MANIFEST, read_manifest
from plait.checkpoint.rank_file import write_boxes
from plait.checkpoint.save import save_tensors
from plait.errors import UnusableInput
from plait.layers.gpt import describe_gpt
from plait.plans.plan import Plan
from tests.checkpoint.layouts import GPT2, LLAMA, one_rank, save_as, whole_weights

LAYERS = describe_gpt(GPT2)
TWO = Plan(tensor=2, stages=(3,), tensor_shares=(1, 1))
THREE = Plan(tensor=3, stages=(3,), tensor_shares=(1, 1, 1))
OLD, NEW = whole_weights(LAYERS, seed=1), whole_weights(LAYERS, seed=2)


class Killed(BaseException):
    """What a test kills a rank with."""


def kill() -> None:
    raise Killed


def names_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def assert_holds(directory: Path, weights: dict[str, torch.Tensor]) -> None:
    found = load_whole(directory)
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_directory_holds_one_save_and_nothing_else(tmp_path: Path) -> None:
    save_as(THREE, tmp_path, GPT2, OLD, step=1)
    save_as(TWO, tmp_path, GPT2, NEW, step=2)
    assert names_in(tmp_path) == {MANIFEST, "step-2/rank-0.safetensors", "step-2/rank-1.safetensors"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "step-2"]
    assert_holds(tmp_path, NEW)
    assert read_manifest(tmp_path).step == 2


def test_the_same_step_can_be_saved_again_and_again(tmp_path: Path) -> None:
    for number in range(4):
        weights = whole_weights(LAYERS, seed=number)
        save_as(TWO, tmp_path, GPT2, weights, step=2)
        assert_holds(tmp_path, weights)
        assert len(names_in(tmp_path)) == 3


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("ranks", [[1], [2, 0], [2, 1]])
def test_a_kill_before_all_files_are_down_leaves_the_older_weights(tmp_path: Path, step: int, ranks: list[int]) -> None:
    save_as(TWO, tmp_path, GPT2, OLD, step=1)
    for rank in ranks:
        with pytest.raises(Killed):
            save_as(THREE, tmp_path, GPT2, NEW, step=step, ranks=[rank], barrier=kill)
    assert_holds(tmp_path, OLD)
    assert read_manifest(tmp_path).step == 1
    save_as(TWO, tmp_path, GPT2, NEW, step=step)  # fewer ranks: the third one's file is nobody's now
    assert_holds(tmp_path, NEW)
    assert len(names_in(tmp_path)) == 3


def test_a_kill_before_all_files_are_down_leaves_no_manifest_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        save_as(TWO, tmp_path, GPT2, NEW, ranks=[0], barrier=kill)
    with pytest.raises(UnusableInput, match="not saved whole"):
        load_whole(tmp_path)


def test_a_kill_while_the_manifest_moves_leaves_the_older_weights(tmp_path: Path, monkeypatch) -> None:
    save_as(TWO, tmp_path, GPT2, OLD, step=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: kill())
        with pytest.raises(Killed):
            save_as(TWO, tmp_path, GPT2, NEW, step=2)
    assert_holds(tmp_path, OLD)
    save_as(TWO, tmp_path, GPT2, NEW, step=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "step-3"]


def test_no_manifest_is_written_before_every_rank_has_come_and_nobody_goes_on_before_it_is(tmp_path: Path) -> None:
    seen: list[bool] = []
    save_as(one_rank(GPT2), tmp_path, GPT2, NEW, barrier=lambda: seen.append((tmp_path / MANIFEST).exists()))
    assert seen == [False, True]


def test_a_damaged_manifest_does_not_keep_anybody_from_saving(tmp_path: Path) -> None:
    save_as(TWO, tmp_path, GPT2, OLD, step=1)
    (tmp_path / MANIFEST).write_text("{")
    save_as(TWO, tmp_path, GPT2, NEW, step=1)
    assert_holds(tmp_path, NEW)


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    weights, elsewhere = tmp_path / "weights", tmp_path / "elsewhere"
    (weights / "notes").mkdir(parents=True)
    (weights / "step-one").mkdir()
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (weights / "step-9").symlink_to(elsewhere)
    save_as(TWO, weights, GPT2, NEW, step=2)
    assert sorted(path.name for path in weights.iterdir()) == [MANIFEST, "notes", "step-2", "step-9", "step-one"]
    assert (elsewhere / "precious").exists()


def test_a_full_disk_is_said_and_the_older_weights_stay(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save_as(TWO, tmp_path, GPT2, OLD, step=1)
    for place in ("plait.checkpoint.rank_file.save_file", "pathlib.Path.write_text", "pathlib.Path.mkdir"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(UnusableInput) as caught:
                save_as(TWO, tmp_path, GPT2, NEW, step=2)
        assert str(caught.value) == f"{tmp_path}: the weights can't be saved: No space left on device"
        assert_holds(tmp_path, OLD)


def test_the_library_s_own_words_for_a_full_disk_reach_the_user(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("plait.checkpoint.rank_file.save_file", full)
    with pytest.raises(UnusableInput, match=r"the weights can't be saved: .*No space left on device"):
        save_as(one_rank(GPT2), tmp_path, GPT2, NEW)


def test_what_can_t_be_removed_fails_no_save(tmp_path: Path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    save_as(TWO, tmp_path, GPT2, OLD, step=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refused)
        with pytest.warns(UserWarning, match=r"older ones can't be removed: .*denied"):
            save_as(TWO, tmp_path, GPT2, NEW, step=2)
    assert_holds(tmp_path, NEW)
    save_as(TWO, tmp_path, GPT2, OLD, step=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "step-3"]


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    with pytest.raises(UnusableInput, match=r"can't be saved: (Not a directory|File exists)"):
        save_as(one_rank(GPT2), tmp_path / "weights", GPT2, NEW)


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_boxes(tmp_path / "f.safetensors", {"a": torch.zeros(3)})
    finally:
        os.umask(before)
    assert (tmp_path / "f.safetensors").stat().st_mode & 0o777 == 0o640


def test_learning_goes_on_while_nothing_saved_changes(tmp_path: Path) -> None:
    """What is saved are values: parameters that need gradients, views that are not contiguous."""
    layers = describe_gpt(LLAMA)
    whole = whole_weights(layers)
    turned = {
        name: torch.nn.Parameter(w.clone().t().contiguous().t() if w.dim() > 1 else w.clone())
        for name, w in whole.items()
    }
    save_tensors(tmp_path, {WEIGHTS: turned}, layers, one_rank(LLAMA), 0, step=0, barrier=lambda: None)
    with torch.no_grad():
        for weight in turned.values():
            weight.zero_()
    assert_holds(tmp_path, whole)
