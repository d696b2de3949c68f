"""Ink is searched for as paper and light ask for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.found import Found, Picture, all_ink, charge_unread
from app.pictures.ink import find_ink
from app.pictures.normalise import ink_box
from app.pictures.page import find_guesses, search_polarities, search_sheet
from app.pictures.search import glance, search, search_all, search_narrow, with_upon_lines
from tests.paper import ZIGZAG, squared_paper


@pytest.mark.parametrize("side", [40, 250, 700])
def test_in_light_that_falls_off_in_a_curve_all_of_a_digit_is_found(side: int) -> None:
    y, x = np.indices((side, side)) / side
    light = 1 - 0.45 * (x**2 + y**2)
    width, height, pen = round(0.7 * side), round(0.84 * side), round(0.06 * side)
    middle = side // 2, side // 2
    ring = cv2.ellipse(np.zeros((side, side)), middle, (width // 2, height // 2), 0, 0, 360, 1, pen)
    pixels = (230 * light * (1 - 0.6 * ring)).round().astype(np.uint8)[..., np.newaxis]
    found = search_polarities(Picture(pixels, (side, side)))
    best = max(found, key=lambda one: one.likelihood)
    left, top, right, bottom = best.layout.whole.box
    # The stroke is drawn half inside the ellipse, half outside.
    assert abs(right - left - width - pen) <= 0.06 * side
    assert abs(bottom - top - height - pen) <= 0.06 * side


@pytest.mark.parametrize("is_shaded", [False, True])
def test_in_light_that_falls_off_in_a_curve_no_more_is_searched_unless_there_may_be_a_shadow(
    is_shaded: bool,
) -> None:
    y, x = np.indices((500, 700)) / 700
    light = 1 - 0.6 * (x**2 + y**2)
    if is_shaded:
        light[:, 500:620] *= 0.6
    ink = cv2.polylines(np.zeros((500, 700)), ZIGZAG, False, 0.7, 6)
    pixels = (230 * light * (1 - ink)).round().astype(np.uint8)[..., np.newaxis]
    found = search_polarities(Picture(pixels, (700, 500)))
    assert all(one.ink.is_even for one in found) is not is_shaded
    best = max(found, key=lambda one: one.likelihood)
    np.testing.assert_allclose(best.layout.whole.box, (127, 97, 204, 204), atol=4)


def chalkboard(light_on_dark: bool, dust: float) -> Picture:
    """Return a stroke in chalk on a board whose dust has that deviation, or all tones reversed."""
    rng = np.random.default_rng(0)
    clouds = cv2.GaussianBlur(rng.normal(size=(500, 700)), None, 3)
    chalk = cv2.polylines(np.zeros((500, 700)), ZIGZAG, False, 1.0, 8)
    grey = 70 + dust * clouds / clouds.std() + 120 * chalk + rng.normal(0, 3, chalk.shape)
    pixels = np.clip(grey, 0, 255).round().astype(np.uint8)[..., np.newaxis]
    return Picture(pixels if light_on_dark else 255 - pixels, (700, 500))


def count_inks(found: list[Found], light_on_dark: bool) -> int:
    """Return in how many ways the paper under what was found, of one polarity, was told."""
    return len({id(one.ink) for one in found if one.ink.light_on_dark is light_on_dark})


@pytest.mark.parametrize("light_on_dark", [False, True])
def test_a_glance_tells_the_polarity_of_writing(light_on_dark: bool) -> None:
    picture = chalkboard(light_on_dark, dust=10)
    other = glance(picture.fine, not light_on_dark, picture)
    assert glance(picture.fine, light_on_dark, picture) > other


def test_a_dark_picture_is_searched_in_full_in_the_likelier_polarity_alone() -> None:
    picture = chalkboard(True, dust=10)
    found = search_polarities(picture)
    for light_on_dark, is_in_full in ((False, False), (True, True)):
        full = search_all(picture.fine, light_on_dark, False, picture)
        assert (count_inks(found, light_on_dark) == count_inks(full, light_on_dark)) is is_in_full


@pytest.mark.parametrize(
    ("dust", "other", "count"),
    [(10, -0.5, 1), (2, 0.0, 1), (10, -0.7, 4), (2, -0.7, 2)],
    ids=["hopeless", "far behind", "hopeless beside what is unlikely", "far behind what is unlikely"],
)
def test_ink_is_searched_no_further_than_it_keeps_up_with_that_of_the_other_polarity(
    dust: float, other: float, count: int
) -> None:
    picture = chalkboard(True, dust)
    assert count_inks(search_narrow(picture.fine, False, picture, other), False) == count


@pytest.mark.parametrize("light_on_dark", [False, True])
def test_where_paper_is_even_in_one_polarity_the_other_is_less_likely(light_on_dark: bool) -> None:
    # A blurred one from the top to the bottom, and paper at both sides.
    x = np.indices((32, 32))[1]
    grey = np.clip(np.abs(x - 16) / 12.8, 0.3, 1) * 230
    pixels = grey.round().astype(np.uint8)[..., np.newaxis]
    pixels = 255 - pixels if light_on_dark else pixels
    found = search_polarities(Picture(pixels, (32, 32)))
    assert max(found, key=lambda one: one.likelihood).ink.light_on_dark is light_on_dark


@pytest.mark.parametrize(("side", "lines", "pen"), [(50, 4, 22), (200, 4, 22), (500, 4, 22), (500, 13, 8)])
def test_a_digit_on_faint_slanting_lines_is_found_without_them(side: int, lines: int, pen: int) -> None:
    # Steeper than any line that is looked for, and from side to side.
    density = np.zeros((500, 500), np.float32)
    for row in np.linspace(-150, 650, lines).round().astype(int):
        cv2.line(density, (0, row - 150), (499, row + 150), 0.3, 5)
    digit = cv2.polylines(np.zeros((500, 500), np.float32), [2 * ZIGZAG[0] - (80, 50)], False, 0.8, pen)
    grey = 230 * (1 - cv2.resize(np.maximum(density, digit), (side, side), interpolation=cv2.INTER_AREA))
    pixels = grey.round().astype(np.uint8)[..., np.newaxis]
    best = max(search_sheet(Picture(pixels, (side, side))), key=lambda one: one.likelihood)
    rows, columns = np.nonzero(cv2.resize(digit, (side, side), interpolation=cv2.INTER_AREA) > 0.3)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert np.abs(np.subtract(best.layout.whole.box, expected)).max() <= 2
    # Where lines are most of the ink, full ink is not theirs.
    assert np.median(best.density[best.density > 0.5]) == pytest.approx(1, abs=0.1)


def search_paper(density: NDArray[np.float32]) -> list[Found]:
    grey = 230 * (1 - cv2.GaussianBlur(density, (0, 0), 0.7))
    pixels = grey.round().astype(np.uint8)[..., np.newaxis]
    return search_sheet(Picture(pixels, density.shape[::-1]))


@pytest.mark.parametrize("side", [120, 240, 500])
def test_a_digit_on_slanting_lines_of_another_colour_is_found_without_them(side: int) -> None:
    # As dark as the digit, steeper than any line that is looked for.
    lines = squared_paper((500, 500), 60, 0.4, 1, 8).astype(np.float32)
    digit = cv2.polylines(np.zeros((500, 500), np.float32), [2 * ZIGZAG[0] - (80, 50)], False, 1, 20)
    red, pencil = np.array((0.05, 0.65, 0.55), np.float32), np.float32(0.4)
    missing = 1 - (1 - lines[..., np.newaxis] * red) * (1 - digit[..., np.newaxis] * pencil)
    pixels = (
        cv2.resize(230 * (1 - missing), (side, side), interpolation=cv2.INTER_AREA).round().astype(np.uint8)
    )
    best = max(search_sheet(Picture(pixels, (side, side))), key=lambda one: one.likelihood)
    assert best.leaves_lines
    # The edges of the lines are not the paper's grain.
    assert best.likelihood > -0.5
    expected = np.array(cv2.boundingRect((digit > 0).astype(np.uint8))) * side / 500
    left, top, right, bottom = best.layout.whole.box
    np.testing.assert_allclose((left, top, right - left, bottom - top), expected, atol=0.02 * side)


def test_the_lines_that_a_digit_is_written_upon_are_not_charged_to_it() -> None:
    density = 0.25 * squared_paper((500, 500), 20, 0.3, 1, 2).astype(np.float32)
    found = search_paper(np.maximum(density, cv2.polylines(0 * density, ZIGZAG, False, 0.8, 6)))
    best = max(found, key=lambda one: one.likelihood)
    assert best.leaves_lines
    assert best.layout.whole.side < 120
    assert charge_unread(best, all_ink(best)).likelihood == best.likelihood
    charged = charge_unread(best._replace(leaves_lines=False), all_ink(best))
    assert charged.likelihood < best.likelihood - 1


@pytest.mark.parametrize(("shrunk", "is_found"), [(1, True), (3, False)], ids=["a pen", "print beside felt"])
def test_what_is_written_beside_a_far_broader_stroke_is_found_unless_it_is_small(
    shrunk: int, is_found: bool
) -> None:
    points = ZIGZAG[0] // shrunk + 40
    density = cv2.line(np.zeros((700, 700), np.float32), (500, 80), (620, 560), 1, 60)
    density = cv2.polylines(density, [points], False, 0.8, 7 // shrunk)
    left, top, across, down = cv2.boundingRect(points)
    around = [left, top, left + across, top + down]
    boxes = [one.layout.whole.box for one in search_paper(density)]
    assert any(np.abs(np.subtract(box, around)).max() <= 5 for box in boxes) is is_found


def test_in_small_pictures_what_is_darker_than_lines_is_not_looked_for() -> None:
    density = 0.25 * squared_paper((300, 300), 20, 0.3, 1, 2).astype(np.float32)
    density = np.maximum(density, cv2.polylines(0 * density, ZIGZAG, False, 0.8, 6))
    assert not any(one.leaves_lines for one in search_paper(density))
    assert any(one.leaves_lines for one in search_paper(np.pad(density, ((0, 0), (0, 20)), mode="reflect")))


@pytest.mark.parametrize(
    ("likelihood", "shift", "expected"),
    [(-0.1, 0, [False, True]), (-0.5, 0, [True]), (-0.5, 200, [False, True])],
    ids=["likelier", "less likely", "elsewhere"],
)
def test_what_is_upon_lines_is_superfluous_where_they_were_removed_well(
    likelihood: float, shift: int, expected: list[bool]
) -> None:
    whole = found_in(ZIGZAG[0], -0.3)
    upon = found_in(ZIGZAG[0][:3] + np.array((shift, 0)), likelihood)
    assert [one.leaves_lines for one in with_upon_lines([whole], upon)] == expected
    assert [one.leaves_lines for one in with_upon_lines([], upon)] == [True]


def found_in(points: NDArray[np.int64], likelihood: float) -> Found:
    """Return a stroke in a picture, with that likelihood."""
    density = cv2.polylines(np.zeros((300, 500), np.float32), [points], False, 0.8, 8)
    pixels = (230 * (1 - density)).round().astype(np.uint8)[..., np.newaxis]
    (found,) = search(find_ink(pixels, False, None), pixels, 0.4, Picture(pixels, (500, 300)))
    return found._replace(likelihood=likelihood)


def test_a_digit_of_the_lines_own_colour_is_not_left_with_them() -> None:
    lines = squared_paper((500, 500), 40, 0, 1, 2)
    left, right = (
        cv2.polylines(np.zeros((500, 500), np.float32), [2 * ZIGZAG[0] - (shift, 60)], False, 1, 14)
        for shift in (200, 20)
    )
    blue, red = np.array((0.7, 0.6, 0.2), np.float32), np.array((0.1, 0.8, 0.8), np.float32)
    missing = 1 - (1 - np.maximum(0.5 * lines, left)[..., np.newaxis] * blue) * (
        1 - right[..., np.newaxis] * red
    )
    pixels = (230 * (1 - missing)).round().astype(np.uint8)
    found = search_sheet(Picture(pixels, (500, 500)))
    best = max(found, key=lambda one: one.likelihood)
    assert best.layout.whole.box[0] < 100 < 370 < best.layout.whole.box[2]
    assert not any(one.leaves_lines and one.layout.whole.box[0] > 150 for one in found)


def test_the_dark_margin_of_ruled_paper_is_not_written_upon_it() -> None:
    density = np.zeros((500, 500), np.float32)
    for place in range(20, 500, 60):
        cv2.line(density, (0, place), (499, place + 5), 0.3, 2)
    margin = cv2.line(0 * density, (90, 0), (95, 499), 0.9, 3)
    assert not any(one.leaves_lines for one in search_paper(np.maximum(density, margin)))


def test_where_lines_are_found_well_the_pale_parts_of_a_digit_stay() -> None:
    density = np.zeros((500, 500), np.float32)
    for place in range(20, 500, 60):
        cv2.line(density, (0, place), (499, place + 5), 0.3, 2)
    digit = cv2.line(0 * density, (250, 110), (250, 400), 0.9, 6)
    flag = cv2.line(0 * density, (250, 110), (170, 180), 0.42, 6)
    grain = np.random.default_rng(0).normal(0, 0.02, density.shape)
    found = search_paper((np.maximum.reduce([density, digit, flag]) + grain).clip(0, 1).astype(np.float32))
    best = max(found, key=lambda one: one.likelihood)
    assert best.leaves_lines
    assert best.layout.whole.box[0] <= 175
    assert all(one.layout.whole.box[0] <= 175 for one in found if one.leaves_lines)


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
    boxes = [one.layout.main.box for one in search(ink, pixels, 0.4, Picture(pixels, (600, 500)))]
    assert min(np.abs(np.subtract(box, expected)).max() for box in boxes) <= 3


def test_the_broad_part_of_a_digit_cut_out_in_sloping_light_is_no_desk() -> None:
    density = np.zeros((24, 24))
    density[:4, 3:21] = density[:21, 16:21] = 0.9
    light = np.linspace(255, 215, 24)[:, np.newaxis]
    pixels = (light * (1 - density)).round().astype(np.uint8)[..., np.newaxis]
    assert all(one.layout.whole.box[0] <= 3 for one in search_sheet(Picture(pixels, (24, 24))))


def test_a_digit_cut_out_with_a_faint_line_across_it_is_found_without_the_line() -> None:
    seven = cv2.polylines(np.zeros((64, 64)), [np.array([(16, 12), (50, 12), (36, 48)])], False, 0.85, 5)
    density = np.maximum(seven, cv2.line(np.zeros((64, 64)), (0, 13), (63, 13), 0.4))
    pixels = (235 * (1 - density)).round().astype(np.uint8)[..., np.newaxis]
    boxes = [one.layout.whole.box for one in search_sheet(Picture(pixels, (64, 64)))]
    rows, columns = np.nonzero(seven)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert min(np.abs(np.subtract(box, expected)).max() for box in boxes) <= 2


@pytest.mark.parametrize(("length", "scale", "is_found"), [(6, 1, False), (10, 1, True), (20, 3, True)])
def test_crumbs_alone_are_no_writing(length: int, scale: int, is_found: bool) -> None:
    # In the picture reduced, the last is as small as the first.
    pixels = np.full((500 * scale, 600 * scale, 1), 220, np.uint8)
    pixels[200 : 200 + length, 300 : 300 + length // 3] = 60
    assert bool(search_polarities(Picture(pixels, (600 * scale, 500 * scale)))) is is_found


def test_strokes_beside_the_shadows_of_fingers_are_found() -> None:
    shadow = np.zeros((750, 1000), np.float32)
    for start in ((300, 100), (260, 190)):
        cv2.line(shadow, start, (start[0] + 300, start[1] + 180), 0.55, 55)
    cv2.rectangle(shadow, (520, 240), (999, 749), 0.55, -1)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 7)
    digit = cv2.polylines(np.zeros_like(shadow), [2 * ZIGZAG[0] + (100, 60)], False, 0.8, 11)
    pixels = (230 * (1 - shadow) * (1 - digit)).round().astype(np.uint8)[..., np.newaxis]
    best = max(search_sheet(Picture(pixels, (1000, 750))), key=lambda one: one.likelihood)
    assert np.abs(np.subtract(best.layout.whole.box, ink_box(digit > 0))).max() <= 6


@pytest.mark.parametrize(
    ("size", "box", "ink", "pen"),
    [((169, 209), (2, 7, 132, 175), 0.6, 8), ((113, 215), (9, 27, 107, 205), 0.3, 6)],
)
def test_a_box_within_a_small_picture_is_not_half_removed(
    size: tuple[int, int], box: tuple[int, int, int, int], ink: float, pen: int
) -> None:
    width, height = size
    density = cv2.rectangle(np.zeros((height, width), np.float32), box[:2], box[2:], ink, pen)
    points = 0.55 * width / 157 * (ZIGZAG[0] - (130, 100)) + (0.3 * width, 0.35 * height)
    digit = cv2.polylines(np.zeros_like(density), [np.rint(points).astype(int)], False, ink + 0.1, 7)
    grain = np.random.default_rng(0).normal(0, 0.01, density.shape)
    grey = 230 * (1 - np.maximum(density, digit) - grain)
    pixels = grey.clip(0, 255).round().astype(np.uint8)[..., np.newaxis]
    best = max(find_guesses(Picture(pixels, size)), key=lambda guess: guess.likelihood)
    (read,) = best.candidates
    assert np.abs(np.subtract(read.digit.box, ink_box(digit > 0))).max() <= 3


@pytest.mark.parametrize(("shift", "is_boxed"), [(25, True), (50, False)], ids=["apart", "touching"])
def test_a_digit_that_touches_its_box_is_not_left_with_it(shift: int, is_boxed: bool) -> None:
    density = cv2.rectangle(np.zeros((209, 240), np.float32), (2, 7), (200, 175), 0.6, 8)
    for left in (20, 105 + shift):
        points = np.rint(0.6 * (ZIGZAG[0] - (130, 100)) + (left, 60)).astype(int)
        cv2.polylines(density, [points], False, 0.7, 7)
    likely = [one for one in search_paper(density) if one.likelihood > -1]
    assert any(one.layout.boxes for one in likely) is is_boxed
