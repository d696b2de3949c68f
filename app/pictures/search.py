"""Search a picture for ink in one polarity, in the ways that its paper and its light ask for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.cell import without_cell_lines
from app.pictures.ink import (
    HIGH,
    LOW,
    Ink,
    even_paper,
    find_ink,
    find_strokes,
    full_density,
    has_curved_paper,
    has_even_paper,
    split_levels,
)
from app.pictures.judge import border_share, is_paper, judge, without_ghosts, writing
from app.pictures.layout import Box, Layout, Piece, find_layout, find_pieces, is_soft, join, sharpness, spans
from app.pictures.lines import remove_lines
from app.pictures.normalise import Density, ink_box
from app.pictures.opening import SMALL, TINY, Pixels, reduce_to, to_grey
from app.pictures.outlined import fill_outlines
from app.pictures.tiles import join_tiles

DOUBTFUL = -0.2
"""The likelihood below which another way to see a picture is tried."""

# The density of what is left when printed lines are gone, below which it is measured anew.
_FAINT = 0.8

# A picture of fewer pixels to its longer side whose paper is even seldom shows a desk or a shadow.
_FLAT_PICTURE = 600

# Whether a large picture's paper is even is told in one with a longest side of so many pixels; by what factor
# the darkest of even ink is darker than most of it, at most, and if it is blurred; and which share of the
# frame, and of each of its sides, a digit that is cut out along its edges may cover.
_COARSE, _EVENLY_DARK, _BLURRED = 300, 1.3, 1.5
_CUT_OUT, _CUT_OUT_SIDE = 0.4, 0.75

# What reaches all sides of the picture is no digit but a frame if there is other ink of at least such a share
# of its length, and what reaches two is a fold or a pen: the scraps of a digit are shorter.
_BESIDE, _BESIDE_FOLD = 0.3, 0.12

# What is added to the likelihood if ink is taken for one digit in scattered pieces, if some of it is taken
# for a shadow, and if the broad parts of it are taken for a desk.
_SCATTERED, _SHADOWED, _PARED = -0.3, -0.3, -0.3

# How wide a stroke may be that meets the frame, as a share of the picture's shorter side: on even paper,
# which may be cut out along the digit's edges, and on other paper, where a shadow or a desk may reach in.
_THICK, _THIN = 0.4, 0.15

# How likely a picture that one digit fills holds it and nothing else, and what is taken off for each side but
# one along which there is a line.
_AS_IT_IS, _FRAMED = -0.6, 0.5

# What is taken off the likelihood if all ink is left unread, for less of it less, where one digit may fill
# the picture, or a shadow may be ink.
_UNREAD = 3.0

# The share of the picture's longer side that a digit cut out along its edges still takes without its bar.
_MOST = 0.75

# How broad a shadow is at least that takes a part of the picture, as a share of its shorter side, and the
# pixels of its edge; and what is taken off the likelihood if all that is read may be one.
_SHADE, _SOFT_EDGE, _SHADY = 0.3, 2, 0.6

# A broad stroke may be a shadow: how broad at least, as a share of the picture's shorter side; how dark the
# strokes in it are at least, and what is taken off, in units of its own density; shares of its area; and the
# density below which it is no blurred ink.
_BROAD, _IN_SHADOW, _SHADOW, _LEAST_IN, _MOST_IN = 0.04, 1.5, 1.25, 0.005, 0.3
_PALE = 0.45

# Ink is in two tones if they explain so much of the variance along the middle of its strokes, the pale one
# has at most this share of the dark one's density, and the dark one this share of that middle at least, being
# no speck, and of the length of all at most. A digit beside it is as long, to within a factor.
_TWO_TONES, _PALE_TONE, _SPECK, _SMALLER, _ALIKE = 0.9, 0.6, 0.06, 0.7, 1.8


@dataclass
class Picture:
    """A picture that is searched."""

    size: tuple[int, int]
    """Width and height of the upright picture."""

    sheet: Optional[Box] = None
    """Where in it the scrap of paper is, if all the rest has been left out."""

    seconds: dict[str, float] = field(default_factory=dict)
    """The time that each stage took."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage's."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Found(NamedTuple):
    """The ink of a picture, sorted out."""

    ink: Ink
    density: Density
    """Without printed lines, 1 for full ink."""

    full: float
    """The density, as in `ink`, that became 1."""

    layout: Layout
    contrast: float
    """Of the edges of the strokes, in levels of grey: at least 1."""

    likelihood: float
    """How much the ink looks like writing: see `judge`."""

    is_in_shadow: bool = False
    """Whether it was found in a shadow, whose density is taken off."""

    fine: Pixels = np.empty((0, 0, 1), np.uint8)
    """The picture that it was found in, before it was reduced; empty while it is searched."""


def likeliest(found: Sequence[Found]) -> float:
    """Return the likelihood of the likeliest; minus infinity if there is none."""
    return max((one.likelihood for one in found), default=-math.inf)


def search_all(working: Pixels, light_on_dark: bool, is_even: bool, picture: Picture) -> list[Found]:
    """Return the ink of a picture in one polarity, as seen in one or more ways.

    On even paper, as `is_on_even_paper` tells, ink is what is darker. Where that may be a shadow or the desk,
    or where paper is not even, what is narrow is ink. Of two ways to see a picture, the one that leaves
    strokes unread is less likely, and so is the one that reads what is as broad as a shadow.
    """
    even, is_settled = search_even(working, light_on_dark, picture) if is_even else ([], False)
    if is_settled:
        return even
    if not even:
        return search_narrow(working, light_on_dark, picture) + search_curved(working, light_on_dark, picture)
    ink = even[0].ink
    shade, strokes = split_shade(strokes_of(ink, full_density(ink.density, ink.floor)))
    if not shade.any():
        return even
    found = search_narrow(working, light_on_dark, picture)
    narrow = [charge_unread(one, strokes, _UNREAD) for one in found]
    return narrow + [charge_shade(one, shade) for one in even]


def is_on_even_paper(working: Pixels, light_on_dark: bool, picture: Picture) -> bool:
    """Whether a picture's ink is on even paper, whose light may slope; in a large one, all about as dark."""
    positive = 255 - working if light_on_dark else working
    with picture.stage("ink"):
        if max(picture.size) < _FLAT_PICTURE:
            return has_even_paper(positive)
        coarse = reduce_to(positive, _COARSE)
        return has_even_paper(coarse) and is_even_ink(coarse)


def search_even(working: Pixels, light_on_dark: bool, picture: Picture) -> tuple[list[Found], bool]:
    """Return what is darker than even paper, and whether that is all there is.

    There is nothing in a large picture with something along the frame. It is all if it looks like writing, or
    may be one digit cut out along its edges, or is paper, as the polarity is the other one; and in tiny
    pictures, which show no shadows.
    """
    ink = time_ink(working, light_on_dark, None, picture)
    found = search(ink, working, _THICK, picture)
    is_tiny = max(picture.size) <= TINY
    whole = take_all(ink, working, picture)
    if not is_tiny:
        whole = [one for one in whole if border_share(one.density > HIGH) < _CUT_OUT]
    if whole:
        return with_whole(found, whole), True
    if not found or not (max(picture.size) < _FLAT_PICTURE or all(map(is_alone, found))):
        return [], False
    is_clear = is_tiny or likeliest(found) >= DOUBTFUL
    return found, is_clear or any(is_paper(writing(one.layout)) for one in found)


def search_narrow(working: Pixels, light_on_dark: bool, picture: Picture) -> list[Found]:
    """Return what is darker than the paper or the shadow on both its sides.

    It is searched with a wide reach, so that the broadest felt pen is ink and not paper, and then with the
    reach that the strokes found ask for, which counts alone unless it loses them. If that does not look like
    writing, a shadow may have been taken for ink, and the search starts again with a short reach.
    """
    short = min(working.shape[:2])
    all_found: list[Found] = []
    whole: list[Found] = []
    widest = max(5, short // 2)
    for reach in (widest, short // 12):
        if reach < 9 and all_found:
            break
        ink = time_ink(working, light_on_dark, reach, picture)
        if reach == widest and max(picture.size) <= TINY:
            whole = take_all(ink, working, picture)
        found = search(ink, working, _THIN, picture)
        finer = max(9, round(6 * found[-1].layout.main.width)) if found else reach
        if finer < reach / 1.5:
            nearer = search(time_ink(working, light_on_dark, finer, picture), working, _THIN, picture)
            # In a deep shadow, the shorter reach may lose the ink; at the edge of one, the longer.
            is_lost = found[-1].is_in_shadow or likeliest(nearer) < min(DOUBTFUL, likeliest(found))
            found = nearer + (found if is_lost else [])
        all_found += found
        if likeliest(all_found) > DOUBTFUL:
            break
    return with_whole(all_found, whole)


def search_curved(working: Pixels, light_on_dark: bool, picture: Picture) -> list[Found]:
    """Return what is darker than paper in light that falls off in a curve.

    A digit that nearly fills a small picture leaves too little paper beside it to tell what is narrow, or
    whether the light is so. In a larger one there is nothing if it is not, and what leaves ink unread is less
    likely: the half of a sheet that has another colour would be ink.
    """
    is_small = max(picture.size) <= SMALL
    with picture.stage("ink"):
        coarse = reduce_to(255 - working if light_on_dark else working, _COARSE)
        if not is_small and not has_curved_paper(coarse):
            return []
    ink = time_ink(working, light_on_dark, None, picture, is_curved=True)
    found = search(ink, working, _THICK, picture)
    return found if is_small else [charge_unread(one, all_ink(one), _UNREAD) for one in found]


def time_ink(
    working: Pixels, light_on_dark: bool, reach: Optional[int], picture: Picture, is_curved: bool = False
) -> Ink:
    """Return what `find_ink` does, and add the time it takes to the picture's."""
    with picture.stage("ink"):
        return find_ink(working, light_on_dark, reach, is_curved)


class Sight(NamedTuple):
    """What of a picture is looked at, and how."""

    ink: Ink
    grey: NDArray[np.uint8]
    thickest: float
    """How wide a stroke may be that meets the frame, as a share of the picture's shorter side."""

    picture: Picture


def search(ink: Ink, working: Pixels, thickest: float, picture: Picture) -> list[Found]:
    """Return the ink of a picture, sorted out, and again without what cannot be strokes or may be a shadow.

    Beside a punched hole or the edge of a desk, which are darker than any pencil, full ink is misjudged. What
    is narrow and runs into one may be a line with a digit on it. `thickest` is as in `Sight`.
    """
    sight = Sight(ink, to_grey(working), thickest, picture)
    density = ink.density
    found: list[Found] = []
    scattered: list[Found] = []
    darker: list[Found] = []
    pared: list[Found] = []
    is_in_shadow, price = False, 0.0
    for _ in range(3):
        seen = [one._replace(is_in_shadow=is_in_shadow) for one in look_at(sight, density, price)]
        if not seen:
            break
        one = seen[0]
        found, darker = [*found[:1], one], seen[1:] or darker
        layout = one.layout
        if layout.scattered is not None:
            scattered.append(as_one_digit(one, layout.scattered))
        aside = layout.clutter + layout.shadows
        shadow = shadow_on_ink(layout, one.density)
        if shadow:
            density = np.maximum(density - np.float32(_SHADOW * shadow * one.full), 0)
            is_in_shadow = True
        elif aside:
            is_aside = np.isin(layout.labels, aside)
            broad, narrow = split_shade(is_aside)
            # A small picture may be cut out along a digit that is as broad.
            if max(picture.size) > SMALL and not pared and broad.any() and narrow.any():
                pared = look_at(sight, without(broad, density), price + _PARED)
            density = without(is_aside, density)
        else:
            break
        if is_in_shadow or layout.shadows:
            price = _SHADOWED
    # The black corner of a desk is darker than pale ink, which shows only without it.
    if len(found) > 1 and is_all_clutter(found[0].layout) and found[1].likelihood > found[0].likelihood:
        found = found[1:]
    return [*scattered[:1], *darker, *pared, *found]


def look_at(sight: Sight, density: Density, price: float) -> list[Found]:
    """Return ink sorted out, and of ink in two tones also the darker; nothing if there is none like writing.

    `price` is added to the likelihood.
    """
    floor = sight.ink.floor
    full = full_density(density, floor)
    if full < 1.5 * floor:
        return []
    noise = floor / full
    with sight.picture.stage("lines"):
        cleaned = remove_lines_from(sight.picture, density / np.float32(full), max(LOW, noise))
        # Beside black lines, pencil is faint; without them it is full ink.
        left = full_density(cleaned, noise)
        if 0 < left < _FAINT:
            cleaned, full = cleaned / np.float32(left), full * left
    found = sort_out(sight, cleaned, full, price)
    darker = darker_ink(found[0].layout, found[0].density, floor / full) if found else None
    return found + sort_out(sight, darker.density, full * darker.full, price) if darker else found


def sort_out(sight: Sight, density: Density, full: float, price: float) -> list[Found]:
    """Return the ink, without printed lines, sorted out and judged; nothing if there is none like writing."""
    with sight.picture.stage("layout"):
        is_ink = find_strokes(density, sight.ink.floor / full)
        filled = fill_outlines(join_tiles(is_ink))
        density, is_ink = np.where(filled & ~is_ink, np.float32(1), density), filled
        layout = without_ghosts(find_layout(is_ink, density, sight.thickest), sight.grey)
    if not layout.lines:
        return []
    with sight.picture.stage("judge"):
        contrast, likelihood = judge(layout, density, sight.grey)
    return [Found(sight.ink, density, full, layout, contrast, likelihood + price)]


def remove_lines_from(picture: Picture, density: Density, low: float) -> Density:
    """Return the density without the lines printed on the picture, or on the scrap of paper in it."""
    if picture.sheet is None:
        return remove_lines(density, low)
    across, down = np.divide(density.shape[::-1], picture.size)
    left, top, right, bottom = np.rint(np.multiply(picture.sheet, (across, down, across, down))).astype(int)
    cleaned = density.copy()
    cleaned[top:bottom, left:right] = remove_lines(density[top:bottom, left:right], low)
    return cleaned


def without(where: NDArray[np.bool_], density: Density) -> Density:
    """Return the density without what is there, and its soft edges."""
    is_near = cv2.dilate(where.astype(np.uint8), np.ones((7, 7), np.uint8))
    return np.where(is_near, np.float32(0), density).astype(np.float32)


class Darker(NamedTuple):
    """The darker one of two tones of ink."""

    density: Density
    """1 for full ink of that tone."""

    full: float
    """The density that became 1."""


def darker_ink(layout: Layout, density: Density, noise: float) -> Optional[Darker]:
    """Return only the darker ink if the longest of the writing is in two tones, else None.

    A digit in ink upon faint lines is so, or upon the rim of a stain; with a line across the picture, all of
    the writing. It is smaller than all of it, as the strokes of a dry pen, pale in places, are not. A pale
    digit that touches a dark one is told by being bent, of about its size, and not cut by the frame.
    """
    square = np.ones((3, 3), np.uint8)
    is_crossed = any(spans(piece, density.shape) for line in layout.lines for piece in line)
    piece = layout.whole if is_crossed else layout.main
    own = np.isin(layout.labels, piece.labels)
    crests = density[own & (density >= cv2.dilate(density, square))]
    if not crests.size:
        return None
    levels = np.clip(100 * crests, 0, 255).astype(np.uint8).reshape(-1, 1, 1)
    is_dark, explained = split_levels(levels)
    if explained < _TWO_TONES:
        return None
    dark, pale = float(crests[is_dark[:, 0]].mean()), float(crests[~is_dark[:, 0]].mean())
    if pale > _PALE_TONE * dark or is_dark.mean() < _SPECK:
        return None
    is_darker = density > (dark + pale) / 2
    left, top, right, bottom = ink_box(is_darker & own)
    side = max(right - left, bottom - top)
    is_near = cv2.dilate(is_darker.astype(np.uint8), square, iterations=2) > 0
    _, rest = find_pieces(own & ~is_near, density)
    is_digit = [one.is_bent and not one.touches and side / _ALIKE < one.side < _ALIKE * side for one in rest]
    if side > _SMALLER * piece.side or any(is_digit):
        return None
    darker = np.where(is_near, density, np.float32(0))
    full = full_density(darker, noise)
    return Darker((darker / np.float32(full)).astype(np.float32), full)


def as_one_digit(found: Found, whole: Piece) -> Found:
    """Return the same ink, all of it taken for one digit in scattered pieces: seldom so."""
    layout = Layout(found.layout.labels, ((whole,),), found.layout.clutter)
    return found._replace(layout=layout, likelihood=found.likelihood + _SCATTERED)


def is_all_clutter(layout: Layout) -> bool:
    """Whether nothing of what was taken for writing could be a stroke."""
    return set(layout.whole.labels) <= set(layout.clutter)


def shadow_on_ink(layout: Layout, density: Density) -> float:
    """Return the density of the longest of the writing if it is a shadow, and 0 if it is none.

    A shadow is broad, soft, and has darker strokes in it, which are the ink.
    """
    main = layout.main
    if main.width < _BROAD * min(density.shape) or not is_soft(sharpness(layout.labels, density, main)):
        return 0.0
    own = density[np.isin(layout.labels, main.labels)]
    middle = float(np.median(own))
    # Of what is blurred, half is less than full ink, too, but not much less.
    shadow = middle if middle < _PALE else 1.0
    return shadow if _LEAST_IN < (own > _IN_SHADOW * shadow).mean() < _MOST_IN else 0.0


def take_all(ink: Ink, working: Pixels, picture: Picture) -> list[Found]:
    """Return all ink of a picture as one digit, if it fills the picture: one cut out along its edges."""
    full = full_density(ink.density, ink.floor)
    if full == 0:
        return []
    density = ink.density / np.float32(full)
    with picture.stage("layout"):
        labels, pieces = find_pieces(find_strokes(density, 0), density)
        positive = 255 - working if ink.light_on_dark else working
        if not pieces or not is_cut_out(pieces, labels > 0, positive):
            return []
        layout = Layout(labels, ((join(pieces),),), ())
        # All of it that is paler is no part of one digit.
        darker = darker_ink(layout, density, ink.floor / full)
        if darker is not None:
            density, full = darker.density, full * darker.full
            labels, pieces = find_pieces(find_strokes(density, 0), density)
            layout = Layout(labels, ((join(pieces),),), ())
    contrast = float(working.max()) - float(working.min())
    likelihood = _AS_IT_IS - float((density > HIGH).mean())
    # The lines of a table fill the picture, too.
    likelihood -= _FRAMED * max(0, len(without_cell_lines(density, LOW)[1]) - 1)
    return [Found(ink, density, full, layout, contrast, likelihood)]


def with_whole(found: list[Found], whole: list[Found]) -> list[Found]:
    """Return the ways to see a picture together.

    If all of it may be one digit, others that nearly fill it are less likely for what they leave unread.
    """
    if whole:
        found = [charge_unread(one, all_ink(one), _UNREAD) if nearly_fills(one) else one for one in found]
    return found + whole


def is_cut_out(pieces: Sequence[Piece], ink: NDArray[np.bool_], positive: Pixels) -> bool:
    """Whether all ink, the longest piece first, may be one digit cut out along its edges.

    It reaches all four sides of the picture, or nearly, in a small one at least two opposite ones. So do
    shadows and desks, but in tiny pictures: what reaches four sides and is broad is one, and what reaches two
    if it has darker ink in it, or takes up a side. With a digit beside it, it is a frame, a fold or a pen.
    """
    if is_accompanied(pieces, _BESIDE):
        return False
    left, top, right, bottom = pieces[0].box
    height, width = ink.shape
    near = 1 + 0.02 * max(ink.shape)
    across, down = max(left, width - right), max(top, height - bottom)
    if max(ink.shape) <= TINY:
        return bool(min(across, down) <= near)
    if max(across, down) <= near:
        return not split_shade(ink)[0].any()
    covered = max(float(side.mean()) for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
    is_narrow = max(ink.shape) <= SMALL and min(across, down) <= near and covered < _CUT_OUT_SIDE
    return bool(is_narrow and not is_accompanied(pieces, _BESIDE_FOLD) and is_even_ink(positive, _BLURRED))


def nearly_fills(found: Found) -> bool:
    """Whether the writing is nearly as long as the picture: a digit that touches a line may be shorter."""
    return bool(found.layout.whole.side >= _MOST * max(found.layout.labels.shape))


def is_accompanied(pieces: Sequence[Piece], least: float) -> bool:
    """Whether beside the longest piece there is another of at least such a share of its length."""
    return any(piece.side > least * pieces[0].side for piece in pieces[1:])


def is_alone(found: Found) -> bool:
    """Whether there is nothing along the frame: no desk, no shadow."""
    return not found.layout.clutter and found.layout.main.touches == 0


def is_even_ink(pixels: Pixels, most: float = _EVENLY_DARK) -> bool:
    """Whether what is darker than even paper is all about as dark: where there is a shadow, ink is darker.

    The darkest is at most `most` times as dark as the median.
    """
    paper = even_paper(pixels)
    missing = np.max(cv2.subtract(paper, pixels).reshape(paper.shape), axis=2)
    _, dark = cv2.threshold(missing, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if not dark.any():
        return False
    middle, darkest = np.quantile(missing[dark > 0] / paper.max(axis=2)[dark > 0], (0.5, 0.99))
    return bool(darkest < most * middle)


def split_shade(ink: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where ink is as broad as a shadow or a desk, and where it is not, all bool [height, width]."""
    radius = _SHADE / 2 * min(ink.shape)
    margin = math.ceil(radius)
    # What lies along the frame goes on beyond it, however thin it is inside.
    beyond = np.pad(ink.astype(np.uint8), margin, mode="edge")
    is_core = cv2.distanceTransform(beyond, cv2.DIST_L2, 5) >= radius
    if not is_core.any():
        return np.zeros_like(ink), ink
    from_core = cv2.distanceTransform((~is_core).astype(np.uint8), cv2.DIST_L2, 5)
    is_broad = from_core[margin:-margin, margin:-margin] <= radius + _SOFT_EDGE
    return ink & is_broad, ink & ~is_broad


def charge_unread(found: Found, ink: NDArray[np.bool_], most: float) -> Found:
    """Return what is less likely, by up to `most`, the more of the ink given and its own it leaves unread."""
    own = writing(found.layout)
    unread = float((ink & ~own).sum()) / max(1, int((ink | own).sum()))
    return found._replace(likelihood=found.likelihood - most * unread)


def charge_shade(found: Found, shade: NDArray[np.bool_]) -> Found:
    """Return ink that is less likely the more of it may be a shadow or a desk."""
    own = writing(found.layout)
    return found._replace(likelihood=found.likelihood - _SHADY * float(shade[own].mean()))


def all_ink(found: Found) -> NDArray[np.bool_]:
    """Return where ink is, whatever became of it, bool [height, width]."""
    return strokes_of(found.ink, found.full)


def strokes_of(ink: Ink, full: float) -> NDArray[np.bool_]:
    """Return where ink is if it has that density where it is full, bool [height, width]."""
    return find_strokes(ink.density / np.float32(full), ink.floor / full)
