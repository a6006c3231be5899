"""By what Plait knows a file that it wrote, and that nobody has edited since: its last line, a digest of all above it.

    [plan]
    …
    # as Plait wrote it: 5f2b8c0d41e7a936

A comment, so that every reader of TOML passes it over. Who edits the file need not know of it: the two don't match
then, or it is gone, and the file is somebody's own.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Literal

__all__ = ["Origin", "origin", "sealed"]

_SEAL = "# as Plait wrote it: "

Origin = Literal["Plait's", "edited", "somebody's"]


def sealed(text: str) -> str:
    """The text of a file, its seal under it."""
    return f"{text}\n{_SEAL}{_digest(text)}\n"


def origin(path: Path) -> Origin:
    """Whose file it is; somebody's, where it can't be read."""
    try:
        written = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return "somebody's"
    text, seal, _ = written.rpartition(f"\n{_SEAL}")
    if not seal:
        return "somebody's"
    return "Plait's" if written == sealed(text) else "edited"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
