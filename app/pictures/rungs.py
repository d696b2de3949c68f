"""Find the sides of boxes that printed lines leave behind: what leads straight from one line to the next."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.normalise import Density, stroke_width
from app.pictures.pieces import find_pieces

# A rung is as thick and as dark as the lines, to within these factors; so many times as long as thick; and
# straighter than a hand draws: nearly all of it is in line to so many pixels and that share of its length.
_AS_THICK, _AS_DARK, _LONG = 1.35, 1.25, 4.0
_NEARLY, _STRAIGHT, _STRAIGHT_SHARE = 0.9, 0.6, 0.002

# There are so many at least, and other ink is at least so long beside the shortest.
_FEWEST, _AS_LONG = 2, 0.25

# How far from a line a rung ends at most, in pixels: there are the soft edges of either.
_NEAR = 2


def without_rungs(density: Density, cleaned: Density, low: float) -> Density:
    """Return a density without the sides of boxes: straight from line to line, and as thick and dark as they.

    All is as it was if there are not two such, or if nothing is left that is about as long: they may be ones.

    Args:
        density: float32 [height, width], with the lines.
        cleaned: float32 [height, width], without them.
        low: what counts as ink.
    """
    is_line = (density > low) & (cleaned <= low)
    if not is_line.any():
        return cleaned
    thickness, darkness = stroke_width(is_line.astype(np.float32)), float(np.median(density[is_line]))
    near = cv2.dilate(is_line.astype(np.uint8), np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)) > 0
    labels, pieces = find_pieces(cleaned > low, cleaned)
    rungs = []
    for piece in pieces:
        if piece.side < _LONG * thickness:
            continue
        left, top, right, bottom = piece.box
        part = slice(top, bottom), slice(left, right)
        own, meets = labels[part] == piece.labels[0], near[part]
        is_as_dark = 1 / _AS_DARK < float(np.median(density[part][own])) / darkness < _AS_DARK
        if bottom - top < right - left:
            own, meets = own.T, meets.T
        if is_as_dark and leads_straight(own, meets, thickness):
            rungs.append(piece)
    rest = max((piece.side for piece in pieces if piece not in rungs), default=0)
    if len(rungs) < _FEWEST or rest < _AS_LONG * min(rung.side for rung in rungs):
        return cleaned
    is_rung = np.isin(labels, [rung.labels[0] for rung in rungs])
    is_near = cv2.dilate(is_rung.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(is_near & (is_rung | (labels == 0)), np.float32(0), cleaned)


def leads_straight(own: NDArray[np.bool_], near: NDArray[np.bool_], thickness: float) -> bool:
    """Whether a piece of ink leads straight from a line at its top to another at its bottom, and is as thick.

    Args:
        own: bool [height, width], where it is, in its box.
        near: bool [height, width], where it is near a line.
        thickness: that of the lines, in pixels.
    """
    widths = own.sum(axis=1)
    # The end of one that leans is slanted.
    reach = _NEAR + round(thickness / 4)
    ends = own[:reach] & near[:reach], own[-reach:] & near[-reach:]
    if not all(end.any() for end in ends) or not widths.all():
        return False
    if not 1 / _AS_THICK < float(np.median(widths)) / thickness < _AS_THICK:
        return False
    rows, middles = np.arange(len(own)), own @ np.arange(own.shape[1]) / widths
    departure = np.abs(middles - np.polyval(np.polyfit(rows, middles, 1), rows))
    return bool(np.quantile(departure, _NEARLY) <= _STRAIGHT + _STRAIGHT_SHARE * len(own))
