"""What ranks exchange: right contents pass, and one number out of place is seen, on the rank and in the kind it hit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch.distributed as dist

from plait.collectives import contents
from plait.collectives.contents import Delivery, exchange_contents
from plait.devices.device import Device
from plait.specs.links import LinkKind

RunOnRanks = Callable[..., list[Any]]
SMALL = (2**10, 2**14)


@pytest.mark.parametrize("ranks", [2, 3])
def test_sound_links_deliver_every_number(run_on_ranks: RunOnRanks, ranks: int):
    by_rank = run_on_ranks(ranks, exchange_contents, Device(), SMALL)
    for found in by_rank:
        assert [one.kind for one in found] == 2 * list(get_args(LinkKind))
        assert [one.wrong for one in found] == [0] * len(found)
        assert all(one.numbers > 0 for one in found)
        assert all(0 < one.seconds < 60 for one in found)


@pytest.mark.parametrize("kind", get_args(LinkKind))
def test_one_wrong_number_is_seen(run_on_ranks: RunOnRanks, kind: str):
    sound, corrupted = run_on_ranks(2, exchange_with_a_fault, kind)
    assert [one.wrong for one in sound] == [0] * len(sound)
    assert {one.kind: one.wrong for one in corrupted} == {other: int(other == kind) for other in get_args(LinkKind)}


def exchange_with_a_fault(kind: LinkKind) -> tuple[Delivery, ...]:
    """On a rank: rank 1 gets one number of this collective wrong."""
    sound = contents._ATTEMPTS[kind]

    def faulty(length: int, world: Any) -> Any:
        outcome = sound(length, world)
        if dist.get_rank() == 1:
            outcome.found[0] += 1
        return outcome

    contents._ATTEMPTS[kind] = faulty
    try:
        return exchange_contents(Device(), (2**10,))
    finally:
        contents._ATTEMPTS[kind] = sound
