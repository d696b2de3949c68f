"""Draw how a picture was read: every stage of the pipeline, what the network saw, and what it made of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from app.files import write_atomically
from app.pictures import open_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from app.recognizer import Reading

# Digits that find room in the figure.
_MOST_DIGITS = 8


def write_explanation(path: Path, reading: Reading) -> None:
    """Write a figure as PNG: the picture with boxes, each stage, each digit's 28x28 and ten probabilities.

    Raises:
        FileError: `path` cannot be written.
        PictureError: the picture has gone since it was read.
    """
    shown = min(_MOST_DIGITS, len(reading.images))
    columns = max(1 + len(reading.stages), shown, 2)
    figure = Figure(figsize=(2.4 * columns, 7), layout="constrained")
    axes = figure.subplots(3, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    _show_picture(axes[0, 0], reading)
    for axis, (name, image) in zip(axes[0, 1:], reading.stages.items()):
        _show_stage(axis, name, image)
    for number in range(shown):
        _show_digit(axes[1, number], reading, number)
        _show_probabilities(axes[2, number], reading.probabilities[number])
    text = reading.prediction.text.replace("\n", " / ") or "no digit"
    figure.suptitle(f"{text} -- {reading.prediction.warning}" if reading.prediction.warning else text)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_atomically(path, buffer.getvalue())


def _show_picture(axis: Axes, reading: Reading) -> None:
    pixels, (width, height) = open_picture(Path(reading.prediction.path))
    axis.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    axis.set_title("picture")
    for digit in reading.prediction.digits:
        left, top, right, bottom = digit.box
        axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color="red"))


def _show_stage(axis: Axes, name: str, image: np.ndarray[Any, Any]) -> None:
    axis.set_title(name)
    if np.issubdtype(image.dtype, np.integer) and image.ndim == 2:
        # Numbers of pieces: a colour for each, black for paper.
        shades = np.random.default_rng(0).integers(80, 256, (int(image.max()) + 1, 3), dtype=np.uint8)
        shades[0] = 0
        axis.imshow(shades[image])
    else:
        axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)


def _show_digit(axis: Axes, reading: Reading, number: int) -> None:
    digit = reading.prediction.digits[number]
    axis.imshow(reading.images[number], cmap="gray", vmin=0, vmax=255)
    axis.set_title(f"{digit.digit} ({digit.probability:.1%})\nscore {digit.score:.1f}")


def _show_probabilities(axis: Axes, probabilities: np.ndarray[Any, Any]) -> None:
    axis.axis("on")
    axis.bar(range(10), probabilities)
    axis.set_xticks(range(10))
    axis.set_ylim(0, 1)
