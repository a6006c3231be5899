"""What a row says of its model and its plan: which weights it trained, and whether such ranks can have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.evaluation.evaluate import judge
from plait.evaluation.reading import Unreadable, read_run
from plait.evaluation.rows import Row, read_rows

HEAD = (
    "model,arch,layers,hidden,heads,kv_heads,gpu,n_gpus,gpus_per_node,interconnect,gbs,seq,iter_s,tp,pp,cp,ep,vpp,mbs,"
    "recompute,precision,notes"
)


def row(tmp_path: Path, **cells: str) -> Row:
    told = {
        "model": "DeepSeekV3", "gpu": "B200", "n_gpus": "256", "gbs": "2048", "seq": "4096", "iter_s": "15.3",
        "tp": "1", "pp": "16", "ep": "8", "mbs": "1", "recompute": "full", "precision": "BF16", **cells,
    }  # fmt: skip
    path = tmp_path / "runs.csv"
    cells_in_order = (f'"{told.get(name, "")}"' for name in HEAD.split(","))
    path.write_text(f"{HEAD}\n{','.join(cells_in_order)}\n")
    (found,) = read_rows(path)
    return found


@pytest.mark.parametrize(
    ("cells", "layers"),
    [
        ({}, 1),
        ({"model": "DeepSeekV3 (w/ MTP)"}, 1),
        ({"model": "DeepSeekV3 (w/o MTP)"}, 0),
        ({"notes": "trained without MTP"}, 0),
        ({"model": "Kimi_K2"}, 0),
    ],
)
def test_a_row_may_leave_out_the_prediction_of_further_tokens(
    tmp_path: Path, cells: dict[str, str], layers: int
) -> None:
    assert read_run(row(tmp_path, **cells)).task.model.prediction_layers == layers


def test_and_is_then_predicted_to_take_less(tmp_path: Path) -> None:
    with_it, without = (judge(row(tmp_path, model=f"DeepSeekV3 ({word} MTP)")) for word in ("w/", "w/o"))
    assert with_it.seconds is not None
    assert without.seconds is not None
    assert without.ideal is not None
    assert with_it.ideal is not None
    assert with_it.seconds > 1.01 * without.seconds
    assert 1.01 < with_it.ideal / without.ideal < 1.1


@pytest.mark.parametrize(("tensor", "expert"), [("1", "16"), ("8", "16"), ("2", "4")])
def test_experts_may_stand_on_the_ranks_of_every_axis_of_a_stage(tmp_path: Path, tensor: str, expert: str) -> None:
    assert read_run(row(tmp_path, tp=tensor, ep=expert)).plans.expert[0] == int(expert)


def test_experts_that_fill_no_whole_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="ep does not divide"):
        read_run(row(tmp_path, ep="32"))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"mbs": "256"}, "fewer sequences in a batch than microbatch × data ranks"),
        ({"gbs": "8"}, "fewer sequences in a batch than microbatch × data ranks"),
        ({"model": "Llama3-8B", "pp": "64", "ep": "1"}, "fewer layers than stages"),
        ({"model": "Llama3-8B", "pp": "16", "ep": "1", "vpp": "3"}, "fewer layers than stages"),
        (
            {"model": "Llama3-8B", "pp": "2", "tp": "64", "ep": "1"},
            "more tensor ranks than heads, which is not modelled",
        ),
        ({"model": "Llama3-8B", "pp": "2", "ep": "4"}, "ep of a model that has no experts"),
        ({"ep": "16", "tp": "16", "pp": "1", "n_gpus": "768", "gbs": "4096"}, None),
        ({"ep": "48", "tp": "16", "pp": "1", "n_gpus": "768", "gbs": "4096"}, "ep does not divide the experts"),
        ({"cp": "8", "seq": "4"}, "more context ranks than tokens of a sequence"),
        (
            {"hidden": "4096", "layers": "32", "heads": "32", "kv_heads": "5", "ep": "1"},
            "kv_heads does not divide heads",
        ),
        (
            {"hidden": "512", "layers": "32", "ep": "1", "arch": "T5 encoder-decoder"},
            "an architecture that is no decoder",
        ),
        (
            {
                "hidden": "512",
                "layers": "32",
                "heads": "8",
                "ep": "1",
                "arch": "dense, no MoE",
                "notes": "without LoRA",
            },
            None,
        ),
    ],
)
def test_a_plan_that_can_t_have_run_is_refused(tmp_path: Path, cells: dict[str, str], words: str | None) -> None:
    if words is None:
        assert judge(row(tmp_path, **cells)).seconds
        return
    with pytest.raises(Unreadable, match=words):
        read_run(row(tmp_path, **cells))


@pytest.mark.parametrize(
    ("cells", "assumed"),
    [
        ({}, {"inside", "between"}),
        ({"interconnect": "NVLink"}, {"between"}),
        ({"interconnect": "NVLink", "n_gpus": "8", "pp": "1"}, set()),  # one host
        ({"n_gpus": "8", "pp": "1"}, {"inside"}),
        ({"gpus_per_node": "1"}, {"between"}),
        ({"gpus_per_node": "1", "n_gpus": "1", "pp": "1", "ep": "1"}, set()),
        ({"gpu": "GB200", "interconnect": "NVL72", "n_gpus": "64", "gpus_per_node": "4", "pp": "4"}, set()),  # one rack
    ],
)
def test_links_that_nothing_is_sent_over_are_not_assumed(
    tmp_path: Path, cells: dict[str, str], assumed: set[str]
) -> None:
    assert read_run(row(tmp_path, gbs="4096", **cells)).assumed == assumed
