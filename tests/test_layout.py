"""Ink is sorted into digits and lines of them, whatever a network may read in it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.pictures.judge import without_ghosts
from app.pictures.layout import find_layout
from tests.layouts import boxes_of, lay_out, write_four


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


def test_a_column_of_print_is_no_digit() -> None:
    picture = np.zeros((700, 600), np.uint8)
    write_four(picture, 300, 250, 170, 8)
    for row in range(12):
        write_four(picture, 30, 40 + 50 * row, 20, 4)
        write_four(picture, 60, 40 + 50 * row, 20, 4)
    assert boxes_of(lay_out(picture)) == [[(296, 246, 441, 425)]]


def test_the_bar_of_a_five_is_that_of_the_five_below_it_though_a_one_is_nearer() -> None:
    picture = np.zeros((400, 600), np.uint8)
    cv2.line(picture, (195, 122), (195, 268), 255, 10)
    cv2.line(picture, (218, 150), (214, 190), 255, 10)
    cv2.ellipse(picture, (230, 225), (45, 42), 0, -110, 100, 255, 10)
    cv2.line(picture, (214, 128), (272, 122), 255, 10)
    ((one, five),) = boxes_of(lay_out(picture))
    assert one[2] < 205
    assert five[1] < 120


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


@pytest.mark.parametrize(
    ("gap", "aside", "beside", "count"),
    [(14, 0, False, 1), (40, 0, False, 2), (14, 30, False, 2), (14, 0, True, 2)],
    ids=["a gap", "lines", "aside", "beside another"],
)
def test_a_one_with_a_gap_is_one(gap: int, aside: int, beside: bool, count: int) -> None:
    picture = np.zeros((400, 400), np.uint8)
    cv2.line(picture, (220, 60), (200, 180), 255, 4)
    cv2.line(picture, (198 - aside, 182 + gap), (178 - aside, 300 + gap), 255, 4)
    if beside:
        cv2.line(picture, (120, 60), (100, 180), 255, 4)
    assert len(lay_out(picture).lines) == count


@pytest.mark.parametrize(
    ("pen", "shade", "height", "count"),
    [
        (14, 255, 100, 2),
        (8, 165, 100, 2),
        (30, 255, 100, 2),
        (14, 255, 50, 2),
        (3, 140, 100, 1),
        (30, 140, 100, 1),
    ],
    ids=["like it", "thinner", "broader", "shorter", "thin and pale", "broad and pale"],
)
def test_a_straight_stroke_beside_a_bent_one_is_a_one_if_it_is_like_it(
    pen: int, shade: int, height: int, count: int
) -> None:
    picture = np.zeros((400, 400), np.uint8)
    write_four(picture, 100, 150, 100, 14)
    cv2.line(picture, (230, 250 - height), (228, 250), shade, pen)
    assert sum(map(len, lay_out(picture).lines)) == count
