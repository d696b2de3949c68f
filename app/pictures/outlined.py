"""Fill digits that are drawn in outline, as on a poster or in a colouring book."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# An outline encloses a stroke: nearly all in one piece, as the two loops of an eight do not; at least so many
# times as long as broad; at its broadest at most so many times as broad as on average, as a loop with a tail
# is not; and so much of it is enclosed.
_WHOLE, _SLENDER, _BROADEST, _ENCLOSED = 0.9, 4.5, 1.7, 0.5

# The outline of a loop fills so much of its convex hull; a digit in a ring fills less of its own.
_ROUND = 0.8


def fill_outlines(is_ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink with those strokes filled of which it is the outlines.

    Args:
        is_ink: bool [height, width].
    """
    contours, tree = cv2.findContours(is_ink.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    inside: dict[int, list[int]] = {}
    for index in range(len(contours)):
        inside.setdefault(int(tree[0][index][3]), []).append(index)
    filled = is_ink.copy()
    for outermost in inside.get(-1, []):
        holes = inside.get(outermost, [])
        areas = [cv2.contourArea(contours[hole]) for hole in holes]
        if not areas or max(areas) < _WHOLE * sum(areas):
            continue
        # What is drawn in a hole is the outline of a loop: what that encloses is not part of the stroke.
        # If it has a tail or two loops, it is a digit, and the outermost a ring around it.
        drawn = [inner for hole in holes for inner in inside.get(hole, []) if inner in inside]
        if not all(is_round(contours[inner]) and len(inside[inner]) == 1 for inner in drawn):
            continue
        loops = [loop for inner in drawn for loop in inside[inner]]
        left, top, width, height = cv2.boundingRect(contours[outermost])
        mask = np.zeros((height, width), np.uint8)
        cv2.drawContours(mask, [contours[outermost]], 0, 1, cv2.FILLED, offset=(-left, -top))
        for loop in loops:
            cv2.drawContours(mask, [contours[loop]], 0, 0, cv2.FILLED, offset=(-left, -top))
        part = slice(top, top + height), slice(left, left + width)
        if is_outlined(mask > 0, is_ink[part]):
            filled[part] |= mask > 0
    return filled


def is_round(contour: NDArray[np.int32]) -> bool:
    """Whether what a contour encloses has no tail, given its points, int32 [N, 1, 2]."""
    return cv2.contourArea(contour) > _ROUND * cv2.contourArea(cv2.convexHull(contour))


def is_outlined(stroke: NDArray[np.bool_], is_ink: NDArray[np.bool_]) -> bool:
    """Whether what an outline encloses is a stroke of even breadth, given where there is ink."""
    distances = cv2.distanceTransform(np.pad(stroke.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1][stroke]
    # On average, a point of a stroke is a quarter of its breadth away from its edge.
    breadth = max(1.0, 4 * float(distances.mean()))
    enclosed = float((stroke & ~is_ink).sum()) / distances.size
    return (
        distances.size >= _SLENDER * breadth**2
        and 2 * float(distances.max()) <= _BROADEST * breadth
        and enclosed > _ENCLOSED
    )
