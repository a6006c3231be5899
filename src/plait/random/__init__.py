"""Keyed randomness: every random number is a function of (seed, name, step, global position), never of the layout."""
