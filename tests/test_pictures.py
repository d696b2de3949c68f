from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.errors import PictureError
from app.pictures import DigitImage, Guess, find_pictures, open_picture, read_page
from app.pictures.found import Picture
from app.pictures.normalise import centre_of_mass, place
from app.pictures.opening import FINE_SIDE, _flatten, _to_plain_mode
from app.pictures.page import find_guesses

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"

Points = list[tuple[float, float]]
SEVEN: Points = [(0.1, 0.1), (0.8, 0.05), (0.4, 0.95)]
# Searched for dark ink, a rim around its outside was taken for a box, and what it encloses for a digit.
LOOP: Points = [(0.5, 0.625), (0.0, 0.5), (1.0, 1.0), (0.5, 0.5), (0.0, 0.5)]


def draw(points: Points, side: int, pen: float = 0.1, margin: float = 0.25) -> NDArray[np.float32]:
    """Return float32 [H, W], white on black: a stroke along points of the unit square of `side` pixels."""
    fine = 4
    full = round(side * (1 + 2 * margin))
    canvas = Image.new("L", (full * fine, full * fine))
    corners = [((x + margin) * side * fine, (y + margin) * side * fine) for x, y in points]
    radius = pen * side * fine / 2
    brush = ImageDraw.Draw(canvas)
    brush.line(corners, fill=255, width=round(2 * radius))
    for x, y in corners:
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(canvas.reduce(fine), np.float32)


def best_digits(guesses: Sequence[Guess]) -> list[DigitImage]:
    """Return the pieces of the likeliest guess, each taken for a digit."""
    if not guesses:
        return []
    pieces: dict[tuple[int, int], DigitImage] = {}
    for cut in max(guesses, key=lambda guess: guess.likelihood).candidates:
        if not cut.way.is_part:
            # The first that begins at a piece is that piece alone.
            pieces.setdefault((cut.line, cut.way.first), cut.digit)
    return list(pieces.values())


def find_digits(grey: NDArray[Any]) -> list[DigitImage]:
    """Return the digits in a grey picture, [height, width], 0 to 255."""
    pixels = np.rint(grey).astype(np.uint8)[..., np.newaxis]
    return best_digits(find_guesses(Picture(pixels, (grey.shape[1], grey.shape[0]))))


def read_digits(path: Path) -> list[DigitImage]:
    return best_digits(read_page(path).guesses)


def only(digits: list[DigitImage]) -> DigitImage:
    assert len(digits) == 1
    return digits[0]


def ink_sides(image: NDArray[np.uint8]) -> tuple[int, int]:
    return int(image.any(axis=1).sum()), int(image.any(axis=0).sum())


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference of two images, as a share of the first one's ink."""
    return float(np.abs(first.astype(int) - second.astype(int)).sum() / first.sum(dtype=int))


unit = st.floats(0, 1)
strokes = st.lists(st.tuples(unit, unit), min_size=2, max_size=6).filter(
    lambda points: max(np.ptp([x for x, _ in points]), np.ptp([y for _, y in points])) > 0.4
)
pens = st.floats(0.06, 0.2)
sides = st.integers(40, 160)


@given(strokes, pens, sides)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_longest_side_of_the_ink_is_20_pixels(points: Points, pen: float, side: int) -> None:
    digit = only(find_digits(255 - draw(points, side, pen)))
    assert digit.image.shape == (28, 28)
    assert digit.image.dtype == np.uint8
    # The faintest edge may be black after the rounding; in MNIST itself it is 19 or 20.
    assert 18 <= max(ink_sides(digit.image)) <= 20
    assert digit.image.max() == 255


@given(strokes, pens, sides)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_centre_of_mass_is_within_half_a_pixel_of_14_14(points: Points, pen: float, side: int) -> None:
    image = only(find_digits(draw(points, side, pen))).image
    touches_the_frame = image[[0, -1]].any() or image[:, [0, -1]].any()
    assume(not touches_the_frame)
    assert np.allclose(centre_of_mass(image), 14, atol=0.501)


def test_ink_that_would_leave_the_frame_stays_inside() -> None:
    heavy_foot = np.zeros((20, 12), np.uint8)
    heavy_foot[:, 6] = 40
    heavy_foot[18:] = 255
    image = place(heavy_foot)
    assert ink_sides(image)[0] == 20
    assert image[0].any()


@given(strokes, pens, sides, st.integers(0, 60), st.integers(160, 255))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_polarity_makes_no_difference(points: Points, pen: float, side: int, dark: int, light: int) -> None:
    grey = dark + draw(points, side, pen) * ((light - dark) / 255)
    on_black = only(find_digits(grey))
    on_white = only(find_digits(255 - grey))
    assert on_black.box == on_white.box
    assert np.abs(on_black.image.astype(int) - on_white.image).max() <= 4


@given(st.just(SEVEN), st.floats(0.1, 0.2), st.integers(80, 120), st.integers(2, 5))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_scale_makes_little_difference(points: Points, pen: float, side: int, factor: int) -> None:
    small = only(find_digits(draw(points, side, pen))).image
    large = only(find_digits(draw(points, side * factor, pen))).image
    offset = np.subtract(centre_of_mass(small), centre_of_mass(large))
    assume(np.abs(offset).max() < 0.3)
    assert difference(small, large) < 0.2


@given(strokes, pens, st.tuples(*[st.integers(0, 90)] * 4))
@example(LOOP, 0.0625, (0, 1, 10, 0))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_place_makes_no_difference(points: Points, pen: float, margins: tuple[int, int, int, int]) -> None:
    grey = draw(points, 60, pen)
    left, top, right, bottom = margins
    moved = only(find_digits(np.pad(grey, ((top, bottom), (left, right)))))
    original = only(find_digits(grey))
    assert difference(original.image, moved.image) < 0.15
    assert np.abs(np.subtract(moved.box, original.box) - [left, top, left, top]).max() <= 1


@given(st.just(SEVEN), pens, st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_what_is_normalised_once_is_not_changed_again(points: Points, pen: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 4, (90, 90))
    image = only(find_digits((draw(points, 60, pen) * 0.7 + 20 + noise).clip(0, 255))).image
    assume(np.allclose(centre_of_mass(image), 14, atol=0.5))
    assert np.array_equal(only(find_digits(image.astype(np.float32))).image, image)
    assert np.array_equal(only(find_digits(255 - image.astype(np.float32))).image, image)


def mnist_like() -> NDArray[np.uint8]:
    """Return a white seven on black, 28x28, sized and centred as MNIST is, with faint edges."""
    image = only(find_digits(draw(SEVEN, 90))).image.copy()
    row, column = np.argwhere(image > 0)[0]
    image[row, column] = 1
    return image


@pytest.mark.parametrize("inverted", [False, True])
def test_a_picture_as_in_mnist_passes_untouched(tmp_path: Path, inverted: bool) -> None:
    image = mnist_like()
    Image.fromarray(255 - image if inverted else image).save(tmp_path / "digit.png")
    assert np.array_equal(only(read_digits(tmp_path / "digit.png")).image, image)


def test_every_mnist_test_image_passes_untouched_in_both_polarities(mnist_directory: Path) -> None:
    path = mnist_directory / "t10k-images-idx3-ubyte"
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(".gz").read_bytes())
    images = np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)
    assert len(images) == 10_000
    for image in images:
        for picture in (image, 255 - image):
            assert np.array_equal(only(find_digits(picture.astype(np.float32))).image, image)


def test_a_small_digit_off_centre_is_cropped_and_enlarged() -> None:
    picture = np.full((28, 28), 255, np.float32)
    picture[2:10, 3:5] = 0
    image = only(find_digits(picture)).image
    assert ink_sides(image) == (20, 5)


def test_a_hairline_stays_visible() -> None:
    image = only(find_digits(255 - draw(SEVEN, 500, pen=0.004))).image
    assert (image > 100).sum() > 25
    assert max(ink_sides(image)) == 20


def test_a_digit_that_fills_the_picture_to_its_edges_is_ink() -> None:
    ring = [(0.5 + 0.4 * np.sin(turn), 0.5 + 0.4 * np.cos(turn)) for turn in np.linspace(0, 6.3, 30)]
    ink = draw(ring, 60, pen=0.2)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    tight = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    expected = only(find_digits(ink)).image
    for picture in (tight, 255 - tight):
        assert difference(expected, only(find_digits(picture)).image) < 0.1


def test_dust_and_noise_do_not_enlarge_the_box() -> None:
    clean = draw(SEVEN, 100)
    noisy = 230 - 0.8 * clean + np.random.default_rng(1).normal(0, 5, clean.shape)
    noisy[3, 4] = noisy[140, 5] = 0
    expected, found = only(find_digits(clean)), only(find_digits(noisy.clip(0, 255).astype(np.float32)))
    assert np.abs(np.subtract(found.box, expected.box)).max() <= 1


def test_compression_does_not_enlarge_the_box(tmp_path: Path) -> None:
    clean = draw(SEVEN, 200)
    Image.fromarray((255 - clean).astype(np.uint8)).save(tmp_path / "seven.jpg", quality=30)
    expected, found = only(find_digits(clean)), only(read_digits(tmp_path / "seven.jpg"))
    assert np.abs(np.subtract(found.box, expected.box)).max() <= 2


@pytest.mark.parametrize(
    "picture",
    [
        np.full((40, 30), 255.0),
        np.zeros((28, 28)),
        np.full((1, 1), 7.0),
        np.tile(np.linspace(190, 240, 200), (100, 1)),
        np.random.default_rng(0).normal(128, 20, (300, 300)).clip(0, 255),
        np.random.default_rng(0).integers(0, 256, (200, 200)),
    ],
    ids=["white", "black", "one pixel", "shade", "normal noise", "uniform noise"],
)
def test_a_picture_without_ink_holds_no_digit(picture: NDArray[Any]) -> None:
    grey = picture.astype(np.float32)
    assert find_digits(grey) == []


def as_mode(mode: str, ink: NDArray[np.float32]) -> Image.Image:
    """Return dark ink on white paper in a Pillow mode."""
    paper = Image.fromarray((255 - ink).astype(np.uint8))
    if mode.startswith("I;16"):
        return Image.frombytes(
            mode, paper.size, ((255 - ink) * 257).astype(">u2" if mode == "I;16B" else "<u2").tobytes()
        )
    if mode == "I":
        return Image.fromarray((70_000 - ink * 300).astype(np.int32))
    if mode == "F":
        return Image.fromarray(-ink / 1000)
    if mode == "LAB":
        return Image.merge("LAB", (paper, *[Image.new("L", paper.size, 128)] * 2))
    if mode in ("La", "RGBa"):
        return paper.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "PA":
        return paper.convert("P").convert("PA")
    if mode in ("HSV", "YCbCr", "CMYK", "RGBX"):
        return paper.convert("RGB").convert(mode)
    return paper.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[(mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[(mode, "tif") for mode in ("CMYK", "LAB", "I", "F", "I;16B")],
        *[("P", "gif"), ("RGB", "bmp"), ("RGB", "webp"), ("CMYK", "jpg")],
    ],
)
def test_the_mode_makes_no_difference(tmp_path: Path, mode: str, suffix: str) -> None:
    ink = draw(SEVEN, 120)
    path = tmp_path / f"seven.{suffix}"
    as_mode(mode, ink).save(path)
    with Image.open(path) as picture:
        assert picture.mode == mode or suffix in ("gif", "bmp", "webp")
    assert difference(only(find_digits(ink)).image, only(read_digits(path)).image) < 0.1


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "La", "RGBa", "RGBX", "PA"])
def test_modes_that_no_file_format_holds_are_converted(mode: str) -> None:
    ink = draw(SEVEN, 120)
    pixels = _flatten(_to_plain_mode(as_mode(mode, ink)))
    grey = pixels.mean(axis=2)
    assert difference(only(find_digits(ink)).image, only(find_digits(grey)).image) < 0.1


def test_a_16_bit_copy_of_an_mnist_picture_passes_untouched(tmp_path: Path) -> None:
    image = mnist_like()
    Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / "digit.png")
    assert np.array_equal(only(read_digits(tmp_path / "digit.png")).image, image)


def test_values_that_are_not_numbers_are_passed_over(tmp_path: Path) -> None:
    ink = draw(SEVEN, 120) / 255
    expected = only(find_digits(ink * 255)).image
    ink[0, 0], ink[0, 1] = np.nan, np.inf
    Image.fromarray(ink).save(tmp_path / "seven.tif")
    assert difference(expected, only(read_digits(tmp_path / "seven.tif")).image) < 0.01


@pytest.mark.parametrize("shade", [0, 255], ids=["dark ink", "light ink"])
@pytest.mark.parametrize("kind", ["LA", "RGBA", "palette", "colour key"])
def test_ink_on_nothing_stands_out(tmp_path: Path, kind: str, shade: int) -> None:
    ink = draw(SEVEN, 120)
    alpha = Image.fromarray(ink.astype(np.uint8))
    flat = Image.new("L", alpha.size, shade)
    options: dict[str, Any] = {}
    if kind == "LA":
        picture = Image.merge("LA", (flat, alpha))
    elif kind == "RGBA":
        picture = Image.merge("RGBA", (flat, flat, flat, alpha))
    else:
        # One colour means "nothing"; it is chosen so that without its meaning the ink would not be seen.
        hidden = abs(shade - 4)
        picture = Image.fromarray(np.where(ink > 127, shade, hidden).astype(np.uint8))
        options["transparency"] = hidden
        if kind == "palette":
            picture.putpalette([level for level in range(256) for _ in "RGB"])
    picture.save(tmp_path / "seven.png", **options)
    assert difference(only(find_digits(ink)).image, only(read_digits(tmp_path / "seven.png")).image) < 0.2


def test_transparent_corners_of_a_page_are_more_page(tmp_path: Path) -> None:
    ink = draw(SEVEN, 120)
    alpha = np.full(ink.shape, 255, np.uint8)
    alpha[:20, :20] = alpha[-20:, -20:] = 0
    Image.fromarray(np.dstack([(255 - ink).astype(np.uint8), alpha]), "LA").save(tmp_path / "page.png")
    found = only(read_digits(tmp_path / "page.png"))
    assert np.array_equal(found.image, only(find_digits(255 - ink)).image)


def test_a_wholly_transparent_picture_holds_no_digit(tmp_path: Path) -> None:
    Image.new("RGBA", (50, 60), (200, 0, 0, 0)).save(tmp_path / "nothing.png")
    assert read_digits(tmp_path / "nothing.png") == []


# What was done to the upright picture before it was stored with each EXIF orientation.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_the_picture_is_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.fromarray((255 - draw(SEVEN, 120)).astype(np.uint8)).crop((10, 0, 180, 150))
    transposition = STORED_AS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if transposition is None else upright.transpose(transposition)
    stored.save(tmp_path / f"seven.{suffix}", exif=exif)
    expected = only(find_digits(np.asarray(upright, np.float32)))
    found = only(read_digits(tmp_path / f"seven.{suffix}"))
    assert difference(expected.image, found.image) < 0.1
    assert np.abs(np.subtract(found.box, expected.box)).max() <= 1


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_an_invalid_orientation_is_ignored(tmp_path: Path, orientation: int) -> None:
    image = mnist_like()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(tmp_path / "digit.png", exif=exif)
    assert np.array_equal(only(read_digits(tmp_path / "digit.png")).image, image)


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    image = mnist_like()
    Image.fromarray(image).save(tmp_path / "digit.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xffgarbage")
    assert np.array_equal(only(read_digits(tmp_path / "digit.png")).image, image)


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.fromarray(draw(points, 60).astype(np.uint8)) for points in (SEVEN, SEVEN[::2]))
    first.save(tmp_path / f"two.{suffix}", save_all=True, append_images=[second])
    found = only(read_digits(tmp_path / f"two.{suffix}"))
    assert difference(only(find_digits(np.asarray(first, np.float32))).image, found.image) < 0.05


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_box_of_a_large_picture_is_in_its_own_pixels(tmp_path: Path, suffix: str) -> None:
    page = np.full((2500, 3100), 250, np.uint8)
    page[1000:1400, 2000:2100] = 20
    Image.fromarray(page).save(tmp_path / f"bar.{suffix}")
    pixels, size = open_picture(tmp_path / f"bar.{suffix}")
    assert max(pixels.shape) <= FINE_SIDE
    assert size == (3100, 2500)
    box = only(read_digits(tmp_path / f"bar.{suffix}")).box
    assert np.abs(np.subtract(box, (2000, 1000, 2100, 1400))).max() <= 4


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


HOSTILE = {
    "empty.png": (b"", "the file is empty"),
    "text.png": (b"this is no picture\n", "not a picture"),
    "large.png": (png_that_claims(13_000, 13_000), "too large"),
    "bomb.png": (png_that_claims(60_000, 60_000), "too large"),
    "short.png": (png_that_claims(100, 100), "cannot be read"),
    "script.eps": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n",
        "PostScript",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_unusable_file_gives_one_line_with_its_name_and_the_reason(tmp_path: Path, name: str) -> None:
    content, reason = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        read_digits(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "bmp", "webp"])
def test_a_truncated_picture_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match="cut"):
        read_digits(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="No such file"):
        read_digits(tmp_path / "missing.png")
    with pytest.raises(PictureError, match="name too long"):
        read_digits(tmp_path / ("x" * 5000))
    with pytest.raises(PictureError, match="found a folder"):
        read_digits(tmp_path)


def test_a_pipe_is_an_error_and_does_not_block(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    make_pipe(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="pipe"):
        read_digits(tmp_path / "pipe.png")


def test_a_folder_is_walked_in_order_and_only_pictures_are_taken(tmp_path: Path) -> None:
    (tmp_path / "b" / "inner").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("z.PNG", "a.jpg", "notes.txt", "b/inner/c.gif", "b/a.tiff", ".hidden/x.png", "._a.jpg"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)[0]]
    assert found == ["a.jpg", "b/a.tiff", "b/inner/c.gif", "z.PNG"]


def test_a_file_given_by_name_may_have_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "scan.dat").touch()
    assert find_pictures(tmp_path / "scan.dat") == ([tmp_path / "scan.dat"], [])


def test_a_subfolder_that_cannot_be_listed_does_not_lose_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    deep = tmp_path
    # A path too long to be opened is unreadable for every user, root included.
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=here)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, deep = inner, deep / ("x" * 250)
    os.close(here)
    pictures, errors = find_pictures(tmp_path)
    assert pictures == [tmp_path / "a.png"]
    assert len(errors) == 1
    assert "cannot be opened" in str(errors[0])


def test_a_folder_without_pictures_and_a_missing_path_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="holds no picture"):
        find_pictures(tmp_path)
    with pytest.raises(PictureError, match="cannot be opened"):
        find_pictures(tmp_path / "missing")
    with pytest.raises(PictureError, match="cannot be opened"):
        find_pictures(tmp_path / ("x" * 5000))


@pytest.mark.parametrize("path", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_every_sample_holds_one_digit_as_mnist_has_it(path: Path) -> None:
    digit = only(read_digits(path))
    # The faintest edge may be black after the rounding; in MNIST itself it is 19 or 20.
    assert 18 <= max(ink_sides(digit.image)) <= 20
    assert 20 < (digit.image > 127).sum() < 200
