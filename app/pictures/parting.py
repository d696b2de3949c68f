"""The ways to take a line of ink for digits: its pieces joined, or parted where digits may touch.

Digits that touch are parted along seams: ways from top to bottom that cut the least ink, as in seam carving
(S. Avidan and A. Shamir, Seam Carving for Content-Aware Image Resizing, 2007). Of all ways the recogniser
takes those that read best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.normalise import Density, ink_box
from app.pictures.pieces import Box, Piece, fill_holes, join, join_boxes

# Pieces of ink that one digit may have fallen into; what is in more of them is no digits that touch.
_MOST_PIECES = 4

# How far apart two of them may be, and how wide all together, as shares of their height.
_HALVES_GAP = 0.3
_WIDEST_DIGIT = 1.3

# What is narrower than this share of its height is one digit.
_NARROW = 0.8

MOST_PARTED = 12
"""If more pieces than this are wide enough to be several digits, they are a pattern, or a page of writing."""

# Seams are looked for in ink reduced to so many rows. They are so far apart and from the sides at least, as a
# share of the height. So many of a piece's are kept that cut at most so many strokes across.
_ROWS = 64
_APART = 0.12
_MOST_SEAMS, _MOST_CUT = 8, 4.0

# What a step aside, and a pixel of a hole, cost a seam, in pixels of ink: a hole is mostly of one digit.
_ASIDE, _HOLE = 0.05, 0.3

# What speaks against a part of ink being a digit, and more so for each stroke that its seams cut: each seam
# has two sides.
_PART, _CUT = 0.25, 0.5


class Part(NamedTuple):
    """A piece of ink, or what lies between two seams of one."""

    labels: tuple[int, ...]
    box: Box

    cut: float
    """How much ink the seam on its left cuts, in widths of a stroke; 0 if there is none."""


class Way(NamedTuple):
    """Parts `first` to `last` (included) of a line, taken for one digit."""

    first: int
    last: int
    labels: tuple[int, ...]
    box: Box

    strangeness: float
    """What speaks against them being one digit, in the measure of a negative log-probability: at least 0."""

    is_seamed: bool
    """Whether there is a seam in it or at its side: it may be several digits, or a part of one."""

    is_part: bool
    """Whether there is a seam at its side."""


def find_ways(line: Sequence[Piece], parts: Sequence[Sequence[Part]]) -> Iterator[Way]:
    """Yield all ways to take up to `_MOST_PIECES` neighbours of a line, or parts of one, for one digit.

    Args:
        line: the pieces of ink.
        parts: of each piece, as `part` returns them.
    """
    begins = [0, *accumulate(map(len, parts))]
    for first in range(len(line)):
        for last in range(first, min(len(line), first + _MOST_PIECES)):
            pieces = line[first : last + 1]
            if not may_be_one(pieces):
                break
            ends = begins[first], begins[last + 1] - 1
            labels, box = join_parts([one for piece in parts[first : last + 1] for one in piece])
            is_seamed = ends[1] - ends[0] > last - first
            yield Way(*ends, labels, box, strangeness(pieces), is_seamed, is_part=False)
    for begin, own in zip(begins, parts):
        for first in range(len(own)):
            # From the first to the last is the whole, which is above.
            for last in range(first, len(own) if first else len(own) - 1):
                labels, box = join_parts(own[first : last + 1])
                if last > first and box[2] - box[0] > _WIDEST_DIGIT * (box[3] - box[1]):
                    break
                cut = own[first].cut + (own[last + 1].cut if last + 1 < len(own) else 0.0)
                price = _PART + _CUT * cut
                yield Way(begin + first, begin + last, labels, box, price, is_seamed=True, is_part=True)


def join_parts(parts: Sequence[Part]) -> tuple[tuple[int, ...], Box]:
    """Return the labels and the box of several parts together."""
    return tuple(label for one in parts for label in one.labels), join_boxes([one.box for one in parts])


def may_be_one(pieces: Sequence[Piece]) -> bool:
    """Whether neighbours may be parts of one digit: together not too wide, and close."""
    whole = join(pieces)
    gaps = [second.box[0] - first.box[2] for first, second in zip(pieces, pieces[1:])]
    is_close = all(distance <= _HALVES_GAP * whole.height for distance in gaps)
    return len(pieces) == 1 or (is_close and whole.box[2] - whole.box[0] <= _WIDEST_DIGIT * whole.height)


def strangeness(pieces: Sequence[Piece]) -> float:
    """Return what speaks against neighbours being one digit, in the measure of a negative log-probability.

    Two pieces of a digit seldom are both nearly as tall as the digit, and then not far apart.
    """
    whole = join(pieces)
    price = 0.0
    for first, second in zip(pieces, pieces[1:]):
        shorter = min(first.height, second.height) / whole.height
        apart = (second.box[0] - first.box[2]) / whole.height
        price += max(0.0, 1 + 8 * apart) * max(0.0, shorter - 0.5) * 4
    return price


def part(
    lines: Sequence[Sequence[Piece]], labels: NDArray[np.int32], most: int
) -> tuple[list[list[list[Part]]], NDArray[np.int32]]:
    """Return the parts of each piece of each line, in the order of its seams, and the picture of labels.

    Most pieces are one part; all are if more than `most` may be several digits.
    """
    parts = [[[Part(piece.labels, piece.box, 0.0)] for piece in line] for line in lines]
    wide = [
        (number, index)
        for number, line in enumerate(lines)
        for index, piece in enumerate(line)
        if piece.box[2] - piece.box[0] >= _NARROW * piece.height and len(piece.labels) <= _MOST_PIECES
    ]
    if 0 < len(wide) <= most:
        labels = labels.copy()
        for number, index in wide:
            parts[number][index] = part_piece(lines[number][index], labels)
    return parts, labels


def part_piece(piece: Piece, labels: NDArray[np.int32]) -> list[Part]:
    """Return the parts of a piece between its seams; if they are several, `labels` gets their numbers."""
    left, top, right, bottom = piece.box
    view = labels[top:bottom, left:right]
    own = np.isin(view, piece.labels)
    seams = find_seams(own, piece.width)
    if not seams:
        return [Part(piece.labels, piece.box, 0.0)]
    # In each pixel, how many seams are to its left.
    place = np.sum([np.arange(right - left) >= seam.columns[:, np.newaxis] for seam in seams], axis=0)
    highest = int(labels.max())
    parts: list[Part] = []
    for number, cut in enumerate([0.0, *(seam.cut for seam in seams)]):
        where = own & (place == number)
        if where.any():
            highest += 1
            view[where] = highest
            x, y, x_end, y_end = ink_box(where)
            box = left + x, top + y, left + x_end, top + y_end
            parts.append(Part((highest,), box, cut if parts else 0.0))
    return parts


class Seam(NamedTuple):
    """A way through ink from its top to its bottom."""

    columns: NDArray[np.intp]
    """int [height]: in each row, the first pixel on its right."""

    cut: float
    """How much ink it cuts, in widths of a stroke."""


def find_seams(is_ink: NDArray[np.bool_], width: float) -> list[Seam]:
    """Return the seams that cut the least ink, from left to right: each is the best through a middle pixel.

    Args:
        is_ink: bool [height, width], no larger than the ink.
        width: of its strokes, in pixels.
    """
    height, across = is_ink.shape
    scale = min(1.0, _ROWS / height)
    size = max(1, round(across * scale)), max(1, round(height * scale))
    holes = fill_holes(is_ink) & ~is_ink
    ink: Density = cv2.resize(is_ink + np.float32(_HOLE) * holes, size, interpolation=cv2.INTER_AREA)
    from_top, from_bottom = cut_least(ink), cut_least(ink[::-1])
    middle = len(ink) // 2
    opposite = len(ink) - 1 - middle
    costs = from_top[middle] + from_bottom[opposite] - ink[middle]
    apart = max(2, round(_APART * len(ink)))
    costs[:apart] = costs[-apart:] = np.inf
    rows = (np.arange(height) * len(ink)) // height
    seams: list[Seam] = []
    while len(seams) < _MOST_SEAMS and np.isfinite(costs).any():
        column = int(np.argmin(costs))
        costs[max(0, column - apart) : column + apart + 1] = np.inf
        below = trace_back(from_bottom, opposite, column)[::-1]
        columns = np.array(trace_back(from_top, middle, column) + below[1:])
        cut = float(ink[np.arange(len(ink)), columns].sum()) / max(1.0, width * scale)
        if cut > _MOST_CUT:
            break
        seams.append(Seam(np.rint((columns[rows] + 0.5) * across / size[0]).astype(np.intp), cut))
    return sorted(seams, key=lambda seam: float(seam.columns.mean()))


def cut_least(ink: Density) -> Density:
    """Return how much ink, and steps aside, there is at least from the top to each pixel, and in it."""
    total = ink.copy()
    for row in range(1, len(ink)):
        before = np.pad(total[row - 1], 1, constant_values=np.inf)
        aside = np.minimum(before[:-2], before[2:]) + np.float32(_ASIDE)
        total[row] += np.minimum(before[1:-1], aside)
    return total


def trace_back(total: Density, row: int, column: int) -> list[int]:
    """Return the columns, from the top, of the way to a pixel on which `cut_least` found the least."""
    columns = [column]
    for before in total[:row][::-1]:
        column = columns[-1]
        near = range(max(0, column - 1), min(len(before), column + 2))
        columns.append(min(near, key=lambda one: before[one] + _ASIDE * (one != columns[-1])))
    return columns[::-1]
