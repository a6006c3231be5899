"""How long does a search take? Jobs of 8, 64 and 1,024 ranks on this machine's measurements, one core.

    python benchmarks/search_speed.py

The demo's model with a larger batch, and one of 24 layers; memory is taken to be enough: every legal plan counts.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from plait.api import load, measured
from plait.planner.search import search

_DEMO = Path(__file__).parent.parent / "examples" / "demo.toml"
_CASES = ((8, 64, False), (64, 512, False), (1024, 2048, False), (1024, 2048, True))


def main() -> None:
    """One JSON line a case: seconds of wall clock and of this process's cores."""
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=form).parse_args()
    job, known = load(_DEMO), measured()
    if known.host is not None:
        known = replace(known, host=replace(known.host, memory_bytes=2**50))
    for ranks, batch, deep in _CASES:
        model = replace(job.model, layers=24, heads=16, kv_heads=16, hidden=256, ffn=1024) if deep else job.model
        cluster = replace(job.cluster, ranks=ranks, ranks_open=False)
        asked = replace(job, model=model, cluster=cluster, training=replace(job.training, global_batch=batch))
        began, worked = time.perf_counter(), time.process_time()
        found = search(asked, known)
        seconds, cores = time.perf_counter() - began, time.process_time() - worked
        case = {"ranks": ranks, "batch": batch, "layers": model.layers, "legal": found.legal, "played": found.played}
        print(json.dumps({**case, "seconds": round(seconds, 2), "core_seconds": round(cores, 2)}), flush=True)


if __name__ == "__main__":
    main()
