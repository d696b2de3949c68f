"""Tell what is no digit: the lines of a table, underlines, pens, rings, and what lies along the frame."""

from __future__ import annotations

import numpy as np

from app.pictures.opening import SMALL
from app.pictures.pieces import Box, Piece, gap, is_within

# How many times as long as broad a stroke under a digit is at least, and as long as the digit is wide, if it
# underlines it; and how many of the longest strokes may be such digits.
_LONG_LINE, _WIDER_LINE, _MOST_UNDERLINED = 5, 1.35, 20

# A stroke so many of its breadths below a digit underlines it if it is only so many times as long.
_BELOW, _WIDER_BELOW = 1.6, 1.15

# A rod is at least so many times as long as broad, and as the longest bent stroke. That has at least these
# shares of its length, width and darkness, and is apart from it by this share of its own size. Only so many
# of the longest pieces are looked at.
_LONG_ROD, _LONGER_ROD = 8, 2.2
_ROD_LENGTH, _ROD_WIDTH, _ROD_DARKNESS, _APART = 0.2, 0.35, 0.5, 0.25
_MOST_RODS = 20

# A pen that lies in the picture is so many times as long as broad, and so many times as broad as a stroke on
# the paper, which has at least so much of its length, and is at least so large a share of its size.
_LONG_PEN, _BROAD_PEN, _BESIDE_PEN, _SMALL_BESIDE = 5.0, 4.0, 0.3, 0.15

# How much of its box a strip fills.
_FILLED = 0.9

# An upright line of a table has at least this share of what is left of it in the outer tenth of the picture.
_ALONG_FRAME = 0.8

# The box of a cell's upright line is at most so many times as wide as its stroke, and the line goes on beyond
# a digit by this share of its height. One that leans, that is at the side of a picture no wider than tall, or
# that goes on from side to side, is told from a one by being thinner than this share of the digit's stroke. A
# cell is at most so many times as wide as tall: numbers are wider.
_BAR, _OVERSHOOT = 1.3, 0.05
_THIN_BAR, _CELL = 0.75, 1.4

# What lies along the frame of a cell is no digit if it is paler than this share of the digit.
_PALE_BAR = 0.5

# What is left of such a line, or a hair, is thinner than the first share of the digit's stroke, and apart by
# the second of its height. Its middle is so near to a side of the picture, and an end to the top or bottom.
_THIN_REST, _NEAR_REST = 0.5, 0.1
_SIDE, _CORNER = 0.2, 0.15

# A hair is so many times as long as broad at least: a one in fine pen is at most half of that.
_HAIR = 60

# A line in pieces, each so many times as tall as its box is wide, is not further out of line than this share
# of the picture, ends as near to its sides, is drawn in so large a part of it, and is in so many pieces at
# least: two are ones. A line in one piece takes so much of it.
_TALL, _OUT_OF_LINE, _END, _UNBROKEN, _PIECES = 5, 0.01, 0.02, 0.85, 3
_WHOLE = 0.85

# The rings of a pad are smaller than this share of the longest bent piece, in a row so many times as long as
# it, and so many at least, of at most so many small pieces. Their sizes differ by the factor, they are out of
# line by that share of their size, and their middles so many sizes apart.
_SMALL_RING, _LONG_ROW, _LEAST_RINGS, _MOST_RINGS = 0.3, 1.8, 5, 40
_RING_ALIKE, _RING_ASIDE, _RINGS_APART = 1.6, 0.4, 1.3


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


def is_along_frame(piece: Piece) -> bool:
    """Whether a piece lies along a side of the frame; a stroke that the frame cuts meets it in its width.

    A bent one that is larger may be cut along a bow: a three without the lower edge of its foot.
    """
    across = piece.box[2] - piece.box[0]
    is_cut = piece.is_bent and piece.touches == 1 and piece.contact < min(across, piece.height)
    return piece.contact > 3 * piece.touches * piece.width and not is_cut


def is_dark_edge(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece is a strip all along a side of the picture: the dark edge of a scan."""
    left, top, right, bottom = piece.box
    across, down = right - left, bottom - top
    is_whole_side = down == shape[0] if down > across else across == shape[1]
    return piece.touches == 3 and is_whole_side and piece.area > _FILLED * across * down


def is_clutter(piece: Piece, main: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece is no writing: a blob or a speck beside the main stroke, or what the frame cuts off.

    Where the frame cuts off a stroke, it meets it in about the stroke's width, and that is about the main
    stroke's; the edge of a desk, a shadow or the line of a table lies along it.
    """
    if is_around_corner(piece, shape) and not is_around_corner(main, shape):
        return True
    if is_beside_frame(piece, shape) and not is_beside_frame(main, shape):
        # In a wide picture, a one at its end is likelier than the line of a table; in a narrow one less so.
        least = 0.35 if shape[1] > 2 * shape[0] else 0.6 if shape[1] > shape[0] else _THIN_BAR
        is_as_tall = 0.6 * main.height < piece.height < 1.5 * main.height
        if (
            piece.touches
            or not is_as_tall
            or piece.width < least * main.width
            or (piece.darkness < _PALE_BAR * main.darkness and shape[1] < _CELL * shape[0])
            or is_beyond(piece, main, shape)
        ):
            return True
    if is_rest_of_line(piece, main, shape) or is_hair(piece, main):
        return True
    if piece.touches and not main.touches:
        is_alike = 0.6 < piece.side / main.side < 1.6 and 0.5 < piece.width / main.width < 2
        if not is_alike or piece.contact > 3 * main.width:
            return True
    is_blob = not piece.is_stroke and piece.width > 1.8 * main.width
    return is_blob or piece.mass < 0.01 * main.mass


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
    is_thin = piece.is_straight and piece.width < _THIN_BAR * main.width
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
    is_straight = piece.is_straight and bottom - top > 3 * (right - left)
    is_thin = is_straight and piece.width < _THIN_REST * main.width
    more = _OVERSHOOT * main.height
    goes_on_above = top < main.box[1] - more and bottom > main.box[1] and top < _CORNER * height
    goes_on_below = bottom > main.box[3] + more and top < main.box[3] and bottom > (1 - _CORNER) * height
    is_outer = left + right < 2 * _SIDE * width or left + right > 2 * (1 - _SIDE) * width
    is_cell = max(shape) <= SMALL and width < _CELL * height
    is_apart = gap(piece.box, main.box) > _NEAR_REST * main.height
    return is_cell and is_thin and is_outer and is_apart and (goes_on_above or goes_on_below)


def is_hair(piece: Piece, main: Piece) -> bool:
    """Whether a piece is straight and too long for a one so thin, beside a digit in a broader stroke.

    Such is the edge of a strip of paper, or a fold.
    """
    is_thin = piece.width < _THIN_REST * main.width and piece.length > _HAIR * piece.width
    return piece.is_straight and is_thin and gap(piece.box, main.box) > _NEAR_REST * main.height


def is_around_corner(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece follows two or more sides of the picture within its outer tenth: a table's lines."""
    left, top, right, bottom = piece.box
    is_bent = right - left > 0.15 * shape[1] and bottom - top > 0.15 * shape[0]
    return is_bent and piece.outer > 0.9 * piece.area


def find_bars(pieces: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Return the lines beside a digit in a small picture: from side to side of it, or nearly, and thinner.

    They are straight, and the longest bent piece is the digit, which does not go as far.
    """
    digit = next((piece for piece in pieces if piece.is_bent), None)
    if digit is None or max(shape) > SMALL:
        return []
    return [piece for piece in pieces[:_MOST_RODS] if is_bar(piece, digit, shape)]


def is_bar(piece: Piece, digit: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece is a straight line beside a digit that it is longer than, and thinner."""
    is_thin = piece.is_straight and piece.width < _THIN_BAR * digit.width
    upright = goes_on(piece.box, digit.box, shape[0])
    level = goes_on(turned(piece.box), turned(digit.box), shape[1])
    return is_thin and (upright or level) and gap(piece.box, digit.box) > _NEAR_REST * digit.side


def goes_on(box: Box, digit: Box, height: int) -> bool:
    """Whether an upright line goes through most of a picture so tall, and beyond a digit, given the boxes."""
    length = box[3] - box[1]
    least = max(_WHOLE * height, (1 + 2 * _OVERSHOOT) * (digit[3] - digit[1]))
    return length > least and length > _TALL * (box[2] - box[0])


def find_edges(pieces: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Return the pieces of a broken straight line from side to side of a picture that is not small."""
    if max(shape) <= SMALL:
        return []
    height, width = shape
    upright = [piece for piece in pieces[:_MOST_RODS] if is_upright_bar(piece.box, piece)]
    level = [piece for piece in pieces[:_MOST_RODS] if is_upright_bar(turned(piece.box), piece)]
    return [
        *broken_line([(piece, piece.box) for piece in upright], height),
        *broken_line([(piece, turned(piece.box)) for piece in level], width),
    ]


def is_upright_bar(box: Box, piece: Piece) -> bool:
    """Whether a piece is a straight upright stroke, given its box, or that turned."""
    is_tall = box[3] - box[1] > _TALL * (box[2] - box[0])
    return is_tall and piece.is_straight and piece.length > _LONG_ROD * piece.width


def turned(box: Box) -> Box:
    """Return a box in the picture turned about its diagonal."""
    left, top, right, bottom = box
    return top, left, bottom, right


def broken_line(bars: list[tuple[Piece, Box]], height: int) -> list[Piece]:
    """Return those of several upright bars, longest first, that are one line of a picture so tall, if any."""
    for piece, (left, top, right, bottom) in bars:
        half = piece.width / 2
        for first, last in ((left + half, right - half), (right - half, left + half)):
            slope = (last - first) / (bottom - top)
            own = [
                (other, box)
                for other, box in bars
                if abs((box[0] + box[2]) / 2 - first - slope * ((box[1] + box[3]) / 2 - top))
                <= 2 * half + _OUT_OF_LINE * height
            ]
            begin, end = min(box[1] for _, box in own), max(box[3] for _, box in own)
            drawn = sum(box[3] - box[1] for _, box in own)
            is_across = begin <= _END * height and end >= (1 - _END) * height
            if len(own) >= _PIECES and is_across and drawn > _UNBROKEN * height:
                return [other for other, _ in own]
    return []


def find_rings(pieces: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Return the small alike pieces in a long straight row in a picture that is not small: a pad's rings.

    They are apart from one another, and in nothing that is drawn around them.
    """
    digit = next((piece for piece in pieces[:_MOST_RODS] if piece.is_bent), None)
    if digit is None or max(shape) <= SMALL:
        return []
    small = [piece for piece in pieces if piece.side < _SMALL_RING * digit.side][:_MOST_RINGS]
    small = [piece for piece in small if not any(is_within(piece, outer) for outer in pieces[:_MOST_RODS])]
    if not small:
        return []
    usual = float(np.median([piece.side for piece in small[: 2 * _LEAST_RINGS]]))
    alike = [piece for piece in small if usual / _RING_ALIKE < piece.side < _RING_ALIKE * usual]
    if len(alike) < _LEAST_RINGS:
        return []
    boxes = np.array([piece.box for piece in alike], np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    # Through each pair of them goes a line; that row is looked at which has the most.
    first, last = np.triu_indices(len(alike), 1)
    ways = centres[last] - centres[first]
    ways /= np.maximum(1.0, np.hypot(*ways.T))[:, np.newaxis]
    across, down = np.moveaxis(centres[np.newaxis] - centres[first, np.newaxis], -1, 0)
    aside = np.abs(across * ways[:, 1:] - down * ways[:, :1])
    are_in_row = aside <= _RING_ASIDE * usual
    row = int(np.argmax(are_in_row.sum(axis=1)))
    places = np.sort((centres @ ways[row])[are_in_row[row]])
    is_long = len(places) >= _LEAST_RINGS and places[-1] - places[0] > _LONG_ROW * digit.side
    if not is_long or np.median(np.diff(places)) < _RINGS_APART * usual:
        return []
    return [piece for piece, is_so in zip(alike, are_in_row[row]) if is_so]


def find_underlines(pieces: list[Piece]) -> list[Piece]:
    """Return the pieces that underline others."""
    digits = pieces[:_MOST_UNDERLINED]
    return [piece for piece in pieces if is_level(piece) and any(is_under(piece, digit) for digit in digits)]


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


def find_broad(pieces: list[Piece], main: Piece) -> tuple[int, ...]:
    """Return the numbers of all pieces far broader than a bent stroke, if the main one may be a pen.

    A pen is long, and cut by the frame or no bent stroke, as most digits in felt pen are. What is bent is
    inside the picture and long enough to be a digit of its own: small print is not. It is the longest such.
    """
    strokes = [
        piece
        for piece in pieces[:_MOST_RODS]
        if piece.is_bent and not piece.touches and main.width > _BROAD_PEN * piece.width
        if piece.length > _BESIDE_PEN * main.length and piece.side > _SMALL_BESIDE * main.side
    ]
    may_be_pen = main.length > _LONG_PEN * main.width and (main.touches or not main.is_bent)
    if not strokes or not may_be_pen:
        return ()
    least = _BROAD_PEN * strokes[0].width
    return tuple(label for piece in pieces if piece.width > least for label in piece.labels)


def find_rods(pieces: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Return the straight strokes far too long to be of one hand with the longest bent one: pens.

    `pieces` are sorted, longest first. In a small picture only those are pens that the frame cuts: others may
    be ones, and the bent stroke a letter that is printed beside.
    """
    longest = pieces[:_MOST_RODS]
    digit = next((piece for piece in longest if piece.is_bent), None)
    if digit is None:
        return []
    may_be = [piece for piece in longest if piece.touches or max(shape) > SMALL]
    return [piece for piece in may_be if is_rod(piece, digit)]


def is_rod(piece: Piece, digit: Piece) -> bool:
    """Whether a piece is a straight stroke of another size than a digit, but as dark and not much broader."""
    is_straight = piece.is_straight and piece.length > _LONG_ROD * piece.width
    is_alike = digit.width > _ROD_WIDTH * piece.width and digit.darkness > _ROD_DARKNESS * piece.darkness
    is_longer = piece.side > _LONGER_ROD * digit.side and digit.length > _ROD_LENGTH * piece.length
    return is_straight and is_alike and is_longer and gap(piece.box, digit.box) > _APART * digit.side
