"""Sheets on a patterned desk of another colour are found; shadows, gradients and smooth desks are let be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.datasets.strokes import make_strokes
from app.pictures import read_page
from app.pictures.sheet import cover_desk, find_sheets, leave_only
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


def polygon(corners: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return what is inside, bool [HEIGHT, WIDTH]."""
    return cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [corners], 1) > 0


def write(picture: Picture, text: str, left: int, bottom: int, size: float = 1.5) -> None:
    """Write digits in dark ink, in place."""
    cv2.putText(picture, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 90), round(3 * size))


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
    expected = polygon(corners(turn))
    picture[expected] = paper
    write(picture, "7", 85, 95)
    sheets = find_sheets(picture)
    assert sheets is not None
    assert (sheets == expected).mean() > 0.98


def test_a_sheet_that_the_frame_cuts_is_found() -> None:
    picture = striped(WOOD)
    expected = polygon(np.array([(120, -5), (205, 30), (205, 155), (-5, 155), (-5, 110)], np.int32))
    picture[expected] = WHITE
    sheets = find_sheets(picture)
    assert sheets is not None
    assert (sheets == expected).mean() > 0.98


def test_all_sheets_of_a_colour_are_found() -> None:
    picture = striped(WOOD)
    bottoms = {10: 100, 75: 120, 140: 95}
    notes = [polygon(np.array([(x, 50), (x + 45, 45), (x + 50, y), (x, y)])) for x, y in bottoms.items()]
    expected = np.any(notes, axis=0)
    picture[expected] = YELLOW
    sheets = find_sheets(picture)
    assert sheets is not None
    assert (sheets == expected).mean() > 0.97


def test_ink_at_the_edge_of_the_sheet_and_of_the_picture_stays() -> None:
    whole, cut = polygon(corners(0)), np.indices((HEIGHT, WIDTH))[1] > 60
    for is_sheet, start, end in ((whole, (100, 27), (100, 70)), (cut, (199, 75), (150, 75))):
        picture = striped(WOOD)
        picture[is_sheet] = WHITE
        cv2.line(picture, start, end, (40, 40, 90), 6)
        bare = cover_desk(picture)
        assert bare is not None
        inner = cv2.erode(is_sheet.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0
        np.testing.assert_array_equal(bare[inner], picture[inner])


def test_the_desk_in_a_dent_of_the_sheet_is_left_out() -> None:
    picture = striped(WOOD)
    left, top, right, bottom = 40, 25, 160, 125
    is_sheet = polygon(np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left + 8, 75)]))
    picture[is_sheet] = WHITE
    bare = cover_desk(picture)
    assert bare is not None
    assert np.abs(bare.astype(int) - WHITE).max() <= 6


def test_the_dark_edge_of_a_sheet_is_left_out_with_the_desk() -> None:
    picture = striped(WOOD)
    picture[25:125, 40:160] = WHITE
    picture[25:125, 40:43] = 60
    bare = cover_desk(picture)
    assert bare is not None
    assert np.abs(bare.astype(int) - WHITE).max() <= 6


def test_paper_goes_on_where_the_desk_was_and_the_sheet_stays_as_it_is() -> None:
    slope = np.linspace(0.8, 1.0, WIDTH)[:, np.newaxis]
    light = np.broadcast_to(np.array(WHITE) * slope, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    is_sheet = polygon(corners(10))
    picture = np.where(is_sheet[..., np.newaxis], light, striped(WOOD))
    cv2.line(picture, (90, 60), (110, 95), (40, 40, 90), 6)
    bare = cover_desk(picture)
    assert bare is not None
    inner = cv2.erode(is_sheet.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    np.testing.assert_array_equal(bare[inner], picture[inner])
    assert np.abs(bare[~inner].astype(int) - light[~inner]).max() <= 4


def test_paper_of_two_shades_goes_on_as_the_mean_of_both() -> None:
    picture = striped(GREY)
    y, x = np.indices((HEIGHT, WIDTH))
    checks = np.where(((x + y) % 2 == 0)[..., np.newaxis], YELLOW, np.array(YELLOW) - 6).astype(np.uint8)
    is_sheet = polygon(corners(5))
    picture[is_sheet] = checks[is_sheet]
    bare = cover_desk(picture)
    assert bare is not None
    assert np.abs(bare[0, 0].astype(int) - YELLOW).max() <= 6


def not_a_sheet(name: str) -> Picture:
    """Return a picture of which nothing may be left out."""
    y, x = np.indices((HEIGHT, WIDTH))
    plain = np.full((HEIGHT, WIDTH, 3), WHITE, np.uint8)
    desk = striped(WOOD)
    if name == "plain":
        return plain
    if name == "narrow":
        return np.where((x < 100)[..., np.newaxis], plain, desk)[:25]
    if name == "gradient":
        share = x[..., np.newaxis] / WIDTH
        return (plain * (1 - share) + desk * share).astype(np.uint8)
    if name == "disc":
        return np.where((np.hypot(x - 100, y - 75) < 60)[..., np.newaxis], plain, desk)
    if name == "corner":
        return np.where(((x < 60) | (y > 100))[..., np.newaxis], plain, desk)
    if name == "small":
        return np.where(((abs(x - 100) < 30) & (abs(y - 75) < 25))[..., np.newaxis], plain, desk)
    if name == "almost all":
        return np.where((x > 8)[..., np.newaxis], plain, desk)
    if name == "ring":
        ring = plain.copy()
        cv2.rectangle(ring, (70, 45), (130, 105), WOOD, -1)
        return np.where(polygon(corners(0))[..., np.newaxis], ring, desk)
    if name == "shadow":
        return np.where((x < 90)[..., np.newaxis], desk, (desk * 0.5).astype(np.uint8))
    smooth = np.full((HEIGHT, WIDTH, 3), WOOD, np.uint8)
    assert name == "smooth desk"
    return np.where(polygon(corners(10))[..., np.newaxis], plain, smooth)


@pytest.mark.parametrize(
    "name",
    [
        *("plain", "narrow", "gradient", "disc", "corner", "small", "almost all", "ring", "shadow"),
        "smooth desk",
    ],
)
def test_what_is_no_sheet_on_a_patterned_desk_is_left_alone(name: str) -> None:
    assert cover_desk(not_a_sheet(name)) is None


def test_of_a_sheet_narrower_than_its_edges_nothing_is_left() -> None:
    picture = striped(WOOD)
    is_sheet = np.zeros((HEIGHT, WIDTH), bool)
    is_sheet[70:76] = True
    assert leave_only(is_sheet, picture) is None
    is_sheet[60:90] = True
    assert leave_only(is_sheet, picture) is not None


def test_a_grey_picture_is_left_alone() -> None:
    picture = striped(WOOD)
    picture[polygon(corners(10))] = WHITE
    assert cover_desk(picture) is not None
    assert cover_desk(picture[..., :1]) is None


def read(recognizer: Recognizer, folder: Path, pictures: list[Picture]) -> list[str]:
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures):
        Image.fromarray(picture).save(path)
    return [one.text if isinstance(one, Prediction) else str(one) for one in recognizer.read(paths)]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams")


def test_digits_on_notes_are_read_on_patterned_desks(recognizer: Recognizer, tmp_path: Path) -> None:
    images, labels = make_strokes(8, seed=31)
    # What the network reads of a digit without a desk is not the matter here.
    sheets = [np.pad(255 - cv2.resize(image, (70, 70)), 100, constant_values=255) for image in images]
    without_desk = read(recognizer, tmp_path, sheets)
    assert np.mean([text == str(label) for text, label in zip(without_desk, labels)]) > 0.8
    pictures = []
    for number, image in enumerate(images):
        paper, desk = ((YELLOW, GREY), (WHITE, WOOD))[number % 2]
        picture = striped(desk, 4)
        note = cv2.fillPoly(np.zeros(picture.shape[:2], np.uint8), [4 * corners(2 * number - 12, 110)], 1) > 0
        picture[note] = paper
        ink = np.zeros(picture.shape[:2], np.float32)
        ink[270:340, 400:470] = cv2.resize(image, (70, 70), interpolation=cv2.INTER_CUBIC) / 255
        mixed = picture * (1 - ink[..., np.newaxis]) + np.array((50, 50, 80)) * ink[..., np.newaxis]
        pictures.append(np.clip(mixed, 0, 255).astype(np.uint8))
    assert read(recognizer, tmp_path, pictures) == without_desk


@pytest.mark.parametrize("desk", [striped(WOOD, 3), np.full((3 * HEIGHT, 3 * WIDTH, 3), GREY, np.uint8)])
def test_all_notes_are_read(recognizer: Recognizer, tmp_path: Path, desk: Picture) -> None:
    picture = desk.copy()
    for number, left in enumerate((40, 230, 420)):
        cv2.rectangle(picture, (left, 130), (left + 140, 310), YELLOW, -1)
        write(picture, "274"[number], left + 30, 260, 4)
    assert read(recognizer, tmp_path, [picture]) == ["274"]


def test_digits_on_and_beside_a_coloured_field_are_read(recognizer: Recognizer, tmp_path: Path) -> None:
    halves = np.full((3 * HEIGHT, 3 * WIDTH, 3), WHITE, np.uint8)
    halves[:, 300:] = YELLOW
    marked = np.full((3 * HEIGHT, 3 * WIDTH, 3), WHITE, np.uint8)
    marked[60:400, 215:400] = (255, 250, 120)
    for left, text in ((60, "2"), (260, "7"), (460, "4")):
        write(halves, text, left, 280, 4)
        write(marked, text, left, 280, 4)
    assert read(recognizer, tmp_path, [halves, marked]) == ["274", "274"]


@pytest.mark.parametrize("turn", [0, 6, -10])
def test_pencil_on_a_scrap_of_ruled_paper_is_read_on_a_smooth_desk(
    recognizer: Recognizer, tmp_path: Path, turn: float
) -> None:
    turned = cv2.getRotationMatrix2D((1.5 * WIDTH, 1.5 * HEIGHT), turn, 1)
    pictures = []
    for text in "3258":
        picture = np.full((3 * HEIGHT, 3 * WIDTH, 3), 40, np.uint8)
        picture[80:370, 120:480] = WHITE
        picture[100:370:50, 120:480] = picture[101:370:50, 120:480] = 130
        cv2.putText(picture, text, (250, 280), cv2.FONT_HERSHEY_SIMPLEX, 5, (130, 130, 130), 14)
        pictures.append(cv2.warpAffine(picture, turned, (3 * WIDTH, 3 * HEIGHT), borderValue=(40, 40, 40)))
    assert read(recognizer, tmp_path, pictures) == list("3258")


def test_a_digit_on_a_round_label_is_read_and_the_label_is_no_zero(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    pictures = []
    for text in "3249":
        picture = np.full((3 * HEIGHT, 3 * WIDTH, 3), (60, 65, 75), np.uint8)
        cv2.circle(picture, (300, 225), 150, (240, 145, 50), -1)
        write(picture, text, 250, 280, 5)
        pictures.append(picture)
    assert read(recognizer, tmp_path, pictures) == list("3249")


def test_a_digit_half_in_a_coloured_shadow_stays_whole() -> None:
    picture = np.full((HEIGHT, WIDTH, 3), (250, 222, 175), np.uint8)
    picture[:, 100:] = (95, 100, 108)
    cv2.putText(picture, "5", (70, 110), cv2.FONT_HERSHEY_SIMPLEX, 3, (40, 40, 50), 10)
    assert cover_desk(picture) is None


def test_the_stages_show_the_picture_without_its_desk(tmp_path: Path) -> None:
    plain = np.full((HEIGHT, WIDTH, 3), WHITE, np.uint8)
    on_desk = striped(WOOD)
    cv2.fillPoly(on_desk, [corners(10)], WHITE)
    for picture, expected in ((plain, False), (on_desk, True)):
        write(picture, "7", 85, 95)
        Image.fromarray(picture).save(tmp_path / "seven.png")
        stages = read_page(tmp_path / "seven.png", keep_stages=True).guesses[0].stages
        assert ("prepared" in stages) == expected
    assert np.abs(stages["prepared"][:5].astype(int) - WHITE).max() <= 4


def test_a_broad_digit_on_a_pattern_is_read_though_it_passes_for_a_sheet(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    picture = striped(GREY, 2)
    cv2.rectangle(picture, (160, 30), (240, 270), (90, 30, 30), -1)
    assert cover_desk(picture) is not None
    assert read(recognizer, tmp_path, [picture]) == ["1"]
