"""How a runtime does its work, as far as that changes a price: facts about programs, not about machines or models.

The default is Plait's own way. Runs of other programs are read with theirs (`evaluation`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Practice"]


@dataclass(frozen=True, kw_only=True)
class Practice:
    """Facts about one program.

    `fused_attention`: scores never reach memory; `attention_kernel`: FlashAttention's generation. `masks`: dropout
    keeps a mask of a byte an element. `gradient_bytes`: of each gradient, as it is kept and summed;
    `gradient_copies`: how many times each is held where the optimizer is shared out. `loss_bytes`: of each logit
    while the loss is computed: in 16 bits, in float32, a gradient of each; less where the loss is fused.
    `selects_products`: where attention keeps no scores, selective recompute does half of the products again; else
    only what is element-wise, for next to nothing. `overlap_data`: sums over data go on behind backward;
    `overlap_gathers`: and new weights are gathered while the next forward goes on; both in pieces of a block, or of
    `bucket_bytes` where these are smaller (what ZeRO 3 fetches at each use everybody fetches a block ahead).
    `overlap_tensor`: weights' gradients are computed while their input's is summed over the tensor axis,
    `waiting_weights`: those of a whole half of a block, and not of the products alone that read the input;
    `pipelined_tensor`: under sequence parallelism products and transfers are cut in a piece for each tensor rank, of
    which one is on its way while another is computed. `compiled`:
    element-wise work is fused by a compiler; `fused_kernels`: by hand; `fused_gradients`: products add weights'
    gradients up by themselves. `balanced`: stages are cut by cost; else equally, embedding and head on top.
    `whole_sends`: every tensor rank sends the whole value to the next stage; else its part of it. `overlap_sends`:
    ranks with several stages send one's values while another works, but for those that fill the pipeline.
    `wide_shards`: under ZeRO 3 a share of the weights is the float32 master itself; `gathers_once`: weights, and their
    gradients, stay whole through the step.
    """

    fused_attention: bool = True
    attention_kernel: int = 3
    masks: bool = False
    gradient_bytes: int = 4
    gradient_copies: int = 1
    loss_bytes: float = 12.0
    selects_products: bool = True
    overlap_data: bool = True
    overlap_gathers: bool = True
    bucket_bytes: float = 25 * 2.0**20
    overlap_tensor: bool = True
    waiting_weights: bool = True
    pipelined_tensor: bool = False
    compiled: bool = False
    fused_kernels: bool = False
    balanced: bool = True
    gathers_once: bool = False
    wide_shards: bool = False
    whole_sends: bool = True
    overlap_sends: bool = False
    fused_gradients: bool = False
