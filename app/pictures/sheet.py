"""Find the sheet of paper that lies on a desk of another colour, and leave out the desk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.layout import fill_holes
from app.pictures.opening import Pixels

# The longest side of the picture in which the sheet is looked for, and the shortest that may hold one.
_SIDE, _SHORTEST = 200, 30

# The share of a colour's variance that sheet and desk alone explain, at least; and by what factor a channel's
# light changes more than another's from the one to the other: in a shadow all change alike.
_EXPLAINED, _OTHER_COLOUR = 0.85, 1.3

# Shares: of the picture that a sheet takes, at least and at most; of its convex hull, of the smallest
# rectangle around it (unless the frame cuts it), and of its own area without the ink.
_LEAST, _MOST = 0.15, 0.92
_CONVEX, _RECTANGULAR, _BLANK = 0.94, 0.88, 0.7

# If a hole has the desk's colour to within so many levels, the sheet may be a broad zero.
_SEEN_THROUGH = 16

# By how many of the small picture's pixels the sheet is made smaller, as its edge is blurred.
_EDGE = 2

# Deviations from the plane of the sheet's light beyond which a pixel is ink.
_OUTLYING = 1.5

# Added to colours (of 255) before they are compared: of black, noise would be a colour.
_DARKNESS = 12.0


def cover_desk(pixels: Pixels) -> Optional[Pixels]:
    """Return the picture with blank paper where the desk was; None if it shows no sheet on a desk.

    The paper is given the sheet's light, which may slope: for each channel, a plane is fitted to it.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if pixels.shape[2] == 1 or min(size) < _SHORTEST:
        return None
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    sheet = find_sheet(small)
    if sheet is None:
        return None
    square = np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
    within = cv2.erode(sheet.astype(np.uint8), square, borderValue=1)
    if not within.any():
        return None
    paper = cv2.resize(_extend(small, within > 0), (width, height), interpolation=cv2.INTER_LINEAR)
    is_desk = cv2.resize(within, (width, height), interpolation=cv2.INTER_NEAREST) == 0
    return np.where(is_desk[..., np.newaxis], paper, pixels)


def find_sheet(pixels: Pixels) -> Optional[NDArray[np.bool_]]:
    """Return where a small colour picture shows a sheet on a desk of another colour; None if it does not.

    In one of the two colour channels of CIELAB, where light and shade hardly show, sheet and desk are parted
    best (N. Otsu, 1979); the sheet is what is convex and large.
    """
    found = [region for side in _part(pixels) if (region := _as_sheet(side, pixels)) is not None]
    return max(found, key=np.count_nonzero, default=None)


def _part(pixels: Pixels) -> Iterator[NDArray[np.bool_]]:
    """Yield the two sides of each colour channel that nearly has two values only, bool [height, width]."""
    colours = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    for channel in (1, 2):
        plane = cv2.medianBlur(np.ascontiguousarray(colours[..., channel]), 5)
        threshold, _ = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        is_high = plane > threshold
        share = float(is_high.mean())
        if share in (0, 1):
            continue
        step = float(plane[is_high].mean()) - float(plane[~is_high].mean())
        if share * (1 - share) * step**2 >= _EXPLAINED * float(plane.var()):
            yield from (is_high, ~is_high)


def _as_sheet(side: NDArray[np.bool_], pixels: Pixels) -> Optional[NDArray[np.bool_]]:
    """Return the largest region of one side, with the ink on it, if it has a sheet's form and colour."""
    opened = cv2.morphologyEx(side.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, regions, stats, _ = cv2.connectedComponentsWithStats(opened)
    if count == 1:
        return None
    blank = regions == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    sheet = fill_holes(blank)
    area = np.count_nonzero(sheet)
    if not _LEAST < sheet.mean() < _MOST or np.count_nonzero(blank) < _BLANK * area:
        return None
    outlines, _ = cv2.findContours(sheet.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(outlines[0])
    # A contour runs through the middle of the pixels along the edge.
    if area < _CONVEX * (cv2.contourArea(hull) + cv2.arcLength(hull, True) / 2):
        return None
    across, down = cv2.minAreaRect(hull)[1]
    is_cut = any(edge.any() for edge in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]))
    if not is_cut and area < _RECTANGULAR * (across + 1) * (down + 1):
        return None
    desk = np.median(pixels[~sheet], axis=0)
    hole = pixels[sheet & ~blank]
    if hole.size and np.abs(np.median(hole, axis=0) - desk).max() < _SEEN_THROUGH:
        return None
    change = (np.median(pixels[blank], axis=0) + _DARKNESS) / (desk + _DARKNESS)
    return sheet if change.max() >= _OTHER_COLOUR * change.min() else None


def _extend(pixels: Pixels, is_sheet: NDArray[np.bool_]) -> Pixels:
    """Return a picture of paper with the light that the sheet has, continued as a plane in each channel."""
    height, width = pixels.shape[:2]
    y, x = np.indices((height, width), np.float64)
    terms = np.stack([np.ones_like(x), x / width, y / height], -1)
    paper = np.empty(pixels.shape, np.float64)
    for channel in range(pixels.shape[2]):
        values, places = pixels[..., channel][is_sheet].astype(np.float64), terms[is_sheet]
        plane, *_ = np.linalg.lstsq(places, values, rcond=None)
        departure = np.abs(values - places @ plane)
        is_paper = departure <= _OUTLYING * max(1.0, float(departure.std()))
        plane, *_ = np.linalg.lstsq(places[is_paper], values[is_paper], rcond=None)
        paper[..., channel] = terms @ plane
    return np.clip(np.rint(paper), 0, 255).astype(np.uint8)
