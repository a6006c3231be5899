"""What people write of a run whose memory ran out, and what of one whose memory did not.

    "OOM"  "CUDA out of memory"  "OOM, no iteration"             ran out
    "no OOM"  "did not run out of memory"  "to avoid OOM"        did not
    "mbs 8 OOM", of a run with 4; "larger batches OOM"           another run did
    "OOM without offload"  "OOM with it off"  "OOM otherwise"    so did one that lacks what this one has

It knows texts, and what a run states of its own plan; no row, no price.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["MENTIONED", "speaks_of_running_out"]

_OOM = (
    r"(?:(?<![a-z0-9])oom(?:s|ed|ing|['’]d)?(?![a-z])|"
    r"out[\s_-]*of[\s_-]*(?:(?:gpu|cuda|device|host|hbm|the)[\s_-]+)?(?:memory|vram|hbm))"
)
MENTIONED = re.compile(_OOM, re.IGNORECASE)  # in a cell that should have a number

_BETWEEN = (  # words that may stand between a denial and what is denied
    r"(?:(?:to|an?|any|the|single|one|go(?:es|ing)?|went|run(?:s|ning)?|ran|get(?:s|ting)?|got|hit(?:s|ting)?|see[ns]?|saw|"
    r"ever|longer|into|be|been|have|had|signs?\sof|encounter(?:s|ed|ing)?|observed?|caus(?:e[ds]?|ing)|cuda|gpu)[\s_-]+)*"
)
_DENIED = re.compile(
    rf"(?:\b(?:no|not|non|never|nor|without|w/o|free\sof|avoid(?:s|ed|ing)?|prevent(?:s|ed|ing)?|fix(?:es|ed|ing)?|would|could|might|"
    rf"may|otherwise|almost|nearly|close\sto)|n['’]?t)[\s_-]+{_BETWEEN}{_OOM}|"
    rf"\b(?:larger|bigger|higher|greater|longer)\b[^:,]{{0,40}}{_OOM}|"
    rf"{_OOM}\s(?:at|with|for|beyond|from)\s(?:an?\s|any\s|the\s)?(?:larger|bigger|higher|greater|longer)\b|"
    rf"{_OOM}\s(?:above|over|past)\b|{_OOM}[\s_-]*risk\b|{_OOM}[\s_-]*free\b|{_OOM}\s*(?:[:=?]\s*(?:no|0)\s*(?:$|[,)])|[:=?]?\s*(?:none|false)\b)|"
    rf"{_OOM}\s(?:errors?\s)?(?:is\s|was\s|were\s)?(?:avoided|prevented)\b|"
    rf"{_OOM}\s(?:errors?\s)?(?:(?:did|does|was|were|is)\s?(?:not|n['’]?t)|not)\s"
    r"(?:occur|happen|seen|observed|hit|encountered|reached|triggered)",
    re.IGNORECASE,
)
_OFF, _ON = r"\b(?:off|disabled|removed|left out|false)\b", r"\b(?:on|enabled|true)\b"
_SWITCHED = re.compile(  # what another run had otherwise
    rf"{_OOM}\s(?:errors?\s)?(?:otherwise|else|before|until)\b|"
    rf"{_OOM}\s(?:errors?\s)?(?:(?:without|w/o|unless)\b[^,:()]*|(?:with|if|when)\b[^,:()]*?(?:{_OFF}|{_ON}))|"
    rf"\b(?:(?:without|w/o|unless)\s[^,:()]{{1,40}}?|(?:with|if|when)\b[^,:()]*?(?:{_OFF}|{_ON}))[\s:,]+(?:it\s)?{_OOM}",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"recomput|checkpoint|remat|\bac\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[;\n]|\.(?=\s|$)")
_DEGREE = re.compile(r"\b(tp|pp|dp|cp|ep|vpp|mbs|gbs|seq)\s?[=:]?\s?([0-9]{1,9})\b", re.IGNORECASE)


def speaks_of_running_out(text: str, own: Mapping[str, float], *, recomputes: bool | None = None) -> bool:
    """Whether a text says that the run ran out of memory whose `own` numbers, by column, these are. `recomputes`:
    whether it does work again, as far as it states that."""

    def left(switched: re.Match[str]) -> str:
        """A mention that is of this run, for all that it names a switch: it has it so."""
        off = re.search(rf"\b(?:without|w/o)\b|{_OFF}", switched[0], re.IGNORECASE) is not None
        return switched[0] if recomputes is (not off) and _AGAIN.search(switched[0]) else " "

    clauses = [(clause, _SWITCHED.sub(left, _DENIED.sub(" ", clause))) for clause in _CLAUSE.split(text)]
    return any(MENTIONED.search(rest) and not _of_another(clause, own) for clause, rest in clauses)


def _of_another(clause: str, own: Mapping[str, float]) -> bool:
    """Whether a clause names a number of a plan that is not the run's."""
    return any(own.get(name.lower(), int(number)) != int(number) for name, number in _DEGREE.findall(clause))
