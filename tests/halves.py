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


def main(words: Sequence[str]) -> int:
    """All three parts, whatever fails; the largest exit code of theirs."""
    with TemporaryFile() as said, _begun(BESIDE[0], words, stdout=said) as other:
        codes = [_begun(BESIDE[1], words).wait(), other.wait()]
        said.seek(0)
        print(f"\n== beside it: pytest -m '{BESIDE[0]}'", said.read().decode(errors="replace"), sep="\n", flush=True)
    print(f"\n== alone: pytest -m {ALONE}", flush=True)
    return max(*codes, _begun(ALONE, words).wait())


def _begun(marks: str, words: Sequence[str], stdout: object = None) -> subprocess.Popen[bytes]:
    """One pytest of those; they share no cache, since each would write its own over the other's."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks, *words]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT if stdout else None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
