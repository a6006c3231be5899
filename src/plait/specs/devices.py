"""The devices of the catalogue. Figures only, each from the data sheet named; who looks for one is `catalogue`.

Peaks are dense and in TFLOP/s, memory bandwidths in GB/s; vendors' "with sparsity" figures are halved. Usable memory,
in MiB, is what the driver shows of a board, which keeps a part of what is printed on the box. Tiles are the usual ones
of cuBLAS for large 16-bit products: NVIDIA, "Matrix Multiplication Background", table of tile sizes (128 × 256 up to
Hopper), and CUTLASS's default for two cooperating units on Blackwell (256 × 256 on a pair: 128 × 256 on each).
What joins a device to its host (`to_host`) is the slot or module of the same data sheet, with 16 lanes; of B300 that of
its hosts' processors, which have no PCIe 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from plait.specs.hardware import DeviceSpec, Peak

__all__ = ["DEVICES"]

_TERA, _GIGA, _MEBI = 1e12, 1e9, 2**20
_Entry = Mapping[str, Any]
_Rates = Mapping[Peak, float]


def _device(name: str, like: _Entry | None = None, **own: Any) -> DeviceSpec:
    """The device as others of its kind (`like`), and what is its own; memory and cache in MiB, bandwidth in GB/s."""
    entry = {**(like or {}), **own}
    memory, cache, bandwidth = entry.pop("memory_mib"), entry.pop("cache_mib"), entry.pop("bandwidth")
    host = entry.pop("host_gigabytes", None)
    peaks: _Rates = entry.pop("peaks")
    return DeviceSpec(
        name=name,
        peaks=MappingProxyType({dtype: rate * _TERA for dtype, rate in peaks.items()}),
        memory_bytes=memory * _MEBI,
        memory_bandwidth=bandwidth * _GIGA,
        cache_bytes=cache * _MEBI,
        host_memory_bytes=None if host is None else int(host * _GIGA),
        **entry,
    )


# fmt: off
# ---- NVIDIA: Volta, Ampere ------------------------------------------------------------------------------------------

_V100: _Entry = {
    "architecture": "volta", "units": 80, "cache_mib": 6, "bandwidth": 900, "tile": (128, 256), "to_host": "pcie3",
    "source": "NVIDIA V100 data sheet (2020), Volta whitepaper WP-08608 (units, cache)",
}
_V100_SXM: _Entry = {
    **_V100, "peaks": {"fp64": 7.8, "fp32": 15.7, "fp16": 125.0},
    "power_watts": 300.0, "per_node": 8, "inside": "nvlink2", "between": "ib-edr-x4",
}
_V100_PCIE: _Entry = {
    **_V100, "peaks": {"fp64": 7.0, "fp32": 14.0, "fp16": 112.0},
    "power_watts": 250.0, "per_node": 4, "inside": "pcie3", "between": "ib-edr",
}
_A100: _Entry = {
    "architecture": "ampere",
    "peaks": {"fp64": 9.7, "fp32": 19.5, "tf32": 156.0, "fp16": 312.0, "bf16": 312.0},
    "units": 108, "cache_mib": 40, "tile": (128, 256), "per_node": 8, "to_host": "pcie4",
    "source": "NVIDIA A100 data sheet (2021), GA100 whitepaper (units, cache)",
}
_A100_SXM: _Entry = {**_A100, "power_watts": 400.0, "inside": "nvlink3", "between": "ib-hdr-x8"}
_A100_PCIE: _Entry = {**_A100, "inside": "pcie4", "between": "ib-hdr"}

# ---- NVIDIA: Hopper -------------------------------------------------------------------------------------------------

_H100_PEAKS: _Rates = {"fp64": 33.5, "fp32": 66.9, "tf32": 494.7, "fp16": 989.4, "bf16": 989.4, "fp8": 1978.9}
_H100: _Entry = {
    "architecture": "hopper", "peaks": _H100_PEAKS, "units": 132, "cache_mib": 50, "tile": (128, 256),
    "per_node": 8, "inside": "nvlink4", "between": "ib-ndr-x8", "to_host": "pcie5",
    "source": "NVIDIA H100 data sheet, H100 whitepaper v1.04 (units, cache)",
}
_H100_PCIE: _Entry = {
    **_H100, "peaks": {"fp64": 25.6, "fp32": 51.2, "tf32": 378.0, "fp16": 756.0, "bf16": 756.0, "fp8": 1513.0},
    "units": 114, "inside": "pcie5", "between": "ib-ndr",
}

# ---- NVIDIA: Blackwell; units and cache as CUDA tells them of a device ----------------------------------------------

_B200_PEAKS: _Rates = {
    "fp64": 37.0, "fp32": 75.0, "tf32": 1125.0, "fp16": 2250.0, "bf16": 2250.0,
    "fp8": 4500.0, "mxfp8": 4500.0, "nvfp4": 9000.0,
}
_GB200_PEAKS: _Rates = {
    "fp64": 40.0, "fp32": 80.0, "tf32": 1250.0, "fp16": 2500.0, "bf16": 2500.0,
    "fp8": 5000.0, "mxfp8": 5000.0, "nvfp4": 10000.0,
}
_HGX: _Entry = {
    "architecture": "blackwell", "units": 148, "cache_mib": 126, "tile": (128, 256), "bandwidth": 7700,
    "per_node": 8, "inside": "nvlink5", "between": "ib-ndr-x8", "to_host": "pcie5",
}
_NVL72: _Entry = {
    "architecture": "blackwell", "units": 152, "cache_mib": 126, "tile": (128, 256), "bandwidth": 8000,
    "per_node": 4, "inside": "nvl72", "between": "ib-ndr-x4",
    "to_host": "nvlink-c2c", "host_gigabytes": 240,  # half of a superchip's 480 GB
}
_ULTRA: _Rates = {"fp64": 1.3}  # Blackwell Ultra gave its fp64 units up for fp4

# ---- NVIDIA: GeForce, which sums 16-bit products in fp32 at half rate -----------------------------------------------

_GEFORCE: _Entry = {"tile": (128, 256), "per_node": 8, "between": "ethernet-10gbit"}

# ---- AMD ------------------------------------------------------------------------------------------------------------

_MI300: _Entry = {
    "architecture": "cdna3",
    "peaks": {"fp64": 81.7, "fp32": 163.4, "tf32": 653.7, "fp16": 1307.4, "bf16": 1307.4, "fp8": 2614.9},
    "units": 304, "cache_mib": 256, "tile": (256, 256),
    "per_node": 8, "inside": "infinity-fabric", "between": "roce-400gbit-x8", "to_host": "pcie5",
}

_ALL = (
    _device("v100-16gb", _V100_SXM, memory_mib=16160),
    _device("v100-32gb", _V100_SXM, memory_mib=32510),
    _device("v100-16gb-pcie", _V100_PCIE, memory_mib=16160),
    _device("v100-32gb-pcie", _V100_PCIE, memory_mib=32510),
    _device("a100-40gb", _A100_SXM, memory_mib=40536, bandwidth=1555),
    _device("a100-80gb", _A100_SXM, memory_mib=81251, bandwidth=2039),
    _device("a100-40gb-pcie", _A100_PCIE, memory_mib=40536, bandwidth=1555, power_watts=250.0),
    _device("a100-80gb-pcie", _A100_PCIE, memory_mib=81251, bandwidth=1935, power_watts=300.0),
    _device("h100-80gb", _H100, memory_mib=81112, bandwidth=3352, power_watts=700.0),
    _device("h100-80gb-pcie", _H100_PCIE, memory_mib=81112, bandwidth=2039, power_watts=350.0),
    _device("h100-96gb", _H100, memory_mib=97320, bandwidth=2400, power_watts=500.0,
            source="torchtitan, docs/performance (2024): 96 GB HBM2e, 2.4 TB/s, 500 W; otherwise an H100"),
    _device("h200", _H100, memory_mib=143156, bandwidth=4800, power_watts=700.0,
            source="NVIDIA H200 data sheet (2024)"),
    # made for export: links are fewer, or units
    _device("a800-80gb", _A100_SXM, memory_mib=81251, bandwidth=2039, inside="nvlink-400",
            source="NVIDIA A800 data sheet: an A100 with fewer links"),
    _device("h800-80gb", _H100, memory_mib=81112, bandwidth=3352, power_watts=700.0, inside="nvlink-400",
            peaks={**_H100_PEAKS, "fp64": 1.0}, source="NVIDIA H800 data sheet: an H100 with fewer links"),
    _device("h20", _H100, memory_mib=97320, bandwidth=4000, power_watts=400.0, units=78, cache_mib=60,
            peaks={"fp64": 1.0, "fp32": 44.0, "tf32": 74.0, "fp16": 148.0, "bf16": 148.0, "fp8": 296.0},
            source="NVIDIA H20 data sheet (2023)"),
    _device("b200", _HGX, peaks=_B200_PEAKS, memory_mib=182632, power_watts=1000.0,
            source="NVIDIA DGX B200 and HGX B200 data sheets (2024), an eighth of each"),
    _device("b300", _HGX, peaks={**_B200_PEAKS, **_ULTRA, "nvfp4": 13500.0}, memory_mib=274400, power_watts=1100.0,
            between="ib-xdr-x8", source="NVIDIA HGX B300 data sheet (2025), an eighth of it"),
    _device("gb200", _NVL72, peaks=_GB200_PEAKS, memory_mib=188416, power_watts=1200.0,
            source="NVIDIA GB200 NVL72 data sheet (2024), one of 72"),
    _device("gb300", _NVL72, peaks={**_GB200_PEAKS, **_ULTRA, "nvfp4": 15000.0}, memory_mib=283400,
            power_watts=1400.0, between="ib-xdr-x4", source="NVIDIA GB300 NVL72 data sheet (2025), one of 72"),
    _device("l40s", memory_mib=45400, bandwidth=864, cache_mib=96, units=142, tile=(128, 256), power_watts=350.0,
            peaks={"fp64": 1.4, "fp32": 91.6, "tf32": 183.0, "fp16": 362.0, "bf16": 362.0, "fp8": 733.0},
            per_node=8, inside="pcie4", between="ib-hdr", to_host="pcie4", architecture="ada",
            source="NVIDIA L40S data sheet (2023)"),
    _device("rtx-3090", _GEFORCE, memory_mib=24120, bandwidth=936, cache_mib=6, units=82, power_watts=350.0,
            peaks={"fp64": 0.6, "fp32": 35.6, "tf32": 35.6, "fp16": 71.0, "bf16": 71.0},
            inside="pcie4-via-host", to_host="pcie4", architecture="ampere",
            source="NVIDIA GA102 whitepaper v2, appendix A"),
    _device("rtx-4090", _GEFORCE, memory_mib=24210, bandwidth=1008, cache_mib=72, units=128, power_watts=450.0,
            peaks={"fp64": 1.3, "fp32": 82.6, "tf32": 82.6, "fp16": 165.2, "bf16": 165.2, "fp8": 330.3},
            inside="pcie4-via-host", to_host="pcie4", architecture="ada",
            source="NVIDIA Ada whitepaper v2.1, appendix A"),
    _device("rtx-5090", _GEFORCE, memory_mib=32120, bandwidth=1792, cache_mib=96, units=170, power_watts=575.0,
            peaks={"fp64": 1.6, "fp32": 104.8, "tf32": 104.8, "fp16": 209.5, "bf16": 209.5, "fp8": 419.0,
                   "mxfp8": 419.0, "nvfp4": 1676.0},
            inside="pcie5-via-host", to_host="pcie5", architecture="geforce blackwell",
            source="NVIDIA RTX Blackwell whitepaper v1.1, appendix A"),
    _device("mi300x", _MI300, memory_mib=196288, bandwidth=5300, power_watts=750.0,
            source="AMD Instinct MI300X data sheet (2023); the cache is its Infinity Cache"),
    _device("mi325x", _MI300, memory_mib=261824, bandwidth=6000, power_watts=1000.0,
            source="AMD Instinct MI325X data sheet (2024); the cache is its Infinity Cache"),
    # 24 ports of 200 Gbit/s: 21 to the seven others of a host, 3 to other hosts
    _device("gaudi3", memory_mib=130048, bandwidth=3700, cache_mib=96, units=8, tile=(256, 256), power_watts=900.0,
            peaks={"bf16": 1835.0, "fp8": 1835.0}, per_node=8, inside="gaudi3-ports", between="roce-200gbit-x24",
            to_host="pcie5", architecture="gaudi",
            source="Intel Gaudi 3 white paper (2024), HL-325L; units are its matrix engines"),
    _device("tpu-v5p", memory_mib=97280, bandwidth=2765, cache_mib=128, units=2, tile=(128, 128), power_watts=None,
            peaks={"bf16": 459.0}, per_node=4, inside="ici-v5p", between="ethernet-200gbit", to_host=None,
            architecture="tpu", source="Google Cloud, TPU v5p (2024): units are its cores, the cache their vector "
            "memory; neither power nor a link to its host"),
)
# fmt: on

DEVICES: Mapping[str, DeviceSpec] = MappingProxyType({device.name: device for device in _ALL})
