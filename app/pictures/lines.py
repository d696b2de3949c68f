"""Take printed lines out of a picture's ink, ruled, squared or of a table, and mend what they crossed."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.cell import CELL_ZONE, DARKER, STRIP, bridge, without_cell_lines
from app.pictures.normalise import Density
from app.pictures.opening import SMALL, TINY
from app.pictures.rungs import without_rungs

Mask = NDArray[np.uint8]
"""uint8 [height, width]: 1 where something is, else 0."""

# Lines are looked for at this size, at slopes up to 0.2 (11 degrees): a photo taken a little askew.
_SEARCH_SIDE = 400
_SLOPES = np.linspace(-0.2, 0.2, 21)

# Shares of the picture's side: how long a straight run must be to be part of a line, how thick a line may be,
# how long it must be in all, and how long to be followed farther.
_RUN = 0.3
_THICKEST = 0.03
_LONGEST_STROKE = 0.6
_LONG_ENOUGH = 0.4

# How much of its width a line of one pixel leaves, in the reduced picture, to one of the pixels it covers.
_THINNEST = 0.4

# So many level lines, or upright ones, make ruled paper, unless all are along the sides: a table's cell. They
# are counted in so many columns, and there are so many in more than this share of them.
_RULED, _COLUMNS, _MOST = 3, 12, 0.6

# The line of a margin is at most so many times as thick as ruled ones; and there are so many at most.
_MARGIN, _MOST_MARGINS = 1.5, 2

# By how much the slopes of ruled lines, which a photo shows a little askew, differ at most.
_PARALLEL = 0.08

# By how many pixels of the reduced picture the two ends of a line that a digit interrupts are out of line at
# most, and how far from it all others are.
_IN_LINE, _ALONE = 3.0, 9.0

# How much of a run must be ink: faint lines have gaps.
_COVERED = 0.85

# A line is as dark as all others, to within this factor.
_AS_DARK = 1.2

# Ink upon lines is thicker than the thickest of them by this factor, and a pixel; how thick they are is seen
# where they meet this outermost share of the picture.
_THICKER, _OUTERMOST = 1.8, 0.05

# In this share of the columns, what is taken for a line is no thicker than a bridge reaches.
_BRIDGED = 0.9


def remove_lines(density: Density, low: float) -> Density:
    """Return the density without printed lines, and the sides of boxes between them; as it is without any.

    Args:
        density: float32 [height, width], 0 for paper, 1 for full ink.
        low: what counts as ink.
    """
    lines = find_lines(density, low)
    if any(map(is_ruled, lines)):
        cleaned, thickness = without_printed(density, lines, low)
        if max(density.shape) <= SMALL:
            return cleaned
        # The line of a margin is darker than all others, as ink upon them is, and stands out without them.
        return without_printed(cleaned, find_margins(cleaned, low, thickness), low)[0]
    inside, sides = without_cell_lines(density, low)
    if sides:
        # A ruled line that the frame cuts is known for one by what is beyond.
        was, left = density > low, inside > low
        kept = mostly_inside(lines[0], was, left), mostly_inside(lines[1], was.T, left.T)
        found = find_lines(inside, low)
        lines = found[0] | kept[0], found[1] | kept[1]
    cleaned, _ = without_printed(inside, lines, low)
    return cleaned if max(density.shape) <= SMALL else without_rungs(density, cleaned, low)


def without_printed(density: Density, lines: tuple[Mask, Mask], low: float) -> tuple[Density, float]:
    """Return the density without what is printed of lines that were found, and how thick these are.

    `lines` are as `find_lines` returns them.
    """
    # Upright lines are level ones of the picture turned about its diagonal.
    turned = np.ascontiguousarray(density.T)
    level, upright = _printed(density, lines[0], low), _printed(turned, lines[1], low)
    thickness = max(level.thickness, upright.thickness)
    crossings = _filled(lines[0], 2 * thickness) & _filled(lines[1], 2 * thickness).T
    is_crossing = (crossings > 0) & (density < max(level.darkest, upright.darkest))
    is_line = level.where | upright.where.T | is_crossing
    usual = max(level.usual_thickness, upright.usual_thickness)
    if not is_line.any():
        return density, usual
    cleaned = np.where(is_line, 0, density).astype(np.float32)
    across_level = np.where(level.where | is_crossing, bridge(cleaned, level.thickness), 0)
    turned = np.ascontiguousarray(cleaned.T)
    across_upright = np.where(upright.where | is_crossing.T, bridge(turned, upright.thickness), 0).T
    mended = np.minimum(np.maximum(across_level, across_upright), density)
    return np.where(is_line, mended, cleaned).astype(np.float32), usual


def find_margins(density: Density, low: float, thickness: float) -> tuple[Mask, Mask]:
    """Return the lines of margins, given what is left of ruled paper without the others, so thick.

    They are about as thick, and run from side to side; ones may be as straight. Both are as `find_lines`
    returns them.
    """
    level, upright = find_lines(density, low)
    most = _MARGIN * thickness + 1
    is_ink = density > low
    return margins_of(level, is_ink, most), margins_of(upright, is_ink.T, most)


def margins_of(lines: Mask, is_ink: NDArray[np.bool_], most: float) -> Mask:
    """Return those level lines that run from side to side and are at most so thick, with the ink at them.

    If they are many, there is none: they are ruled lines, of which some may be broken, or ones.
    """
    width = lines.shape[1]
    margin = max(1, width // 40)
    joined = cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((3, max(3, width // 20)), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    nothing = np.zeros_like(lines)
    found = []
    for label in range(1, count):
        left, across = stats[label, [cv2.CC_STAT_LEFT, cv2.CC_STAT_WIDTH]]
        if left > margin or left + across < width - margin:
            continue
        own = np.where(labels == label, lines, 0).astype(np.uint8)
        around = cv2.dilate(own, np.ones((2 * round(most) + 1, 1), np.uint8)) > 0
        if np.median((is_ink & around).sum(axis=0)) <= most:
            found.append(own)
    return np.maximum.reduce([nothing, *found]) if len(found) <= _MOST_MARGINS else nothing


def find_lines(density: Density, low: float) -> tuple[Mask, Mask]:
    """Return where level printed lines are, and upright ones in the picture turned about its diagonal.

    In a strip there are none from one long side to the other.
    """
    height, width = density.shape
    nothing = np.zeros_like(density, np.uint8)
    level = find_level_lines(density, low) if width > height / STRIP else nothing
    turned = np.ascontiguousarray(density.T)
    return level, find_level_lines(turned, low) if height > width / STRIP else nothing.T


def mostly_inside(lines: Mask, is_ink: NDArray[np.bool_], is_left: NDArray[np.bool_]) -> Mask:
    """Return those level lines of whose ink more than half is left without the frame."""
    count, labels = cv2.connectedComponents(lines, connectivity=8)
    ink, left = (np.bincount(labels[where], minlength=count) for where in (is_ink, is_left))
    is_kept = 2 * left > ink
    is_kept[0] = False
    rest: Mask = (is_kept[labels] & is_left).astype(np.uint8)
    return rest


def is_ruled(lines: Mask) -> bool:
    """Whether most of some columns cross several level lines, not all along the sides: ruled paper."""
    height, width = lines.shape
    # Some may lie along upright lines, where level ones are not found.
    some = np.linspace(width / 8, 7 * width / 8, _COLUMNS).astype(np.intp)
    columns = np.pad(lines[:, some], ((1, 0), (0, 0)))
    begins = columns[1:] > columns[:-1]
    is_inside = begins[round(CELL_ZONE * height) : round((1 - CELL_ZONE) * height)].any(axis=0)
    return bool(((begins.sum(axis=0) >= _RULED) & is_inside).mean() > _MOST)


class Printed(NamedTuple):
    """What is printed of level lines, and not written upon them."""

    where: NDArray[np.bool_]
    thickness: int
    """Of what was taken for lines in nearly all columns, in pixels: a bridge has to reach over it."""

    darkest: float
    """The density that ink upon them has at least."""

    usual_thickness: float
    """How thick lines are in the median, in pixels."""


def _printed(density: Density, lines: Mask, low: float) -> Printed:
    """Return what is printed where level lines were found."""
    where = np.zeros(density.shape, bool)
    if not lines.any():
        return Printed(where, 1, 0.0, 0.0)
    _, labels = cv2.connectedComponents(lines, connectivity=8)
    rows, columns = np.nonzero(lines)
    of_line = labels[rows, columns]
    order = np.lexsort((columns, of_line))
    rows, columns, of_line = rows[order], columns[order], of_line[order]
    # Each column of each line: what is darkest in it, and how much of it is ink.
    begins = np.flatnonzero(np.diff(of_line * np.int64(lines.shape[1]) + columns, prepend=-1))
    line, inside = of_line[begins], density[rows, columns]
    darkness = np.maximum.reduceat(inside, begins)
    inked = np.add.reduceat((inside > low).astype(np.int64), begins)
    # A piece of a line may be all ink; all lines are not.
    usual = _AS_DARK * float(np.median(darkness))
    own = np.minimum(_medians(darkness, line), usual)
    where[rows, columns] = inside < DARKER * own[of_line - 1]
    # A digit seldom meets the frame; all lines do.
    outermost = max(1, round(_OUTERMOST * lines.shape[1]))
    is_outer = (columns[begins] < outermost) | (columns[begins] >= lines.shape[1] - outermost)
    thickness = float(np.median(inked))
    thickest = max(thickness, float(_medians(inked[is_outer], line[is_outer]).max(initial=0)))
    upon = np.ones((2 * int((_THICKER * thickest + 1) / 2) + 1, 1), np.uint8)
    ink = ((density > low) & (lines > 0)).astype(np.uint8)
    where &= cv2.morphologyEx(ink, cv2.MORPH_OPEN, upon) == 0
    taken = np.diff(begins, append=len(rows))
    reach = max(1, round(float(np.quantile(taken, _BRIDGED))))
    return Printed(where, reach, DARKER * usual, thickness)


def _medians(values: NDArray[Any], groups: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the median of the values of each group that is there, given their numbers in ascending order."""
    ascending = values[np.lexsort((values, groups))]
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    counts = np.diff(begins, append=len(groups))
    low, high = begins + (counts - 1) // 2, begins + counts // 2
    medians: NDArray[np.float64] = (ascending[low] + ascending[high]) / 2
    return medians


def _filled(lines: Mask, gap: int) -> Mask:
    """Return level lines with their gaps filled that are narrower than that many pixels."""
    filled: Mask = cv2.morphologyEx(np.pad(lines, gap), cv2.MORPH_CLOSE, np.ones((1, gap + 1), np.uint8))
    return filled[gap:-gap, gap:-gap]


def find_level_lines(density: Density, low: float) -> Mask:
    """Return where printed lines are that run from left to right, a little wider than they are."""
    height, width = density.shape
    scale = min(1.0, _SEARCH_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    covered = cv2.resize((density > low).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    is_ink = (covered > _THINNEST * scale).astype(np.uint8)
    thickest = max(2, round(_THICKEST * max(size)))
    thin = cv2.subtract(is_ink, cv2.morphologyEx(is_ink, cv2.MORPH_OPEN, np.ones((thickest, 1), np.uint8)))
    straight = _straight_runs(thin, max(5, round(_RUN * size[0])))
    if not straight.any():
        return np.zeros(density.shape, np.uint8)
    lines: Mask = cv2.dilate(_lengthen(_only_lines(straight, is_ink), thin), np.ones((3, 1), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    # Two lines may meet; many that do are the grain of the paper.
    is_thin = stats[:, cv2.CC_STAT_AREA] <= 2 * thickest * stats[:, cv2.CC_STAT_WIDTH]
    lines[~is_thin[labels]] = 0
    if scale < 1:
        lines = cv2.resize(lines, (width, height), interpolation=cv2.INTER_NEAREST)
    return lines


def _straight_runs(mask: Mask, run: int) -> Mask:
    """Return the pixels that lie in a straight run of at least that many, nearly level and unbroken."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    # A line that is not quite straight, or between two of the slopes, still hits a band of three pixels.
    band = cv2.dilate(mask, np.ones((3, 1), np.uint8)) * np.uint8(255)
    if band.any(axis=0).sum() < run:
        return found
    for slope in _SLOPES:
        shear = np.array([[1, 0, 0], [-slope, 1, slope * width / 2]])
        sheared = cv2.warpAffine(band, shear, (width, height), flags=cv2.INTER_NEAREST)
        covered = cv2.boxFilter(sheared, -1, (run, 1), borderType=cv2.BORDER_REPLICATE) >= 255 * _COVERED
        if not covered.any():
            continue
        runs = cv2.dilate(covered.astype(np.uint8), np.ones((1, run), np.uint8))
        turned_back = cv2.warpAffine(
            runs, shear, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
        found |= turned_back & mask
    return found


def _only_lines(straight: Mask, is_ink: Mask) -> Mask:
    """Return those runs that no pen drew: from side to side of the picture, or several side by side."""
    width = straight.shape[1]
    joined = cv2.morphologyEx(straight, cv2.MORPH_CLOSE, np.ones((3, max(3, width // 20)), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    margin = max(1, width // 40)
    left = stats[:, cv2.CC_STAT_LEFT]
    right = left + stats[:, cv2.CC_STAT_WIDTH]
    begins, ends = left <= margin, right >= width - margin
    # What is numbered 0 is no run.
    first, last = np.flatnonzero(begins & ~ends), np.flatnonzero(ends & ~begins)
    for run, rest in _interrupted(labels, first[first > 0], last[last > 0], is_ink):
        labels[labels == rest] = run
        right[run], left[rest] = right[rest], right[rest]
    across = right - left
    sides = (left <= margin).astype(int) + (right >= width - margin)
    is_long = across >= _LONGEST_STROKE * width
    is_long[0] = False
    # In a tiny picture, two lines that end inside are the sides of a zero.
    may_end_inside = is_long.sum() >= 2 and max(straight.shape) > TINY
    is_printed = is_long & ((sides == 2) | (is_long.sum() >= _RULED) | ((sides == 1) & may_end_inside))
    # Beside such lines, their broken remains are lines too, if they are parallel.
    if is_printed.any():
        whole = np.flatnonzero(is_printed)
        is_rest = ~is_printed & (across >= _RUN * width) & ((sides >= 1) | (len(whole) >= _RULED))
        is_rest[0] = False
        for label in np.flatnonzero(is_rest):
            columns = slice(left[label], right[label])
            is_printed[label] = _is_parallel(labels[:, columns], int(label), whole)
    printed: Mask = (is_printed[labels] & (straight > 0)).astype(np.uint8)
    return printed


def _interrupted(
    labels: NDArray[np.int32], first: NDArray[np.intp], last: NDArray[np.intp], is_ink: Mask
) -> list[tuple[int, int]]:
    """Return the pairs of runs that are one line with a digit upon it, given those at either side.

    Each is in line with one of the other side, and with none else: on fine paper, several are near. Between
    them is ink, of the line or of the digit: the bars of two digits are in line, too.
    """
    begins, ends = ([_direction(labels == run) for run in runs] for runs in (first, last))
    apart = np.array([[_out_of_line(begin, end) for end in ends] for begin in begins])
    apart = apart.reshape(len(begins), len(ends))
    is_near = apart <= _ALONE
    is_one = (is_near.sum(axis=1, keepdims=True) == 1) & (is_near.sum(axis=0, keepdims=True) == 1)
    pairs = []
    for here, there in np.argwhere(is_one & (apart <= _IN_LINE)):
        begin, end = begins[here], ends[there]
        if abs(begin.slope - end.slope) <= _PARALLEL and _is_inked(begin, end, is_ink):
            pairs.append((int(first[here]), int(last[there])))
    return pairs


def _is_parallel(labels: NDArray[np.int32], run: int, lines: NDArray[np.intp]) -> bool:
    """Whether a run is about parallel to printed lines, as they are in its columns: paper may be curved."""
    slopes = [_direction(labels == line).slope for line in lines if (labels == line).any(axis=0).mean() > 0.5]
    return not slopes or bool(abs(_direction(labels == run).slope - np.median(slopes)) <= _PARALLEL)


class Direction(NamedTuple):
    """Where a nearly level run is, and where it leads."""

    column: float
    """Its middle: the column, and the row."""

    row: float
    slope: float
    """By how many pixels it falls for each to the right."""

    left: int
    """Its first column, and its last."""

    right: int


def _direction(run: NDArray[np.bool_]) -> Direction:
    """Return the direction of a run, bool [height, width]."""
    rows, columns = np.nonzero(run)
    along = columns - columns.mean()
    slope = float((along * rows).sum() / max(1.0, float(np.square(along).sum())))
    return Direction(float(columns.mean()), float(rows.mean()), slope, int(columns.min()), int(columns.max()))


def _out_of_line(one: Direction, other: Direction) -> float:
    """Return by how many pixels one run is above or below where another leads, or the other way round."""
    fall = (one.slope + other.slope) / 2 * (other.column - one.column)
    return abs(other.row - one.row - fall)


def _is_inked(one: Direction, other: Direction, is_ink: Mask) -> bool:
    """Whether there is ink on the way from the end of one run to the beginning of another, but for gaps."""
    columns = np.arange(one.right, other.left + 1)
    rows = np.rint(np.interp(columns, (one.column, other.column), (one.row, other.row))).astype(np.intp)
    band = cv2.dilate(is_ink, np.ones((5, 1), np.uint8))
    return not columns.size or bool(band[rows, columns].mean() >= _COVERED)


def _lengthen(lines: Mask, thin: Mask) -> Mask:
    """Return the lines with what follows in their direction, where digits have cut it off: thin ink."""
    width = lines.shape[1]
    joined = cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((3, max(3, width // 4)), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    longer = lines.copy()
    across = np.arange(width)
    for label in 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_WIDTH] >= _LONG_ENOUGH * width):
        run = (labels == label) & (lines > 0)
        line = _direction(run)
        middle = line.row + line.slope * (across - line.column)
        half = 0.5 * np.count_nonzero(run) / np.count_nonzero(run.any(axis=0)) + 0.5
        first, last = max(0, int(middle.min() - half)), int(middle.max() + half) + 1
        near = np.abs(np.arange(first, min(last, len(lines)))[:, np.newaxis] - middle) <= half
        longer[first:last] |= near & thin[first:last]
    return longer
