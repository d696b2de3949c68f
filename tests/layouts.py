"""White ink on black, laid out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.layout import Layout, find_layout
from app.pictures.pieces import Box

Picture = NDArray[np.uint8]


def lay_out(picture: Picture) -> Layout:
    """Return the layout of white ink on black."""
    return find_layout(picture > 127, (picture / 255).astype(np.float32), 0.15)


def boxes_of(layout: Layout) -> list[list[Box]]:
    return [[piece.box for piece in line] for line in layout.lines]


def write_four(picture: Picture, x: int, y: int, side: int, width: int) -> None:
    """Write a four, so tall and nearly as wide, whose stroke never leaves the paper."""
    nodes = [(0, 0), (0, side * 3 // 5), (side * 4 // 5, side * 3 // 5), (side * 4 // 5, 0)]
    cv2.polylines(picture, [np.add([*nodes, (side * 4 // 5, side)], (x, y))], False, 255, width)
