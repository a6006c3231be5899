"""Hardware in people's words: facts are read wherever they stand, and what is not stated is said to be assumed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.specs.devices import DEVICES
from plait.specs.hardware_words import device_in, wiring_in

A100 = DEVICES["a100-80gb"]


@pytest.mark.parametrize(
    ("text", "name", "gib", "watts"),
    [
        ("A100", "a100-80gb", 79, 400),
        ("A100-80GB", "a100-80gb", 79, 400),
        ("A100-40GB DGX-A100", "a100-40gb", 40, 400),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb", 40, 400),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie", 79, 300),
        ("A100-PCIE-40GB", "a100-40gb-pcie", 40, 250),
        ("A100 64GB custom", "a100-80gb", 63, 400),
        ("V100 DGX-2", "v100-32gb", 32, 300),
        ("Tesla V100-SXM2-16GB", "v100-16gb", 16, 300),
        ("8xH100", "h100-80gb", 79, 700),
        ("H100x8 (HF cluster; not in csv)", "h100-80gb", 79, 700),
        ("H100-96GB HBM2e 2.4TB/s 500W", "h100-96gb", 95, 500),
        ("H100 SXM5 80 GB, capped at 450 W", "h100-80gb", 79, 450),
        ("H200 141GB", "h200", 140, 700),
        ("B200-SXM", "b200", 178, 1000),
        ("HGX B300", "b300", 268, 1100),
        ("GB200 NVL72", "gb200", 184, 1200),
        ("NVIDIA GB300", "gb300", 277, 1400),
        ("AMD Instinct MI300X", "mi300x", 192, 750),
        ("Intel Gaudi 3", "gaudi3", 127, 900),
        ("TPU v5p", "tpu-v5p", 95, None),
        ("GeForce RTX 4090", "rtx-4090", 24, 450),
        ("5090", "rtx-5090", 31, 575),
    ],
)
def test_a_device_and_what_is_stated_of_it(text, name, gib, watts):
    device = device_in(text)
    assert device is not None
    assert (device.name, round(device.memory_bytes / 2**30), device.power_watts) == (name, gib, watts)


def test_a_stated_bandwidth_counts():
    device = device_in("H100 with 2.0TB/s")
    assert device is not None
    assert device.memory_bandwidth == 2.0e12


@pytest.mark.parametrize("text", ["", "unstated", "GH200", "K80", "P100 16GB", "MI250X", "14090", "cpu"])
def test_what_the_catalogue_has_not_is_none(text):
    assert device_in(text) is None


@pytest.mark.parametrize(
    ("text", "inside", "gigabits", "cards", "assumed"),
    [
        ("NVLink single node", "nvlink3", None, 8, {"between"}),
        ("single node NVSwitch", "nvlink3", None, 8, {"between"}),
        ("unstated", "nvlink3", None, 8, {"inside", "between"}),
        ("", "nvlink3", None, 8, {"inside", "between"}),
        ("NVSwitch 8-GPU node + IB (unstated rate)", "nvlink3", None, 8, {"between"}),
        ("1600 Gb/s RoCE per node", "nvlink3", 1600, 8, {"inside"}),
        ("800 Gb/s per host", "nvlink3", 800, 8, {"inside"}),
        ("NVLink + 400 Gb/s RDMA per GPU", "nvlink3", 3200, 8, set()),
        ("Selene: NVSwitch + 8x200Gb/s HDR", "nvlink3", 1600, 8, set()),
        ("Selene IB", "nvlink3", 1600, 8, {"inside"}),
        (
            "Elsewhere: NVLink + 4x OPA 100Gb/s per node (4 OmniPath links per node: specs.md:33)",
            "nvlink3",
            400,
            4,
            set(),
        ),
        ("NVLink + inter_node_bandwidth=800 (Gb/s per node, config/x)", "nvlink3", 800, 8, set()),
        ("PCIe Gen4, 2 x 100 Gbps Ethernet", "pcie4", 200, 2, set()),
        ("PCIe 5.0 + 2x100GbE", "pcie5", 200, 2, set()),
        ("NVLink 600GB/s, HDR InfiniBand 200 Gb/s per GPU", "nvlink3", 1600, 8, set()),
        ("4x IB 100Gb/s", "nvlink3", 400, 4, {"inside"}),
        ("4x HDR", "nvlink3", 800, 4, {"inside"}),
        ("NVSwitch; 8x NDR400", "nvlink3", 3200, 8, set()),
        ("InfiniBand EDR", "nvlink3", 800, 8, {"inside"}),
        ("3.2 Tbps EFA per node", "nvlink3", 3200, 8, {"inside"}),
        ("10 Gbit/s Ethernet", "nvlink3", 10, 1, {"inside"}),
        ("25 GB/s per GPU", "nvlink3", 1600, 8, {"inside"}),
        ("NVLink4 + 8 NICs of 400 Gb/s", "nvlink4", 3200, 8, set()),
    ],
)
def test_links(text, inside, gigabits, cards, assumed):
    wiring = wiring_in(text, A100, 8)
    assert wiring.inside.name == inside
    assert wiring.assumed == assumed
    usual = 8 * 200  # of an A100's host
    assert wiring.between.peak * wiring.between.cards * 8 / 1e9 == pytest.approx(gigabits or usual)
    assert wiring.between.cards == cards


@pytest.mark.parametrize(
    ("text", "name"),
    [("NVLink", "nvlink2"), ("NVLink2", "nvlink2"), ("", "nvlink2"), ("NVSwitch single node", "nvlink2-switch"),
     ("NVLink 2 + NVSwitch", "nvlink2-switch")],
)  # fmt: skip
def test_a_switch_is_there_where_a_text_says_so(text, name):
    assert wiring_in(text, DEVICES["v100-32gb"], 16).inside.name == name


@pytest.mark.parametrize(("text", "size"), [("NVL72 domain", 72), ("GB200 NVL36", 36), ("nvl-72", 72)])
def test_a_domain_of_several_hosts(text, size):
    wiring = wiring_in(text, DEVICES["gb300"], 4)
    assert wiring.inside.domain == size
    assert wiring.assumed == {"between"}


def test_words_of_a_kind_are_told_from_one_another():
    kinds = {text: wiring_in(text, A100, 8).between.name for text in
             ("100 Gb/s RoCE", "100 Gb/s OmniPath", "100 Gb/s Ethernet", "100 Gb/s InfiniBand")}  # fmt: skip
    assert [name.partition("-")[0] for name in kinds.values()] == ["roce", "opa", "ethernet", "ib"]


# fmt: off
WORDS = st.sampled_from(
    ["NVLink", "NVSwitch", "PCIe", "Gen4", "+", ",", "(", ")", "per node", "GPU", "8x", "0x", "4", "400", "0", "Gb/s",
     "GB/s", "Tbps", "GbE", "HDR", "IB", "RoCE", "RDMA", "OPA", "links", "NVL72", "NVL0", "A100", "80GB", "0GB", "H100",
     ".TB/s", "2.4TB/s", "500W", "W", "x8", "single", "=", ":", "²", "9999999999999Gb/s", "HBM2e", "é"]
)
# fmt: on


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join)), st.sampled_from([1, 3, 4, 8, 16]))
def test_any_text_gives_links_that_can_be(text, each):
    device = device_in(text)
    for one in (device or A100, DEVICES["gb300"], DEVICES["rtx-4090"]):
        wiring = wiring_in(text, one, each)
        assert wiring.inside.place == "inside"
        assert wiring.between.place == "between"
        assert wiring.between.bytes_per_second > 0
        assert wiring.between.cards >= 1
    assert device is None or (device.memory_bytes > 0 and device.memory_bandwidth > 0)
