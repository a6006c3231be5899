"""Who holds what: every rank once, at the place where the mesh puts it, over the layers of its stage."""

import pytest

from plait.plans.plan import Plan
from plait.report.mesh import mesh, stage_contents
from tests.report.reading import assert_all_inside, parse

PLAN = Plan(data=2, tensor=2, pipeline=2, stages=(4, 3), data_shares=(1, 1), tensor_shares=(1, 1))


def test_every_rank_stands_where_the_mesh_puts_it():
    boxes = parse(mesh(PLAN)).all("rect", "rank")
    places = {box.attributes["data-tip"].split(":")[0]: (box.number("x"), box.number("y")) for box in boxes}
    assert len(places) == 8
    assert places["rank 0"][1] == places["rank 1"][1] == places["rank 4"][1] < places["rank 2"][1]
    assert places["rank 0"][0] < places["rank 1"][0] < places["rank 4"][0] < places["rank 5"][0]


def test_a_stage_says_what_it_holds():
    assert [stage_contents(PLAN, stage) for stage in (0, 1)] == ["embedding, 4 layers", "3 layers, head"]
    assert stage_contents(Plan(stages=(1,)), 0) == "embedding, 1 layer, head"


def test_every_layer_is_a_slat_in_its_order():
    slats = [rect.attributes["data-tip"] for rect in parse(mesh(PLAN)).all("rect", "slat")]
    assert slats == ["embedding", *(f"layer {k}" for k in range(7)), "head"]


def test_layers_whose_numbers_do_not_fit_are_one_slat_with_the_first_and_the_last():
    tree = parse(mesh(Plan(pipeline=8, stages=(4,) * 8)))
    slats = [rect.attributes["data-tip"] for rect in tree.all("rect", "slat")]
    assert slats[:6] == ["embedding", *(f"layer {k}" for k in range(4)), "layer 4"]
    assert slats[-2:] == ["layers 28–31", "head"]
    (slat,) = [rect for rect in tree.all("rect", "slat") if rect.attributes["data-tip"] == "layers 28–31"]
    (name,) = [text for text in tree.all("text", "tick") if text.text == "28–31"]
    assert slat.number("x") < name.number("x") < slat.number("x") + slat.number("width")


def test_uneven_tensor_shares_are_drawn_uneven():
    plan = Plan(tensor=2, stages=(2,), tensor_shares=(3, 1))
    first, second = (box.number("width") for box in parse(mesh(plan)).all("rect", "rank"))
    assert (first + 2) / (second + 2) == pytest.approx(3, abs=0.01)


def test_the_legend_names_the_axes_in_use():
    def axes(plan):
        return {next(iter(i.classes - {"swatch"})) for i in parse(mesh(plan)).all("i", "swatch")}

    assert axes(PLAN) == {"pipeline", "data", "tensor"}
    assert axes(Plan(pipeline=2, stages=(1, 1))) == {"pipeline"}
    assert axes(Plan(stages=(2,))) == set()
    assert "One rank holds everything." in mesh(Plan(stages=(2,)))


@pytest.mark.parametrize(
    "plan",
    [
        Plan(stages=(1,)),
        Plan(pipeline=64, stages=(1,) * 64),
        Plan(pipeline=8, data=8, stages=(16,) * 8),
        Plan(data=512, stages=(126,)),
        Plan(tensor=64, stages=(3,)),
        Plan(tensor=2, stages=(3,), tensor_shares=(1,)),
    ],
)
def test_nothing_leaves_the_picture(plan):
    tree = parse(mesh(plan))
    assert_all_inside(tree)
    drawn = len(tree.all("rect", "rank"))
    assert (drawn == plan.ranks) == ("the first are drawn" not in tree.text)
