"""Strokes that are no digit: scribbles, letters and symbols by hand, digits lying on their side."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.datasets import Digits
from tests.pen import Strokes, trace

# Without those that by hand look like a digit, upright or in the other case (O, D, Q, I, l, J, Z, S, B, G, b,
# g, q, y, P, p, T, Y, C, G, L, A, a, c, d, e, i, j, o, s, t, z).
LETTERS = "EFHKMNRUVWXfhkmnruvwx"
SYMBOLS = "#@?*+=~^→←↑≠±Ωπ♥★∀√€%"
# These have all of them.
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Oblique.ttf")

# Digits that are none any more when turned by 180 degrees, and by 90.
UPSIDE_DOWN = (3, 4, 7)
ON_THE_SIDE = (2, 3, 4, 5, 7)


@cache
def load_font(name: str) -> ImageFont.FreeTypeFont:
    """Return one of the fonts that come with matplotlib."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), 80)


def scribble(rng: np.random.Generator) -> Strokes:
    """Return a random smooth curve: a sum of waves with many turns."""
    time = np.linspace(0, 2 * math.pi, 240)
    turns = np.arange(1, 9)
    strengths = rng.normal(size=(2, len(turns))) / turns**0.5
    waves = np.sin(time[:, None, None] * turns + rng.uniform(0, 2 * math.pi, (2, len(turns))))
    points = (waves * strengths).sum(axis=2)[: int(rng.integers(120, 241))]
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0).max()
    index = np.arange(len(points) - 1)
    return Strokes(points, np.stack([index, index + 1], axis=1), np.full(len(points), 0.03))


def by_hand(characters: str, rng: np.random.Generator) -> Strokes:
    """Return one of the characters in a shaky hand."""
    picture = Image.new("L", (112, 112))
    font = load_font(str(rng.choice(FONTS)))
    character = characters[rng.integers(len(characters))]
    ImageDraw.Draw(picture).text((56, 56), character, fill=255, font=font, anchor="mm")
    glyph: NDArray[np.uint8] = np.asarray(picture.reduce(4))
    strokes = trace(glyph)
    shear = np.array([[rng.uniform(0.8, 1.2), rng.uniform(-0.25, 0.25)], [rng.uniform(-0.1, 0.1), 1]])
    waves = 2 * math.pi * rng.uniform(0.5, 1.5, 2)
    shake = 0.03 * np.sin(strokes.points[:, ::-1] * waves + rng.uniform(0, 2 * math.pi, 2))
    return strokes._replace(points=strokes.points @ shear.T + shake)


def turned(digits: Digits, rng: np.random.Generator) -> Strokes:
    """Return a digit upside down or on its side, of those that are no digit then."""
    quarters = int(rng.integers(1, 4))
    allowed = np.isin(digits.labels, UPSIDE_DOWN if quarters == 2 else ON_THE_SIDE)
    index = int(rng.choice(np.flatnonzero(allowed)))
    return trace(np.rot90(digits.images[index], quarters))
