"""Find the sides of boxes that printed lines leave behind: what leads straight from one line to the next."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.normalise import Density, stroke_width
from app.pictures.pieces import find_pieces

# A rung is as thick as the lines, to within the first factor and a pixel; as straight as that: in nearly all
# rows, its middle is within this share of its thickness, and a pixel; and so many times as long as thick.
_THICKER, _NEARLY, _STRAIGHT, _LONG = 1.6, 0.9, 0.35, 4.0

# There are so many at least, and other ink is at least so long beside the shortest.
_FEWEST, _AS_LONG = 2, 0.25

# How far from a line a rung ends at most, in pixels: there are the soft edges of either.
_NEAR = 3


def without_rungs(density: Density, cleaned: Density, low: float) -> Density:
    """Return a density without the two sides of boxes whose other two were taken for printed lines.

    All is as it was if nothing is left that is about as long as they are: two of them may be ones.

    Args:
        density: float32 [height, width], with the lines.
        cleaned: float32 [height, width], without them.
        low: what counts as ink.
    """
    is_line = (density > low) & (cleaned <= low)
    if not is_line.any():
        return cleaned
    thickness = stroke_width(is_line.astype(np.float32))
    near = cv2.dilate(is_line.astype(np.uint8), np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)) > 0
    labels, pieces = find_pieces(cleaned > low, cleaned)
    rungs = []
    for piece in pieces:
        left, top, right, bottom = piece.box
        own, meets = labels[top:bottom, left:right] == piece.labels[0], near[top:bottom, left:right]
        if bottom - top < right - left:
            own, meets = own.T, meets.T
        if len(own) >= _LONG * thickness and leads_straight(own, meets, thickness):
            rungs.append(piece)
    rest = max((piece.side for piece in pieces if piece not in rungs), default=0)
    if len(rungs) < _FEWEST or rest < _AS_LONG * min(rung.side for rung in rungs):
        return cleaned
    is_rung = np.isin(labels, [rung.labels[0] for rung in rungs])
    is_near = cv2.dilate(is_rung.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(is_near & (is_rung | (labels == 0)), np.float32(0), cleaned)


def leads_straight(own: NDArray[np.bool_], near: NDArray[np.bool_], thickness: float) -> bool:
    """Whether a piece of ink leads straight from a line at its top to another at its bottom.

    Args:
        own: bool [height, width], where it is, in its box.
        near: bool [height, width], where it is near a line.
        thickness: that of the lines, in pixels.
    """
    reach = round(thickness) + _NEAR
    widths = own.sum(axis=1)
    if not (own[:reach] & near[:reach]).any() or not (own[-reach:] & near[-reach:]).any() or not widths.all():
        return False
    if np.quantile(widths, _NEARLY) > _THICKER * thickness + 1:
        return False
    rows, middles = np.arange(len(own)), own @ np.arange(own.shape[1]) / widths
    departure = np.abs(middles - np.polyval(np.polyfit(rows, middles, 1), rows))
    return bool(np.quantile(departure, _NEARLY) <= _STRAIGHT * thickness + 1)
