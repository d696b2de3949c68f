"""The figures of a report, as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from app.evaluation import Evaluation, wilson_interval
from app.report.findings import Findings, finite_number, percent, reading, recorded_config, series

MOST_FILTERS = 64

# Blue and vermilion of Okabe and Ito's palette, which people of every colour vision tell apart.
BLUE, VERMILION, GREY = "#0072b2", "#d55e00", "#8a8f98"

# Half a column of the page, and legible when a phone shrinks it to its own width.
FIGURE_WIDTH = 4.8

FIGURE_STYLE = {
    "figure.dpi": 150,
    # Fixed margins: a layout engine doubles the time to draw.
    "figure.subplot.left": 0.14,
    "figure.subplot.right": 0.98,
    "figure.subplot.bottom": 0.14,
    "figure.subplot.top": 0.98,
    "figure.subplot.hspace": 0.1,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "legend.frameon": False,
    "lines.marker": "o",
    "lines.markersize": 4,
}


def draw_figures(findings: Findings) -> dict[str, bytes]:
    """Return the figures as PNG by name, in the order of the page."""
    figures = {}
    # Drawn from the library's own defaults, so that nobody's settings file changes a report.
    with matplotlib.style.context(["default", FIGURE_STYLE]):
        losses = {"validation": series(findings.history, "validation_loss")}
        if recorded_config(findings.checkpoint).has_plain_loss:
            losses = {"training": series(findings.history, "train_loss"), **losses}
        epoch = finite_number(findings.checkpoint.metadata.get("epoch"))
        if any(losses.values()):
            figures["loss"] = _draw_curves(losses, "mean cross-entropy", math.inf, epoch)
        accuracy = [(x, 100 * y) for x, y in series(findings.history, "validation_accuracy")]
        if accuracy:
            figures["accuracy"] = _draw_curves({"validation": accuracy}, "accuracy (%)", 100, epoch)
        figures["confusion_matrix"] = _draw_confusion_matrix(findings.examined.confusion_matrix)
        figures["reliability"] = _draw_reliability(findings.examined)
        if findings.mistakes:
            figures["mistakes"] = _draw_mistakes(findings)
        figures["filters"] = _draw_filters(findings.checkpoint.network.filters[:MOST_FILTERS])
    return figures


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_curves(
    curves: Mapping[str, list[tuple[float, float]]], quantity: str, highest: float, marked: Optional[float]
) -> bytes:
    figure = Figure((FIGURE_WIDTH, 3.2))
    figure.subplots_adjust(top=0.88)
    axes = figure.add_subplot(xlabel="epoch", ylabel=quantity)
    colors = {"training": GREY, "validation": BLUE}
    for name, pairs in curves.items():
        if pairs:
            axes.plot(*zip(*pairs), color=colors[name], label=name)
    epochs = [epoch for pairs in curves.values() for epoch, _value in pairs]
    if marked is not None and min(epochs) <= marked <= max(epochs):
        axes.axvline(marked, color=VERMILION, linestyle=":", marker="", label="this checkpoint", zorder=1)
    axes.set(xlim=(min(epochs) - 0.5, max(epochs) + 0.5), ylim=(None, min(axes.get_ylim()[1], highest)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # Above the axes, where no curve runs through it.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, columnspacing=1.2)
    return _to_png(figure)


def _draw_confusion_matrix(matrix: NDArray[np.int64]) -> bytes:
    figure = Figure((FIGURE_WIDTH, FIGURE_WIDTH))
    figure.subplots_adjust(bottom=0.1)
    axes = figure.add_subplot(xlabel="predicted digit", ylabel="true digit")
    # The hits would drown the mistakes in any common scale of colour, so only the mistakes have one.
    mistakes = np.ma.masked_array(matrix, np.eye(len(matrix), dtype=bool))
    colors = matplotlib.colormaps["Oranges"].with_extremes(bad="#e6e8eb")
    # Black numbers stay legible on the lighter three quarters of the scale.
    axes.imshow(mistakes, cmap=colors, vmin=0, vmax=max(int(mistakes.max()), 1) / 0.75)
    for (true, predicted), count in np.ndenumerate(matrix):
        if count:
            axes.text(predicted, true, str(count), ha="center", va="center", fontsize=8.5)
    axes.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
    axes.grid(False)
    axes.tick_params(length=0)
    return _to_png(figure)


def _draw_reliability(evaluation: Evaluation) -> bytes:
    figure = Figure((FIGURE_WIDTH, FIGURE_WIDTH))
    figure.subplots_adjust(bottom=0.1)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = [bin_ for bin_ in evaluation.reliability if bin_.count]
    accuracy = np.array([bin_.accuracy for bin_ in filled])
    intervals = [wilson_interval(round(bin_.accuracy * bin_.count), bin_.count) for bin_ in filled]
    errors = np.abs(np.array(intervals).T - accuracy)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", marker="")
    upper.errorbar(
        [bin_.confidence for bin_ in filled],
        accuracy,
        yerr=errors,
        color=BLUE,
        elinewidth=1,
    )
    upper.set(ylabel="accuracy", xlim=(0, 1.01), ylim=(-0.02, 1.02))
    width = 1 / len(evaluation.reliability)
    lower.bar(
        [bin_.lower for bin_ in filled],
        [bin_.count for bin_ in filled],
        width=0.9 * width,
        align="edge",
        color=BLUE,
    )
    lower.set(xlabel="confidence", ylabel="digits", yscale="log", ylim=(0.5, None))
    return _to_png(figure)


def _draw_mistakes(findings: Findings) -> bytes:
    images = [255 - findings.examined_images[mistake.index] for mistake in findings.mistakes]
    captions = [f"{reading(mistake)}\n{percent(mistake.probability)}" for mistake in findings.mistakes]
    return _draw_tiles(images, captions, columns=5, limits=(0, 255), colors="gray")


def _draw_filters(filters: NDArray[np.float32]) -> bytes:
    """Draw first-layer filters, float32 [C, k, k]: blue weights are negative, red ones positive."""
    largest = float(np.abs(filters).max())
    return _draw_tiles(
        list(filters), [""] * len(filters), columns=8, limits=(-largest, largest), colors="RdBu_r"
    )


def _draw_tiles(
    images: Sequence[NDArray[Any]],
    captions: Sequence[str],
    columns: int,
    limits: tuple[float, float],
    colors: str,
) -> bytes:
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    # In units of a picture's side; the captions need room for two lines.
    pitch = 1.5 if any(captions) else 1.12
    figure = Figure((FIGURE_WIDTH, FIGURE_WIDTH * rows * pitch / (columns * 1.12)))
    axes = figure.add_axes((0, 0, 1, 1))
    for position, (image, caption) in enumerate(zip(images, captions)):
        left, top = 1.12 * (position % columns), pitch * (position // columns)
        extent = (left, left + 1, top + 1, top)
        axes.imshow(image, cmap=colors, vmin=limits[0], vmax=limits[1], extent=extent)
        axes.text(left + 0.5, top + 1.04, caption, ha="center", va="top", fontsize=8.5, linespacing=1.1)
    axes.set(xlim=(-0.06, columns * 1.12 - 0.06), ylim=(rows * pitch, -0.06), aspect="equal")
    axes.set_axis_off()
    return _to_png(figure)
