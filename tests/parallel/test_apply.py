"""A plain model becomes a rank's part: its layers, its slices, and no byte of what belongs to others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from plait.collectives.process_groups import build_mesh
from plait.errors import PlaitError
from plait.layers.gpt import describe_gpt
from plait.layers.layer import Dim, Part
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.parallel.apply import parallelize
from tests.parallel.cases import CASES, GPT2, LLAMA, SEVEN, TIED, Case, plan
from tests.parallel.measured import allocated

SEED = 5
CHOSEN = [case for case in CASES if case.plan.ranks in (2, 3, 4) and case.plan.tensor + case.plan.pipeline > 2]


def materialised(model):
    decoder = Decoder(model, seed=SEED).double()
    initialise(decoder, model, SEED)
    return decoder


def parts(case):
    """This rank's weights, from a module that has only shapes and from one that has weights; and bytes of each."""
    mesh = build_mesh(case.plan.mesh)
    with torch.device("meta"):
        shapes_only = Decoder(case.model, seed=SEED).double()
    found = [parallelize(decoder, case.plan, mesh) for decoder in (shapes_only, materialised(case.model))]
    weights = [{name: weight.detach() for name, weight in model.weights.items()} for model in found]
    at_hand = [[*model.decoder.parameters(), *model.shards.values()] for model in found]
    held = found[0].kept if case.plan.zero == 3 else found[0].held
    return weights, [allocated(tensors) for tensors in at_hand], held


@pytest.mark.parametrize("case", CHOSEN, ids=str)
def test_drawn_and_sliced_weights_are_the_same(run_on_ranks, case):
    whole = dict(materialised(case.model).named_parameters())
    for (drawn, sliced), (bytes_drawn, bytes_sliced), held in run_on_ranks(case.plan.ranks, parts, case):
        assert drawn.keys() == sliced.keys() == held.keys()
        for name, weight in drawn.items():
            index = [torch.cat([torch.arange(*pair) for pair in dim]) for dim in held[name].intervals]
            assert torch.equal(weight, whole[name][torch.meshgrid(*index, indexing="ij")])
            assert torch.equal(weight, sliced[name])
        assert bytes_drawn == bytes_sliced == sum(weight.nbytes for weight in drawn.values())


def layers_at_hand(case):
    with torch.device("meta"):
        decoder = Decoder(case.model)
    model = parallelize(decoder, case.plan, build_mesh(case.plan.mesh))
    return (
        [name for name, _ in model.decoder.layers()],
        len(list(model.decoder.parameters())),
        len(model.weights),
    )


def test_a_stage_keeps_its_layers(run_on_ranks):
    uneven = Case(
        name="", model=replace(GPT2, layers=4), plan=plan(pipeline=3, stages=(1, 2, 1)), training=CASES[0].training
    )
    assert run_on_ranks(3, layers_at_hand, uneven) == [
        (["embedding", "block 0"], 2 + 12, 2 + 12),
        (["block 1", "block 2"], 24, 24),
        (["block 3", "head"], 12 + 2 + 1, 12 + 2 + 1),  # its own copy of the tied table
    ]


def parameters_of_a_whole(model):
    with torch.device("meta"):
        decoder = Decoder(model)
    made = parallelize(decoder, plan(), build_mesh(plan().mesh))
    return made, [module.weight for module in (made.decoder.trunk[decoder.names.embedding], made.decoder.head)]


def test_a_tied_weight_stays_one():
    made, (table, head) = parameters_of_a_whole(TIED)
    assert table is head is made.weights["model.embed_tokens.weight"]
    made, (table, head) = parameters_of_a_whole(LLAMA)
    assert table is not head
    assert head is made.weights["lm_head.weight"]


def test_one_rank_has_every_weight_under_its_published_name():
    made, _ = parameters_of_a_whole(GPT2)
    assert made.weights.keys() == dict(materialised(GPT2).named_parameters()).keys()
    assert all(weight.requires_grad and weight.is_leaf for weight in made.weights.values())


def test_a_model_may_bring_its_description():
    decoder, described = materialised(GPT2), parallelize(materialised(GPT2), plan(), build_mesh(plan().mesh))
    made = parallelize(decoder, plan(), build_mesh(plan().mesh), rules=describe_gpt(GPT2))
    assert all(torch.equal(made.weights[name], weight) for name, weight in described.weights.items())


def test_a_description_of_another_shape_is_refused():
    message = r"transformer.wte.weight is \(67, 24\) in the module, \(67, 28\) in its description"
    with pytest.raises(ValueError, match=message):
        parallelize(materialised(GPT2), plan(), build_mesh(plan().mesh), rules=describe_gpt(SEVEN))


def test_a_second_place_of_another_shape_is_refused():
    *layers, head = describe_gpt(GPT2)
    wrong = Dim(parts=(Part(index="vocab", units=68),))
    table = replace(head.weights[-1], dims=(wrong, head.weights[-1].dims[1]))
    rules = (*layers, replace(head, weights=(*head.weights[:-1], table)))
    with pytest.raises(ValueError, match=r"lm_head.weight is \(67, 24\) in the module, \(68, 24\) in its description"):
        parallelize(materialised(GPT2), plan(), build_mesh(plan().mesh), rules=rules)


def test_a_weight_that_the_module_lacks_is_refused():
    with pytest.raises(ValueError, match=r"model.embed_tokens.weight is in the description and not in the module"):
        parallelize(materialised(GPT2), plan(), build_mesh(plan().mesh), rules=describe_gpt(LLAMA))


def test_a_weight_that_the_description_lacks_is_refused():
    with pytest.raises(ValueError, match=r"h.0.ln_1.bias is in the module and not in its description"):
        parallelize(materialised(GPT2), plan(), build_mesh(plan().mesh), rules=describe_gpt(replace(GPT2, bias=False)))


def test_a_plan_for_more_ranks_than_are_running_never_begins():
    with pytest.raises(PlaitError, match="occupies 2 ranks and 1 are running"):
        build_mesh(plan(tensor=2).mesh)
