"""Which ranks talk to each other along an axis: how many they are, and how far apart their numbers stand.

    a stage of tensor 2, context 1, data 4, with expert 4; further stages have the numbers behind these

    rank        0  1  2  3  4  5  6  7
    tensor      a  a  b  b  c  c  d  d      2, side by side
    data        a  b  a  b  a  b  a  b      4, every 2nd: those with the same dense weights
    expert      a  a  a  a  b  b  b  b      4, side by side: one of each expert
    copies      a  b  c  d  a  b  c  d      2, every 4th: those with the same experts

Experts stand on the ranks of tensor, context and data, each whole on its rank: what Megatron-Core calls parallel
folding with an expert tensor parallel size of 1 (docs/cost_model.md says why). Messages, sums, what ranks keep and what
a user is told all ask here, so that a price has one placing. It knows degrees, no bytes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from plait.estimates.arrangements import Arrangements, Numbers

__all__ = ["Axis", "RankGroup", "rank_group"]

Axis = Literal["tensor", "context", "data", "expert", "copies"]


class RankGroup(NamedTuple):
    """Column by column, how many ranks a group has, and the distance of one's number to the next one's."""

    ranks: Numbers
    stride: Numbers

    @property
    def span(self) -> Numbers:
        """How many numbers in a row hold the whole group."""
        return self.ranks * self.stride


def rank_group(plans: Arrangements, axis: Axis) -> RankGroup:
    """The ranks that talk along this axis. `data`: all with the same dense weights, those of the context axis among
    them; `copies`: all with the same experts."""
    one = np.ones_like(plans.tensor)
    groups = {
        "tensor": lambda: RankGroup(plans.tensor, one),
        "context": lambda: RankGroup(plans.context, plans.tensor),
        "data": lambda: RankGroup(plans.context * plans.data, plans.tensor),
        "expert": lambda: RankGroup(plans.expert, one),
        "copies": lambda: RankGroup(plans.tensor * plans.context * plans.data // plans.expert, plans.expert),
    }
    return groups[axis]()
