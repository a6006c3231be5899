"""Train a small job under a chosen plan, and see how wrong the plan was.

python examples/04_train.py [STEPS]
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import plait
from plait.plans.completion import complete
from plait.units import Seconds


def main(steps: int = 20) -> None:
    """Train the demo's job for a few steps as a pipeline of two stages."""
    job = plait.load(Path(__file__).parent / "demo.toml")
    training = replace(job.training, steps=steps, warmup_steps=min(5, steps), validate_every=steps)
    job = replace(job, training=training)
    plan = complete(job, pipeline=2, data=1, tensor=1, microbatch=4)
    with tempfile.TemporaryDirectory() as directory:
        result = plait.train(job, plan, run=Path(directory) / "run")
        predicted, measured = result.prediction.step_seconds, result.measured.step_seconds
        print(f"held-out loss {result.validations[0][1]:.3f} -> {result.validations[-1][1]:.3f}")
        print(f"a step: predicted {Seconds(predicted)}, measured {Seconds(measured)}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
