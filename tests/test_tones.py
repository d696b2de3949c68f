"""Dark ink is told from paler ink that it lies upon, and a dry pen from both."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.layout import find_layout
from app.pictures.tones import darker_ink, ink_upon_lines
from tests.paper import ZIGZAG


def on_lines(pale: float, ends: tuple[tuple[int, int], tuple[int, int]]) -> NDArray[np.float32]:
    """Return the density of a dark stroke on a paler straight line."""
    density = cv2.line(np.zeros((300, 300), np.float32), *ends, pale, 5)
    return np.maximum(density, cv2.polylines(np.zeros_like(density), ZIGZAG, False, 1, 9))


@pytest.mark.parametrize("ends", [((0, 260), (299, 60)), ((60, 215), (260, 80))])
def test_dark_strokes_on_paler_ones_are_told_from_them(ends: tuple[tuple[int, int], tuple[int, int]]) -> None:
    stroke = on_lines(0, ends) > 0
    density = on_lines(0.45, ends)
    darker = darker_ink(find_layout(density > 0.25, density, 0.4), density, 0.05)
    assert darker is not None
    np.testing.assert_array_equal(darker.density[stroke], density[stroke])
    assert not darker.density[cv2.dilate(stroke.astype(np.uint8), np.ones((5, 5))) == 0].any()
    dark = on_lines(0.75, ends)
    assert darker_ink(find_layout(dark > 0.25, dark, 0.4), dark, 0.05) is None


def test_strokes_that_a_dry_pen_leaves_pale_in_places_stay() -> None:
    density = on_lines(0, ((0, 0), (1, 1)))
    density[:, 150:170] *= 0.45
    assert darker_ink(find_layout(density > 0.25, density, 0.4), density, 0.05) is None


def test_a_dark_digit_is_told_from_pale_lines_the_longest_of_which_is_apart() -> None:
    digit = cv2.polylines(np.zeros((300, 900), np.float32), [ZIGZAG[0] + (200, 0)], False, 1, 9)
    lines = cv2.line(np.zeros_like(digit), (0, 60), (899, 20), 0.45, 5)
    density = np.maximum(digit, cv2.line(lines, (0, 170), (450, 140), 0.45, 5))
    darker = darker_ink(find_layout(density > 0.25, density, 0.4), density, 0.05)
    assert darker is not None
    assert not darker.density[:90].any()
    np.testing.assert_array_equal(darker.density[digit > 0], 1)


def test_a_dark_speck_is_not_all_that_counts() -> None:
    density = 0.5 * on_lines(0, ((0, 0), (1, 1)))
    density[190:197, 193:200] = 1
    assert darker_ink(find_layout(density > 0.25, density, 0.4), density, 0.05) is None


@pytest.mark.parametrize("shades", [(1, 0.45), (0.45, 1), (0.45, 1, 0.45)])
@pytest.mark.parametrize("apart", [60, 70, 200])
def test_faint_digits_beside_a_dark_one_stay_though_they_touch(shades: tuple[float, ...], apart: int) -> None:
    density = np.zeros((300, 800), np.float32)
    for number, shade in enumerate(shades):
        stroke = cv2.polylines(np.zeros_like(density), [ZIGZAG[0] + (number * apart, 0)], False, shade, 9)
        density = np.maximum(density, stroke)
    assert darker_ink(find_layout(density > 0.25, density, 0.4), density, 0.05) is None


def on_squares(pale: NDArray[np.float32], crossing: float = 1) -> NDArray[np.float32]:
    """Return the density of squared paper, of lines of that density, steeper than any that are looked for.

    Where two cross, they are darker by the factor `crossing`.
    """
    side = len(pale)
    level, upright = np.zeros((2, side, side), np.uint8)
    for start in range(-side, 2 * side, 15):
        cv2.line(level, (0, start), (side, start + side // 3), 1, 2)
        cv2.line(upright, (start, 0), (start - side // 3, side), 1, 2)
    return pale * np.where(level & upright, crossing, level | upright).astype(np.float32)


def as_ink(side: int) -> NDArray[np.float32]:
    return cv2.polylines(np.zeros((side, side), np.float32), ZIGZAG, False, 1, 4)


@pytest.mark.parametrize("light", [(0.4, 0.4), (0.25, 0.5)])
def test_ink_upon_squared_paper_is_darker_than_the_lines_around(light: tuple[float, float]) -> None:
    pale = np.tile(np.linspace(*light, 400, dtype=np.float32), (400, 1))
    digit = 2 * pale * as_ink(400)
    density = np.maximum(digit, on_squares(pale))
    upon = ink_upon_lines(density, 0.1)
    assert upon is not None
    np.testing.assert_allclose(upon.density[digit > 0] * upon.full, density[digit > 0], rtol=1e-5)
    is_near = cv2.dilate((digit > 0).astype(np.uint8), np.ones((7, 7))) > 0
    assert not upon.density[~is_near].any()


def test_where_two_of_the_lines_cross_is_nothing_upon_them() -> None:
    squares = on_squares(np.full((400, 400), 0.3, np.float32), crossing=3)
    digit = as_ink(400)
    upon = ink_upon_lines(np.maximum(digit, squares), 0.1)
    assert upon is not None
    assert not upon.density[cv2.dilate(digit, np.ones((15, 15))) == 0].any()
    assert ink_upon_lines(squares, 0.1) is None


@pytest.mark.parametrize("thickness", [4, 12, 30])
def test_much_ink_upon_lines_is_told_from_them_too(thickness: int) -> None:
    # The more of the strokes are those of a digit, the less does the median tell of the lines.
    density = np.zeros((400, 400), np.float32)
    for place in (60, 200, 340):
        cv2.line(density, (0, place), (399, place + 30), 0.5, 2)
        cv2.line(density, (place, 0), (place - 30, 399), 0.5, 2)
    grain = np.random.default_rng(0).uniform(0.5, 1.3, density.shape)
    digit = cv2.polylines(np.zeros_like(density), [3 * ZIGZAG[0] - (280, 250)], False, 1, thickness) * grain
    upon = ink_upon_lines(np.maximum(density, digit).astype(np.float32), 0.1)
    assert upon is not None
    assert (upon.density[digit > 0] > 0).mean() > 0.95
    assert not upon.density[cv2.dilate(digit, np.ones((9, 9))) == 0].any()


@pytest.mark.parametrize(("count", "is_ink"), [(5, True), (10, False)])
def test_grain_upon_lines_is_no_ink(count: int, is_ink: bool) -> None:
    density = on_squares(np.full((400, 400), 0.3, np.float32))
    for x, y in itertools.product(np.linspace(30, 370, count).round().astype(int).tolist(), repeat=2):
        cv2.line(density, (x - 8, y - 8), (x + 8, y + 8), 1, 3)
    assert (ink_upon_lines(density, 0.1) is not None) == is_ink


def test_ink_hardly_darker_than_the_lines_is_not_told_from_them() -> None:
    density = np.maximum(as_ink(400), on_squares(np.full((400, 400), 0.75, np.float32)))
    assert ink_upon_lines(density, 0.1) is None


def test_pale_ink_beside_dark_ink_is_not_of_the_paper() -> None:
    density = as_ink(400)
    density[200:] = 0.4 * density[100:300]
    density = np.maximum(density, 0.4 * as_ink(400)[:, ::-1])
    assert ink_upon_lines(density, 0.1) is None
    assert ink_upon_lines(np.zeros((400, 400), np.float32), 0.1) is None
