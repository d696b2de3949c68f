"""Join the squares of digits that are painted in the cells of a grid, whose lines part them."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.pieces import close_gaps

# There are so many tiles at least, which take so much of all ink.
_FEWEST, _MOST_INK = 6, 0.8

# A tile has so many pixels to a side, fills so much of its box, and is as large as others to within a factor.
_SMALLEST, _FILLED, _AS_LARGE = 4, 0.9, 1.25

# Gaps up to about this share of a tile's side are filled.
_GAP = 0.35


def join_tiles(is_ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink with the gaps between its tiles filled, if it is of little else.

    Args:
        is_ink: bool [height, width].
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(is_ink.astype(np.uint8), connectivity=4)
    columns = [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA]
    across, down, areas = stats[1:, columns].T
    is_square = (areas >= _FILLED * across * down) & (np.minimum(across, down) >= _SMALLEST)
    if np.count_nonzero(is_square) < _FEWEST:
        return is_ink
    side = float(np.median(np.sqrt(areas[is_square])))
    is_alike = (np.maximum(across, down) <= _AS_LARGE * side) & (np.minimum(across, down) >= side / _AS_LARGE)
    is_tile = is_square & is_alike
    if np.count_nonzero(is_tile) < _FEWEST or areas[is_tile].sum() < _MOST_INK * areas.sum():
        return is_ink
    return close_gaps(is_ink, math.ceil(_GAP * side / 2))
