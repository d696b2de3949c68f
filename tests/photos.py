"""Pictures such as people have: photos, drawings, scanned cells, small pictures; with known labels, by seed.

`make_picture` makes one of a kind in `KINDS`, `write_set` files of many. The digits are MNIST's, traced and
written anew with a pen (`tests/pen.py`), and nothing here knows how the program reads pictures.

In every kind `severity` goes from 0 (good light, strong ink, upright) to 1 (as bad as a person would still
send, and still read at sight); what a kind is named after is there at every severity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from app.datasets import Digits
from tests.drawings import (
    BRUSH,
    CELLS,
    DRAWINGS,
    SMALL,
    clouds,
    encode,
    make_cell,
    make_drawing,
    make_small,
    paint,
)
from tests.pen import Float, Pen, Strokes, choose_digits, draw, lay_out
from tests.scrawls import LETTERS, SYMBOLS, by_hand, scribble, turned

Colour = tuple[float, float, float]
"""Reflectance of red, green and blue: linear, 0 to 1."""

PAPERS: dict[str, Colour] = {
    "white": (0.85, 0.85, 0.84),
    "cream": (0.84, 0.78, 0.62),
    "grey": (0.55, 0.55, 0.54),
    "pink": (0.85, 0.50, 0.55),
    "yellow": (0.88, 0.76, 0.22),
    "blue": (0.40, 0.60, 0.78),
    "green": (0.48, 0.74, 0.42),
    "orange": (0.85, 0.48, 0.18),
    "kraft": (0.45, 0.30, 0.17),
    "whiteboard": (0.82, 0.84, 0.86),
    "blackboard": (0.035, 0.05, 0.04),
    "slate": (0.05, 0.05, 0.055),
}
INKS: dict[str, Colour] = {
    "black": (0.02, 0.02, 0.025),
    "dark blue": (0.03, 0.05, 0.22),
    "blue": (0.05, 0.12, 0.50),
    "red": (0.60, 0.05, 0.06),
    "green": (0.04, 0.32, 0.12),
    "violet": (0.26, 0.07, 0.45),
    "brown": (0.22, 0.10, 0.04),
    "orange": (0.85, 0.30, 0.03),
    "light blue": (0.22, 0.52, 0.80),
    "pink": (0.85, 0.22, 0.42),
    "light green": (0.35, 0.66, 0.18),
    "chalk": (0.80, 0.80, 0.78),
    "yellow chalk": (0.80, 0.72, 0.25),
}
STRONG_INKS = ("blue", "red", "green", "violet", "brown")
LIGHT_INKS = ("orange", "light blue", "pink", "light green")


PENS = {
    "ballpoint": Pen(0.035, 0.07, ("black", "dark blue", "blue"), 0.95, 0.65, 0.15, 0.2),
    "ink": Pen(0.05, 0.10, ("black", "dark blue"), 0.98, 0.85, 0.05, 0.5),
    "pencil": Pen(0.025, 0.06, ("black",), 0.75, 0.38, 0.4, 0.3),
    "felt": Pen(0.09, 0.20, ("black", "blue", "red", "green"), 0.98, 0.85, 0.05, 0.15),
    "coloured": Pen(0.05, 0.11, STRONG_INKS, 0.95, 0.8, 0.1, 0.2),
    "light": Pen(0.06, 0.14, LIGHT_INKS, 0.95, 0.75, 0.1, 0.2),
    "marker": Pen(0.05, 0.11, ("black", "blue", "red", "green"), 0.95, 0.7, 0.1, 0.1),
    "chalk": Pen(0.06, 0.12, ("chalk", "yellow chalk"), 0.9, 0.5, 0.7, 0.2),
}


MOST_MEGAPIXELS = 2.0
"""Photos of more are made of so many and enlarged."""


@dataclass(frozen=True)
class Look:
    """Everything about a photo; lengths are shares of the frame's shorter side, unless said otherwise."""

    severity: float
    paper: str = "white"
    pen: str = "ballpoint"
    ruling: str = ""
    """`ruled`, `squared`, or nothing."""
    height: float = 0.35
    """Of a digit."""
    megapixels: float = 0.6
    shadow: str = ""
    """`soft` or `hard`, or nothing."""
    unevenness: float = 0.2
    """Share of the light that is missing on the darker side."""
    vignette: float = 0.15
    """Share of the light that is missing in the corners."""
    tilt: float = 3.0
    """Largest turn in the frame, degrees."""
    perspective: float = 0.03
    """Largest difference in length of opposite sides."""
    blur: float = 0.006
    """Defocus: standard deviation, share of the digit's height."""
    motion: float = 0.0
    """Length of the motion blur, share of the digit's height."""
    noise: float = 0.01
    """Standard deviation of the sensor's noise at white, share of white."""
    exposure: float = 0.75
    """What white paper comes to in the light, linear."""
    tint: float = 0.05
    """Largest error of the white balance."""
    quality: int = 90
    """Of JPEG."""
    desk: Literal["", "plain", "patterned"] = ""
    """`plain`: the paper ends in the frame at one or two sides; `patterned`: at all where there is room."""
    cropped: bool = False
    """The frame ends at the ink."""
    specks: int = 0
    hole: bool = False
    crease: bool = False
    """The paper was folded once."""
    glare: float = 0.0
    """A lamp's or window's reflection: light added where it is strongest, share of white."""
    orientation: Optional[int] = None
    """The EXIF tag to be stored, with the pixels turned against it where it is valid."""


class Picture(NamedTuple):
    """A picture file and what it says."""

    data: bytes
    suffix: str
    text: str
    """The digits, lines joined by line feeds; empty if the picture shows none."""
    kind: str
    severity: float


# --- noise and light -------------------------------------------------------------------------------------


def to_linear(values: NDArray[np.uint8]) -> Float:
    """Return sRGB bytes as linear light, float32, 0 to 1 (IEC 61966-2-1)."""
    return _LIGHT[values]


def to_srgb(light: Float) -> NDArray[np.uint8]:
    """Return linear light as sRGB bytes; what is over 1 is clipped."""
    return _BYTES[(np.clip(light, 0, 1) * (len(_BYTES) - 1)).astype(np.uint16)]


_LEVELS = np.arange(256) / 255
_LIGHT = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)
_BYTES = np.searchsorted((_LIGHT[1:] + _LIGHT[:-1]) / 2, np.arange(1 << 14) / (1 << 14)).astype(np.uint8)


def light_map(shape: tuple[int, int], look: Look, rng: np.random.Generator) -> Float:
    """Return how much light falls on each pixel, float32 [height, width], at most about 1."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(shape)
    y, x = y - height / max(shape) / 2, x - width / max(shape) / 2
    angle = rng.uniform(0, 2 * math.pi)
    slope = x * math.cos(angle) + y * math.sin(angle)
    light = 1 - look.unevenness * (slope + 0.5)
    light *= 1 - look.vignette * 2 * (x * x + y * y)
    if look.shadow:
        light *= shadow_map(shape, look, rng)
    return light.astype(np.float32)


def shadow_map(shape: tuple[int, int], look: Look, rng: np.random.Generator) -> Float:
    """Return the share of light that a shadow leaves: of a straight edge, or of a phone or an arm (a box)."""
    height, width = shape
    shadow = Image.new("L", (width, height))
    reach = 2.0 * max(shape)
    angle = rng.uniform(0, 360)
    middle = np.array([width, height]) * rng.uniform(0.25, 0.75, 2)
    if rng.random() < 0.5:
        corners = np.array([[0, -reach], [reach, -reach], [reach, reach], [0, reach]])
    else:
        across, along = rng.uniform(0.12, 0.3, 2) * max(shape) * (1, 2)
        corners = np.array([[-across, -along], [across, -along], [across, reach], [-across, reach]])
    turn = np.deg2rad(angle)
    turned = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    ImageDraw.Draw(shadow).polygon([tuple(corner) for corner in turned + middle], fill=255)
    softness = 0.002 if look.shadow == "hard" else rng.uniform(0.02, 0.08)
    shadow = shadow.filter(ImageFilter.GaussianBlur(softness * max(shape)))
    depth = rng.uniform(0.25, 0.4) + 0.25 * look.severity
    return 1 - depth * np.asarray(shadow, np.float32) / 255


# --- the sheet -------------------------------------------------------------------------------------------


def ink_cover(
    strokes: Strokes, size: tuple[int, int], pen: Pen, look: Look, rng: np.random.Generator
) -> Float:
    """Return how much of the paper the ink hides, float32 [height, width], 0 to 1."""
    shape = size[1], size[0]
    cover = np.asarray(draw(strokes, size), np.float32) / 255
    opacity = pen.opacity + (pen.faintest - pen.opacity) * look.severity
    unit = max(float(np.median(strokes.radii)), 0.7)
    flow = 1 + 0.06 * clouds(shape, 6 * unit, rng)
    if pen.grain:
        tooth = 0.5 + 0.5 * clouds(shape, max(1.0, unit / 2), rng)
        flow -= pen.grain * np.clip(tooth, 0, 1)
    cover = cover * np.clip(opacity * flow, 0, 1)
    return cover.astype(np.float32)


def rule(sheet: Float, look: Look, digit: float, base: tuple[float, float], rng: np.random.Generator) -> None:
    """Print the lines of ruled or squared paper on a sheet, float32 [height, width, 3], in place.

    Args:
        sheet: the paper's reflectance.
        look: which lines.
        digit: a digit's height in pixels.
        base: x of the first digit, and y of the line it stands on.
        rng: where they lie, how far apart, how strong.
    """
    height, width = sheet.shape[:2]
    is_squared = look.ruling == "squared"
    spacing = digit * (rng.uniform(0.12, 1.0) if is_squared else rng.uniform(0.5, 1.7))
    spacing = max(spacing, 8.0)
    thickness = max(0.6, spacing * rng.uniform(0.02, 0.05))
    strength = rng.uniform(0.15, 0.35) + 0.6 * look.severity
    colour = np.array(
        rng.choice([(0.35, 0.5, 0.8), (0.45, 0.45, 0.45), (0.4, 0.6, 0.7), (0.15, 0.2, 0.35)]), np.float32
    )

    def lines(length: int, start: float, spacing: float) -> Float:
        offsets = np.abs((np.arange(length) + 0.5 - start + spacing / 2) % spacing - spacing / 2)
        return np.clip(thickness / 2 - offsets + 0.5, 0, 1).astype(np.float32)

    cover = np.tile(lines(height, base[1] + rng.uniform(-0.1, 0.3) * spacing, spacing)[:, None], (1, width))
    if is_squared:
        cover = np.maximum(cover, lines(width, rng.uniform(0, spacing), spacing)[None, :])
    fade = np.clip(1 + 0.15 * clouds((height, width), spacing, rng), 0, 1)
    cover *= strength * fade
    sheet *= 1 - cover[..., None] * (1 - colour)
    if not is_squared and rng.random() < 0.4:
        margin = lines(width, base[0] - digit * rng.uniform(0.4, 1.2), 10.0 * width)
        sheet *= 1 - margin[None, :, None] * 0.6 * (1 - np.array([0.85, 0.25, 0.3], np.float32))


def make_sheet(shape: tuple[int, int], look: Look, rng: np.random.Generator) -> Float:
    """Return the reflectance of blank paper or board, float32 [height, width, 3]."""
    paper = np.array(PAPERS[look.paper], np.float32)
    roughness = 0.03 if look.paper == "kraft" else 0.008 + 0.008 * look.severity
    texture = 1 + roughness * (clouds(shape, 1.0, rng) + clouds(shape, 12, rng))
    if look.paper in ("whiteboard", "blackboard", "slate"):
        # What a sponge left.
        texture += 0.25 * look.severity * (look.paper != "whiteboard") * clouds(shape, max(shape) / 6, rng)
        texture += 0.04 * look.severity * clouds(shape, max(shape) / 10, rng)
    if look.crease:
        texture += fold(shape, look.severity, rng)
    return np.clip(texture, 0.3, 2)[..., None] * paper


def fold(shape: tuple[int, int], severity: float, rng: np.random.Generator) -> Float:
    """Return what a fold adds to the paper's light: a side leans away from the lamp, the edge is worn."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn = rng.choice([0, math.pi / 2]) + rng.normal(0, 0.05)
    middle = np.array(shape) * rng.uniform(0.3, 0.7, 2)
    away = ((x - middle[1]) * math.cos(turn) + (y - middle[0]) * math.sin(turn)) / (0.003 * max(shape))
    return (0.03 + 0.05 * severity) * (np.tanh(away) - 1.5 * np.exp(-np.square(away))).astype(np.float32)


def litter(sheet: Float, look: Look, digit: float, box: Sequence[float], rng: np.random.Generator) -> None:
    """Put specks, and perhaps a punched hole, on a sheet, in place and clear of the box of the ink."""
    height, width = sheet.shape[:2]
    spots = [(digit * rng.uniform(0.005, 0.025), rng.uniform(0.1, 0.5)) for _ in range(look.specks)]
    if look.hole:
        spots.append((digit * rng.uniform(0.12, 0.3), 0.05))
    for radius, shade in spots:
        for _ in range(20):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            gap = radius + 0.12 * digit
            if not (box[0] - gap < x < box[2] + gap and box[1] - gap < y < box[3] + gap):
                disc(sheet, x, y, radius, shade)
                break


def disc(sheet: Float, x: float, y: float, radius: float, shade: float) -> None:
    """Darken a round spot of a sheet, in place."""
    reach = int(radius) + 2
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    part = sheet[top : int(y) + reach, left : int(x) + reach]
    rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    cover = np.clip(radius - np.hypot(rows + 0.5 - y, columns + 0.5 - x) + 0.5, 0, 1)
    part *= (1 - cover[..., None] * (1 - shade)).astype(np.float32)


def lay_on_desk(
    sheet: Float,
    box: Sequence[float],
    digit: float,
    desk: Float,
    sides: Iterable[int],
    rng: np.random.Generator,
) -> None:
    """Let the paper end, at some of the four sides, between the ink and the border of the frame, in place."""
    height, width = sheet.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ends = [box[0], box[1], width - box[2], height - box[3]]
    for side in sides:
        room = ends[side] - 0.3 * digit
        if room < 0.05 * min(height, width):
            continue
        inset = rng.uniform(0.25, 0.85) * room
        depth = (x, y, width - x, height - y)[side]
        along = (y - height / 2) if side % 2 == 0 else (x - width / 2)
        beyond = np.clip(inset + along * rng.uniform(-0.04, 0.04) - depth + 0.5, 0, 1)[..., None]
        np.copyto(sheet, sheet * (1 - beyond) + desk * beyond)


def plain_desk(shape: tuple[int, int], rng: np.random.Generator) -> Float:
    """Return a desk, wooden, black or grey, float32 [height, width, 3]."""
    desk = np.array(
        rng.choice([(0.05, 0.035, 0.02), (0.25, 0.14, 0.07), (0.02, 0.02, 0.025), (0.3, 0.3, 0.32)]),
        np.float32,
    )
    return desk * np.clip(1 + 0.2 * clouds(shape, 9, rng), 0.4, 2)[..., None]


def patterned_desk(shape: tuple[int, int], severity: float, rng: np.random.Generator) -> Float:
    """Return float32 [height, width, 3], boards or a cloth of any colour, with a strong pattern."""
    light = rng.uniform(0.08, 0.5)
    desk = (light * rng.uniform(0.3, 1.0, 3)).astype(np.float32)
    y, x = np.indices(shape, np.float32)
    period, bend = rng.uniform(0.01, 0.04) * min(shape), rng.uniform(0, 1.5)
    down, across = 2 * np.pi * (y + 2 * bend * np.sin(x / (9 * period))) / period, 2 * np.pi * x / period
    pattern = np.sin(down) if rng.random() < 0.5 else np.sign(np.sin(down) * np.sin(across))
    strength = (0.3 + 0.7 * severity) * rng.uniform(0.1, 0.4)
    rough = 1 + strength * pattern + 0.1 * clouds(shape, 3, rng)
    patterned: Float = desk * np.clip(rough, 0.3, 2).astype(np.float32)[..., None]
    return patterned


# --- the camera ------------------------------------------------------------------------------------------


def viewpoint(
    middle: tuple[float, float], size: float, look: Look, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return float64 [3, 3], a turned and leaning view that leaves `middle` where it is."""
    turn = math.radians(rng.uniform(-1, 1) * look.tilt)
    lean = rng.uniform(-1, 1, 2) * look.perspective / size
    there = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1]])
    back = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1]])
    rotation = np.array(
        [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]]
    )
    leaning = np.array([[1, 0, 0], [0, 1, 0], [lean[0], lean[1], 1]])
    homography: NDArray[np.float64] = back @ rotation @ leaning @ there
    return homography


def seen_at(points: NDArray[np.float64], homography: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where points of the sheet are in the frame, float64 [N, 2]."""
    homogeneous = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(homography).T
    seen: NDArray[np.float64] = homogeneous[:, :2] / homogeneous[:, 2:]
    return seen


def expose(picture: Image.Image, look: Look, digit: float, rng: np.random.Generator) -> Image.Image:
    """Return the photo of a sheet seen in even light: light, lens, sensor, and the phone's sharpening."""
    sigma = look.blur * digit
    picture = picture.filter(ImageFilter.GaussianBlur(sigma))
    light = to_linear(np.asarray(picture))
    if look.motion * digit > 1:
        light = smear(light, look.motion * digit, rng.uniform(0, math.pi))
    shape = light.shape[:2]
    tint = 1 + rng.uniform(-1, 1, 3) * look.tint
    light = light * (light_map(shape, look, rng) * look.exposure / 0.85)[..., None] * tint.astype(np.float32)
    if look.glare:
        light += look.glare * reflection(shape, rng)[..., None]
    grain = rng.standard_normal(light.shape, np.float32) * 0.5 + clouds(shape, 2, rng)[..., None] * 0.8
    light += grain * look.noise * np.sqrt(np.clip(light, 0.02, 1))
    photo = Image.fromarray(to_srgb(light))
    if rng.random() < 0.5:
        photo = photo.filter(ImageFilter.UnsharpMask(1.5, int(rng.integers(30, 120)), 2))
    return photo


def reflection(shape: tuple[int, int], rng: np.random.Generator) -> Float:
    """Return a soft round patch of light, float32 [height, width], 0 to 1."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    middle = np.array(shape) * rng.uniform(0, 1, 2)
    reach = max(shape) * rng.uniform(0.08, 0.25)
    return np.exp(-(np.square(y - middle[0]) + np.square(x - middle[1])) / reach**2).astype(np.float32)


def smear(light: Float, length: float, angle: float) -> Float:
    """Return a picture moved along a line while it was taken."""
    steps = max(3, min(15, round(length)))
    moves = np.linspace(-length / 2, length / 2, steps)
    shifts = [(round(move * math.sin(angle)), round(move * math.cos(angle))) for move in moves]
    return np.mean([np.roll(light, shift, (0, 1)) for shift in shifts], axis=0, dtype=np.float32)


def photograph(strokes: Optional[Strokes], look: Look, rng: np.random.Generator) -> bytes:
    """Return a JPEG photo of a sheet with these strokes (units of a digit's height), or of a blank one."""
    aspect = 4 / 3 if rng.random() < 0.5 else 3 / 4
    height = math.sqrt(min(look.megapixels, MOST_MEGAPIXELS) * 1e6 / aspect)
    frame = round(height * aspect), round(height)
    border = round(0.12 * max(frame))
    size = frame[0] + 2 * border, frame[1] + 2 * border
    sheet = make_sheet((size[1], size[0]), look, rng)
    digit = look.height * min(frame)
    if strokes is None:
        box = (size[0] / 2, size[1] / 2, size[0] / 2, size[1] / 2)
    else:
        width, lines = strokes.box()[2:]
        digit = min(digit, 0.8 * frame[0] / width, 0.8 * frame[1] / lines)
        room = np.array(frame) - digit * np.array([width, lines])
        x, y = border + room * rng.uniform(0.1, 0.9, 2)
        strokes = strokes.placed(digit, x, y)
        box = strokes.box()
    if look.ruling:
        rule(sheet, look, digit, (box[0], box[1] + digit), rng)
    litter(sheet, look, digit, box, rng)
    if strokes is not None:
        pen = PENS[look.pen]
        cover = ink_cover(strokes, size, pen, look, rng)[..., None]
        ink = np.array(INKS[str(rng.choice(pen.inks))], np.float32)
        sheet = sheet * (1 - cover) + ink * cover
    if look.desk == "plain":
        desk = plain_desk(sheet.shape[:2], rng)
        lay_on_desk(sheet, box, digit, desk, rng.choice(4, size=rng.integers(1, 3), replace=False), rng)
    elif look.desk == "patterned":
        lay_on_desk(sheet, box, digit, patterned_desk(sheet.shape[:2], look.severity, rng), range(4), rng)
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    homography = viewpoint(middle, max(frame), look, rng) @ [[1, 0, border], [0, 1, border], [0, 0, 1]]
    homography /= homography[2, 2]
    seen = Image.fromarray(to_srgb(sheet)).transform(
        frame, Image.Transform.PERSPECTIVE, tuple(homography.ravel()[:8]), Image.Resampling.BICUBIC
    )
    photo = expose(seen, look, digit, rng)
    if look.cropped and strokes is not None:
        points = seen_at(strokes.points, homography)
        photo = photo.crop(crop_to(points, float(np.median(strokes.radii)), digit, frame, rng))
    if look.megapixels > MOST_MEGAPIXELS:
        photo = enlarge(photo, math.sqrt(look.megapixels / MOST_MEGAPIXELS), look.noise, rng)
    return encode(photo, ".jpg", look.quality, look.orientation)


def enlarge(photo: Image.Image, factor: float, noise: float, rng: np.random.Generator) -> Image.Image:
    """Return a photo with more pixels that show no more, and with noise of their own, as phones make them."""
    width, height = round(photo.width * factor), round(photo.height * factor)
    large = photo.resize((width, height), Image.Resampling.BICUBIC)
    tile = np.clip(rng.normal(128, 128 * noise, (height, 512)), 0, 255).astype(np.uint8)
    grain = Image.fromarray(np.tile(tile, -(-width // 512))[:, :width]).convert("RGB")
    return ImageChops.add(large, grain, 1, -128)


def crop_to(
    points: NDArray[np.float64], radius: float, digit: float, size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return a frame that ends at the ink, on one to four sides, or just short of it."""
    low, high = points.min(axis=0) - radius, points.max(axis=0) + radius
    margins = rng.uniform(0.2, 0.8, 4) * digit
    tight = rng.choice(4, size=rng.integers(1, 5), replace=False)
    margins[tight] = rng.uniform(-0.3 * radius, 0.04 * digit, len(tight))
    return (
        max(0, round(low[0] - margins[0])),
        max(0, round(low[1] - margins[1])),
        min(size[0], round(high[0] + margins[2])),
        min(size[1], round(high[1] + margins[3])),
    )


# --- the kinds of photos ---------------------------------------------------------------------------------


def any_look(severity: float, rng: np.random.Generator) -> Look:
    """Return the ordinary troubles of a photo, in this severity."""

    def up_to(low: float, high: float) -> float:
        return low + (high - low) * severity * rng.uniform(0.5, 1)

    return Look(
        severity,
        paper=str(rng.choice(["white", "white", "cream", "grey"])),
        pen=str(rng.choice(["ballpoint", "ink", "ballpoint", "felt", "pencil"])),
        height=rng.uniform(0.2, 0.5),
        megapixels=rng.uniform(0.3, 0.8),
        unevenness=up_to(0.05, 0.5),
        vignette=up_to(0.05, 0.4),
        tilt=up_to(2, 10),
        perspective=up_to(0.01, 0.15),
        blur=up_to(0.003, 0.012),
        noise=up_to(0.005, 0.035),
        exposure=rng.uniform(0.75 - 0.4 * severity, 0.85),
        tint=up_to(0.02, 0.12),
        quality=round(95 - 50 * severity * rng.uniform(0.5, 1)),
        specks=int(rng.integers(0, 1 + round(3 * severity))),
    )


COLOURED_PAPERS = ("pink", "yellow", "blue", "green", "orange", "kraft")
MOST_PENS = ("ballpoint", "ink", "felt", "pencil")

# What each kind changes in `any_look`; a tuple is a choice.
PHOTOS: dict[str, dict[str, object]] = {
    "ink": {"pen": ("ballpoint", "ink")},
    "pencil": {"pen": "pencil"},
    "felt": {"pen": "felt"},
    "coloured-ink": {"pen": "coloured"},
    "light-ink": {"pen": "light", "paper": ("white", "cream")},
    "ruled": {"ruling": "ruled"},
    "squared": {"ruling": "squared"},
    "coloured-paper": {"paper": COLOURED_PAPERS, "pen": ("ballpoint", "ink", "felt")},
    "shadow": {"shadow": ("soft", "hard")},
    "blur": {"blur": (0.015, 0.025, 0.035), "motion": (0.0, 0.03, 0.06), "pen": ("ink", "felt", "ballpoint")},
    "far": {"height": (0.05, 0.08, 0.12, 0.2), "megapixels": (1.0, 1.5), "pen": ("ink", "felt", "ballpoint")},
    "cropped": {"cropped": True},
    "desk": {"desk": "plain"},
    "note": {"desk": "patterned", "paper": ("white", *COLOURED_PAPERS), "pen": ("ballpoint", "ink", "felt")},
    "litter": {"specks": (5, 10, 20), "hole": (True, False), "crease": (True, False)},
    "exif": {"orientation": (1, 2, 3, 4, 5, 6, 7, 8)},
    "exif-invalid": {"orientation": (0, 9, 255, 65535)},
    "whiteboard": {"paper": "whiteboard", "pen": "marker", "glare": (0.0, 0.2, 0.5)},
    "blackboard": {"paper": ("blackboard", "slate"), "pen": "chalk"},
    "12-megapixel": {"megapixels": 12.0, "height": (0.06, 0.15, 0.3)},
}
NUMBERS: dict[str, dict[str, object]] = {
    name: {"height": (0.15, 0.2, 0.3), **PHOTOS[name]}
    for name in (
        *("ink", "pencil", "felt", "coloured-ink", "coloured-paper", "whiteboard", "blackboard"),
        *("ruled", "squared", "shadow", "desk"),
    )
}


def look_of(changes: dict[str, object], severity: float, rng: np.random.Generator) -> Look:
    """Return the look of a photo of a kind."""
    chosen = {
        name: value[rng.integers(len(value))] if isinstance(value, tuple) else value
        for name, value in changes.items()
    }
    # The names and types of `changes` are those of the fields of `Look`, which a dict cannot say.
    return replace(any_look(severity, rng), **chosen)  # type: ignore[arg-type]


def make_photo(
    changes: dict[str, object], severity: float, digits: Digits, rng: np.random.Generator
) -> tuple[bytes, str, str]:
    """Return a photo of one digit: its bytes, suffix and text."""
    look = look_of(changes, severity, rng)
    strokes, text = choose_digits(digits, 1, rng)
    return photograph(lay_out([strokes], PENS[look.pen], severity, rng), look, rng), ".jpg", text


def make_number(
    changes: dict[str, object],
    severity: float,
    digits: Digits,
    rng: np.random.Generator,
    *,
    touching: bool = False,
) -> tuple[bytes, str, str]:
    """Return a photo of a number of four digits."""
    look = look_of(changes, severity, rng)
    strokes, text = choose_digits(digits, 4, rng)
    written = lay_out([strokes], PENS[look.pen], severity, rng, touching=touching)
    return photograph(written, look, rng), ".jpg", text


def make_lines(severity: float, digits: Digits, rng: np.random.Generator) -> tuple[bytes, str, str]:
    """Return a photo of two lines, of two to six digits each."""
    look = replace(any_look(severity, rng), height=0.2)
    lines, texts = zip(*(choose_digits(digits, int(rng.integers(2, 7)), rng) for _ in range(2)))
    return photograph(lay_out(lines, PENS[look.pen], severity, rng), look, rng), ".jpg", "\n".join(texts)


# --- pictures without a digit -----------------------------------------------------------------------------


def make_blank(severity: float, _digits: Digits, rng: np.random.Generator) -> tuple[bytes, str, str]:
    """Return a photo of paper, of any kind, with nothing on it."""
    changes = PHOTOS[
        str(rng.choice(["ink", "ruled", "squared", "coloured-paper", "whiteboard", "blackboard"]))
    ]
    look = replace(look_of(changes, severity, rng), specks=0)
    return photograph(None, look, rng), ".jpg", ""


def make_noise(severity: float, _digits: Digits, rng: np.random.Generator) -> tuple[bytes, str, str]:
    """Return noise, grey or black and white, fine or in spots."""
    side = round(2 ** rng.uniform(np.log2(28), 8))
    spread = clouds((side, side), rng.choice([1.0, 1.5, side / 20]), rng) * (20 + 60 * (1 - severity))
    if rng.random() < 0.5:
        spread = np.where(spread > np.quantile(spread, rng.uniform(0.5, 0.95)), 127, -127)
    noise = np.clip(128 + spread, 0, 255).astype(np.uint8)
    return encode(Image.fromarray(noise), ".png"), ".png", ""


def make_scrawl(
    name: str, severity: float, digits: Digits, rng: np.random.Generator
) -> tuple[bytes, str, str]:
    """Return a photo or a drawing of strokes that are no digit."""
    if name == "scribble":
        strokes = scribble(rng)
    elif name == "turned":
        strokes = turned(digits, rng)
    else:
        strokes = by_hand(LETTERS if name == "letter" else SYMBOLS, rng)
    if rng.random() < 0.5:
        style = str(rng.choice(DRAWINGS))
        return (*paint(lay_out([[strokes]], BRUSH, severity, rng), style, severity, rng), "")
    look = any_look(severity, rng)
    return photograph(lay_out([[strokes]], PENS[look.pen], severity, rng), look, rng), ".jpg", ""


# --- all of them -----------------------------------------------------------------------------------------

Maker = Callable[[float, Digits, np.random.Generator], tuple[bytes, str, str]]

KINDS: dict[str, Maker] = {
    **{f"photo/{name}": partial(make_photo, changes) for name, changes in PHOTOS.items()},
    **{f"drawing/{style}": partial(make_drawing, style) for style in DRAWINGS},
    **{f"cell/{style}": partial(make_cell, style) for style in CELLS},
    **{f"small/{style}": partial(make_small, style) for style in SMALL},
    **{f"number/{name}": partial(make_number, changes) for name, changes in NUMBERS.items()},
    "number/touching": partial(make_number, {"height": (0.15, 0.2, 0.3)}, touching=True),
    "number/two-lines": make_lines,
    **{f"none/{name}": partial(make_scrawl, name) for name in ("scribble", "letter", "symbol", "turned")},
    "none/blank": make_blank,
    "none/noise": make_noise,
}
"""How to make each kind, by its name: what sort of picture, and what is special about it."""


def make_picture(kind: str, severity: float, digits: Digits, rng: np.random.Generator) -> Picture:
    """Return a picture of a kind of `KINDS` with digits drawn from `digits`."""
    data, suffix, text = KINDS[kind](severity, digits, rng)
    return Picture(data, suffix, text, kind, severity)


class Labelled(NamedTuple):
    """A picture in a file, and what it is."""

    path: Path
    text: str
    source: str
    severity: float


def write_set(folder: Path, kinds: Sequence[str], count: int, digits: Digits, seed: int) -> list[Labelled]:
    """Write `count` pictures of each kind, severities from 0 to 1, as `folder/KIND/LABEL_NUMBER.SUFFIX`.

    In a label `-` stands between lines, and `none` for no digit. A picture depends on the seed, its kind, its
    number and its severity alone.
    """
    written = []
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([seed, number, *kind.encode()])
            picture = make_picture(kind, number / max(1, count - 1), digits, rng)
            label = picture.text.replace("\n", "-") or "none"
            path = folder / kind / f"{label}_{number:04d}{picture.suffix}"
            path.write_bytes(picture.data)
            written.append(Labelled(path, picture.text, kind, picture.severity))
    return written
