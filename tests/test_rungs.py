"""The sides of a box go with its printed lines, and ones stay."""

from __future__ import annotations

from typing import Any, Optional

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.lines import remove_lines

LOW = 0.25

Stroke = tuple[tuple[int, int], tuple[int, int]]

SIDES: tuple[Stroke, Stroke] = (((120, 150), (90, 450)), ((420, 150), (455, 450)))
"""Steeper than any line that is looked for, and not from side to side."""


def left_of(
    sides: tuple[Stroke, ...],
    thickness: int = 10,
    digit: Optional[int] = 100,
    side: int = 600,
    density_of_lines: float = 1.0,
) -> NDArray[np.bool_]:
    """Return where ink is left of two level lines with strokes between, and a digit of that height."""
    density = np.zeros((600, 600), np.float32)
    for row in (150, 450):
        cv2.line(density, (0, row + 5), (599, row - 5), density_of_lines, 10)
    for begin, end in sides:
        cv2.line(density, begin, end, 1, thickness)
    if digit:
        cv2.ellipse(density, (270, 300), (digit // 3, digit // 2), 0, 0, 360, 1, 10)
    density = cv2.resize(density, (side, side), interpolation=cv2.INTER_AREA)
    left = remove_lines(density, LOW)
    np.testing.assert_array_equal(remove_lines(np.ascontiguousarray(density.T), LOW).T > LOW, left > LOW)
    return left > LOW


def columns(is_ink: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the first and the last column with ink."""
    where = np.flatnonzero(is_ink.any(axis=0))
    return int(where[0]), int(where[-1])


def test_the_sides_of_a_box_that_leads_from_line_to_line_are_no_ink() -> None:
    left, right = columns(left_of(SIDES))
    assert (left, right) == (pytest.approx(232, abs=3), pytest.approx(308, abs=3))


@pytest.mark.parametrize(
    ("sides", "changed"),
    [
        (SIDES[:1], {}),
        (SIDES, {"digit": None}),
        (SIDES, {"digit": 60}),
        (SIDES, {"thickness": 24}),
        (SIDES, {"thickness": 5}),
        (SIDES, {"density_of_lines": 0.7}),
        ((((120, 150), (90, 400)), ((420, 150), (455, 400))), {}),
        ((((120, 150), (160, 300)), ((160, 300), (90, 450)), *SIDES[1:]), {}),
    ],
    ids=["one", "alone", "beside a speck", "broad", "thin", "darker", "short", "bent"],
)
def test_strokes_between_two_lines_are_ink_unless_they_are_two_like_the_lines(
    sides: tuple[Stroke, ...], changed: dict[str, Any]
) -> None:
    # The lines themselves, which begin at the left, are gone.
    assert 70 < columns(left_of(sides, **changed))[0] < 125


def test_ones_in_the_cell_of_a_small_picture_stay() -> None:
    assert 35 < columns(left_of(SIDES, side=300))[0] < 60
