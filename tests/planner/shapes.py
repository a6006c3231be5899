"""Two small models, one of each family of checkpoints, whose sizes are easily multiplied by hand."""

from __future__ import annotations

from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

# elements: wte 10·8 = 80, wpe 6·8 = 48; a block 872 (norms 16 + 16, c_attn 192 + 24, c_proj 64 + 8, c_fc 256 + 32,
# mlp.c_proj 256 + 8); ln_f 16; in all 80 + 48 + 2·872 + 16 = 1888
GPT2 = ModelSpec(layers=2, hidden=8, heads=2, kv_heads=2, ffn=32, vocab=10, max_positions=6)
# elements: embed_tokens 11·8 = 88; a block 496: norms 8 + 8, q 64, k 32, v 32, o 64, gate, up and down 96 each;
# norm 8; lm_head 88
LLAMA = ModelSpec(
    layers=2, hidden=8, heads=4, kv_heads=2, ffn=12, vocab=11, max_positions=6, positions="rope", norm="rms",
    activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip
TRAINING = TrainingSpec(global_batch=4, sequence_length=6, clip_norm=1.0)
