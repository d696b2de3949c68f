"""Find the sheets of paper that lie on a patterned desk of another colour, and leave out the desk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.ink import DARKNESS, plane_terms
from app.pictures.opening import Pixels, reduce_to
from app.pictures.pieces import close_gaps, fill_holes

# The longest side of the picture in which sheets are looked for, and the shortest that may hold one.
_SIDE, _SHORTEST = 200, 30

# How many times as much one channel changes as another from sheet to desk: in a shadow all change alike.
_OTHER_COLOUR = 1.3

# Shares of the picture that sheets take, at least and at most; of the largest's area, for a further one.
_LEAST, _MOST, _FURTHER = 0.15, 0.92, 0.3

# What a sheet fills of its convex hull, of the smallest rectangle around it (unless the frame cuts it), and
# without its ink.
_CONVEX, _RECTANGULAR, _BLANK = 0.94, 0.88, 0.7

# A desk has a pattern nearly everywhere: so many levels from a pixel to its neighbours, and times as many as
# on the sheet. What is read on a smooth desk need not be left out, and may be writing on another sheet.
_NEARLY, _PATTERN, _ROUGHER = 0.2, 4.0, 1.8

# By how many of the small picture's pixels the edges of sheets are blurred; by how many they are made
# smaller, as there may be a shadow along them; and how far ink at the edge may reach to both its sides.
_EDGE, _SHRUNK, _NOTCH = 2, 3, 3

# Standard deviations from the plane of the sheet's light beyond which a pixel is ink; and how many times the
# plane is fitted, each time to what the time before was paper.
_OUTLYING, _FITS = 1.5, 4


def cover_desk(pixels: Pixels) -> Optional[Pixels]:
    """Return the picture with blank paper where the desk was; None if it shows no sheet on a desk."""
    small = reduce_to(pixels, _SIDE)
    if pixels.shape[2] == 1 or min(small.shape[:2]) < _SHORTEST:
        return None
    sheets = find_sheets(small)
    return None if sheets is None else leave_only(sheets, pixels)


def leave_only(sheets: NDArray[np.bool_], pixels: Pixels) -> Optional[Pixels]:
    """Return a picture with blank paper where no sheet is and along their edges; None if that is all of it.

    The paper is given the sheets' light, which may slope: for each channel, a plane is fitted to it.

    Args:
        sheets: where they are in the same picture, of any size, bool [height, width].
        pixels: the picture.
    """
    height, width = pixels.shape[:2]
    small = reduce_to(pixels, _SIDE)
    resized = cv2.resize(sheets.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    within = cv2.erode(resized, _square(_SHRUNK), borderValue=1)
    if not within.any():
        return None
    paper = cv2.resize(_extend(small, within > 0), (width, height), interpolation=cv2.INTER_LINEAR)
    is_desk = cv2.resize(within, (width, height), interpolation=cv2.INTER_NEAREST) == 0
    return np.where(is_desk[..., np.newaxis], np.atleast_3d(paper), pixels)


def find_sheets(pixels: Pixels) -> Optional[NDArray[np.bool_]]:
    """Return where a small colour picture shows sheets on a patterned desk; None if it does not.

    In one of the two colour differences (red and blue less luminance), where light and shade show little,
    sheets and desk are parted best (N. Otsu, 1979). A sheet is large, convex, and of another colour.
    """
    found = [sheets for side in _part(pixels) if (sheets := _as_sheets(side, pixels)) is not None]
    return max(found, key=np.count_nonzero, default=None)


def _part(pixels: Pixels) -> Iterator[NDArray[np.bool_]]:
    """Yield where each colour difference is high, and where it is low, bool [height, width]."""
    # CIELAB would part them as well, but OpenCV takes a tenth of a second to begin with it.
    colours = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    for channel in (1, 2):
        plane = cv2.medianBlur(np.ascontiguousarray(colours[..., channel]), 5)
        threshold, _ = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        yield from (plane > threshold, plane <= threshold)


def _as_sheets(side: NDArray[np.bool_], pixels: Pixels) -> Optional[NDArray[np.bool_]]:
    """Return the large regions of one side, with the ink on them; None if they are no sheets on a desk."""
    opened = cv2.morphologyEx(side.astype(np.uint8), cv2.MORPH_OPEN, _square(_EDGE))
    _, regions, stats, _ = cv2.connectedComponentsWithStats(opened)
    areas = stats[1:, cv2.CC_STAT_AREA]
    sheets = np.zeros(side.shape, bool)
    blank = np.zeros(side.shape, bool)
    for region in 1 + np.flatnonzero(areas > _FURTHER * areas.max(initial=0)):
        sheet = _with_ink(regions == region)
        if sheet is None:
            return None
        sheets |= sheet
        blank |= regions == region
    if not _LEAST < sheets.mean() < _MOST or not _is_desk(~sheets, blank, pixels):
        return None
    return sheets


def _with_ink(blank: NDArray[np.bool_]) -> Optional[NDArray[np.bool_]]:
    """Return a region with the ink on it and at its edge; None if it has not nearly a convex form."""
    region = fill_holes(blank)
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(outlines[0])
    sheet = cv2.fillConvexPoly(np.zeros(blank.shape, np.uint8), hull, 1) > 0
    area = np.count_nonzero(sheet)
    across, down = cv2.minAreaRect(hull)[1]
    is_cut = any(edge.any() for edge in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]))
    is_rectangular = is_cut or area >= _RECTANGULAR * (across + 1) * (down + 1)
    is_convex = np.count_nonzero(region) >= _CONVEX * area
    # The desk that shows in a dent, or a shadow along the edge, is broader than ink.
    sheet &= fill_holes(close_gaps(region, _NOTCH))
    return sheet if is_convex and is_rectangular and np.count_nonzero(blank) >= _BLANK * area else None


def _is_desk(around: NDArray[np.bool_], blank: NDArray[np.bool_], pixels: Pixels) -> bool:
    """Whether what is around blank paper has another colour, and unlike the paper a pattern."""
    desk, paper = (np.median(pixels[part], axis=0) + DARKNESS for part in (around, blank))
    change = paper / desk
    if change.max() < _OTHER_COLOUR * change.min():
        return False
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    step = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, _square(1)).astype(np.float32)
    rough = cv2.blur(step, (5, 5))
    # Along the edge of the sheet, there are steps on both sides.
    far, inner = (cv2.erode(part.astype(np.uint8), _square(2 * _EDGE)) > 0 for part in (around, blank))
    if not far.any() or not inner.any():
        return False
    pattern = float(np.quantile(rough[far], _NEARLY))
    return pattern >= max(_PATTERN, _ROUGHER * float(np.median(rough[inner])))


def _square(reach: int) -> NDArray[np.uint8]:
    """Return a square kernel that reaches so many pixels to each side."""
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _extend(pixels: Pixels, is_sheet: NDArray[np.bool_]) -> Pixels:
    """Return a picture of paper with the light that the sheets have, continued as a plane in each channel."""
    terms = plane_terms(pixels.shape).astype(np.float64)
    paper = np.empty(pixels.shape, np.float64)
    for channel in range(pixels.shape[2]):
        values, places = pixels[..., channel][is_sheet].astype(np.float64), terms[is_sheet]
        plane = np.array([np.median(values), 0, 0])
        for _ in range(_FITS):
            departure = values - places @ plane
            is_paper = np.abs(departure) <= _OUTLYING * max(1.0, float(np.sqrt(np.mean(departure**2))))
            plane, *_ = np.linalg.lstsq(places[is_paper], values[is_paper], rcond=None)
        paper[..., channel] = terms @ plane
    return np.clip(np.rint(paper), 0, 255).astype(np.uint8)
