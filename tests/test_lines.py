"""Printed lines are taken out of the ink, and what is written upon them stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.lines import find_level_lines, remove_lines
from tests.paper import squared_paper

LOW = 0.25


def without_lines(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the density, 0 to 1, that is left of a picture of white ink on black."""
    return remove_lines((picture / 255).astype(np.float32), LOW)


def ruled(rows: tuple[int, ...], shade: int = 150, thickness: int = 3) -> NDArray[np.uint8]:
    """Return uint8 [300, 400], level lines on empty paper."""
    picture = np.zeros((300, 400), np.uint8)
    for row in rows:
        cv2.line(picture, (0, row), (399, row), shade, thickness)
    return picture


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("x", [160, 200, 250])
@pytest.mark.parametrize("rise", [0, 12])
def test_two_lines_that_a_broad_digit_interrupts_are_no_ink(turned: bool, x: int, rise: int) -> None:
    picture = np.zeros((300, 400), np.uint8)
    for row in (80, 220):
        cv2.line(picture, (0, row + rise), (399, row - rise), 150, 3)
    cv2.ellipse(picture, (x, 150), (55, 72), 0, 0, 360, 255, 20)
    picture = np.ascontiguousarray(picture.T) if turned else picture
    cleaned = without_lines(picture)
    cleaned = cleaned.T if turned else cleaned
    assert cleaned[:, : x - 70].max() < LOW
    assert cleaned[:, x + 70 :].max() < LOW
    assert cleaned[150, x - 55] == cleaned[150, x + 55] == 1


@pytest.mark.parametrize(("tilt", "is_line"), [(0, True), (14, False)])
def test_the_two_ends_of_a_line_have_one_direction(tilt: int, is_line: bool) -> None:
    picture = np.zeros((300, 400), np.uint8)
    for row in (80, 220):
        cv2.line(picture, (0, row - tilt), (199, row), 150, 3)
        cv2.line(picture, (200, row), (399, row - tilt), 150, 3)
    cv2.ellipse(picture, (200, 150), (55, 72), 0, 0, 360, 255, 20)
    assert (without_lines(picture)[:, :100].max() < LOW) == is_line


def test_bars_in_line_with_paper_between_are_ink() -> None:
    picture = np.zeros((200, 300), np.uint8)
    for left in (0, 160):
        bar = [(left + 80, 20), (left + 10, 130), (left + 139, 130)]
        cv2.polylines(picture, [np.array(bar)], isClosed=False, color=255, thickness=5)
    picture[128:133, :12] = 255
    assert (without_lines(picture) == picture / np.float32(255)).all()


@pytest.mark.parametrize("apart", [6, 15])
def test_strokes_that_are_not_in_line_are_ink(apart: int) -> None:
    picture = np.zeros((300, 400), np.uint8)
    cv2.line(picture, (0, 150), (160, 150), 255, 4)
    cv2.line(picture, (240, 150 + apart), (399, 150 + apart), 255, 4)
    cv2.circle(picture, (200, 150), 60, 255, -1)
    assert (without_lines(picture) == picture / np.float32(255)).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_of_several_runs_that_are_nearly_in_line_none_is_taken(mirrored: bool) -> None:
    picture = np.zeros((300, 400), np.uint8)
    cv2.line(picture, (0, 150), (160, 150), 255, 2)
    for row in (149, 155):
        cv2.line(picture, (240, row), (399, row), 255, 2)
    # A digit upon them.
    cv2.circle(picture, (200, 150), 60, 255, -1)
    picture = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
    assert (without_lines(picture) == picture / np.float32(255)).all()


def test_a_foot_along_a_line_is_ink_though_no_darker() -> None:
    picture = ruled((50, 110, 170, 230))
    foot = [(190, 90), (150, 170), (240, 172)]
    cv2.polylines(picture, [np.array(foot)], isClosed=False, color=150, thickness=9)
    cleaned = without_lines(picture)
    assert cleaned[168:174, 160:236].min() > 0.5
    assert cleaned[:, :140].max() < LOW
    assert cleaned[:, 260:].max() < LOW


def test_a_stroke_between_lines_that_is_as_straight_but_broader_is_ink() -> None:
    picture = ruled((40, 100, 160, 220))
    cv2.line(picture, (130, 130), (265, 130), 150, 9)
    cleaned = without_lines(picture)
    assert cleaned[128:133, 135:260].min() > 0.5
    assert cleaned[[40, 100, 160, 220]].max() < LOW


def test_strokes_that_end_above_and_below_a_line_are_not_joined_though_a_broad_one_lies_upon_it() -> None:
    picture = ruled((50, 110, 170, 230))
    cv2.line(picture, (60, 110), (110, 110), 150, 11)
    cv2.line(picture, (250, 70), (250, 101), 255, 5)
    cv2.line(picture, (250, 119), (250, 150), 255, 5)
    cleaned = without_lines(picture)
    assert cleaned[108:113, 240:260].max() < LOW
    assert cleaned[108:113, 70:100].min() > 0.5


@pytest.mark.parametrize("crossed", [False, True])
def test_a_broader_line_among_others_is_no_ink(crossed: bool) -> None:
    picture = ruled((40, 100, 160, 220, 260))
    cv2.line(picture, (0, 160), (399, 160), 150, 9)
    if crossed:
        cv2.line(picture, (190, 130), (210, 190), 255, 16)
    assert without_lines(picture)[:, :170].max() < LOW
    assert without_lines(picture)[:, 230:].max() < LOW


def test_lines_that_end_inside_the_picture_are_no_ink() -> None:
    picture = np.zeros((300, 400), np.uint8)
    for row in (50, 110, 170, 230):
        cv2.line(picture, (40, row), (360, row), 150, 3)
    assert without_lines(picture).max() < LOW


def test_a_dark_foot_upon_most_of_what_is_seen_of_a_line_is_ink() -> None:
    picture = ruled((50, 110, 170, 230), shade=115)
    cv2.circle(picture, (190, 170), 26, 255, -1)
    cv2.line(picture, (216, 170), (340, 170), 255, 3)
    cleaned = without_lines(picture)
    assert cleaned[170, 220:335].min() > 0.5
    assert cleaned[:, 350:].max() < LOW


def test_a_line_paler_than_others_leaves_the_ink_upon_it() -> None:
    picture = ruled((40, 100, 220, 260), shade=140)
    cv2.line(picture, (0, 160), (399, 160), 80, 3)
    cv2.line(picture, (150, 160), (240, 160), 140, 3)
    cleaned = without_lines(picture)
    assert cleaned[160, 155:235].min() > 0.5
    assert cleaned[:, :140].max() < LOW


def test_a_ruled_line_that_a_digit_covers_and_a_margin_cuts_is_no_ink() -> None:
    picture = np.zeros((680, 900), np.uint8)
    for line in (75, 450):
        cv2.line(picture, (0, line + 10), (899, line - 10), 80, 16)
    cv2.line(picture, (150, 0), (175, 679), 90, 16)
    three = [(370, 240), (480, 180), (560, 230), (460, 310), (570, 380), (480, 460), (330, 460), (325, 400)]
    cv2.polylines(picture, [np.array(three)], isClosed=False, color=255, thickness=18)
    cleaned = without_lines(picture)
    assert cleaned[430:470, 620:].max() < LOW
    assert min(cleaned[y, x] for x, y in three) > 0.5


@pytest.mark.parametrize("slope", [0.0, 0.08])
def test_a_margin_darker_than_the_squares_is_no_ink_though_a_digit_touches_it(slope: float) -> None:
    picture = squared_paper((400, 300), 25, slope, 110, 2)
    cv2.line(picture, (135, 0), (round(135 - 300 * slope), 299), 210, 2)
    cv2.ellipse(picture, (135, 150), (25, 40), 0, 0, 360, 255, 5)
    cleaned = without_lines(picture)
    assert cleaned[10:100, 60:340].max() < LOW
    assert cleaned[200:290, 60:340].max() < LOW
    ring = [
        (round(135 + 25 * np.cos(angle)), round(150 + 40 * np.sin(angle))) for angle in np.arange(0, 6.3, 0.4)
    ]
    assert min(cleaned[y, x] for x, y in ring) > 0.5


@pytest.mark.parametrize(("thickness", "end"), [(9, 299), (2, 265)], ids=["thicker", "ends inside"])
def test_a_straight_stroke_among_squares_is_ink(thickness: int, end: int) -> None:
    picture = squared_paper((400, 300), 25, 0.0, 110, 2)
    cv2.line(picture, (138, 0), (138, end), 255, thickness)
    cleaned = without_lines(picture)
    assert cleaned[20:260, 138].min() > 0.5
    assert cleaned[20:260, 180:380].max() < LOW


def test_the_waist_of_an_eight_beside_ruled_lines_that_slope_otherwise_is_ink() -> None:
    picture = np.zeros((200, 150), np.uint8)
    for line in (50, 115, 180):
        cv2.line(picture, (0, line - 7), (149, line + 7), 150, 2)
    cv2.ellipse(picture, (95, 66), (25, 12), 0, 0, 360, 255, 2)
    cv2.ellipse(picture, (95, 96), (25, 17), 0, 0, 360, 255, 2)
    cv2.line(picture, (70, 81), (120, 77), 255, 2)
    cleaned = without_lines(picture)
    assert min(cleaned[round(81 - (x - 70) / 12.5), x] for x in range(72, 119, 3)) > 0.5
    assert cleaned[:, 5].max() < LOW


@pytest.mark.parametrize("bow", [0, 25])
def test_a_ruled_line_that_a_digit_interrupts_is_no_ink_though_the_paper_is_curved(bow: int) -> None:
    x = np.arange(400)
    picture = np.zeros((300, 400), np.uint8)
    for line in (40, 90, 140, 190, 240):
        curve = np.stack([x, np.rint(line + bow * ((x - 200) / 200) ** 2)], 1).astype(np.int32)
        cv2.polylines(picture, [curve], isClosed=False, color=150, thickness=2)
    picture[130:180, 170:230] = 0
    cleaned = without_lines(picture)
    assert (cleaned > LOW).mean() < 0.002


def test_grain_makes_no_printed_lines() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (700, 700)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 1.2)
    lines = find_level_lines((grain > 0.5 * grain.std()).astype(np.float32), LOW)
    _, _, stats, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    thickness = stats[1:, cv2.CC_STAT_AREA] / stats[1:, cv2.CC_STAT_WIDTH]
    assert thickness.max(initial=0) < 0.1 * 700
