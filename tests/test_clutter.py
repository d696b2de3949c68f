"""Pens, underlines, and what is left of a table's lines are no digits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.pictures.clutter import find_bars, find_edges, find_rings
from app.pictures.layout import find_layout
from app.pictures.opening import SMALL
from app.pictures.pieces import find_pieces
from tests.layouts import boxes_of, lay_out, write_four


def test_a_pen_across_the_picture_is_no_writing_beside_a_digit() -> None:
    picture = np.zeros((560, 1000), np.uint8)
    write_four(picture, 430, 200, 190, 10)
    alone = boxes_of(lay_out(picture))
    cv2.line(picture, (-50, 40), (1050, 90), 255, 40)
    assert boxes_of(lay_out(picture)) == alone
    upright = np.zeros((1000, 560), np.uint8)
    write_four(upright, 200, 430, 190, 10)
    alone = boxes_of(lay_out(upright))
    cv2.line(upright, (40, -50), (90, 1050), 255, 40)
    assert boxes_of(lay_out(upright)) == alone


def test_a_pen_that_the_frame_cuts_is_none_in_a_small_picture_either() -> None:
    picture = np.zeros((280, 280), np.uint8)
    write_four(picture, 180, 110, 60, 6)
    alone = boxes_of(lay_out(picture))
    cv2.line(picture, (100, 0), (110, 180), 255, 8)
    assert boxes_of(lay_out(picture)) == alone


@pytest.mark.parametrize(("side", "left"), [(SMALL, 96), (SMALL + 200, 177)])
def test_a_long_stroke_beside_a_short_bent_one_is_a_pen_but_in_small_pictures(side: int, left: int) -> None:
    picture = np.zeros((side, side), np.uint8)
    write_four(picture, 180, 110, 60, 6)
    cv2.line(picture, (100, 60), (110, 220), 255, 8)
    assert lay_out(picture).whole.box[0] == left


@pytest.mark.parametrize(("width", "is_pen"), [(80, True), (170, False)], ids=["a pen", "a shadow"])
def test_a_pen_is_long_and_far_broader_than_what_is_written_beside_it(width: int, is_pen: bool) -> None:
    picture = np.zeros((700, 700), np.uint8)
    write_four(picture, 150, 200, 150, 8)
    cv2.line(picture, (450, 120), (500, 600), 255, width)
    layout = lay_out(picture)
    assert bool(layout.broad) is is_pen
    assert set(layout.broad) <= set(layout.main.labels)


@pytest.mark.parametrize("down", [0, 210], ids=["a digit in felt pen", "cut by the frame"])
def test_what_is_bent_is_no_pen_unless_the_frame_cuts_it(down: int) -> None:
    picture = np.zeros((700, 1000), np.uint8)
    write_four(picture, 80, 200, 200, 8)
    write_four(picture, 450, 80 + down, 400, 60)
    layout = lay_out(picture)
    assert layout.main.is_bent
    assert bool(layout.broad) is (down > 0)


@pytest.mark.parametrize(
    ("top", "bottom", "slant", "count"),
    [(20, 170, 0, 1), (45, 170, 0, 2), (20, 145, 0, 2), (38, 152, 0, 2), (20, 170, 8, 2)],
)
def test_an_upright_bar_beside_a_digit_is_the_line_of_a_cell_if_it_goes_on_above_and_below(
    top: int, bottom: int, slant: int, count: int
) -> None:
    picture = np.zeros((200, 200), np.uint8)
    write_four(picture, 70, 40, 110, 8)
    cv2.line(picture, (5, top), (5 + slant, bottom), 255, 6)
    assert sum(map(len, lay_out(picture).lines)) == count


@pytest.mark.parametrize(
    ("ends", "pen", "across", "count"),
    [((5, 20), 6, 200, 1), ((8, 22), 10, 200, 2), ((5, 20), 6, 300, 2), ((5, 40), 6, 200, 2)],
)
def test_the_line_of_a_cell_may_lean_but_is_thin(
    ends: tuple[int, int], pen: int, across: int, count: int
) -> None:
    picture = np.zeros((200, across), np.uint8)
    write_four(picture, 80, 45, 100, 10)
    cv2.line(picture, (ends[0], 32), (ends[1], 165), 255, pen)
    assert sum(map(len, lay_out(picture).lines)) == count


@pytest.mark.parametrize(
    ("ends", "pen", "across", "count"),
    [
        ((90, 185), 3, 200, 1),
        ((90, 185), 7, 200, 2),
        ((90, 160), 3, 200, 2),
        ((90, 185), 3, 290, 2),
    ],
)
def test_what_is_left_of_the_line_of_a_cell_is_thin_and_goes_on_beyond_the_digit(
    ends: tuple[int, int], pen: int, across: int, count: int
) -> None:
    picture = np.zeros((200, across), np.uint8)
    cv2.line(picture, (110, 45), (100, 145), 255, 10)
    cv2.line(picture, (32, ends[0]), (34, ends[1]), 255, pen)
    assert sum(map(len, lay_out(picture).lines)) == count


@pytest.mark.parametrize(("across", "count"), [(150, 1), (215, 2)], ids=["a cell", "a number"])
def test_a_thinner_bar_along_the_side_of_a_tall_picture_is_left_of_a_line(across: int, count: int) -> None:
    picture = np.zeros((200, across), np.uint8)
    write_four(picture, 40, 60, 80, 10)
    cv2.line(picture, (7, 60), (7, 135), 255, 6)
    assert sum(map(len, lay_out(picture).lines)) == count


def test_the_bar_of_a_seven_near_the_top_is_no_line_of_a_cell() -> None:
    picture = np.zeros((200, 200), np.uint8)
    cv2.line(picture, (60, 14), (140, 22), 255, 9)
    cv2.polylines(picture, [np.array([(138, 36), (110, 100), (95, 185)])], False, 255, 9)
    assert [group.box[1] for line in lay_out(picture).lines for group in line] == [9]


@pytest.mark.parametrize("width", [8, 20])
def test_what_the_frame_cuts_is_writing_if_it_is_about_as_broad_as_the_rest(width: int) -> None:
    picture = np.zeros((600, 500), np.uint8)
    write_four(picture, 120, 300, 200, 20)
    cv2.line(picture, (400, 0), (400, 200), 255, width)
    assert len(lay_out(picture).lines) == (2 if width == 20 else 1)


@pytest.mark.parametrize(
    ("gap", "overhang", "lines", "is_underlined"),
    [(20, 12, 1, True), (20, 12, 2, True), (20, 2, 1, False), (12, 24, 1, True), (12, 12, 1, False)],
    ids=["apart", "twice", "apart and hardly wider", "near and wider", "a base line"],
)
def test_a_level_stroke_below_a_digit_underlines_it_if_it_is_apart_or_much_wider(
    gap: int, overhang: int, lines: int, is_underlined: bool
) -> None:
    picture = np.zeros((400, 400), np.uint8)
    cv2.ellipse(picture, (200, 150), (45, 60), 0, 0, 360, 255, 10)
    digit_bottom = 216
    for line in range(lines):
        y = digit_bottom + gap + 5 + 25 * line
        cv2.line(picture, (150 - overhang, y), (250 + overhang, y), 255, 10)
    ((box,),) = boxes_of(lay_out(picture))
    assert (box[3] <= digit_bottom) == is_underlined


@pytest.mark.parametrize(
    ("pen", "length", "count"),
    [(2, 250, 1), (5, 200, 2), (3, 130, 2)],
    ids=["a hair", "a one", "a one in fine pen"],
)
def test_a_straight_line_too_long_for_so_fine_a_pen_is_no_one(pen: int, length: int, count: int) -> None:
    picture = np.zeros((500, 600), np.uint8)
    write_four(picture, 60, 70, 130, 8)
    cv2.line(picture, (240, 40), (242, 40 + length), 255, pen)
    assert sum(map(len, lay_out(picture).lines)) == count


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize(
    ("shift", "first", "side", "count"),
    [(0, 0, 500, 3), (25, 0, 500, 0), (0, 60, 500, 0), (0, 0, 300, 0)],
    ids=["broken", "out of line", "it ends inside", "a small picture"],
)
def test_a_broken_line_from_side_to_side_is_an_edge(
    shift: int, first: int, side: int, count: int, is_turned: bool
) -> None:
    picture = np.zeros((side, side), np.uint8)
    third = side // 3
    for number, (start, end) in enumerate(
        [(first, third), (third + 12, 2 * third), (2 * third + 12, side - 1)]
    ):
        left = 60 + shift * (number == 1)
        cv2.line(picture, (left + start // 50, start), (left + end // 50, end), 255, 6)
    cv2.ellipse(picture, (side // 2 + 50, side // 2), (30, 50), 0, 0, 360, 255, 10)
    picture = np.ascontiguousarray(picture.T) if is_turned else picture
    _, pieces = find_pieces(picture > 0, (picture / 255).astype(np.float32))
    assert len(pieces) == 4
    assert len(find_edges(pieces, picture.shape)) == count


def test_two_ones_in_a_column_are_no_edge() -> None:
    picture = np.zeros((520, 200), np.uint8)
    for top in (4, 275):
        cv2.line(picture, (100, top), (98, top + 240), 255, 8)
    _, pieces = find_pieces(picture > 0, (picture / 255).astype(np.float32))
    assert find_edges(pieces, picture.shape) == []


def test_where_there_is_nothing_but_an_edge_there_is_no_writing() -> None:
    picture = np.zeros((500, 500), np.uint8)
    for start in (0, 180, 340):
        cv2.line(picture, (70, start), (70, start + 150), 255, 5)
    cv2.line(picture, (70, 480), (70, 499), 255, 5)
    assert lay_out(picture).lines == ()


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize(
    ("pen", "top", "side", "count"),
    [(5, 8, 200, 2), (9, 8, 200, 0), (5, 35, 200, 0), (5, 8, 320, 0)],
    ids=["lines", "ones", "as tall as the digit", "in a large picture"],
)
def test_thin_lines_at_both_sides_of_a_digit_are_no_ones(
    pen: int, top: int, side: int, count: int, is_turned: bool
) -> None:
    picture = np.zeros((side, side), np.uint8)
    write_four(picture, 60, 40, side - 90, 10)
    for column in (25, side - 12):
        cv2.line(picture, (column, top), (column, side - top), 255, pen)
    picture = np.ascontiguousarray(picture.T) if is_turned else picture
    _, pieces = find_pieces(picture > 0, (picture / 255).astype(np.float32))
    assert len(pieces) == 3
    assert len(find_bars(pieces, picture.shape)) == count
    if count and not is_turned:
        assert [len(line) for line in lay_out(picture).lines] == [1]


@pytest.mark.parametrize(
    ("shade", "across", "count"),
    [(255, 120, 2), (115, 120, 1), (115, 240, 2)],
    ids=["dark", "pale", "a number"],
)
def test_a_pale_stroke_along_the_frame_of_a_cell_is_no_one(shade: int, across: int, count: int) -> None:
    picture = np.zeros((120, across), np.uint8)
    write_four(picture, across - 90, 30, 60, 6)
    cv2.line(picture, (across - 7, 35), (across - 7, 90), shade, 6)
    layout = find_layout(picture > 60, (picture / 240).astype(np.float32), 0.15)
    assert [len(line) for line in layout.lines] == [count]


@pytest.mark.parametrize(
    ("apart", "size", "last", "count"),
    [(50, 14, 390, 8), (100, 14, 390, 0), (40, 14, 390, 0), (50, 14, 250, 0), (90, 30, 390, 0)],
    ids=["rings", "few", "dashes", "a short row", "large"],
)
def test_a_long_row_of_small_pieces_is_that_of_a_pads_rings(
    apart: int, size: int, last: int, count: int
) -> None:
    picture = np.zeros((400, 400), np.uint8)
    write_four(picture, 150, 150, 130, 10)
    alone = boxes_of(lay_out(picture))
    for left in range(20, last, apart):
        cv2.ellipse(picture, (left, 60), (size // 3, size), 0, 0, 360, 255, 3)
    _, pieces = find_pieces(picture > 0, (picture / 255).astype(np.float32))
    assert len(find_rings(pieces, picture.shape)) == count
    assert len(find_rings(pieces, (300, 300))) == 0
    if count:
        assert boxes_of(lay_out(picture)) == alone
