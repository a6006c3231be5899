"""Saving state so that it does not depend on the layout: boxes of globally named tensors, and a manifest of them."""
