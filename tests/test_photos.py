"""The simulator of people's pictures: what it promises about files, labels, seeds and severity."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from app.datasets import Digits
from tests import drawings, pen, photos, scrawls

LARGE = "photo/12-megapixel"
KINDS = [kind for kind in photos.KINDS if kind != LARGE]


def make_strokes() -> Digits:
    """Make a seven (label 7) and a nought (label 0), the ways MNIST's are: soft lines 20 pixels high."""
    images = []
    for label in (7, 0):
        picture = Image.new("L", (112, 112))
        draw = ImageDraw.Draw(picture)
        if label == 7:
            draw.line([(34, 20), (78, 20), (48, 92)], fill=255, width=10, joint="curve")
        else:
            draw.ellipse([34, 18, 78, 94], outline=255, width=10)
        images.append(np.asarray(picture.reduce(4)))
    return Digits(np.array(images), np.array([7, 0]))


DIGITS = make_strokes()


def opened(picture: photos.Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data))


def made(kind: str, severity: float, seed: int = 3) -> photos.Picture:
    return photos.make_picture(kind, severity, DIGITS, np.random.default_rng(seed))


def ink_of(picture: Image.Image) -> NDArray[np.bool_]:
    """Return where a photo of dark ink on blank paper in even light has its ink."""
    grey = np.asarray(picture.convert("L"), np.float32)
    return grey < 0.6 * np.median(grey)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_an_image_file_with_its_label_and_its_ink(kind: str) -> None:
    picture = made(kind, 1.0)
    image = opened(picture)
    assert Image.registered_extensions()[picture.suffix] == image.format
    assert (picture.kind, picture.severity) == (kind, 1.0)
    if kind.startswith("none/"):
        assert picture.text == ""
    else:
        assert picture.text
        assert set(picture.text) <= set("70\n")
        assert np.ptp(np.asarray(image.convert("RGBA"), np.int16), axis=(0, 1)).max() > 20


def test_digits_touch_where_they_should() -> None:
    strokes, _ = pen.choose_digits(DIGITS, 6, np.random.default_rng(1))
    for is_touching in (False, True):
        written = pen.lay_out(
            [strokes], photos.PENS["ink"], 0.2, np.random.default_rng(2), touching=is_touching
        )
        ink = np.asarray(pen.draw(written.placed(100, 10, 10), (800, 200))) > 127
        pieces = cv2.connectedComponents(ink.astype(np.uint8), connectivity=8)[0] - 1
        assert pieces < 6 if is_touching else pieces == 6


def test_a_number_has_four_digits_and_two_lines_have_two_to_six_each() -> None:
    assert len(made("number/ink", 0.5).text) == 4
    lines = [made("number/two-lines", 0.5, seed).text.split("\n") for seed in range(4)]
    assert all(len(pair) == 2 and all(2 <= len(line) <= 6 for line in pair) for pair in lines)


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    kinds = ["drawing/corner", "photo/ruled"]
    first = photos.write_set(tmp_path / "a", kinds, 2, DIGITS, 5)
    again = photos.write_set(tmp_path / "b", kinds[1:], 2, DIGITS, 5)
    other = photos.write_set(tmp_path / "c", kinds, 2, DIGITS, 6)
    assert [one.path.read_bytes() for one in first[2:]] == [one.path.read_bytes() for one in again]
    assert all(one.path.read_bytes() != two.path.read_bytes() for one, two in zip(first, other))


def test_a_set_is_named_by_label_and_number(tmp_path: Path) -> None:
    written = photos.write_set(tmp_path, ["number/two-lines", "none/noise"], 2, DIGITS, 0)
    assert [one.severity for one in written] == [0, 1, 0, 1]
    for one in written:
        label = one.text.replace("\n", "-") or "none"
        assert one.path.parent == tmp_path / one.source
        assert one.path.name.startswith(f"{label}_000")
        assert one.path.is_file()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_comes_upright_by_its_exif_tag(orientation: int) -> None:
    picture = Image.fromarray(np.arange(24 * 16, dtype=np.uint8).reshape(16, 24) // 2)
    stored = Image.open(io.BytesIO(drawings.encode(picture, ".png", orientation=orientation)))
    assert stored.getexif()[0x0112] == orientation
    assert (orientation == 1) == (np.asarray(stored).tobytes() == np.asarray(picture).tobytes())
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(stored)), np.asarray(picture))


def test_an_invalid_orientation_is_stored_with_the_picture_upright() -> None:
    tags = {opened(made("photo/exif-invalid", 0, seed)).getexif()[0x0112] for seed in range(8)}
    assert tags
    assert tags.isdisjoint(range(1, 9))


def test_a_large_photo_has_twelve_megapixels() -> None:
    width, height = opened(made(LARGE, 0)).size
    assert width * height == pytest.approx(12e6, rel=0.01)


def test_far_digits_are_small_and_cropped_ones_reach_the_edge() -> None:
    far = ink_of(opened(made("photo/far", 0)))
    rows = np.flatnonzero(far.any(axis=1))
    assert 0.03 < np.ptp(rows) / min(far.shape) < 0.3
    look = photos.Look(0, pen="felt", cropped=True, vignette=0, unevenness=0)
    strokes = pen.trace(DIGITS.images[0])
    ink = ink_of(Image.open(io.BytesIO(photos.photograph(strokes, look, np.random.default_rng(0)))))
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    margins = (rows[0], len(ink) - 1 - rows[-1], columns[0], ink.shape[1] - 1 - columns[-1])
    assert min(margins) < 0.05 * np.ptp(rows)


def test_severity_costs_contrast() -> None:
    def contrast(severity: float) -> float:
        grey = np.asarray(opened(made("photo/pencil", severity)).convert("L"), np.float32)
        return float(np.median(grey) - np.percentile(grey, 0.1))

    assert contrast(0.0) > 2 * contrast(1.0) > 10


def test_strokes_drawn_in_their_own_width_cover_the_digit_and_no_more() -> None:
    for image in DIGITS.images:
        strokes = pen.trace(image)
        left, top, right, bottom = strokes.box()
        assert (left, top, max(right, bottom)) == pytest.approx((0, 0, 1))
        large = np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.BICUBIC)) > 0.4 * 255
        rows, columns = np.flatnonzero(large.any(axis=1)), np.flatnonzero(large.any(axis=0))
        ink = large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        drawn = np.asarray(pen.draw(strokes.placed(max(ink.shape), 0, 0), ink.shape[::-1])) > 127
        # In quarters of MNIST's pixels; the lines are ten wide.
        assert pen.distance(ink)[drawn].max() < 5
        assert pen.distance(drawn)[ink].max() < 5


def test_a_pen_sets_the_width_but_does_not_thin_a_blob() -> None:
    line = pen.trace(DIGITS.images[0])
    assert not line.is_blob
    np.testing.assert_allclose(line.with_pen(0.01, 0).radii, 0.01)
    # A disc with a tail: a nine whose loop is full of ink. In a thin line it would be a one.
    picture = Image.new("L", (112, 112))
    ImageDraw.Draw(picture).ellipse([32, 16, 80, 64], fill=255)
    ImageDraw.Draw(picture).line([(76, 40), (72, 94)], fill=255, width=8)
    blob = pen.trace(np.asarray(picture.reduce(4)))
    assert blob.is_blob
    assert (blob.with_pen(0.01, 0).radii >= blob.radii).all()


def test_distance_and_thinning_agree_with_shapes_measured_by_hand() -> None:
    goal = np.zeros((9, 12), bool)
    goal[2, 3] = True
    rows, columns = np.mgrid[:9, :12]
    np.testing.assert_allclose(pen.distance(goal), np.hypot(rows - 2, columns - 3), rtol=1e-6)
    bar = np.zeros((11, 30), bool)
    bar[3:8, 3:27] = True
    skeleton = pen.thin(bar)
    assert set(np.flatnonzero(skeleton.any(axis=1))) <= {4, 5, 6}
    assert skeleton.sum(axis=0).max() == 1
    assert skeleton[5, 8:22].all()


def test_letters_and_symbols_are_in_the_fonts() -> None:
    for name in scrawls.FONTS:
        font = scrawls.load_font(name)
        missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
        for character in scrawls.LETTERS + scrawls.SYMBOLS:
            mask = font.getmask(character)
            assert (mask.getbbox(), bytes(mask)) != missing, character


def test_turned_digits_are_only_those_that_are_no_digit_then() -> None:
    noughts = Digits(DIGITS.images[1:], DIGITS.labels[1:])
    with pytest.raises(ValueError, match="empty"):
        scrawls.turned(noughts, np.random.default_rng(0))
    assert scrawls.turned(DIGITS, np.random.default_rng(0)).box()[2:] == pytest.approx(
        pen.trace(np.rot90(DIGITS.images[0], 3)).box()[2:], abs=0.5
    )
