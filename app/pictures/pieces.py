"""The pieces that a picture's ink is in: how long, broad and dark their strokes are, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.normalise import Density

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first column and row outside."""

# So many of the pieces of ink are looked at; what is shorter than these is grain.
_MOST_FOUND = 400

# A bent stroke is so many times as long as the diagonal of its box, a straight one at most so many times.
_BENT, _STRAIGHT = 1.35, 1.15


@dataclass(frozen=True)
class Piece:
    """Connected ink, or several pieces of it that belong together."""

    labels: tuple[int, ...]
    """Its numbers in the picture of labels."""

    box: Box
    area: float
    """In pixels."""

    mass: float
    """The sum of its densities."""

    width: float
    """The mean width of its strokes, in pixels."""

    touches: int
    """How many sides of the frame it touches."""

    contact: int
    """How many pixels of the frame's border it covers."""

    outer: float
    """How many of its pixels lie in the outer tenth of the picture."""

    @property
    def height(self) -> int:
        """The height of the box."""
        return self.box[3] - self.box[1]

    @property
    def side(self) -> int:
        """The longer side of the box."""
        return max(self.height, self.box[2] - self.box[0])

    @property
    def diagonal(self) -> float:
        """The diagonal of the box."""
        return float(np.hypot(self.box[2] - self.box[0], self.height))

    @property
    def length(self) -> float:
        """How long its strokes are, in pixels."""
        return self.area / self.width

    @property
    def darkness(self) -> float:
        """The mean of its densities."""
        return self.mass / self.area

    @property
    def is_stroke(self) -> bool:
        """Whether it is longer than wide; a disc has 1.8, a square 1 in the same measure."""
        return self.length > 2.4 * self.width

    @property
    def is_bent(self) -> bool:
        """Whether it is a stroke that is no straight one."""
        return self.is_stroke and self.length > _BENT * self.diagonal

    @property
    def is_straight(self) -> bool:
        """Whether it is hardly longer than the diagonal of its box; what is broad is, too."""
        return self.length < _STRAIGHT * self.diagonal


def join_boxes(boxes: Sequence[Box]) -> Box:
    """Return the smallest box around several."""
    lefts, tops, rights, bottoms = zip(*boxes)
    return min(lefts), min(tops), max(rights), max(bottoms)


def join(pieces: Sequence[Piece]) -> Piece:
    """Return several pieces as one."""
    area = sum(piece.area for piece in pieces)
    return Piece(
        tuple(label for piece in pieces for label in piece.labels),
        join_boxes([piece.box for piece in pieces]),
        area,
        sum(piece.mass for piece in pieces),
        sum(piece.width * piece.area for piece in pieces) / area,
        max(piece.touches for piece in pieces),
        sum(piece.contact for piece in pieces),
        sum(piece.outer for piece in pieces),
    )


def find_pieces(is_ink: NDArray[np.bool_], density: Density) -> tuple[NDArray[np.int32], list[Piece]]:
    """Return the picture of the numbers of all connected pieces of ink, and the longest, longest first."""
    mask = is_ink.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    # Beyond the frame is paper, so that strokes it cuts do not look wide.
    distances = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    # Most of a picture is paper, which need not be counted.
    places = np.flatnonzero(is_ink)
    own = labels.take(places)
    masses = np.bincount(own, density.take(places), count)
    depths = np.bincount(own, distances.take(places), count)
    areas = np.maximum(1, stats[:, cv2.CC_STAT_AREA])
    widths = np.maximum(1.0, 4 * (depths / areas - 0.5))
    lengths = areas / widths
    height, width = labels.shape
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contacts = np.bincount(border, minlength=count)
    is_inner = np.zeros(labels.shape, bool)
    is_inner[height // 10 : height - height // 10, width // 10 : width - width // 10] = True
    inner = np.bincount(own[is_inner.take(places)], minlength=count)
    pieces = []
    for label in 1 + np.argsort(-lengths[1:], kind="stable")[:_MOST_FOUND]:
        x, y, across, down, area = (int(value) for value in stats[label])
        touches = sum((x == 0, y == 0, x + across == width, y + down == height))
        box = (x, y, x + across, y + down)
        contact, outer = int(contacts[label]), area - float(inner[label])
        mass, stroke = float(masses[label]), float(widths[label])
        pieces.append(Piece((int(label),), box, area, mass, stroke, touches, contact, outer))
    return labels, pieces


def by_area(
    labels: NDArray[np.int32], pieces: list[Piece], areas: NDArray[np.int32]
) -> dict[int, list[Piece]]:
    """Return the pieces that lie in each numbered area, int32 [height, width]."""
    groups: dict[int, list[Piece]] = {}
    for piece in pieces:
        left, top, right, bottom = piece.box
        inside = labels[top:bottom, left:right] == piece.labels[0]
        groups.setdefault(int(areas[top:bottom, left:right][inside][0]), []).append(piece)
    return groups


def gap(first: Box, second: Box, sideways: float = 1.0) -> float:
    """Return the distance of two boxes in pixels, 0 if they meet; to the side, so many times as far."""
    across = max(first[0] - second[2], second[0] - first[2], 0)
    down = max(first[1] - second[3], second[1] - first[3], 0)
    return float(np.hypot(sideways * across, down))


def is_within(piece: Piece, outer: Piece) -> bool:
    """Whether a piece's box lies within another's, and does not touch it."""
    left, top, right, bottom = outer.box
    return left < piece.box[0] and top < piece.box[1] and piece.box[2] < right and piece.box[3] < bottom


def spans(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece goes from one side of the picture to the opposite one."""
    left, top, right, bottom = piece.box
    return right - left == shape[1] or bottom - top == shape[0]


def with_margin(box: Box, labels: NDArray[np.int32], margin: int = 2) -> Box:
    """Return a box that is larger by so many pixels on each side, as far as the picture goes."""
    left, top, right, bottom = box
    height, width = labels.shape
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(width, right + margin),
        min(height, bottom + margin),
    )


def fill_holes(is_ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink, bool [height, width], with all that it encloses."""
    ink = is_ink.astype(np.uint8)
    outlines, _ = cv2.findContours(ink, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled: NDArray[np.bool_] = cv2.drawContours(np.zeros_like(ink), outlines, -1, 1, cv2.FILLED) > 0
    return filled


def close_gaps(is_ink: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return ink, bool [height, width], with gaps and notches filled of at most twice so many pixels."""
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # Beyond the picture is none that a gap could be closed to.
    padded = cv2.morphologyEx(np.pad(is_ink.astype(np.uint8), reach), cv2.MORPH_CLOSE, square)
    height, width = is_ink.shape
    closed: NDArray[np.bool_] = padded[reach : reach + height, reach : reach + width] > 0
    return closed
