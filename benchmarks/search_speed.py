"""How long does a search take? On this machine's measurements 8, 64 and 1,024 ranks; on the catalogue's up to 100,000.

    python benchmarks/search_speed.py                      both
    python benchmarks/search_speed.py --only catalogue     nothing is measured

One core. On this machine it is the demo's model with a larger batch, and one of 24 layers; memory is taken to be
enough: every legal plan counts. Ranks share its few cores, which brings plans close to each other, or have one each. On
the catalogue's A100 it is GPT-3 175B, all keys of its plan left open; `plait plan` tells then what better machines
would bring as well, which takes some more searches (`better`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from plait.api import load, measured
from plait.clusters.answer import plan_cluster
from plait.planner.search import search

_ROOT = Path(__file__).parent.parent
_DEMO, _GPT3 = _ROOT / "examples" / "demo.toml", _ROOT / "examples" / "jobs" / "gpt3_1024_a100.toml"
_CASES = (  # ranks, batch, whether of 24 layers, whether each rank has a core
    (8, 64, False, False),
    (64, 512, False, False),
    (1024, 2048, False, False),
    (1024, 2048, True, False),
    (1024, 2048, True, True),
)
_CLUSTERS = ((1024, 1536), (4096, 1536), (10_240, 1536), (100_000, 12_000))


def main() -> None:
    """One JSON line a case: seconds of wall clock and of this process's cores."""
    form = argparse.RawDescriptionHelpFormatter
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    arguments.add_argument("--only", choices=("measured", "catalogue"))
    only = arguments.parse_args().only
    asked = [cases for name, cases in (("measured", _measured), ("catalogue", _catalogue)) if only in (None, name)]
    for case in (case for cases in asked for case in cases()):
        print(json.dumps(case), flush=True)


def _measured() -> Iterator[dict[str, Any]]:
    job, known = load(_DEMO), measured()
    for ranks, batch, deep, apart in _CASES:
        model = replace(job.model, layers=24, heads=16, kv_heads=16, hidden=256, ffn=1024) if deep else job.model
        cluster = replace(job.cluster, ranks=ranks, ranks_open=False)
        asked = replace(job, model=model, cluster=cluster, training=replace(job.training, global_batch=batch))
        if (host := known.host) is not None:
            host = replace(host, memory_bytes=2**50, cores=ranks if apart else host.cores)
        clock = _Clock()
        found = search(asked, replace(known, host=host))
        case = {"ranks": ranks, "cores": host.cores if host else None, "batch": batch, "layers": model.layers}
        case |= {"legal": found.legal, "played": found.played}
        yield {**case, **clock.read()}


def _catalogue() -> Iterator[dict[str, Any]]:
    job = load(_GPT3)
    plan_cluster(job)  # tables that every search shares
    for ranks, batch in _CLUSTERS:
        cluster = replace(job.cluster, nodes=ranks // job.cluster.ranks_a_node, ranks=ranks)
        asked = replace(job, cluster=cluster, training=replace(job.training, global_batch=batch))
        clock = _Clock()
        found = plan_cluster(asked)
        case = {"devices": ranks, "batch": batch, "considered": found.considered, "legal": found.legal}
        case |= {"step_seconds": round(found.best.found.seconds, 3), **clock.read()}
        clock = _Clock()
        assert found.better
        yield {**case, "better": clock.read()}


class _Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.began, self.worked = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        seconds, cores = time.perf_counter() - self.began, time.process_time() - self.worked
        return {"seconds": round(seconds, 2), "core_seconds": round(cores, 2)}


if __name__ == "__main__":
    main()
