"""The kinds of values that a key may take, each with the words in which a user reads what would have been right.

They know single values only: `tables` says which key takes which kind.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = [
    "DEEPEST",
    "LARGEST",
    "MOST_RANKS",
    "BelowOne",
    "Betas",
    "Count",
    "Degree",
    "Depth",
    "Depths",
    "DepthsFromZero",
    "Fraction",
    "NotNegative",
    "Positive",
    "Share",
    "Shares",
    "Size",
    "SomeDepth",
    "SomeSize",
    "Staleness",
    "Switch",
    "Text",
    "Whole",
    "Word",
    "ZeroLevel",
]

LARGEST = 2**63 - 1  # of TOML's integers
_LARGEST_SIZE = 2**50  # shares of it are exact in a float
DEEPEST = 2**16  # layers and heads: each of them is looked at by itself
MOST_RANKS = 2**20

Count = Annotated[int, Field(ge=1, le=LARGEST, description="a whole number from 1")]
Size = Annotated[int, Field(ge=1, le=_LARGEST_SIZE, description=f"a whole number from 1 to {_LARGEST_SIZE}")]
Depth = Annotated[int, Field(ge=1, le=DEEPEST, description=f"a whole number from 1 to {DEEPEST}")]
Whole = Annotated[int, Field(ge=0, le=LARGEST, description="a whole number from 0")]
SomeSize = Annotated[int, Field(ge=0, le=_LARGEST_SIZE, description=f"a whole number from 0 to {_LARGEST_SIZE}")]
SomeDepth = Annotated[int, Field(ge=0, le=DEEPEST, description=f"a whole number from 0 to {DEEPEST}")]
Degree = Annotated[int, Field(ge=1, le=MOST_RANKS, description=f"a whole number from 1 to {MOST_RANKS}")]
ZeroLevel = Annotated[int, Field(ge=0, le=3, description="0, 1, 2 or 3")]
Staleness = Annotated[int, Field(ge=-1, le=LARGEST, description="a whole number from -1")]
Positive = Annotated[float, Field(gt=0, description="a number above 0")]
NotNegative = Annotated[float, Field(ge=0, description="a number from 0")]
BelowOne = Annotated[float, Field(ge=0, lt=1, description="a number from 0 up to, not including, 1")]
Fraction = Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1")]
Switch = Annotated[bool, Field(description="true or false")]
Word = Annotated[str, Field(min_length=1, description="a text in quotes")]
Betas = Annotated[
    list[BelowOne], Field(min_length=2, max_length=2, description="two numbers from 0 up to, not including, 1")
]
Text = Annotated[
    Word | Annotated[list[Word], Field(min_length=1)], Field(description="a text in quotes, or a list of them")
]
Depths = Annotated[list[Depth], Field(min_length=1, description="a list of whole numbers from 1")]
DepthsFromZero = Annotated[list[SomeDepth], Field(description="a list of whole numbers from 0")]
Share = Annotated[int | float, Field(ge=1e-6, le=1e6)]
Shares = Annotated[list[Share], Field(min_length=1, description="a list of numbers above 0 (1e-6 to 1e6), one a rank")]
