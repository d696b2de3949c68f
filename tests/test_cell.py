"""The lines of a table around a digit, and what only looks like them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.pictures.cell import without_cell_lines


@pytest.mark.parametrize("style", ["dashed", "broken", "double"])
def test_the_lines_of_a_cell_need_not_be_whole(style: str) -> None:
    digit = np.zeros((140, 160), np.float32)
    cv2.circle(digit, (80, 70), 25, 1, 6)
    for near in (6, 16) if style == "double" else (6,):
        for turns in range(4):
            line = np.rot90(digit, turns)[near : near + 4]
            is_ink = (np.arange(line.shape[1]) // 5 % 2 == 0) | (style != "dashed")
            line[:, is_ink] = 1
    if style == "broken":
        digit[:10, 40:70] = 0
        digit[90:110, -10:] = 0
    cleaned, sides = without_cell_lines(digit, 0.25)
    assert sides == {0, 1, 2, 3}
    cleaned[40:101, 50:111] = 0
    assert not cleaned.any()


def test_a_stroke_between_the_lines_of_two_sides_is_no_second_line_of_the_third() -> None:
    two = np.zeros((120, 80), np.float32)
    cv2.polylines(two, [np.array([(24, 36), (44, 30), (54, 44), (24, 96), (66, 96)])], False, 1, 6)
    framed = two.copy()
    framed[114:117] = framed[:, 3:6] = framed[:, 8:11] = framed[:, 75:78] = 1
    cleaned, sides = without_cell_lines(framed, 0.25)
    assert sides == {1, 2, 3}
    np.testing.assert_array_equal(cleaned[:, 16:70], two[:, 16:70])


@pytest.mark.parametrize(
    ("at", "crossed", "written", "found"),
    [(24, 2, 0, True), (24, 1, 0, False), (34, 2, 0, False), (24, 2, 1, False)],
    ids=["the next cell's", "one side", "too far", "a digit beyond"],
)
def test_a_line_further_inside_is_one_with_lines_on_both_sides_and_nothing_beyond(
    at: int, crossed: int, written: int, found: bool
) -> None:
    cell = np.zeros((100, 100), np.float32)
    cell[:, at : at + 4] = 1
    for row in (5, 90)[:crossed]:
        cell[row : row + 4] = 1
    cell[35:65, 8:12] = written
    assert (1 in without_cell_lines(np.rot90(cell, 2), 0.25)[1]) is found


def test_the_base_of_a_digit_and_a_shadow_are_no_lines() -> None:
    two = np.zeros((120, 80), np.float32)
    cv2.polylines(two, [np.array([(6, 20), (40, 5), (70, 30), (8, 112), (72, 112)])], False, 1, 8)
    assert without_cell_lines(two, 0.25)[1] == set()
    shadow = np.zeros((300, 240), np.float32)
    shadow[:, 130:] = 1
    assert without_cell_lines(shadow, 0.25)[1] == set()


@pytest.mark.parametrize(("bow", "sides"), [(0, {0}), (8, set())])
def test_a_line_along_a_side_is_straight_and_the_bar_of_a_seven_is_not(bow: int, sides: set[int]) -> None:
    seven = np.zeros((500, 300), np.uint8)
    bar = [(x, 20 + bow * (x - 150) ** 2 // 150**2) for x in range(0, 301, 10)]
    cv2.polylines(seven, [np.array(bar), np.array([(270, 40), (180, 450)])], False, 255, 30)
    assert without_cell_lines((seven / 255).astype(np.float32), 0.25)[1] == sides


@pytest.mark.parametrize(("foot", "sides"), [(119, set()), (100, {0})])
def test_a_bar_from_which_a_stroke_goes_to_the_other_side_is_no_line(foot: int, sides: set[int]) -> None:
    seven = np.zeros((120, 80), np.float32)
    cv2.line(seven, (0, 4), (79, 4), 1, 8)
    cv2.line(seven, (66, 4), (30, foot), 1, 8)
    assert without_cell_lines(seven, 0.25)[1] == sides


@pytest.mark.parametrize("margin", [0, 2])
def test_a_rectangular_zero_is_no_empty_cell(margin: int) -> None:
    zero = np.zeros((90, 60), np.float32)
    cv2.rectangle(zero, (margin + 3, margin + 3), (56 - margin, 86 - margin), 1, 6)
    assert without_cell_lines(zero, 0.25)[1] == set()


def test_what_is_far_from_the_lines_stays_as_it_was() -> None:
    density = np.random.default_rng(0).random((120, 100), np.float32) * np.float32(0.2)
    before = density[40:80, 35:65].copy()
    density[6:9] = density[:, 90:93] = 1
    cleaned, sides = without_cell_lines(density, 0.25)
    assert sides == {0, 1}
    np.testing.assert_array_equal(cleaned[40:80, 35:65], before)
    assert cleaned.max() < 0.25


@pytest.mark.parametrize(
    ("top", "left_end", "is_upon"),
    [(0.65, (0, 0.65), True), (1.05, (12, 0.65), False), (0.65, (40, 0.4), False)],
    ids=["a digit upon it", "a darker line", "a faded line"],
)
def test_a_digit_upon_a_line_is_told_by_the_rest_of_that_and_by_the_other_lines(
    top: float, left_end: tuple[int, float], is_upon: bool
) -> None:
    seven = np.zeros((120, 96), np.float32)
    seven[14:90, 60:70] = 1.05
    if is_upon:
        seven[4:14, 16:80] = 1.05
    framed = seven.copy()
    framed[110:113] = framed[:, 8:11] = framed[:, 84:87] = 0.65
    framed[11:14] = np.maximum(seven[11:14], top)
    across, paler = left_end
    framed[11:14, :across] = paler
    cleaned, sides = without_cell_lines(framed, 0.25)
    assert sides == {0, 1, 2, 3}
    # Bridges round off its corners.
    assert np.count_nonzero((cleaned > 0.25) != (seven > 0.25)) <= 15
