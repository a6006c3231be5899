"""A step with another number of rows than usual, none on some ranks included, and targets left out anywhere: no rank
waits for ever, and the mean is that of all targets of the global batch."""

from __future__ import annotations

import pytest
import torch

from plait.collectives.process_groups import build_mesh
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from tests.parity.harness import GPT2, plan

LENGTH = 7
LEVELS = (0, 1, 2, 3)
DEALS = {
    "as usual, then less": [(4, 4), (3, 1)],
    "one rank has none": [(4, 4), (4, 0), (0, 3), (4, 4)],
    "nobody but the last": [(0, 1), (0, 5)],
}


def decoder() -> Decoder:
    built = Decoder(GPT2, seed=0).to(torch.float64)
    initialise(built, GPT2, 0)
    return built


def batch_of(rows: int, step: int) -> Sequences:
    """Sequences of different lengths: beyond its end, each is padded, and one has no target at all."""
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(0, GPT2.vocab, (rows, LENGTH + 1), generator=generator)
    targets = tokens[:, 1:].clone()
    lengths = torch.randint(0, LENGTH + 1, (rows,), generator=generator)
    lengths[0], lengths[-1] = 0, LENGTH
    targets[torch.arange(LENGTH)[None] >= lengths[:, None]] = IGNORED
    return Sequences.of(tokens[:, :-1], targets, first_sample=100 * step, step=step)


def targets_of(rows: Sequences) -> int:
    return int((rows.targets != IGNORED).sum())


def steps_on_rank(chosen, deal):
    """Per step the loss and what this rank keeps of each gradient, with where; then the loss of an evaluation."""
    mesh = build_mesh(chosen.mesh)
    model = parallelize(decoder(), chosen, mesh)
    found = []
    for step, counts in enumerate(deal):
        batch = batch_of(sum(counts), step)
        first = sum(counts[: mesh.coordinate("data")])
        rows = batch.rows(first, first + counts[mesh.coordinate("data")])
        loss = model.forward_backward(rows, targets_of(batch))
        model.sum_gradients()
        kept = {name: (model.kept[name].intervals, grad.clone()) for name, grad in model.gradients.items()}
        model.renew_weights()
        found.append((loss, kept, model.evaluate(rows)))
    return found


def alone(deal):
    model = decoder()
    found = []
    for step, counts in enumerate(deal):
        batch = batch_of(sum(counts), step)
        model.zero_grad()
        loss = model(batch)
        (loss / targets_of(batch)).backward()
        found.append((loss.item() / targets_of(batch), {n: p.grad.clone() for n, p in model.named_parameters()}, loss))
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("axes", [{}, {"pipeline": 2}, {"tensor": 2}], ids=str)
@pytest.mark.parametrize("deal", DEALS)
def test_any_number_of_rows(run_on_ranks, deal, axes, level):
    chosen = plan(data=2, zero=level, **axes)
    ranks = run_on_ranks(chosen.ranks, steps_on_rank, chosen, DEALS[deal])
    for step, (loss, gradients, total) in enumerate(alone(DEALS[deal])):
        known = [rank[step] for rank in ranks]
        for mine, expected in ((0, loss), (2, total.item())):
            told = {one[mine] for one in known if one[mine] is not None}
            assert len(told) == 1
            assert told.pop() == pytest.approx(expected, rel=1e-12)
        for _, kept, _ in known:
            for name, (intervals, gradient) in kept.items():
                where = tuple(torch.cat([torch.arange(*span) for span in spans]) for spans in intervals)
                torch.testing.assert_close(gradient, gradients[name][torch.meshgrid(*where, indexing="ij")])


def test_the_cases_have_what_they_are_to_show():
    for deal in DEALS.values():
        batches = [batch_of(sum(counts), step) for step, counts in enumerate(deal)]
        assert all((batch.targets[0] == IGNORED).all() for batch in batches if len(batch.samples) > 1)
        assert all(0 < targets_of(batch) < batch.targets.numel() for batch in batches if len(batch.samples) > 1)
