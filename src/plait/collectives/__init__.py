"""The wire: groups of ranks along the mesh's axes, the collectives between them, and a recorder of what was sent."""
