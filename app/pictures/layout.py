"""Find the digits in a picture's ink: what belongs together, what is clutter, and in which order to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.normalise import Density
from app.pictures.opening import SMALL

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first column and row outside."""

# So many of the pieces of ink are looked at; what is shorter than these is grain.
_MOST_FOUND = 400

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

# One digit in scattered pieces is at most so many times as long as the longest of them, and so many times as
# wide as tall.
_SCATTERED, _WIDEST_SCATTERED = 2.2, 1.6

# A line of print is of so many pieces at least.
_LETTERS = 5

# How many times as long as broad a stroke under a digit is at least, and as long as the digit is wide, if it
# underlines it; and how many of the longest strokes may be such digits.
_LONG_LINE, _WIDER_LINE, _MOST_UNDERLINED = 5, 1.35, 20

# A stroke so many of its breadths below a digit underlines it if it is only so many times as long.
_BELOW, _WIDER_BELOW = 1.6, 1.15

# A rod is at most so many times as long as the diagonal of its box, and at least so many times as long as
# broad, and as the longest bent stroke. That has at least these shares of its length, width and darkness, and
# is apart from it by this share of its own size. Only so many of the longest pieces are looked at.
_STRAIGHT, _LONG_ROD, _LONGER_ROD = 1.15, 8, 2.2
_ROD_LENGTH, _ROD_WIDTH, _ROD_DARKNESS, _APART = 0.2, 0.35, 0.5, 0.25
_MOST_RODS = 20

# A shadow is broader than strokes beside it by the first factor, and its edges are softer by the second, and
# soft in themselves: from pixel to pixel, their density changes by less than a share of full ink.
_BROADER, _SOFTER, _SOFT = 2.5, 0.4, 0.25

# Compared with it are strokes of at least this share of its length, which are darker, it having at most this
# share of their density, and are bent, so many times as long as their box: a scratch is straight. Only so
# many of the longest pieces are looked at.
_SHORT_STROKE, _PALER, _BENT, _MOST_SHADOWS = 0.12, 0.75, 1.35, 20

# How much of its box a strip fills.
_FILLED = 0.9

# An upright line of a table has at least this share of what is left of it in the outer tenth of the picture.
_ALONG_FRAME = 0.8

# The box of a cell's upright line is at most so many times as wide as its stroke, and the line goes on beyond
# a digit by this share of its height. One that leans is told from a one by being thinner than this share of
# the digit's stroke, in a picture at most so many times as wide as tall: numbers are wider.
_BAR, _OVERSHOOT = 1.3, 0.05
_THIN_BAR, _CELL = 0.75, 1.4

# What is left of such a line is thinner than the first share of the digit's stroke, and apart from it by the
# second of its height. Its middle is so near to a side of the picture, and an end of it to the top or bottom.
_THIN_REST, _NEAR_REST = 0.5, 0.1
_SIDE, _CORNER = 0.2, 0.15

# Digits further apart than this, in heights of the largest, are not of one number.
_FAR = 2.5


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


@dataclass(frozen=True)
class Layout:
    """The ink of a picture, sorted out."""

    labels: NDArray[np.int32]
    """[height, width]: the number of the piece of ink that each pixel belongs to, 0 for paper."""

    lines: tuple[tuple[Piece, ...], ...]
    """Lines of writing from top to bottom, each with its pieces from left to right."""

    clutter: tuple[int, ...]
    """The numbers of the pieces that cannot be digits: blobs, boxes, and what lies along the frame."""

    boxes: int = 0
    """How many of these are drawn all round digits, if most of the writing is in them; else 0."""

    shadows: tuple[int, ...] = ()
    """The numbers of pieces taken for writing that may be shadows."""

    scattered: Optional[Piece] = None
    """All strokes taken for one digit, if it may have fallen into pieces further apart than usual."""

    @property
    def whole(self) -> Piece:
        """All of the pieces as one."""
        return join([piece for line in self.lines for piece in line])

    @property
    def main(self) -> Piece:
        """The longest of the pieces."""
        return max((piece for line in self.lines for piece in line), key=lambda piece: piece.length)


def find_pieces(is_ink: NDArray[np.bool_], density: Density) -> tuple[NDArray[np.int32], list[Piece]]:
    """Return the picture of the numbers of all connected pieces of ink, and the longest, longest first."""
    mask = is_ink.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    # Beyond the frame is paper, so that strokes it cuts do not look wide.
    distances = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    # Most of a picture is paper, which need not be counted.
    rows, columns = np.nonzero(is_ink)
    own = labels[rows, columns]
    masses = np.bincount(own, density[rows, columns], count)
    depths = np.bincount(own, distances[rows, columns], count)
    areas = np.maximum(1, stats[:, cv2.CC_STAT_AREA])
    widths = np.maximum(1.0, 4 * (depths / areas - 0.5))
    lengths = areas / widths
    height, width = labels.shape
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contacts = np.bincount(border, minlength=count)
    is_inner = (rows >= height // 10) & (rows < height - height // 10)
    is_inner &= (columns >= width // 10) & (columns < width - width // 10)
    inner = np.bincount(own[is_inner], minlength=count)
    pieces = []
    for label in 1 + np.argsort(-lengths[1:], kind="stable")[:_MOST_FOUND]:
        x, y, across, down, area = (int(value) for value in stats[label])
        touches = sum((x == 0, y == 0, x + across == width, y + down == height))
        box = (x, y, x + across, y + down)
        contact, outer = int(contacts[label]), area - float(inner[label])
        mass, stroke = float(masses[label]), float(widths[label])
        pieces.append(Piece((int(label),), box, area, mass, stroke, touches, contact, outer))
    return labels, pieces


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
    clutter = tuple(
        piece.labels[0]
        for piece in pieces
        if piece in boxes or piece in dashes or is_no_stroke(piece, labels.shape, thickest)
    )
    dropped = {*boxes, *dashes, *find_underlines(pieces), *find_rods(pieces[:_MOST_RODS], labels.shape)}
    boxes += [join(dashes)] if dashes else []
    pieces = [piece for piece in pieces if piece not in dropped]
    shadows = find_shadows(labels, density, pieces[:_MOST_SHADOWS])
    main = choose_main(pieces, clutter, labels.shape)
    pieces = [piece for piece in pieces if piece is main or not is_clutter(piece, main, labels.shape)]
    groups = join_near(labels, pieces, main)
    groups = [group for group in groups if not is_print(group)] or groups
    lines = to_lines(drop_strangers(stack_halves(attach_small(groups, _DETACHED))))
    scattered = as_scattered(drop_strangers(attach_small(groups, _FAR_DETACHED)))
    written = [group for line in lines for group in line]
    if written == [scattered] or len(lines) == 1 < len(lines[0]):
        scattered = None
    return Layout(labels, tuple(map(tuple, lines)), clutter, count_boxes(written, boxes), shadows, scattered)


def count_boxes(written: list[Piece], boxes: list[Piece]) -> int:
    """Return how many boxes are drawn round digits: all if most of the writing is in them, else none.

    Grain encloses grain, too, but most of it is outside. What is much paler than all that is in it is no box
    but the bright rim that a camera's sharpening gives a zero, around its hole.
    """
    drawn, inside = 0, set()
    for box in boxes:
        within = [piece for piece in written if is_within(piece, box)]
        if within and box.darkness > _RIM * min(piece.darkness for piece in within):
            drawn += 1
            inside.update(within)
    is_boxed = sum(piece.length for piece in inside) > 0.5 * sum(piece.length for piece in written)
    return drawn if is_boxed else 0


def as_scattered(groups: list[Piece]) -> Optional[Piece]:
    """Return a few groups as one digit; None if they are too many or too far apart to be one."""
    whole = join(groups)
    is_near = whole.side <= _SCATTERED * max(group.side for group in groups)
    is_upright = whole.box[2] - whole.box[0] <= _WIDEST_SCATTERED * whole.height
    return whole if len(groups) <= 3 and is_near and is_upright else None


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


def is_within(piece: Piece, outer: Piece) -> bool:
    """Whether a piece's box lies within another's, and does not touch it."""
    left, top, right, bottom = outer.box
    return left < piece.box[0] and top < piece.box[1] and piece.box[2] < right and piece.box[3] < bottom


def find_shadows(labels: NDArray[np.int32], density: Density, pieces: list[Piece]) -> tuple[int, ...]:
    """Return the numbers of the pieces that may be shadows: broad, pale and soft beside thinner strokes."""
    sharp = {piece: sharpness(labels, density, piece) for piece in pieces}
    found = []
    for broad in sharp:
        strokes = [
            piece
            for piece in sharp
            if _BROADER * piece.width < broad.width and piece.length > _SHORT_STROKE * broad.length
            if piece.is_bent and broad.darkness < _PALER * piece.darkness
        ]
        sharpest = max((sharp[piece] for piece in strokes), default=0.0)
        if is_soft(sharp[broad]) and sharp[broad] < _SOFTER * sharpest:
            found.append(broad.labels[0])
    return tuple(found)


def is_soft(change: float) -> bool:
    """Whether edges may be those of a shadow, given their `sharpness`."""
    return change < _SOFT


def sharpness(labels: NDArray[np.int32], density: Density, piece: Piece) -> float:
    """Return by how much the density changes from pixel to pixel along a piece's outline, in the mean."""
    left, top, right, bottom = piece.box
    part = slice(max(0, top - 1), bottom + 1), slice(max(0, left - 1), right + 1)
    square = np.ones((3, 3), np.uint8)
    own = np.isin(labels[part], piece.labels).astype(np.uint8)
    outline = own > cv2.erode(own, square, borderValue=0)
    return float(cv2.morphologyEx(density[part], cv2.MORPH_GRADIENT, square)[outline].mean())


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


def is_along_frame(piece: Piece) -> bool:
    """Whether a piece lies along a side of the frame; a stroke that the frame cuts meets it in its width.

    A bent one that is larger may be cut along a bow: a three without the lower edge of its foot.
    """
    across = piece.box[2] - piece.box[0]
    is_cut = piece.is_bent and piece.touches == 1 and piece.contact < min(across, piece.height)
    return piece.contact > 3 * piece.touches * piece.width and not is_cut


def spans(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece goes from one side of the picture to the opposite one."""
    left, top, right, bottom = piece.box
    return right - left == shape[1] or bottom - top == shape[0]


def is_no_stroke(piece: Piece, shape: tuple[int, ...], thickest: float) -> bool:
    """Whether a piece cannot be writing, seen alone, in a picture of that shape."""
    short = min(shape)
    if (
        is_along_frame(piece)
        or is_dark_edge(piece, shape)
        or (piece.touches and piece.width > thickest * short)
    ):
        return True
    return not piece.is_stroke and piece.side > 0.02 * short


def is_beside_frame(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece lies along the frame, in the outer tenth: what is left of a table's line.

    An upright line that leans lies there with most of its length. The bar of a seven may be level there.
    """
    height, width = shape
    left, top, right, bottom = piece.box
    if right - left > 3 * (bottom - top):
        return bottom < 0.1 * height or top > 0.9 * height
    middle = (left + right) / 2
    is_outer = (middle < 0.1 * width or middle > 0.9 * width) and piece.outer > _ALONG_FRAME * piece.area
    return is_outer and bottom - top > 3 * (right - left)


def is_beyond(piece: Piece, main: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece is a straight bar, apart from a digit and longer above and below it.

    Such is the line of a cell, from the one above to the one below. A one is about as tall as its neighbour.
    """
    is_upright = piece.box[2] - piece.box[0] <= _BAR * piece.width
    is_thin = piece.length < _STRAIGHT * piece.diagonal and piece.width < _THIN_BAR * main.width
    is_bar = is_upright or (is_thin and shape[1] < _CELL * shape[0])
    more = _OVERSHOOT * main.height
    is_longer = piece.box[1] < main.box[1] - more and piece.box[3] > main.box[3] + more
    return is_bar and is_longer and gap(piece.box, main.box) > _APART * main.height


def is_rest_of_line(piece: Piece, main: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece is left of an upright line of a cell, whose ends may have gone with the level lines.

    It is far thinner than the digit, beside which it goes on, and near a corner. A cell is a small picture.
    """
    height, width = shape
    left, top, right, bottom = piece.box
    is_straight = piece.length < _STRAIGHT * piece.diagonal and bottom - top > 3 * (right - left)
    is_thin = is_straight and piece.width < _THIN_REST * main.width
    more = _OVERSHOOT * main.height
    goes_on_above = top < main.box[1] - more and bottom > main.box[1] and top < _CORNER * height
    goes_on_below = bottom > main.box[3] + more and top < main.box[3] and bottom > (1 - _CORNER) * height
    is_outer = left + right < 2 * _SIDE * width or left + right > 2 * (1 - _SIDE) * width
    is_cell = max(shape) <= SMALL and width < _CELL * height
    is_apart = gap(piece.box, main.box) > _NEAR_REST * main.height
    return is_cell and is_thin and is_outer and is_apart and (goes_on_above or goes_on_below)


def is_dark_edge(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece is a strip all along a side of the picture: the dark edge of a scan."""
    left, top, right, bottom = piece.box
    across, down = right - left, bottom - top
    is_whole_side = down == shape[0] if down > across else across == shape[1]
    return piece.touches == 3 and is_whole_side and piece.area > _FILLED * across * down


def is_around_corner(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece follows two or more sides of the picture within its outer tenth: a table's lines."""
    left, top, right, bottom = piece.box
    is_bent = right - left > 0.15 * shape[1] and bottom - top > 0.15 * shape[0]
    return is_bent and piece.outer > 0.9 * piece.area


def find_underlines(pieces: list[Piece]) -> list[Piece]:
    """Return the pieces that underline others."""
    digits = pieces[:_MOST_UNDERLINED]
    return [piece for piece in pieces if is_level(piece) and any(is_under(piece, digit) for digit in digits)]


def find_rods(pieces: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Return the straight strokes far too long to be of one hand with the longest bent one: pens.

    `pieces` are sorted, longest first. In a small picture only those are pens that the frame cuts: others may
    be ones, and the bent stroke a letter that is printed beside.
    """
    digit = next((piece for piece in pieces if piece.is_bent), None)
    if digit is None:
        return []
    may_be = [piece for piece in pieces if piece.touches or max(shape) > SMALL]
    return [piece for piece in may_be if is_rod(piece, digit)]


def is_rod(piece: Piece, digit: Piece) -> bool:
    """Whether a piece is a straight stroke of another size than a digit, but as dark and not much broader."""
    is_straight = _LONG_ROD * piece.width < piece.length < _STRAIGHT * piece.diagonal
    is_alike = digit.width > _ROD_WIDTH * piece.width and digit.darkness > _ROD_DARKNESS * piece.darkness
    is_longer = piece.side > _LONGER_ROD * digit.side and digit.length > _ROD_LENGTH * piece.length
    return is_straight and is_alike and is_longer and gap(piece.box, digit.box) > _APART * digit.side


def is_level(piece: Piece) -> bool:
    """Whether a piece is a level stroke: it may underline a digit."""
    return piece.box[2] - piece.box[0] > _LONG_LINE * max(piece.width, 0.5 * piece.height)


def is_under(line: Piece, digit: Piece) -> bool:
    """Whether a level stroke is under a digit, and wider on both sides: it underlines it.

    The base line of a two may be apart from the rest, too, but is hardly wider than that, and near it.
    """
    left, top, right, _ = line.box
    digit_left, _, digit_right, digit_bottom = digit.box
    is_below = digit_bottom - 0.1 * digit.height <= top <= digit_bottom + digit.height
    across = digit_right - digit_left
    overhang = min(digit_left - left, right - digit_right)
    least = _WIDER_BELOW if top - digit_bottom > _BELOW * line.width else _WIDER_LINE
    is_wider = overhang > 0.05 * across and right - left > max(least * across, 0.4 * digit.height)
    return is_below and is_wider and digit.is_stroke and digit.height > 2 * line.height


def is_clutter(piece: Piece, main: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece is no writing: a blob or a speck beside the main stroke, or what the frame cuts off.

    Where the frame cuts off a stroke, it meets it in about the stroke's width, and that is about the main
    stroke's; the edge of a desk, a shadow or the line of a table lies along it.
    """
    if is_around_corner(piece, shape) and not is_around_corner(main, shape):
        return True
    if is_beside_frame(piece, shape) and not is_beside_frame(main, shape):
        # In a wide picture, a one at its end is likelier than the line of a table.
        least = 0.35 if shape[1] > 2 * shape[0] else 0.6
        is_as_tall = 0.6 * main.height < piece.height < 1.5 * main.height
        if (
            piece.touches
            or not is_as_tall
            or piece.width < least * main.width
            or is_beyond(piece, main, shape)
        ):
            return True
    if is_rest_of_line(piece, main, shape):
        return True
    if piece.touches and not main.touches:
        is_alike = 0.6 < piece.side / main.side < 1.6 and 0.5 < piece.width / main.width < 2
        if not is_alike or piece.contact > 3 * main.width:
            return True
    is_blob = not piece.is_stroke and piece.width > 1.8 * main.width
    return is_blob or piece.mass < 0.01 * main.mass


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
    ink = np.isin(labels, [piece.labels[0] for piece in pieces]).astype(np.uint8)
    # Half the reach around both, two pieces meet.
    around = cv2.distanceTransform(1 - ink, cv2.DIST_L2, 5) <= reach / 2
    _, areas = cv2.connectedComponents(around.astype(np.uint8), connectivity=8)
    return list(by_area(labels, pieces, areas).values())


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
    """Return the groups, those joined that are the upper and lower part of one digit, as of a broken five.

    Digits of two lines have more room between them, and are together much taller than wide, and than others.
    """
    for upper in groups:
        for lower in groups:
            left, top, right, bottom = upper.box
            other_left, other_top, other_right, other_bottom = lower.box
            height = max(bottom, other_bottom) - min(top, other_top)
            shared = min(right, other_right) - max(left, other_left)
            is_below = other_top > top + 0.5 * upper.height
            is_close = other_top - bottom < _STACKED_GAP * height
            if not is_below or not is_close or shared <= 0.3 * min(right - left, other_right - other_left):
                continue
            rest = [group for group in groups if group not in (upper, lower)]
            tallest = max((group.height for group in rest), default=0)
            if height < max(2 * (max(right, other_right) - min(left, other_left)), 1.25 * tallest):
                return stack_halves([*rest, join([upper, lower])])
    return groups


def drop_strangers(groups: list[Piece]) -> list[Piece]:
    """Return the groups that one hand may have written: about as broad, as dark, and not far apart."""
    main = max(groups, key=lambda group: group.length)
    kept = [
        group
        for group in groups
        if 0.3 < group.width / main.width < 3 and group.darkness > 0.4 * main.darkness
    ]
    near = added = {main}
    while added:
        added = {
            group
            for group in kept
            if group not in near and any(gap(group.box, other.box) <= _FAR * main.height for other in added)
        }
        near = near | added
    return [group for group in kept if group in near]


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
