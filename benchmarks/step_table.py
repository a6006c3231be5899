"""What two benchmarks of whole steps print and keep: medians by system, their ratios to others, every raw figure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

__all__ = ["options", "tell"]


def options(description: str | None) -> argparse.Namespace:
    """What the command line asks for: size, rounds, steps, and a file for the raw figures."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", choices=("tiny", "main"), default="tiny")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--out", type=Path)
    return arguments.parse_args()


def tell(size: str, seconds: Mapping[str, Sequence[float]], to: Sequence[str], out: Path | None) -> None:
    """Print a Markdown table, ratios to the systems `to`; write every step's seconds to `out`, if there is one."""
    if out is not None:
        out.write_text(json.dumps({"size": size, "seconds": seconds}) + "\n", encoding="utf-8")
    middle = {name: median(values) for name, values in seconds.items()}
    print(f"| {size} | ms a step | {' | '.join(f'to {name}' for name in to)} |\n|---|--:|{'--:|' * len(to)}")
    for name, one in middle.items():
        print(f"| {name} | {1e3 * one:.1f} | {' | '.join(f'{one / middle[other]:.3f}' for other in to)} |")
