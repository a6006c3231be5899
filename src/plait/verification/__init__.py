"""Proving: one process against many, tensor by tensor, and a verdict that no hand-set tolerance decides."""
