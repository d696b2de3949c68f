"""Boxes and circles drawn round digits are told from zeros."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.layouts import Picture, boxes_of, lay_out, write_four


@pytest.mark.parametrize(("width", "boxes"), [(5, 1), (17, 1), (26, 0)])
def test_a_box_around_digits_has_thin_lines(width: int, boxes: int) -> None:
    picture = np.zeros((400, 600), np.uint8)
    cv2.rectangle(picture, (60, 100), (400, 220), 255, width)
    cv2.ellipse(picture, (230, 160), (60, 40), 0, 40, 320, 255, 6)
    assert len(lay_out(picture).boxes) == boxes


@pytest.mark.parametrize(("gap", "boxes"), [(2, 0), (10, 0), (30, 1)])
def test_a_zero_with_what_is_left_of_a_line_in_it_is_no_box(gap: int, boxes: int) -> None:
    picture = np.zeros((400, 400), np.uint8)
    cv2.ellipse(picture, (200, 200), (90, 120), 0, 0, 360, 255, 14)
    cv2.line(picture, (117 + gap + 4, 203), (283 - gap - 4, 197), 140, 4)
    layout = lay_out(picture)
    assert len(layout.boxes) == boxes
    assert (layout.main.side > 200) == (boxes == 0)


@pytest.mark.parametrize(("outside", "boxes"), [(1, 1), (3, 0)])
def test_a_box_counts_if_most_of_the_writing_is_in_it(outside: int, boxes: int) -> None:
    picture = np.zeros((400, 700), np.uint8)
    cv2.rectangle(picture, (40, 100), (240, 300), 255, 5)
    write_four(picture, 90, 140, 120, 8)
    for column in range(outside):
        write_four(picture, 290 + column * 130, 140, 100, 8)
    layout = lay_out(picture)
    assert len(layout.boxes) == boxes
    assert [len(line) for line in layout.lines] == [1 + outside]


@pytest.mark.parametrize(("shade", "boxes"), [(255, 1), (130, 0)])
def test_a_rim_much_paler_than_what_is_in_it_is_no_box(shade: int, boxes: int) -> None:
    picture = np.zeros((300, 400), np.uint8)
    cv2.ellipse(picture, (140, 120), (44, 72), 8, 0, 360, shade, 6)
    cv2.line(picture, (132, 80), (144, 164), 255, 16)
    assert len(lay_out(picture).boxes) == boxes


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
    assert len(layout.boxes) == boxes
    if boxes:
        assert boxes_of(layout) == [[(106, 86, 211, 215)]]


@pytest.mark.parametrize(("slash", "boxes"), [(8, 0), (12, 1)])
def test_a_zero_of_a_dry_pen_that_is_crossed_is_no_dashed_box(slash: int, boxes: int) -> None:
    picture = np.zeros((300, 300), np.uint8)
    for start in range(0, 360, 30):
        cv2.ellipse(picture, (150, 150), (70, 100), 0, start, start + 20, 255, 8)
    cv2.line(picture, (175, 90), (125, 210), 255, slash)
    assert len(lay_out(picture).boxes) == boxes


@pytest.mark.parametrize("lean", [0, 12])
@pytest.mark.parametrize("turns", range(4))
def test_two_lines_of_a_box_that_meet_are_one_if_there_is_a_digit_in_the_corner(
    turns: int, lean: int
) -> None:
    picture = np.zeros((200, 200), np.uint8)
    cv2.polylines(picture, [np.array([(20 + lean, 180), (20, 20), (180, 20 + lean)])], False, 255, 4)
    picture = np.ascontiguousarray(np.rot90(picture, turns))
    write_four(picture, 65, 60, 80, 8)
    layout = lay_out(picture)
    assert len(layout.boxes) == 1
    assert boxes_of(layout) == [[(61, 56, 134, 145)]]


@pytest.mark.parametrize(
    ("points", "inside"),
    [([(30, 40), (90, 40), (60, 180)], 52), ([(100, 20), (40, 60), (40, 140), (100, 180)], 74)],
    ids=["a seven", "an open zero"],
)
def test_a_stroke_that_is_no_corner_is_no_box(points: list[tuple[int, int]], inside: int) -> None:
    picture = np.zeros((200, 260), np.uint8)
    cv2.polylines(picture, [np.array(points)], False, 255, 8)
    cv2.line(picture, (inside, 85), (inside, 145), 255, 12)
    assert len(lay_out(picture).boxes) == 0


def test_an_open_four_is_no_corner_of_a_box() -> None:
    picture = np.zeros((260, 260), np.uint8)
    cv2.polylines(picture, [np.array([(60, 40), (60, 200), (190, 200)])], False, 255, 8)
    cv2.line(picture, (130, 60), (128, 185), 255, 8)
    assert lay_out(picture).boxes == ()
