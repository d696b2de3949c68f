"""Strokes drawn in outline are filled, and what a pen draws otherwise is left as it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.datasets.strokes import make_strokes
from app.pictures.outlined import fill_outlines
from app.recognizer import Prediction, Recognizer
from tests.test_reading import PRETRAINED, share_right, texts

Picture = NDArray[np.uint8]

SIX = [(70, 20), (45, 70), (35, 120), (50, 165), (80, 160), (85, 130), (60, 115), (38, 130)]

RING = cv2.ellipse(np.zeros((200, 120), np.uint8), (60, 100), (56, 95), 0, 0, 360, 255, 4)


def drawn(lines: list[list[tuple[int, int]]], width: int, closed: bool = False) -> Picture:
    return cv2.polylines(
        np.zeros((200, 120), np.uint8), [np.array(line) for line in lines], closed, 255, width
    )


def outline(strokes: Picture, width: int = 3) -> Picture:
    """Return strokes in outline: what lies along their edges."""
    return cv2.morphologyEx(strokes, cv2.MORPH_GRADIENT, np.ones((width, width), np.uint8))


def filled(picture: Picture) -> NDArray[np.bool_]:
    return fill_outlines(picture > 0)


def test_an_outlined_stroke_is_filled_and_the_hole_of_its_loop_is_not() -> None:
    strokes = drawn([SIX], 20)
    outlined = outline(strokes)
    assert not (outlined[strokes > 0] > 0).all()
    np.testing.assert_array_equal(filled(outlined), (strokes > 0) | (outlined > 0))


@pytest.mark.parametrize(
    "picture",
    [
        drawn([SIX], 4),
        cv2.ellipse(np.zeros((200, 120), np.uint8), (60, 100), (40, 80), 0, 0, 360, 255, 4),
        cv2.ellipse(np.zeros((200, 120), np.uint8), (60, 100), (20, 80), 0, 0, 360, 255, 4),
        drawn([[(45, 20), (75, 90), (75, 180), (45, 180), (45, 110), (75, 20)]], 4, closed=True),
        drawn([[(10, 10), (110, 10), (110, 190), (10, 190)]], 3, closed=True)
        | drawn([[(60, 40), (60, 160)]], 8),
        drawn([[(80, 20), (20, 120), (100, 120)], [(80, 20), (80, 180)]], 4),
        RING | drawn([SIX], 8),
        RING | cv2.circle(cv2.circle(np.zeros_like(RING), (60, 75), 20, 255, 6), (60, 125), 25, 255, 6),
        outline(cv2.circle(drawn([[(60, 40), (60, 190)]], 9), (60, 35), 25, 255, -1)),
        outline(drawn([[(60, 30), (60, 170)]], 10), 7),
        np.zeros((200, 120), np.uint8),
    ],
    ids=[
        "six",
        "zero",
        "narrow zero",
        "narrow eight",
        "box",
        "four",
        "six in a ring",
        "eight in a ring",
        "nine with its stem drawn twice",
        "thick outline",
        "nothing",
    ],
)
def test_what_is_no_outline_is_left_as_it_is(picture: Picture) -> None:
    np.testing.assert_array_equal(filled(picture), picture > 0)


def test_digits_with_a_loop_in_a_ring_are_no_outlines() -> None:
    images, labels = make_strokes(300, seed=5)
    for image in images[np.isin(labels, [4, 6, 9])]:
        ring = cv2.circle(np.zeros((124, 124), np.uint8), (62, 62), 56, 255, 3)
        digit = cv2.resize(image, (80, 80), interpolation=cv2.INTER_CUBIC) > 120
        ring[22:102, 22:102][digit] = 255
        np.testing.assert_array_equal(filled(ring), ring > 0)


def test_outlined_digits_are_read(tmp_path: Path) -> None:
    images, labels = make_strokes(20, seed=24)
    pictures = []
    for image in images:
        large = cv2.GaussianBlur(cv2.resize(image, (420, 420), interpolation=cv2.INTER_CUBIC), (0, 0), 5)
        pictures.append(outline(np.where(large > 100, 255, 0).astype(np.uint8), 5))
    assert share_right(texts(Recognizer(PRETRAINED), tmp_path, pictures), labels) >= 0.9


def test_an_outlined_number_is_read(tmp_path: Path) -> None:
    picture = np.zeros((300, 600), np.uint8)
    for number, digit in enumerate("472"):
        place = 100 + 150 * number, 220
        cv2.putText(picture, digit, place, cv2.FONT_HERSHEY_SIMPLEX, 6, 255, 24)
    Image.fromarray(255 - outline(picture, 5)).save(tmp_path / "number.png")
    (read,) = Recognizer(PRETRAINED).read([tmp_path / "number.png"])
    assert isinstance(read, Prediction)
    assert read.text == "472"
