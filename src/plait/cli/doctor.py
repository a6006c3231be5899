"""`plait doctor`: does this machine work? Versions, limits, the environment, and what ranks really exchange.

One failed check is the answer "no"; the rest is still looked at, for the document is what a bug report needs. Nothing
here waits without a deadline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plait.cli.output import Answer, JsonFlag, Line

if TYPE_CHECKING:
    from plait.collectives.contents import Delivery
    from plait.devices.checkup import Check
    from plait.devices.device import Device

__all__ = ["answer_of", "check_exchange", "check_measurements", "check_ranks", "command", "examine"]

_RANKS = 2
_PATIENCE = 20.0  # seconds without a word from any rank
_RUNS = Path("runs")


def command(json: JsonFlag = False) -> Answer:
    """Does this machine work? Devices, each link's speed and contents, versions, the environment for a bug report."""
    return answer_of(list(examine()))


def answer_of(checks: Sequence[Check]) -> Answer:
    """The document of the contract and a line a check."""
    ok = all(check.ok for check in checks)
    found = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
    return Answer(document={"ok": ok, "checks": found}, lines=list(_lines(checks)), code=0 if ok else 1)


def examine() -> Iterator[Check]:
    """Every check, in order."""
    from plait.devices import checkup
    from plait.devices.device import Device, current_device

    yield checkup.check_python()
    yield from checkup.check_packages()
    yield checkup.check_cores()
    yield checkup.check_accelerator()
    yield checkup.check_threads()
    yield checkup.check_environment()
    yield checkup.check_shared_memory()
    yield checkup.check_disk(_RUNS)
    yield check_measurements()
    yield from check_ranks(Device())
    if current_device().is_accelerator:
        yield from check_ranks(current_device())


def check_measurements(path: Path | None = None) -> Check:
    """What the planner would read: nothing yet, or numbers of this very machine."""
    from plait.devices.checkup import Check
    from plait.devices.host import this_processor
    from plait.errors import UnusableInput
    from plait.planner.coverage import doubts
    from plait.specs.measurement_files import default_path, read_measurements

    place = path or default_path()
    if not place.exists():
        return Check(name="measurements", ok=True, detail=f"none at {place}; `plait profile` writes them")
    try:
        host = read_measurements(place).host
    except UnusableInput as error:
        return Check(name="measurements", ok=False, detail=f"{error}; `plait profile` writes them anew")
    if host is None:
        return Check(name="measurements", ok=True, detail=f"{place} doesn't say of which machine")
    here = this_processor()
    detail = "; ".join([f"{place}, {host.date or 'undated'}", *doubts(host, here)])
    return Check(name="measurements", ok=host.on == here, detail=detail)


def check_ranks(device: Device) -> Iterator[Check]:
    """Ranks start, and what passes between them arrives whole; over the backend of this kind of device."""
    import torch

    from plait.collectives.contents import exchange_contents
    from plait.devices.checkup import Check
    from plait.devices.device import Device
    from plait.errors import RankFailure
    from plait.launchers import RankPool

    ranks = min(_RANKS, torch.accelerator.device_count()) if device.is_accelerator else _RANKS
    name = f"{ranks} ranks over {device.backend}"
    if ranks < _RANKS:
        yield Check(name=name, ok=True, detail="one device has no links")
        return
    try:
        with RankPool(ranks, backend=device.backend, timeout=_PATIENCE) as pool:
            found = pool.run(exchange_contents, None if device.is_accelerator else Device())
    except (RankFailure, OSError) as error:
        yield Check(name=name, ok=False, detail=str(error))
        return
    yield Check(name=name, ok=True, detail="started, joined and ended")
    yield from check_exchange(found)


def check_exchange(found: Sequence[Sequence[Delivery]]) -> Iterator[Check]:
    """One check a kind of collective, from what each rank reports of every payload."""
    from plait.devices.checkup import Check

    for kind in dict.fromkeys(exchange.kind for exchange in found[0]):
        by_rank = [[exchange for exchange in rank if exchange.kind == kind] for rank in found]
        wrong = [
            f"rank {rank} has {exchange.wrong} wrong numbers of {exchange.numbers}"
            for rank, exchanges in enumerate(by_rank)
            for exchange in exchanges
            if exchange.wrong
        ]
        speeds = [_speed(payload) for payload in zip(*by_rank, strict=True)]
        yield Check(name=f"{kind} over {found[0][0].wire}", ok=not wrong, detail="; ".join([*speeds, *wrong]))


def _speed(by_rank: Sequence[Delivery]) -> str:
    from plait.units import Bytes, Seconds

    slowest = max(exchange.seconds for exchange in by_rank)
    size = by_rank[0].bytes
    return f"{Bytes(size)} in {Seconds(slowest)} ({size / slowest / 1e9:.2g} GB/s)"


def _lines(checks: Sequence[Check]) -> Iterator[Line]:
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = ("green", "ok  ") if check.ok else ("bold red", "FAIL")
        yield [mark, ("", f"  {check.name:<{width}}  {check.detail}")]
    failed = sum(not check.ok for check in checks)
    yield (
        [("green", "this machine works")] if not failed else [("bold red", f"{failed} of {len(checks)} checks failed")]
    )
