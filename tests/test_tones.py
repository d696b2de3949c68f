"""Dark ink is told from paler ink that it lies upon, and a dry pen from both."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.layout import find_layout
from app.pictures.tones import darker_ink

ZIGZAG = [np.array([(130, 110), (190, 100), (140, 200), (200, 195)])]


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
