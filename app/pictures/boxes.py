"""Find what is drawn all round digits: boxes, circles and dashed frames of a form."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.pieces import Piece, by_area, fill_holes, is_within, join, with_margin

# How large what a box encloses must be, as a share of its longer side, and how wide its lines may be, and how
# far open, of its shorter one; and how many breadths of its line from it a line of the paper may end. Only
# that many of the longest strokes may be boxes. A rim of light is paler than a box, as a share of the
# darkness of what is in it.
_BOXED, _BOX_LINE, _MOST_BOXES = 0.25, 0.15, 5
_OPEN, _CHORD_GAP = 0.15, 1.5
_RIM = 0.7

# A dashed box has so many dashes at least, all shorter than this share of the digit in it, and about as long
# as the median, to within this factor; and thinner than this share of the digit's stroke.
_LEAST_DASHES, _DASH, _LONGEST_DASH = 8, 0.35, 2.5
_THIN_DASH = 0.8

# A part of a box is straight along two sides of its own, askew by this share of them at most: so much of each
# side is ink, within this share of its length, and so much of the ink, along them. What is in it is so long,
# as a share of its longer side; and the lines are thinner than this share of a straight stroke in it.
_ASKEW, _DRAWN, _STRAIGHT, _ALONG = 0.1, 0.85, 0.02, 0.95
_IN_CORNER, _THIN_CORNER = 0.35, 0.75


def enclosing(labels: NDArray[np.int32], pieces: list[Piece]) -> list[Piece]:
    """Return the pieces drawn all round others of some size: boxes and circles, all of thin lines."""
    found = []
    for outer in pieces[:_MOST_BOXES]:
        left, top, right, bottom = outer.box
        # What is broad or lies along the frame is paper around ink, taken for ink.
        if outer.touches > 1 or outer.width > _BOX_LINE * min(outer.height, right - left):
            continue
        inside = [
            piece
            for piece in pieces
            if is_within(piece, outer) and piece.is_stroke and piece.side > _BOXED * outer.side
            if not is_chord(labels, piece, outer)
        ]
        if not inside:
            continue
        part = labels[top:bottom, left:right]
        reach = round(_OPEN / 2 * min(right - left, outer.height))
        ring = cv2.dilate((part == outer.labels[0]).astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
        is_enclosed = fill_holes(ring > 0)
        if any(is_enclosed[part == piece.labels[0]].mean() > 0.5 for piece in inside):
            found.append(outer)
    return found


def is_chord(labels: NDArray[np.int32], piece: Piece, outer: Piece) -> bool:
    """Whether a piece is a level line from side to side of what is around it, or nearly: paper, in a zero."""
    reach = round(_CHORD_GAP * outer.width)
    left, top, right, bottom = with_margin(piece.box, labels, reach)
    if piece.is_bent or piece.box[2] - piece.box[0] < 2 * piece.height:
        return False
    ends = labels[top:bottom, left : left + reach], labels[top:bottom, right - reach : right]
    return all((end == outer.labels[0]).any() for end in ends)


def find_corners(labels: NDArray[np.int32], pieces: list[Piece]) -> list[Piece]:
    """Return the pieces that are two or three sides of a box, with a digit of some size in it.

    That is bent, or drawn in a broader stroke: of an open four, the rest is as straight and as broad.
    """
    return [
        outer
        for outer in pieces[:_MOST_BOXES]
        if is_corner(labels, outer)
        and any(
            is_within(piece, outer)
            and piece.side > _IN_CORNER * outer.side
            and (piece.is_bent or (piece.is_stroke and outer.width < _THIN_CORNER * piece.width))
            for piece in pieces
        )
    ]


def is_corner(labels: NDArray[np.int32], piece: Piece) -> bool:
    """Whether a piece is two or more thin lines, each along a side of its own box."""
    left, top, right, bottom = piece.box
    if piece.width > _BOX_LINE * min(right - left, piece.height):
        return False
    own = np.isin(labels[top:bottom, left:right], piece.labels)
    is_along = np.zeros_like(own)
    drawn = 0
    for turns in range(4):
        side = np.rot90(own, turns)
        band = round(2 * piece.width + _ASKEW * side.shape[1])
        if is_straight(side[:band]):
            np.rot90(is_along, turns)[:band] = True
            drawn += 1
    return drawn > 1 and float(is_along[own].mean()) > _ALONG


def is_straight(band: NDArray[np.bool_]) -> bool:
    """Whether the ink in a band, bool [height, width], has a straight upper edge from side to side."""
    columns = np.flatnonzero(band.any(axis=0))
    if len(columns) < max(2, _DRAWN * band.shape[1]):
        return False
    edge = np.argmax(band[:, columns], axis=0)
    fitted = np.polynomial.Polynomial.fit(columns, edge, 1)(columns)
    return float((np.abs(edge - fitted) <= 1 + _STRAIGHT * band.shape[1]).mean()) > _DRAWN


def find_dashes(labels: NDArray[np.int32], pieces: list[Piece]) -> list[Piece]:
    """Return the short pieces that are together a dashed box or a dotted circle around the longest of all."""
    digit, *others = pieces
    short = [piece for piece in others if piece.side < _DASH * digit.side]
    if len(short) < _LEAST_DASHES:
        return []
    sides = np.array([piece.side for piece in short])
    longest = _LONGEST_DASH * float(np.median(sides))
    short = [piece for piece in short if longest / _LONGEST_DASH**2 < piece.side < longest]
    ink = np.isin(labels, [piece.labels[0] for piece in short]).astype(np.uint8)
    reach = 1 + 2 * round(float(np.median(sides)) / 2)
    _, rings = cv2.connectedComponents(cv2.dilate(ink, np.ones((reach, reach), np.uint8)), connectivity=8)
    groups = by_area(labels, short, rings)
    ring, dashes = max(groups.items(), key=lambda one: len(one[1]), default=(0, []))
    if len(dashes) < _LEAST_DASHES or not is_within(digit, join(dashes)):
        return []
    is_around = fill_holes(rings == ring)[labels == digit.labels[0]].all()
    # What is as broad as the stroke in it is a zero of a dry pen, crossed out.
    is_thin = float(np.median([piece.width for piece in dashes])) < _THIN_DASH * digit.width
    return dashes if is_around and is_thin else []


def around_digits(boxes: list[Piece], written: list[Piece]) -> tuple[Piece, ...]:
    """Return those boxes that are drawn round digits, if most of the writing is in them, else none.

    Grain encloses grain, too, but most of it is outside. What is much paler than all that is in it is no box
    but the bright rim that a camera's sharpening gives a zero, around its hole.
    """
    drawn, inside = [], set()
    for box in boxes:
        within = [piece for piece in written if is_within(piece, box)]
        if within and box.darkness > _RIM * min(piece.darkness for piece in within):
            drawn.append(box)
            inside.update(within)
    is_boxed = sum(piece.length for piece in inside) > 0.5 * sum(piece.length for piece in written)
    return tuple(drawn) if is_boxed else ()
