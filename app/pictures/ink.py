"""Tell ink from paper: how much ink each pixel holds, whatever the light, the colours and the polarity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, Optional, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.normalise import Density
from app.pictures.opening import Pixels, to_grey

Value = TypeVar("Value", bound=np.generic)

HIGH, LOW = 0.5, 0.25
"""What a stroke must reach somewhere, and its faint parts everywhere, as shares of full ink's density."""

# By what factor a stroke must somewhere stand out from the noise.
_ABOVE_NOISE = 1.3

# What is smoothed shows something if light and dark explain so much of its variance, of nothing but noise
# 2 / pi; or if the range of its levels is so many times what is left of the noise's, as of few thin strokes.
_TWO_LEVELS, _SHOWN = 0.67, 1.5

# A picture is grainy if the deviation of its noise is more than this share of the range of its levels; and
# the deviation of the blur that takes the grain away, in pixels.
_GRAINY, _GRAIN_BLUR = 0.04, 1.5

# A picture is dithered if it has so many pixels to its shorter side, and more than this share of its pixels
# are light beside dark or dark beside light, both across and down; and the deviation of the blur that makes
# them grey, in pixels.
_FEWEST, _DITHERED, _DITHER_BLUR = 24, 0.24, 1.0

# A digit is sprayed if it is of so many dots at least, of which those not further apart than so many pixels,
# and no further than that share of the picture, make up nearly all ink and no more than that share of the
# picture. The blur that joins them has so large a share of that distance.
_MANY_DOTS, _DOTS_APART, _APART_SHARE = 200, 4, 0.012
_JOINED, _MOST_SPRAYED, _SPRAY_BLUR = 0.95, 0.35, 0.5

# What differs from paper by less is compression or banding: a share of the paper's light.
_LEAST_DENSITY = 0.05
_NOISE_DEVIATIONS = 4.0

# Paper is even if so much of it is as light as its median, to within this share of the contrast; and if the
# levels of ink and paper, taken as constant, explain so much of the picture's variance.
_FLAT_SHARE, _FLAT_WITHIN = 0.6, 0.12
_FLAT_EXPLAINED = 0.75

# Light slopes if, without the slope, so much more of the paper is as light as its median.
_FLATTER = 0.1

# About so many rows and columns of a picture tell the shares and the medians of its levels.
_ENOUGH = 200

# In so many levels the density of full ink is told.
_LEVELS = 10_000

# How many times a slope of light is fitted, each time to what the time before was paper. From this level on
# paper is overexposed, and left out, if so large a share of it is not.
_SLOPE_FITS = 4
_OVEREXPOSED, _LEAST_TOLD = 252, 0.2

# The length of the frame along which a desk or a shadow lies, in sides of a square of its size.
_ALONG = 1.0

# The side of the square, in pixels, over which the texture of a desk or a shadow is smoothed.
_SMOOTH = 5

# Added to the paper's level (of 255): on black paper, noise would become ink.
DARKNESS = 12.0


@dataclass(frozen=True)
class Ink:
    """What one guess of the polarity makes of a picture."""

    light_on_dark: bool
    paper: Pixels
    """The picture as it would be without ink; inverted, as are the pixels, if `light_on_dark`."""

    weights: NDArray[np.float32]
    """How much each channel tells of the ink: float32 [channels]."""

    density: Density
    """The share of the paper's light that is missing."""

    offset: float
    """What `measure` takes off: the density that noise gives blank paper."""

    floor: float
    """The density below which all is noise."""

    is_even: bool
    """Whether the paper was taken for even."""

    def measure(self, pixels: Pixels, paper: Pixels) -> Density:
        """Return the density of a part of the picture, given the same part of the paper."""
        density = self.measure_channels(pixels, paper) @ self.weights - self.offset
        measured: Density = np.maximum(density, 0).astype(np.float32)
        return measured

    def measure_channels(self, pixels: Pixels, paper: Pixels) -> Density:
        """Return the share of the paper's light that is missing, float32 [height, width, channels]."""
        return _channel_densities(255 - pixels if self.light_on_dark else pixels, paper)

    def weighed(self, pixels: Pixels, weights: NDArray[np.float32]) -> Ink:
        """Return the ink of the whole picture, whose channels count as given, float32 [channels]."""
        densities = self.measure_channels(pixels, self.paper)
        return _weigh(densities, weights, self.paper, self.light_on_dark, self.is_even)


def find_ink(pixels: Pixels, light_on_dark: bool, reach: Optional[int], is_curved: bool = False) -> Ink:
    """Return the ink of a picture under one guess of its polarity.

    Args:
        pixels: the picture.
        light_on_dark: whether to look for light ink on dark paper.
        reach: what is narrower than this many pixels is ink, what is wider is paper or shadow; None where
            the paper is taken for even: then no part of it is a desk or in a shadow.
        is_curved: without a reach, whether light falls off in a curve, as at the rim of a lens.
    """
    positive = 255 - pixels if light_on_dark else pixels
    if reach is not None:
        paper = estimate_paper(positive, reach)
    else:
        paper = curved_paper(positive) if is_curved else even_paper(positive)
    densities = _channel_densities(positive, paper)
    return _weigh(densities, _channel_weights(densities), paper, light_on_dark, reach is None)


def _weigh(
    densities: Density, weights: NDArray[np.float32], paper: Pixels, light_on_dark: bool, is_even: bool
) -> Ink:
    """Return the ink of a picture, given the density of each channel and what it counts."""
    density = densities @ weights
    offset = _most_common(density)
    density = np.maximum(density - offset, 0)
    noise = noise_of(density)
    if is_even:
        # In a few pixels full of strokes, most changes from one to the next are edges.
        noise = min(noise, departure_of(density[density < 0.5 * full_density(density, _LEAST_DENSITY)]))
    floor = max(_LEAST_DENSITY, _NOISE_DEVIATIONS * noise)
    density = density if is_even else quieten(density, paper, floor)
    return Ink(light_on_dark, paper, weights, density, offset, floor, is_even)


def _largest(planes: NDArray[Any]) -> NDArray[Any]:
    """Return the largest of the channels; a maximum over so short a last axis would be slow."""
    return reduce(np.maximum, np.moveaxis(planes, -1, 0))


def quieten(density: Density, paper: Pixels, floor: float) -> Density:
    """Return the density without the texture of the desk that the sheet lies on, or of a deep shadow.

    Such a region is darker than the sheet and lies along the frame; a digit that reaches it does not. Ink in
    it stands out from the region's own texture; a region as dark as a desk holds none.
    """
    level = _largest(paper)
    bright = float(np.quantile(thin_out(level), 0.9))
    quiet = density.copy()
    for share, is_desk in ((0.75, False), (0.45, True)):
        count, regions, stats, _ = cv2.connectedComponentsWithStats((level < share * bright).astype(np.uint8))
        border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
        for region in range(1, count):
            x, y, width, height, area = stats[region]
            is_along_frame = np.count_nonzero(border == region) >= _ALONG * np.sqrt(area)
            if not is_along_frame or area < 0.003 * level.size:
                continue
            part = slice(y, y + height), slice(x, x + width)
            is_inside = regions[part] == region
            if is_desk:
                quiet[part][is_inside] = 0
                continue
            # Where noise is strong, a stroke stands out from it only if both are smoothed.
            sharp, smooth = quiet[part], cv2.blur(quiet[part], (_SMOOTH, _SMOOTH))
            texture, smoother = (float(np.quantile(one[is_inside], 0.85)) for one in (sharp, smooth))
            if texture > floor:
                quiet[part][is_inside & (sharp < 2 * texture) & (smooth < 2 * smoother)] = 0
    return quiet


def without_grain(pixels: Pixels) -> Pixels:
    """Return a grainy picture smoothed, and any other as it is: a photo taken in the dark, or a dithered one.

    Not for small pictures, whose strokes are as fine as their grain.
    """
    noise = noise_of(to_grey(pixels).astype(np.float32))
    if noise <= _GRAINY * range_of(pixels):
        return pixels
    return smoothed(pixels, _GRAIN_BLUR)


def without_dithering(pixels: Pixels) -> Pixels:
    """Return a dithered picture smoothed, whose grey is of light and dark pixels, and any other as it is.

    For small pictures; large ones are grainy. In the fewest pixels, strokes and paper change as often; in
    small print, too, but not up and down.
    """
    if min(pixels.shape[:2]) < _FEWEST:
        return pixels
    is_light, _ = split_levels(pixels)
    down, across = is_light[1:] != is_light[:-1], is_light[:, 1:] != is_light[:, :-1]
    if min(down.mean(), across.mean()) <= _DITHERED:
        return pixels
    return smoothed(pixels, _DITHER_BLUR)


def without_spray(pixels: Pixels) -> Pixels:
    """Return a picture smoothed whose one digit is drawn in dots, as by a spray can; any other as it is."""
    is_light, _ = split_levels(pixels)
    is_ink = is_light if is_light.mean() < 0.5 else ~is_light
    count, _ = cv2.connectedComponents(is_ink.astype(np.uint8), connectivity=8)
    if count <= _MANY_DOTS:
        return pixels
    apart = max(_DOTS_APART, round(_APART_SHARE * max(is_ink.shape)))
    joined = cv2.dilate(is_ink.astype(np.uint8), np.ones((apart + 1, apart + 1), np.uint8))
    _, labels = cv2.connectedComponents(joined, connectivity=8)
    is_one = np.bincount(labels[is_ink]).max() >= _JOINED * np.count_nonzero(is_ink)
    if not is_one or joined.mean() > _MOST_SPRAYED:
        return pixels
    return np.atleast_3d(cv2.GaussianBlur(pixels, (0, 0), _SPRAY_BLUR * apart))


def smoothed(pixels: Pixels, blur: float) -> Pixels:
    """Return a noisy picture blurred by that deviation, in pixels; as it is if nothing but noise is left."""
    smooth = np.atleast_3d(cv2.GaussianBlur(pixels, (0, 0), blur))
    # White noise of deviation 1 has 1 / (2 sqrt(pi) blur) afterwards; 99% of it lie within 5.15 deviations.
    left = 5.15 / (2 * np.sqrt(np.pi) * blur) * noise_of(to_grey(pixels).astype(np.float32))
    shows_ink = range_of(smooth) > _SHOWN * left or split_levels(smooth)[1] > _TWO_LEVELS
    return smooth if shows_ink else pixels


def range_of(pixels: Pixels) -> float:
    """Return the range of a picture's levels of grey, but for a hundredth of its pixels: at least 1."""
    dark, light = np.quantile(thin_out(to_grey(pixels)), (0.005, 0.995))
    return max(1.0, float(light - dark))


def align_channels(pixels: Pixels) -> Pixels:
    """Return the picture with those channels inverted in which ink and paper change places.

    Blue on yellow is darker in red and green, but lighter in blue. Then the first principal component of the
    colours has weights of both signs; light and shade change all channels alike.
    """
    if pixels.shape[2] == 1:
        return pixels
    colours = pixels[:: max(1, len(pixels) // 200), :: max(1, pixels.shape[1] // 200)].reshape(-1, 3)
    departures = colours - colours.mean(axis=0)
    axis = np.linalg.eigh(departures.T @ departures)[1][:, -1]
    axis = axis * np.sign(axis[np.argmax(np.abs(axis))])
    opposed = axis < -0.25
    return np.where(opposed, 255 - pixels, pixels).astype(np.uint8) if opposed.any() else pixels


def split_levels(pixels: Pixels) -> tuple[NDArray[np.bool_], float]:
    """Return where a picture is light, and the share of its variance that light and dark alone explain.

    It is parted in the channel that varies most, where that share is largest (N. Otsu, 1979).
    """
    _, deviations = cv2.meanStdDev(pixels)
    varying = pixels[..., int(np.argmax(deviations))]
    threshold, _ = cv2.threshold(varying, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    is_light: NDArray[np.bool_] = varying > threshold
    variance = float(deviations.max()) ** 2
    if variance == 0 or is_light.all() or not is_light.any():
        return is_light, 0.0
    share = float(is_light.mean())
    between = share * (1 - share) * float(varying[is_light].mean() - varying[~is_light].mean()) ** 2
    return is_light, between / variance


def has_even_paper(pixels: Pixels) -> bool:
    """Whether a picture is dark ink on paper of one shade, in even light or in light that slopes.

    The first is a drawing or a scan, the second a photo of a small piece of paper.
    """
    few = thin_out(pixels)
    return flatness(few) >= _FLAT_SHARE or flatness(levelled(few, sloping_paper(few))) >= _FLAT_SHARE


def even_paper(pixels: Pixels) -> Pixels:
    """Return the paper of a picture that `has_even_paper`."""
    shade, few = one_shade(pixels), thin_out(pixels)
    flat = flatness(few)
    if flat >= _FLAT_SHARE and (
        flat + _FLATTER > 1 or flatness(levelled(few, sloping_paper(few))) < flat + _FLATTER
    ):
        return shade
    return sloping_paper(pixels)


def has_curved_paper(pixels: Pixels) -> bool:
    """Whether a picture is dark ink on paper of one shade, in light that falls off in a curve."""
    few = thin_out(pixels)
    return flatness(levelled(few, curved_paper(few))) >= _FLAT_SHARE


def curved_paper(pixels: Pixels) -> Pixels:
    """Return the paper of a picture whose light falls off in a curve, of the second degree."""
    slope = fit_slope(pixels, one_shade(pixels))
    return np.rint(fit_slope(pixels, slope, is_curved=True)).astype(np.uint8)


def thin_out(pixels: NDArray[Value]) -> NDArray[Value]:
    """Return enough of the pixels for shares and medians: of a large picture, some rows and columns only.

    Steps are odd, so that of a dithered picture, which repeats every two pixels, no half is left out.
    """
    return pixels[odd_steps(pixels.shape, _ENOUGH)]


def odd_steps(shape: tuple[int, ...], enough: int) -> tuple[slice, slice]:
    """Return what takes about so many rows and columns out of a picture of that shape."""
    down, across = (max(1, side // enough) // 2 * 2 + 1 for side in shape[:2])
    return slice(None, None, down), slice(None, None, across)


def flatness(pixels: Pixels) -> float:
    """Return the share of the paper that is as light as its median; 0 if the picture is not ink on paper."""
    is_light, explained = split_levels(pixels)
    if explained < _FLAT_EXPLAINED:
        return 0.0
    light, dark = np.median(pixels[is_light], axis=0), np.median(pixels[~is_light], axis=0)
    channel = int(np.argmax(light - dark))
    departure = np.abs(pixels[is_light][:, channel] - light[channel])
    return float((departure <= _FLAT_WITHIN * (light - dark)[channel]).mean())


def levelled(pixels: Pixels, paper: Pixels) -> Pixels:
    """Return the picture as it would be if its paper were in even light."""
    return np.clip(pixels * (one_shade(pixels) / np.maximum(paper, np.float32(1))), 0, 255).astype(np.uint8)


def sloping_paper(pixels: Pixels) -> Pixels:
    """Return the paper of a picture in light that slopes."""
    return np.rint(fit_slope(pixels, one_shade(pixels))).astype(np.uint8)


def one_shade(pixels: Pixels) -> Pixels:
    """Return the median of the light part everywhere."""
    few = thin_out(pixels)
    is_light, _ = split_levels(few)
    shade = np.median(few[is_light], axis=0) if is_light.any() else few.max(axis=(0, 1))
    return np.broadcast_to(np.rint(shade).astype(np.uint8), pixels.shape).copy()


def fit_slope(pixels: Pixels, first: NDArray[Any], is_curved: bool = False) -> NDArray[np.float32]:
    """Return float32 [height, width, channels], the surface through the light part in each channel.

    It is a plane, or if `is_curved` of the second degree. What is light is told by the one found before,
    `first` at first.
    """
    terms = plane_terms(pixels.shape)
    if is_curved:
        _, x, y = np.moveaxis(terms, -1, 0)
        terms = np.concatenate([terms, np.stack([x * x, x * y, y * y], -1)], -1)
    steps = odd_steps(pixels.shape, _ENOUGH // 2)
    few = pixels[steps].astype(np.float32)
    slope: NDArray[np.float32] = first[steps].astype(np.float32)
    plane = None
    for _ in range(_SLOPE_FITS):
        is_light, _ = split_levels(np.clip(few * (128 / np.maximum(slope, 1)), 0, 255).astype(np.uint8))
        if not is_light.any():
            break
        # What is overexposed may be any lighter, and tells nothing of the slope.
        is_told = is_light & ~((few >= _OVEREXPOSED) & (slope >= _OVEREXPOSED)).any(axis=2)
        if np.count_nonzero(is_told) < _LEAST_TOLD * np.count_nonzero(is_light):
            is_told = is_light
        plane, *_ = np.linalg.lstsq(terms[steps][is_told], few[is_told], rcond=None)
        slope = np.clip(terms[steps] @ plane, 0, 255)
    return first.astype(np.float32) if plane is None else np.clip(terms @ plane, 0, 255)


def plane_terms(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return float32 [height, width, 3]: what a plane over a picture of that shape is a sum of: 1, x, y."""
    height, width = shape[:2]
    y, x = np.indices((height, width), np.float32)
    return np.stack([np.ones_like(x), x / np.float32(width), y / np.float32(height)], -1)


def estimate_paper(pixels: Pixels, reach: int) -> Pixels:
    """Return the picture without its dark ink: a closing, which fills what is dark and narrower than `reach`.

    Unlike a blur it keeps the edges of shadows and of the sheet where they are.
    """
    height, width = pixels.shape[:2]
    factor = max(1, min(reach // 12, 4))
    size = max(1, -(-width // factor)), max(1, -(-height // factor))
    small = pixels if factor == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if min(size) > 64:
        small = cv2.medianBlur(small, 3)
    side = max(3, round(reach / factor))
    kernel = np.ones((min(side, 2 * size[1]), min(side, 2 * size[0])), np.uint8)
    paper = cv2.morphologyEx(small, cv2.MORPH_CLOSE, kernel, borderType=cv2.BORDER_REPLICATE)
    if factor > 1:
        paper = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
    if min(size) > 64:
        # Where a shadow or the sheet ends, the reduced estimate is blurred: the darker side is right.
        paper = cv2.erode(paper, np.ones((2 * factor + 1, 2 * factor + 1), np.uint8))
    return np.atleast_3d(paper)


def _channel_densities(pixels: Pixels, paper: Pixels) -> Density:
    """Return the share of the paper's light that is missing, float32 [height, width, channels]."""
    missing = cv2.subtract(paper, pixels).reshape(paper.shape)
    densities: Density = missing / (paper + np.float32(DARKNESS))
    return densities


def _channel_weights(densities: Density) -> NDArray[np.float32]:
    """Return what the channels count: as much as the strongest ink shows in them; for yellow, blue counts."""
    strongest = _largest(densities)
    colour = densities[strongest >= 0.6 * strongest.max()].mean(axis=0)
    weights: NDArray[np.float32] = colour * np.float32(colour.max() / max(float(colour @ colour), 1e-9))
    return weights


def _most_common(density: Density) -> float:
    """Return the density of blank paper: noise makes the estimate of the paper a little too light."""
    values = thin_out(density)
    low = values[values <= max(0.15, float(np.quantile(values, 0.3)))]
    return min(float(np.median(low)), 0.1) if low.size else 0.0


def noise_of(density: Density) -> float:
    """Return the noise's standard deviation: the median of a Laplacian, which strokes are too few to change.

    The kernel is that of J. Immerkaer, Fast Noise Variance Estimation, 1996.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(thin_out(cv2.filter2D(density.astype(np.float32), -1, kernel)[1:-1, 1:-1]))
    return float(np.median(response)) / 0.6745 / 6 if response.size else 0.0


def departure_of(paper: Density) -> float:
    """Return the noise's standard deviation, of the density of even paper.

    Half of the noise is below zero, cut off: the upper quartile of all is the median of the other half.
    """
    return float(np.quantile(paper, 0.75)) / 0.6745 if paper.size else 0.0


def full_density(density: Density, floor: float) -> float:
    """Return the density of full ink: the median of all ink, where dark ink counts more; 0 without ink."""
    found = density[density > floor]
    if not found.size:
        return 0.0
    # To this fraction of the darkest ink, which is quicker than to sort them all.
    step = float(found.max()) / _LEVELS
    weights = np.bincount(np.rint(found / np.float32(step)).astype(np.int32), np.square(found))
    middle = np.searchsorted(np.cumsum(weights), weights.sum() / 2)
    return float(middle) * step


def hysteresis(density: Density, low: float, high: float) -> NDArray[np.bool_]:
    """Return the pixels above `low` that are connected to one above `high`: faint ends of strokes stay."""
    is_faint = density > low
    count, labels = cv2.connectedComponents(is_faint.astype(np.uint8), connectivity=8)
    is_stroke = np.zeros(count, bool)
    is_stroke[labels[density > high]] = True
    is_stroke[0] = False
    kept: NDArray[np.bool_] = is_stroke.take(labels)
    return kept


def find_strokes(density: Density, noise: float) -> NDArray[np.bool_]:
    """Return where there is ink, bool [height, width], given its density, 1 for full ink, and the noise's."""
    return hysteresis(density, max(LOW, noise), max(HIGH, _ABOVE_NOISE * noise))
