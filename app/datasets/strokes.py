"""Handwriting made from nothing but code: digits to train on where MNIST cannot be had.

Each digit is written in one of several ways, a skeleton of pen strokes through a few nodes. Every image moves
the nodes in its own manner, draws the strokes with a pen of its own, and is sized and centred as MNIST's are.
`python -m app.datasets.strokes OUT.png` draws a contact sheet.

The same seed gives the same bytes everywhere: the random numbers are the raw output of a bit generator, whose
stream NumPy promises not to change; floating point is used element by element, in operations that IEEE 754
rounds in one way only (no sums, products of matrices, sines or exponentials); all the rest is in integers.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.console import CommandParser, png_path, run_command
from app.datasets import SIDE, DataSet, Digits
from app.datasets.idx import read_digits, write_idx
from app.errors import DataError, FileError, UsageError
from app.files import SOFTWARE, write_figure

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# How people write each digit: how common the way is, and its strokes. A stroke runs smoothly through nodes
# "x,y" (y downwards, the digit about 100 high); at a node with an exclamation mark it turns sharply.
SKELETONS: dict[int, list[tuple[float, Sequence[str]]]] = {
    0: [
        # Closed at the top.
        (5, ["38,1 12,14 0,48 11,86 36,99 64,86 76,50 64,13 38,1"]),
        # The end overlaps the beginning, inside or outside.
        (3, ["48,10 24,4 4,30 4,70 28,98 56,92 74,62 70,24 48,4 26,8 16,20"]),
        (2, ["40,8 14,20 2,50 14,88 38,99 66,84 76,48 58,14 36,3 20,0"]),
        # Open at the top.
        (2, ["30,6 10,28 2,62 24,97 52,94 72,64 68,26 46,3"]),
        # Begun at the right.
        (2, ["66,18 40,1 12,20 2,60 26,98 58,90 75,52 68,14 54,2"]),
    ],
    1: [
        # Plain.
        (18, ["20,0 20,50 20,100"]),
        # With a flag.
        (2, ["4,22 26,0! 26,50 26,100"]),
        (1, ["14,14 24,0! 24,50 22,100"]),
        (1, ["2,38 26,0! 24,50 22,100"]),
        # With a flag that is long, hooked or steep: seldom, but for `evenly`.
        (0.05, ["0,32 42,2! 38,50 34,100"]),
        (0.05, ["0,26 42,6! 46,50 50,100"]),
        (0.05, ["4,20 16,14 26,0! 27,50 28,100"]),
        (0.05, ["0,52 30,0! 29,50 28,100"]),
        # With a short bar, or a shoulder.
        (0.25, ["2,8 24,2! 25,50 25,100"]),
        (0.05, ["8,6 24,2! 24,50 24,100"]),
        (0.05, ["4,15 24,6! 22,50 18,100"]),
        (0.25, ["2,18 12,6 24,6 28,22 27,62 26,100"]),
        # With flag and foot.
        (1, ["4,24 30,1! 30,50 30,98", "2,99 32,98 60,98"]),
        # With a foot alone.
        (1, ["24,0 24,50 24,98", "6,98 24,98 44,97"]),
    ],
    2: [
        # With a loop.
        (3, ["5,20 26,1 54,12 52,42 30,78 12,97 2,86 18,75 42,90 74,90"]),
        (3, ["4,22 28,1 56,16 50,46 24,80 4,98 -5,82 14,68 42,86 78,95"]),
        (3, ["6,20 28,2 54,16 48,44 26,74 6,90 -4,76 14,64 42,78 76,100"]),
        # Straight.
        (5, ["5,20 26,1 54,12 50,42 28,74 3,97! 34,96 70,95"]),
        (2, ["20,30 6,22 24,1 58,14 52,42 28,74 3,97! 36,92 74,94"]),
        (2, ["10,14 26,0 42,14 36,44 24,70 4,97! 40,97 82,96"]),
        # Round below.
        (2, ["6,22 28,1 58,16 46,50 20,82 14,95 36,92 74,88"]),
        # Like a Z.
        (1, ["6,8 30,5 62,6! 32,52 4,95! 36,95 72,94"]),
    ],
    3: [
        # Round.
        (5, ["5,14 30,0 57,16 48,40 26,48! 54,58 63,80 38,99 2,88"]),
        (2, ["10,10 30,0 50,14 42,34 24,42! 56,54 67,78 38,99 -2,90"]),
        # Ends below.
        (2, ["6,14 30,0 56,14 46,38 26,46! 52,58 60,80 40,99 20,97"]),
        (1, ["0,12 28,0 58,12 46,38 24,48! 50,56 58,74 50,90 38,99"]),
        # Flat at the top.
        (1, ["8,4 34,3 60,4! 44,24 28,42! 56,52 64,78 38,99 4,90"]),
        # With a loop in the middle.
        (2, ["6,14 32,0 56,16 46,40 24,48 30,42 54,54 63,78 38,99 4,90"]),
        # Flowing.
        (2, ["6,12 34,0 56,14 42,38 30,46 52,56 62,78 38,99 4,88"]),
    ],
    4: [
        # Open.
        (6, ["12,4 8,28 4,54! 36,53 70,50", "56,0 53,50 50,100"]),
        # Open and round.
        (4, ["12,2 4,36 16,55 40,52 68,46", "58,2 54,50 48,100"]),
        # Open, in one stroke.
        (2, ["12,4 4,38 18,54 44,46 58,8! 54,54 48,100"]),
        # Closed.
        (3, ["46,0 26,32 2,64! 36,64 72,62", "48,0 47,50 46,100"]),
        # Open, with a short stem.
        (2, ["14,2 8,26 4,52! 36,51 72,48", "52,28 50,64 46,100"]),
        # Like a flash of lightning, the stem beginning low.
        (0.25, ["50,0 26,30 2,60! 34,62 66,52", "46,50 44,76 40,100"]),
        (0.25, ["46,0 22,32 4,54 14,68 40,60 66,36", "46,56 44,78 42,100"]),
        # Closed, narrow and pointed: seldom, but for `evenly`.
        (0.05, ["34,0 16,36 4,60! 26,59 46,56", "36,0 36,50 34,100"]),
        # Closed, with a stem below alone.
        (0.25, ["48,0 22,38 2,74! 36,74 70,74! 64,44! 50,66 46,100"]),
    ],
    5: [
        # With a bar of its own.
        (4, ["20,4 14,44! 42,38 62,64 44,96 2,92", "20,4 46,3 76,0"]),
        (2, ["22,8 12,46! 36,42 46,66 24,97 0,90", "22,8 54,6 88,0"]),
        (1, ["24,12 8,38 30,40 44,58 34,84 14,98", "22,12 56,8 92,0"]),
        # In one stroke.
        (5, ["68,2 42,3 20,5! 14,44! 42,40 60,64 44,96 2,90"]),
        # With a belly that nearly closes.
        (2, ["66,2 42,3 18,5! 12,46! 42,38 66,62 48,97 12,94 6,78"]),
        # Like an S.
        (3, ["72,2 34,6 16,26 22,42 50,54 56,76 34,98 0,90"]),
        (1, ["62,8 46,1 32,10 36,44 44,74 30,98 4,92"]),
        # The bar set off.
        (2, ["18,14 14,46! 44,42 60,68 40,98 2,92", "26,4 52,2 80,0"]),
        # With a belly that goes far to the left, and a wavy bar.
        (0.25, ["34,14 24,42! 44,38 54,58 36,88 4,98 -14,82", "32,14 48,4 62,8 84,0"]),
    ],
    6: [
        # Curled.
        (4, ["48,1 20,26 3,68 22,98 50,88 54,64 32,54 10,70"]),
        # Straight.
        (4, ["38,0 20,32 5,70 24,98 52,88 52,64 30,58 8,76"]),
        # With a large loop.
        (3, ["46,0 16,34 2,72 26,99 60,88 62,62 38,50 12,64 6,76"]),
        (3, ["36,0 12,34 0,72 26,99 66,90 68,68 46,58 20,72 12,86"]),
        (2, ["30,0 8,32 0,68 28,99 68,86 66,56 44,44 18,56 10,74"]),
        (2, ["22,0 10,34 6,72 28,99 60,90 62,68 44,60 22,72 12,84"]),
        # With a loop nearly as tall as the digit.
        (0.25, ["60,0 34,10 10,34 2,66 26,98 60,92 70,64 50,40 20,46 4,62"]),
        # With a loop that ends within.
        (3, ["38,0 12,38 2,74 28,99 60,86 54,64 34,64 24,80"]),
        # With a small loop.
        (2, ["44,0 22,36 8,74 22,99 42,90 40,74 22,74 12,84"]),
    ],
    7: [
        # Plain.
        (6, ["3,8 30,5 64,4! 46,50 28,99"]),
        (2, ["3,8 30,5 64,5! 38,42 28,70 26,99"]),
        # Round.
        (3, ["3,14 32,3 60,8 52,40 38,68 28,99"]),
        # With a flag.
        (3, ["4,24 6,6! 34,6 66,3! 46,48 32,99"]),
        (1, ["6,6 4,26 24,28 62,6! 48,52 36,99"]),
        # Narrow at the top.
        (1, ["10,9 32,6 56,4! 44,50 32,99"]),
        # Like an arch.
        (2, ["4,34 8,8! 36,5 64,6! 56,50 48,99"]),
        (2, ["2,30 12,6 42,1 62,14 54,52 42,99"]),
        # Barred.
        (3, ["4,7 32,6 64,5! 44,52 26,99", "14,54 38,51 66,48"]),
        (2, ["3,24 8,8! 34,7 62,5! 42,48 32,99", "12,52 38,48 68,44"]),
        (1, ["3,14 30,4 58,8 50,40 38,70 32,99", "14,54 40,50 66,46"]),
    ],
    8: [
        # In one stroke, from the top right.
        (6, ["56,14 34,0 12,18 26,44 50,66 44,94 16,96 6,74 24,52 48,32 58,12"]),
        # The ends cross or stay apart.
        (3, ["62,8 38,0 14,16 26,42 50,66 42,95 16,96 6,76 28,52 56,24 70,6"]),
        (3, ["58,10 34,0 12,16 24,42 48,66 42,94 14,96 6,76 26,52 50,32"]),
        # In two strokes.
        (2, ["32,46 10,26 32,1 56,22 32,46", "32,46 5,74 32,99 62,74 32,46"]),
        # In one stroke, from the middle.
        (2, ["32,48 12,28 28,2 54,14 44,40 14,66 12,92 42,98 58,74 32,48"]),
        # The other way round.
        (2, ["14,14 32,0 56,12 48,36 22,56 6,80 26,99 56,88 50,62 24,40 10,18"]),
        # With a small loop below.
        (2, ["60,16 36,0 8,14 16,38 40,56 46,80 30,99 16,84 28,56 52,34 62,14"]),
        # With a small loop above: seldom, but for `evenly`.
        (0.05, ["78,2 52,3 34,12 38,26 56,46 58,78 28,99 2,82 10,58 42,36 60,16 74,4"]),
    ],
    9: [
        # Straight.
        (5, ["54,18 30,3 6,28 22,50 46,40 56,12! 52,56 48,100"]),
        # With a loop that stays open.
        (3, ["52,6 24,6 4,30 20,50 46,36 58,2! 55,52 50,100"]),
        (2, ["42,8 22,8 4,30 20,48 46,38 58,18! 54,56 50,100"]),
        # With a small loop.
        (2, ["52,10 34,2 18,14 24,32 44,26 56,6! 53,52 46,100"]),
        # With a wide loop.
        (2, ["58,16 28,0 0,24 14,48 44,44 62,14! 60,56 56,100"]),
        (2, ["50,10 26,2 8,22 22,44 52,44! 52,20! 46,64 40,100"]),
        # Straight, written smoothly.
        (4, ["56,18 32,2 6,26 20,48 46,38 58,18 54,58 44,100"]),
        # Curled.
        (2, ["54,18 30,2 6,28 24,50 50,38 57,22 54,70 34,98 8,90"]),
        # With a stem of its own.
        (2, ["50,16 28,4 6,28 24,50 48,38 52,16", "58,4 54,54 50,100"]),
        # The tail like an S, or like that of a three.
        (0.25, ["46,16 28,2 10,18 20,40 44,32 50,12! 46,44 64,70 52,92 6,98"]),
        (0.25, ["46,38 22,46 6,26 22,4 46,8 46,32 38,50 56,66 58,82 42,99"]),
    ],
}

NAME = "synthetic handwriting"

TRAIN_COUNT, TEST_COUNT = 60_000, 10_000
"""As many as MNIST has."""

DATA_SEED, EXTRA_SEED = 0, 1
"""Of the data set, and of what is mixed into another one: no image is in both."""

CHECKSUM = "8d4b1abd720596e46e45bbd1cf236f650454f6e85d605525526f881a3df8e14d"
"""`DataSet.checksum()` of the data set: it changes with every change of what is drawn."""

BLOCK = 2048
"""Images that are drawn at a time, from random numbers of their own."""

_KINDS = ("images-idx3", "labels-idx1")

# MNIST's own rules, http://yann.lecun.com/exdb/mnist: scaled into a box of 20x20 pixels with the aspect kept,
# then placed so that the centre of mass is the centre of the 28x28 field.
_BOX = 20
_CENTRE = 14

# The pen is set down at so many places along its way: about two for each pixel.
_POINTS = 128
_MAX_NODES = 14
_MAX_STROKES = 2

# The ink is drawn in whole numbers of a 32nd of a pixel. Farther than _REACH from the pen no pixel is inked;
# the squares of shorter distances fit into 16 bits.
_GRID = 32
_REACH = 120
_MAX_PRESSURE = 3000

# The least and the largest radius of the pen, in pixels; and the largest as a share of the narrower side of
# any digit but a one: written with a broader pen, a narrow eight is a bar, and so a one.
_FINEST, _BROADEST = 0.6, 3.0
_OPEN = 0.2

# The whole numbers along the pen's way: fractional bits of the weights of nodes, and units of half a height.
_WEIGHT_BITS = 12
_HALF_HEIGHT = 3200

# The deviation and the least of the digits' widths: usual ones, and the more different ones of `evenly`.
_WIDTHS = (0.26, 0.5)
_EVEN_WIDTHS = (0.34, 0.4)

# How many random values there are along the pen's way for its trembling and its pressure.
_TREMBLES = 24
_PRESSURES = 6


class _Skeleton(NamedTuple):
    digit: int
    share: float
    """Of all images."""

    nodes: Floats
    """float64 [_MAX_NODES, 2]: x and y from the middle, in half heights; unused ones are zero."""

    stroke: NDArray[np.intp]
    """[_MAX_NODES]: which stroke a node belongs to."""

    is_end: NDArray[np.bool_]
    """[_MAX_NODES]: whether a stroke begins or ends there."""

    weights: Integers
    """[_POINTS, _MAX_NODES]: how much of each node is in each point of the curve."""


@cache
def _skeletons() -> tuple[_Skeleton, ...]:
    return tuple(
        _parse(digit, weight / sum(each for each, _ in ways) / len(SKELETONS), strokes)
        for digit, ways in SKELETONS.items()
        for weight, strokes in ways
    )


def _parse(digit: int, share: float, strokes: Sequence[str]) -> _Skeleton:
    nodes = np.zeros((_MAX_NODES, 2))
    stroke = np.zeros(_MAX_NODES, np.intp)
    is_end = np.zeros(_MAX_NODES, bool)
    pieces: list[tuple[int, ...]] = []
    first = 0
    for number, text in enumerate(strokes):
        words = text.split()
        last = first + len(words) - 1
        places = [tuple(map(int, word.rstrip("!").split(","))) for word in words]
        nodes[first : last + 1] = (np.array(places) - (33, 50)) / 50
        stroke[first : last + 1] = number
        is_end[[first, last]] = True
        is_sharp = [word.endswith("!") for word in words]
        for index in range(len(words) - 1):
            start, end = first + index, first + index + 1
            # A curve that ends or turns at a node has no neighbour beyond it.
            before = start if index == 0 or is_sharp[index] else start - 1
            after = end if end == last or is_sharp[index + 1] else end + 1
            pieces.append((before, start, end, after))
        first = last + 1
    return _Skeleton(digit, share, nodes, stroke, is_end, _curve_weights(nodes, pieces))


def _curve_weights(nodes: Floats, pieces: Sequence[tuple[int, ...]]) -> Integers:
    """Return int64 [_POINTS, _MAX_NODES], the weights of the nodes in points along Catmull-Rom splines.

    A piece runs from its second node to its third, with a slope at each of half the difference of that node's
    neighbours (Catmull and Rom, "A Class of Local Interpolating Splines", 1974). The longer it is, the more
    points it gets.
    """
    lengths = [abs(nodes[end] - nodes[start]).max() for _, start, end, _ in pieces]
    ends = [round(_POINTS * sum(lengths[: index + 1]) / sum(lengths)) for index in range(len(pieces))]
    weights = np.zeros((_POINTS, len(nodes)))
    for piece, begin, end in zip(pieces, [0, *ends], ends):
        t = np.arange(end - begin) / max(end - begin - 1, 1)
        basis = (
            (-t + 2 * t * t - t * t * t) / 2,
            (2 - 5 * t * t + 3 * t * t * t) / 2,
            (t + 4 * t * t - 3 * t * t * t) / 2,
            (-t * t + t * t * t) / 2,
        )
        for node, share in zip(piece, basis):
            weights[begin:end, node] += share
    return _rounded(weights * (1 << _WEIGHT_BITS))


@cache
def _along_the_way(count: int) -> Integers:
    """Return int64 [_POINTS, count]: the weights of so many values, evenly spaced along the pen's way."""
    place = np.arange(_POINTS)[:, np.newaxis] * (count - 1) / (_POINTS - 1)
    near = np.maximum(0, 1 - np.abs(place - np.arange(count)))
    return _rounded(near * near * (3 - 2 * near) * (1 << _WEIGHT_BITS))


def _rounded(values: Floats) -> Integers:
    whole: Integers = np.rint(values).astype(np.int64)
    return whole


class _Random:
    """Random numbers for a block of images, one column each, in an order that never changes."""

    def __init__(self, seed: int, block: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(block,)))

    def _raw(self, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        raw: NDArray[np.uint64] = self._bits.random_raw((*shape, BLOCK))
        return raw

    def uniform(self, *shape: int) -> Floats:
        """Return float64 [*shape, BLOCK], from 0 to 1."""
        return (self._raw(shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, *shape: int) -> Floats:
        """Return float64 [*shape, BLOCK], nearly normal: mean 0, variance 1, at most 3.47 from it.

        Each is the sum of the four 16-bit parts of a raw number, less its mean, by its standard deviation.
        """
        raw = self._raw(shape)
        total = np.zeros(raw.shape, np.int64)
        for shift in (0, 16, 32, 48):
            total += (raw >> np.uint64(shift) & np.uint64(0xFFFF)).astype(np.int64)
        return (total - 2 * 0xFFFF) / 37837.2


def make_strokes(count: int, seed: int, evenly: bool = False) -> Digits:
    """Return `count` digits of synthetic handwriting: images uint8 [N, 28, 28], labels int64 [N].

    The same seed gives the same digits, on every machine; a larger count adds more at the end. The ways to
    write a digit are as common as they are among people, or, if `evenly`, one as common as another, with more
    narrow and wide digits.
    """
    images = np.empty((count, SIDE, SIDE), np.uint8)
    labels = np.empty(count, np.int64)
    for block, start in enumerate(range(0, count, BLOCK)):
        part = slice(start, min(start + BLOCK, count))
        made = _make_block(_Random(seed, block), evenly)
        images[part], labels[part] = (array[: part.stop - start] for array in made)
    return Digits(images, labels)


def make_extra_strokes(count: int) -> Optional[Digits]:
    """Return `count` digits to mix into another data set; None for 0. No image is in this one, too."""
    return make_strokes(count, EXTRA_SEED, evenly=True) if count else None


def _make_block(random: _Random, evenly: bool) -> Digits:
    skeletons = _skeletons()
    shares = [skeleton.share for skeleton in skeletons]
    if evenly:
        shares = [1 / len(ways) / len(SKELETONS) for ways in SKELETONS.values() for _ in ways]
    limits = np.cumsum(shares)[:-1]
    choice = np.searchsorted(limits, random.uniform(), "right")
    points = _follow(choice, _place_nodes(choice, random, _EVEN_WIDTHS if evenly else _WIDTHS), random)
    labels = np.array([skeleton.digit for skeleton in skeletons])[choice]
    broadest = np.where(labels == 1, _BROADEST, _open_radius(points))
    radius = _rounded(np.clip(1.3 + 0.42 * random.normal(), _FINEST, broadest) * _GRID)
    ink = _draw(_fit(points, radius), radius, _press(radius, random), random)
    return Digits(_centre(ink), labels)


def _place_nodes(choice: NDArray[np.intp], random: _Random, widths: tuple[float, float]) -> Integers:
    """Return int64 [2, _MAX_NODES, N], x and y of each image's nodes where its writer has them.

    `widths` are the deviation of the digits' width, for a mean of about 1, and its least.
    """
    deviation, least = widths
    skeletons = _skeletons()
    x, y = np.stack([skeleton.nodes for skeleton in skeletons])[choice].transpose(2, 1, 0)
    stroke = np.stack([skeleton.stroke for skeleton in skeletons])[choice].T
    is_end = np.stack([skeleton.is_end for skeleton in skeletons])[choice].T

    carelessness = 0.6 + 0.8 * random.uniform()
    noise_x, noise_y = random.normal(2, _MAX_NODES) * (0.055 * carelessness * np.where(is_end, 1.6, 1.0))
    offsets = random.normal(2, _MAX_STROKES) * (0.04 * carelessness)
    offset_x, offset_y = np.take_along_axis(offsets, stroke[np.newaxis], 1)
    x, y = x + noise_x + offset_x, y + noise_y + offset_y
    x, y = _bend(x, y, carelessness, random)

    width, slant, turn = random.normal(3)
    x = x * np.maximum(least, 1.08 + deviation * width + 0.03 * width * width)
    x = x - y * (0.15 + 0.22 * slant)
    # Sine and cosine from the tangent of half the angle, without either function.
    half = 0.06 * turn
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    turned = np.stack([cosine * x - sine * y, sine * x + cosine * y])
    return _rounded(turned * _HALF_HEIGHT)


def _bend(x: Floats, y: Floats, carelessness: Floats, random: _Random) -> tuple[Floats, Floats]:
    """Return the nodes bent as a whole: bowed, and of other widths and heights above than below."""
    terms = (x * y, y * y, x * x, x, x * y * y, y * y * y, x * x * y)
    for term, (bend_x, bend_y) in zip(terms, random.normal(len(terms), 2) * (0.09 * carelessness)):
        x, y = x + bend_x * term, y + bend_y * term
    return x, y


def _follow(choice: NDArray[np.intp], nodes: Integers, random: _Random) -> Integers:
    """Return int64 [2, _POINTS, N]: the pen's way past the nodes, with a tremor, in no certain unit."""
    points = np.empty((2, _POINTS, len(choice)), np.int64)
    for number, skeleton in enumerate(_skeletons()):
        written = np.flatnonzero(choice == number)
        points[:, :, written] = skeleton.weights @ nodes[:, :, written]
    tremor = random.normal(2, _TREMBLES) * (0.016 * random.uniform())
    points += _along_the_way(_TREMBLES) @ _rounded(tremor * _HALF_HEIGHT)
    return points


def _open_radius(points: Integers) -> Floats:
    """Return float64 [N], in pixels, the largest radius of the pen that makes no bar of a narrow digit."""
    x, y = points
    # Across the diagonals, too, where all is sqrt(2) times as long.
    across, down, falling, rising = (np.ptp(along, axis=0) for along in (x, y, x + y, x - y))
    narrower = np.minimum(np.minimum(across, down), np.minimum(falling, rising) * 5 // 7)
    share = _OPEN * narrower / np.maximum(np.maximum(across, down), 1)
    # That share of what the pen's own width leaves of the box.
    radius: Floats = np.clip(share * _BOX / (1 + 2 * share), _FINEST, _BROADEST)
    return radius


def _press(radius: Integers, random: _Random) -> Integers:
    """Return int64 [_POINTS, N]: what pressure adds to the squared radius along the pen's way."""
    pressure = random.normal(_PRESSURES) * (0.25 * random.uniform())
    share = _rounded(pressure * (1 << _WEIGHT_BITS))
    added = (_along_the_way(_PRESSURES) @ share) * (radius * radius) >> 2 * _WEIGHT_BITS
    return np.asarray(np.clip(added, -_MAX_PRESSURE, _MAX_PRESSURE))


def _fit(points: Integers, radius: Integers) -> Integers:
    """Return int64 [2, _POINTS, N]: the points scaled so that the ink's longest side fills the box.

    The shorter side begins with a whole pixel, too, so near the middle that the box need not leave the image
    to bring the centre of mass there.
    """
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    longest = np.maximum((high - low).max(axis=0), 1)
    room = _BOX * _GRID - 2 * radius
    margin = (room - (high - low) * room // longest) // (2 * _GRID) * _GRID
    fitted: Integers = (points - low) * room // longest + radius + margin
    return fitted


def _draw(places: Integers, radius: Integers, pressed: Integers, random: _Random) -> NDArray[np.uint8]:
    """Return uint8 [N, 20, 20]: the ink that a round pen leaves at these places, rough at its edge."""
    # A few images at a time, whose arrays stay in a core's cache.
    step = 256
    ink = np.empty((len(radius), _BOX, _BOX), np.uint8)
    roughness = random.normal(_BOX, _BOX) * (0.1 * random.uniform())
    for start in range(0, len(radius), step):
        part = slice(start, start + step)
        distance = np.sqrt(_squared_distance(places[:, :, part], pressed[:, part]).astype(np.float64))
        # The edge is soft over 1.25 pixels, which gives the greys of MNIST.
        level = (radius[part] - distance) / (1.25 * _GRID) + 0.5 + roughness[:, :, part]
        ink[part] = np.rint(np.clip(level, 0, 1) * 255).astype(np.uint8).transpose(2, 0, 1)
    # MNIST's images all reach full ink.
    peak = np.maximum(ink.max(axis=(1, 2), keepdims=True), 1)
    return np.asarray(ink.astype(np.uint16) * 255 // peak, np.uint8)


def _squared_distance(places: Integers, pressed: Integers) -> NDArray[np.int16]:
    """Return int16 [20, 20, N]: of each pixel's centre to the nearest place, less by the pressure there."""
    x, y = places.astype(np.int16)
    pressed = pressed.astype(np.int16)
    centres = (np.arange(_BOX, dtype=np.int16) * _GRID + _GRID // 2)[:, np.newaxis]
    nearest = np.full((_BOX, _BOX, x.shape[1]), np.iinfo(np.int16).max, np.int16)
    here = np.empty_like(nearest)
    for point in range(_POINTS):
        across = np.clip(centres - x[point], -_REACH, _REACH)
        down = np.clip(centres - y[point], -_REACH, _REACH)
        np.add((down * down - pressed[point])[:, np.newaxis], across * across, out=here)
        np.minimum(nearest, here, out=nearest)
    return np.maximum(nearest, 0)


def _centre(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 [N, 28, 28] with each image's centre of mass at pixel (14, 14), to half a pixel."""
    mass = ink.astype(np.int64)
    total = mass.sum(axis=(1, 2))
    inside = np.arange(_BOX)
    places = []
    for other_axis in (2, 1):
        moment = (mass.sum(axis=other_axis) * inside).sum(axis=1)
        nearest = (2 * (_CENTRE * total - moment) + total) // (2 * total)
        places.append(np.clip(nearest, 0, SIDE - _BOX)[:, np.newaxis] + inside)
    rows, columns = places
    images = np.zeros((len(ink), SIDE, SIDE), np.uint8)
    images[np.arange(len(ink))[:, np.newaxis, np.newaxis], rows[:, :, np.newaxis], columns[:, np.newaxis]] = (
        ink
    )
    return images


def load_strokes(directory: Path) -> DataSet:
    """Return the data set of synthetic handwriting: 60,000 training and 10,000 test images.

    It is kept in `directory`, in four IDX files of MNIST's names, and made again if it is not there as it
    should be. A folder that cannot be written to costs nothing but the time to make it.
    """
    try:
        kept = DataSet(NAME, str(directory), *_read(directory), is_synthetic=True)
        if kept.checksum() == CHECKSUM:
            return kept
    except DataError:
        pass
    images, labels = make_strokes(TRAIN_COUNT + TEST_COUNT, DATA_SEED)
    train = Digits(images[:TRAIN_COUNT], labels[:TRAIN_COUNT])
    test = Digits(images[TRAIN_COUNT:], labels[TRAIN_COUNT:])
    with suppress(OSError, FileError):
        directory.mkdir(parents=True, exist_ok=True)
        for path, array in zip(_files(directory), (*train, *test)):
            write_idx(path, np.asarray(array, np.uint8))
        return DataSet(NAME, str(directory), train, test, is_synthetic=True)
    return DataSet(NAME, "app/datasets/strokes.py", train, test, is_synthetic=True)


def _files(directory: Path) -> list[Path]:
    return [directory / f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in _KINDS]


def _read(directory: Path) -> tuple[Digits, Digits]:
    train_images, train_labels, test_images, test_labels = _files(directory)
    return read_digits(train_images, train_labels), read_digits(test_images, test_labels)


def draw_contact_sheet(digits: Digits, columns: int = 24, rows: int = 2) -> bytes:
    """Return a PNG of the first of these digits, so many rows of each, at twice their size."""
    lines = []
    for digit in np.unique(digits.labels):
        some = digits.images[digits.labels == digit][: rows * columns]
        framed = np.pad(some, ((0, rows * columns - len(some)), (1, 1), (1, 1)), constant_values=64)
        side = framed.shape[1]
        grid = framed.reshape(rows, columns, side, side)
        lines.append(grid.transpose(0, 2, 1, 3).reshape(rows * side, columns * side))
    sheet = Image.fromarray(np.vstack(lines))
    buffer = io.BytesIO()
    large = sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)
    texts = PngInfo()
    texts.add_text("Software", SOFTWARE)
    large.save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Write the contact sheet."""
    parser = CommandParser(
        prog="python -m app.datasets.strokes",
        description="Draw a contact sheet of synthetic handwriting, as a PNG.",
    )
    parser.add_argument("out", type=png_path, metavar="OUT.png", help="the file to write")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="show other digits (0)")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        raise UsageError(f"--seed: {options.seed} is impossible, it must be at least 0")
    write_figure(options.out, draw_contact_sheet(make_strokes(BLOCK, options.seed)))
    return 0


if __name__ == "__main__":
    run_command(main)
