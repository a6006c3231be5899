"""How a runtime does its work, as far as that changes a price: facts about programs, not about machines or models.

The default is Plait's own way. Runs of other programs are read with theirs (`evaluation`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Practice"]


@dataclass(frozen=True, kw_only=True)
class Practice:
    """`fused_attention`: scores never reach memory (FlashAttention). `attention_kernel`: FlashAttention's
    generation. `masks`: dropout keeps a mask of a byte an element.
    `gradient_bytes`: of each gradient, as it is kept and summed. `gradient_copies`: how
    many times each is held.
    `overlap_data`: sums over data go on behind backward.
    `overlap_tensor`: a tensor rank's weights' gradients are computed while its input's gradient is summed.
    `pipelined_tensor`: products and transfers of the tensor axis are cut in pieces that hide each other.
    `compiled`: element-wise work is fused and launched as graphs. `fused_kernels`: the element-wise parts of a block are
    fused by hand. `balanced`: stages are cut by cost; else equally, the embedding and the head on top.
    `wide_state`: the dtype of master weights and moments is float32, whatever is computed in.
    `fused_gradients`: products add weights' gradients up by themselves.
    `whole_sends`: every tensor rank sends the whole value to the next stage; else its part of it.
    `wide_shards`: under ZeRO 3 shares of the weights are the float32 masters themselves.
    `gathers_once`: under ZeRO 3 weights stay whole from forward to backward."""

    fused_attention: bool = True
    attention_kernel: int = 3
    masks: bool = False
    gradient_bytes: int = 4
    gradient_copies: int = 1
    overlap_data: bool = True
    overlap_tensor: bool = True
    pipelined_tensor: bool = False
    compiled: bool = False
    fused_kernels: bool = False
    balanced: bool = True
    wide_state: bool = True
    gathers_once: bool = False
    wide_shards: bool = False
    whole_sends: bool = True
    fused_gradients: bool = False
