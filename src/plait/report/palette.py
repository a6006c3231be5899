"""The colours: one for each meaning, the same in every picture, told apart by every kind of eye.

    what a rank does      forward, backward, weight-gradients; messages along pipeline, data, tensor; optimizer
    what a rank holds     weights; gradients as backward, activations as forward, optimizer state as optimizer
    the two sides         predicted is pale with an outline, measured is full

Chosen by a search over hues that keeps every pair apart in normal, protan, deutan and tritan vision (the test measures
it again). Idle time is hatched, not coloured.
"""

from __future__ import annotations

__all__ = ["DARK", "GROUND", "LIGHT", "MEANINGS", "style_variables"]

GROUND = {"light": "#ffffff", "dark": "#1b1e23"}  # what the pictures are drawn on

LIGHT = {
    "forward": "#2b93e6",
    "backward": "#d99a2b",
    "weight-gradients": "#fbd171",
    "pipeline": "#3b8167",
    "data": "#15483b",
    "tensor": "#7fdcd5",
    "optimizer": "#86309a",
    "weights": "#363f4d",
}
DARK = {
    "forward": "#57a8f5",
    "backward": "#f0a52a",
    "weight-gradients": "#f9e07f",
    "pipeline": "#41996c",
    "data": "#1f7167",
    "tensor": "#9fd8d2",
    "optimizer": "#ab4ebf",
    "weights": "#d5dae2",
}

MEANINGS = {  # messages carry the colour of their axis
    "forward": "forward",
    "backward": "backward",
    "weight-gradients": "backward of weights",
    "pipeline": "pipeline messages",
    "data": "gradient sums (data)",
    "tensor": "tensor messages",
    "optimizer": "optimizer",
    "idle": "idle",
}

_INK, _PAPER = "#12151a", "#ffffff"


def style_variables(mode: str) -> str:
    """The palette of a mode as CSS variables: `--panel`, `--forward`, and `--on-forward` for words that stand on it."""
    colours = {"light": LIGHT, "dark": DARK}[mode]
    return f"--panel:{GROUND[mode]};" + "".join(
        f"--{name}:{colour};--on-{name}:{_readable(colour)};" for name, colour in colours.items()
    )


def _readable(colour: str) -> str:
    """Ink or paper, whichever has the higher contrast on a colour, as WCAG defines it."""
    on_ink = (_luminance(colour) + 0.05) / (_luminance(_INK) + 0.05)
    on_paper = (_luminance(_PAPER) + 0.05) / (_luminance(colour) + 0.05)
    return _INK if on_ink > on_paper else _PAPER


def _luminance(colour: str) -> float:
    parts = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
