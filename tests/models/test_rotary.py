"""A rotation turns each pair by position times frequency, in the published order of features, and keeps lengths."""

from __future__ import annotations

import torch

from plait.models.rotary import rotate, rotation

DIM, THETA = 8, 100.0
POSITIONS = torch.tensor([[0, 1, 5, 300], [2, 2, 70000, 3]])


def turned(x: torch.Tensor) -> torch.Tensor:
    return rotate(x, rotation(POSITIONS, head_dim=DIM, theta=THETA, dtype=x.dtype))


def test_it_is_a_product_with_complex_numbers_of_length_one() -> None:
    x = torch.randn(2, 4, 3, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pairs = torch.complex(x[..., : DIM // 2], x[..., DIM // 2 :])
    for row in range(2):
        for place in range(4):
            for i in range(DIM // 2):
                angle = torch.tensor(float(POSITIONS[row, place]) * THETA ** (-2 * i / DIM), dtype=torch.float64)
                pairs[row, place, :, i] *= torch.polar(torch.ones_like(angle), angle)
    # an angle of 70,000 has 5 digits fewer than one of 1
    torch.testing.assert_close(turned(x), torch.cat((pairs.real, pairs.imag), -1), rtol=0, atol=1e-10)


def test_position_zero_turns_nothing_and_lengths_stay() -> None:
    x = torch.randn(2, 4, 3, DIM)
    assert torch.equal(turned(x)[0, 0], x[0, 0])
    torch.testing.assert_close(turned(x).norm(dim=-1), x.norm(dim=-1))


def test_angles_are_never_narrow() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        narrow = rotation(POSITIONS, head_dim=DIM, theta=THETA, dtype=dtype)
        wide = rotation(POSITIONS, head_dim=DIM, theta=THETA, dtype=torch.float64)
        for got, expected in zip(narrow, wide, strict=True):
            assert got.shape == (2, 4, 1, DIM)
            assert got.dtype == dtype
            # 70,000 radians in float32 are known to 2**-8; bfloat16 alone would not know one from another
            assert (got - expected).abs().max() < 2**-7
