"""Turn any picture of a digit into what MNIST is made of: 28x28, white ink on black, sized and centred."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.datasets import SIDE
from app.errors import PictureError

Grey = NDArray[np.float32]
"""float32 [height, width], 0 (black) to 255 (white)."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first column and row outside."""

PICTURE_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""The files that are taken for pictures in a folder; a file given by its name may be called anything."""

# MNIST's own rules, http://yann.lecun.com/exdb/mnist: scaled into a box of 20x20 pixels with the aspect kept,
# then placed so that the centre of mass is the centre of the 28x28 field.
# In MNIST's 70,000 images the longest side of the ink is 19 or 20, the centre of mass lies between 13.48
# and 14.50 in both 0-based indices, and the brightest pixel is 254 or 255.
DIGIT_SIDE = 20
CENTRE = 14

# More than any camera's picture; a file that claims more is refused before it is decoded.
MAX_PIXELS = 150_000_000

# Larger pictures are reduced to this longest side first: enough for a digit of a fiftieth of the picture.
WORKING_SIDE = 1024

# A pixel is ink if it differs from the background by more than each of these: faint shades that compression
# leaves on blank paper (grey levels), the noise (standard deviations), and the halo of compression around
# dark strokes (share of the ink's own contrast).
MIN_CONTRAST = 16.0
NOISE_DEVIATIONS = 5.0
HALO_SHARE = 0.15

# Values that mean white in pictures of more than 8 bits or of floating point; the first that holds the
# brightest pixel is taken.
_FULL_SCALES = (1.0, 255.0, 4095.0, 65535.0)
_WIDE_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

# EXIF 2.3, tag Orientation: 1 is upright; from 5 on, width and height change places.
_ORIENTATION_TAG = 0x0112
_FIRST_LYING = 5
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DigitImage(NamedTuple):
    """One digit of a picture, ready for the network."""

    image: NDArray[np.uint8]
    """uint8 [28, 28]: white ink (255) on black (0), as in MNIST."""

    box: Box
    """Where its ink is, in pixels of the upright picture."""


def find_pictures(path: Path) -> tuple[list[Path], list[PictureError]]:
    """Return `path` itself if it is a file; the pictures in it and its subfolders, sorted, if it is a folder.

    In folders a picture is known by its suffix, and what is hidden (`.name`) is passed over. With the
    pictures comes an error for each subfolder that cannot be opened.

    Raises:
        PictureError: there is no such file or folder, it cannot be opened, or it holds no picture.
    """
    try:
        if not path.is_dir():
            path.stat()
            return [path], []
    except OSError as error:
        raise _cannot_be_opened(path, error) from error
    found: list[Path] = []
    errors: list[OSError] = []
    for directory, subfolders, names in os.walk(path, onerror=errors.append):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                found.append(Path(directory, name))
    unreadable = [_cannot_be_opened(path, error) for error in errors]
    if not found:
        if unreadable:
            raise unreadable[0]
        raise PictureError(f"{path}: the folder holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    return sorted(found), unreadable


def _cannot_be_opened(path: Path, error: OSError) -> PictureError:
    return PictureError(f"{error.filename or path}: cannot be opened: {error.strerror}")


def read_digits(path: Path) -> list[DigitImage]:
    """Return the digit in a picture file: a list of one, or an empty list if the picture holds no ink.

    The first frame is read, turned upright as its EXIF data say. Dark ink on a light ground and light ink on
    a dark ground give the same digit.

    Raises:
        PictureError: the file is missing, damaged, too large, or not a picture.
    """
    grey, (width, height) = read_grey(path)
    across, down = width / grey.shape[1], height / grey.shape[0]
    return [
        DigitImage(image, _scale_box(box, across, down, width, height)) for image, box in find_digits(grey)
    ]


def _scale_box(box: Box, across: float, down: float, width: int, height: int) -> Box:
    left, top, right, bottom = box
    return (
        int(left * across),
        int(top * down),
        min(width, int(np.ceil(right * across))),
        min(height, int(np.ceil(bottom * down))),
    )


def read_grey(path: Path) -> tuple[Grey, tuple[int, int]]:
    """Return the upright picture in grey, at most `WORKING_SIDE` long, and its full (width, height).

    Transparent parts take the shade that lets the opaque ones stand out. 8-bit grey pictures of at most that
    size keep their values exactly.

    Raises:
        PictureError: as `read_digits`.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            found = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise PictureError(f"{path}: expected a picture, found {found}")
        with warnings.catch_warnings():
            # Pillow warns about large pictures and odd metadata; what matters here is an error below.
            warnings.simplefilter("ignore")
            # From an open file, not from a name: Pillow would map uncompressed TIFF into memory, and get it
            # wrong when it lies on its side.
            with path.open("rb") as file, Image.open(file) as picture:
                return _decode(picture, path)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"{path}: not a picture, or of a kind that cannot be read") from error
    except Image.DecompressionBombError as error:
        raise PictureError(_too_large(path)) from error
    except MemoryError as error:
        raise PictureError(f"{path}: the picture does not fit into memory") from error
    except Exception as error:
        # Pillow's decoders answer a damaged file with whatever exception its bytes lead them to.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{path}: cannot be read as a picture: {reason}") from error


def _too_large(path: Path) -> str:
    return f"{path}: too large: expected at most {MAX_PIXELS // 1_000_000} million pixels"


def _decode(picture: Image.Image, path: Path) -> tuple[Grey, tuple[int, int]]:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"{_too_large(path)}, found {width} x {height}")
    if width * height == 0:
        raise PictureError(f"{path}: the picture is empty ({width} x {height} pixels)")
    if picture.format == "EPS":
        # Pillow would run an interpreter of a programming language on it.
        raise PictureError(f"{path}: a PostScript file, not a picture that can be read")
    picture.draft(None, (WORKING_SIDE, WORKING_SIDE))
    picture.load()
    orientation = _orientation(picture)
    reduced = _reduce(_to_grey_mode(picture))
    if orientation in _TO_UPRIGHT:
        reduced = reduced.transpose(_TO_UPRIGHT[orientation])
    if orientation >= _FIRST_LYING:
        width, height = height, width
    return _flatten(reduced), (width, height)


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if there is none or it is invalid."""
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG)
        return orientation if orientation in _TO_UPRIGHT else 1
    except Exception:
        # Damaged metadata are no reason to refuse a sound picture, and can fail in any way.
        return 1


def _to_grey_mode(picture: Image.Image) -> Image.Image:
    """Return a picture of any Pillow mode in mode L, LA, or F (0 to 255)."""
    if picture.mode in _WIDE_MODES:
        return Image.fromarray(_to_8_bit_range(np.asarray(picture, np.float64)))
    if picture.mode == "LAB":
        return picture.getchannel("L")
    if picture.mode == "La":
        return picture.convert("LA")
    if picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA").convert("LA")
    return picture.convert("L")


def _to_8_bit_range(values: NDArray[np.float64]) -> Grey:
    """Scale values of any range to 0..255: by a usual full scale if one fits, else by their own range."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.float32)
    low, high = float(values[finite].min()), float(values[finite].max())
    values = np.where(finite, values, low)
    fitting = [scale for scale in _FULL_SCALES if low >= 0 and high <= scale]
    if not fitting:
        values, fitting = values - low, [high - low or 1.0]
    return (values * 255 / fitting[0]).astype(np.float32)


def _reduce(picture: Image.Image) -> Image.Image:
    factor = -(-max(picture.size) // WORKING_SIDE)
    return picture.reduce(factor) if factor > 1 else picture


def _flatten(picture: Image.Image) -> Grey:
    """Return mode L, LA or F as an array, its transparent parts filled in."""
    if picture.mode != "LA":
        return np.asarray(picture, np.float32)
    luminance, alpha = np.moveaxis(np.asarray(picture, np.float32), -1, 0)
    if not alpha.any():
        return np.zeros_like(alpha)
    opacity = alpha / 255
    ground = _ground_shade(luminance[alpha >= alpha.max() / 2], alpha.size)
    composite: Grey = luminance * opacity + ground * (1 - opacity)
    return composite


def _ground_shade(opaque: Grey, pixels: int) -> float:
    """Return what to put behind a partly transparent picture, given its opaque pixels' luminance.

    Strokes on nothing get black or white, whichever is further away. Opaque pixels that fill most of the
    picture in more than one shade are paper with its ink; the rest is then filled with more of that paper.
    """
    if 2 * opaque.size > pixels and np.ptp(opaque) > 64:
        return float(np.median(opaque))
    return 255.0 if opaque.mean() < 128 else 0.0


def find_digits(grey: Grey) -> list[DigitImage]:
    """Return the digit in a grey picture as a list of one, or an empty list if there is no ink.

    A 28x28 picture that already is as MNIST has it, in either polarity, comes back bit for bit.
    """
    untouched = _as_in_mnist(grey)
    if untouched is not None:
        return [DigitImage(untouched, _ink_box(untouched > 0))]
    ink = extract_ink(grey)
    if not ink.any():
        return []
    box = _ink_box(ink > 0)
    left, top, right, bottom = box
    return [DigitImage(normalise(ink[top:bottom, left:right]), box)]


def _as_in_mnist(grey: Grey) -> Optional[NDArray[np.uint8]]:
    """Return the picture as white on black if it is 28x28 and sized and centred as MNIST is, else None."""
    if grey.shape != (SIDE, SIDE):
        return None
    levels = np.rint(grey).astype(np.uint8)
    for image in (levels, 255 - levels):
        if image.max() < 254:
            continue
        left, top, right, bottom = _ink_box(image > 0)
        is_centred = all(abs(index - CENTRE) <= 0.53 for index in centre_of_mass(image))
        if max(right - left, bottom - top) in (DIGIT_SIDE - 1, DIGIT_SIDE) and is_centred:
            return image
    return None


def centre_of_mass(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the 0-based (row, column) of the centre of mass of an image that is not all zero."""
    mass = image.astype(np.float64)
    rows, columns = mass.sum(axis=1), mass.sum(axis=0)
    return (
        float(rows @ np.arange(len(rows)) / rows.sum()),
        float(columns @ np.arange(len(columns)) / columns.sum()),
    )


def _ink_box(is_ink: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(is_ink.any(axis=1)), np.flatnonzero(is_ink.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def extract_ink(grey: Grey) -> Grey:
    """Return how much ink each pixel holds, 0 (background) to 255, keeping the strokes' soft edges.

    The background is the most common shade, where the pixels of the border count as much, together, as the
    whole picture. The ink is whatever departs from it, on the side that departs more.
    """
    levels = np.rint(grey).astype(np.uint8)
    background = _common_level(_histogram(levels))
    difference = grey - background
    departures = np.cumsum(_histogram(np.rint(np.abs(difference)).astype(np.uint8)))
    # A quarter of normally distributed noise lies within 0.3186 standard deviations of its middle. So small
    # a share is all background even where the digit fills most of the picture.
    noise = int(np.searchsorted(departures, 0.25)) / 0.3186
    floor = max(MIN_CONTRAST, NOISE_DEVIATIONS * noise)
    light, dark = np.maximum(difference - floor, 0), np.maximum(-difference - floor, 0)
    ink = difference if np.square(light).sum() > np.square(dark).sum() else -difference
    is_ink = _without_lone_pixels(ink > floor)
    if not is_ink.any():
        return np.zeros_like(ink)
    full = np.percentile(ink[is_ink], 90)
    is_ink &= ink > HALO_SHARE * full
    return np.where(is_ink, np.minimum(ink * (255 / full), 255), 0).astype(np.float32)


def _histogram(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return float64 [256]: the share of each level, half by the whole picture, half by its border."""
    width = max(1, round(0.02 * min(levels.shape)))
    is_border = np.ones(levels.shape, bool)
    is_border[width:-width, width:-width] = False
    shares = [np.bincount(part, minlength=256) / part.size for part in (levels.ravel(), levels[is_border])]
    mean: NDArray[np.float64] = np.mean(shares, axis=0)
    return mean


def _common_level(histogram: NDArray[np.float64]) -> int:
    """Return the median of the fullest window of 17 levels, wide enough for the noise of paper."""
    reach = 8
    peak = int(np.argmax(np.convolve(histogram, np.ones(2 * reach + 1), "same")))
    start = max(0, peak - reach)
    within = np.cumsum(histogram[start : peak + reach + 1])
    return start + int(np.searchsorted(within, within[-1] / 2))


def _without_lone_pixels(is_ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drop the pixels that none of their eight neighbours accompanies: dust and noise, never a stroke."""
    padded = np.pad(is_ink, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    beside = rows[:, :-2] | rows[:, 2:]
    above_or_below = (padded[:-2] | padded[2:])[:, 1:-1]
    return is_ink & (beside | above_or_below)


def normalise(ink: Grey) -> NDArray[np.uint8]:
    """Return ink as MNIST has it, uint8 [28, 28]; `ink` is cropped to its box, float32, 0 to 255.

    The longest side becomes 20 pixels, anti-aliased, and the centre of mass comes to pixel (14, 14) to within
    half a pixel, or as near as it can without cutting ink off.
    """
    height, width = ink.shape
    scale = DIGIT_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.HAMMING))
    digit = np.rint(np.minimum(small * (255 / _full_ink(small)), 255)).astype(np.uint8)
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        min(max(round(CENTRE - index), 0), SIDE - length)
        for index, length in zip(centre_of_mass(digit), digit.shape)
    )
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas


def _full_ink(small: Grey) -> float:
    """Return the level that becomes white: thin strokes, which the reduction made pale, get it back.

    In MNIST three quarters of the ink's pixels are darker than full ink.
    """
    return float(np.quantile(small[small > 0], 0.8))
