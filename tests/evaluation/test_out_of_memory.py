"""Runs whose memory ran out: by what is written of them, and how good the answers about them are."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.evaluation.memory_words import speaks_of_running_out
from plait.evaluation.out_of_memory import answer, out_of_memory, ran_out
from plait.evaluation.rows import read_rows
from plait.evaluation.scores import Found

OWN = {"mbs": 4.0, "tp": 2.0}


@pytest.mark.parametrize(
    "text",
    ["OOM", "oom", "OOMs", "OOM'd", "cuda_oom", "CUDA out of memory", "out-of-memory", "torch.OutOfMemoryError",
     "ran out of GPU memory", "L917; 02-28; OOM (infeasible) on 80GB", "OOM, no iteration completed", "OOM at mbs 4",
     "OOM: no iteration completed", "ZeRO OOM", "not measured: OOM",
     "did not run due to OOM", "no result (OOM)", "no warnings; OOM", "no time stated. OOM"],
)  # fmt: skip
def test_words_for_running_out(text: str) -> None:
    assert speaks_of_running_out(text, OWN)


@pytest.mark.parametrize(
    "text",
    ["", "no OOM", "No OOMs", "did not OOM", "didn't OOM", "didn’t go OOM", "without OOM", "without any OOM", "w/o OOM",
     "never OOM", "non-OOM", "OOM-free", "OOM: no", "OOM=False", "no CUDA out of memory", "no sign of OOM",
     "did not run out of memory", "without running out of memory", "to avoid OOM", "OOM avoided", "close to OOM",
     "OOM did not occur", "OOM was not observed", "tuned so as not to OOM", "fixed OOM by recompute", "OOM risk",
     "BLOOM", "boom", "memory 40 GiB"],
)  # fmt: skip
def test_words_for_not_running_out(text: str) -> None:
    assert not speaks_of_running_out(text, OWN)


@pytest.mark.parametrize(
    "text",
    [
        "mbs 8 OOM",
        "mbs=8: OOM",
        "OOM with tp 1",
        "larger batches OOM",
        "mbs 4 would OOM",
        "OOM at larger mbs",
        "OOMs above mbs 4",
        "OOM with it off",
        "no recompute (OOM with it off)",
        "full (OOM without)",
        "selective recompute: OOM when disabled",
        "OOM without offload",
        "without offload: OOM",
        "with flash attention off it OOMs",
        "OOM if sequence parallelism is off",
        "OOM otherwise",
        "OOM before the fix",
    ],
)
def test_words_about_another_run(text: str) -> None:
    assert not speaks_of_running_out(text, OWN)


@pytest.mark.parametrize(
    ("text", "recomputes"),
    [("OOM without recompute", False), ("OOM with activation checkpointing disabled", False),
     ("OOM with recompute on", True), ("without checkpointing OOM", False)],
)  # fmt: skip
def test_a_switch_is_the_run_s_own_where_it_has_it_so(text: str, recomputes: bool) -> None:
    assert speaks_of_running_out(text, OWN, recomputes=recomputes)
    assert not speaks_of_running_out(text, OWN, recomputes=not recomputes)
    assert not speaks_of_running_out(text, OWN)


def test_a_row_says_it_in_its_notes_or_in_place_of_what_was_measured(tmp_path: Path) -> None:
    head = "model,gpu,n_gpus,gbs,seq,iter_s,mem_gib,notes"
    cells = ("OOM,,", ",OOM,", ",,OOM", "1.5,40,no OOM", "1.5,no OOM,", ",,", "1.5,40,OOM with more layers")
    lines = [f"GPT,A100,8,64,2048,{cell}" for cell in cells]
    (path := tmp_path / "runs.csv").write_text("\n".join([head, *lines]))
    rows = read_rows(path)
    assert not any(row.problems for row in rows)
    assert [ran_out(row) for row in rows] == [True, True, True, False, False, None, False]


def test_between_what_fits_and_what_runs_out_the_answer_is_uncertain() -> None:
    assert [answer(chance) for chance in (0.0, 0.1, 0.11, 0.5, 0.89, 0.91, 1.0)] == [
        "fits", "fits", "uncertain", "uncertain", "uncertain", "runs_out", "runs_out",
    ]  # fmt: skip


def test_answers_are_counted_by_what_came_of_them() -> None:
    found = out_of_memory(
        [
            (0.95, True),
            (0.95, False),
            (0.5, True),
            (0.2, False),
            (0.01, False),
            (0.01, True),
            (None, True),
            (0.99, None),
        ]
    )
    assert (found.n, found.skipped) == (4, 1)
    assert found.ran == {"fits": 1, "uncertain": 1, "runs_out": 1}
    assert found.ran_out == {"fits": 1, "uncertain": 1, "runs_out": 1}
    assert found.flagged == Found(precision=1 / 2, recall=1 / 3)
    assert found.certain == Found(precision=1 / 2, recall=1 / 2)
    assert found.refused == Found(precision=1 / 2, recall=2 / 3)
