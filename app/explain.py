"""Draw how a picture was read: every stage of the pipeline, what the network saw, and what it made of it."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from app.files import SOFTWARE, write_figure
from app.pictures import open_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from app.recognizer import Reading

# Digits that find room in a row of the figure, and in the figure.
_ROW, _MOST_DIGITS = 8, 24

# Inches: of the figure, of the picture and of a row of stages at most, of a row of digits, of the title.
_WIDTH, _TALLEST, _DIGITS_HEIGHT, _TITLE_HEIGHT = 12.0, 5.0, 3.2, 0.7


def write_explanation(path: Path, reading: Reading) -> None:
    """Write a figure as PNG: the picture with boxes, each stage, each digit's 28x28 and ten probabilities.

    Raises:
        FileError: `path` cannot be written.
        PictureError: the picture has gone since it was read.
    """
    pixels, size = open_picture(Path(reading.prediction.path))
    aspect = size[1] / size[0]
    stages = len(reading.stages)
    shown = min(_MOST_DIGITS, len(reading.images))
    rows = [range(start, min(start + _ROW, shown)) for start in range(0, shown, _ROW)]
    heights = [
        min(_TALLEST, _WIDTH * aspect + 0.4),
        *([min(_TALLEST, _WIDTH / stages * aspect + 0.4)] if stages else []),
        *[_DIGITS_HEIGHT for _ in rows],
    ]
    figure = Figure(figsize=(_WIDTH, _TITLE_HEIGHT + sum(heights)), layout="constrained")
    figure.suptitle(_title(reading), fontsize=16)
    parts = iter(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    _show_picture(next(parts).subplots(), reading, pixels, size)
    if stages:
        for axis, (name, image) in zip(
            next(parts).subplots(1, stages, squeeze=False)[0], reading.stages.items()
        ):
            _show_stage(axis, name, image)
    for row, part in zip(rows, parts):
        # A few digits stand in the middle; no part of a figure may be of no width.
        beside = (_ROW - len(row)) / 2 + 1e-3
        _, middle, _ = part.subfigures(1, 3, width_ratios=(beside, len(row), beside))
        axes = middle.subplots(2, len(row), squeeze=False)
        for column, number in enumerate(row):
            _show_digit(axes[0, column], reading, number)
            _show_probabilities(axes[1, column], reading.probabilities[number])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": SOFTWARE})
    write_figure(path, buffer.getvalue())


def _title(reading: Reading) -> str:
    prediction = reading.prediction
    title = f"Read: {prediction.text}".replace("\n", " / ") if prediction.text else "No digit"
    if prediction.warning:
        title += f" -- {prediction.warning}"
    if len(reading.images) > _MOST_DIGITS:
        title += f" (the first {_MOST_DIGITS} of {len(reading.images)} digits below)"
    return textwrap.fill(title, 80)


def _show_picture(axis: Axes, reading: Reading, pixels: np.ndarray[Any, Any], size: tuple[int, int]) -> None:
    width, height = size
    axis.imshow(_as_shown(pixels), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    _show_frame_alone(axis)
    axis.set_title("the picture, a box round each digit")
    for digit in reading.prediction.digits:
        left, top, right, bottom = digit.box
        axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color="red"))


def _show_stage(axis: Axes, name: str, image: np.ndarray[Any, Any]) -> None:
    axis.set_title(name)
    _show_frame_alone(axis)
    if np.issubdtype(image.dtype, np.integer) and image.ndim == 2:
        # Numbers of pieces: a colour for each, black for paper.
        shades = np.random.default_rng(0).integers(140, 256, (int(image.max()) + 1, 3), dtype=np.uint8)
        shades[0] = 0
        axis.imshow(shades[image])
    else:
        axis.imshow(_as_shown(image), cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)


def _show_frame_alone(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _as_shown(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a picture without its only channel, if it has just one."""
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _show_digit(axis: Axes, reading: Reading, number: int) -> None:
    digit = reading.prediction.digits[number]
    axis.imshow(reading.images[number], cmap="gray", vmin=0, vmax=255)
    axis.set_title(f"{digit.digit} ({digit.probability:.1%})\nscore {digit.score:.1f}")
    axis.axis("off")


def _show_probabilities(axis: Axes, probabilities: np.ndarray[Any, Any]) -> None:
    axis.bar(range(10), probabilities)
    axis.set_xlabel("digit", fontsize=8)
    axis.set_ylabel("probability", fontsize=8)
    axis.set_xticks(range(10))
    axis.set_yticks([0, 0.5, 1])
    axis.tick_params(labelsize=7)
    axis.set_ylim(0, 1)
