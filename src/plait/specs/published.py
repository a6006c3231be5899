"""Of which devices, in which dtype, whole steps of published runs were looked at while the cost model was made.

A device that stands here was predicted and compared; one that doesn't has its data sheet alone. These are counts of
runs, no run: whoever has the runs gets them again by `python benchmarks/unseen_devices.py RUNS.csv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from plait.specs.devices import DEVICES

__all__ = ["PUBLISHED", "runs_of", "runs_of_generation"]

_Counts = Mapping[str, Mapping[str, int]]

# from vTrain, BLOOM, Narayanan et al. 2021, Korthikanti et al. 2022, Megatron-LM, llm-foundry (A100); torchtitan,
# llm-foundry, Megatron-Bridge, Megatron-LM (H100); Megatron-Bridge, SimuMax (Blackwell); Megatron-LM (V100)
PUBLISHED: _Counts = MappingProxyType({
    "v100-32gb": {"fp16": 1},
    "a100-40gb": {"fp16": 3, "bf16": 25},
    "a100-80gb": {"fp16": 831, "bf16": 76},
    "h100-80gb": {"bf16": 24, "fp8": 8},
    "h100-96gb": {"bf16": 4, "fp8": 14},
    "b200": {"bf16": 15, "fp8": 3, "mxfp8": 11},
    "b300": {"mxfp8": 10},
    "gb200": {"bf16": 1, "fp8": 9, "mxfp8": 21, "nvfp4": 5},
    "gb300": {"bf16": 1, "fp8": 6, "mxfp8": 26, "nvfp4": 5},
})  # fmt: skip
_SAME_UNITS = (("fp16", "bf16"), ("fp8", "mxfp8"))  # at one rate, in one unit


def runs_of(device: str, dtype: str) -> int:
    """How many runs of a device were looked at whose products were in this dtype, or in one of the same units."""
    alike = next((kind for kind in _SAME_UNITS if dtype in kind), (dtype,))
    return sum(PUBLISHED.get(device, {}).get(one, 0) for one in alike)


def runs_of_generation(architecture: str, dtype: str) -> int:
    """The same of all devices of an architecture."""
    return sum(runs_of(name, dtype) for name, one in DEVICES.items() if one.architecture == architecture)
