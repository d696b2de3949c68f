"""Tell shadows, and desks in the dark, from ink: they are broad, soft, and have darker strokes in them."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.ink import even_paper
from app.pictures.normalise import Density
from app.pictures.opening import Pixels
from app.pictures.pieces import Piece

# By what factor the darkest of even ink is darker than most of it, at most.
_EVENLY_DARK = 1.3

# How broad a shadow is at least that takes a part of the picture, as a share of its shorter side, and the
# pixels of its edge.
_SHADE, _SOFT_EDGE = 0.3, 2

# A broad stroke may be a shadow: how broad at least, as a share of the picture's shorter side; how dark the
# strokes in it are at least, in units of its own density; shares of its area; and the density below which it
# is no blurred ink.
_BROAD, _IN_SHADOW, _LEAST_IN, _MOST_IN = 0.04, 1.5, 0.005, 0.3
_PALE = 0.45

# A shadow is broader than strokes beside it by the first factor, and its edges are softer by the second, and
# soft in themselves: from pixel to pixel, their density changes by less than a share of full ink.
_BROADER, _SOFTER, _SOFT = 2.5, 0.4, 0.25

# Compared with it are bent strokes (a scratch is straight) of at least this share of its length, which are
# darker, it having at most this share of their density. Only so many of the longest pieces are looked at.
_SHORT_STROKE, _PALER, _MOST_SHADOWS = 0.12, 0.75, 20


def shadow_on_ink(labels: NDArray[np.int32], density: Density, piece: Piece) -> float:
    """Return the density of a piece of the ink if it is a shadow, and 0 if it is none.

    A shadow is broad, soft, and has darker strokes in it, which are the ink.
    """
    if piece.width < _BROAD * min(density.shape) or not is_soft(sharpness(labels, density, piece)):
        return 0.0
    own = density[np.isin(labels, piece.labels)]
    middle = float(np.median(own))
    # Of what is blurred, half is less than full ink, too, but not much less.
    shadow = middle if middle < _PALE else 1.0
    return shadow if _LEAST_IN < (own > _IN_SHADOW * shadow).mean() < _MOST_IN else 0.0


def is_even_ink(pixels: Pixels, most: float = _EVENLY_DARK) -> bool:
    """Whether what is darker than even paper is all about as dark: where there is a shadow, ink is darker.

    The darkest is at most `most` times as dark as the median.
    """
    paper = even_paper(pixels)
    missing = np.max(cv2.subtract(paper, pixels).reshape(paper.shape), axis=2)
    _, dark = cv2.threshold(missing, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if not dark.any():
        return False
    middle, darkest = np.quantile(missing[dark > 0] / paper.max(axis=2)[dark > 0], (0.5, 0.99))
    return bool(darkest < most * middle)


def split_shade(ink: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where ink is as broad as a shadow or a desk, and where it is not, all bool [height, width]."""
    radius = _SHADE / 2 * min(ink.shape)
    margin = math.ceil(radius)
    # What lies along the frame goes on beyond it, however thin it is inside.
    beyond = np.pad(ink.astype(np.uint8), margin, mode="edge")
    is_core = cv2.distanceTransform(beyond, cv2.DIST_L2, 5) >= radius
    if not is_core.any():
        return np.zeros_like(ink), ink
    from_core = cv2.distanceTransform((~is_core).astype(np.uint8), cv2.DIST_L2, 5)
    is_broad = from_core[margin:-margin, margin:-margin] <= radius + _SOFT_EDGE
    return ink & is_broad, ink & ~is_broad


def find_shadows(labels: NDArray[np.int32], density: Density, pieces: list[Piece]) -> tuple[int, ...]:
    """Return the numbers of the pieces that may be shadows: broad, pale and soft beside thinner strokes.

    `pieces` are sorted, longest first.
    """
    looked_at = pieces[:_MOST_SHADOWS]
    found = []
    for broad in looked_at:
        strokes = [
            piece
            for piece in looked_at
            if _BROADER * piece.width < broad.width and piece.length > _SHORT_STROKE * broad.length
            if piece.is_bent and broad.darkness < _PALER * piece.darkness
        ]
        if not strokes:
            continue
        own = sharpness(labels, density, broad)
        sharpest = max(sharpness(labels, density, piece) for piece in strokes)
        if is_soft(own) and own < _SOFTER * sharpest:
            found.append(broad.labels[0])
    return tuple(found)


def is_soft(change: float) -> bool:
    """Whether edges may be those of a shadow, given their `sharpness`."""
    return change < _SOFT


def sharpness(labels: NDArray[np.int32], density: Density, piece: Piece) -> float:
    """Return by how much the density changes from pixel to pixel along a piece's outline, in the mean."""
    left, top, right, bottom = piece.box
    part = slice(max(0, top - 1), bottom + 1), slice(max(0, left - 1), right + 1)
    square = np.ones((3, 3), np.uint8)
    own = np.isin(labels[part], piece.labels).astype(np.uint8)
    outline = own > cv2.erode(own, square, borderValue=0)
    return float(cv2.morphologyEx(density[part], cv2.MORPH_GRADIENT, square)[outline].mean())
