"""Tell the darker one of two tones of ink: a digit upon faint lines, squared paper, tape or a stain's rim."""

from __future__ import annotations

import math
from typing import NamedTuple, Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.ink import full_density, split_levels
from app.pictures.layout import Layout
from app.pictures.normalise import Density, ink_box
from app.pictures.pieces import find_pieces, spans

# Ink is in two tones if they explain so much of the variance along the middle of its strokes, the pale one
# has at most this share of the dark one's density, and the dark one this share of that middle at least, being
# no speck, and of the length of all at most. A digit beside it is as long, to within a factor.
_TWO_TONES, _PALE_TONE, _SPECK, _SMALLER, _AS_LONG = 0.9, 0.6, 0.06, 0.7, 1.8

# Ink upon lines is darker than those around it by the first factor; or by less, if two tones explain the
# second share of the variance along the middle of all strokes, and more than the third of that is dark.
_UPON_LINES, _LINES_AND_INK, _UPON = 1.6, 0.75, 0.05

# By so many pixels pencil is smoothed.
_SMOOTHED = 0.8

# A picture has so many squares to a side. Lines are all over it if they are in so many of these: in each with
# more than so many pixels, but not with so large a share of all. Where there are fewer pixels around, all
# others tell how dark lines are.
_SQUARES, LEAST_SQUARES, _FEW, _FULL = 8, 20, 4, 0.95

# What is shorter than so many pixels, or than this share of the longest, is where two lines cross; and what
# is in more pieces than these is grain.
_SHORT, _CROSSING, _MOST_PIECES = 12, 0.2, 60


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
    is_dark, explained = split_tones(crests)
    if explained < _TWO_TONES:
        return None
    dark, pale = float(crests[is_dark].mean()), float(crests[~is_dark].mean())
    if pale > _PALE_TONE * dark or is_dark.mean() < _SPECK:
        return None
    is_darker = density > (dark + pale) / 2
    left, top, right, bottom = ink_box(is_darker & own)
    side = max(right - left, bottom - top)
    is_near = cv2.dilate(is_darker.astype(np.uint8), square, iterations=2) > 0
    _, rest = find_pieces(own & ~is_near, density)
    is_digit = [
        one.is_bent and not one.touches and side / _AS_LONG < one.side < _AS_LONG * side for one in rest
    ]
    if side > _SMALLER * piece.side or any(is_digit):
        return None
    return darker_where(is_near, density, noise)


def ink_upon_lines(density: Density, noise: float) -> Optional[Darker]:
    """Return only the ink that is darker than what is spread all over the picture, else None.

    Such is a digit on ruled or squared paper whose lines are too fine or too askew to be found one by one, or
    on grain. It is compared with the lines near it: light and focus change from one side to the other.

    Args:
        density: float32 [height, width], with all lines.
        noise: what counts as ink.
    """
    square = np.ones((3, 3), np.uint8)
    smooth = cv2.GaussianBlur(density, (0, 0), _SMOOTHED)
    is_crest = (smooth > noise) & (smooth >= cv2.dilate(smooth, square))
    if not is_crest.any():
        return None
    usual, factor = level_of_lines(smooth[is_crest])
    is_pale = is_crest & (smooth < factor * usual)
    if count_squares(is_pale) < LEAST_SQUARES:
        return None
    dark = (smooth > factor * level_around(smooth, is_pale, usual)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
    sides = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    sides[0] = 0
    longest = int(sides.max())
    if longest < _SHORT:
        return None
    is_long = sides > _CROSSING * longest
    if np.count_nonzero(is_long) > _MOST_PIECES:
        return None
    is_ink = is_long[labels]
    return darker_where(cv2.dilate(is_ink.astype(np.uint8), square) > 0, density, noise)


def split_tones(crests: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    """Return which of the densities, float32 [N], are dark, and the share of their variance that explains."""
    is_dark, explained = split_levels(np.clip(100 * crests, 0, 255).astype(np.uint8).reshape(-1, 1, 1))
    return is_dark[:, 0], explained


def level_of_lines(crests: NDArray[np.float32]) -> tuple[float, float]:
    """Return how dense lines are, and by what factor what is written upon them is denser, at least.

    Most of the densities, float32 [N], are those of lines, unless they are in two tones: then the paler is.
    """
    is_dark, explained = split_tones(crests)
    if explained > _LINES_AND_INK and is_dark.mean() > _UPON:
        dark, pale = float(crests[is_dark].mean()), float(crests[~is_dark].mean())
        if dark > _UPON_LINES * pale:
            return pale, min(_UPON_LINES, math.sqrt(dark / pale))
    return float(np.median(crests)), _UPON_LINES


def count_squares(lines: NDArray[np.bool_]) -> int:
    """Return how many of the picture's squares have more than a few pixels of lines, and are not full.

    Args:
        lines: bool [height, width], where there may be lines.
    """
    rows, columns = np.nonzero(lines)
    height, width = lines.shape
    number = _SQUARES * (_SQUARES * rows // height) + _SQUARES * columns // width
    counts = np.bincount(number, minlength=_SQUARES**2)
    return int(np.count_nonzero((counts > _FEW) & (counts < _FULL * lines.size / _SQUARES**2)))


def level_around(density: Density, crests: NDArray[np.bool_], usual: float) -> Density:
    """Return the mean density of the crests around, float32 [height, width]; `usual` where there are none."""
    reach = (2 * (max(density.shape) // (2 * _SQUARES)) + 1,) * 2
    own = np.where(crests, density, np.float32(0))
    total, count = (
        cv2.boxFilter(values.astype(np.float32), -1, reach, normalize=False) for values in (own, crests)
    )
    level: Density = (total + np.float32(_FEW * usual)) / (count + np.float32(_FEW))
    return level


def darker_where(where: NDArray[np.bool_], density: Density, noise: float) -> Darker:
    """Return the ink of the darker tone, given where it is, bool [height, width]."""
    darker = np.where(where, density, np.float32(0))
    full = full_density(darker, noise)
    return Darker((darker / np.float32(full)).astype(np.float32), full)
