"""What fills a picture is told from shadows, desks, frames and folds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.opening import SMALL, TINY
from app.pictures.pieces import find_pieces
from app.pictures.whole import is_cut_out


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
