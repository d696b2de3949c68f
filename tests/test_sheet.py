"""A sheet on a desk of another colour is found; shadows, gradients and broad zeros are no sheets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.datasets.strokes import make_strokes
from app.pictures import read_page
from app.pictures.sheet import cover_desk, find_sheet
from app.recognizer import Prediction, Recognizer
from app.runtime import REPOSITORY

Picture = NDArray[np.uint8]

HEIGHT, WIDTH = 150, 200
WHITE, YELLOW, GREY, WOOD = (225, 222, 210), (215, 180, 75), (185, 185, 185), (180, 130, 80)


def striped(colour: tuple[int, int, int], scale: int = 1) -> Picture:
    """Return a desk with dark and light waves across it, `scale` times as large as usual."""
    y, x = np.indices((scale * HEIGHT, scale * WIDTH)) / scale
    waves = 1 + 0.15 * np.sin(y / 2 + 3 * np.sin(x / 30))
    return np.clip(np.array(colour) * waves[..., np.newaxis], 0, 255).astype(np.uint8)


def corners(turn: float, side: float = 100) -> NDArray[np.int32]:
    """Return the corners of a sheet in the middle of the picture, turned by so many degrees."""
    box = cv2.boxPoints(((WIDTH / 2, HEIGHT / 2), (1.2 * side, side), turn))
    return np.rint(box).astype(np.int32)


@pytest.mark.parametrize("turn", [0, 12, -30])
@pytest.mark.parametrize(("paper", "desk"), [(WHITE, WOOD), (YELLOW, GREY), (YELLOW, (60, 50, 150))])
def test_a_sheet_on_a_desk_of_another_colour_is_found(
    turn: float, paper: tuple[int, int, int], desk: tuple[int, int, int]
) -> None:
    picture = striped(desk)
    expected = cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [corners(turn)], 1) > 0
    picture[expected] = paper
    cv2.putText(picture, "7", (85, 95), cv2.FONT_HERSHEY_SIMPLEX, 2, (40, 40, 90), 8)
    sheet = find_sheet(picture)
    assert sheet is not None
    assert (sheet == expected).mean() > 0.98


def test_a_sheet_that_the_frame_cuts_is_found() -> None:
    picture = striped(WOOD)
    corner = np.array([(30, -5), (250, 40), (250, 200), (-60, 200)], np.int32)
    expected = cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [corner], 1) > 0
    picture[expected] = WHITE
    sheet = find_sheet(picture)
    assert sheet is not None
    assert (sheet == expected).mean() > 0.98


def test_paper_goes_on_where_the_desk_was_and_the_sheet_stays_as_it_is() -> None:
    slope = np.linspace(0.8, 1.0, WIDTH)[:, np.newaxis]
    light = np.broadcast_to(np.array(WHITE) * slope, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    is_sheet = cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [corners(10)], 1) > 0
    picture = np.where(is_sheet[..., np.newaxis], light, striped(WOOD))
    cv2.line(picture, (90, 60), (110, 95), (40, 40, 90), 6)
    bare = cover_desk(picture)
    assert bare is not None
    inner = cv2.erode(is_sheet.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    np.testing.assert_array_equal(bare[inner], picture[inner])
    assert np.abs(bare[~inner].astype(int) - light[~inner]).max() <= 4


def test_light_and_colours_that_are_no_sheet_are_left_alone() -> None:
    plain = np.full((HEIGHT, WIDTH, 3), WHITE, np.uint8)
    shadow = plain.copy()
    shadow[:, 60:] = (120, 122, 118)
    across = np.linspace(0, 1, WIDTH)[:, np.newaxis]
    gradient = np.broadcast_to(np.array(WHITE) * (1 - across) + np.array(WOOD) * across, plain.shape)
    zero, one = plain.copy(), plain.copy()
    cv2.ellipse(zero, (100, 75), (42, 50), 0, 0, 360, (200, 40, 40), 35)
    cv2.line(one, (100, 30), (100, 120), (200, 40, 40), 40)
    two_colours = plain.copy()
    cv2.putText(two_colours, "82", (40, 110), cv2.FONT_HERSHEY_SIMPLEX, 3, (200, 40, 40), 20)
    for picture in (plain, shadow, gradient.astype(np.uint8), zero, two_colours, plain[..., :1], plain[:5]):
        assert cover_desk(picture) is None
    # A broad stroke may pass for a sheet, but nothing is written on it: then the picture is read as it is.
    bare = cover_desk(one)
    assert bare is None or np.ptp(bare.astype(int), axis=(0, 1)).max() < 10


def test_digits_on_notes_are_read_on_any_desk(tmp_path: Path) -> None:
    recognizer = Recognizer(REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams")
    images, labels = make_strokes(12, seed=31)
    paths = []
    for number, image in enumerate(images):
        paper, desk = ((YELLOW, GREY), (WHITE, WOOD))[number % 2]
        picture = striped(desk, 4)
        note = cv2.fillPoly(np.zeros(picture.shape[:2], np.uint8), [4 * corners(number - 12, 110)], 1) > 0
        picture[note] = paper
        ink = np.zeros(picture.shape[:2], np.float32)
        ink[270:340, 400:470] = cv2.resize(image, (70, 70), interpolation=cv2.INTER_CUBIC) / 255
        mixed = picture * (1 - ink[..., np.newaxis]) + np.array((50, 50, 80)) * ink[..., np.newaxis]
        paths.append(tmp_path / f"{number}.jpg")
        Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)).save(paths[-1])
    read = [one.text if isinstance(one, Prediction) else "" for one in recognizer.read(paths)]
    assert read == [str(label) for label in labels]


def test_the_stages_show_the_picture_without_its_desk(tmp_path: Path) -> None:
    plain = np.full((HEIGHT, WIDTH, 3), WHITE, np.uint8)
    on_desk = striped(WOOD)
    cv2.fillPoly(on_desk, [corners(10)], WHITE)
    for picture, expected in ((plain, False), (on_desk, True)):
        cv2.putText(picture, "7", (85, 95), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (40, 40, 90), 5)
        Image.fromarray(picture).save(tmp_path / "seven.png")
        stages = read_page(tmp_path / "seven.png", keep_stages=True).guesses[0].stages
        assert ("prepared" in stages) == expected
    assert np.abs(stages["prepared"][:5].astype(int) - WHITE).max() <= 4


def test_a_broad_coloured_digit_is_read_though_it_may_pass_for_a_sheet(tmp_path: Path) -> None:
    recognizer = Recognizer(REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams")
    paths = []
    for number, ends in enumerate((((200, 60), (200, 240)), ((215, 70), (190, 230)))):
        picture = np.full((300, 400, 3), WHITE, np.uint8)
        cv2.line(picture, *ends, (200, 40, 40), 60)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    read = [one.text if isinstance(one, Prediction) else "" for one in recognizer.read(paths)]
    assert read == ["1", "1"]
