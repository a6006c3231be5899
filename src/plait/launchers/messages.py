"""What a parent and its ranks say to each other, and the wire on which they say it.

    parent -> rank    Task                   call this function          b"" (WHERE): where do you stand?
    rank -> parent    Event*, then Result or Raised                      Whereabouts

One message is one frame: its length in 8 bytes, then a pickle. Pickle is safe here because both ends are processes
that this library started, joined by a socketpair that nobody else can open; nothing foreign is ever unpickled.
This module knows bytes; it must not know who waits for whom.
"""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from dataclasses import dataclass

__all__ = ["WHERE", "Channel", "Event", "Message", "Raised", "Result", "Task", "Whereabouts", "decode", "encode"]

WHERE = b""  # the empty frame: asks a rank where it stands

_LENGTH = struct.Struct(">Q")
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Task:
    """A call, and what a rank needs before it can unpickle it: the parent's import path, directory and script."""

    call: bytes  # the pickle of (function, args)
    path: tuple[str, ...]
    directory: str
    main: str | None  # the parent's script (a file) or module (a dotted name), for functions defined in it


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a rank emitted while it works, as JSON."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the function returned."""

    value: object


@dataclass(frozen=True, kw_only=True)
class Raised:
    """The function raised: the moment (time.monotonic, one clock for all processes of a machine) and its report.

    `unusable` is the message of an UnusableInput, which is no failure of the rank's; None for any other exception.
    """

    when: float
    report: str
    unusable: str | None = None


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """Where the rank's main thread stands, as a traceback."""

    stack: str


Message = Task | Event | Result | Raised | Whereabouts


def encode(message: Message) -> bytes:
    """Pickle a message. Raises what pickle raises on a value that it can't take."""
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def decode(frame: bytes) -> Message:
    """The message in a frame that one of our own processes sent."""
    return pickle.loads(frame)


class Channel:
    """One end of a socketpair, carrying whole frames. Sending is safe from several threads, receiving from one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._arrived = bytearray()
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """The file descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Send one frame whole. Raises OSError when the other end is gone, or does not read within the timeout."""
        with self._sending:
            self._socket.sendall(_LENGTH.pack(len(frame)) + frame)

    def receive(self) -> list[bytes]:
        """Read what there is and return the frames that it completes, perhaps none. Raises EOFError at the end."""
        try:
            chunk = self._socket.recv(_CHUNK)
        except ConnectionError:  # the other end died with our words unread
            chunk = b""
        if not chunk:
            raise EOFError("the other end is gone")
        self._arrived += chunk
        return self._whole_frames()

    def _whole_frames(self) -> list[bytes]:
        frames: list[bytes] = []
        while len(self._arrived) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._arrived)[0]
            if len(self._arrived) < end:
                break
            frames.append(bytes(self._arrived[_LENGTH.size : end]))
            del self._arrived[:end]
        return frames

    def close(self) -> None:
        """Close this end; the other end reads its end of file."""
        self._socket.close()
