"""Sort a picture's ink into digits: what belongs together, what is clutter, and in which order to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.boxes import around_digits, enclosing, find_corners, find_dashes
from app.pictures.clutter import (
    find_bars,
    find_broad,
    find_edges,
    find_rings,
    find_rods,
    find_underlines,
    is_beside_frame,
    is_clutter,
    is_no_stroke,
)
from app.pictures.normalise import Density
from app.pictures.pieces import Piece, by_area, find_pieces, gap, join, join_boxes, spans, with_margin
from app.pictures.shade import find_shadows

# A piece of ink within this share of a digit's height belongs to it: pencil skips, and pens run dry. While
# the height is not known, the longest piece's stands for it, and the share is a larger one.
_SKIP, _WIDEST_SKIP = 0.04, 0.2

# Shares of the height of the tallest digit: what is smaller is no digit of its own, or if it is so wide, what
# is lower; how far a detached stroke (the bar of a five) may be from its digit; how tall a digit of small
# pieces alone may be; how far one half of a digit may be above the other.
_SMALLEST_DIGIT = 0.45
_WIDE_DIGIT, _LOWEST_DIGIT = 0.7, 0.3
_DETACHED, _FAR_DETACHED = 0.2, 0.6
_TALLEST_ALONE = 1.5
_STACKED_GAP = 0.12

# Each of two pieces of one upright stroke is so many times as tall as wide, and the gap at most this share of
# both.
_UPRIGHT, _STROKE_GAP = 2.0, 0.08

# One digit in scattered pieces is at most so many times as long as the longest of them, and so many times as
# wide as tall.
_SCATTERED, _WIDEST_SCATTERED = 2.2, 1.6

# A line of print is of so many pieces at least.
_LETTERS = 5

# A one beside other digits is between these in width and in darkness, as shares of theirs, and so tall, but
# for one of the three; and never paler than the last.
_THIN_ONE, _BROAD_ONE, _PALE_ONE, _DARK_ONE, _SHORT_ONE = 0.45, 1.9, 0.6, 1.6, 0.6
_PALEST_ONE = 0.45

# Digits further apart than this, in heights of the largest, are not of one number.
_FAR = 2.5


@dataclass(frozen=True)
class Layout:
    """The ink of a picture, sorted out."""

    labels: NDArray[np.int32]
    """[height, width]: the number of the piece of ink that each pixel belongs to, 0 for paper."""

    lines: tuple[tuple[Piece, ...], ...]
    """Lines of writing from top to bottom, each with its pieces from left to right."""

    clutter: tuple[int, ...]
    """The numbers of the pieces that cannot be digits: blobs, boxes, and what lies along the frame."""

    boxes: tuple[Piece, ...] = ()
    """Those of them that are drawn round digits, if most of the writing is in them."""

    shadows: tuple[int, ...] = ()
    """The numbers of pieces taken for writing that may be shadows."""

    scattered: Optional[Piece] = None
    """All strokes taken for one digit, if it may have fallen into pieces further apart than usual."""

    broad: tuple[int, ...] = ()
    """The numbers of pieces far broader than other strokes, beside which they may be pens lying about."""

    @property
    def whole(self) -> Piece:
        """All of the pieces as one."""
        return join([piece for line in self.lines for piece in line])

    @property
    def main(self) -> Piece:
        """The longest of the pieces."""
        return max((piece for line in self.lines for piece in line), key=lambda piece: piece.length)


def find_layout(is_ink: NDArray[np.bool_], density: Density, thickest: float) -> Layout:
    """Return the digits that the ink is likely to show; without lines if there are none.

    Args:
        is_ink: bool [height, width].
        density: float32 [height, width].
        thickest: how wide a stroke may be that meets the frame, as a share of the picture's shorter side.
    """
    labels, pieces = find_pieces(is_ink, density)
    pieces = [piece for piece in pieces if piece.side > 2 or piece.length > 0.3 * pieces[0].length]
    if not pieces:
        return Layout(labels, (), ())
    boxes, dashes = enclosing(labels, pieces), find_dashes(labels, pieces)
    boxes += [piece for piece in find_corners(labels, pieces) if piece not in boxes]
    clutter = tuple(
        piece.labels[0]
        for piece in pieces
        if piece in boxes or piece in dashes or is_no_stroke(piece, labels.shape, thickest)
    )
    dropped = {*boxes, *dashes, *find_underlines(pieces), *find_rods(pieces, labels.shape)}
    dropped.update(find_edges(pieces, labels.shape), find_bars(pieces, labels.shape))
    dropped.update(find_rings([piece for piece in pieces if piece not in boxes], labels.shape))
    boxes += [join(dashes)] if dashes else []
    pieces = [piece for piece in pieces if piece not in dropped]
    if not pieces:
        return Layout(labels, (), clutter)
    shadows = find_shadows(labels, density, pieces)
    main = choose_main(pieces, clutter, labels.shape)
    broad = find_broad(pieces, main)
    pieces = [piece for piece in pieces if piece is main or not is_clutter(piece, main, labels.shape)]
    groups = join_near(labels, pieces, main)
    groups = [group for group in groups if not is_print(group)] or groups
    lines = to_lines(drop_strangers(stack_halves(attach_small(groups, _DETACHED))))
    scattered = as_scattered(drop_strangers(attach_small(groups, _FAR_DETACHED)))
    written = [group for line in lines for group in line]
    if written == [scattered] or len(lines) == 1 < len(lines[0]):
        scattered = None
    return Layout(
        labels,
        tuple(map(tuple, lines)),
        clutter,
        around_digits(boxes, written),
        shadows,
        scattered,
        broad,
    )


def choose_main(pieces: list[Piece], clutter: tuple[int, ...], shape: tuple[int, ...]) -> Piece:
    """Return the piece most likely to be a digit or a part of one.

    It is the longest stroke. A pale one, such as the edge of a shadow, counts less, and one that touches the
    frame half as much; half of that if it lies along it, and less than a third if it goes from side to side
    of the picture, as a pen does. What cannot be a stroke counts only if there is nothing else.
    """

    def weight(piece: Piece) -> float:
        share = (0.5 if piece.touches else 1.0) * (0.5 if is_beside_frame(piece, shape) else 1.0)
        share *= 0.3 if spans(piece, shape) else 1.0
        return share * piece.length * piece.darkness**2

    strokes = [piece for piece in pieces if piece.labels[0] not in clutter] or pieces
    return max(strokes, key=weight)


def as_scattered(groups: list[Piece]) -> Optional[Piece]:
    """Return a few groups as one digit; None if they are too many or too far apart to be one."""
    whole = join(groups)
    is_near = whole.side <= _SCATTERED * max(group.side for group in groups)
    is_upright = whole.box[2] - whole.box[0] <= _WIDEST_SCATTERED * whole.height
    return whole if len(groups) <= 3 and is_near and is_upright else None


def join_near(labels: NDArray[np.int32], pieces: list[Piece], main: Piece) -> list[Piece]:
    """Return the pieces, those joined that a small gap separates: the gaps of a pen that skips.

    First by the width of the stroke, which tells how tall the writing is, then by a share of its height.
    """
    rough = _near_one_another(labels, pieces, min(2.5 * main.width, _WIDEST_SKIP * main.side))
    with_main = next(join(group) for group in rough if main in group)
    tall = 0.6 * max(main.side, with_main.height)
    joined = []
    for group in _near_one_another(labels, pieces, _SKIP * tall / 0.6):
        digits = [[piece] for piece in group if piece.height >= tall]
        rest = [piece for piece in group if piece.height < tall]
        if len(digits) < 2:
            joined.append(join(group))
            continue
        for piece in rest:
            min(digits, key=lambda digit: gap(digit[0].box, piece.box)).append(piece)
        joined += [join(digit) for digit in digits]
    return joined


def _near_one_another(labels: NDArray[np.int32], pieces: list[Piece], reach: float) -> list[list[Piece]]:
    """Return the pieces in groups: those together that are at most `reach` pixels apart."""
    if len(pieces) == 1 or reach < 2:
        return [[piece] for piece in pieces]
    left, top, right, bottom = with_margin(join_boxes([piece.box for piece in pieces]), labels, round(reach))
    part = slice(top, bottom), slice(left, right)
    ink = np.isin(labels[part], [piece.labels[0] for piece in pieces]).astype(np.uint8)
    # Half the reach around both, two pieces meet.
    around = np.zeros(labels.shape, np.uint8)
    around[part] = cv2.distanceTransform(1 - ink, cv2.DIST_L2, 5) <= reach / 2
    _, areas = cv2.connectedComponents(around, connectivity=8)
    return list(by_area(labels, pieces, areas).values())


def attach_small(groups: list[Piece], detached: float) -> list[Piece]:
    """Return the groups large enough for a digit, each with the small ones near it; drop the others.

    Small ones that are far from all of these, but near one another, may be a digit together.

    `detached` is how far from its digit a small one may be, as a share of the tallest's height.
    """
    tallest = max(group.height for group in groups)
    large = [group for group in groups if is_large(group, tallest)]
    alone: list[Piece] = []
    for small in groups:
        if is_large(small, tallest):
            continue
        # What is beside a digit may as well be a part of the next; what is above or below one hardly.
        nearest = min(range(len(large)), key=lambda index: gap(large[index].box, small.box, 2.0))
        owner = large[nearest]
        is_part = small.is_stroke and small.length > 0.06 * owner.length and small.width > 0.4 * owner.width
        if gap(owner.box, small.box) == 0 or (is_part and gap(owner.box, small.box) <= detached * tallest):
            large[nearest] = join([owner, small])
        elif is_part:
            beside = [other for other in alone if gap(other.box, small.box) <= _DETACHED * tallest]
            alone = [*(other for other in alone if other not in beside), join([small, *beside])]
    # What is much taller than any digit is a column of print.
    return large + [
        group
        for group in alone
        if is_large(group, tallest) and group.height <= _TALLEST_ALONE * tallest and not is_print(group)
    ]


def is_print(group: Piece) -> bool:
    """Whether a group is a line of small print: of many pieces, and wider than a digit may be."""
    return len(group.labels) >= _LETTERS and group.box[2] - group.box[0] > _WIDEST_SCATTERED * group.height


def is_large(group: Piece, tallest: int) -> bool:
    """Whether a group may be a digit beside one so tall: a five with a long bar is low, but wide."""
    is_wide = group.side >= _WIDE_DIGIT * tallest and group.height >= _LOWEST_DIGIT * tallest
    return group.height >= _SMALLEST_DIGIT * tallest or is_wide


def stack_halves(groups: list[Piece]) -> list[Piece]:
    """Return the groups, those joined that are the upper and lower part of one digit, as of a broken five."""
    for upper in groups:
        for lower in groups:
            if lower.box[1] > upper.box[1] + 0.5 * upper.height and are_halves(upper, lower, groups):
                rest = [group for group in groups if group not in (upper, lower)]
                return stack_halves([*rest, join([upper, lower])])
    return groups


def are_halves(upper: Piece, lower: Piece, groups: list[Piece]) -> bool:
    """Whether of all groups one, and one that begins below its middle, are two parts of a digit.

    Digits of two lines have more room between them, and are together much taller than wide, and than others;
    but for a one with a gap that is all there is.
    """
    left, top, right, bottom = upper.box
    other_left, other_top, other_right, other_bottom = lower.box
    height = max(bottom, other_bottom) - min(top, other_top)
    if other_top - bottom >= _STACKED_GAP * height:
        return False
    if len(groups) == 2 and is_one_stroke(upper, lower):
        return True
    shared = min(right, other_right) - max(left, other_left)
    if shared <= 0.3 * min(right - left, other_right - other_left):
        return False
    tallest = max((group.height for group in groups if group not in (upper, lower)), default=0)
    return height < max(2 * (max(right, other_right) - min(left, other_left)), 1.25 * tallest)


def is_one_stroke(upper: Piece, lower: Piece) -> bool:
    """Whether two tall and narrow strokes are one with a gap: the lower begins where the upper ends."""
    if not all(piece.height > _UPRIGHT * (piece.box[2] - piece.box[0]) for piece in (upper, lower)):
        return False
    left, _, right, bottom = upper.box
    other_left, other_top, other_right, _ = lower.box
    aside = min(abs(left - other_right), abs(right - other_left))
    return float(np.hypot(aside, other_top - bottom)) < _STROKE_GAP * (upper.height + lower.height)


def drop_strangers(groups: list[Piece]) -> list[Piece]:
    """Return the groups that one hand may have written: about as broad, as dark, and not far apart."""
    main = max(groups, key=lambda group: group.length)
    kept = [group for group in groups if may_be_of_one_hand(group, main)]
    near = added = {main}
    while added:
        added = {
            group
            for group in kept
            if group not in near and any(gap(group.box, other.box) <= _FAR * main.height for other in added)
        }
        near = near | added
    return [group for group in kept if group in near]


def may_be_of_one_hand(group: Piece, main: Piece) -> bool:
    """Whether one hand may have written two groups: about as broad and as dark.

    A straight one beside a bent one may as well be a crack or the edge of something. It is no one if two of
    three things are unlike: its width, its darkness and its height; or if it is pale.
    """
    width, darkness = group.width / main.width, group.darkness / main.darkness
    if not (0.3 < width < 3 and darkness > 0.4):
        return False
    if group.is_bent or not main.is_bent:
        return True
    is_unlike = (
        not _THIN_ONE < width < _BROAD_ONE,
        not _PALE_ONE < darkness < _DARK_ONE,
        group.height < _SHORT_ONE * main.height,
    )
    return darkness > _PALEST_ONE and sum(is_unlike) < 2


def to_lines(groups: list[Piece]) -> list[list[Piece]]:
    """Return the groups in reading order: lines from the top, each from the left.

    A group continues the line whose last group is beside it.
    """
    lines: list[list[Piece]] = []
    for group in sorted(groups, key=lambda group: group.box[0] + group.box[2]):
        beside = [(_overlap(line[-1], group), index) for index, line in enumerate(lines)]
        best, index = max(beside, default=(0.0, 0))
        if best >= 0.4:
            lines[index].append(group)
        else:
            lines.append([group])
    return sorted(lines, key=lambda line: np.mean([group.box[1] + group.box[3] for group in line]))


def _overlap(first: Piece, second: Piece) -> float:
    """Return how much of the lower one's height two pieces share."""
    shared = min(first.box[3], second.box[3]) - max(first.box[1], second.box[1])
    return shared / min(first.height, second.height)
