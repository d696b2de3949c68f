"""Tell what is written from lines in another colour: blue ink upon red squares, pencil upon blue lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.pictures.ink import LOW, Ink, full_density, odd_steps, split_levels
from app.pictures.opening import Pixels
from app.pictures.tones import LEAST_SQUARES, count_squares

# Ink is in two colours if they explain so much of the variance of its hues, and the sine of the angle between
# them is so large. About so many rows and columns of a picture tell it, and so many pixels of ink at least.
_TWO_COLOURS, _APART = 0.75, 0.15
_ENOUGH, _FEWEST = 300, 50


def without_either_colour(ink: Ink, pixels: Pixels) -> list[Ink]:
    """Return ink in two colours as it is without that one which lines all over the picture may be in.

    If both are all over the picture, as grain may be of either, it is returned without each; without such
    lines, the list is empty. What is missing of the paper's light is the sum of what two inks take away,
    parted as in A. C. Ruifrok and D. A. Johnston, Quantification of histochemical staining by color
    deconvolution, 2001, but in shares of light: optical densities are noisy in the dark.

    Args:
        ink: as `find_ink` returns it.
        pixels: the picture that it was found in.
    """
    if pixels.shape[2] == 1:
        return []
    steps = odd_steps(pixels.shape, _ENOUGH)
    density = ink.density[steps]
    is_ink = density > max(ink.floor, LOW * full_density(density, ink.floor))
    if np.count_nonzero(is_ink) < _FEWEST:
        return []
    colours = ink.measure_channels(pixels[steps], ink.paper[steps])[is_ink]
    is_first, explained = split_hues(colours)
    if explained < _TWO_COLOURS:
        return []
    found = []
    for is_line in (is_first, ~is_first):
        where = is_ink.copy()
        where[is_ink] = is_line
        own, line = colours[~is_line].mean(axis=0), colours[is_line].mean(axis=0)
        across = own - (own @ line) / (line @ line) * line
        if count_squares(where) >= LEAST_SQUARES and np.linalg.norm(across) > _APART * np.linalg.norm(own):
            found.append(ink.weighed(pixels, across * (own.max() / (across @ own))))
    return found


def split_hues(colours: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    """Return which of the colours, float32 [N, 3], are of one hue, and the share of variance that explains.

    A hundredth at either end is left out.
    """
    hues = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    hues -= hues.mean(axis=0)
    along = hues @ np.linalg.eigh(hues.T @ hues)[1][:, -1]
    low, high = np.quantile(along, (0.01, 0.99))
    levels = np.clip(255 * (along - low) / max(high - low, 1e-6), 0, 255).astype(np.uint8)
    is_first, explained = split_levels(levels.reshape(-1, 1, 1))
    return is_first[:, 0], explained
