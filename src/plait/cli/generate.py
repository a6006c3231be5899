"""`plait generate RUN "text"`: what a trained model writes after a prompt, word by word as it comes.

People read the prompt and what follows it, and beneath it, apart from the text, how fast it came; the document has the
continuation alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.output import Answer, JsonFlag, write_lines
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.inference.engine import Piece
    from plait.inference.sampler import Sampling

__all__ = ["command"]

# what a terminal would obey rather than show: all control characters but tab and line end
_HARMLESS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def command(
    run: Annotated[Path, typer.Argument(help="What `plait train` has left.", metavar="RUN", show_default=False)],
    text: Annotated[str, typer.Argument(help="The text to go on from.", metavar="TEXT", show_default=False)],
    max_tokens: Annotated[int, typer.Option(help="How many tokens to write.", metavar="N")] = 200,
    temperature: Annotated[float, typer.Option(help="0: always the most probable token.", metavar="T")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Of the K most probable alone; 0: of all.", metavar="K")] = 0,
    top_p: Annotated[float, typer.Option(help="Of the fewest that have probability P.", metavar="P")] = 0.95,
    seed: Annotated[int, typer.Option(help="Another seed, another text.", metavar="S")] = 0,
    json: JsonFlag = False,
) -> Answer:
    """What does the trained model write after TEXT?"""
    from plait.inference.sampler import Sampling

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    pieces = _pieces(run, text, max_tokens, sampling)
    if not json:
        _show(text)
    began = perf_counter()
    tokens, written = list[int](), list[str]()
    for piece in pieces:
        tokens.append(piece.token)
        written.append(piece.text)
        if not json:
            _show(piece.text)
    seconds = perf_counter() - began
    if not json:
        _show("\n")
        speed = f"{len(tokens)} tokens in {Seconds(seconds)}: {len(tokens) / seconds:.0f} a second"
        write_lines([[("dim", speed)]], sys.stderr)
    return Answer(document={"text": "".join(written), "tokens": tokens, "seconds": seconds})


def _pieces(run: Path, text: str, max_tokens: int, sampling: Sampling) -> Iterator[Piece]:
    from plait.devices.device import current_device
    from plait.inference.engine import Engine

    return Engine.of_run(run, current_device().torch).stream(text, max_tokens=max_tokens, sampling=sampling)


def _show(text: str) -> None:
    """Write to stdout at once; what it can't show becomes a sign that says so."""
    text = text.translate(_HARMLESS) if sys.stdout.isatty() else text
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
