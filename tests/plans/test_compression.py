"""What travels of a bucket: bytes by hand, what is too small for it, and that nothing is ever made larger."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.plans.compression import (
    Message,
    in_two_levels,
    kept_count,
    packing,
    packing_words,
    payload_bytes,
    sent_bytes,
)
from plait.specs.compression import compression_of

WORDS = ("none", "fp16", "bf16", "int8", "powersgd:1", "powersgd:3", "topk:0.01", "topk:0.3", "topk:1")
BUCKETS = st.lists(st.lists(st.integers(0, 40), max_size=3).map(tuple), max_size=5)


@pytest.mark.parametrize(
    ("word", "ranks", "messages"),
    [
        ("none", 2, [("all_reduce", 4 * 1010)]),
        ("fp16", 2, [("all_gather", 2 * (4 + 2020))]),
        ("bf16", 4, [("all_to_all", 4 * 512), ("all_gather", 4 * 512)]),  # 253 elements: 4 + 506, to a multiple of 4
        ("int8", 2, [("all_gather", 2 * 1028)]),  # 4 scales of 4, 1010: 1026
        ("int8", 3, [("all_to_all", 3 * 348), ("all_gather", 3 * 348)]),  # 337: 2 scales of 4, 337: 345
        ("powersgd:2", 5, [("all_reduce", 4 * 2 * 40), ("all_reduce", 4 * 2 * 25), ("all_reduce", 4 * 10)]),
        ("topk:0.01", 3, [("all_gather", 3 * 10 * 8)]),
    ],
)
def test_messages_by_hand(word, ranks, messages):
    found = packing(compression_of(word), [(40, 5, 5), (10,)], itemsize=4, ranks=ranks)
    assert list(found.messages) == [Message(*message) for message in messages]


def test_float64_pays_more_for_its_places_and_scales():
    assert payload_bytes(compression_of("topk:0.1"), 30, itemsize=8) == 40  # 3 · 12, to a multiple of 8
    assert payload_bytes(compression_of("fp16"), 3, itemsize=8) == 16
    assert payload_bytes(compression_of("int8"), 257, itemsize=8) == 272


def test_two_hops_would_send_as_much_between_two_ranks():
    one = [Message("all_gather", 2 * 1000)]
    two = [Message("all_to_all", 2 * 500), Message("all_gather", 2 * 500)]
    assert sent_bytes(one, 2) == sent_bytes(two, 2) == 1000
    assert sent_bytes([Message("all_gather", 3 * 1200)], 3) > sent_bytes([Message("all_to_all", 1200)] * 2, 3)


@pytest.mark.parametrize(
    ("word", "shapes", "ranks", "compressed"),
    [
        ("fp16", [(3,)], 2, ()),  # 4 + 3 · 2, to a multiple of 4, is what they take anyway
        ("fp16", [(2,), (2,)], 2, (0, 1)),  # the scale is shared
        ("int8", [(1,)], 2, ()),
        ("int8", [(4, 4)], 1, ()),  # nobody to send it to
        ("powersgd:4", [(8, 8), (9, 8), (64,), (8, 3, 4)], 2, (1, 3)),
        ("powersgd:999999999", [(100, 100)], 2, ()),
        ("topk:0.5", [(100,)], 2, ()),
        ("topk:0.49", [(100,)], 2, (0,)),
        ("topk:0.1", [(100,)], 10, ()),  # an all-gather grows with the ranks
        ("topk:0.01", [(2**16, 2**15)], 2, ()),  # places beyond int32
    ],
)
def test_what_would_not_be_smaller_travels_whole(word, shapes, ranks, compressed):
    found = packing(compression_of(word), shapes, itemsize=4, ranks=ranks)
    assert found.compressed == compressed
    assert found.whole == tuple(place for place in range(len(shapes)) if place not in compressed)


@given(st.sampled_from(WORDS), BUCKETS, st.sampled_from((4, 8)), st.integers(1, 9))
def test_nothing_is_made_larger_or_forgotten(word, shapes, itemsize, ranks):
    found = packing(compression_of(word), shapes, itemsize, ranks)
    elements = sum(map(prod, shapes))
    assert sorted((*found.compressed, *found.whole)) == list(range(len(shapes)))
    assert all(message.bytes > 0 and message.bytes % itemsize == 0 for message in found.messages)
    dense = sent_bytes([Message("all_reduce", elements * itemsize)], ranks)
    if found.compressed:
        assert sent_bytes(found.messages, ranks) < dense
    else:
        assert sent_bytes(found.messages, ranks) == dense
        assert found.kept_bytes == 0
    assert bool(found.messages) == (ranks > 1 and elements > 0)


@pytest.mark.parametrize(
    ("word", "hosts", "messages"),
    [
        ("fp16", (2, 2), [("all_gather", 2 * 2 * 1016)]),  # of two slices among two hosts: 505 elements, 4 + 1010
        ("bf16", (4, 4), [("all_gather", 2 * 3 * 512 + 2 * 508)]),  # 253, 253, 253 and 251 elements
        ("int8", (3, 1), [("all_gather", 2 * 1028)]),  # as many slices as the smallest host has ranks
        ("int8", (2, 2, 2), [("all_to_all", 2 * 3 * 176), ("all_gather", 2 * 3 * 176)]),  # 505 / 3: 169, and a scale
        ("topk:0.01", (2, 2, 2), [("all_gather", 2 * 3 * 5 * 8)]),
        ("powersgd:2", (2, 2), [("all_reduce", 4 * 2 * 40), ("all_reduce", 4 * 2 * 25), ("all_reduce", 4 * 10)]),
        ("fp16", (1, 1), [("all_gather", 2 * (4 + 2020))]),  # nothing to sum first
        ("fp16", (), [("all_gather", 2 * (4 + 2020))]),
    ],
)
def test_messages_between_hosts_by_hand(word, hosts, messages):
    found = packing(compression_of(word), [(40, 5, 5), (10,)], itemsize=4, ranks=sum(hosts) or 2)
    assert found.compressed
    assert list(found.between(hosts, 1010, 4)) == [Message(*message) for message in messages]


@given(st.sampled_from(WORDS), BUCKETS, st.sampled_from((4, 8)), st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_no_host_sends_more_than_its_dense_sum(word, shapes, itemsize, hosts):
    """What is compressed among ranks apart pays among hosts, too, whose dense sums cross once for all their ranks."""
    elements = sum(map(prod, shapes))
    found = packing(compression_of(word), shapes, itemsize, sum(hosts))
    senders = len(hosts) if in_two_levels(hosts) else sum(hosts)
    dense = sent_bytes([Message("all_reduce", elements * itemsize)], senders)
    sent = sent_bytes(found.between(hosts, elements, itemsize), senders)
    assert sent < dense if found.compressed else sent == dense


@given(st.floats(0, 1, exclude_min=True), st.integers(0, 10**7))
def test_topk_takes_its_fraction_and_at_least_one(fraction, elements):
    count = kept_count(fraction, elements)
    assert min(1, elements) <= count <= elements
    assert abs(count - fraction * elements) <= 1


@pytest.mark.parametrize(
    ("word", "ranks", "said"),
    [
        ("none", 2, "as they are: each replica sends 39.3 KiB"),
        ("int8", 2, "int8: each replica sends 9.97 KiB a step, not 39.3 KiB, and keeps 39.3 KiB of what was lost"),
        ("powersgd:1", 2, "1 of 3 tensors would not be smaller and go whole"),
        ("powersgd:90", 2, "powersgd:90 makes nothing smaller here"),
        ("int8", 1, "no gradients travel"),
    ],
)
def test_it_is_said_what_is_compressed_and_what_is_not(word, ranks, said):
    assert said in packing_words(compression_of(word), [[(100, 50)], [(49, 100), (150,)]], 4, ranks)


def test_of_hosts_that_sum_first_it_is_said_what_leaves_them():
    words = packing_words(compression_of("fp16"), [[(100, 50)]], 4, 8, hosts=(4, 4))
    assert words.startswith("gradients travel as fp16: each host sends 9.78 KiB a step, not 19.5 KiB, and each of its")
