"""What several tests draw on: squared paper, and a stroke to be written upon it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ZIGZAG = [np.array([(130, 110), (190, 100), (140, 200), (200, 195)])]
"""Points of a bent stroke, for `cv2.polylines`."""


def squared_paper(
    size: tuple[int, int], step: int, slope: float, shade: int, thickness: int
) -> NDArray[np.uint8]:
    """Return the lines of squared paper, light on dark; they fall by `slope` to the right, and lean by it."""
    width, height = size
    picture = np.zeros((height, width), np.uint8)
    for line in range(-width, 2 * width, step):
        cv2.line(picture, (0, line), (width, round(line + slope * width)), shade, thickness)
        cv2.line(picture, (line, 0), (round(line - slope * height), height), shade, thickness)
    return picture
