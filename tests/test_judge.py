"""Ink looks like writing or not: it stands out from the paper, and no scrap of paper passes for it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.judge import find_scrap, judge, visibility, without_ghosts
from app.pictures.layout import Layout, find_layout
from tests.paper import ZIGZAG


@pytest.mark.parametrize(("shade", "expected"), [(0.5, 1.0), (0.02, 0.58)])
def test_ink_stands_out_from_the_grain_of_the_paper_and_a_shade_does_not(
    shade: float, expected: float
) -> None:
    stroke = cv2.polylines(np.zeros((400, 400), np.float32), ZIGZAG, False, 1, 12)
    grain = np.random.default_rng(1).normal(0, 2, stroke.shape)
    grey = (200 * (1 - shade * cv2.GaussianBlur(stroke, (0, 0), 4)) + grain).round().astype(np.uint8)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    nothing = np.zeros(stroke.shape, bool)
    assert visibility(stroke > 0, nothing, edges) == pytest.approx(expected, abs=0.05)
    layout = find_layout(stroke > 0, stroke, 0.4)
    _, likelihood = judge(layout, stroke, grey, nothing)
    assert (likelihood < -2) is (expected < 1)
    # A small picture has too little paper to tell its grain.
    part = slice(80, 240), slice(80, 240)
    layout = find_layout(stroke[part] > 0, stroke[part], 0.4)
    assert judge(layout, stroke[part], grey[part], nothing[part])[1] > -1


def test_printed_lines_are_no_grain() -> None:
    stroke = cv2.polylines(np.zeros((400, 400), np.float32), ZIGZAG, False, 0.2, 6)
    printed = np.zeros(stroke.shape, bool)
    printed[::20] = printed[:, ::20] = True
    grey = (220 * (1 - np.maximum(stroke, np.where(printed & (stroke == 0), 0.4, 0)))).astype(np.uint8)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    assert visibility(stroke > 0, printed, edges) == 1
    assert visibility(stroke > 0, np.zeros_like(printed), edges) < 0.8


def test_the_blur_round_ink_is_no_grain() -> None:
    # A stroke of 12 pixels along a strip of 36, with stronger edges on either side, 4 pixels wide.
    stroke = np.zeros((36, 300), np.uint8)
    stroke[12:24] = 1
    blurred = cv2.dilate(stroke, np.ones((9, 9)))
    edges = np.where(stroke > 0, 40, 200 * blurred).astype(np.uint8)
    assert visibility(stroke > 0, np.zeros(stroke.shape, bool), edges) == 1


def test_paper_without_any_grain_is_no_division_by_zero() -> None:
    stroke = np.zeros((60, 300), np.uint8)
    stroke[24:36] = 1
    nothing = np.zeros(stroke.shape, bool)
    assert visibility(stroke > 0, nothing, 100 * stroke) == 1
    # Above zero, as its logarithm is taken.
    assert 0 < visibility(stroke > 0, nothing, 0 * stroke) < 1


def test_ink_that_leaves_no_paper_is_not_compared_with_any() -> None:
    edges = np.zeros((20, 20), np.uint8)
    everything, nothing = np.ones((20, 20), bool), np.zeros((20, 20), bool)
    assert visibility(everything, nothing, edges) == 1
    assert visibility(nothing, everything, edges) == 1
    assert visibility(nothing, nothing, edges) == 1


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


def test_what_fills_the_picture_has_no_outline_and_is_no_ghost() -> None:
    layout = find_layout(np.ones((60, 80), bool), np.ones((60, 80), np.float32), 0.4)
    assert without_ghosts(layout, np.full((60, 80), 90, np.uint8)) == layout


def beside_a_digit(
    step: float, size: int = 400, pen: int = 10
) -> tuple[Layout, NDArray[np.float32], NDArray[np.uint8]]:
    """Return a layout of a bent stroke and a straight one, its density, and the picture.

    Beyond the straight stroke the paper is darker by that share; the ink is by 0.6.
    """
    density = cv2.polylines(np.zeros((size, size), np.float32), ZIGZAG, False, 1, 7)
    straight = (240, 90), (255, 210)
    cv2.line(density, *straight, 1, pen)
    y, x = np.indices(density.shape)
    paper = np.where((x - 240) * 120 > (y - 90) * 15, 1 - step, 1.0)
    grey = (220 * paper * (1 - 0.6 * density)).round().astype(np.uint8)
    return find_layout(density > 0, density, 0.4), density, cv2.GaussianBlur(grey, (0, 0), 1)


@pytest.mark.parametrize(
    ("step", "size", "pen", "pieces"),
    [(0.0, 400, 14, 2), (0.15, 400, 14, 2), (0.5, 400, 14, 1), (0.5, 400, 7, 2), (0.5, 300, 14, 2)],
    ids=["paper", "shadow", "desk", "like the digit", "small picture"],
)
def test_a_straight_stroke_between_two_tones_is_an_edge(
    step: float, size: int, pen: int, pieces: int
) -> None:
    layout, _, grey = beside_a_digit(step, size, pen)
    assert [len(line) for line in layout.lines] == [2]
    left = without_ghosts(layout, grey)
    assert [len(line) for line in left.lines] == [pieces]
    assert len(left.clutter) == 2 - pieces
    assert left.main.is_bent


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_an_edge_that_is_all_there_is_stays_but_is_clutter_and_hardly_writing(step: float) -> None:
    both, density, grey = beside_a_digit(step)
    ((_, straight),) = both.lines
    layout = replace(both, lines=((straight,),))
    alone = without_ghosts(layout, grey)
    assert alone.lines == layout.lines
    assert alone.clutter == (straight.labels if step else ())
    _, likelihood = judge(alone, density, grey, density > 0)
    assert (likelihood < -1) is bool(step)


def test_a_digit_in_dark_ink_beside_a_straight_stroke_is_no_tone() -> None:
    density = np.zeros((400, 400), np.float32)
    cv2.line(density, (200, 100), (200, 300), 1, 6)
    cv2.ellipse(density, (222, 200), (10, 98), 0, 0, 360, 1, 6)
    cv2.ellipse(density, (300, 200), (40, 98), 0, 0, 360, 1, 6)
    layout = find_layout(density > 0, density, 0.4)
    grey = (220 * (1 - 0.6 * density)).round().astype(np.uint8)
    assert without_ghosts(layout, grey) is layout


def test_a_scrap_of_paper_between_two_tones_is_no_edge() -> None:
    density = np.zeros((400, 400), np.float32)
    cv2.rectangle(density, (150, 100), (230, 280), 1, -1)
    layout = find_layout(density > 0, density, 0.4)
    desk = np.where(np.indices(density.shape)[1] > 190, 0.5, 1)
    grey = (220 * desk * (1 - 0.6 * density)).round().astype(np.uint8)
    assert without_ghosts(layout, grey) is layout
