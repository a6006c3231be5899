"""Whether torchrun has started this process, and as which of them: read from the environment, and nothing else.

    torchrun --nnodes 2 --nproc-per-node 2 ...        host 0: rank 0, rank 1        host 1: rank 2, rank 3

It knows torchrun's variables; it must not know what the ranks do, nor talk to any of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from plait.errors import UnusableInput

__all__ = ["Place", "place"]

_RUN = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where this process stands among those that torchrun has started; `address` and `port` are those of their store.

    `host` counts torchrun's nodes, `local_rank` the processes of this one. `agent_store`: torchrun itself holds the
    store, so that it outlives every rank; else rank 0 does. `attempt` counts torchrun's restarts.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    host: int
    hosts: int
    address: str
    port: int
    agent_store: bool
    attempt: int


def place(environment: Mapping[str, str] | None = None) -> Place | None:
    """This process's place; None where torchrun has not started it. Raises UnusableInput for half an environment."""
    known = os.environ if environment is None else environment
    if _RUN not in known or "RANK" not in known:
        return None
    try:
        return Place(
            rank=int(known["RANK"]),
            size=int(known["WORLD_SIZE"]),
            local_rank=int(known["LOCAL_RANK"]),
            local_size=int(known["LOCAL_WORLD_SIZE"]),
            host=int(known["GROUP_RANK"]),
            hosts=int(known["GROUP_WORLD_SIZE"]),
            address=known["MASTER_ADDR"],
            port=int(known["MASTER_PORT"]),
            agent_store=known.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=int(known.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )
    except (KeyError, ValueError) as error:
        raise UnusableInput(f"torchrun's environment can't be read: {type(error).__name__} {error}") from error
