"""How people write what a plan shards, computes again, splits and computes in: papers, frameworks' switches, tables.

    "ZeRO stage 3"  "FSDP2 32"  "full_shard"              3        "ddp"  "no_shard"  "none"        0
    "full, uniform"  "use_checkpoint: true"               "full"   "selective (op SAC)"             "selective"

Words that are not known are None, and so is a cell that says nothing: `unread` tells the two apart. No text is known
by heart: only the words of which such texts are made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from plait.evaluation.rows import Row

__all__ = ["precision", "recompute", "sequence_parallel", "stated", "unread", "zero_level"]

_NOT_SAID = r"\s(?:stated|given|known|specified|reported|applicable|in)\b"  # after "not"
_UNSTATED = re.compile(
    rf"[\s?.–—-]*(?:$|unstated|unknown|unspecified|unclear|default\b|n\W?a\b|see\b|tbd\b|not{_NOT_SAID})"
)
_NO = rf"(?:no|none|not(?!{_NOT_SAID})|non|without|w/o|off|false|disabled|never|null)"


# ---- what is sharded ------------------------------------------------------------------------------------------------

# What is not done is taken out of a text first: "ZeRO-1, no FSDP" leaves ZeRO-1, and "not sharded" leaves nothing.
_SHARDING = r"(?:[fh]sdp2?|zero|shard(?:ed|ing)?|dist[a-z]{0,9}[\s_.-]{0,3}opt[a-z]{0,6})"
_DENIED = re.compile(
    rf"\b{_NO}[\s_-]*(?:using\s+)?{_SHARDING}(?:[\s_-]*(?:stage[\s_-]*)?[0-3])?\b|"
    rf"{_SHARDING}\s*(?:[:=]\s*(?:no|none|false)|[:=]?\s*(?:off|disabled))\b|[fh]sdp2?\s*[:=]\s*0\b"
)
_BARE = re.compile(r"\W*([0-3])(?:\.0+)?\W*")
_NUMBERED = re.compile(r"(?:zero|stage|level|\bz)(?:[\s_:=(/-]|dp|stage|level){0,6}([0-3])(?![0-9.])")
# FSDP's strategies, those of Megatron's own FSDP, DeepSpeed's and Paddle's letters; the first that is found counts. The
# hybrid ones shard within a host alone: they are priced as if over all data ranks.
_OPTIM, _AND = r"optim(?:izers?)?", r"(?:_|\s?[+&,]\s?|\s(?:and\s)?)"
_SHARDED = (
    (2, r"grad[\s_-]?op\b|shard[\s_-]?zero[\s_-]?2|reshard[a-z_ -]{0,20}[:=]?\s?(?:false|no|off)\b|no\sreshard"),
    (3, rf"{_OPTIM}{_AND}grad[a-z]{{0,6}}{_AND}param|\bp?_?os\s?\+\s?g\s?\+\s?p\b|\bp_g_os\b"),
    (2, rf"{_OPTIM}{_AND}grad|\bos\s?[+_]\s?g\b"),
    (3, r"[fh]sdp|(?:full|fully|hybrid)[\s_-]?shard|dp[\s_]shard|shard[a-z_]{0,9}degree|zero[\s_-]?infinity"),
    (1, r"dist[a-z]{0,9}[\s_.-]{0,3}opt|shard[a-z]{0,3}[\s_-]opt|opt[a-z]{0,6}[\s_-](?:states?[\s_-])?shard|^optim\b|"
        r"zero[\s_-]?redundancy[\s_-]?optimizer"),
)  # fmt: skip
_WHOLE = re.compile(rf"^\W*{_NO}\b|\bddp\b|^\W*dp\b|data[\s_-]?parallel|replicat|unsharded")


def zero_level(text: str) -> int | None:
    """The ZeRO level that a text in lower case speaks of, or FSDP's strategy as one; None of words that are not known,
    or that name two."""
    if bare := _BARE.fullmatch(text):
        return int(bare[1])
    left = _DENIED.sub(" ", text)
    if numbered := set(_NUMBERED.findall(left)):
        return int(numbered.pop()) if len(numbered) == 1 else None
    if re.search(r"\bno[\s_-]shard", text):  # a strategy of FSDP
        return 0
    found = next((level for level, words in _SHARDED if re.search(words, left)), None)
    if found is not None:
        return found
    whole = _WHOLE.search(left) is not None and re.search(r"(?<!un)shard", left) is None
    return 0 if whole or left != text else None


# ---- what is done again, split, and computed in ---------------------------------------------------------------------

_AGAIN = re.compile(
    rf"(?P<full>\bfull|\buniform|use_ch)|(?P<selective>\bselect|\bsel\b|\bsac\b|core[\s_-]att)|"
    rf"(?P<none>\b{_NO}\b|^\W*0\W*$)"
)
_CHECKPOINTED = re.compile(r"checkpoint|recompute|\bac\b|^\W*(?:yes|true|on|1)\b")


def recompute(text: str) -> str | None:
    """What is done again, as a job names it: the first word that says so; None of other words."""
    if found := _AGAIN.search(text):
        return found.lastgroup
    return "full" if _CHECKPOINTED.search(text) else None


def sequence_parallel(text: str) -> bool | None:
    """Whether tensor ranks split the sequence; None of other words."""
    if re.match(r"\W*(?:yes|y|true|on|1|1\.0|enabled|with)\b|\W*[✓✔]", text):
        return True
    return False if re.match(rf"\W*(?:{_NO}|n|0|0\.0)\b(?!/)|\W*[✗✘]", text) else None


# the first that a text has, without blanks and dashes: narrow products are named beside what the rest is in
_PRECISIONS = (
    ("nvfp4", "nvfp4"), ("fp4", "nvfp4"), ("mxfp8", "mxfp8"), ("fp8mx", "mxfp8"), ("fp8", "fp8"), ("float8", "fp8"),
    ("bf16", "bf16"), ("bfloat16", "bf16"), ("fp16", "fp16"), ("float16", "fp16"), ("half", "fp16"), ("tf32", "tf32"),
    ("fp32", "fp32"), ("float32", "fp32"),
)  # fmt: skip


def precision(text: str) -> str | None:
    """What products are computed in; None of other words."""
    joined = re.sub(r"[\s_-]", "", text)
    return next((dtype for word, dtype in _PRECISIONS if word in joined), None)


# ---- what nobody can read -------------------------------------------------------------------------------------------

_READ: Mapping[str, Callable[[str], object | None]] = {
    "zero_fsdp": zero_level, "recompute": recompute, "seq_parallel": sequence_parallel, "precision": precision,
}  # fmt: skip


def stated(text: str) -> bool:
    """Whether a text in lower case says anything."""
    return _UNSTATED.match(text) is None


def unread(row: Row) -> tuple[str, ...]:
    """Columns of a row that say something in words that are not known, with these words."""
    return tuple(
        f"{column} {row.texts[column][:40]!r}"
        for column, read in _READ.items()
        if stated(row.text(column)) and read(row.text(column)) is None
    )
