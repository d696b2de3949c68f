"""Join the squares of digits that are painted in the cells of a grid, whose lines part them."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

# There are so many tiles at least, of so many pixels to a side, that fill so much of their boxes, are alike
# to within a factor, take so much of all ink, and are at most such a share of their side apart.
_FEWEST, _SMALLEST, _SQUARE, _ALIKE, _ALL, _APART = 6, 4, 0.9, 1.25, 0.8, 0.35


def join_tiles(is_ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink with the gaps between its tiles filled, if it is of nothing else.

    Args:
        is_ink: bool [height, width].
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(is_ink.astype(np.uint8), connectivity=4)
    columns = [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA]
    across, down, areas = stats[1:, columns].T
    is_square = (areas >= _SQUARE * across * down) & (np.minimum(across, down) >= _SMALLEST)
    if np.count_nonzero(is_square) < _FEWEST:
        return is_ink
    side = float(np.median(np.sqrt(areas[is_square])))
    is_alike = (np.maximum(across, down) <= _ALIKE * side) & (np.minimum(across, down) >= side / _ALIKE)
    is_tile = is_square & is_alike
    if np.count_nonzero(is_tile) < _FEWEST or areas[is_tile].sum() < _ALL * areas.sum():
        return is_ink
    # An even kernel would shift the ink.
    reach = math.ceil(_APART * side / 2)
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    padded = np.pad(is_ink.astype(np.uint8), reach)
    joined: NDArray[np.bool_] = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, square) > 0
    return joined[reach:-reach, reach:-reach]
