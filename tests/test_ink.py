from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.pictures import read_page
from app.pictures.ink import (
    curved_paper,
    even_paper,
    find_ink,
    find_strokes,
    full_density,
    has_curved_paper,
    has_even_paper,
    quieten,
    without_dithering,
    without_grain,
    without_spray,
)
from app.pictures.opening import Pixels
from app.pictures.pieces import find_pieces
from app.pictures.search import is_even_ink


def paper_and_ink(
    down: float, right: float, side: int = 120
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the light on paper that slopes, and where there are strokes across it, both [side, side]."""
    y, x = np.indices((side, side)) / side - 0.5
    ink = ((abs(x - 0.3 * y) < 0.06) | (abs(y + 0.45) < 0.06)).astype(np.float64)
    return 160 * (1 + down * y + right * x), ink


def as_pixels(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    return grey.clip(0, 255).round().astype(np.uint8)[..., np.newaxis]


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (0.6, 0.0), (-0.4, 0.5), (0.1, -0.6)])
def test_the_paper_under_ink_is_found_where_the_light_slopes(down: float, right: float) -> None:
    light, ink = paper_and_ink(down, right)
    pixels = as_pixels(light * (1 - 0.7 * ink))
    assert has_even_paper(pixels)
    assert np.abs(even_paper(pixels)[..., 0] - light).max() < 8
    density = find_ink(pixels, light_on_dark=False, reach=None).density
    assert density[ink > 0].min() > 0.5
    assert density[ink == 0].max() < 0.1


@pytest.mark.parametrize(("down", "right"), [(0.6, 0.0), (-0.4, 0.5), (0.5, 0.5)])
def test_an_overexposed_part_does_not_level_the_light_that_slopes(down: float, right: float) -> None:
    light, ink = paper_and_ink(down, right)
    pixels = as_pixels(1.6 * light * (1 - 0.7 * ink))
    assert has_even_paper(pixels)
    assert np.abs(even_paper(pixels)[..., 0] - (1.6 * light).clip(0, 255)).max() < 8


def test_the_paper_under_ink_is_found_where_the_light_falls_off_in_a_curve() -> None:
    y, x = np.indices((120, 120)) / 120
    light = 200 * (1 - 0.6 * np.hypot(x - 0.2, y - 0.1) ** 2)
    _, ink = paper_and_ink(0, 0)
    pixels = as_pixels(light * (1 - 0.7 * ink))
    assert has_curved_paper(pixels)
    assert np.abs(curved_paper(pixels)[..., 0] - light).max() < 8
    density = find_ink(pixels, light_on_dark=False, reach=None, is_curved=True).density
    assert density[ink > 0].min() > 0.5
    assert density[ink == 0].max() < 0.1


def test_paper_in_the_shadow_of_leaves_is_not_curved() -> None:
    light, ink = paper_and_ink(0.1, 0.1)
    light *= 1 - 0.25 * (np.indices(light.shape) // 20 % 2).sum(axis=0)
    assert not has_curved_paper(as_pixels(light * (1 - 0.3 * ink)))


def test_light_that_slopes_at_one_side_of_a_small_picture_is_no_ink(tmp_path: Path) -> None:
    y, x = np.indices((45, 45))
    grey = 255 - 90 * np.clip((y + 10 - 1.2 * x) / 40, 0, 1)
    ink = ((abs(x - 24) < 3) & (y > 15)) | ((abs(y - 40) < 3) & (x > 15) & (x < 32))
    Image.fromarray(np.where(ink, 25, grey).astype(np.uint8)).save(tmp_path / "slope.png")
    likeliest = read_page(tmp_path / "slope.png").guesses[0]
    assert [one.digit.box for one in likeliest.candidates] == [(16, 16, 32, 45)]


def test_paper_half_in_a_shadow_is_not_even_or_its_ink_is_not() -> None:
    light, ink = paper_and_ink(0.1, 0.1)
    light[:, 40:] *= 0.5
    pixels = as_pixels(light * (1 - 0.7 * ink))
    assert not (has_even_paper(pixels) and is_even_ink(pixels))
    assert is_even_ink(as_pixels(160 * (1 - 0.7 * ink)))


def test_ink_of_two_kinds_is_not_even() -> None:
    _, ink = paper_and_ink(0, 0)
    pale = ink.copy()
    # As a shadow is: most of what is dark, and paler than the rest.
    pale[15:] *= 0.5
    pale[15:, :30] = 0.5
    assert not is_even_ink(as_pixels(160 * (1 - 0.7 * pale)))


@pytest.mark.parametrize("shape", [(600, 800), (700, 700)])
def test_a_mere_slope_of_light_is_read_without_a_crash(shape: tuple[int, int], tmp_path: Path) -> None:
    slope = np.clip(np.rint(200 * np.indices(shape)[1] / shape[1] - 60), 0, 255).astype(np.uint8)
    for number, picture in enumerate((slope, 255 - slope)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture).save(path)
        assert read_page(path).size == shape[::-1]


def test_strokes_that_fill_a_few_pixels_are_no_noise() -> None:
    ring = np.zeros((16, 16), np.uint8)
    ring[::3] = ring[:, ::3] = 255
    ink = find_ink(ring[..., np.newaxis], light_on_dark=True, reach=None)
    assert ink.floor < 0.1
    np.testing.assert_array_equal(ink.density > 0.5, ring > 0)


def test_noise_on_even_paper_is_measured() -> None:
    noise = np.random.default_rng(0).normal(0, 8, (120, 120))
    light, ink = paper_and_ink(0, 0)
    found = find_ink(as_pixels(light * (1 - 0.7 * ink) + noise), light_on_dark=False, reach=None)
    # Four standard deviations of 8 levels in 160, less what is cut off below zero.
    assert 0.09 < found.floor < 0.25


@pytest.mark.parametrize(("deviation", "is_grainy"), [(0, False), (4, False), (25, True)])
@pytest.mark.parametrize("light", [1.0, 0.3])
def test_a_grainy_picture_is_smoothed_and_no_other_is(
    deviation: float, is_grainy: bool, light: float
) -> None:
    grey = np.full((400, 500), 150.0)
    grey[100:300, 200:215] = 40
    grain = np.random.default_rng(0).normal(0, deviation, grey.shape)
    pixels = as_pixels(light * (grey + grain))
    smooth = without_grain(pixels)
    assert (smooth is not pixels) is is_grainy
    assert smooth[:90].std() < light * max(0.3 * deviation, 5)
    assert smooth[150:250, 207].mean() < light * 60


def test_a_large_dithered_picture_is_smoothed_and_mere_noise_is_not() -> None:
    rng = np.random.default_rng(2)
    grey = np.full((400, 400), 0.6)
    grey[100:300, 150:200] = 0
    smooth = without_grain(as_pixels(255.0 * (rng.random(grey.shape) < grey)))
    assert smooth[150:250, 160:190].mean() + 100 < smooth[:90].mean()
    assert smooth[:90].std() < 40
    noise = as_pixels(rng.normal(128, 20, grey.shape))
    assert without_grain(noise) is noise
    assert without_dithering(noise) is noise


@pytest.mark.parametrize("smooth", [without_grain, without_dithering])
def test_a_thin_stroke_in_noise_is_not_mere_noise(smooth: Callable[[Pixels], Pixels]) -> None:
    grey = np.full((250, 250), 170.0)
    grey[80:150, 120:126] = 80
    noisy = as_pixels(grey + np.random.default_rng(0).normal(0, 25, grey.shape))
    assert smooth(noisy)[90:140, 122:124].mean() + 60 < smooth(noisy)[:70].mean()
    assert smooth(noisy)[:70].std() < 10


def test_strokes_in_a_few_pixels_and_small_print_are_not_dithered() -> None:
    pixels = np.full((16, 8, 1), 240, np.uint8)
    pixels[::2] = pixels[:, ::3] = 20
    assert without_dithering(pixels) is pixels
    pixels = np.full((40, 60, 1), 240, np.uint8)
    pixels[:, ::2] = 20
    assert without_dithering(pixels) is pixels
    turned = np.ascontiguousarray(np.swapaxes(pixels, 0, 1))
    assert without_dithering(turned) is turned


@pytest.mark.parametrize(("step", "is_dithered"), [(2, True), (5, False)])
def test_a_dithered_picture_is_smoothed_and_no_other_is(step: int, is_dithered: bool) -> None:
    pixels = np.full((60, 60, 1), 240, np.uint8)
    pixels[::step, ::step] = 20
    pixels[20:24, 5:50] = 20
    smooth = without_dithering(pixels)
    assert (smooth is not pixels) is is_dithered
    if is_dithered:
        assert smooth[30:].min() > 160
        assert smooth[21:23, 10:45].max() < 70
    np.testing.assert_array_equal(without_dithering(255 - pixels), 255 - smooth)


def test_in_a_noisy_shadow_along_the_frame_a_stroke_stays_whole_and_the_noise_goes() -> None:
    paper = np.full((300, 400, 1), 200, np.uint8)
    paper[:120] = 130
    density = np.abs(np.random.default_rng(0).normal(0, 0.1, (300, 400))).astype(np.float32)
    density[60:68, 80:320] += 0.3
    density[90, 80:320] += 0.35
    density[120:] = 0
    quiet = quieten(density, paper, 0.05)
    assert (quiet[62:66, 84:316] > 0).mean() > 0.99
    # A hairline stands out as it is.
    assert (quiet[90, 84:316] > 0).mean() > 0.9
    assert (quiet[:50] > 0).mean() < 0.02
    # What is darker yet is a desk.
    paper[:120] = 60
    assert not quieten(density, paper, 0.05)[:120].any()


def sprayed(dots: int, spread: float) -> NDArray[np.uint8]:
    """Return dots on white paper, so far apart from an upright line, in pixels, by their deviation."""
    generator = np.random.default_rng(0)
    pixels = np.full((400, 400, 1), 255, np.uint8)
    rows = generator.integers(60, 340, dots)
    columns = np.clip(np.rint(200 + generator.normal(0, spread, dots)), 0, 399).astype(int)
    pixels[rows, columns] = 0
    return pixels


def test_a_stroke_of_sprayed_dots_becomes_one() -> None:
    pixels = sprayed(1500, 6)
    ink = find_ink(without_spray(pixels), light_on_dark=False, reach=None)
    _, pieces = find_pieces(find_strokes(ink.density / ink.density.max(), ink.floor), ink.density)
    assert pieces[0].height > 270
    assert pieces[0].area > 0.98 * sum(piece.area for piece in pieces)


@pytest.mark.parametrize(("dots", "spread"), [(1500, 150), (100, 6)], ids=["all over", "few"])
def test_dots_that_make_no_stroke_stay(dots: int, spread: float) -> None:
    pixels = sprayed(dots, spread)
    assert without_spray(pixels) is pixels


def test_what_is_sprayed_is_read_as_one_digit(tmp_path: Path) -> None:
    Image.fromarray(sprayed(1500, 6)[..., 0]).save(tmp_path / "1.png")
    assert [one.lines for one in read_page(tmp_path / "1.png").guesses[:1]] == [(1,)]


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_full_ink_is_the_median_of_all_of_it_where_dark_ink_counts_more(scale: float) -> None:
    density = (scale * np.random.default_rng(0).gamma(2.0, 0.2, (60, 80))).astype(np.float32)
    full = full_density(density, 0.1 * scale)
    weights = np.where(density > 0.1 * scale, np.square(density), 0)
    assert weights[density <= full].sum() / weights.sum() == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize(("densities", "expected"), [([], 0.0), ([0.1, 0.05], 0.0), ([0.0, 0.7], 0.7)])
def test_full_ink_of_none_or_of_one_pixel(densities: list[float], expected: float) -> None:
    assert full_density(np.array([densities], np.float32), 0.2) == pytest.approx(expected, rel=1e-3)
