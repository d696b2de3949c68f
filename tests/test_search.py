"""Ink is searched for as paper and light ask for, and what fills a picture is told from shadows and desks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.ink import find_ink
from app.pictures.judge import find_scrap
from app.pictures.layout import find_layout, find_pieces
from app.pictures.opening import SMALL, TINY
from app.pictures.page import Page, search_polarities, search_sheet
from app.pictures.search import darker_ink, is_cut_out, search, shadow_on_ink, split_shade


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
    found = search_polarities(pixels, Page((side, side)))
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
    found = search_polarities(pixels, Page((32, 32)))
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


@pytest.mark.parametrize(("side", "lines", "pen"), [(50, 4, 22), (200, 4, 22), (500, 4, 22), (500, 13, 8)])
def test_a_digit_on_faint_slanting_lines_is_found_without_them(side: int, lines: int, pen: int) -> None:
    # Steeper than any line that is looked for, and from side to side.
    density = np.zeros((500, 500), np.float32)
    for row in np.linspace(-150, 650, lines).round().astype(int):
        cv2.line(density, (0, row - 150), (499, row + 150), 0.3, 5)
    digit = cv2.polylines(np.zeros((500, 500), np.float32), [2 * ZIGZAG[0] - (80, 50)], False, 0.8, pen)
    grey = 230 * (1 - cv2.resize(np.maximum(density, digit), (side, side), interpolation=cv2.INTER_AREA))
    pixels = grey.round().astype(np.uint8)[..., np.newaxis]
    best = max(search_sheet(pixels, Page((side, side))), key=lambda one: one.likelihood)
    rows, columns = np.nonzero(cv2.resize(digit, (side, side), interpolation=cv2.INTER_AREA) > 0.3)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert np.abs(np.subtract(best.layout.whole.box, expected)).max() <= 2
    # Where lines are most of the ink, full ink is not theirs.
    assert np.median(best.density[best.density > 0.5]) == pytest.approx(1, abs=0.1)


def test_a_digit_on_lines_that_run_into_the_desk_on_both_sides_is_found() -> None:
    density = np.zeros((500, 600), np.float32)
    cv2.line(density, (0, 300), (599, 200), 0.3, 3)
    digit = cv2.polylines(np.zeros_like(density), [2 * ZIGZAG[0] - (10, 50)], False, 0.65, 12)
    density = np.maximum(density, digit)
    density[:, :70] = density[:, 530:] = 0.85
    pixels = (230 * (1 - density)).round().astype(np.uint8)[..., np.newaxis]
    ink = find_ink(pixels, light_on_dark=False, reach=None)
    rows, columns = np.nonzero(digit)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    boxes = [one.layout.main.box for one in search(ink, pixels, 0.4, Page((600, 500)))]
    assert min(np.abs(np.subtract(box, expected)).max() for box in boxes) <= 3


def test_the_broad_part_of_a_digit_cut_out_in_sloping_light_is_no_desk() -> None:
    density = np.zeros((24, 24))
    density[:4, 3:21] = density[:21, 16:21] = 0.9
    light = np.linspace(255, 215, 24)[:, np.newaxis]
    pixels = (light * (1 - density)).round().astype(np.uint8)[..., np.newaxis]
    assert all(one.layout.whole.box[0] <= 3 for one in search_sheet(pixels, Page((24, 24))))


def test_a_digit_cut_out_with_a_faint_line_across_it_is_found_without_the_line() -> None:
    seven = cv2.polylines(np.zeros((64, 64)), [np.array([(16, 12), (50, 12), (36, 48)])], False, 0.85, 5)
    density = np.maximum(seven, cv2.line(np.zeros((64, 64)), (0, 13), (63, 13), 0.4))
    pixels = (235 * (1 - density)).round().astype(np.uint8)[..., np.newaxis]
    boxes = [one.layout.whole.box for one in search_sheet(pixels, Page((64, 64)))]
    rows, columns = np.nonzero(seven)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert min(np.abs(np.subtract(box, expected)).max() for box in boxes) <= 2


QUADRANGLE = np.array([(90, 70), (420, 40), (460, 330), (60, 380)])


@pytest.mark.parametrize(
    ("name", "is_so"),
    [
        ("paper", True),
        ("blank", True),
        ("ring", False),
        ("small", False),
        ("dented", False),
        ("filled", False),
        ("two", False),
    ],
)
def test_a_scrap_of_paper_that_passes_for_ink_is_found(name: str, is_so: bool) -> None:
    density = np.zeros((450, 1000), np.float32)
    corners = QUADRANGLE // 6 if name == "small" else QUADRANGLE
    corners = np.insert(corners, 2, (250, 200), axis=0) if name == "dented" else corners
    cv2.fillPoly(density, [corners], 1)
    if name == "ring":
        cv2.ellipse(density, (260, 200), (130, 110), 0, 0, 360, 0, -1)
    elif name != "blank":
        cv2.polylines(density, [corners.min(axis=0) + ZIGZAG[0]], False, 0, 9)
    density[50:380, 600:800] = float(name == "two")
    is_ink = cv2.erode(density, np.ones((9, 9))) < density if name == "filled" else density > 0
    scrap = find_scrap(find_layout(density > 0, density, 0.4), is_ink)
    assert (scrap is not None) is is_so
    if scrap is not None:
        np.testing.assert_array_equal(scrap, cv2.fillPoly(np.zeros((450, 1000)), [QUADRANGLE], 1) > 0)
