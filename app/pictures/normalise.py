"""Give a digit's ink the form of MNIST: 28x28, white on black, its size, place, contrast and stroke width."""

from __future__ import annotations

from typing import Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.datasets import SIDE

Density = NDArray[np.float32]
"""float32 [height, width]: how much ink a pixel holds, 0 (paper) to 1 (full ink)."""

# MNIST's own rules, http://yann.lecun.com/exdb/mnist: scaled into a box of 20x20 pixels with the aspect kept,
# then placed so that the centre of mass is the centre of the 28x28 field.
# In MNIST's 70,000 images the longest side of the ink is 19 or 20, the centre of mass lies between 13.48
# and 14.50 in both 0-based indices, and the brightest pixel is 254 or 255.
DIGIT_SIDE = 20
CENTRE = 14

# Stroke widths of MNIST's training images, by `stroke_width`, in pixels of the 20x20 box: 1.6 at the 5th
# percentile, 2.5 at the median, 4.0 at the 95th. What is thinner or thicker is brought into this range.
THINNEST, THICKEST = 2.1, 4.2

# The widths are measured and changed at this many pixels to one of the 28x28.
_FINE = 5


def normalise(ink: Density) -> NDArray[np.uint8]:
    """Return a digit's ink as MNIST has it, uint8 [28, 28]; `ink` has at least one pixel that is not 0.

    The longest side becomes 20 pixels, anti-aliased, and the centre of mass comes to pixel (14, 14) to within
    half a pixel, or as near as it can without cutting ink off.
    """
    fine = change_width(_resize(crop(_thicken_hairlines(crop(ink))), DIGIT_SIDE * _FINE))
    small = _resize(crop(fine), DIGIT_SIDE)
    digit = np.rint(np.clip(small / _full_ink(small), 0, 1) * 255).astype(np.uint8)
    return place(digit)


def crop(ink: Density, threshold: float = 0.0) -> Density:
    """Return the part of `ink` that holds all pixels above the threshold."""
    left, top, right, bottom = ink_box(ink > threshold)
    return ink[top:bottom, left:right]


def ink_box(is_ink: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the true pixels; there is at least one."""
    rows, columns = np.flatnonzero(is_ink.any(axis=1)), np.flatnonzero(is_ink.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _resize(ink: Density, side: int) -> Density:
    """Return `ink` with a longest side of `side`: the mean of what each pixel covers, or interpolated."""
    height, width = ink.shape
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return ink
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized: Density = cv2.resize(ink, size, interpolation=method).clip(0, 1)
    return resized


def _thicken_hairlines(ink: Density) -> Density:
    """Return `ink` with every line at least as wide as the pixels it is about to be reduced to.

    Averaged over such a pixel, a thinner line would be grey instead of narrow.
    """
    reach = round(max(ink.shape) / (DIGIT_SIDE * _FINE))
    if reach < 2 or stroke_width(ink) > 2 * reach:
        return ink
    thicker: Density = cv2.dilate(np.pad(ink, reach), _disc(reach))
    return thicker


def stroke_width(ink: Density) -> float:
    """Return the mean width of the strokes in pixels.

    Across a strip of width w, the mean distance to the edge is w / 4.
    """
    is_ink = np.pad(ink > 0.5, 1).astype(np.uint8)
    if not is_ink.any():
        return 0.0
    distances = cv2.distanceTransform(is_ink, cv2.DIST_L2, 5)
    # Distances are taken to the centre of the nearest pixel outside, half a pixel beyond the edge.
    return max(1.0, 4 * (float(distances[is_ink > 0].mean()) - 0.5))


def change_width(ink: Density) -> Density:
    """Return `ink`, its longest side 20 x `_FINE`, with strokes thickened or thinned to MNIST's range."""
    ink = np.pad(ink, 2 * _FINE)
    width = stroke_width(ink) / _FINE
    if width < THINNEST:
        # The box grows with the strokes and will be shrunk back, the strokes with it.
        ink = cv2.dilate(ink, _disc(_FINE * (THINNEST - width) * 1.1 + 1))
    elif width > THICKEST:
        ink = _thin(ink, _disc(_FINE * (width - THICKEST) + 1))
    return ink


def _thin(ink: Density, brush: NDArray[np.uint8]) -> Density:
    """Return `ink` with its strokes thinned, but for the places where they would vanish."""
    thinner = cv2.erode(ink, brush)
    # What a widening of the rest does not reach was thinner than the brush: it stays as it was.
    reached = cv2.dilate(thinner, cv2.dilate(np.pad(brush, 3), np.ones((5, 5), np.uint8)))
    return np.where(reached < 0.5 * ink, ink, thinner).astype(np.float32)


def _disc(diameter: float) -> NDArray[np.uint8]:
    side = max(1, round(diameter))
    disc: NDArray[np.uint8] = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return disc


def _full_ink(small: Density) -> float:
    """Return the density that becomes white: thin strokes, which the reduction made pale, get it back.

    In MNIST three quarters of the ink's pixels are darker than full ink.
    """
    return float(np.quantile(small[small > 0.02], 0.75))


def place(digit: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 [28, 28] with the digit's centre of mass as near to (14, 14) as fits."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        min(max(round(CENTRE - index), 0), SIDE - length)
        for index, length in zip(centre_of_mass(digit), digit.shape)
    )
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas


def centre_of_mass(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the 0-based (row, column) of the centre of mass of an image that is not all zero."""
    mass = image.astype(np.float64)
    rows, columns = mass.sum(axis=1), mass.sum(axis=0)
    return (
        float(rows @ np.arange(len(rows)) / rows.sum()),
        float(columns @ np.arange(len(columns)) / columns.sum()),
    )


def as_in_mnist(grey: NDArray[np.uint8]) -> Optional[NDArray[np.uint8]]:
    """Return a grey picture as white on black if it is 28x28 and sized and centred as MNIST is, else None."""
    if grey.shape != (SIDE, SIDE):
        return None
    for image in (grey, 255 - grey):
        if image.max() < 254:
            continue
        left, top, right, bottom = ink_box(image > 0)
        is_centred = all(abs(index - CENTRE) <= 0.53 for index in centre_of_mass(image))
        if max(right - left, bottom - top) in (DIGIT_SIDE - 1, DIGIT_SIDE) and is_centred:
            return image
    return None
