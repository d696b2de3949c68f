"""Tell what is written from lines in another colour: blue ink upon red squares, pencil upon blue lines."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from app.pictures.ink import HIGH, LOW, Ink, full_density, odd_steps
from app.pictures.opening import Pixels
from app.pictures.tones import LEAST_SQUARES, count_squares

# Ink is in two colours if they explain so much of the variance of its hues, and the sine of the angle between
# them is so large: it makes noise as much stronger as that is below 1.
_TWO_COLOURS, _APART = 0.75, 0.15

# At most so large a share of a picture is lines, which go on beyond what is written, on all sides, by this
# share of the picture. A twentieth of either may be grain.
_MOST_LINES, _BEYOND, _GRAIN = 0.5, 0.02, 0.05

# So many rows and columns of a picture tell this, or a few more, which meet lines of a pixel or two; and so
# many of their pixels are ink at least.
_ENOUGH, _FEWEST = 300, 50

# Powers of its strength that each colour counts as, tried in turn: the square, as the paler ink is, the more
# noise there is in its hue; and a higher one, which tells ink from lines so dense that it is little of all.
_POWERS = (2, 4)

# So many levels of hue are told apart.
_LEVELS = 256


def without_either_colour(ink: Ink, pixels: Pixels) -> list[Ink]:
    """Return ink in two colours as it is without that one which lines all over the picture may be in.

    Without such lines, the list is empty; where grain of either colour is all over the picture, either may be
    that of lines.

    What is missing of the paper's light is the sum of what two inks take away. It is parted as in A. C.
    Ruifrok and D. A. Johnston, Quantification of histochemical staining by color deconvolution, 2001, but in
    shares of light: optical densities are noisy in the dark.

    Args:
        ink: as `find_ink` returns it.
        pixels: the picture that it was found in.
    """
    if pixels.shape[2] == 1:
        return []
    steps = odd_steps(pixels.shape, _ENOUGH)
    density = ink.density[steps]
    full = full_density(density, ink.floor)
    is_ink = density > max(ink.floor, LOW * full)
    if np.count_nonzero(is_ink) < _FEWEST:
        return []
    colours = ink.measure_channels(pixels[steps], ink.paper[steps])[is_ink]
    strengths = np.linalg.norm(colours.astype(np.float64), axis=1)
    is_dark = density[is_ink] > HIGH * full
    for power in _POWERS:
        weights = strengths**power
        is_first, explained = split_hues(colours, weights)
        if explained < _TWO_COLOURS:
            continue
        sides = (
            _weigh_written(is_line, is_ink, is_dark, colours, weights) for is_line in (is_first, ~is_first)
        )
        found = [ink.weighed(pixels, channels) for channels in sides if channels is not None]
        if found:
            return found
    return []


def _weigh_written(
    is_line: NDArray[np.bool_],
    is_ink: NDArray[np.bool_],
    is_dark: NDArray[np.bool_],
    colours: NDArray[np.float32],
    weights: NDArray[np.float64],
) -> Optional[NDArray[np.float32]]:
    """Return how much each channel, float32 [3], tells of ink that is written upon lines of another colour.

    Args:
        is_line: bool [N], which ink has the colour that may be that of lines; if it is not, None is returned.
        is_ink: bool [height, width], where the N pixels of ink are.
        is_dark: bool [N], which of them is full ink.
        colours: float32 [N, 3], what is missing of the paper's light.
        weights: float64 [N], how much each colour counts.
    """
    where, written = is_ink.copy(), np.zeros(is_ink.shape)
    where[is_ink], written[is_ink] = is_line, weights * (~is_line & is_dark)
    if not written.any() or not are_lines(where, written):
        return None
    # Dark ink tells its own colour; of lines, most of which are pale, each pixel does.
    own, line = np.average(colours, axis=0, weights=weights * ~is_line), colours[is_line].mean(axis=0)
    across = (own - (own @ line) / (line @ line) * line).astype(np.float32)
    if np.linalg.norm(across) <= _APART * np.linalg.norm(own):
        return None
    channels: NDArray[np.float32] = across * np.float32(own.max() / (across @ own))
    return channels


def are_lines(where: NDArray[np.bool_], written: NDArray[np.float64]) -> bool:
    """Whether ink may be lines all over the picture that something is written upon.

    Args:
        where: bool [height, width], where that ink is.
        written: float64 [height, width], how much of what may be written upon it is there.
    """
    if where.mean() > _MOST_LINES or count_squares(where) < LEAST_SQUARES:
        return False
    margin = _BEYOND * max(where.shape)
    for axis in (0, 1):
        (first, last), (start, end) = (_extent(one.sum(axis=axis)) for one in (written, where))
        if start > first - margin or end < last + margin:
            return False
    return True


def _extent(amounts: NDArray[Any]) -> tuple[int, int]:
    """Return between which two of the amounts, [N], nearly all of them are."""
    shares = np.cumsum(amounts) / amounts.sum()
    return int(np.searchsorted(shares, _GRAIN)), int(np.searchsorted(shares, 1 - _GRAIN))


def split_hues(colours: NDArray[np.float32], weights: NDArray[np.float64]) -> tuple[NDArray[np.bool_], float]:
    """Return which of the colours are of one hue, and what share of the hues' variance that explains.

    They are parted as in N. Otsu, A Threshold Selection Method from Gray-Level Histograms, 1979.

    Args:
        colours: float32 [N, 3], none of them 0. A hundredth at either end counts as what is next to it.
        weights: float64 [N], how much each counts.
    """
    hues = colours / np.linalg.norm(colours.astype(np.float64), axis=1)[:, np.newaxis]
    hues -= np.average(hues, axis=0, weights=weights)
    along = hues @ np.linalg.eigh((hues * weights[:, np.newaxis]).T @ hues)[1][:, -1]
    low, high = np.quantile(along, (0.01, 0.99))
    levels = np.clip((_LEVELS - 1) * (along - low) / max(high - low, 1e-6), 0, _LEVELS - 1).astype(np.intp)
    counts = np.bincount(levels, weights, _LEVELS) / weights.sum()
    below, moment = np.cumsum(counts), np.cumsum(counts * np.arange(_LEVELS))
    between = np.square(moment[-1] * below - moment) / np.maximum(below * (1 - below), 1e-9)
    variance = float(counts @ np.square(np.arange(_LEVELS) - moment[-1]))
    threshold = int(np.argmax(between[:-1]))
    is_first: NDArray[np.bool_] = levels > threshold
    return is_first, float(between[threshold]) / max(variance, 1e-9)
