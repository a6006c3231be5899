"""Where a tensor lives: the mesh's axes, placements, boxes, and the collectives that follow from them."""
