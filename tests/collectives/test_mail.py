"""Messages between two ranks of an arena, both played by this process: what comes, and what must not be taken."""

from __future__ import annotations

import mmap
import os

import pytest
import torch

from plait.collectives import mail
from plait.collectives.arena import Arena, Member, segment_bytes
from plait.collectives.mail import Mail
from plait.errors import PeerLost
from plait.launchers.processes import process_began

KB = 1 << 10
SLOTS = 7


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> tuple[Mail, Mail]:
    """Rank 3's and rank 5's, with few and small slots."""
    for name, value in (("_PART_BYTES", KB), ("_SLOTS", SLOTS), ("MAIL_BYTES", (SLOTS + 1) * KB)):
        monkeypatch.setattr(mail, name, value)
    segments = [torch.frombuffer(mmap.mmap(-1, segment_bytes(2)), dtype=torch.uint8) for _ in range(2)]
    members = [Member(rank, os.getpid(), process_began(os.getpid()) or 0) for rank in (3, 5)]
    first, second = (Arena(segments, members, index, patience=5.0) for index in (0, 1))
    return Mail(first, 1), Mail(second, 0)


def drawn(size: int, seed: int) -> torch.Tensor:
    pattern = torch.arange(seed, seed + 251, dtype=torch.int64).to(torch.uint8)
    return pattern.repeat(size // 251 + 1)[:size]


def test_messages_of_any_length_come_in_their_order_whatever_lies_between(ends):
    """Lengths that fill slots, leave some, and go around; taken one behind, so that two are under way."""
    one, other = ends
    lengths = [0, 1, KB, KB + 1, 400, 3 * KB, 0, 3 * KB + 5, 5, *[2 * KB + 1] * 20, 8, 8]
    waiting = []
    for seed, length in enumerate(lengths):
        waiting.append((one.send(drawn(length, seed)), torch.zeros(length, dtype=torch.uint8), seed))
        if len(waiting) > 1:
            sent, flat, number = waiting.pop(0)
            other.receive(flat).wait()
            sent.wait()
            assert torch.equal(flat, drawn(len(flat), number))


def test_a_tensor_with_gaps_is_refused(ends):
    one, other = ends
    for transfer in (one.send, other.receive):
        with pytest.raises(ValueError, match="not contiguous"):
            transfer(torch.zeros(8)[::2])


def test_a_message_longer_than_all_slots_goes_through_them(ends):
    one, other = ends
    message, flat = drawn(3 * SLOTS * KB + 77, 1), torch.zeros(3 * SLOTS * KB + 77, dtype=torch.uint8)
    sending, receiving = one.send(message), other.receive(flat)
    while not receiving.done:
        sending._queue.progress()
        receiving._queue.progress()
    assert sending.done
    assert torch.equal(flat, message)


@pytest.mark.parametrize(("sent", "expected"), [(KB, 3 * KB), (3 * KB, KB), (400, 408), (0, 8), (8, 0), (5_000, 8)])
@pytest.mark.parametrize("first", ["the sender", "the receiver"])
def test_a_message_of_another_length_is_refused_and_nothing_is_taken(ends, sent, expected, first):
    one, other = ends
    flat, words = torch.full((expected,), 7, dtype=torch.uint8), f"{sent:,} bytes there, {expected:,} bytes here"
    if first == "the receiver":
        receiving = other.receive(flat)
        one.send(drawn(sent, 1))
    else:
        one.send(drawn(sent, 1))
        with pytest.raises(PeerLost, match=f"^rank 3 sends another message than this rank waits for: {words}$"):
            other.receive(flat)
        receiving = None
    one.send(drawn(expected, 2))  # the next message is not taken for the rest of this one
    for _ in range(2):
        with pytest.raises(PeerLost, match=f"^rank 3 sends another message than this rank waits for: {words}$"):
            receiving.wait() if receiving is not None else other.receive(flat)
    assert torch.equal(flat, torch.full((expected,), 7, dtype=torch.uint8))
