"""Error feedback: what a compressed message lost of a gradient is added to the next one.

    gradient + residual ──► compressed, sent
             residual  ◄── gradient + residual - what the others will read

Nothing is lost for good, only late: over many steps the mean of what was sent is the mean gradient, however coarse the
form (Seide et al., Interspeech 2014; why it converges: Karimireddy et al., ICML 2019). Each rank keeps its own, and
what later becomes of the sum (clipping, the learning rate) is not its matter.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["drop_what_is_not_finite"]


def drop_what_is_not_finite(residual: Tensor) -> None:
    """Set what is NaN or infinite to 0, in place: all have seen it in the sum, and it must not come back each step."""
    if not bool(residual.sum().isfinite()):  # one pass, where a look at each element would take four
        residual.nan_to_num_(0.0, 0.0, 0.0)
