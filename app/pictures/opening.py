"""Open any picture file safely: its size, its EXIF orientation, its transparency, its colours."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.errors import PictureError
from app.files import other_than_a_file

Pixels = NDArray[np.uint8]
"""uint8 [height, width, channels]: one channel of grey, or three of red, green and blue."""

TINY = 64
"""A picture of at most so many pixels to the longer side seldom shows more than a digit, and no shadows."""

SMALL = 300
"""A digit in a picture of at most so many pixels to the longer side may be cut out along its edges."""

PICTURE_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe"),
    *(".jpeg", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".sgi", ".tga"),
    *(".tif", ".tiff", ".webp"),
)
"""The files that are taken for pictures in a folder; a file given by its name may be called anything.

Phones save HEIF, which Pillow does not open: it is better to say so than to pass over half of the photos.
"""

_HEIF = (".heic", ".heif")
_UNKNOWN = "not a picture, or of a kind that cannot be read"

# More than any camera's picture; a file that claims more is refused before it is decoded.
MAX_PIXELS = 150_000_000
_TOO_LARGE = f"too large: expected at most {MAX_PIXELS // 1_000_000} million pixels"

# The longest side that is kept: a digit of a fiftieth of the picture still has 30 pixels. A JPEG file is
# decoded at a half, a quarter or an eighth of its size as long as its longest side stays above the second.
FINE_SIDE = 2048
_DECODED_SIDE = 1500

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


class Opened(NamedTuple):
    """A picture as a person sees it."""

    pixels: Pixels
    """Upright and opaque, its longest side at most `FINE_SIDE`."""

    size: tuple[int, int]
    """Width and height of the upright picture in the file."""


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
        raise PictureError(path, f"the folder holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    return sorted(found), unreadable


def _cannot_be_opened(path: Path, error: OSError) -> PictureError:
    return PictureError(Path(error.filename or path), f"cannot be opened: {error.strerror}")


def open_picture(path: Path) -> Opened:
    """Return the first frame of a picture file: upright as its EXIF data say, opaque, `FINE_SIDE` at most.

    Transparent parts take the shade that lets the opaque ones stand out. 8-bit grey pictures of at most that
    size keep their values exactly.

    Raises:
        PictureError: the file is missing, damaged, too large, or not a picture.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _cannot_be_opened(path, error) from error
    if found := other_than_a_file(status):
        raise PictureError(path, f"expected a picture, found {found}")
    if status.st_size == 0:
        raise PictureError(path, "the file is empty")
    try:
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
        is_heif = path.suffix.lower() in _HEIF
        reason = "HEIF cannot be read: save it as JPEG" if is_heif else _UNKNOWN
        raise PictureError(path, reason) from error
    except Image.DecompressionBombError as error:
        raise PictureError(path, _TOO_LARGE) from error
    except MemoryError as error:
        raise PictureError(path, "the picture does not fit into memory") from error
    except Exception as error:
        # Pillow's decoders answer a damaged file with whatever exception its bytes lead them to.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise PictureError(path, f"cannot be read as a picture: {reason}") from error


def _decode(picture: Image.Image, path: Path) -> Opened:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError(path, f"{_TOO_LARGE}, found {width} x {height}")
    if width * height == 0:
        raise PictureError(path, f"the picture is empty ({width} x {height} pixels)")
    if picture.format == "EPS":
        # Pillow would run an interpreter of a programming language on it.
        raise PictureError(path, "a PostScript file, not a picture that can be read")
    shrink = min(1.0, _DECODED_SIDE / max(width, height))
    picture.draft(None, (max(1, int(width * shrink)), max(1, int(height * shrink))))
    picture.load()
    orientation = _orientation(picture)
    reduced = _reduce(_to_plain_mode(picture))
    if orientation in _TO_UPRIGHT:
        reduced = reduced.transpose(_TO_UPRIGHT[orientation])
    if orientation >= _FIRST_LYING:
        width, height = height, width
    return Opened(_flatten(reduced), (width, height))


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if there is none or it is invalid."""
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG)
        return orientation if orientation in _TO_UPRIGHT else 1
    except Exception:
        # Damaged metadata are no reason to refuse a sound picture, and can fail in any way.
        return 1


def _to_plain_mode(picture: Image.Image) -> Image.Image:
    """Return a picture of any Pillow mode in mode L, LA, RGB or RGBA."""
    if picture.mode in _WIDE_MODES:
        return Image.fromarray(_to_8_bit_range(np.asarray(picture, np.float64)))
    if picture.mode == "LAB":
        return picture.getchannel("L")
    if picture.mode in ("L", "LA"):
        return picture.convert("LA") if "transparency" in picture.info else picture
    if picture.mode == "La":
        return picture.convert("LA")
    if picture.mode == "1" and "transparency" not in picture.info:
        return picture.convert("L")
    if picture.mode in ("1", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture.convert("RGB")


def _to_8_bit_range(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Scale values of any range to 0..255: by a usual full scale if one fits, else by their own range."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    values = np.where(finite, values, low)
    fitting = [scale for scale in _FULL_SCALES if low >= 0 and high <= scale]
    if not fitting:
        values, fitting = values - low, [high - low or 1.0]
    return np.rint(values * 255 / fitting[0]).astype(np.uint8)


def _reduce(picture: Image.Image) -> Image.Image:
    factor = -(-max(picture.size) // FINE_SIDE)
    return picture.reduce(factor) if factor > 1 else picture


def _flatten(picture: Image.Image) -> Pixels:
    """Return mode L, LA, RGB or RGBA as an array, its transparent parts filled in."""
    pixels = np.atleast_3d(np.asarray(picture))
    if picture.mode in ("L", "RGB"):
        return pixels
    colour, alpha = pixels[..., :-1], pixels[..., -1]
    if not alpha.any():
        return np.zeros_like(colour)
    luminance = np.asarray(picture.convert("LA"))[..., 0]
    ground = _ground_shade(luminance[alpha >= alpha.max() / 2], alpha.size)
    opacity = alpha[..., np.newaxis] / np.float32(255)
    return np.rint(colour * opacity + ground * (1 - opacity)).astype(np.uint8)


def _ground_shade(opaque: NDArray[np.uint8], pixels: int) -> float:
    """Return what to put behind a partly transparent picture, given its opaque pixels' luminance.

    Strokes on nothing get black or white, whichever is further away. Opaque pixels that fill most of the
    picture in more than one shade are paper with its ink; the rest is then filled with more of that paper.
    """
    if 2 * opaque.size > pixels and np.ptp(opaque) > 64:
        return float(np.median(opaque))
    return 255.0 if opaque.mean() < 128 else 0.0


def reduce_to(pixels: Pixels, side: int) -> Pixels:
    """Return the picture with a longest side of at most `side`, each pixel the mean of what it covers."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reduced: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    return reduced


def to_grey(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the luminance of a picture, uint8 [height, width]; of grey ones, their own values."""
    if pixels.shape[2] == 1 or (is_grey(pixels[::8, ::8]) and is_grey(pixels)):
        return pixels[..., 0]
    grey: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return grey


def is_grey(pixels: Pixels) -> bool:
    """Whether all channels of a picture are alike."""
    return bool((pixels == pixels[..., :1]).all())
