"""Two hosts on one machine: network namespaces joined by a cable of a given speed, torchrun in each.

    plait-PID-a  10.PID.PID.1 ══════ veth, tbf ══════ 10.PID.PID.2  plait-PID-b
       rank 0, rank 1                                     rank 2, rank 3

Their ranks share a disk and no memory: `collectives` takes network namespaces for hosts. Making them needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Hosts", "Launch", "missing_for_hosts", "two_hosts"]

ROOT = Path(__file__).parents[2]
_SETUP_SECONDS = 20
_PORT = 29400


def missing_for_hosts() -> str | None:
    """Why there can't be two hosts here; None where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "two hosts on one machine are network namespaces of Linux, and making them needs root"
    lacking = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if lacking:
        return f"two hosts on one machine need {' and '.join(lacking)} (iproute2)"
    tried = subprocess.run(
        ["ip", "netns", "add", f"plait-{os.getpid()}-try"], capture_output=True, text=True, timeout=20, check=False
    )
    if tried.returncode:
        return f"this machine makes no network namespaces: {tried.stderr.strip()}"
    _run("ip", "netns", "del", f"plait-{os.getpid()}-try")
    return None


@dataclass
class Launch:
    """One command under torchrun, on both hosts; `outputs` are those of the hosts, once it has ended."""

    processes: list[subprocess.Popen[str]]
    files: list[Path]
    outputs: list[str] = field(default_factory=list)

    def wait(self, seconds: float) -> list[int]:
        """The exit codes of the two torchruns; raises TimeoutExpired."""
        end = time.monotonic() + seconds
        codes = [process.wait(max(0.1, end - time.monotonic())) for process in self.processes]
        self.outputs = [file.read_text() for file in self.files]
        return codes

    def until(self, words: str, seconds: float) -> None:
        """Return as soon as the first host has said `words`; raises AssertionError where it doesn't in time."""
        end = time.monotonic() + seconds
        while words not in self.files[0].read_text():
            ended = [process.poll() for process in self.processes]
            assert ended == [None, None], "\n".join(file.read_text() for file in self.files)
            assert time.monotonic() < end, f"{words!r} not said in {seconds} s: {self.files[0].read_text()}"
            time.sleep(0.05)


@dataclass(frozen=True)
class Hosts:
    """Two namespaces; `addresses` are theirs on the cable."""

    names: tuple[str, str]
    cables: tuple[str, str]
    addresses: tuple[str, str]

    def throttle(self, rate: str) -> None:
        """Let the cable carry `rate` ("200mbit") in each direction."""
        shape = ("root", "tbf", "rate", rate, "burst", "256k", "latency", "50ms")
        for name, cable in zip(self.names, self.cables, strict=True):
            _run("ip", "netns", "exec", name, "tc", "qdisc", "replace", "dev", cable, *shape)

    def cut(self, *, cut: bool = True) -> None:
        """Take the cable out, or put it in again."""
        for name, cable in zip(self.names, self.cables, strict=True):
            _run("ip", "-n", name, "link", "set", cable, "down" if cut else "up")

    def launch(
        self, place: Path, command: Sequence[str], *, ranks: int = 2, environment: Mapping[str, str] | None = None
    ) -> Launch:
        """torchrun on both hosts, `ranks` ranks on each, with `command` behind its own options; prints into `place`."""
        started: list[subprocess.Popen[str]] = []
        files = [place / "host-a.txt", place / "host-b.txt"]
        for host, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
            torchrun = [
                "ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run",
                "--nnodes", "2", "--nproc-per-node", str(ranks), "--rdzv-backend", "c10d", "--rdzv-id", "hosts",
                "--rdzv-endpoint", f"{self.addresses[0]}:{_PORT}", "--rdzv-conf", f"is_host={1 - host}",
                "--local-addr", address,
            ]  # fmt: skip
            known = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
            with files[host].open("w") as output:
                started.append(
                    subprocess.Popen(
                        [*torchrun, *command],
                        env=known | dict(environment or {}),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        text=True,
                        cwd=place,
                    )
                )
        return Launch(started, files)

    def ranks(self) -> dict[int, int]:
        """The processes of the ranks that live, by rank."""
        found: dict[int, int] = {}
        for pid in self._processes():
            try:
                text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            rank = dict(line.partition("=")[::2] for line in text.split("\0")).get("RANK")
            if rank is not None:
                found[int(rank)] = pid
        return found

    def end(self) -> None:
        """Kill every process of the two namespaces, and wait for that."""
        deadline = time.monotonic() + _SETUP_SECONDS
        while (left := self._processes()) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)

    def _processes(self) -> list[int]:
        return [int(pid) for name in self.names for pid in _run("ip", "netns", "pids", name).split()]


@contextmanager
def two_hosts(rate: str = "1gbit") -> Iterator[Hosts]:
    """Two hosts and the cable between them, removed whatever happens, with all that runs on them."""
    pid = os.getpid()
    hosts = Hosts(
        names=(f"plait-{pid}-a", f"plait-{pid}-b"),
        cables=(f"pl{pid}a", f"pl{pid}b"),
        addresses=(f"10.{pid >> 8 & 255}.{pid & 255}.1", f"10.{pid >> 8 & 255}.{pid & 255}.2"),
    )
    try:
        for name in hosts.names:
            _run("ip", "netns", "add", name)
        inside = [["netns", name] for name in hosts.names]
        _run("ip", "link", "add", hosts.cables[0], *inside[0], "type", "veth", "peer", "name", hosts.cables[1],
             *inside[1])  # fmt: skip
        for name, cable, address in zip(hosts.names, hosts.cables, hosts.addresses, strict=True):
            _run("ip", "-n", name, "address", "add", f"{address}/30", "dev", cable)
            _run("ip", "-n", name, "link", "set", cable, "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
        hosts.throttle(rate)
        yield hosts
    finally:
        there = _run("ip", "netns", "list").split()
        if set(hosts.names) <= set(there):
            hosts.end()
        for name in set(hosts.names) & set(there):
            _run("ip", "netns", "del", name)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SETUP_SECONDS, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
