"""A shuffled order by address: the index-th element of a keyed permutation, without holding the permutation.

Data order is drawn from here. It knows numbers, and no samples, epochs or ranks.

A Feistel network permutes the numbers of `bits` bits, whatever its round function; the domain has fewer than 2 * size
numbers, and a result outside [0, size) is sent through again until it falls inside (cycle walking; Black and Rogaway,
2002), which keeps the map a permutation of [0, size).

    (left | right)  ──>  (right | left ^ word(right))        a round; the halves change places, and widths if unequal
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plait.random.words import words

__all__ = ["permuted"]

_ROUNDS = 12  # even, so that the halves end with the widths they began with; fewer are not uniform for tiny sizes


def permuted(index: npt.NDArray[np.int64], size: int, key: int) -> npt.NDArray[np.int64]:
    """Where the permutation `key` of [0, size) sends each `index` (any shape); int64 of the same shape.

    Raises ValueError for an index outside [0, size).
    """
    index = np.asarray(index)
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise ValueError(f"an index lies outside [0, {size}): {index.min()} to {index.max()}")
    bits = max(2, (size - 1).bit_length())
    result = _feistel(index.astype(np.uint64).ravel(), bits, key)
    while (outside := result >= size).any():
        result[outside] = _feistel(result[outside], bits, key)
    return result.astype(np.int64).reshape(index.shape)


def _feistel(numbers: npt.NDArray[np.uint64], bits: int, key: int) -> npt.NDArray[np.uint64]:
    """A permutation of the numbers of `bits` bits."""
    right_bits = bits // 2
    for number in range(_ROUNDS):
        left_bits = bits - right_bits
        left, right = numbers >> np.uint64(right_bits), numbers & np.uint64((1 << right_bits) - 1)
        word = words(key, right + np.uint64(number << 32)) >> np.uint64(64 - left_bits)
        numbers = (right << np.uint64(left_bits)) | (left ^ word)
        right_bits = left_bits
    return numbers
