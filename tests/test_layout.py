"""Ink is sorted into digits, lines and clutter, whatever a network may read in it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.judge import without_ghosts
from app.pictures.layout import Box, Layout, find_layout
from app.pictures.opening import SMALL

Picture = NDArray[np.uint8]


def lay_out(picture: Picture) -> Layout:
    """Return the layout of white ink on black."""
    return find_layout(picture > 127, (picture / 255).astype(np.float32), 0.15)


def boxes_of(layout: Layout) -> list[list[Box]]:
    return [[piece.box for piece in line] for line in layout.lines]


def write_four(picture: Picture, x: int, y: int, side: int, width: int) -> None:
    """Write a four, so tall and nearly as wide, whose stroke never leaves the paper."""
    nodes = [(0, 0), (0, side * 3 // 5), (side * 4 // 5, side * 3 // 5), (side * 4 // 5, 0)]
    cv2.polylines(picture, [np.add([*nodes, (side * 4 // 5, side)], (x, y))], False, 255, width)


@pytest.mark.parametrize("between", [30, 60])
def test_lines_of_a_thick_pen_stay_apart_and_so_do_their_digits(between: int) -> None:
    picture = np.zeros((500, 700), np.uint8)
    for row in range(2):
        for column in range(4):
            write_four(picture, 60 + column * 104, 60 + row * (118 + between), 100, 18)
    assert [len(line) for line in lay_out(picture).lines] == [4, 4]


def test_the_scraps_of_a_desk_along_the_frame_do_not_tell_how_tall_digits_are() -> None:
    picture = np.zeros((500, 660), np.uint8)
    for column in range(4):
        write_four(picture, 100 + column * 69, 310, 74, 5)
    # Pale ink beside black.
    picture[picture > 0] = 130
    cv2.line(picture, (505, 484), (659, 486), 255, 2)
    assert [len(line) for line in lay_out(picture).lines] == [4]


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
    [((90, 185), 3, 200, 1), ((90, 185), 7, 200, 2), ((90, 160), 3, 200, 2), ((90, 185), 3, 320, 2)],
)
def test_what_is_left_of_the_line_of_a_cell_is_thin_and_goes_on_beyond_the_digit(
    ends: tuple[int, int], pen: int, across: int, count: int
) -> None:
    picture = np.zeros((200, across), np.uint8)
    write_four(picture, 80, 45, 100, 10)
    cv2.line(picture, (32, ends[0]), (34, ends[1]), 255, pen)
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


def test_a_column_of_print_is_no_digit() -> None:
    picture = np.zeros((700, 600), np.uint8)
    write_four(picture, 300, 250, 170, 8)
    for row in range(12):
        write_four(picture, 30, 40 + 50 * row, 20, 4)
        write_four(picture, 60, 40 + 50 * row, 20, 4)
    assert boxes_of(lay_out(picture)) == [[(296, 246, 441, 425)]]


@pytest.mark.parametrize(("width", "boxes"), [(5, 1), (17, 1), (26, 0)])
def test_a_box_around_digits_has_thin_lines(width: int, boxes: int) -> None:
    picture = np.zeros((400, 600), np.uint8)
    cv2.rectangle(picture, (60, 100), (400, 220), 255, width)
    cv2.ellipse(picture, (230, 160), (60, 40), 0, 40, 320, 255, 6)
    assert lay_out(picture).boxes == boxes


def test_the_bar_of_a_five_is_that_of_the_five_below_it_though_a_one_is_nearer() -> None:
    picture = np.zeros((400, 600), np.uint8)
    cv2.line(picture, (195, 122), (195, 268), 255, 10)
    cv2.line(picture, (218, 150), (214, 190), 255, 10)
    cv2.ellipse(picture, (230, 225), (45, 42), 0, -110, 100, 255, 10)
    cv2.line(picture, (214, 128), (272, 122), 255, 10)
    ((one, five),) = boxes_of(lay_out(picture))
    assert one[2] < 205
    assert five[1] < 120


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


@pytest.mark.parametrize(("darkness_around", "pieces"), [(90, 1), (215, 2)], ids=["of a thumb", "itself"])
def test_the_tip_of_a_thumb_is_no_ink(darkness_around: int, pieces: int) -> None:
    tip, digit = np.zeros((2, 300, 400), np.uint8)
    cv2.circle(tip, (60, 150), 48, 255, -1)
    # As if the rest of it were paper.
    tip[:, :85] = 0
    write_four(digit, 180, 110, 90, 10)
    ink = np.maximum(tip, digit)
    picture = np.full_like(ink, 215)
    cv2.circle(picture, (60, 150), 48, darkness_around, -1)
    picture[ink > 0] = 90
    layout = lay_out(ink)
    assert [len(line) for line in layout.lines] == [2]
    assert [len(line) for line in without_ghosts(layout, picture).lines] == [pieces]


def test_a_line_of_print_is_no_digit_and_beads_are_one() -> None:
    picture = np.zeros((500, 500), np.uint8)
    write_four(picture, 200, 250, 100, 9)
    alone = boxes_of(lay_out(picture))
    for row in (60, 100):
        cv2.putText(picture, "reading exercise", (40, row), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 3)
    assert boxes_of(lay_out(picture)) == alone
    beads = np.zeros((500, 500), np.uint8)
    for turn in np.arange(0, 2 * np.pi, 0.2):
        cv2.circle(beads, (round(250 + 70 * np.cos(turn)), round(250 + 100 * np.sin(turn))), 7, 255, -1)
    assert len(lay_out(beads).whole.labels) > 20


@pytest.mark.parametrize(("gap", "boxes"), [(2, 0), (10, 0), (30, 1)])
def test_a_zero_with_what_is_left_of_a_line_in_it_is_no_box(gap: int, boxes: int) -> None:
    picture = np.zeros((400, 400), np.uint8)
    cv2.ellipse(picture, (200, 200), (90, 120), 0, 0, 360, 255, 14)
    cv2.line(picture, (117 + gap + 4, 203), (283 - gap - 4, 197), 140, 4)
    layout = lay_out(picture)
    assert layout.boxes == boxes
    assert (layout.main.side > 200) == (boxes == 0)


@pytest.mark.parametrize(("outside", "boxes"), [(1, 1), (3, 0)])
def test_a_box_counts_if_most_of_the_writing_is_in_it(outside: int, boxes: int) -> None:
    picture = np.zeros((400, 700), np.uint8)
    cv2.rectangle(picture, (40, 100), (240, 300), 255, 5)
    write_four(picture, 90, 140, 120, 8)
    for column in range(outside):
        write_four(picture, 290 + column * 130, 140, 100, 8)
    layout = lay_out(picture)
    assert layout.boxes == boxes
    assert [len(line) for line in layout.lines] == [1 + outside]


def test_digits_with_soft_and_sharp_parts_are_all_ink() -> None:
    picture = np.zeros((300, 600), np.uint8)
    for column in range(3):
        write_four(picture, 60 + column * 170, 80, 120, 14)
    # Out of focus, and paler, towards the right.
    blurred = cv2.GaussianBlur(picture, (0, 0), 5)
    share = np.linspace(0, 1, 600)
    picture = ((1 - 0.6 * share) * ((1 - share) * picture + share * blurred)).astype(np.uint8)
    layout = find_layout(picture > 60, (picture / 255).astype(np.float32), 0.15)
    assert [len(line) for line in layout.lines] == [3]
    assert without_ghosts(layout, 235 - picture // 2) is layout


@pytest.mark.parametrize(("shade", "boxes"), [(255, 1), (130, 0)])
def test_a_rim_much_paler_than_what_is_in_it_is_no_box(shade: int, boxes: int) -> None:
    picture = np.zeros((300, 400), np.uint8)
    cv2.ellipse(picture, (140, 120), (44, 72), 8, 0, 360, shade, 6)
    cv2.line(picture, (132, 80), (144, 164), 255, 16)
    assert lay_out(picture).boxes == boxes


def dash(picture: Picture, corners: list[tuple[int, int]], length: int, pen: int) -> None:
    """Draw dashes from corner to corner, as long as the gaps between them."""
    for start, end in zip(corners, corners[1:]):
        way = np.subtract(end, start)
        count = round(float(np.hypot(*way)) / length)
        for number in range(0, count, 2):
            first, last = np.add(start, way * number / count), np.add(start, way * (number + 1) / count)
            cv2.line(picture, first.astype(int).tolist(), last.astype(int).tolist(), 255, pen)


@pytest.mark.parametrize(
    ("corners", "boxes"),
    [([(60, 40), (240, 44), (236, 260), (56, 256), (60, 40)], 1), ([(60, 40), (240, 44), (236, 260)], 0)],
    ids=["all round", "not all round"],
)
def test_dashes_all_round_a_digit_are_a_box(corners: list[tuple[int, int]], boxes: int) -> None:
    picture = np.zeros((300, 300), np.uint8)
    write_four(picture, 110, 90, 120, 8)
    dash(picture, corners, 12, 4)
    layout = lay_out(picture)
    assert layout.boxes == boxes
    if boxes:
        assert boxes_of(layout) == [[(106, 86, 211, 215)]]


@pytest.mark.parametrize(("slash", "boxes"), [(8, 0), (12, 1)])
def test_a_zero_of_a_dry_pen_that_is_crossed_is_no_dashed_box(slash: int, boxes: int) -> None:
    picture = np.zeros((300, 300), np.uint8)
    for start in range(0, 360, 30):
        cv2.ellipse(picture, (150, 150), (70, 100), 0, start, start + 20, 255, 8)
    cv2.line(picture, (175, 90), (125, 210), 255, slash)
    assert lay_out(picture).boxes == boxes
