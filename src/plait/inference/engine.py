"""The engine: prompts in, text out, one request at a time or several side by side.

    prompt ─ encode ─► known tokens ─ runner ─► logits ─ sample ─► token ─┬─ detokenise ─► piece of text
                            ▲─────────────────────────────────────────────┘

A step is one new token for every row. What a request is answered depends on the weights, its prompt and its sampling,
never on what is answered beside it (in float64 exactly; in float32 up to the last bits of a matrix product).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from plait.data.tokenizer import Tokenizer
from plait.errors import UnusableInput
from plait.inference.detokenizer import Detokenizer
from plait.inference.model_runner import ModelRunner
from plait.inference.sampler import Sampling, sample
from plait.inference.saved_run import load_run
from plait.models.gpt import Decoder

__all__ = ["Completion", "Engine", "Piece"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A new token, and the text that it completes: none, where it ends within a character."""

    token: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What follows a prompt. `seconds`: until the last token of all prompts that were asked together."""

    text: str
    tokens: tuple[int, ...]
    seconds: float


class Engine:
    """Answers with `decoder`, whose weights it shares. Raises UnusableInput if the model can't know every token."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer) -> None:
        self._decoder, self._tokenizer, self._vocab = decoder, tokenizer, tokenizer.vocab
        if self._vocab > decoder.spec.vocab:
            raise UnusableInput(f"the tokenizer has {self._vocab} tokens, and the model knows {decoder.spec.vocab}")

    @classmethod
    def of_run(cls, path: Path, device: torch.device | str = "cpu") -> Engine:
        """The engine of what `plait train` has left at `path`. Raises UnusableInput as `load_run` does."""
        run = load_run(path, device)
        return cls(run.decoder, run.tokenizer)

    def stream(self, prompt: str, *, max_tokens: int, sampling: Sampling | None = None) -> Iterator[Piece]:
        """One piece a token, as it is drawn. Raises UnusableInput for fewer than 1 token and for a broken prompt,
        before the first piece."""
        known = [self._encode(prompt)]
        detokenizer = Detokenizer(self._tokenizer, known[0])
        steps = self._steps(known, _checked(max_tokens), [sampling or Sampling()])
        return (
            Piece(token=token, text=detokenizer.push(token, last=number == max_tokens))
            for number, (token,) in enumerate(steps, 1)
        )

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, sampling: Sampling | Sequence[Sampling] | None = None
    ) -> tuple[Completion, ...]:
        """What follows each prompt, all computed side by side; `sampling` is one for all, or one each.

        Raises UnusableInput as `stream` does, and ValueError for other than one sampling a prompt.
        """
        began = perf_counter()
        samplings = [sampling or Sampling()] * len(prompts) if not isinstance(sampling, Sequence) else list(sampling)
        known = [self._encode(prompt) for prompt in prompts]
        detokenizers = [Detokenizer(self._tokenizer, tokens) for tokens in known]
        steps = list(self._steps(known, _checked(max_tokens), samplings))
        seconds = perf_counter() - began
        return tuple(
            _completed(detokenizer, [step[row] for step in steps], seconds)
            for row, detokenizer in enumerate(detokenizers)
        )

    def _steps(self, known: list[list[int]], count: int, samplings: Sequence[Sampling]) -> Iterator[list[int]]:
        """`count` times the next token of every row, which joins the known ones."""
        if not known:
            return
        runner = ModelRunner(self._decoder, rows=len(known), longest=max(map(len, known)) + count)
        for _ in range(count):
            logits = runner.logits(known)[:, : self._vocab]
            rows = zip(logits, known, samplings, strict=True)
            chosen = [sample(row, sampling, len(tokens)) for row, tokens, sampling in rows]
            for tokens, token in zip(known, chosen, strict=True):
                tokens.append(token)
            yield chosen

    def _encode(self, prompt: str) -> list[int]:
        """The tokens of a prompt; of an empty one a line end, after which any text may begin."""
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise UnusableInput(f"the prompt is not valid text: {error.reason} at character {error.start}") from error
        return self._tokenizer.encode(prompt) or self._tokenizer.encode("\n") or [0]


def _checked(max_tokens: int) -> int:
    if max_tokens < 1:
        raise UnusableInput(f"max-tokens = {max_tokens}: a whole number of tokens from 1 on")
    return max_tokens


def _completed(detokenizer: Detokenizer, tokens: Sequence[int], seconds: float) -> Completion:
    last = len(tokens)
    text = "".join(detokenizer.push(token, last=number == last) for number, token in enumerate(tokens, 1))
    return Completion(text=text, tokens=tuple(tokens), seconds=seconds)
