"""What is written is told from lines in another colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.hues import are_lines, split_hues, without_either_colour
from app.pictures.ink import find_ink
from tests.paper import ZIGZAG, squared_paper

RED, BLUE, PENCIL = (0.05, 0.5, 0.45), (0.75, 0.65, 0.25), (0.5, 0.5, 0.5)


def squares() -> NDArray[np.float32]:
    """Return the share of full ink in slanting squares that go from side to side."""
    return squared_paper((300, 300), 25, 0.3, 1, 2).astype(np.float32)


def stroke(shift: int = 0) -> NDArray[np.float32]:
    return cv2.polylines(np.zeros((300, 300), np.float32), [ZIGZAG[0] + (shift, 0)], False, 1, 7, cv2.LINE_AA)


def as_pixels(
    *layers: tuple[NDArray[np.float32], tuple[float, float, float]], light_on_dark: bool = False
) -> NDArray[np.uint8]:
    """Return a noisy photo of paper with ink on it: where it is, and what share it takes of each channel."""
    missing = 1 - np.prod(
        [1 - share[..., np.newaxis] * np.float32(colour) for share, colour in layers], axis=0
    )
    noise = np.random.default_rng(0).normal(0, 1.5, missing.shape)
    pixels = np.clip(230 * (1 - missing) + noise, 0, 255).round().astype(np.uint8)
    return 255 - pixels if light_on_dark else pixels


@pytest.mark.parametrize("light_on_dark", [False, True])
@pytest.mark.parametrize("reach", [None, 60])
@pytest.mark.parametrize(("lines", "pen"), [(RED, BLUE), (RED, PENCIL), (BLUE, PENCIL), (PENCIL, BLUE)])
def test_without_their_colour_lines_are_no_ink(
    lines: tuple[float, float, float], pen: tuple[float, float, float], reach: int | None, light_on_dark: bool
) -> None:
    pixels = as_pixels((squares(), lines), (stroke(), pen), light_on_dark=light_on_dark)
    ink = find_ink(pixels, light_on_dark, reach)
    (own,) = without_either_colour(ink, pixels)
    full = np.median(own.density[stroke() == 1])
    is_beside = (squares() > 0.5) & (stroke() == 0)
    assert np.median(ink.density[is_beside]) > 0.3 * np.median(ink.density[stroke() == 1])
    assert np.quantile(own.density[is_beside], 0.95) < 0.2 * full
    assert np.quantile(own.density[(stroke() == 1) & (squares() == 0)], 0.05) > 0.7 * full
    # A part of the picture is measured as the whole was.
    part = slice(90, 210), slice(110, 220)
    measured = own.measure(pixels[part], own.paper[part])
    np.testing.assert_allclose(
        measured[own.density[part] > full / 2], own.density[part][own.density[part] > full / 2]
    )


@pytest.mark.parametrize(
    "layers",
    [
        ((squares(), BLUE), (stroke(), BLUE)),
        ((stroke(-60), RED), (stroke(60), BLUE)),
        ((stroke(), BLUE),),
        ((squares(), RED),),
        ((0 * stroke(), BLUE),),
    ],
    ids=["one colour", "two digits", "no lines", "lines alone", "blank"],
)
def test_lines_are_all_over_the_picture_and_in_another_colour(layers) -> None:
    pixels = as_pixels(*layers)
    assert without_either_colour(find_ink(pixels, False, None), pixels) == []


def test_thin_ink_is_told_from_the_bold_and_fine_lines_of_millimetre_paper() -> None:
    fine = squared_paper((300, 300), 5, 0.1, 1, 1).astype(np.float32)
    bold = squared_paper((300, 300), 50, 0.1, 1, 2).astype(np.float32)
    digit = cv2.polylines(np.zeros_like(fine), ZIGZAG, False, 1, 4)
    # The lens blurs all of it; what is bold looks less red.
    blurred = [cv2.GaussianBlur(each, (0, 0), 0.8) for each in (fine * (1 - bold), bold, digit)]
    pixels = as_pixels(*zip(blurred, [(0.1, 0.4, 0.5), (0.45, 0.7, 0.75), (0.9, 0.9, 0.9)]))
    ink = find_ink(pixels, False, 30)
    (own,) = without_either_colour(ink, pixels)
    full = np.median(own.density[digit > 0])
    is_bold = (bold > 0) & (blurred[2] < 0.02)
    assert np.median(ink.density[is_bold]) > 0.3 * np.median(ink.density[digit > 0])
    assert np.quantile(own.density[is_bold], 0.95) < 0.2 * full


@pytest.mark.parametrize("lies", [((90, 0), (95, 299)), ((180, 299), (240, 90))], ids=["a margin", "a pen"])
def test_a_margin_and_a_pen_in_another_colour_than_lines_are_not_written(
    lies: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    pen = cv2.line(np.zeros((300, 300), np.float32), *lies, 1, 6)
    pixels = as_pixels((squares(), BLUE), (pen, (0.2, 0.9, 0.9)))
    assert without_either_colour(find_ink(pixels, False, None), pixels) == []


@pytest.mark.parametrize("digits", ["37", "818"])
def test_digits_in_two_colours_that_fill_the_picture_are_no_lines(digits: str) -> None:
    layers = []
    for number, digit in enumerate(digits):
        blank = np.zeros((300, 300), np.uint8)
        place, scale = (300 * number // len(digits) + 5, 270), 20.0 / len(digits)
        cv2.putText(blank, digit, place, cv2.FONT_HERSHEY_SIMPLEX, min(scale, 9.0), 1, 16)
        layers.append((blank.astype(np.float32), (RED, BLUE)[number % 2]))
    pixels = as_pixels(*layers)
    assert without_either_colour(find_ink(pixels, False, None), pixels) == []


def test_a_desk_beside_the_sheet_is_no_lines() -> None:
    desk = np.zeros((300, 300), np.float32)
    desk[:, :90] = desk[:60] = 1
    pixels = as_pixels((desk, RED), (stroke(), PENCIL))
    assert without_either_colour(find_ink(pixels, False, None), pixels) == []


def test_in_a_grey_picture_there_is_one_colour() -> None:
    pixels = as_pixels((squares(), PENCIL), (stroke(), PENCIL))[..., :1]
    assert without_either_colour(find_ink(pixels, False, None), pixels) == []


@pytest.mark.parametrize(("thick", "expected"), [(3, True), (12, False)])
def test_most_of_a_picture_is_no_lines(thick: int, expected: bool) -> None:
    lines, written = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    for place in range(0, 200, 20):
        lines[place : place + thick] = True
    written[80:120, 90:110] = True
    assert are_lines(lines & ~written, written.astype(np.float64)) is expected


def test_few_strokes_on_noisy_pale_lines_have_a_hue_of_their_own() -> None:
    generator = np.random.default_rng(0)
    orange, pencil = np.array((0.05, 0.12, 0.16)), np.array((0.25, 0.25, 0.25))
    colours = np.concatenate([np.tile(orange, (1900, 1)), np.tile(pencil, (100, 1))])
    colours = np.maximum(colours + generator.normal(0, 0.015, colours.shape), 0.001).astype(np.float32)
    weights = np.square(colours, dtype=np.float64).sum(axis=1)
    is_first, explained = split_hues(colours, weights)
    assert explained > 0.8
    assert max((is_first[1900:]).mean(), (~is_first[1900:]).mean()) > 0.95
    _, of_one = split_hues(colours[:1900], weights[:1900])
    assert of_one < 0.75
