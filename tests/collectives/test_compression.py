"""Compressed sums: the same bits on all ranks, the bytes that were promised, and nothing lost but late."""

from dataclasses import replace
from functools import cache
from math import prod
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plait.collectives.c10d import C10d
from plait.collectives.codecs import codec_of
from plait.collectives.compression import Compressed
from plait.collectives.functional import all_reduce
from plait.collectives.peers import Peers
from plait.collectives.recorder import record
from plait.collectives.topk import largest
from plait.plans.compression import packing, payload_bytes
from plait.plans.prediction import Traffic
from plait.specs.compression import compression_of
from tests.collectives.drawn import drawn, tensor_group
from tests.collectives.test_hierarchical import HOSTS, in_two_levels

WORDS = ("fp16", "bf16", "int8", "powersgd:2", "topk:0.1")
LOSSY_FIRST = {"fp16": 1e-4, "bf16": 1e-3, "int8": 1e-3, "powersgd:2": 0.3, "topk:0.1": 0.3}  # of a gradient, at least
BUCKET = ((24, 16), (16,), (0, 3), (7, 5, 3), (), (613,))
AWKWARD = [((0,),), ((1,),), ((2,),), ((5,), ()), ((0, 4), (9, 7)), ((257,),), ((3, 3), (1, 40)), ((6, 6), (512,))]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def gradient(rank, step, shapes, dtype):
    """Numbers of mean 0 and deviation 1 that depend on the rank and the step."""
    count = sum(map(prod, shapes))
    return torch.randn(count, generator=torch.Generator().manual_seed(100 * step + rank), dtype=torch.float64).to(dtype)


def owed(sums, shapes):
    """The residual, at the places of the whole bucket."""
    whole = torch.zeros(sum(map(prod, shapes)), dtype=next(iter(sums.kept.values()), torch.zeros(0)).dtype)
    if sums.kept:
        pieces, stops = whole.split([prod(shape) for shape in shapes]), sums.packing.compressed
        parts = sums.kept["residual"].split([pieces[place].numel() for place in stops])
        for place, part in zip(stops, parts, strict=True):
            pieces[place].copy_(part)
    return whole


# ---- sums, bytes, residuals -----------------------------------------------------------------------------------------


def several_steps(ranks, word, shapes, dtype, steps, gloo=False, hosts=()):
    group = tensor_group(ranks)
    if gloo:
        group = replace(group, wire=C10d(dist.group.WORLD, group.ranks, group.index))
    if hosts:
        group = replace(group, wire=in_two_levels(hosts))
    sums = Compressed(compression_of(word), shapes, dtype, group, key=7)
    found = []
    for step in range(steps):
        flat = gradient(group.index, step, shapes, dtype)
        with record() as recorder:
            summed = sums.start(flat).wait()
        assert summed is flat
        found.append((flat, owed(sums, shapes), recorder.traffic()))
    return found, sums.nbytes


def promised(word, shapes, dtype, ranks, hosts=()):
    """The rows of traffic that the description says."""
    packed, elements = packing(compression_of(word), shapes, dtype.itemsize, ranks), sum(map(prod, shapes))
    messages = packed.between([len(host) for host in hosts], elements, dtype.itemsize)
    rows = sorted({(message.kind, message.bytes) for message in messages})
    return tuple(
        Traffic(axis="tensor", kind=kind, bytes=size, count=messages.count((kind, size))) for kind, size in rows
    )


def check_steps(run_on_ranks, ranks, word, shapes, dtype, steps, gloo=False, hosts=()):
    found = run_on_ranks(ranks, several_steps, ranks, word, shapes, dtype, steps, gloo, hosts)
    before = torch.zeros(sum(map(prod, shapes)), dtype=dtype)
    packed = packing(compression_of(word), shapes, dtype.itemsize, ranks)
    assert all(nbytes == packed.kept_bytes for _, nbytes in found)
    for step in range(steps):
        flats, residuals, traffic = zip(*(steps_of_rank[step] for steps_of_rank, _ in found), strict=True)
        assert all(torch.equal(flat, flats[0]) for flat in flats)
        assert set(traffic) == {promised(word, shapes, dtype, ranks, hosts)}
        given = sum(gradient(rank, step, shapes, dtype) for rank in range(ranks)) + before
        before = sum(residuals)
        torch.testing.assert_close(flats[0] + before, given, rtol=0, atol=TOLERANCE[dtype])
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("word", ["none", *WORDS])
def test_what_was_sent_and_what_is_kept_are_all_that_was_given(run_on_ranks, word, ranks, dtype):
    found = check_steps(run_on_ranks, ranks, word, BUCKET, dtype, 4)
    last = found[0][0][-1][1]
    assert bool(last.any()) == (word != "none")  # it did lose something


@pytest.mark.parametrize("word", WORDS)
def test_over_gloo_too(run_on_ranks, word):
    check_steps(run_on_ranks, 3, word, BUCKET, torch.float32, 2, gloo=True)


# ---- several ranks on several hosts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("word", WORDS)
def test_hosts_sum_first_and_lose_nothing_by_it(run_on_ranks, word, hosts):
    ranks = sum(map(len, hosts))
    found = check_steps(run_on_ranks, ranks, word, BUCKET, torch.float64, 3, hosts=hosts)
    if word.startswith("powersgd"):
        return
    slices = min(map(len, hosts))
    longest = -(-sum(map(prod, BUCKET)) // slices)
    for host in hosts:
        for local, place in enumerate(host):  # a rank owes of its own slice alone; beyond the slices, nothing
            outside = found[place][0][-1][1].clone()
            if local < slices:
                assert outside[local * longest : (local + 1) * longest].any()
                outside[local * longest : (local + 1) * longest] = 0
            assert not outside.any()


@pytest.mark.parametrize("shapes", AWKWARD, ids=str)
def test_awkward_sizes_in_two_levels(run_on_ranks, shapes):
    for word in WORDS:
        for hosts in (HOSTS["2 + 1"], HOSTS["2 + 2"]):
            check_steps(run_on_ranks, sum(map(len, hosts)), word, shapes, torch.float32, 2, hosts=hosts)


def owed_elsewhere(hosts):
    """A run goes on that was saved where ranks stood otherwise: each owes of the whole bucket."""
    group = replace(tensor_group(sum(map(len, hosts))), wire=in_two_levels(hosts))
    sums = Compressed(compression_of("topk:0.1"), BUCKET, torch.float64, group, key=7)
    sums.kept["residual"].copy_(gradient(group.index, 9, BUCKET, torch.float64))
    flat = gradient(group.index, 0, BUCKET, torch.float64)
    return sums.start(flat).wait(), sums.kept["residual"]


def test_what_was_owed_outside_of_one_s_slice_is_sent(run_on_ranks):
    found = run_on_ranks(4, owed_elsewhere, HOSTS["2 + 2"])
    given = sum(gradient(rank, step, BUCKET, torch.float64) for rank in range(4) for step in (0, 9))
    torch.testing.assert_close(found[0][0] + sum(owed for _, owed in found), given, rtol=0, atol=1e-12)


def numbers_sent(word, hosts):
    """Bytes that leave a rank's host in one sum of 1000 numbers."""
    group = replace(tensor_group(sum(map(len, hosts))), wire=in_two_levels(hosts))
    sums = Compressed(compression_of(word), ((1000,),), torch.float32, group, key=7)
    sent, send = [], Peers.send

    def counting(self, tensor, peer):
        sent.append(tensor.nbytes)
        return send(self, tensor, peer)

    with patch.object(Peers, "send", counting):
        sums.start(torch.ones(1000)).wait()
    return sum(sent)


@pytest.mark.parametrize(("word", "leaving"), [("none", 4000), ("fp16", 2008), ("int8", 1016), ("topk:0.01", 80)])
def test_a_host_sends_its_sum_s_payload_once(run_on_ranks, word, leaving):
    """fp16: two slices of 500 numbers, each with a scale; int8: each with two. Flat, fp16 would send 3,500 bytes."""
    assert run_on_ranks(4, numbers_sent, word, HOSTS["2 + 2"]) == [leaving / 2] * 4


@pytest.mark.parametrize("shapes", AWKWARD, ids=str)
@pytest.mark.parametrize("ranks", [2, 3])
def test_awkward_sizes(run_on_ranks, ranks, shapes):
    for word in WORDS:
        check_steps(run_on_ranks, ranks, word, shapes, torch.float64, 2)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])  # ranks stay alive on purpose
@given(
    st.sampled_from(("fp16", "int8", "powersgd:1", "powersgd:3", "topk:0.02", "topk:0.4")),
    st.lists(st.lists(st.integers(0, 30), max_size=3).map(tuple), max_size=4),
    st.sampled_from((2, 3)),
    st.sampled_from((torch.float32, torch.float64)),
)
def test_recorded_is_promised_for_any_shapes(run_on_ranks, word, shapes, ranks, dtype):
    check_steps(run_on_ranks, ranks, word, tuple(shapes), dtype, 1)


def one_rank_alone_has_a_gradient(word):
    group = tensor_group(2)
    sums = Compressed(compression_of(word), BUCKET, torch.float64, group, key=7)
    flat = gradient(0, 0, BUCKET, torch.float64) * (group.index == 0)
    return sums.start(flat).wait(), owed(sums, BUCKET)


@pytest.mark.parametrize("word", WORDS)
def test_a_residual_is_its_own_rank_s(run_on_ranks, word):
    """The other's zeros are sent exactly, so that the sum is what was sent of this rank's gradient."""
    (sent, mine), (_, others) = run_on_ranks(2, one_rank_alone_has_a_gradient, word)
    torch.testing.assert_close(sent + mine, gradient(0, 0, BUCKET, torch.float64), rtol=0, atol=1e-14)
    assert mine.norm() > LOSSY_FIRST[word]
    assert not others.any()


def exact_topk():
    group = tensor_group(2)
    sums = Compressed(compression_of("topk:0.25"), ((8,),), torch.float64, group, key=0)
    mine = [[0.0, -7, 3, 5, -2, 6, 1, 6], [4.0, -7, 0, 0, 0, 0, 0, 4]][group.index]
    flat = torch.tensor(mine, dtype=torch.float64)
    return sums.start(flat).wait().tolist(), sums.kept["residual"].tolist()


def test_topk_by_hand(run_on_ranks):
    """Two of eight: -7 of both, the earlier of two 6s and the earlier of two 4s."""
    (first, kept), (second, others) = run_on_ranks(2, exact_topk)
    assert first == second == [4, -14, 0, 0, 0, 6, 0, 0]
    assert kept == [0, 0, 3, 5, -2, 0, 1, 6]
    assert others == [0, 0, 0, 0, 0, 0, 0, 4]


@pytest.mark.parametrize("count", [1, 1000, 90_000, 100_000])
@pytest.mark.parametrize("values", ["drawn", "few", "one peak", "nan"])
def test_the_largest_are_the_first_of_a_stable_sort(values, count):
    """Also where a sample of them misleads: few values, or all large ones in one place."""
    tensor = torch.randn(100_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if values == "few":
        tensor = tensor.round()
    elif values == "one peak":
        tensor[1000:2500] *= 1e6
    elif values == "nan":
        tensor[::7] = torch.nan
        tensor[3::7] = -torch.inf
    magnitudes = tensor.abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
    expected = magnitudes.sort(descending=True, stable=True).indices[:count].sort().values
    assert torch.equal(largest(tensor, count), expected)


def two_at_once_then_resumed(ranks, word):
    """Two buckets under way together, and the same one by one; then what is kept, moved to a new one."""
    group = tensor_group(ranks)

    def made():
        return [Compressed(compression_of(word), shapes, torch.float64, group, key=7) for shapes in (BUCKET, ((9, 9),))]

    def given(step):
        return [gradient(group.index, step, shapes, torch.float64) for shapes in (BUCKET, ((9, 9),))]

    together, alone, later = made(), made(), made()
    handles = [sums.start(flat) for sums, flat in zip(together, given(0), strict=True)]
    first = [handle.wait() for handle in handles]
    again = [handle.wait() for handle in handles]
    one_by_one = [sums.start(flat).wait() for sums, flat in zip(alone, given(0), strict=True)]
    for sums, new in zip(together, later, strict=True):
        for name, tensor in sums.kept.items():
            new.kept[name].copy_(tensor)
    went_on = [sums.start(flat).wait() for sums, flat in zip(together, given(1), strict=True)]
    resumed = [sums.start(flat).wait() for sums, flat in zip(later, given(1), strict=True)]
    return [*first, *went_on], [*one_by_one, *resumed], [one is two for one, two in zip(first, again, strict=True)]


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("word", WORDS)
def test_buckets_are_under_way_together_and_what_is_kept_is_all_there_is(run_on_ranks, word, ranks):
    for found, expected, once in run_on_ranks(ranks, two_at_once_then_resumed, ranks, word):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert all(once)


def first_left(_):
    sums = Compressed(compression_of("powersgd:2"), ((24, 16), (8, 9)), torch.float32, tensor_group(2), key=7)
    return sums.kept["right"]


def test_powersgd_begins_with_the_same_q_everywhere(run_on_ranks):
    first, second = run_on_ranks(2, first_left, 0)
    assert torch.equal(first, second)
    assert first.unique().numel() == first.numel() == 2 * 25


# ---- numbers that are hard to send ----------------------------------------------------------------------------------


def steps_with(ranks, word, values, steps):
    """Rank 1 has `values` at the front of its first gradient; then the others' bits and residuals, step by step."""
    group = tensor_group(ranks)
    sums = Compressed(compression_of(word), BUCKET, torch.float32, group, key=7)
    found = []
    for step in range(steps):
        flat = gradient(group.index, step, BUCKET, torch.float32)
        if step == 0 and group.index == 1:
            flat[: len(values)] = torch.tensor(values)
        found.append((sums.start(flat).wait(), owed(sums, BUCKET)))
    return found


@pytest.mark.parametrize("values", [[float("nan")], [float("inf")], [float("nan")] * 200])  # also more than topk sends
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("word", WORDS)
def test_what_is_not_finite_is_seen_by_all_once(run_on_ranks, word, ranks, values):
    found = run_on_ranks(ranks, steps_with, ranks, word, values, 2)
    for (first, kept), (second, _) in found:
        assert not first[0].isfinite()
        assert kept.isfinite().all()
        assert second.isfinite().all()
        assert torch.equal(second, found[0][1][0])
        assert second.count_nonzero() >= 0.05 * second.numel()  # it has not stopped to send


@pytest.mark.parametrize(
    ("word", "peak", "dtype"),
    [
        *((word, peak, torch.float32) for word in ("fp16", "bf16", "int8") for peak in (1e6, 2.7e38, 1e-30)),
        *((word, peak, torch.float64) for word in ("fp16", "bf16") for peak in (1e308, 1e-300)),
    ],
)
@pytest.mark.parametrize("ranks", [2, 3])
def test_no_number_is_too_large_or_too_small(run_on_ranks, word, ranks, peak, dtype):
    for flat in run_on_ranks(ranks, one_scale, ranks, word, peak, dtype):
        assert flat.isfinite().all()
        expected = sum(scaled(rank, peak).double() for rank in range(ranks))
        assert expected.isfinite().all()
        off = (flat.double() - expected).abs().max() / expected.abs().max()
        assert off <= {"fp16": 2**-10, "bf16": 2**-7, "int8": 2**-6}[word]


def scaled(rank, peak):
    values = torch.linspace(-1, 1, 1000, dtype=torch.float64) * peak
    return values if rank == 0 else values / 16


def one_scale(ranks, word, peak, dtype):
    group = tensor_group(ranks)
    sums = Compressed(compression_of(word), ((1000,),), dtype, group, key=7)
    return sums.start(scaled(group.index, peak).to(dtype)).wait()


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("values", [[1e-45, -1e-44, 0.0], [5e-39], [0.0, 0.0], [3.38e38, -3.38e38, 1e-45]])
def test_a_codec_s_error_is_bounded_by_the_largest(kind, values):
    """Also by numbers that are no normal ones; what it reads is what it wrote, twice alike."""
    given, codec = torch.tensor(values * 200), codec_of(kind)
    payload = torch.zeros(payload_bytes(compression_of(kind), given.numel(), 4), dtype=torch.uint8)
    codec.write(given, payload)
    read, left = torch.zeros_like(given), given.clone()
    codec.add(payload, read)
    codec.add(payload, left, sign=-1)
    assert torch.equal(left, given - read)
    bound = {"fp16": 2.0**-11, "bf16": 2.0**-8, "int8": 1.0 / 254}[kind] * max(map(abs, values))
    if kind == "int8" and 0 < max(map(abs, values)) < 127 * torch.finfo(torch.float32).tiny:
        bound = max(map(abs, values))  # the scale itself has few digits or none: all may be left for later
    assert left.abs().max() <= bound * (1 + 1e-6) + 1.5e-45


def zeros_then_a_gradient(word):
    """Zeros, then numbers in the last rows alone, where the basis that zeros leave has none."""
    group = tensor_group(2)
    sums = Compressed(compression_of(word), ((24, 16),), torch.float64, group, key=7)
    nothing = sums.start(torch.zeros(384, dtype=torch.float64)).wait()
    sent = torch.zeros(384, dtype=torch.float64)
    for _ in range(30):
        flat = drawn(group.index, 384) * (torch.arange(384) >= 320)
        sent += sums.start(flat).wait()
    return nothing, sent / 30


@pytest.mark.parametrize("word", WORDS)
def test_zeros_are_sent_as_zeros_and_leave_nothing_stuck(run_on_ranks, word):
    expected = (drawn(0, 384) + drawn(1, 384)) * (torch.arange(384) >= 320)
    for nothing, mean in run_on_ranks(2, zeros_then_a_gradient, word):
        assert not nothing.any()
        assert (mean - expected).norm() < 0.1 * expected.norm()


def test_only_wide_gradients_of_the_right_length_are_taken(run_on_ranks):
    assert run_on_ranks(2, refusals) == [["ValueError", "ValueError"]] * 2


def refusals():
    group, told = tensor_group(2), []
    for dtype, count in ((torch.bfloat16, 100), (torch.float32, 99)):
        try:
            Compressed(compression_of("int8"), ((100,),), dtype, group, key=0).start(torch.zeros(count, dtype=dtype))
        except ValueError as error:
            told.append(type(error).__name__)
    return told


def test_one_rank_keeps_its_gradient():
    sums = Compressed(compression_of("int8"), BUCKET, torch.float32, tensor_group(1), key=0)
    flat = gradient(0, 0, BUCKET, torch.float32)
    assert torch.equal(sums.start(flat).wait(), gradient(0, 0, BUCKET, torch.float32))
    assert sums.nbytes == 0


# ---- the point of it ------------------------------------------------------------------------------------------------


def mean_of_constant(word, feedback, steps):
    """How far the mean of what was sent is from a gradient that stays the same, of that gradient."""
    group = tensor_group(2)
    sums = Compressed(compression_of(word), BUCKET, torch.float64, group, key=7)
    total = torch.zeros(sum(map(prod, BUCKET)), dtype=torch.float64)
    for _ in range(steps):
        total += sums.start(gradient(group.index, 0, BUCKET, torch.float64)).wait()
        if not feedback:
            sums.kept["residual"].zero_()
    exact = gradient(0, 0, BUCKET, torch.float64) + gradient(1, 0, BUCKET, torch.float64)
    return float((total / steps - exact).norm() / exact.norm())


@pytest.mark.parametrize("word", WORDS)
def test_with_feedback_the_mean_converges_and_without_it_does_not(run_on_ranks, word):
    early, late = (run_on_ranks(2, mean_of_constant, word, True, steps)[0] for steps in (50, 400))
    assert late < early / 4
    without = [run_on_ranks(2, mean_of_constant, word, False, steps)[0] for steps in (50, 400)]
    assert late < without[1] / 10
    assert without[1] > without[0] / 2


@cache
def regression(rank):
    """40 noisy examples of a linear map; each rank has its own."""
    generator = torch.Generator().manual_seed(rank + 1)
    inputs = torch.randn(40, 24, generator=generator, dtype=torch.float64)
    truth = torch.randn(24, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return inputs, inputs @ truth + torch.randn(40, 16, generator=generator, dtype=torch.float64)


def trained(word, feedback=True):
    """The loss over both ranks' examples after 300 steps of plain descent, at a rate that falls to 0 in a line."""
    group = tensor_group(2)
    shapes = ((24, 16), (16,))
    sums = Compressed(compression_of(word), shapes, torch.float64, group, key=3)
    flat = torch.zeros(400, dtype=torch.float64)
    weight, bias = flat[:384].view(24, 16), flat[384:]
    inputs, targets = regression(group.index)
    for step in range(300):
        error = (inputs @ weight + bias - targets) / 640
        slope = torch.cat([(inputs.t() @ error).view(-1), error.sum(0)])
        flat -= (1 - step / 300) * sums.start(slope).wait()
        if not feedback and sums.kept:
            sums.kept["residual"].zero_()
    loss = (inputs @ weight + bias - targets).square().sum()
    return float(all_reduce(loss, group).wait())


@pytest.mark.parametrize("word", WORDS)
def test_a_model_learns_as_well(run_on_ranks, word):
    dense = run_on_ranks(2, trained, "none")[0]
    for loss in run_on_ranks(2, trained, word):
        assert abs(loss / dense - 1) < 0.01


def test_without_feedback_it_would_not(run_on_ranks):
    dense = run_on_ranks(2, trained, "none")[0]
    for word in ("powersgd:2", "topk:0.1"):
        assert run_on_ranks(2, trained, word, False)[0] > 1.01 * dense
