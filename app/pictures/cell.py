"""Take the lines of a table out of the ink of one of its cells, cut out along them or a little beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.normalise import Density

CELL_ZONE = 0.27
"""How far from the side of the picture the line of a table may be, as a share of the picture."""

# The same where there are lines along both sides beside it, and of what is beyond it, where the next cell
# begins, only so large a share is ink.
_NEXT_CELL, _BLANK = 0.3, 0.02

DARKER = 1.5
"""By what factor ink upon a printed line is darker than the line."""

# How thick such a line may be, as a share of the picture.
_THICKEST = 0.1

# How many lines run along a side at most, and at which slopes: a photo may be a little askew.
_MOST_LINES = 3
_STEP = 0.02
_SLOPES = _STEP * np.arange(-4, 5)

# The edge of a line are those rows of which less is ink than this share of what is of the line, and yet more
# than a digit upon the line may take: one such row, and so many more for each pixel of the picture's width.
_EDGE = 0.8
_EDGE_ROWS = 0.005

# How much of a line is in the picture at least, and how much of a dashed line is ink.
_INSIDE = 0.5
_DASHES = 0.4

# How columns are moved: each pixel comes whole from where the matrix says.
_MOVE = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP

# About so many columns of a picture tell where a line is.
_ENOUGH = 300

# Within so many rows below a line, or its thickness, there is paper.
_BELOW = 4

# How near to a side of the picture ink meets it, as a share of the picture.
_NEAR = 0.01

# Shares of the ink that are left without it, below which one line was none, and without four.
_LEFT_BY_ONE, _LEFT_BY_ALL = 0.3, 0.05


class Criteria(NamedTuple):
    """What makes a line: shares of the picture's width, and how its slope is chosen."""

    covered: float
    """What is ink, gaps aside."""

    gap: float
    """The widest gap that does not count: that of a dashed line."""

    corner: float
    """How near both corners it begins and ends."""

    upon: float
    """What a digit upon it may take."""

    by_edge: bool
    """Whether of several slopes the one with the sharpest edge is right; else the one that covers most."""


# The lines of a table may be dashed, or fail in places. A lone one is more likely the bar of a digit.
_LINES, _LONE_LINE = Criteria(0.75, 0.1, 0.06, 0.6, True), Criteria(0.9, 0.0, 0.04, 0.35, False)

STRIP = 2.5
"""In what is so many times as long as broad, a line across it is more likely a stroke."""


class SideLine(NamedTuple):
    """A nearly level line along the top of a picture."""

    where: NDArray[np.bool_]
    """bool [height, width]: from the top of the picture to the lower edge of the line."""

    thickness: int
    """In pixels."""

    darkness: float
    """The density of its ink: the median of its columns."""

    palest: float
    """The lower quartile of the same: where little is written upon it."""


def without_cell_lines(density: Density, low: float) -> tuple[Density, set[int]]:
    """Return the density without a table's lines, and the sides that they ran along.

    The sides are numbered clockwise from the top, 0.

    Such a line runs from side to side in the outer quarter of the picture, or a little further inside with
    blank paper beyond; what is beyond it, and not darker, is not of the cell. The bar of a seven does so,
    too, where the picture ends at the ink; but then the rest of the digit touches other sides, and all is
    kept. So it is if next to nothing is left within four sides: a zero may be rectangular.

    Args:
        density: float32 [height, width], 0 for paper, 1 for full ink.
        low: what counts as ink.
    """
    cleaned, sides = erase_side_lines(density, low, _LINES)
    if len(sides) == 1:
        cleaned, sides = erase_side_lines(density, low, _LONE_LINE)
    if not sides:
        return density, sides
    touched = {turns for turns in range(4) if touches(np.rot90(cleaned, turns))}
    is_tight = len(touched - sides) >= 2 or (len(sides) == 1 and spans(density, cleaned, min(sides), low))
    least = {1: _LEFT_BY_ONE, 4: _LEFT_BY_ALL}.get(len(sides), 0)
    if is_tight or cleaned.sum() < least * density.sum():
        return density, set()
    return np.ascontiguousarray(cleaned), sides


def touches(density: Density) -> bool:
    """Whether ink reaches the top of a picture, or nearly."""
    return bool((density[: 1 + round(_NEAR * len(density))] > 0.5).any())


def spans(density: Density, cleaned: Density, side: int, low: float) -> bool:
    """Whether a stroke begins at what was taken for a line along a side, and ends at the opposite one."""
    is_ink = density > low
    _, labels = cv2.connectedComponents(is_ink.astype(np.uint8), connectivity=8)
    of_line = np.isin(labels, labels[is_ink & (cleaned <= low)])
    return touches(np.rot90(np.where(of_line, cleaned, 0), side + 2))


def erase_side_lines(density: Density, low: float, criteria: Criteria) -> tuple[Density, set[int]]:
    """Return the density without lines along its sides, and which sides these are."""
    # Each side is judged as it is at first: without the others, its lines would not reach the corners.
    turned = [np.rot90(density, turns) for turns in range(4)]
    lines = find_side_lines(turned, low, criteria)
    # The lines of a table are alike: one that is darker, but not all along, has a digit upon it.
    usual = float(np.median([line.darkness for line in lines.values()])) if lines else 0.0
    cleaned = density
    for turns, first in lines.items():
        side = turned[turns]
        # A double line is two: the outer one may be found first. What follows may be a stroke, too.
        for number in range(_MOST_LINES):
            line = find_side_line(side, low, _LONE_LINE, CELL_ZONE) if number else first
            if line is None:
                break
            side = erase(side, line._replace(darkness=min(line.darkness, max(line.palest, usual))))
        cleaned = np.minimum(cleaned, np.rot90(side, -turns))
    return cleaned, set(lines)


def find_side_lines(turned: Sequence[Density], low: float, criteria: Criteria) -> dict[int, SideLine]:
    """Return the lines along the sides of a picture, given how it is with each of them on top."""
    criteria_of = [_LONE_LINE if len(side) >= STRIP * side.shape[1] else criteria for side in turned]
    near = [find_side_line(side, low, own, CELL_ZONE) for side, own in zip(turned, criteria_of)]
    lines = {turns: line for turns, line in enumerate(near) if line is not None}
    for turns, side in enumerate(turned):
        if near[turns] is None and near[turns - 1] is not None and near[turns - 3] is not None:
            line = find_side_line(side, low, criteria_of[turns], _NEXT_CELL)
            if line is not None and is_blank_beyond(line, side, low):
                lines[turns] = line
    return lines


def is_blank_beyond(line: SideLine, density: Density, low: float) -> bool:
    """Whether above the middle of a line along the top of a picture there is nothing written."""
    width = density.shape[1]
    beyond = density[: max(0, int(line.where.sum(axis=0).min()) - line.thickness), width // 4 : -(width // 4)]
    return beyond.size > 0 and bool((beyond > low).mean() < _BLANK)


def find_side_line(density: Density, low: float, criteria: Criteria, zone: float) -> Optional[SideLine]:
    """Return the straightest line along the top of a picture, within that share of it; None without one."""
    height, width = density.shape
    step = max(1, width // _ENOUGH)
    top = (density[: max(3, round(zone * height)), ::step] > low).astype(np.uint8)
    across = step * np.arange(top.shape[1])
    corner = max(1, round(criteria.corner * len(across)))
    gap = np.ones((1, max(1, round(criteria.gap * len(across)))), np.uint8)
    columns = cv2.morphologyEx(top.max(axis=0, keepdims=True), cv2.MORPH_CLOSE, gap)
    if columns.mean() <= _INSIDE:
        return None
    best, found, edge_rows = (math.inf, 0.0), None, 0
    # Of slopes that fit alike, the least: beyond the top of the picture anything fits.
    for slope in sorted(_SLOPES, key=abs):
        # Each column is moved so that a line of this slope is level; beyond the picture, lines may go on.
        shear = np.array([[1, 0, 0], [slope * step, 1, -slope * width / 2]])
        level = cv2.warpAffine(top, shear, top.shape[::-1], flags=_MOVE, borderValue=1)
        is_dashed = level.mean(axis=1) > _DASHES
        level = cv2.morphologyEx(level, cv2.MORPH_CLOSE, gap)
        reaches = level[:, :corner].any(axis=1) & level[:, -corner:].any(axis=1)
        share = np.where(is_dashed & reaches, level.mean(axis=1), 0)
        row = int(np.argmax(share))
        if share[row] <= criteria.covered:
            continue
        above, below = np.flatnonzero(share[:row] < 0.5), np.flatnonzero(share[row:] < 0.5)
        first, last = (above[-1] + 1 if len(above) else 0), row + below[0] if len(below) else height
        # Half a picture that is dark to its side is no line: it goes on below.
        place = row + slope * (across - width / 2)
        seen = level[row] & (place >= 0) & (place < len(top))
        goes_on = (seen & level[last : last + max(_BELOW, last - first)]).sum(axis=1)
        if goes_on.size and goes_on.min() > criteria.upon * seen.sum():
            continue
        edge = count_edge_rows(share[row:], criteria.upon)
        fit = (edge if criteria.by_edge else 0), -float(share[row])
        if last - first <= _THICKEST * height + 2 and fit < best:
            rows = np.arange(height)[:, np.newaxis] - np.rint(slope * (np.arange(width) - width / 2))
            # Between two of the slopes, its ends lie a little lower.
            margin = round(_STEP / 4 * width)
            where = rows <= last + margin
            darkest = np.where(where & (rows >= first), density, 0).max(axis=0)
            palest, darkness = np.quantile(darkest[darkest > low], (0.25, 0.5))
            line = SideLine(where, int(last - first) + 2 + margin, float(darkness), float(palest))
            best, found, edge_rows = fit, line, edge
    # The bar of a seven is not straight: its lower edge lies in many rows.
    return found if edge_rows <= 1 + _EDGE_ROWS * width else None


def count_edge_rows(share: NDArray[np.floating], upon: float) -> int:
    """Return in how many rows the lower edge of a line lies.

    Args:
        share: float [rows], how much of each row is ink, from the middle of the line downwards.
        upon: what a digit upon the line may take of it.
    """
    falling = np.append(share / share[0], 0)
    end = np.flatnonzero(falling < upon)[0]
    return int(end - np.flatnonzero(falling[:end] >= _EDGE)[-1] - 1)


def erase(density: Density, line: SideLine) -> Density:
    """Return the density without a line, but for what is darker, and with crossing strokes mended."""
    # What is further below stays as it is.
    rows = int(np.flatnonzero(line.where.any(axis=1))[-1]) + 1
    top = density[: rows + _reach(line.thickness)]
    is_line = line.where[: len(top)] & (top < DARKER * line.darkness)
    cleaned = np.where(is_line, 0, top).astype(np.float32)
    mended = np.minimum(bridge(cleaned, line.thickness), top)
    return np.concatenate([np.where(is_line, mended, cleaned), density[len(top) :]]).astype(np.float32)


def bridge(density: Density, thickness: int) -> Density:
    """Return the density with the strokes mended that a removed level line has cut, upright or slanting."""
    reach = _reach(thickness)
    upright = np.zeros((reach, reach), np.uint8)
    upright[:, reach // 2] = 1
    falling = np.eye(reach, dtype=np.uint8)
    # Beyond the picture is no ink that a bridge could lead to.
    padded = np.pad(density, reach)
    bridged = [
        cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[reach:-reach, reach:-reach]
        for kernel in (upright, falling, np.ascontiguousarray(falling[::-1]))
    ]
    mended: Density = np.maximum.reduce(bridged)
    return mended


def _reach(thickness: int) -> int:
    """Return how far a bridge over a line of that thickness reaches, an odd number of pixels."""
    return (thickness + 4) // 2 * 2 + 1
