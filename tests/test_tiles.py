"""Digits painted in the cells of a grid are joined where its lines part them, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.datasets.strokes import make_strokes
from app.pictures.tiles import join_tiles
from app.recognizer import Recognizer
from tests.test_reading import PRETRAINED, share_right, texts

Picture = NDArray[np.uint8]

SEVEN = np.array([[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]], np.uint8)


def in_cells(image: Picture, side: int, line: int) -> Picture:
    """Return each pixel as a square of that many pixels, set apart by lines on all sides."""
    tile = np.zeros((side + line, side + line), np.uint8)
    tile[line:, line:] = 1
    return np.pad(np.kron(image, tile), 3 * side)


@pytest.mark.parametrize(("side", "line"), [(5, 1), (16, 1), (16, 4), (60, 9)])
def test_tiles_are_joined_and_keep_their_outline(side: int, line: int) -> None:
    tiles = in_cells(SEVEN, side, line)
    joined = join_tiles(tiles > 0)
    assert joined[tiles > 0].all()
    # Those that meet at a corner stay apart.
    assert cv2.connectedComponents(joined.astype(np.uint8), connectivity=4)[0] == 1 + 3
    row, column = 3 * side + line, 3 * side + line
    across = 4 * (side + line) - line
    assert joined[row : row + side, column : column + across].all()
    assert not joined[:row].any()
    assert not joined[:, :column].any()


def test_tiles_along_the_frame_are_joined() -> None:
    tiles = in_cells(SEVEN, 16, 2)[50:-48, 50:-48]
    assert tiles[0].any()
    assert tiles[:, -1].any()
    joined = join_tiles(tiles > 0)
    np.testing.assert_array_equal(joined, join_tiles(np.pad(tiles, 30) > 0)[30:-30, 30:-30])


@pytest.mark.parametrize(
    "ink",
    [
        in_cells(SEVEN, 16, 8),
        in_cells(SEVEN[:2], 16, 2),
        np.pad(np.kron(SEVEN, np.ones((16, 16), np.uint8)), 40),
        in_cells(SEVEN, 16, 2) | cv2.line(np.zeros_like(in_cells(SEVEN, 16, 2)), (20, 10), (20, 150), 1, 12),
        np.pad(np.kron(SEVEN, cv2.circle(np.zeros((18, 18), np.uint8), (8, 8), 8, 1, -1)), 40),
        np.zeros((100, 100), np.uint8),
    ],
    ids=["far apart", "few", "one piece", "beside a stroke", "dots", "nothing"],
)
def test_what_is_not_made_of_tiles_is_left_as_it_is(ink: Picture) -> None:
    np.testing.assert_array_equal(join_tiles(ink > 0), ink > 0)


def test_digits_painted_in_cells_are_read(tmp_path: Path) -> None:
    images, labels = make_strokes(40, seed=31)
    pictures = []
    for image in images:
        cells = in_cells((image > 110).astype(np.uint8), 12, 1)
        lines = in_cells(np.ones_like(image), 12, 1) == 0
        pictures.append(np.where(cells > 0, 215, np.where(lines, 40, 0)).astype(np.uint8))
    assert share_right(texts(Recognizer(PRETRAINED), tmp_path, pictures), labels) >= 0.9
