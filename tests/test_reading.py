"""The shipped network reads whole pictures: digits cut out at their edges, in pieces, and pages of many."""

from __future__ import annotations

import difflib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.choice import pick_one
from app.datasets import Digits
from app.datasets.strokes import make_strokes
from app.pictures import is_for_one, read_page
from app.recognizer import Prediction, Recognizer
from app.runtime import REPOSITORY
from tests.paper import squared_paper
from tests.photos import make_blank

PRETRAINED = REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams"

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(PRETRAINED)


def texts(
    recognizer: Recognizer, folder: Path, pictures: list[Picture], *, inverts: bool = True
) -> list[str]:
    """Return what is read in each picture; every second one is inverted first, unless told otherwise."""
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(folder / f"{number:04}.png")
        Image.fromarray(255 - picture if inverts and number % 2 else picture).save(paths[-1])
    read = list(recognizer.read(paths))
    assert all(isinstance(prediction, Prediction) for prediction in read)
    return [prediction.text for prediction in read if isinstance(prediction, Prediction)]


def share_right(read: list[str], labels: NDArray[np.int64]) -> float:
    """Return the share of the pictures in which the digit is read that is in them, and nothing else."""
    return float(np.mean([text == str(label) for text, label in zip(read, labels)]))


def cut_out(image: Picture) -> Picture:
    """Return a digit without any margin."""
    rows, columns = np.nonzero(image.max(axis=1) > 40)[0], np.nonzero(image.max(axis=0) > 40)[0]
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def to_side(image: Picture, side: int) -> Picture:
    scale = side / max(image.shape)
    size = max(3, round(image.shape[1] * scale)), max(3, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def to_frame(image: Picture, side: int) -> Picture:
    """Return a digit that nearly fills a square."""
    digit = to_side(cut_out(image), round(0.9 * side))
    down, right = side - digit.shape[0], side - digit.shape[1]
    return np.pad(digit, ((down // 2, down - down // 2), (right // 2, right - right // 2)))


def to_square(image: Picture) -> Picture:
    """Return it stretched to 16x16, black and white: a form that data sets of digits come in."""
    stretched = cv2.resize(image, (16, 16), interpolation=cv2.INTER_CUBIC)
    return np.where(stretched > 110, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(("side", "count"), [(24, 60), (60, 60), (300, 30)])
def test_digits_cut_out_along_their_edges_are_read_whole(
    recognizer: Recognizer, tmp_path: Path, side: int, count: int
) -> None:
    images, labels = make_strokes(count, seed=15)
    read = texts(recognizer, tmp_path, [to_side(cut_out(image), side) for image in images])
    assert share_right(read, labels) >= 0.95


@pytest.mark.parametrize("margin", [4, 40, 120])
def test_the_paper_around_a_digit_is_not_taken_for_a_zero(
    recognizer: Recognizer, tmp_path: Path, margin: int
) -> None:
    pictures = []
    for flag in ((40, 55), (35, 70), (20, 50)):
        picture = np.zeros((180, 90), np.uint8)
        cv2.polylines(
            picture, [np.array([flag, (65, 12), (65, 168)])], isClosed=False, color=255, thickness=14
        )
        pictures.append(np.pad(cut_out(picture), margin))
    assert texts(recognizer, tmp_path, pictures * 2) == ["1"] * 6


def test_the_bar_of_a_seven_along_the_frame_is_no_line_of_a_table(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    picture = np.zeros((180, 110), np.uint8)
    cv2.polylines(
        picture, [np.array([(8, 10), (98, 10), (45, 172)])], isClosed=False, color=255, thickness=14
    )
    pictures = [to_side(cut_out(picture), side) for side in (24, 24, 40, 40, 120, 120)]
    assert texts(recognizer, tmp_path, pictures) == ["7"] * 6


@pytest.mark.parametrize("turns", range(4))
def test_a_digit_that_touches_the_line_of_its_cell_is_read_without_it(
    recognizer: Recognizer, tmp_path: Path, turns: int
) -> None:
    images, labels = make_strokes(30, seed=9)
    pictures = []
    for number, image in enumerate(images):
        cell = np.zeros((64, 80), np.uint8)
        beyond = number % 3 * 2
        # The digit reaches into the line at the top, once the cell is turned that way.
        digit = np.rot90(to_side(cut_out(image), 34), -turns)
        cell[beyond + 2 :, 24:][: digit.shape[0], : digit.shape[1]] = digit
        cell[beyond : beyond + 3] = 200
        pictures.append(np.ascontiguousarray(np.rot90(cell, turns)))
    read = texts(recognizer, tmp_path, pictures)
    assert share_right(read, labels) >= 0.9


@pytest.mark.parametrize("light", [0.6, 0.8])
def test_dithered_digits_are_read(recognizer: Recognizer, tmp_path: Path, light: float) -> None:
    images, labels = make_strokes(40, seed=41)
    pictures = []
    for image in images:
        grey = light * (255 - cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR))
        dithered = Image.fromarray(grey.round().astype(np.uint8)).convert("1")
        pictures.append(np.where(np.asarray(dithered), 255, 0).astype(np.uint8))
    assert share_right(texts(recognizer, tmp_path, pictures), labels) >= 0.95


def test_digits_in_the_dark_are_read(recognizer: Recognizer, tmp_path: Path) -> None:
    images, labels = make_strokes(20, seed=43)
    rng = np.random.default_rng(43)
    pictures = []
    for image in images:
        page = np.pad(to_side(cut_out(image), 150), 150)
        page = np.pad(page, ((0, 0), (0, 450 - page.shape[1])))
        grey = rng.normal(60 - page / 6, 22)
        pictures.append(grey.clip(0, 255).round().astype(np.uint8))
    assert share_right(texts(recognizer, tmp_path, pictures, inverts=False), labels) >= 0.9


def write_touching(seed: int, count: int) -> tuple[list[Picture], list[str]]:
    """Return pictures, [100, 240], of numbers of three digits, each of which begins in the one before."""
    images, labels = make_strokes(3 * count, seed=seed)
    pictures, numbers = [], []
    for first in range(0, 3 * count, 3):
        picture = np.zeros((100, 240), np.uint8)
        end = 20
        for image in images[first : first + 3]:
            digit = to_side(cut_out(image), 60)[:, : 240 - end]
            height, width = digit.shape
            picture[80 - height : 80, end : end + width] |= digit
            end = int(np.flatnonzero((picture > 60).any(axis=0))[-1]) - 3
        pictures.append(picture)
        numbers.append("".join(map(str, labels[first : first + 3])))
    return pictures, numbers


def test_digits_that_touch_are_read_one_by_one_and_doubted(recognizer: Recognizer, tmp_path: Path) -> None:
    pictures, numbers = write_touching(31, 20)
    read = texts(recognizer, tmp_path, pictures)
    assert np.mean([text == number for text, number in zip(read, numbers)]) >= 0.5
    found = [one for one in recognizer.read(sorted(tmp_path.iterdir())) if isinstance(one, Prediction)]
    right = [one for one, number in zip(found, numbers) if one.text == number]
    # Some are apart by chance.
    assert np.mean(["digits touch" in str(one.warning) for one in right]) >= 0.5
    lefts = [[digit.box[0] for digit in one.digits] for one in right]
    assert lefts == [sorted(boxes) for boxes in lefts]


def test_a_wide_digit_is_read_whole(recognizer: Recognizer, tmp_path: Path) -> None:
    picture = np.zeros((120, 260), np.uint8)
    cv2.ellipse(picture, (130, 60), (80, 42), 0, 0, 360, 255, 9)
    assert texts(recognizer, tmp_path, [picture] * 2) == ["0"] * 2


def test_what_is_known_to_be_one_digit_is_never_parted(tmp_path: Path) -> None:
    (picture, *_), _ = write_touching(31, 1)
    Image.fromarray(picture).save(tmp_path / "number.png")
    guess = read_page(tmp_path / "number.png").guesses[0]
    is_part = np.array([cut.way.is_part for cut in guess.candidates])
    assert is_part.any()
    # Though each part reads better than the whole.
    assert not is_part[pick_one(guess, np.where(is_part, 0.0, 30.0))]


@pytest.mark.parametrize(("margin", "is_so"), [(25, True), (0, False)])
def test_nothing_is_parted_in_a_small_picture_unless_it_is_wide(
    tmp_path: Path, margin: int, is_so: bool
) -> None:
    (picture, *_), _ = write_touching(31, 1)
    small = cv2.resize(picture, (120, 50), interpolation=cv2.INTER_AREA)
    Image.fromarray(np.pad(small, ((margin, margin), (0, 0)))).save(tmp_path / "number.png")
    page = read_page(tmp_path / "number.png")
    assert is_for_one(page.size) == is_so
    ways = [cut.way for guess in page.guesses for cut in guess.candidates]
    assert any(way.is_part for way in ways) != is_so


def test_digits_stretched_to_a_square_are_read_but_for_ones(recognizer: Recognizer, tmp_path: Path) -> None:
    images, labels = make_strokes(60, seed=6)
    read = texts(recognizer, tmp_path, [to_square(cut_out(image)) for image in images])
    # A one that fills a square may be anything.
    assert np.mean([text == str(label) for text, label in zip(read, labels) if label != 1]) >= 0.85


@pytest.mark.parametrize("is_bitmap", [True, False])
def test_digits_as_tall_as_a_tiny_picture_are_read(
    recognizer: Recognizer, tmp_path: Path, is_bitmap: bool
) -> None:
    images, labels = make_strokes(75, seed=19)
    pictures = []
    for image in images:
        digit = cut_out(image)
        digit = cv2.resize(digit, (max(5, min(14, round(16 * digit.shape[1] / digit.shape[0]))), 16))
        digit = np.where(digit > 110, 255, 0).astype(np.uint8) if is_bitmap else digit
        margin = 16 - digit.shape[1]
        pictures.append(np.pad(digit, ((0, 0), (margin // 2, margin - margin // 2))))
    assert share_right(texts(recognizer, tmp_path, pictures), labels) >= 0.93


def test_zeros_that_touch_one_edge_of_a_tiny_picture_are_read(recognizer: Recognizer, tmp_path: Path) -> None:
    images, labels = make_strokes(300, seed=43)
    pictures = []
    for image in images[labels == 0]:
        for side in range(2):
            pads = np.full((2, 2), 2)
            pads[0, side] = 0
            pictures.append(np.pad(to_side(cut_out(image), 16), pads.tolist()))
    read = texts(recognizer, tmp_path, pictures)
    assert len(read) > 40
    assert read == ["0"] * len(read)


@pytest.mark.parametrize("side", [40, 250])
def test_digits_cut_out_along_their_edges_are_read_where_the_light_slopes(
    recognizer: Recognizer, tmp_path: Path, side: int
) -> None:
    images, labels = make_strokes(30, seed=20)
    generator = np.random.default_rng(0)
    pictures = []
    for image in images:
        ink = to_side(cut_out(image), side) / 255
        y, x = np.indices(ink.shape) / side - 0.5
        down, right = generator.uniform(-0.5, 0.5, 2)
        pictures.append(((190 - 130 * ink) * (1 + down * y + right * x)).clip(0, 255).astype(np.uint8))
    assert share_right(texts(recognizer, tmp_path, pictures, inverts=False), labels) >= 0.95


def blurred(image: Picture, side: int) -> Picture:
    """Return a digit in a broad pen as tall as the picture, a square enlarged from 8x8."""
    digit = cut_out(cv2.dilate(image, np.ones((2, 2), np.uint8)))
    columns = max(3, min(7, round(8 * digit.shape[1] / digit.shape[0])))
    few = cv2.resize(digit, (columns, 8), interpolation=cv2.INTER_AREA)
    few = np.pad(few, ((0, 0), ((8 - columns) // 2, (9 - columns) // 2)))
    return cv2.resize(few, (side, side), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize(
    ("side", "count", "least"), [(28, 100, 0.98), (64, 100, 0.98), (160, 50, 0.9), (300, 30, 0.9)]
)
def test_blurred_digits_as_tall_as_the_picture_are_read(
    recognizer: Recognizer, tmp_path: Path, side: int, count: int, least: float
) -> None:
    images, labels = make_strokes(count, seed=21)
    pictures = [blurred(image, side) for image in images]
    assert share_right(texts(recognizer, tmp_path, pictures), labels) >= least


@pytest.mark.parametrize(
    ("side", "count", "least"),
    [(24, 60, 0.95), (48, 60, 0.95), (120, 40, 0.95), (300, 24, 0.85), (700, 8, 0.8)],
)
def test_digits_nearly_as_tall_as_a_small_picture_are_read_where_the_light_falls_off(
    recognizer: Recognizer, tmp_path: Path, side: int, count: int, least: float
) -> None:
    images, labels = make_strokes(count, seed=22)
    pictures = []
    for number, image in enumerate(images):
        y, x = np.indices((side, side)) / side
        # From one of the corners.
        away = np.hypot(y - number // 2 % 2, x - number // 4 % 2)
        light = 1 - 0.4 * away**2
        ink = cv2.GaussianBlur(to_frame(image, side), (0, 0), 0.03 * side) / 255
        pictures.append((220 * light * (1 - 0.6 * ink)).round().astype(np.uint8))
    assert share_right(texts(recognizer, tmp_path, pictures), labels) >= least


@pytest.mark.parametrize(("rows", "columns"), [(1, 6), (4, 6), (8, 10)])
def test_a_page_of_many_digits_is_read_line_by_line(
    recognizer: Recognizer, tmp_path: Path, rows: int, columns: int
) -> None:
    images, labels = make_strokes(2 * rows * columns, seed=7)
    tiles = np.pad(images, ((0, 0), (8, 8), (3, 3))).reshape(2, rows, columns, 44, 34)
    pages = tiles.transpose(0, 1, 3, 2, 4).reshape(2, rows * 44, columns * 34)
    read = texts(recognizer, tmp_path, [to_side(np.pad(page, 10), 900) for page in pages])
    for text, truth in zip(read, labels.reshape(2, rows, columns)):
        expected = "\n".join("".join(map(str, line)) for line in truth)
        assert text.count("\n") == rows - 1
        assert difflib.SequenceMatcher(None, text, expected, autojunk=False).ratio() >= 0.95


def test_a_page_keeps_the_lines_that_are_written_along_its_edges(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    images, labels = make_strokes(24, seed=8)
    page = np.zeros((420, 500), np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, 6)
        page[12 + row * 110 :, 12 + column * 80 :][:56, :56] = to_side(image, 56)
    (text, _) = texts(recognizer, tmp_path, [page] * 2)
    assert [len(line) for line in text.split("\n")] == [6] * 4
    expected = "\n".join("".join(map(str, line)) for line in labels.reshape(4, 6))
    assert difflib.SequenceMatcher(None, text, expected, autojunk=False).ratio() >= 0.9


def test_a_number_in_a_strip_cut_close_keeps_its_upright_strokes(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    strip = np.zeros((70, 640), np.uint8)
    for column in range(9):
        cv2.line(strip, (40 + column * 68, 6), (40 + column * 68, 64), 255, 6)
    assert texts(recognizer, tmp_path, [strip] * 2) == ["1" * 9] * 2


@pytest.mark.parametrize("breadth", [6, 12])
def test_a_black_strip_along_a_side_of_a_tiny_picture_is_no_one(
    recognizer: Recognizer, tmp_path: Path, breadth: int
) -> None:
    images, labels = make_strokes(20, seed=31)
    pictures = []
    for image in images:
        picture = np.zeros((64, 60), np.uint8)
        picture[14:50, 20:56] = 0.7 * to_side(image, 36)
        picture[:, :breadth] = 255
        pictures.append(picture)
    assert share_right(texts(recognizer, tmp_path, pictures), labels) >= 0.95


@pytest.mark.parametrize("around", ["box", "circle", "open circle"])
@pytest.mark.parametrize("inset", [4, 12])
def test_a_digit_in_a_box_or_a_circle_is_read_without_it(
    recognizer: Recognizer, tmp_path: Path, around: str, inset: int
) -> None:
    images, labels = make_strokes(14, seed=9)
    pictures = []
    for image in images:
        picture = np.zeros((220, 220), np.uint8)
        picture[60:160, 60:160] = to_side(image, 100)
        if around == "box":
            cv2.rectangle(picture, (inset, inset), (219 - inset, 219 - inset), 255, 4)
        else:
            radius, last = 109 - inset, 360 if around == "circle" else 346
            cv2.ellipse(picture, (110, 110), (radius, radius), -80, 0, last, 255, 4)
        pictures.append(picture)
    read = texts(recognizer, tmp_path, pictures)
    assert share_right(read, labels) >= 0.9


@pytest.mark.parametrize("lines", [1, 2])
def test_underlined_digits_are_read_without_the_line(
    recognizer: Recognizer, tmp_path: Path, lines: int
) -> None:
    images, labels = make_strokes(12, seed=13)
    pictures = []
    for image in images:
        picture = np.zeros((400, 500), np.uint8)
        picture[80:260, 150:330] = to_side(image, 180)
        for line in range(lines):
            cv2.line(picture, (120, 262 + 22 * line), (360, 268 + 22 * line), 255, 7)
        pictures.append(picture)
    read = texts(recognizer, tmp_path, pictures)
    assert share_right(read, labels) >= 0.9


@pytest.mark.parametrize(("lines", "shade"), [(1, 140), (2, 140), (1, 255)])
def test_a_digit_in_a_cell_is_read_without_its_lines(
    recognizer: Recognizer, tmp_path: Path, lines: int, shade: int
) -> None:
    images, labels = make_strokes(12, seed=14)
    pictures = []
    for image in images:
        picture = (0.4 * np.pad(to_side(image, 80), ((30, 30), (40, 40)))).astype(np.uint8)
        for line in range(lines):
            near = 3 + 9 * line
            for end in (near, 136 - near):
                cv2.line(picture, (0, end), (159, end), shade, 3)
            for end in (near, 156 - near):
                cv2.line(picture, (end, 0), (end, 139), shade, 3)
        pictures.append(picture)
    read = texts(recognizer, tmp_path, pictures)
    assert share_right(read, labels) >= 0.9


@pytest.mark.parametrize("gap", [6, 16])
def test_a_two_whose_base_is_apart_is_one_digit(recognizer: Recognizer, tmp_path: Path, gap: int) -> None:
    picture = np.zeros((400, 400), np.uint8)
    cv2.ellipse(picture, (200, 150), (55, 60), 0, 180, 380, 255, 14)
    cv2.line(picture, (250, 175), (150, 293 - gap), 255, 14)
    cv2.line(picture, (140, 307), (270, 305), 255, 14)
    assert texts(recognizer, tmp_path, [picture] * 2) == ["2", "2"]


@pytest.mark.parametrize("gap", [0, 20, 40, 60])
def test_a_five_whose_bar_is_apart_is_one_digit(recognizer: Recognizer, tmp_path: Path, gap: int) -> None:
    picture = np.zeros((400, 400), np.uint8)
    cv2.line(picture, (160, 120), (155, 190), 255, 14)
    cv2.ellipse(picture, (175, 240), (60, 55), 0, -110, 130, 255, 14)
    cv2.line(picture, (165 + gap, 118 - gap // 3), (245 + gap, 112 - gap // 3), 255, 14)
    assert texts(recognizer, tmp_path, [picture] * 2) == ["5", "5"]


@pytest.mark.parametrize("end", [(600, 599), (760, 500)], ids=["cut by the frame", "whole"])
def test_a_pen_that_lies_beside_a_digit_is_not_read(
    recognizer: Recognizer, tmp_path: Path, end: tuple[int, int]
) -> None:
    images, labels = make_strokes(5, seed=11)
    pictures = []
    for image in images:
        picture = np.zeros((600, 800), np.uint8)
        picture[240:360, 180:300] = to_side(image, 120)
        cv2.line(picture, (380, 150), end, 255, 18)
        pictures.append(picture)
    read = texts(recognizer, tmp_path, pictures, inverts=False)
    assert share_right(read, labels) >= 0.8


def test_a_black_corner_beside_a_pale_digit_is_no_one(recognizer: Recognizer, tmp_path: Path) -> None:
    images, labels = make_strokes(8, seed=12)
    pictures = []
    for number, image in enumerate(images):
        picture = np.full((700, 520), 235, np.uint8)
        digit = to_side(image, 150)
        place = picture[180 : 180 + digit.shape[0], 190 : 190 + digit.shape[1]]
        place -= (digit * 0.25).astype(np.uint8)
        cv2.fillPoly(picture, [np.array([(0, 620), (0, 699), (9 + number, 699)])], 20)
        pictures.append(picture)
    assert share_right(texts(recognizer, tmp_path, pictures, inverts=False), labels) == 1


@pytest.mark.parametrize("width", [506, 300, 150])
def test_half_a_sheet_in_a_hard_shadow_is_no_digit(
    recognizer: Recognizer, tmp_path: Path, width: int
) -> None:
    y, x = np.indices((675, 506))
    pictures = []
    for digit in ([(212, 530), (240, 500), (232, 615)], [(180, 510), (250, 505), (200, 615)]):
        picture = np.where(1.3 * x < y, 110.0, 175.0)
        picture += np.random.default_rng(1).normal(0, 2, picture.shape)
        ink = cv2.polylines(np.zeros((675, 506), np.uint8), [np.array(digit)], False, 255, 7)
        picture *= 1 - 0.4 * cv2.GaussianBlur(ink, (5, 5), 1) / 255
        pixels = picture.clip(0, 255).astype(np.uint8)
        pictures.append(cv2.resize(pixels, (width, width * 4 // 3), interpolation=cv2.INTER_AREA))
    assert texts(recognizer, tmp_path, pictures, inverts=False) == ["1", "7"]


def beside_desk(digit: list[tuple[int, int]]) -> Picture:
    """Return a small photo of a pale digit on paper, with a strip of a dark desk along the left."""
    picture = np.full((232, 310), 185.0)
    picture[:, :46] = 35
    ink = cv2.polylines(np.zeros(picture.shape, np.uint8), [90 + np.array(digit)], False, 255, 3)
    picture *= 1 - 0.3 * cv2.GaussianBlur(ink, (3, 3), 0.7) / 255
    picture += np.random.default_rng(0).normal(0, 2, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def test_a_strip_of_the_desk_beside_a_pale_digit_in_a_small_photo_is_no_digit(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    digits = ([(0, 20), (16, 4), (32, 16), (6, 88), (40, 88)], [(0, 6), (44, 4), (16, 88)])
    read = texts(recognizer, tmp_path, [beside_desk(digit) for digit in digits], inverts=False)
    assert read == ["2", "7"]


def test_the_strong_edge_of_a_desk_makes_pale_ink_no_less_likely(tmp_path: Path) -> None:
    Image.fromarray(beside_desk([(0, 6), (44, 4), (16, 88)])).save(tmp_path / "7.png")
    likeliest = read_page(tmp_path / "7.png").guesses[0]
    assert likeliest.candidates[0].digit.box[0] > 80
    assert likeliest.likelihood > -0.2


def test_a_tall_one_beside_a_mark_is_no_pen(recognizer: Recognizer, tmp_path: Path) -> None:
    picture = np.zeros((600, 400), np.uint8)
    cv2.line(picture, (200, 60), (195, 540), 255, 24)
    cv2.ellipse(picture, (330, 500), (22, 30), 0, 0, 300, 255, 8)
    assert texts(recognizer, tmp_path, [picture] * 2) == ["1", "1"]


@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_digits_on_squared_paper_are_read_without_its_lines(
    recognizer: Recognizer, tmp_path: Path, slope: float
) -> None:
    images, labels = make_strokes(5, seed=11)
    pictures = []
    for number, image in enumerate(images):
        picture = squared_paper((600, 600), 140, slope, 90, 5)
        digit = to_side(image, 220)
        left, top = 60 + 35 * number, 340 - 31 * number
        part = picture[top : top + 220, left : left + 220]
        np.maximum(part, digit, out=part)
        pictures.append(picture)
    read = texts(recognizer, tmp_path, pictures)
    assert share_right(read, labels) >= 0.8


@pytest.mark.parametrize(("slope", "step"), [(0.03, 14), (0.3, 30)])
def test_digits_on_fine_or_slanting_squares_are_read_if_they_are_darker(
    recognizer: Recognizer, tmp_path: Path, slope: float, step: int
) -> None:
    images, labels = make_strokes(3, seed=5)
    pictures = []
    for image in images:
        picture = squared_paper((1000, 750), step, slope, 70, 2)
        digit = to_side(image, 120)
        part = picture[300 : 300 + digit.shape[0], 400 : 400 + digit.shape[1]]
        np.maximum(part, digit, out=part)
        pictures.append(cv2.GaussianBlur(picture, (0, 0), 0.7))
    read = texts(recognizer, tmp_path, [255 - picture for picture in pictures], inverts=False)
    assert share_right(read, labels) == 1


@pytest.mark.parametrize(
    ("size", "step", "thickness", "shade"), [((1000, 750), 36, 2, 70), ((800, 600), 25, 1, 75)]
)
def test_a_digit_as_small_as_the_squares_is_read(
    recognizer: Recognizer, tmp_path: Path, size: tuple[int, int], step: int, thickness: int, shade: int
) -> None:
    images, labels = make_strokes(3, seed=21)
    pictures = []
    for image in images:
        picture = squared_paper(size, step, 0.02, shade, thickness)
        digit = to_side(image, 2 * step)
        part = picture[300 : 300 + digit.shape[0], 400 : 400 + digit.shape[1]]
        np.maximum(part, digit, out=part)
        pictures.append(picture)
    assert share_right(texts(recognizer, tmp_path, pictures), labels) == 1


def test_a_number_whose_digits_the_edge_cuts_is_read_whole(recognizer: Recognizer, tmp_path: Path) -> None:
    picture = np.zeros((60, 170), np.uint8)
    for left, bottom in ((20, 54), (70, 62)):
        cv2.ellipse(picture, (left + 14, bottom - 40), (13, 12), 0, -150, 90, 255, 6)
        cv2.ellipse(picture, (left + 14, bottom - 15), (15, 13), 0, -90, 150, 255, 6)
    cv2.ellipse(picture, (134, 31), (14, 25), 0, 0, 360, 255, 6)
    assert texts(recognizer, tmp_path, [picture] * 2) == ["330", "330"]


@pytest.mark.parametrize("shape", ["round", "square"])
def test_the_narrow_hole_of_a_thick_light_zero_is_no_ink(
    recognizer: Recognizer, tmp_path: Path, shape: str
) -> None:
    picture = np.zeros((800, 800), np.uint8)
    if shape == "round":
        cv2.ellipse(picture, (400, 400), (220, 300), 0, 0, 360, 255, -1)
        cv2.line(picture, (400, 300), (400, 500), 0, 16)
    else:
        cv2.rectangle(picture, (240, 160), (560, 640), 255, -1)
        cv2.ellipse(picture, (400, 400), (45, 140), 0, 0, 360, 0, -1)
    assert texts(recognizer, tmp_path, [picture] * 2) == ["0", "0"]


def test_a_one_in_two_halves_and_a_low_five_belong_to_a_number(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    picture = np.zeros((400, 900), np.uint8)
    for left in (80, 640):
        cv2.polylines(picture, [np.array([(left, 120), (left + 90, 120), (left + 40, 300)])], False, 255, 16)
    cv2.line(picture, (300, 118), (297, 190), 255, 16)
    cv2.line(picture, (296, 222), (293, 300), 255, 16)
    cv2.polylines(
        picture, [np.array([(450, 230), (440, 262), (480, 270), (480, 296), (430, 300)])], False, 255, 12
    )
    cv2.line(picture, (466, 228), (560, 226), 255, 12)
    assert texts(recognizer, tmp_path, [picture] * 2) == ["7157", "7157"]


@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize("start", [(345, 330), (260, 330)], ids=["beside", "across"])
def test_the_soft_shadow_of_a_pencil_is_not_read(
    recognizer: Recognizer, tmp_path: Path, turns: int, start: tuple[int, int]
) -> None:
    images, labels = make_strokes(5, seed=16)
    pictures = []
    for image in images:
        shadow = np.zeros((600, 800), np.float32)
        cv2.line(shadow, start, (780, 590), 1, 55)
        shadow = cv2.GaussianBlur(shadow, (0, 0), 12)
        digit = np.zeros(shadow.shape, np.float32)
        digit[250:350, 230:330] = np.rot90(to_side(image, 100), -turns) / np.float32(255)
        picture = (200 * (1 - 0.4 * shadow) * (1 - 0.7 * digit)).astype(np.uint8)
        pictures.append(np.ascontiguousarray(np.rot90(picture, turns)))
    # Shadows are dark.
    read = texts(recognizer, tmp_path, pictures, inverts=False)
    assert share_right(read, labels) >= 0.8


@pytest.mark.parametrize("blur", [2, 6])
def test_a_broad_soft_digit_beside_sharp_scratches_is_no_shadow(
    recognizer: Recognizer, tmp_path: Path, blur: int
) -> None:
    images, labels = make_strokes(8, seed=17)
    pictures = []
    for image in images:
        picture = np.zeros((600, 800), np.float32)
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
        picture[120:420, 180:480] = 0.45 * cv2.dilate(to_side(image, 300), brush)
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
        for ends in (((620, 120), (640, 230)), ((700, 300), (680, 380))):
            cv2.line(picture, *ends, 220, 3, cv2.LINE_AA)
        pictures.append(picture.astype(np.uint8))
    assert share_right(texts(recognizer, tmp_path, pictures), labels) >= 0.85


def test_a_marker_digit_crossed_by_a_darker_line_is_no_shadow(recognizer: Recognizer, tmp_path: Path) -> None:
    images, labels = make_strokes(8, seed=18)
    pictures = []
    for image in images:
        digit = np.zeros((600, 800), np.uint8)
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))
        digit[120:420, 180:480] = cv2.dilate(to_side(image, 300), brush)
        digit = np.where(digit > 127, 80, 0).astype(np.uint8)
        pictures.append(cv2.line(digit, (150, 300), (520, 260), 180, 4, cv2.LINE_AA))
    assert share_right(texts(recognizer, tmp_path, pictures), labels) >= 0.85


def test_a_second_digit_beside_the_only_one_is_said(tmp_path: Path) -> None:
    images, labels = make_strokes(40, seed=7)
    pair = [np.pad(images[np.flatnonzero(labels == digit)[0]], 6) for digit in (5, 2)]
    Image.fromarray(np.kron(np.hstack(pair), np.ones((6, 6), np.uint8))).save(tmp_path / "two.png")
    Image.fromarray(np.kron(pair[0], np.ones((6, 6), np.uint8))).save(tmp_path / "one.png")
    single = Recognizer(PRETRAINED, single=True)
    two, one = single.read([tmp_path / "two.png", tmp_path / "one.png"])
    assert isinstance(two, Prediction)
    assert isinstance(one, Prediction)
    assert two.text in ("5", "2")
    assert two.warning == "beside it is ink that looks like another digit"
    assert one.text == "5"
    assert one.warning is None


def test_blank_paper_is_doubted(recognizer: Recognizer, tmp_path: Path) -> None:
    none = Digits(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
    for number in (19, 32, 101):
        data, suffix, _ = make_blank((0.3, 0.6, 1.0)[number % 3], none, np.random.default_rng([77, number]))
        (tmp_path / f"{number}{suffix}").write_bytes(data)
    for prediction in recognizer.read(sorted(tmp_path.iterdir())):
        assert isinstance(prediction, Prediction)
        assert prediction.warning is not None, prediction.path
