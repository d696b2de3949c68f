"""Search a picture for ink in one polarity, in the ways that its paper and its light ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.boxes import is_corner
from app.pictures.found import Found, Picture, all_ink, charge_unread, likeliest, strokes_of
from app.pictures.hues import without_either_colour
from app.pictures.ink import (
    HIGH,
    LOW,
    Ink,
    find_ink,
    find_strokes,
    full_density,
    has_curved_paper,
    has_even_paper,
)
from app.pictures.judge import border_share, is_paper, judge, without_ghosts, writing
from app.pictures.layout import Layout, find_layout
from app.pictures.lines import remove_lines
from app.pictures.normalise import Density
from app.pictures.opening import SMALL, TINY, Pixels, reduce_to, to_grey
from app.pictures.outlined import fill_outlines
from app.pictures.pieces import Piece, find_pieces
from app.pictures.shade import is_even_ink, shadow_on_ink, split_shade
from app.pictures.tiles import join_tiles
from app.pictures.tones import darker_ink, ink_upon_lines
from app.pictures.whole import take_all, with_whole

DOUBTFUL = -0.2
"""The likelihood below which another way to see a picture is tried."""

# What is found with the shortest reach is compared with what is likelier than this. If it is smaller than
# that share of the picture, it is grain.
_UNLIKELY, _NO_GRAIN = -1.0, 0.05

# The density of what is left when printed lines are gone, below which it is measured anew.
_FAINT = 0.8

# A picture of fewer pixels to its longer side whose paper is even seldom shows a desk or a shadow.
_FLAT_PICTURE = 600

# Whether a large picture's paper is even, and which polarity is likelier, is told at a glance in one with a
# longest side of so many pixels.
_COARSE = 300

# Ink of one polarity is not searched further if that of the other is so likely, and by so much likelier than
# all looks with one reach, and than all that was found with it.
_LIKELY, _HOPELESS, _FAR_BEHIND = -0.6, 2.0, 1.0

# The share of the frame that a digit which is cut out along its edges may cover.
_CUT_OUT = 0.4

# What is added to the likelihood if ink is taken for one digit in scattered pieces, if some of it is taken
# for a shadow, if the broad parts of it are taken for a desk or a pen, and if what is paler or of another
# colour is taken for lines.
_SCATTERED, _SHADOWED, _PARED, _LEFT_LINES = -0.3, -0.3, -0.3, -0.15

# How wide a stroke may be that meets the frame, as a share of the picture's shorter side: on even paper,
# which may be cut out along the digit's edges, and on other paper, where a shadow or a desk may reach in.
_THICK, _THIN = 0.4, 0.15

# What share of some writing is most of it, and how many times as long other writing may be and still be the
# same, with some faint strokes more.
_MOST, _HARDLY_LONGER = 0.8, 1.25

# A digit like another is about as long, to within the first factor, and this share as wide in the stroke.
_LIKE_IT, _LIKE_IT_WIDE = 1.8, 0.6

# What is taken off the likelihood if all that is read may be a shadow, for less of it less.
_SHADY = 0.6

# The longest side of strokes that nobody could read, in pixels of the finer picture.
_UNREADABLE = 8

# What is taken off where a shadow lies on ink, in units of the shadow's own density.
_SHADOW = 1.25


def search_all(
    working: Pixels, light_on_dark: bool, is_even: bool, picture: Picture, other: float = -np.inf
) -> list[Found]:
    """Return the ink of a picture in one polarity, as seen in one or more ways.

    `other` is how likely that of the other polarity is, if it is known.

    On even paper, as `is_on_even_paper` tells, ink is what is darker, and so it is where light falls off in a
    curve. Where that may be a shadow or the desk, what is narrow is ink. Of two ways to see a picture, the
    one that leaves strokes unread is less likely, and so is the one that reads what is as broad as a shadow.
    """
    even, is_settled = search_even(working, light_on_dark, picture) if is_even else ([], False)
    if is_settled:
        return even
    if not even:
        curved, is_settled = search_curved(working, light_on_dark, picture)
        return curved if is_settled else search_narrow(working, light_on_dark, picture, other) + curved
    shade, strokes = split_ink(even[-1].ink)
    if not shade.any():
        return even
    found = search_narrow(working, light_on_dark, picture, other)
    narrow = [charge_unread(one, strokes) for one in found]
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


def search_narrow(working: Pixels, light_on_dark: bool, picture: Picture, other: float) -> list[Found]:
    """Return what is darker than the paper or the shadow on both its sides.

    It is searched with a wide reach, so that the broadest felt pen is ink and not paper, and then with the
    reach that the strokes found ask for, which counts alone unless it loses them. If that does not look like
    writing, a shadow may have been taken for ink, and the search starts again with a short reach, and then
    with one that is shorter than the shadow of a finger is broad; that is less likely for what it leaves
    unread, if anything likely was found before. It ends where it is far behind `other`, as in `search_all`,
    and that is likely.
    """
    bar = other if other > _LIKELY else -np.inf
    short = min(working.shape[:2])
    all_found: list[Found] = []
    whole: list[Found] = []
    widest = max(5, short // 2)
    shortest = short // 30
    for reach in (widest, short // 12, shortest):
        if reach < 9 and all_found:
            break
        ink = time_ink(working, light_on_dark, reach, picture)
        if reach == widest and max(picture.size) <= TINY:
            whole = take_all(ink, working, picture)
        sight = Sight(ink, working, to_grey(working), _THIN, picture)
        looks = list(look_again(sight))
        if looks and likeliest_of(looks) < bar - _HOPELESS:
            all_found += [look.seen[0] for look in looks]
            break
        found = search_finer(sight, looks, reach) if looks else []
        if reach == shortest:
            found = [one for one in found if one.layout.main.side > _NO_GRAIN * max(working.shape)]
            if likeliest(all_found) > _UNLIKELY:
                before = max(all_found, key=lambda one: one.likelihood)
                found = [charge_unread(one, writing(before.layout)) for one in found]
        all_found += found
        if likeliest(all_found) > DOUBTFUL or (all_found and likeliest(all_found) < bar - _FAR_BEHIND):
            break
    return with_whole(all_found, whole)


def glance(working: Pixels, light_on_dark: bool, picture: Picture) -> float:
    """Return how likely the ink of a picture in one polarity is, as a first look at it reduced tells."""
    coarse = reduce_to(working, _COARSE)
    ink = time_ink(coarse, light_on_dark, max(5, min(coarse.shape[:2]) // 2), picture)
    return likeliest_of(look_again(Sight(ink, coarse, to_grey(coarse), _THIN, picture)))


def search_finer(sight: Sight, looks: Sequence[Look], reach: int) -> list[Found]:
    """Return what is found with the reach that the strokes in some looks ask for, which had a longer one.

    What the longer reach has found is left out unless the shorter one may have lost it: in a deep shadow; at
    the edge of one, it is the longer that does.
    """
    last = looks[-1].seen[0]
    finer = max(9, round(6 * last.layout.main.width))
    if finer >= reach / 1.5:
        return arrange(sight, looks)
    ink = time_ink(sight.working, sight.ink.light_on_dark, finer, sight.picture)
    nearer = search(ink, sight.working, sight.thickest, sight.picture)
    if likeliest(nearer) >= DOUBTFUL and not last.is_in_shadow:
        return nearer
    farther = arrange(sight, looks)
    is_lost = last.is_in_shadow or likeliest(nearer) < likeliest(farther)
    return nearer + (farther if is_lost else [])


def search_curved(working: Pixels, light_on_dark: bool, picture: Picture) -> tuple[list[Found], bool]:
    """Return what is darker than paper in light that falls off in a curve, and whether that is all there is.

    A digit that nearly fills a small picture leaves too little paper beside it to tell what is narrow, or
    whether the light is so. In a larger one there is nothing if it is not, and what leaves ink unread is less
    likely: the half of a sheet that has another colour would be ink. It is all if it looks like writing, and
    nothing lies along the frame or is as broad as a shadow.
    """
    is_small = max(picture.size) <= SMALL
    with picture.stage("ink"):
        coarse = reduce_to(255 - working if light_on_dark else working, _COARSE)
        if not is_small and not has_curved_paper(coarse):
            return [], False
    ink = time_ink(working, light_on_dark, None, picture, is_curved=True)
    found = search(ink, working, _THICK, picture)
    if is_small or not found:
        return found, False
    found = [charge_unread(one, all_ink(one)) for one in found]
    # If only a part of the ink looks like writing, the rest may be a shadow.
    if found[-1].likelihood < DOUBTFUL or not all(map(is_alone, found)):
        return found, False
    shade, _ = split_ink(ink)
    return found, not shade.any()


def split_ink(ink: Ink) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where ink is as broad as a shadow or a desk, and where it is not, all bool [height, width]."""
    return split_shade(strokes_of(ink, full_density(ink.density, ink.floor)))


def time_ink(
    working: Pixels, light_on_dark: bool, reach: Optional[int], picture: Picture, is_curved: bool = False
) -> Ink:
    """Return what `find_ink` does, and add the time it takes to the picture's."""
    with picture.stage("ink"):
        return find_ink(working, light_on_dark, reach, is_curved)


class Sight(NamedTuple):
    """What of a picture is looked at, and how."""

    ink: Ink
    working: Pixels
    grey: NDArray[np.uint8]
    thickest: float
    """How wide a stroke may be that meets the frame, as a share of the picture's shorter side."""

    picture: Picture
    others: Optional[NDArray[np.bool_]] = None
    """Where there is ink in the colour of lines, too, bool [height, width], if they are left out."""


class Look(NamedTuple):
    """What was seen in the ink given, as far as it was not set aside before."""

    density: Density
    price: float
    """What was added to the likelihood."""

    seen: list[Found]
    """What `look_at` returns: at least one, all of that ink first."""

    aside: Optional[NDArray[np.bool_]]
    """Where that is which is set aside next, bool [height, width]; None if it is a shadow on the ink."""


def search(ink: Ink, working: Pixels, thickest: float, picture: Picture) -> list[Found]:
    """Return the ink of a picture, sorted out, and again without what cannot be strokes or may be a shadow.

    What is seen in all of the ink that was not set aside comes last. `thickest` is as in `Sight`.
    """
    sight = Sight(ink, working, to_grey(working), thickest, picture)
    looks = list(look_again(sight))
    return arrange(sight, looks) if looks else []


def arrange(sight: Sight, looks: Sequence[Look]) -> list[Found]:
    """Return what was seen in one look or more, and what is found in the same ink in still other ways."""
    whole = [look.seen[0] for look in looks]
    scattered = [as_one_digit(one, one.layout.scattered) for one in whole if one.layout.scattered is not None]
    others = next((look.seen[1:] for look in reversed(looks) if look.seen[1:]), [])
    first, last = whole[:1], whole[1:][-1:]
    # The black corner of a desk is darker than pale ink, which shows only without it.
    if last and is_all_clutter(first[0].layout) and last[0].likelihood > first[0].likelihood:
        first = []
    coloured = search_own_colour(sight, whole[0].density)
    beside = search_beside_pens(sight, looks)
    return [*coloured, *scattered[:1], *others, *without_broad(sight, looks), *beside, *first, *last]


def look_again(sight: Sight) -> Iterator[Look]:
    """Yield what is seen in the ink, and up to twice more without what cannot be strokes or may be a shadow.

    Beside a punched hole or the edge of a desk, which are darker than any pencil, full ink is misjudged.
    """
    density, price, is_in_shadow = sight.ink.density, 0.0, False
    for _ in range(3):
        seen = [one._replace(is_in_shadow=is_in_shadow) for one in look_at(sight, density, price)]
        if not seen:
            return
        one, layout = seen[0], seen[0].layout
        shadow = shadow_on_ink(layout.labels, one.density, layout.main)
        aside = None if shadow else np.isin(layout.labels, layout.clutter + layout.shadows)
        yield Look(density, price, seen, aside)
        if aside is None:
            density = np.maximum(density - np.float32(_SHADOW * shadow * one.full), 0)
            is_in_shadow = True
        elif aside.any():
            density = without(aside, density)
        else:
            return
        if is_in_shadow or layout.shadows:
            price = _SHADOWED


def likeliest_of(looks: Iterable[Look]) -> float:
    """Return the likelihood of the likeliest look, each at all ink that was left; minus infinity for none."""
    return likeliest([look.seen[0] for look in looks])


def without_broad(sight: Sight, looks: Sequence[Look]) -> list[Found]:
    """Return the ink of a picture that is not small without the broad parts of what was set aside.

    What is narrow and runs into a desk may be a line with a digit on it. A small picture may be cut out along
    a digit that is as broad.
    """
    if max(sight.picture.size) <= SMALL:
        return []
    for look in looks:
        if look.aside is None:
            continue
        broad, narrow = split_shade(look.aside)
        if broad.any() and narrow.any():
            pared = look_at(sight, without(broad, look.density), look.price + _PARED)
            if pared:
                return pared
    return []


def search_beside_pens(sight: Sight, looks: Sequence[Look]) -> list[Found]:
    """Return the ink of a picture that is not small without strokes far broader than others: pens."""
    if max(sight.picture.size) <= SMALL:
        return []
    for look in looks:
        layout = look.seen[0].layout
        if layout.broad:
            beside = without(np.isin(layout.labels, layout.broad), look.density)
            return look_at(sight, beside, look.price + _PARED)[:1]
    return []


def search_own_colour(sight: Sight, cleaned: Density) -> list[Found]:
    """Return what is written in another colour than the lines of the paper, which it leaves unread.

    `cleaned` is the density of what was seen first: as a rule all ink without those lines that are straight.
    """
    with sight.picture.stage("ink"):
        inks = without_either_colour(sight.ink, sight.working)
    if not inks:
        return []
    full = full_density(sight.ink.density, sight.ink.floor)
    everything = strokes_of(sight.ink, full)
    found = [
        one._replace(leaves_lines=True)
        for ink in inks
        for one in look_at(sight._replace(ink=ink, others=everything), ink.density, _LEFT_LINES)
    ]
    return [one for one in found if not leaves_digit(one, cleaned)]


def leaves_digit(one: Found, cleaned: Density) -> bool:
    """Whether what was taken for lines has a digit in it like the one found: it may be of the lines' colour.

    That is left in `cleaned`, where lines are removed, and is not thinner, as most lines are.
    """
    main = one.layout.main
    is_near = cv2.dilate(writing(one.layout).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    _, rest = find_pieces((cleaned > HIGH) & ~is_near, cleaned)
    return any(
        not piece.touches
        and main.side / _LIKE_IT < piece.side < _LIKE_IT * main.side
        and piece.width > _LIKE_IT_WIDE * main.width
        for piece in rest
    )


def look_at(sight: Sight, density: Density, price: float) -> list[Found]:
    """Return ink sorted out, and in other ways, too; nothing if there is none like writing.

    All of it without printed lines comes first; what is in a box drawn round it, with its lines, and what is
    the darker of two tones follow. Ink that is darker than the lines of the paper is also seen alone: some
    lines may not have been found. `price` is added to the likelihood.
    """
    floor = sight.ink.floor
    full = full_density(density, floor)
    if full < 1.5 * floor:
        return []
    scaled = density / np.float32(full)
    cleaned, left = without_lines(sight, scaled, full)
    one = sort_out(sight, cleaned, left, price)
    found = [one] if one else []
    if one and max(sight.picture.size) <= SMALL and not np.array_equal(cleaned, scaled):
        boxed = sort_out(sight, scaled, full, price)
        found += [boxed] if boxed and is_boxed(boxed) else []
    darker = darker_ink(one.layout, one.density, floor / left) if one else None
    if darker and (alone := sort_out(sight, darker.density, left * darker.full, price)):
        found.append(alone)
    upon = look_upon_lines(sight, scaled, full, price)
    return with_upon_lines(found, upon) if upon and is_bent_or_left(upon, cleaned) else found


def is_boxed(found: Found) -> bool:
    """Whether digits are in boxes of nothing but lines: one that touches its box would go with it."""
    layout = found.layout
    return bool(layout.boxes) and all(is_corner(layout.labels, box) for box in layout.boxes)


def without_lines(sight: Sight, scaled: Density, full: float) -> tuple[Density, float]:
    """Return the density without printed lines, 1 for full ink, and what that is in the density of before."""
    noise = sight.ink.floor / full
    with sight.picture.stage("lines"):
        cleaned = remove_lines_from(sight.picture, scaled, max(LOW, noise))
        # Beside black lines, pencil is faint; without them it is full ink.
        left = full_density(cleaned, noise)
        return (cleaned / np.float32(left), full * left) if 0 < left < _FAINT else (cleaned, full)


def look_upon_lines(sight: Sight, scaled: Density, full: float, price: float) -> Optional[Found]:
    """Return what is darker than lines all over a picture that is not small; None without any."""
    if max(sight.picture.size) <= SMALL:
        return None
    with sight.picture.stage("lines"):
        darker = ink_upon_lines(scaled, max(LOW, sight.ink.floor / full))
    return sort_out(sight, darker.density, full * darker.full, price + _LEFT_LINES) if darker else None


def with_upon_lines(found: list[Found], upon: Found) -> list[Found]:
    """Return what was found when lines were removed, and what is darker than lines, which leaves them unread.

    If the first is likelier and has all of the other, the lines were removed well, and it leaves them, too.
    """
    if found and upon.likelihood < found[0].likelihood and is_most_of(upon, found[0]):
        return [found[0]._replace(leaves_lines=True), *found[1:]]
    return [*found, upon._replace(leaves_lines=True)]


def is_bent_or_left(one: Found, cleaned: Density) -> bool:
    """Whether writing upon lines is no line itself: the margin of ruled paper, or the edge of a sheet.

    It is bent, or does not meet the frame and is mostly left in `cleaned`, where lines are removed.
    """
    main = one.layout.main
    if main.is_bent or main.touches:
        return main.is_bent
    own = np.isin(one.layout.labels, main.labels)
    return float((cleaned[own] > LOW).mean()) > _MOST


def sort_out(sight: Sight, density: Density, full: float, price: float) -> Optional[Found]:
    """Return the ink, without printed lines, sorted out and judged; None if there is none like writing."""
    with sight.picture.stage("layout"):
        is_ink = find_strokes(density, sight.ink.floor / full)
        filled = fill_outlines(join_tiles(is_ink))
        density, is_ink = np.where(filled & ~is_ink, np.float32(1), density), filled
        layout = without_ghosts(find_layout(is_ink, density, sight.thickest), sight.grey)
    if not layout.lines or is_crumb(layout.main, density.shape, sight.picture):
        return None
    with sight.picture.stage("judge"):
        printed = strokes_of(sight.ink, full) & ~is_ink
        if sight.others is not None:
            printed |= sight.others & ~is_ink
        contrast, likelihood = judge(layout, density, sight.grey, printed)
    return Found(sight.ink, density, full, layout, contrast, likelihood + price, sight.picture.fine)


def is_most_of(one: Found, other: Found) -> bool:
    """Whether most of what was taken for writing is that of another, and that is hardly longer."""
    own = writing(one.layout)
    is_in = np.count_nonzero(own & writing(other.layout)) > _MOST * np.count_nonzero(own)
    return bool(is_in and other.layout.whole.side < _HARDLY_LONGER * one.layout.whole.side)


def is_crumb(main: Piece, shape: tuple[int, ...], picture: Picture) -> bool:
    """Whether the longest strokes, found in a picture of that shape, are too small for a digit.

    Small pictures may hold digits of a few pixels.
    """
    scale = max(picture.fine.shape) / max(shape)
    return max(shape) > SMALL and main.side * scale < _UNREADABLE


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


def as_one_digit(found: Found, whole: Piece) -> Found:
    """Return the same ink, all of it taken for one digit in scattered pieces: seldom so."""
    layout = Layout(found.layout.labels, ((whole,),), found.layout.clutter)
    return found._replace(layout=layout, likelihood=found.likelihood + _SCATTERED)


def is_all_clutter(layout: Layout) -> bool:
    """Whether nothing of what was taken for writing could be a stroke."""
    return set(layout.whole.labels) <= set(layout.clutter)


def is_alone(found: Found) -> bool:
    """Whether there is nothing along the frame: no desk, no shadow."""
    return not found.layout.clutter and found.layout.main.touches == 0


def charge_shade(found: Found, shade: NDArray[np.bool_]) -> Found:
    """Return ink that is less likely the more of it may be a shadow or a desk."""
    own = writing(found.layout)
    return found._replace(likelihood=found.likelihood - _SHADY * float(shade[own].mean()))
