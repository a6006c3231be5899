"""Text out of tokens as they come: a piece is given when its characters are complete, never half of one.

    tokens    "na"  "ï" in two tokens   "ve"              bytes, and byte-level BPE, cut characters in two; other
    pieces    "na"  ""  "ï"             "ve"              tokenizers let a token's text depend on the one before

So a new token is decoded together with those of the piece before it, which begins where a character does.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.data.tokenizer import Tokenizer

__all__ = ["Detokenizer"]

_INCOMPLETE = "\ufffd"


class Detokenizer:
    """The text that follows `context`, token by token."""

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(context)
        self._told = len(self._tokens)  # of the tokens at hand, those whose text has been given

    def push(self, token: int, *, last: bool = False) -> str:
        """The text that `token` completes; of the `last` one, all that is left, as well as it can be read."""
        self._tokens.append(token)
        before = self._tokenizer.decode(self._tokens[: self._told])
        text = self._tokenizer.decode(self._tokens)
        if not last and (text.endswith(_INCOMPLETE) or len(text) <= len(before)):
            return ""
        del self._tokens[: self._told]
        self._told = len(self._tokens)
        return text[len(before) :]
