"""Distortions of whole batches of training images; `python -m app.augment OUT.png` shows each of them.

Every function takes and returns uint8 [N, H, W] and draws one set of random numbers per image from the
generator it is given.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from app import runtime
from app.config import TrainConfig
from app.console import CommandParser, named, png_path, run_command, say
from app.datasets import SIDE
from app.files import SOFTWARE, write_figure

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

# The distortions that are weaker in the last epochs.
_CALMED = ("rotation", "scale", "shear", "elastic", "stroke", "blur", "erase")

# Images that are resampled at a time: their intermediate arrays stay in a core's cache.
_CHUNK = 32

# Share of a random field's variance that may be left out to describe it by fewer numbers.
_NEGLIGIBLE_VARIANCE = 1e-3


def augment(images: Images, config: TrainConfig, generator: np.random.Generator) -> Images:
    """Return the images with all distortions that `config` asks for.

    The thickness of the strokes changes first, then one resampling moves, turns and bends the image, then it
    is blurred and a part of it erased.

    Args:
        images: uint8 [N, 28, 28]; unchanged.
        config: its fields `stroke`, `shift`, `rotation`, `scale`, `shear`, `elastic`, `elastic_sigma`,
            `blur` and `erase`.
        generator: the same one gives the same result.
    """
    if config.stroke:
        images = change_strokes(images, config.stroke, generator)
    if config.rotation or config.scale or config.shear or config.elastic:
        images = warp(images, config, generator)
    elif config.shift:
        images = shift(images, config.shift, generator)
    if config.blur:
        images = blur(images, config.blur, generator)
    if config.erase:
        images = erase(images, config.erase, generator)
    return images


def calm(config: TrainConfig) -> TrainConfig:
    """Return the configuration of the last epochs, `calm_epochs`, which see nearly undistorted images.

    What the strong distortions taught stays; what they cost on ordinary digits is won back.
    """
    return dataclasses.replace(config, **{name: getattr(config, name) / 3 for name in _CALMED})


def shift(images: Images, pixels: int, generator: np.random.Generator) -> Images:
    """Return uint8 [N, H, W] images, each moved by its own random whole number of pixels.

    Both directions are drawn uniformly from -pixels to pixels; what moves in is black.
    """
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels)))
    down, right = generator.integers(0, 2 * pixels + 1, (2, count))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    moved: Images = windows[np.arange(count), down, right]
    return moved


def warp(images: Images, config: TrainConfig, generator: np.random.Generator) -> Images:
    """Return uint8 [N, 28, 28] images, each seen through its own random field of displacements.

    Affine about the centre: the image is turned by up to `rotation` degrees, sheared by up to `shear` (pixels
    to the side per pixel of height), each of its axes scaled by 1 - `scale` to 1 + `scale`, and moved by up
    to `shift` whole pixels, all drawn uniformly. On top of it comes the elastic distortion of
    Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to Visual
    Document Analysis" (ICDAR 2003): for both directions a field of noise, uniform in -1..1, smoothed by a
    Gaussian of `elastic_sigma` pixels and multiplied by `elastic`. Theirs are 4 and 34, which displace by 1.4
    pixels (standard deviation). What comes in from outside is black.
    """
    basis = _field_basis(config.elastic_sigma)
    coefficients = _draw_coefficients(len(images), basis.shape[1], config, generator)
    warped = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        places = basis @ (coefficients[part] @ basis.T)
        sampled = sample_bilinear(images[part], places[:, 0], places[:, 1])
        np.add(sampled, 0.5, out=warped[part], casting="unsafe")
    return warped


@cache
def _field_basis(sigma: float) -> Floats:
    """Return float32 [28, K], the functions of one coordinate of which the fields of `warp` are made.

    A field is basis @ coefficients @ basis.T. The first function is constant and the second the coordinate,
    from the centre: with them alone a field is affine. With standard normal coefficients, the others give a
    random field with the covariance of white noise smoothed by a Gaussian of sigma: again a Gaussian of the
    distance, sqrt(2) times as wide; here with variance 1. They are its eigenvectors, of which few matter.
    """
    coordinate = np.arange(SIDE) - (SIDE - 1) / 2
    distance = np.subtract.outer(coordinate, coordinate)
    values, vectors = np.linalg.eigh(np.exp(-((distance / (2 * sigma)) ** 2)))
    matters = np.cumsum(values) > _NEGLIGIBLE_VARIANCE * values.sum()
    smooth = vectors[:, matters] * np.sqrt(values[matters])
    return np.column_stack([np.ones(SIDE), coordinate, smooth]).astype(np.float32)


def _draw_coefficients(count: int, size: int, config: TrainConfig, generator: np.random.Generator) -> Floats:
    """Return float32 [N, 2, size, size]: of each field of rows and of columns to look at in the image."""
    strengths = np.array([[np.radians(config.rotation)], [config.scale], [config.scale], [config.shear]])
    turn, taller, wider, slant = generator.uniform(-1, 1, (4, count)) * strengths
    moves = generator.integers(-config.shift, config.shift + 1, (2, count))
    cosine, sine = np.cos(turn), np.sin(turn)
    coefficients = np.zeros((count, 2, size, size), np.float32)
    # The inverse of the distortion says where each pixel comes from: first turn, then shear, then scale.
    coefficients[:, 0, 1, 0] = cosine / (1 + taller)
    coefficients[:, 0, 0, 1] = -sine / (1 + taller)
    coefficients[:, 1, 1, 0] = (sine + slant * cosine) / (1 + wider)
    coefficients[:, 1, 0, 1] = (cosine - slant * sine) / (1 + wider)
    coefficients[:, :, 0, 0] = (SIDE - 1) / 2 + moves.T
    if config.elastic:
        # Noise uniform in -1..1 has a variance of 1/3, smoothed by a Gaussian in the plane 4 pi sigma^2 times
        # less.
        deviation = config.elastic / (np.sqrt(12 * np.pi) * config.elastic_sigma)
        bends = generator.standard_normal((count, 2, size - 2, size - 2), np.float32)
        coefficients[:, :, 2:, 2:] = np.float32(deviation) * bends
    return coefficients


def sample_bilinear(images: NDArray[Any], rows: Floats, columns: Floats) -> Floats:
    """Return the images at places between their pixels, each from the four pixels around it.

    Args:
        images: [N, H, W], black (zero) all around.
        rows: float32 [N, ...], the places; 0 is the middle of the first row.
        columns: of the same shape.

    Returns:
        float32, of the shape of `rows`: linear between two pixels of a row, then between both rows.
    """
    count, height, width = images.shape
    padded = np.zeros((count, height + 3, width + 3), np.float32)
    padded[:, 1:-2, 1:-2] = images
    # Farther out than a pixel everything is black; the padding begins at -1.
    rows = np.clip(rows, -1, height) + np.float32(1)
    columns = np.clip(columns, -1, width) + np.float32(1)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    down, right = rows - top.astype(np.float32), columns - left.astype(np.float32)
    first = np.arange(count, dtype=np.int32) * ((height + 3) * (width + 3))
    index = (first.reshape(-1, *[1] * (rows.ndim - 1)) + top * (width + 3) + left).astype(np.intp)
    flat = padded.reshape(-1)

    def take(offset: int) -> Floats:
        # Every index is in range; this mode is the quick one.
        taken: Floats = flat[offset:].take(index, mode="clip")
        return taken

    upper = _between(take(0), take(1), right)
    lower = _between(take(width + 3), take(width + 4), right)
    return _between(upper, lower, down)


def _between(start: Floats, end: Floats, fraction: Floats) -> Floats:
    """Return what lies `fraction` of the way from start to end, in the place of `end`."""
    end -= start
    end *= fraction
    end += start
    return end


def change_strokes(images: Images, strength: float, generator: np.random.Generator) -> Images:
    """Return uint8 [N, H, W] images with thicker or thinner strokes.

    Thicker is the lightest of a pixel and its four neighbours (dilation), thinner the darkest (erosion). Each
    image goes a random share of the way to one of them, drawn uniformly from -strength (thinner) to strength.
    """
    amount = generator.uniform(-strength, strength, len(images))
    neighbours = _neighbours(images)
    thicker, thinner = images, images
    for neighbour in neighbours:
        thicker, thinner = np.maximum(thicker, neighbour), np.minimum(thinner, neighbour)
    target = np.where(_per_image(amount) > 0, thicker, thinner)
    return _blend(images, target, np.abs(amount))


def blur(images: Images, strength: float, generator: np.random.Generator) -> Images:
    """Return uint8 [N, H, W] images, each blurred a random number of times, 0 to strength.

    Blurred once, a pixel is half itself and half the mean of its four neighbours; half a time is half of the
    way there. Each time adds a quarter to the variance of where the ink is, in squared pixels.
    """
    times = generator.uniform(0, strength, len(images))
    for before in range(math.ceil(strength)):
        total = images.astype(np.uint16) * 4
        for neighbour in _neighbours(images):
            total += neighbour
        images = _blend(images, (total + 4) // 8, np.clip(times - before, 0, 1))
    return images


def erase(images: Images, share: float, generator: np.random.Generator) -> Images:
    """Return uint8 [N, H, W] images of which a share, drawn at random, have a rectangle painted black.

    After Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data Augmentation" (AAAI 2020), whose range of
    shapes this is, but for the area: 2 to 15% of the picture, with sides in a ratio of 0.3 to 3.3, anywhere
    in it.
    """
    count, height, width = images.shape
    is_erased = generator.random(count) < share
    area = generator.uniform(0.02, 0.15, count) * height * width
    ratio = np.exp(generator.uniform(np.log(0.3), np.log(1 / 0.3), count))
    inside = []
    for length, side in ((height, np.sqrt(area * ratio)), (width, np.sqrt(area / ratio))):
        begin = generator.uniform(0, np.maximum(length - side, 0))[:, np.newaxis]
        middle = np.arange(length) + 0.5
        inside.append((begin <= middle) & (middle < begin + side[:, np.newaxis]))
    hole = inside[0][:, :, np.newaxis] & inside[1][:, np.newaxis] & _per_image(np.asarray(is_erased))
    kept: Images = images * ~hole
    return kept


def _neighbours(images: Images) -> list[Images]:
    """Return each pixel's neighbours above, below, left and right; black beyond the edge."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    return [padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]


def _per_image(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, np.newaxis, np.newaxis]


def _blend(images: Images, target: NDArray[Any], amount: NDArray[np.float64]) -> Images:
    """Return the images, each moved by its amount, 0 to 1, towards its target."""
    start = images.astype(np.float32)
    mixed: Images = (start + _per_image(amount.astype(np.float32)) * (target - start) + 0.5).astype(np.uint8)
    return mixed


_EXAMPLES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "shift 2": {"shift": 2},
    "rotation 15": {"rotation": 15.0},
    "scale 0.2": {"scale": 0.2},
    "shear 0.3": {"shear": 0.3},
    "elastic 34": {"elastic": 34.0},
    "elastic 60,\nsigma 6": {"elastic": 60.0, "elastic_sigma": 6.0},
    "stroke 1": {"stroke": 1.0},
    "blur 2": {"blur": 2.0},
    "erase 1": {"erase": 1.0},
}
_EXAMPLES["all of them,\nmilder"] = {
    **{"shift": 1, "rotation": 7.5, "scale": 0.1, "shear": 0.15, "elastic": 17.0},
    **{"stroke": 0.5, "blur": 0.5, "erase": 0.5},
}


def draw_contact_sheet(images: Images) -> bytes:
    """Return a PNG that shows what each distortion makes of uint8 [N, 28, 28] images, one in a row."""
    from matplotlib.figure import Figure

    rows = []
    for number, choices in enumerate(_EXAMPLES.values()):
        generator = runtime.random_generator(0, "contact sheet", number)
        distorted = augment(images, TrainConfig(**choices), generator)
        rows.append(np.hstack(list(np.pad(distorted, ((0, 0), (1, 1), (1, 1)), constant_values=96))))
    sheet = np.vstack(rows)
    side = len(sheet) / len(rows)
    scale = 0.6 / side
    figure = Figure((1.2 + scale * sheet.shape[1], scale * len(sheet)))
    axes = figure.add_axes((1.2 / figure.get_figwidth(), 0, 1 - 1.2 / figure.get_figwidth(), 1))
    axes.imshow(sheet, cmap="gray", interpolation="nearest")
    axes.set_axis_off()
    for number, name in enumerate(_EXAMPLES):
        axes.text(-6, side * (number + 0.5), name, ha="right", va="center", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": SOFTWARE})
    return buffer.getvalue()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Write the contact sheet."""
    parser = CommandParser(
        prog="python -m app.augment",
        description="Show what each distortion makes of a few training images of MNIST, as a PNG.",
    )
    parser.add_argument("out", type=png_path, metavar="OUT.png", help="the file to write")
    parser.add_argument(
        "--data-dir", type=named, metavar="DIR", help="folder of the four MNIST files (gzip or plain)"
    )
    options = parser.parse_args(arguments)
    write_figure(options.out, draw_contact_sheet(_one_of_each(options.data_dir)))
    return 0


def _one_of_each(data_dir: Optional[str]) -> Images:
    """Return an image of each digit from the training images of MNIST.

    Without MNIST in any of the folders they are synthetic: a contact sheet is not worth a download.
    """
    from app.datasets import strokes
    from app.datasets.mnist import find_files, load_mnist

    directories = runtime.data_directories(data_dir)
    found = [directory for directory in directories if find_files(directory)]
    if found:
        digits = load_mnist(found).train
    else:
        say(f"MNIST is not in {' or '.join(map(str, directories))}, nor named by --data-dir: {strokes.NAME}")
        digits = strokes.make_strokes(200, seed=0)
    order = runtime.random_generator(0, "contact sheet").permutation(len(digits.labels))
    first = [order[np.flatnonzero(digits.labels[order] == digit)[0]] for digit in np.unique(digits.labels)]
    return digits.images[first]


if __name__ == "__main__":
    run_command(main)
