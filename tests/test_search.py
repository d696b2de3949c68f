"""Ink is searched for as paper and light ask for, and what fills a picture is told from shadows and desks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.layout import find_layout, find_pieces
from app.pictures.opening import SMALL, TINY
from app.pictures.page import Page, search_polarities
from app.pictures.search import is_cut_out, shadow_on_ink, split_shade


def cuts_out(density: NDArray[np.float64]) -> bool:
    """Return what `is_cut_out` says of the ink in a picture, given its density."""
    ink = density > 0.25
    _, pieces = find_pieces(ink, density.astype(np.float32))
    return is_cut_out(pieces, ink, (220 * (1 - density)).round().astype(np.uint8)[..., np.newaxis])


def upright(side: int, left: float = 0.4) -> NDArray[np.float64]:
    """Return the density of a bar from the top of a picture to its bottom, a fifth of it wide."""
    density = np.zeros((side, side))
    density[:, round(left * side) : round((left + 0.2) * side)] = 0.7
    return density


@pytest.mark.parametrize(("side", "is_so"), [(TINY, True), (200, True), (SMALL, True), (SMALL + 1, False)])
def test_what_reaches_two_sides_is_cut_out_in_a_small_picture(side: int, is_so: bool) -> None:
    assert cuts_out(upright(side)) is is_so
    assert cuts_out(upright(side).T) is is_so
    assert not cuts_out(upright(side)[:, ::-1] * (np.arange(side)[:, np.newaxis] > 0.1 * side))


def test_a_desk_along_one_side_is_not_cut_out() -> None:
    assert not cuts_out(upright(200, left=0.0))
    assert not cuts_out(upright(200, left=0.8).T)


@pytest.mark.parametrize(("share", "is_so"), [(0.06, True), (0.2, False)])
def test_a_fold_beside_a_digit_is_not_cut_out(share: float, is_so: bool) -> None:
    density = upright(200)
    scrap = round(share * 200)
    density[20 : 20 + scrap, 140 : 140 + scrap // 2] = 0.7
    assert cuts_out(density) is is_so


def test_a_shadow_with_darker_ink_in_it_is_not_cut_out() -> None:
    density = upright(200) / 2
    density[80:140, 90:102] = 0.9
    assert not cuts_out(density)


def test_what_reaches_all_sides_is_cut_out_unless_it_is_broad_or_a_frame() -> None:
    strokes = cv2.polylines(
        np.zeros((500, 500)), [np.array([(250, 9), (9, 250), (250, 490), (490, 250)])], True, 0.7, 20
    )
    assert cuts_out(strokes)
    framed = strokes.copy()
    framed[170:330, 230:270] = 0.7
    assert not cuts_out(framed)
    strokes[250:450, 100:300] = 0.7
    assert not cuts_out(strokes)


@pytest.mark.parametrize("side", [40, 250, 700])
def test_in_light_that_falls_off_in_a_curve_all_of_a_digit_is_found(side: int) -> None:
    y, x = np.indices((side, side)) / side
    light = 1 - 0.45 * (x**2 + y**2)
    width, height, pen = round(0.7 * side), round(0.84 * side), round(0.06 * side)
    middle = side // 2, side // 2
    ring = cv2.ellipse(np.zeros((side, side)), middle, (width // 2, height // 2), 0, 0, 360, 1, pen)
    pixels = (230 * light * (1 - 0.6 * ring)).round().astype(np.uint8)[..., np.newaxis]
    _, found = search_polarities(pixels, Page((side, side)))
    best = max(found, key=lambda one: one.likelihood)
    left, top, right, bottom = best.layout.whole.box
    # The stroke is drawn half inside the ellipse, half outside.
    assert abs(right - left - width - pen) <= 0.06 * side
    assert abs(bottom - top - height - pen) <= 0.06 * side


@pytest.mark.parametrize("light_on_dark", [False, True])
def test_where_paper_is_even_in_one_polarity_the_other_is_less_likely(light_on_dark: bool) -> None:
    # A blurred one from the top to the bottom, and paper at both sides.
    x = np.indices((32, 32))[1]
    grey = np.clip(np.abs(x - 16) / 12.8, 0.3, 1) * 230
    pixels = grey.round().astype(np.uint8)[..., np.newaxis]
    pixels = 255 - pixels if light_on_dark else pixels
    _, found = search_polarities(pixels, Page((32, 32)))
    assert max(found, key=lambda one: one.likelihood).ink.light_on_dark is light_on_dark


def test_what_is_broad_may_be_a_shadow_and_strokes_are_none() -> None:
    ink = np.zeros((150, 200), bool)
    ink[:, :20] = True
    ink[60:140, 130:180] = True
    ink[40:50, 60:120] = True
    shade, strokes = split_shade(ink)
    assert shade[:, :20].all()
    assert shade[75:125, 130:180].all()
    assert strokes[40:50, 60:120].all()
    np.testing.assert_array_equal(shade ^ strokes, ink)
    shade, strokes = split_shade(ink & (np.arange(200) < 125) & (np.arange(200) >= 20))
    assert not shade.any()


@pytest.mark.parametrize(("darkness", "ink", "expected"), [(0.36, 1, 0.36), (1, 1.7, 1), (0, 1, 0)])
def test_a_broad_soft_shadow_is_told_from_the_ink_in_it(darkness: float, ink: float, expected: float) -> None:
    shadow = np.zeros((600, 600), np.float32)
    shadow[200:, 80:380] = darkness
    ring = cv2.ellipse(np.zeros((600, 600), np.float32), (240, 400), (80, 110), 0, 0, 360, ink, 14)
    density = np.maximum(cv2.GaussianBlur(shadow, (0, 0), 14), ring)
    layout = find_layout(density > 0.25, density, 0.15)
    assert shadow_on_ink(layout, density) == pytest.approx(expected, abs=0.03)


def test_a_blurred_digit_is_no_shadow_on_ink() -> None:
    stroke = cv2.line(np.zeros((300, 300), np.float32), (150, 60), (140, 240), 1, 30)
    density = cv2.GaussianBlur(stroke, (0, 0), 12)
    density /= density.max()
    assert shadow_on_ink(find_layout(density > 0.25, density, 0.15), density) == 0
