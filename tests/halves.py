"""The whole suite, two tests at a time: `python -m tests.halves`, and after it what pytest is to be told (`make test`).

    one process     ███████████          beside each other: who waits for others leaves them a core
    ranks           ████████████████
    clock                           ██   alone: it measures time

`pytest` by itself runs the same tests one after another.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from tempfile import TemporaryFile

__all__ = ["main"]

BESIDE = ("not ranks and not clock", "ranks and not clock")
ALONE = "clock"
_NO_TESTS = 5  # pytest's exit code


def main(words: Sequence[str]) -> int:
    """All three parts, whatever fails: the largest of their exit codes, a signal's as shells have it. A part without a
    test is none, unless no part has one."""
    with TemporaryFile() as said, _begun(BESIDE[0], words, stdout=said) as other:
        codes = [_ended(_begun(BESIDE[1], words)), _ended(other)]
        said.seek(0)
        print(f"\n== beside it: pytest -m '{BESIDE[0]}'", said.read().decode(errors="replace"), sep="\n", flush=True)
    print(f"\n== alone: pytest -m {ALONE}", flush=True)
    codes.append(_ended(_begun(ALONE, words)))
    return max((code for code in codes if code != _NO_TESTS), default=_NO_TESTS)


def _ended(part: subprocess.Popen[bytes]) -> int:
    code = part.wait()
    return 128 - code if code < 0 else code


def _begun(marks: str, words: Sequence[str], stdout: object = None) -> subprocess.Popen[bytes]:
    """One pytest of those; they share no cache, since each would write its own over the other's."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks, *words]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT if stdout else None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
