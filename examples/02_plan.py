"""Know before you launch: the best plans for a job on this machine, and why the others lost.

python examples/02_plan.py
"""

from __future__ import annotations

from pathlib import Path

import plait
from plait.plans.describe import describe
from plait.units import Bytes, Seconds


def main() -> None:
    """Plan the demo's job and print the best plans."""
    job = plait.load(Path(__file__).parent / "demo.toml")
    plans = plait.plan(job)
    print(f"{plans.legal} legal plans of {plans.considered}, searched in {Seconds(plans.search_seconds)}")
    for ranked in plans.plans[:5]:
        prediction = ranked.prediction
        print(f"\n{Seconds(prediction.step_seconds)} a step, at most {Bytes(max(prediction.memory_bytes))} a rank")
        print(describe(ranked.plan))
        if ranked.lost_because:
            print(f"lost because: {ranked.lost_because}")


if __name__ == "__main__":
    main()
