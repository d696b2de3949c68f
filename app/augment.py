"""Distortions of whole batches of training images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shift(images: NDArray[np.uint8], pixels: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return uint8 [N, H, W] images, each moved by its own random whole number of pixels.

    Both directions are drawn uniformly from -pixels to pixels; what moves in is black.
    """
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels)))
    down, right = generator.integers(0, 2 * pixels + 1, (2, count))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    moved: NDArray[np.uint8] = windows[np.arange(count), down, right]
    return moved
