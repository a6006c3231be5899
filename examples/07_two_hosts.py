"""Two hosts on one machine: network namespaces joined by a slow cable, one torchrun in each, a proof and a run on both.

    sudo python examples/07_two_hosts.py [RATE]        RATE of the cable, 200mbit if left out

    plait-PID-a  10.PID.PID.1 ═══════ RATE ═══════ 10.PID.PID.2  plait-PID-b
       rank 0, rank 1                                 rank 2, rank 3

Needs Linux, root, and iproute2's `ip` and `tc`; without them it says so. What it makes, it removes, but for
the run, which it leaves in ./runs/two-hosts-PID.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PID = os.getpid()
NAMES = (f"plait-{PID}-a", f"plait-{PID}-b")
CABLES = (f"pl{PID}a", f"pl{PID}b")
ADDRESSES = tuple(f"10.{PID >> 8 & 255}.{PID & 255}.{host}" for host in (1, 2))
SECONDS = 600  # of either command, on a machine that others use too
RUN = Path.cwd() / "runs" / f"two-hosts-{PID}"
JOB = f"""
[model]
layers = 4
hidden = 64
heads = 4
vocab = 256

[data]
text = "{HERE}/*.py"
tokenizer = "bytes"
validation_fraction = 0.1

[training]
steps = 10
global_batch = 8
sequence_length = 64
validate_every = 10

[cluster]       # ranks are left open: as many as torchrun starts
inter_link = "ethernet-RATE"
"""
PLAN = """
[plan]
data = 2        # over the cable
tensor = 2      # inside of a host
pipeline = 1
"""


def main(rate: str = "200mbit") -> None:
    """Make the hosts, prove the plan on both, train on both, show predicted beside measured, and clean up."""
    lacking = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if sys.platform != "linux" or os.geteuid() != 0 or lacking:
        print(f"skipped: it needs Linux, root, and iproute2 (missing: {', '.join(lacking) or 'root'})")
        return
    with tempfile.TemporaryDirectory() as name, two_hosts(rate):
        place = Path(name)
        (place / "job.toml").write_text(JOB.replace("RATE", rate))
        (place / "plan.toml").write_text(PLAN)
        for words in (["verify"], ["train", "--out", str(RUN)]):
            started = [start(host, place, [*words, "job.toml", "--plan", "plan.toml"]) for host in range(2)]
            codes = [process.wait(SECONDS) for process in started]
            if any(codes):
                sys.exit(f"plait {words[0]}: the hosts' torchruns ended with {codes[0]} and {codes[1]}")


def start(host: int, place: Path, words: list[str]) -> subprocess.Popen[bytes]:
    """On a real cluster this is what is typed on each host, without `ip netns exec` and the two options after it."""
    command = [
        "ip", "netns", "exec", NAMES[host],
        sys.executable, "-m", "torch.distributed.run",
        "--local-addr", ADDRESSES[host], "--rdzv-conf", f"is_host={1 - host}",  # both hosts have the same name
        "--nnodes", "2", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:29400", "--rdzv-id", "example",
        "-m", "plait", *words,
    ]  # fmt: skip
    settings = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return subprocess.Popen(command, cwd=place, env=os.environ | settings)


@contextmanager
def two_hosts(rate: str) -> Iterator[None]:
    """The two namespaces and their cable; removed with all that runs on them."""
    try:
        for name in NAMES:
            call("ip", "netns", "add", name)
        ends = [["netns", name] for name in NAMES]
        call("ip", "link", "add", CABLES[0], *ends[0], "type", "veth", "peer", "name", CABLES[1], *ends[1])
        for name, cable, address in zip(NAMES, CABLES, ADDRESSES, strict=True):
            call("ip", "-n", name, "address", "add", f"{address}/30", "dev", cable)
            call("ip", "-n", name, "link", "set", cable, "up")
            call("ip", "-n", name, "link", "set", "lo", "up")
            shape = ("tbf", "rate", rate, "burst", "256k", "latency", "50ms")
            call("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", cable, "root", *shape)
        yield
    finally:
        there = call("ip", "netns", "list").split()
        for name in set(NAMES) & set(there):
            for pid in call("ip", "netns", "pids", name).split():
                subprocess.run(["kill", "-9", pid], timeout=20, check=False)
            call("ip", "netns", "del", name)


def call(*words: str) -> str:
    """Run a command and return what it says; its failure ends the example."""
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=20, check=True).stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
