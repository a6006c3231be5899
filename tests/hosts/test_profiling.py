"""`plait profile` under torchrun on two hosts: links inside a host and between hosts, told apart, in one document."""

from __future__ import annotations

import json
from pathlib import Path

from plait.specs.measurement_files import read_measurements
from tests.contract.golden import assert_shape, golden
from tests.hosts.namespaces import Hosts
from tests.hosts.test_training import PATIENCE
from tests.hosts.test_verifying import document, said

SCRIPT = """
import sys
from dataclasses import replace
from functools import partial
from plait import api
from plait.cli.main import main
from tests.devices.grids import TINY

api.profile = partial(api.profile, grid=replace(TINY, payloads=(2**10, 2**18, 2**20)))
sys.exit(main())
"""


def test_links_between_hosts_are_told_from_those_inside_one(hosts: Hosts, tmp_path: Path) -> None:
    hosts.throttle("200mbit")
    (tmp_path / "quick.py").write_text(SCRIPT)
    launch = hosts.launch(
        tmp_path, ["quick.py", "profile", "--json"], environment={"PLAIT_CACHE": str(tmp_path / "cache")}
    )
    assert launch.wait(PATIENCE) == [0, 0], said(launch)
    assert "{" not in launch.outputs[1], "only rank 0 speaks"
    found = document(launch.outputs[0])
    assert_shape(found, golden("profile"))
    assert found["written"] == str(tmp_path / "cache" / "measurements-2-hosts.json")
    written = read_measurements(Path(found["written"]))
    assert json.loads(Path(found["written"]).read_text()) == {k: v for k, v in found.items() if k != "written"}

    assert len(written.speeds) == 4
    assert written.speeds[0] == 1.0
    groups = {(link.ranks, link.hosts) for link in written.collectives}
    assert groups == {(2, 1), (2, 2), (4, 2)} == {(one.ranks, one.hosts) for one in written.overlap}
    rates = {
        (link.kind, link.ranks, link.hosts): [one.bytes / one.seconds for one in link.transfers[1:]]
        for link in written.collectives
    }
    bursts = {link.burst for link in written.collectives if link.hosts == 1}
    assert bursts == {0.0}, "nothing is shaped inside a host"
    cable = 200e6 / 8
    for link in written.collectives:
        assert link.hosts == 1 or 0.5 < link.burst / 2**18 < 2, "as the cable is shaped, to a factor of two"
    for kind in ("all_reduce", "send", "exchange"):
        # the cable lets 256 KB pass at once after a pause, as it does in a run; what is larger, at its own rate
        assert rates[kind, 2, 2][-1] < 1.5 * cable < rates[kind, 2, 1][-1], rates
        assert rates[kind, 4, 2][-1] < 1.5 * cable, rates
