"""Tell the darker one of two tones of ink: a digit written upon faint lines, tape or the rim of a stain."""

from __future__ import annotations

from typing import NamedTuple, Optional

import cv2
import numpy as np

from app.pictures.ink import full_density, split_levels
from app.pictures.layout import Layout, find_pieces, spans
from app.pictures.normalise import Density, ink_box

# Ink is in two tones if they explain so much of the variance along the middle of its strokes, the pale one
# has at most this share of the dark one's density, and the dark one this share of that middle at least, being
# no speck, and of the length of all at most. A digit beside it is as long, to within a factor.
_TWO_TONES, _PALE_TONE, _SPECK, _SMALLER, _ALIKE = 0.9, 0.6, 0.06, 0.7, 1.8


class Darker(NamedTuple):
    """The darker one of two tones of ink."""

    density: Density
    """1 for full ink of that tone."""

    full: float
    """The density that became 1."""


def darker_ink(layout: Layout, density: Density, noise: float) -> Optional[Darker]:
    """Return only the darker ink if the longest of the writing is in two tones, else None.

    A digit in ink upon faint lines is so, or upon the rim of a stain; with a line across the picture, all of
    the writing. It is smaller than all of it, as the strokes of a dry pen, pale in places, are not. A pale
    digit that touches a dark one is told by being bent, of about its size, and not cut by the frame.
    """
    square = np.ones((3, 3), np.uint8)
    is_crossed = any(spans(piece, density.shape) for line in layout.lines for piece in line)
    piece = layout.whole if is_crossed else layout.main
    own = np.isin(layout.labels, piece.labels)
    crests = density[own & (density >= cv2.dilate(density, square))]
    if not crests.size:
        return None
    levels = np.clip(100 * crests, 0, 255).astype(np.uint8).reshape(-1, 1, 1)
    is_dark, explained = split_levels(levels)
    if explained < _TWO_TONES:
        return None
    dark, pale = float(crests[is_dark[:, 0]].mean()), float(crests[~is_dark[:, 0]].mean())
    if pale > _PALE_TONE * dark or is_dark.mean() < _SPECK:
        return None
    is_darker = density > (dark + pale) / 2
    left, top, right, bottom = ink_box(is_darker & own)
    side = max(right - left, bottom - top)
    is_near = cv2.dilate(is_darker.astype(np.uint8), square, iterations=2) > 0
    _, rest = find_pieces(own & ~is_near, density)
    is_digit = [one.is_bent and not one.touches and side / _ALIKE < one.side < _ALIKE * side for one in rest]
    if side > _SMALLER * piece.side or any(is_digit):
        return None
    darker = np.where(is_near, density, np.float32(0))
    full = full_density(darker, noise)
    return Darker((darker / np.float32(full)).astype(np.float32), full)
