"""The wire: frames arrive whole, in order, whatever the pieces in which the socket delivers them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.launchers.messages import WHERE, Channel, Raised, Result, decode, encode


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield Channel(ours), theirs
    ours.close()
    theirs.close()


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_frames_survive_being_cut_into_pieces(frames: list[bytes], piece: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = bytearray()
        sender = Channel(ours)
        for frame in frames:
            sender.send(frame)
            wire += theirs.recv(1 << 16)
        receiver = Channel(ours)
        arrived: list[bytes] = []
        for start in range(0, len(wire), piece):
            theirs.sendall(wire[start : start + piece])
            arrived += receiver.receive()
        assert arrived == frames


def test_a_frame_larger_than_the_socket_s_buffer(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    large = bytes(range(256)) * 20_000
    thread = threading.Thread(target=Channel(theirs).send, args=(large,))
    thread.start()
    frames: list[bytes] = []
    while not frames:
        frames = channel.receive()
    thread.join()
    assert frames == [large]


def test_the_end_is_told_apart_from_an_empty_frame(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    Channel(theirs).send(WHERE)
    theirs.close()
    assert channel.receive() == [WHERE]
    with pytest.raises(EOFError):
        channel.receive()


def test_an_end_with_our_words_unread_is_an_end(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    channel.send(b"never read")
    theirs.close()
    with pytest.raises(EOFError):
        channel.receive()
    with pytest.raises(OSError, match="Broken pipe"):
        channel.send(b"nobody there")


@pytest.mark.parametrize(
    "message",
    [
        Result(value={"loss": [1.5, None]}),
        Raised(when=2.5, report="ValueError: x"),
        Raised(when=2.5, report="UnusableInput: x", unusable="x"),
    ],
)
def test_messages_come_back_equal(message: Result | Raised) -> None:
    assert decode(encode(message)) == message
