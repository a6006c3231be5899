"""The words: published vectors, the same bits in torch and numpy, avalanche, equidistribution, independent streams."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.random.words import mix, stream_key, torch_words, words

KEYS = [stream_key(0, "a"), stream_key(1, "a"), 0, (1 << 64) - 1]
uint64 = st.integers(0, (1 << 64) - 1)


def test_mix_gives_the_published_outputs_of_splitmix64() -> None:
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + (i + 1) * golden) % (1 << 64) for i in range(5)], dtype=np.uint64)
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert mix(states).tolist() == expected


@given(key=uint64, positions=st.lists(uint64, max_size=20))
def test_torch_gives_the_same_bits(key: int, positions: list[int]) -> None:
    array = np.array(positions, dtype=np.uint64)
    tensor = torch.from_numpy(array.view(np.int64))
    before = tensor.clone()
    assert np.array_equal(torch_words(key, tensor).numpy().view(np.uint64), words(key, array))
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("key", KEYS)
def test_a_word_depends_on_its_position_alone(key: int) -> None:
    whole = words(key, np.arange(24, dtype=np.uint64))
    assert np.array_equal(words(key, np.arange(24, dtype=np.uint64).reshape(2, 3, 4)).ravel(), whole)
    assert np.array_equal(words(key, np.array([17, 3, 3], dtype=np.uint64)), whole[[17, 3, 3]])
    assert words(key, np.array(17, dtype=np.uint64)) == whole[17]


@pytest.mark.parametrize("key", KEYS)
def test_avalanche_each_bit_of_the_position_turns_half_of_the_bits(key: int) -> None:
    positions = np.arange(4000, dtype=np.uint64)
    plain = words(key, positions)
    for bit in range(64):
        turned = words(key, positions ^ np.uint64(1 << bit)) ^ plain
        share = np.unpackbits(turned.view(np.uint8)).reshape(len(positions), 64).mean(axis=0)
        assert np.abs(share - 0.5).max() < 0.05  # 6 standard deviations


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("stride", [1, 2, 512, 1 << 32])
def test_every_byte_is_equidistributed_at_any_stride(key: int, stride: int) -> None:
    count = 1 << 16
    values = words(key, np.arange(count, dtype=np.uint64) * np.uint64(stride)).view(np.uint8).reshape(count, 8)
    for byte in range(8):
        observed = np.bincount(values[:, byte], minlength=256)
        chi_squared = ((observed - count / 256) ** 2).sum() / (count / 256)
        assert 255 - 6 * 22.6 < chi_squared < 255 + 6 * 22.6  # mean 255, standard deviation sqrt(510)


def test_streams_of_neighbouring_addresses_are_independent() -> None:
    keys = [stream_key(seed, name, step) for seed in range(3) for name in ("a", "b") for step in range(3)]
    bits = [np.unpackbits(words(key, np.arange(2048, dtype=np.uint64)).view(np.uint8)).astype(float) for key in keys]
    correlation = np.corrcoef(bits) - np.eye(len(keys))
    assert np.abs(correlation).max() < 6 / np.sqrt(2048 * 64)


def test_streams_are_not_shifts_of_one_another() -> None:
    first, second = (set(words(key, np.arange(1 << 16, dtype=np.uint64)).tolist()) for key in (5, 6))
    assert len(first) == len(second) == 1 << 16
    assert not first & second


def test_keys_differ_with_each_part_of_the_address() -> None:
    addresses = [(0, "a"), (1, "a"), (-1, "a"), (0, "b"), (0, ""), (0, "a, 0")]
    addresses += [(0, "a", 0), (0, "a", 1), (0, "a", 0, 0)]
    keys = {stream_key(*address) for address in addresses}
    assert len(keys) == len(addresses)
    assert all(0 <= key < 1 << 64 for key in keys)
    assert stream_key(np.int64(3), "é", np.int32(4)) == stream_key(3, "é", 4)  # type: ignore[arg-type]


def test_a_key_is_the_same_in_another_process() -> None:
    code = "from plait.random.words import stream_key; print(stream_key(7, 'layers.0.weight', 3))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == stream_key(7, "layers.0.weight", 3) == 8619903514728108516


@pytest.mark.device
@pytest.mark.skipif(torch.accelerator.current_accelerator() is None, reason="needs an accelerator")
def test_an_accelerator_gives_the_same_bits() -> None:
    positions = torch.arange(1 << 20) * 0x9E3779B97F4A7C1
    there = torch_words(KEYS[0], positions.to(torch.accelerator.current_accelerator()))
    assert torch.equal(there.cpu(), torch_words(KEYS[0], positions))
