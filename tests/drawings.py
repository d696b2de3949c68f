"""Drawings from paint programs and tablets, scanned table cells and small pictures of digits, by seed."""

from __future__ import annotations

import io
from typing import Optional

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.datasets import Digits
from tests.pen import Float, Pen, Strokes, choose_digits, draw, lay_out, trace

File = tuple[bytes, str]
"""The bytes of a picture file, and its suffix."""


def clouds(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> Float:
    """Return smooth noise, float32 of that shape, deviation about 1; `grain`, 1 or more, is its size."""
    height, width = shape
    coarse = rng.standard_normal((max(2, round(height / grain)), max(2, round(width / grain))), np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


# The operation that an upright picture is stored by, for each value of the EXIF tag Orientation (EXIF 2.3).
STORED_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encode(picture: Image.Image, suffix: str, quality: int = 90, orientation: Optional[int] = None) -> bytes:
    """Return the bytes of a picture file, turned and tagged for an EXIF orientation if one is given."""
    options: dict[str, object] = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
        if orientation in STORED_BY:
            picture = picture.transpose(STORED_BY[orientation])
    if suffix == ".jpg":
        options["quality"] = quality
    buffer = io.BytesIO()
    picture.save(buffer, {".jpg": "JPEG"}.get(suffix, suffix[1:].upper()), **options)
    return buffer.getvalue()


# --- drawings --------------------------------------------------------------------------------------------

BRUSH = Pen(0.05, 0.2, ("black",), 1, 1, 0, 0.1)

DRAWINGS = ("black-on-white", "white-on-black", "colour", "transparent", "palette", "hairline", "corner")


def make_drawing(
    style: str, severity: float, digits: Digits, rng: np.random.Generator
) -> tuple[bytes, str, str]:
    """Return a drawing of one digit, in one of the styles `DRAWINGS`: its bytes, suffix and text."""
    strokes, text = choose_digits(digits, 1, rng)
    return (*paint(lay_out([strokes], BRUSH, severity, rng), style, severity, rng), text)


def paint(strokes: Strokes, style: str, severity: float, rng: np.random.Generator) -> File:
    """Return a drawing of strokes (units of a digit's height) on a canvas of 28 to 1000 pixels.

    The smaller, the further off the middle and the paler, the more severe.
    """
    short = round(2 ** rng.uniform(6 if style in ("corner", "hairline") else np.log2(28), np.log2(1000)))
    size = (short, short) if rng.random() < 0.6 else (round(short * rng.uniform(1, 1.6)), short)
    share = rng.uniform(0.15, 0.35) if style == "corner" else rng.uniform(0.75 - 0.45 * severity, 0.9)
    width, height = strokes.box()[2:]
    scale = min(share * size[1] / height, 0.9 * size[0] / width)
    room = np.array(size) - scale * np.array([width, height])
    off = 0.5 + rng.uniform(-0.5, 0.5, 2) * (0.3 + 0.65 * severity)
    if style == "corner":
        off = np.abs(rng.choice([0.0, 1.0], 2) - rng.uniform(0.01, 0.12, 2))
    placed = strokes.placed(scale, *(room * off))
    if style == "hairline":
        placed = placed.with_pen(float(rng.choice([0.5, 0.75, 1.0])), 0)
    placed = placed._replace(radii=np.maximum(placed.radii, 0.5))
    cover = draw(placed, size, smooth=bool(rng.random() < 0.6))
    return finish_drawing(cover, style, severity, rng)


def finish_drawing(cover: Image.Image, style: str, severity: float, rng: np.random.Generator) -> File:
    """Return the file of a drawing in the colours and the format of its style."""
    if style == "transparent":
        ink = [(0, 0, 0), (255, 255, 255), (200, 30, 30), (30, 60, 200)][rng.integers(4)]
        hidden = [(0, 0, 0), (255, 255, 255), ink][rng.integers(3)]
        picture = Image.composite(
            Image.new("RGB", cover.size, ink), Image.new("RGB", cover.size, hidden), cover
        )
        picture.putalpha(cover)
        return encode(picture, ".png"), ".png"
    ground, ink = choose_colours(style, severity, rng)
    picture = Image.composite(Image.new("RGB", cover.size, ink), Image.new("RGB", cover.size, ground), cover)
    if style == "palette":
        suffix = str(rng.choice([".png", ".gif"]))
        return encode(picture.quantize(int(rng.choice([2, 4, 16, 256]))), suffix), suffix
    if style in ("black-on-white", "white-on-black") and rng.random() < 0.5:
        picture = picture.convert("L")
    suffix = str(rng.choice([".png", ".png", ".bmp", ".webp", ".jpg"]))
    return encode(picture, suffix, round(95 - 50 * severity)), suffix


def choose_colours(
    style: str, severity: float, rng: np.random.Generator
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ground and the ink; coloured ones differ in lightness, the less the more severe."""
    black, white = (0, 0, 0), (255, 255, 255)
    if style == "white-on-black":
        return black, white
    if style not in ("colour", "palette"):
        return (black, white) if style != "black-on-white" and rng.random() < 0.4 else (white, black)
    luma = np.array([0.299, 0.587, 0.114])
    while True:
        ground, ink = rng.integers(0, 256, (2, 3))
        if abs((ground - ink) @ luma) >= 130 - 75 * severity:
            return tuple(map(int, ground)), tuple(map(int, ink))


# --- cells -----------------------------------------------------------------------------------------------

CELL_PEN = Pen(0.05, 0.13, ("black",), 1, 1, 0, 0.3)

CELLS = ("plain", "line", "frame", "touching", "dirty")


def make_cell(
    style: str, severity: float, digits: Digits, rng: np.random.Generator
) -> tuple[bytes, str, str]:
    """Return the scan of a table's cell, cut out along its lines or a little beside: bytes, suffix, text."""
    strokes, text = choose_digits(digits, 1, rng)
    height = round(rng.uniform(30, 120))
    size = round(height * rng.uniform(0.65, 1.5)), height
    fine = 3
    ink = rng.uniform(20, 60) + 60 * severity
    paper = np.full((size[1] * fine, size[0] * fine), rng.uniform(200, 250) - 20 * severity, np.float32)
    paper += (3 + 7 * severity) * clouds(paper.shape, paper.shape[0] / 2, rng)
    if style == "dirty":
        dirty(paper, digits, severity, rng)
    edges = {"line": 1, "frame": int(rng.integers(2, 5)), "touching": int(rng.integers(1, 3))}.get(style, 0)
    sides = [int(side) for side in rng.choice(4, size=edges, replace=False)]
    for side in sides:
        draw_border(paper, side, ink + rng.uniform(-20, 80), severity, rng)
    placed = place_in_cell(
        lay_out([strokes], CELL_PEN, severity, rng), paper.shape, sides, style, severity, rng
    )
    cover = np.asarray(draw(placed, paper.shape[::-1]), np.float32) / 255
    cover *= np.clip(1 + 0.15 * severity * clouds(paper.shape, 5, rng), 0, 1)
    return (*scan(paper + cover * (np.minimum(ink, paper) - paper), size, severity, rng), text)


def place_in_cell(
    strokes: Strokes,
    shape: tuple[int, int],
    sides: list[int],
    style: str,
    severity: float,
    rng: np.random.Generator,
) -> Strokes:
    """Return a digit within a cell, off the middle; `touching` the first of the lined sides."""
    height, width = shape
    across, down = strokes.box()[2:]
    scale = min(rng.uniform(0.45, 0.8) * height / down, 0.8 * width / across)
    room = np.array([width - scale * across, height - scale * down])
    off = 0.5 + rng.uniform(-0.5, 0.5, 2) * (0.3 + 0.4 * severity)
    if style == "touching":
        off[sides[0] % 2] = 0.0 if sides[0] < 2 else 1.0
    return strokes.placed(scale, *(room * off))


def draw_border(paper: Float, side: int, shade: float, severity: float, rng: np.random.Generator) -> None:
    """Draw a remainder of the table's line along a side (left, top, right, bottom), in place."""
    height, width = paper.shape
    y, x = np.mgrid[:height, :width]
    depth = (x, y, width - 1 - x, height - 1 - y)[side]
    along = (y / height, x / width)[side % 2] - 0.5
    start = rng.uniform(-2, 6) * (0.5 + severity)
    thickness = rng.uniform(2, 8)
    offset = depth - start - along * rng.uniform(-4, 4) * severity
    cover = np.clip(offset + 0.5, 0, 1) * np.clip(thickness - offset + 0.5, 0, 1)
    paper += (cover * np.minimum(shade - paper, 0)).astype(np.float32)


def dirty(paper: Float, digits: Digits, severity: float, rng: np.random.Generator) -> None:
    """Let a mirrored digit of the other side shine through, and strew dust, in place."""
    height, width = paper.shape
    behind, _ = choose_digits(digits, 1, rng)
    scale = 0.6 * height
    cover = draw(
        lay_out([behind], CELL_PEN, 0, rng).placed(scale, *rng.uniform(0, 0.5, 2) * (width, height)),
        (width, height),
    )
    shine = cover.transpose(Image.Transpose.FLIP_LEFT_RIGHT).filter(ImageFilter.GaussianBlur(4))
    paper -= (8 + 17 * severity) * np.asarray(shine, np.float32) / 255
    for _ in range(rng.integers(2, 12)):
        y, x, reach = rng.integers(height), rng.integers(width), rng.integers(1, 4)
        paper[y : y + reach, x : x + reach] -= rng.uniform(40, 120)


def scan(fine: Float, size: tuple[int, int], severity: float, rng: np.random.Generator) -> File:
    """Return the grey scan of a finer picture."""
    blurred = Image.fromarray(np.clip(fine, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(1 + 2 * severity * rng.random())
    )
    grey = np.asarray(blurred.resize(size, Image.Resampling.BOX), np.float32)
    grey = grey + rng.normal(0, 2 + 8 * severity * rng.random(), grey.shape)
    suffix = str(rng.choice([".png", ".png", ".jpg"]))
    picture = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    return encode(picture, suffix, round(95 - 45 * severity)), suffix


# --- small pictures --------------------------------------------------------------------------------------

SMALL = ("plain", "filled", "jpeg", "threshold", "faint", "stretched", "bitmap", "slope")


def make_small(
    style: str, severity: float, digits: Digits, rng: np.random.Generator
) -> tuple[bytes, str, str]:
    """Return a picture of 16 to 64 pixels of one digit, half of them MNIST's own pixels."""
    index = int(rng.integers(len(digits.images)))
    cover = cut_out(digits.images[index], rng)
    side = round(rng.uniform(20, 64) - 4 * severity)
    if style == "bitmap":
        side = round(side / (1 + severity))
    stretch = rng.uniform(1, 1 + 0.6 * severity) ** rng.choice([-1, 1]) if style == "stretched" else 1.0
    frame = (max(16, round(side * stretch)), side) if rng.random() < 0.5 else (side, side)
    is_filled = style in ("filled", "bitmap")
    share = 1.0 if is_filled else rng.uniform(0.8 - 0.25 * severity, 0.95)
    height = share * frame[1]
    width = height * cover.width / cover.height * stretch
    shrink = min(1.0, share * frame[0] / width)
    size = max(1, round(width * shrink)), max(4, round(height * shrink))
    field = Image.new("L", frame)
    room = np.array(frame) - size
    off = rng.uniform(0, 1, 2) if not is_filled else np.array([0.5, 0.5])
    field.paste(cover.resize(size, Image.Resampling.LANCZOS), tuple(int(v) for v in np.rint(room * off)))
    text = str(digits.labels[index])
    return (*finish_small(np.asarray(field, np.float32) / 255, style, severity, rng), text)


def cut_out(image: NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Return a digit cut out at its ink, mode L: as it is, or written anew with a pen."""
    if rng.random() < 0.5:
        picture = Image.fromarray(image)
    else:
        strokes = lay_out([[trace(image)]], Pen(0.06, 0.18, ("black",), 1, 1, 0, 0.3), 0, rng)
        width, height = strokes.box()[2:]
        picture = draw(strokes.placed(80, 0, 0), (round(width * 80) + 1, round(height * 80) + 1))
    return picture.crop(picture.point(lambda level: 255 * (level > 40)).getbbox())


def finish_small(cover: Float, style: str, severity: float, rng: np.random.Generator) -> File:
    """Return the file of a small picture in either polarity."""
    contrast = (
        rng.uniform(0.5 - 0.3 * severity, 0.7 - 0.4 * severity) if style == "faint" else rng.uniform(0.8, 1)
    )
    low = rng.uniform(0, 1 - contrast)
    if style in ("threshold", "bitmap"):
        cover = (cover > rng.uniform(0.3, 0.6)).astype(np.float32)
    grey = low + contrast * (cover if rng.random() < 0.5 else 1 - cover)
    if style == "slope":
        # Light that comes from one side, as in a small photo.
        y, x = np.indices(grey.shape) / max(grey.shape) - 0.5
        down, right = rng.uniform(-0.6, 0.6, 2) * (0.3 + 0.7 * severity)
        grey = grey * (1 + down * y + right * x)
    grey = grey + rng.normal(0, 0.02 * severity, grey.shape) * (style not in ("threshold", "bitmap"))
    picture = Image.fromarray(np.clip(np.rint(grey * 255), 0, 255).astype(np.uint8))
    suffix = ".jpg" if style == "jpeg" else ".png"
    return encode(picture, suffix, round(90 - 55 * severity)), suffix
