"""Shares, dims and meshes drawn at random, in the ranges in which whole and uneven cases mix."""

from __future__ import annotations

from hypothesis import strategies as st

from plait.layers.layer import Dim, Part
from plait.sharding.mesh_shape import MeshShape

RANKS = st.integers(1, 6)
EQUAL = RANKS.map(lambda ranks: (1,) * ranks)
UNEVEN = st.lists(st.one_of(st.integers(1, 9), st.floats(0.1, 9.0)), min_size=1, max_size=6).map(tuple)
WEIGHTS = st.one_of(EQUAL, UNEVEN)
MESHES = st.builds(MeshShape, pipeline=st.integers(1, 4), data=st.integers(1, 4), tensor=st.integers(1, 4))


@st.composite
def parts(draw) -> Part:
    index = draw(st.sampled_from(["hidden", "heads", "kv_heads", "ffn", "vocab", "positions"]))
    per_unit = draw(st.integers(1, 4)) if index == "kv_heads" else 1
    return Part(index=index, units=draw(st.integers(1, 12)), width=draw(st.integers(1, 3)), per_unit=per_unit)


DIMS = st.lists(parts(), min_size=1, max_size=3).map(lambda found: Dim(parts=tuple(found)))
