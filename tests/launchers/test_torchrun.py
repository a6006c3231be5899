"""torchrun's environment, read: what it says, and what half of it says."""

from __future__ import annotations

import pytest

from plait.errors import UnusableInput
from plait.launchers.torchrun import place

ENVIRONMENT = {
    "TORCHELASTIC_RUN_ID": "any", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29400",
    "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "1",
}  # fmt: skip


def test_a_process_knows_its_place():
    found = place(ENVIRONMENT)
    assert found is not None
    assert (found.rank, found.size, found.local_rank, found.local_size, found.host, found.hosts) == (3, 4, 1, 2, 1, 2)
    assert (found.address, found.port, found.agent_store, found.attempt) == ("10.0.0.1", 29400, True, 1)


def test_without_torchrun_there_is_none():
    assert place({}) is None
    assert place({"RANK": "0", "WORLD_SIZE": "2"}) is None, "ranks of a pool have these, too"


@pytest.mark.parametrize("broken", [{"MASTER_PORT": "many"}, {"WORLD_SIZE": ""}])
def test_half_an_environment_is_refused(broken):
    with pytest.raises(UnusableInput, match="torchrun's environment"):
        place(ENVIRONMENT | broken)
    name = next(iter(broken))
    with pytest.raises(UnusableInput, match=name):
        place({key: value for key, value in ENVIRONMENT.items() if key != name})
