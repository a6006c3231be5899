"""Random words by their address: 64 random bits are a pure function of a key and a position.

Initialisation, dropout and data order all draw from here. There is no state to carry, to save or to keep in step
between ranks: whoever knows the key may ask for any position, in any order, on any device, and gets the same bits.

                    seed, name, step ──blake2b──> key ──> start, gamma          one stream
    position i  ──> start + i * gamma ──mix──> word i                           its words

The generator is SplittableRandom (Steele, Lea, Flood, OOPSLA 2014; the mixing function is Stafford's variant 13), which
is counter-based as it stands. Each stream has an odd gamma of its own: two streams aren't shifts of one another.

This module must not know what the words are for.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["mix", "stream_key", "torch_words", "words"]

_MODULUS = 1 << 64
_SHIFTS = (30, 27, 31)
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def stream_key(seed: int, name: str, *more: int) -> int:
    """The 64-bit key of the stream (seed, name, more...), the same in every process and on every machine.

    `more` tells streams of one name apart, as the step or the epoch does.
    """
    address = json.dumps([int(seed), name, *(int(number) for number in more)])
    return int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8).digest(), "little")


def words(key: int, positions: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The words at `positions` (any shape) of the stream `key`, in numpy."""
    start, gamma = _stream(key)
    with np.errstate(over="ignore"):  # wrapping is the arithmetic; numpy would warn for a single number
        state = np.asarray(positions, dtype=np.uint64) * np.uint64(gamma)
        state += np.uint64(start)
        return mix(state)


def torch_words(key: int, positions: torch.Tensor) -> torch.Tensor:
    """The same bits as `words`, as int64, on the device of `positions` (int64): torch's uint64 has no shifts."""
    start, gamma = _stream(key)
    state = positions * _signed(gamma)
    state += _signed(start)
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, None), strict=True):
        shifted = state >> shift
        shifted &= (1 << (64 - shift)) - 1  # >> copies the sign down: take those bits away
        state ^= shifted
        if multiplier is not None:
            state *= _signed(multiplier)
    return state


def mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of the 64-bit words in which each bit of the input turns each bit of the output half of the time.

    Works in place on `state`, and returns it.
    """
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, None), strict=True):
        state ^= state >> np.uint64(shift)
        if multiplier is not None:
            state *= np.uint64(multiplier)
    return state


def _stream(key: int) -> tuple[int, int]:
    """The state of word 0 and the odd step between states: SplittableRandom's mixGamma, of the key."""
    gamma = key % _MODULUS
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        gamma = (gamma ^ (gamma >> 33)) * multiplier % _MODULUS
    gamma = (gamma ^ (gamma >> 33)) | 1
    if (gamma ^ (gamma >> 1)).bit_count() < 24:  # too regular: long runs of equal bits
        gamma ^= 0xAAAAAAAAAAAAAAAA
    return (key + gamma) % _MODULUS, gamma


def _signed(word: int) -> int:
    return word - _MODULUS if word >= _MODULUS // 2 else word
