"""Colours are measured, not believed: every pair that meets in one picture is apart for every kind of eye.

Colour-blind vision is simulated as by Machado, Oliveira and Fernandes (2009), full severity; distances are those of
Oklab, times 100: 2 is just visible, 10 is another colour.
"""

import math
from itertools import combinations

import pytest

from plait.report.palette import DARK, GROUND, LIGHT, MEANINGS, style_variables
from plait.sharding.mesh_shape import AXES

VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
MEMORY = {"weights", "backward", "optimizer", "forward"}  # what a bar of memory is stacked from
STEP = set(LIGHT) - {"weights"}  # what a timeline is drawn with


def linear(colour):
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def oklab(rgb):
    r, g, b = (min(1.0, max(0.0, part)) for part in rgb)
    cones = (
        0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
        0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
        0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
    )
    long, medium, short = (cone ** (1 / 3) for cone in cones)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def seen(colour, vision):
    return oklab([sum(a * b for a, b in zip(row, linear(colour), strict=True)) for row in VISION[vision]])


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_that_meet_are_apart_for_every_eye(colours, vision):
    met = [pair for together in (MEMORY, STEP) for pair in combinations(sorted(together), 2)]
    apart = {pair: 100 * math.dist(*(seen(colours[name], vision) for name in pair)) for pair in met}
    assert {pair: round(d, 1) for pair, d in apart.items() if d < 10} == {}


@pytest.mark.parametrize(("colours", "ground"), [(LIGHT, GROUND["light"]), (DARK, GROUND["dark"])])
def test_no_colour_drowns_in_its_ground(colours, ground):
    assert all(contrast(colour, ground) >= 1.4 for colour in colours.values())


@pytest.mark.parametrize(("mode", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_words_on_a_colour_can_be_read(mode, colours):
    written = dict(part.split(":") for part in style_variables(mode).strip(";").split(";"))
    assert written["--panel"] == GROUND[mode]
    assert {name for name in colours if contrast(written[f"--{name}"], written[f"--on-{name}"]) < 4.5} == set()


def test_both_modes_colour_the_same_meanings():
    assert set(LIGHT) == set(DARK) >= set(AXES)
    assert set(MEANINGS) - {"idle"} == STEP
