"""From a picture file to the 28x28 digits it may show, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.ink import Ink, align_channels, find_ink, full_density, hysteresis
from app.pictures.layout import _HALVES_GAP, _MOST_PIECES, _WIDEST_DIGIT, Box, Layout, Piece, find_layout, join
from app.pictures.lines import remove_lines
from app.pictures.normalise import Density, as_in_mnist, ink_box, normalise
from app.pictures.opening import Pixels, open_picture

# The side that ink is searched at; what is found small is cut out again from the finer picture.
WORKING_SIDE = 1000

# Of the density of full ink: what a stroke must reach somewhere, and what its faint parts must reach.
_HIGH, _LOW = 0.5, 0.25

# Likelihoods above which a guess is taken at once, and below which another is made.
_CLEAR, _DOUBTFUL = -0.05, -0.2


class DigitImage(NamedTuple):
    """One digit of a picture, ready for the network."""

    image: NDArray[np.uint8]
    """uint8 [28, 28]: white ink (255) on black (0), as in MNIST."""

    box: Box
    """Where its ink is, in pixels of the upright picture."""

    strangeness: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """Pieces `first` to `last` (included) of a line, taken for one digit."""

    line: int
    first: int
    last: int
    digit: DigitImage


@dataclass(frozen=True)
class Guess:
    """What a picture shows if its ink is dark, or if it is light."""

    light_on_dark: bool
    likelihood: float
    """How much the ink looks like writing before anything is read; the logarithm of a share."""

    lines: tuple[int, ...]
    """How many pieces each line of writing has."""

    candidates: tuple[Candidate, ...]
    """All ways to take pieces that follow one another for a digit."""


@dataclass
class Page:
    """A picture on its way to digits."""

    size: tuple[int, int] = (0, 0)
    """Width and height of the upright picture."""

    guesses: tuple[Guess, ...] = ()
    """Likeliest first; none if the picture holds no ink."""

    stages: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    """What `--explain` shows: the picture after each stage, by its name."""

    seconds: dict[str, float] = field(default_factory=dict)
    """The time each stage took."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage's."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def read_page(path: Path, keep_stages: bool = False) -> Page:
    page = Page()
    with page.stage("open"):
        fine, page.size = open_picture(path)
    return analyse(fine, page, keep_stages)


def analyse(fine: Pixels, page: Page, keep_stages: bool = False) -> Page:
    if fine.shape[:2] == (28, 28):
        untouched = as_in_mnist(to_grey(fine))
        if untouched is not None:
            digit = DigitImage(untouched, ink_box(untouched > 0))
            page.guesses = (Guess(False, 0.0, (1,), (Candidate(0, 0, 0, digit),)),)
            return page
    with page.stage("reduce"):
        working = align_channels(reduce_to(fine, WORKING_SIDE))
    guesses: list[Guess] = []
    for light_on_dark in (False, True):
        guesses += make_guesses(working, light_on_dark, page, keep_stages)
        if guesses and guesses[0].likelihood > _CLEAR and min(working.shape[:2]) > 300:
            break
    page.guesses = tuple(sorted(guesses, key=lambda guess: -guess.likelihood))
    return page


def to_grey(pixels: Pixels) -> NDArray[np.uint8]:
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def reduce_to(pixels: Pixels, side: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.atleast_3d(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1))


def make_guesses(working: Pixels, light_on_dark: bool, page: Page, keep_stages: bool) -> list[Guess]:
    """Return what the picture shows if its ink is of that polarity: nothing, one reading, or two.

    The first is made with wide reach, so that the broadest felt pen is ink, and once more with the reach that
    the strokes found ask for. If it does not look like writing, a shadow may be taken for ink: then a second
    one starts with a short reach.
    """
    short = min(working.shape[:2])
    guesses: list[Guess] = []
    for reach in (max(5, short // 2), short // 12):
        if reach < 9 and guesses:
            break
        found = search(working, light_on_dark, reach, page)
        if not found:
            continue
        finer = max(9, round(6 * found[-1].layout.main.width))
        if finer < reach / 1.5:
            found = search(working, light_on_dark, finer, page) or found
        guesses += [to_guess(one, one.full / found[0].full, working, page, keep_stages) for one in found]
        if max(guess.likelihood for guess in guesses) > _DOUBTFUL:
            break
    return guesses


class Found(NamedTuple):
    """The ink of a picture, sorted out."""

    ink: Ink
    cleaned: Density
    full: float
    layout: Layout


def search(working: Pixels, light_on_dark: bool, reach: int, page: Page) -> list[Found]:
    """Return the layout of the ink, and a second one without the clutter if that outweighs what is written."""
    with page.stage("ink"):
        ink = find_ink(working, light_on_dark, reach)
    density = ink.density
    found: list[Found] = []
    for _ in range(3):
        full = full_density(density, ink.floor)
        if full < 1.5 * ink.floor:
            break
        low, high = max(_LOW, ink.floor / full), max(_HIGH, 1.3 * ink.floor / full)
        with page.stage("lines"):
            cleaned = remove_lines(density / np.float32(full), low)
        with page.stage("layout"):
            layout = find_layout(hysteresis(cleaned, low, high), cleaned)
        if not layout.lines:
            break
        found = [*found[:1], Found(ink, cleaned, full, layout)]
        if not layout.clutter:
            break
        is_clutter = np.isin(layout.labels, layout.clutter).astype(np.uint8)
        density = np.where(cv2.dilate(is_clutter, np.ones((7, 7), np.uint8)), 0, density)
    return found


def to_guess(found: Found, strength: float, working: Pixels, page: Page, keep_stages: bool) -> Guess:
    ink, cleaned, full, layout = found
    name = f"{'light' if ink.light_on_dark else 'dark'}"
    if keep_stages:
        page.stages[f"{name} paper"] = 255 - ink.paper if ink.light_on_dark else ink.paper
        page.stages[f"{name} ink"] = ink.density
        page.stages[f"{name} cleaned"] = cleaned
        page.stages[f"{name} labels"] = layout.labels
    with page.stage("judge"):
        odds = likelihood(layout, cleaned, to_grey(working)) + float(np.log(min(1.0, strength))) / 2
    with page.stage("normalise"):
        candidates = tuple(make_candidates(layout, cleaned, max(ink.floor / full, 0.15), page.size))
    return Guess(ink.light_on_dark, odds, tuple(map(len, layout.lines)), candidates)


def make_candidates(layout: Layout, density: Density, floor: float, size: tuple[int, int]) -> Iterator[Candidate]:
    scale = size[0] / density.shape[1], size[1] / density.shape[0]
    for number, line in enumerate(layout.lines):
        for first in range(len(line)):
            for last in range(first, min(len(line), first + _MOST_PIECES)):
                pieces = list(line[first : last + 1])
                if len(pieces) > 1 and not may_be_one(pieces):
                    break
                piece = join(pieces)
                yield Candidate(number, first, last, cut_out(piece, layout, density, floor, scale, size, strangeness(pieces)))


def may_be_one(pieces: list[Piece]) -> bool:
    """Whether neighbours may be parts of one digit: together not too wide, and close."""
    whole = join(pieces)
    width = whole.box[2] - whole.box[0]
    gaps = [second.box[0] - first.box[2] for first, second in zip(pieces, pieces[1:])]
    return width <= _WIDEST_DIGIT * whole.height and max(gaps) <= _HALVES_GAP * whole.height


def strangeness(pieces: list[Piece]) -> float:
    """Return the price of taking pieces for one digit: high for tall ones side by side with a gap between."""
    whole = join(pieces)
    price = 0.0
    for first, second in zip(pieces, pieces[1:]):
        shorter = min(first.height, second.height) / whole.height
        apart = (second.box[0] - first.box[2]) / whole.height
        price += max(0.0, 1.0 + 8 * apart) * max(0.0, shorter - 0.5) * 4
    return price


def cut_out(piece: Piece, layout: Layout, density: Density, floor: float, scale, size, strangeness) -> DigitImage:
    left, top, right, bottom = piece.box
    margin = 2
    rows = slice(max(0, top - margin), bottom + margin)
    columns = slice(max(0, left - margin), right + margin)
    own = np.isin(layout.labels[rows, columns], piece.labels).astype(np.uint8)
    reach = cv2.dilate(own, np.ones((3, 3), np.uint8)) > 0
    others = (layout.labels[rows, columns] > 0) & (own == 0)
    values = density[rows, columns]
    values = np.where(reach & ~others & (values > floor), np.clip(values, 0, 1), 0)
    box = (
        int(left * scale[0]),
        int(top * scale[1]),
        min(size[0], int(np.ceil(right * scale[0]))),
        min(size[1], int(np.ceil(bottom * scale[1]))),
    )
    return DigitImage(normalise(values.astype(np.float32)), box, strangeness)


def likelihood(layout: Layout, cleaned: Density, grey: NDArray[np.uint8]) -> float:
    """Return how much the ink that was kept looks like strokes of a pen, as the logarithm of a share.

    Strokes are long and thin, leave most of the frame's border free, and end where the picture has an edge.
    If paper is taken for ink, it is broad and reaches the border; and much of its outline lies where the
    closing's square no longer fitted in, and nothing is to be seen.
    """
    pieces = [piece for line in layout.lines for piece in line]
    kept = np.isin(layout.labels, [label for piece in pieces for label in piece.labels]).astype(np.uint8)
    main = layout.main
    slenderness = min(1.0, main.length / main.width / 10)
    dense = cleaned > _HIGH
    border = float(np.concatenate([dense[0], dense[-1], dense[:, 0], dense[:, -1]]).mean())
    cross = np.ones((3, 3), np.uint8)
    outline = (kept > 0) & (cv2.erode(kept, cross, borderValue=1) == 0)
    contrast = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, cross)[outline].astype(np.float32)
    full_contrast = np.quantile(contrast, 0.9) if contrast.size else 1.0
    support = float(np.minimum(1, contrast / max(0.4 * full_contrast, 1)).mean()) if contrast.size else 1.0
    lies_along_frame = main.touches > 0 and main.contact > 3 * main.touches * main.width
    return float(-1.0 * lies_along_frame + np.log(slenderness) + 3 * np.log(support) - 2 * border - dense.mean())
