"""Pen strokes from MNIST's digits: the middle lines of the blobs, to be drawn again at any size and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.datasets import Digits

Float = NDArray[np.float32]

FINENESS = 4
"""Pixels to trace in for each pixel of MNIST."""

SHAPE_KEPT = 0.85
"""The least correlation of a digit with its strokes drawn in one width that is not called a blob."""

DEEPEST = 0.1
"""How far into one another digits of a number reach at most that touch, as a share of their height."""

_NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


class Strokes(NamedTuple):
    """The middle lines of what a pen wrote: points and the straight pieces between them."""

    points: NDArray[np.float64]
    """float64 [N, 2]: x and y."""

    edges: NDArray[np.int64]
    """int64 [E, 2]: indices of the points that a piece joins."""

    radii: NDArray[np.float64]
    """float64 [N]: half the width of the line at each point."""

    is_blob: bool = False
    """Whether it is more than a line, such as a filled loop: drawn thinner it could be another digit."""

    def placed(self, scale: float, x: float, y: float) -> Strokes:
        """Return the strokes enlarged, and then shifted by (x, y)."""
        return self._replace(points=self.points * scale + (x, y), radii=self.radii * scale)

    def with_pen(self, radius: float, pressure: float) -> Strokes:
        """Return them in another width; where there is more than a line, not thinner than they are.

        Args:
            radius: the new median of the radii.
            pressure: 0 for a line of one width, 1 for one as uneven as MNIST's.
        """
        uneven = self.radii / np.median(self.radii)
        radii = radius * (1 - pressure + pressure * uneven)
        return self._replace(radii=np.maximum(radii, self.radii) if self.is_blob else radii)

    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right, bottom of the ink."""
        low = (self.points - self.radii[:, None]).min(axis=0)
        high = (self.points + self.radii[:, None]).max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def join(parts: Sequence[Strokes]) -> Strokes:
    """Return several strokes as one."""
    starts = np.cumsum([0] + [len(part.points) for part in parts])
    return Strokes(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.edges + start for part, start in zip(parts, starts)]),
        np.concatenate([part.radii for part in parts]),
        any(part.is_blob for part in parts),
    )


@dataclass(frozen=True)
class Pen:
    """How a pen writes; widths are shares of the digit's height."""

    thinnest: float
    thickest: float
    inks: tuple[str, ...]
    opacity: float
    """How much of the paper a full stroke hides at severity 0."""
    faintest: float
    """The same at severity 1."""
    grain: float
    """0: even; 1: the paper's tooth shows through, as with chalk."""
    pressure: float
    """See `Strokes.with_pen`."""


def choose_digits(digits: Digits, count: int, rng: np.random.Generator) -> tuple[list[Strokes], str]:
    """Return the strokes of some digits, each 1.0 high, and their labels as text.

    Of several, all can be written with a thin pen, as one hand would.
    """
    chosen: list[tuple[Strokes, str]] = []
    while len(chosen) < count:
        index = int(rng.integers(len(digits.images)))
        strokes = trace(digits.images[index])
        if count == 1 or not strokes.is_blob:
            chosen.append((strokes, str(digits.labels[index])))
    return [strokes for strokes, _ in chosen], "".join(label for _, label in chosen)


def lay_out(
    lines: Sequence[Sequence[Strokes]],
    pen: Pen,
    severity: float,
    rng: np.random.Generator,
    *,
    touching: bool = False,
) -> Strokes:
    """Return lines of digits, each about 1.0 high, of one pen; sizes, gaps and base line vary a little.

    If they are `touching`, neighbours do that need not be pushed far into one another.
    """
    width = rng.uniform(pen.thinnest, pen.thickest)
    leading = rng.uniform(1.35, 1.9)
    gap = rng.uniform(0.12, 0.5) if severity < 0.5 else rng.choice([0.06, 0.2, 0.8])
    placed = []
    for number, line in enumerate(lines):
        x = rng.uniform(0, 0.3)
        for index, strokes in enumerate(line):
            size = rng.uniform(1 - 0.15 * severity, 1 + 0.1 * severity) if len(line) > 1 else 1.0
            written = strokes.with_pen(width / size / 2, pen.pressure)
            left, _, _, bottom = written.box()
            y = number * leading + rng.normal(0, 0.03) * severity - bottom * size
            digit = written.placed(size, x - left * size, y)
            if touching and index:
                near = digit.placed(1.0, touch(placed[-1], digit) - rng.uniform(0, 0.6) * width, 0)
                is_apart = near.box()[0] > placed[-1].box()[2] - DEEPEST
                digit = near if is_apart else digit
            placed.append(digit)
            x = digit.box()[2] + gap * rng.uniform(0.7, 1.4)
    together = join(placed)
    left, top, _, _ = together.box()
    return together.placed(1.0, -left, -top)


def touch(left: Strokes, right: Strokes) -> float:
    """Return how far strokes have to move to the right, if negative to the left, to touch others there.

    If they would pass above or below them, they end at the middle of the others.
    """
    apart = left.points[:, None] - right.points[None]
    reach = left.radii[:, None] + right.radii[None]
    shifts = apart[..., 0] + np.sqrt(np.maximum(np.square(reach) - np.square(apart[..., 1]), 0))
    middle = (left.box()[0] + left.box()[2]) / 2 - right.box()[0]
    return float(shifts.max(initial=middle, where=np.abs(apart[..., 1]) < reach))


def trace(image: NDArray[np.uint8]) -> Strokes:
    """Return the strokes of a digit, 1.0 high (or wide, if it is wider) with its box's corner at (0, 0).

    Args:
        image: uint8 [28, 28], white on black, not empty.
    """
    height, width = image.shape
    large = Image.fromarray(image).resize((width * FINENESS, height * FINENESS), Image.Resampling.BICUBIC)
    inside = np.pad(np.asarray(large) > 0.4 * float(image.max()), 1)
    depth = distance(~inside)
    skeleton = _without_dots(thin(inside))
    rows, columns = np.nonzero(skeleton)
    index = np.full(skeleton.shape, -1)
    index[rows, columns] = np.arange(len(rows))
    pieces = [np.empty((0, 2), np.int64)]
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = index[rows + down, columns + right]
        pieces.append(np.stack([np.flatnonzero(other >= 0), other[other >= 0]], axis=1))
    edges = np.concatenate(pieces)
    points = _smooth(np.stack([columns, rows], axis=1) + 0.5 - 1.0, edges)
    # The edge lies half a pixel before the centre of the first pixel outside.
    strokes = Strokes(points, edges, np.maximum(depth[rows, columns] - 0.5, 1.0))
    _lengthen(strokes, depth)
    one_width = strokes.with_pen(float(np.median(strokes.radii)), 0.0)
    drawn = draw(one_width, (width * FINENESS, height * FINENESS), smooth=False)
    same = np.corrcoef(np.asarray(drawn).ravel(), inside[1:-1, 1:-1].ravel())[0, 1]
    left, top, right_end, bottom = strokes.box()
    scale = 1 / max(right_end - left, bottom - top)
    return strokes.placed(scale, -left * scale, -top * scale)._replace(is_blob=bool(same < SHAPE_KEPT))


def _without_dots(skeleton: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Take out lone pixels, which are specks that the scanning of MNIST left."""
    joined = skeleton & np.any([np.roll(skeleton, step, (0, 1)) for step in _NEIGHBOURS], axis=0)
    return joined if joined.any() else skeleton


def _smooth(points: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take the steps of the pixel grid out of the lines; ends and crossings stay where they are."""
    degree = np.bincount(edges.ravel(), minlength=len(points))
    passing = degree == 2
    for _ in range(8):
        total = np.zeros_like(points)
        np.add.at(total, edges[:, 0], points[edges[:, 1]])
        np.add.at(total, edges[:, 1], points[edges[:, 0]])
        points = np.where(passing[:, None], (points + total) / 3, points)
    return points


def _lengthen(strokes: Strokes, depth: NDArray[np.float64]) -> None:
    """Draw the ends of lines, in place, out to where the blob ends: thinning has taken some of them, too."""
    neighbours: dict[int, list[int]] = {}
    for first, second in strokes.edges.tolist():
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    for end in [point for point, others in neighbours.items() if len(others) == 1]:
        path = [end]
        while len(path) < 3 * FINENESS:
            onward = [point for point in neighbours[path[-1]] if point not in path]
            if len(onward) != 1:
                break
            path += onward
        way = strokes.points[end] - strokes.points[path[-1]]
        step = way / max(np.hypot(*way), 1e-9)
        for _ in range(3 * FINENESS):
            column, row = np.floor(strokes.points[end] + step).astype(int) + 1
            if depth[row, column] < 0.8 * strokes.radii[end]:
                break
            strokes.points[end] += step


def distance(is_goal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the Euclidean distance of each pixel's centre to the nearest goal's, exactly, by brute force."""
    far = float(sum(is_goal.shape))
    rows, columns = (np.arange(size, dtype=np.float32) for size in is_goal.shape)
    within = np.where(is_goal[None], np.abs(rows[:, None, None] - rows[None, :, None]), far).min(axis=1)
    squared = np.square(within)[:, None, :] + np.square(columns[:, None] - columns[None, :])[None]
    return np.sqrt(squared.min(axis=2)).astype(np.float64)


def thin(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the middle lines, one pixel wide, of a shape that does not touch the border.

    After T. Y. Zhang and C. Y. Suen, A fast parallel algorithm for thinning digital patterns, 1984: pixels of
    the border are taken off, by turns those at the lower right and at the upper left, as long as their
    neighbours, read in a circle, are 2 to 6 in one run.
    """
    shape = inside.copy()
    while True:
        removed = False
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            around = [np.roll(shape, (-down, -right), (0, 1)) for down, right in _NEIGHBOURS]
            count = np.sum(around, axis=0)
            runs = np.sum([~one & after for one, after in zip(around, around[1:] + around[:1])], axis=0)
            border = [~(around[a] & around[b] & around[c]) for a, b, c in (first, second)]
            taken = shape & (count >= 2) & (count <= 6) & (runs == 1) & border[0] & border[1]
            removed |= bool(taken.any())
            shape &= ~taken
        if not removed:
            return shape


def draw(strokes: Strokes, size: tuple[int, int], *, smooth: bool = True) -> Image.Image:
    """Return how much of each pixel the pen covers, mode L, 0 to 255.

    Args:
        strokes: in pixels of the picture.
        size: its width and height.
        smooth: whether the edges are soft, as a camera and a good paint program have them.
    """
    picture = Image.new("L", size)
    left, top, right, bottom = strokes.box()
    corner = max(0, int(left) - 1), max(0, int(top) - 1)
    end = min(size[0], int(right) + 2), min(size[1], int(bottom) + 2)
    if corner[0] >= end[0] or corner[1] >= end[1]:
        return picture
    fineness = 4 if smooth else 1
    part = Image.new("L", ((end[0] - corner[0]) * fineness, (end[1] - corner[1]) * fineness))
    pen = ImageDraw.Draw(part)
    points = (strokes.points - corner) * fineness - 0.5
    radii = strokes.radii * fineness
    for first, second in strokes.edges:
        width = max(1, round(radii[first] + radii[second]))
        pen.line([*points[first], *points[second]], fill=255, width=width)
    # Pillow draws the box's last pixels, too.
    for (x, y), radius in zip(points, radii - 0.5):
        if radius >= 1:
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    picture.paste(part.reduce(fineness), corner)
    return picture
