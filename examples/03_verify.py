"""Prove it is the same model: a plan of the demo's job against one process, tensor by tensor.

python examples/03_verify.py
"""

from __future__ import annotations

from pathlib import Path

import plait
from plait.api import verify_job
from plait.plans.completion import complete
from plait.verification.report import sentence


def main() -> None:
    """Verify two tensor ranks with sequence parallelism, and print the worst tensors."""
    job = plait.load(Path(__file__).parent / "demo.toml")
    plan = complete(job, data=1, tensor=2, pipeline=1, sequence_parallel=True, microbatch=8)
    proof = verify_job(job, plan)
    print(f"{proof.verdict}: {sentence(proof)}")
    for row in proof.tensors[:5]:
        print(f"{row.name:60} {row.kind:10} step {row.step} {row.precision}  {row.error_eps:.2f} eps  {row.verdict}")


if __name__ == "__main__":
    main()
