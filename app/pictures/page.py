"""From a picture file to the 28x28 digits it may show, stage by stage.

A picture is opened, and the desk around the sheet left out; its ink is told from the paper; printed lines are
removed; the ink is sorted into digits and clutter; and every digit is given the form of MNIST. What a picture
shows is a guess as long as nobody has read it: dark ink or light, one digit or two. So several guesses are
made where the ink does not tell, each with its likelihood, and the recogniser takes the one that reads best.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.datasets import SIDE
from app.pictures.found import Found, Picture, all_ink, charge_unread, likeliest
from app.pictures.ink import align_channels, without_dithering, without_grain, without_spray
from app.pictures.judge import find_scrap, is_paper, stroke_length, writing
from app.pictures.normalise import Density, as_in_mnist, ink_box, normalise
from app.pictures.opening import SMALL, TINY, Pixels, open_picture, reduce_to, to_grey
from app.pictures.parting import MOST_PARTED, Part, Way, find_ways, part
from app.pictures.pieces import Box, with_margin
from app.pictures.search import DOUBTFUL, glance, is_on_even_paper, search_all
from app.pictures.sheet import cover_desk, leave_only

# The longest side at which ink is searched; digits that are small in it are cut out of the finer picture.
WORKING_SIDE = 1000
_SMALL_DIGIT = 80

# Of the density of full ink: what less is left of the paper's grain around a digit.
_GRAIN = 0.15

# In pictures with a shorter side of fewer pixels, both polarities are always tried: it costs little, and the
# frame is often full of ink.
_SMALL_PICTURE = 300

# With sides of at most so many pixels, a picture seldom shows a number, but if it is so many times as wide as
# tall.
_SMALL_SIDE, _NUMBER = 128, 1.5

# What is taken off the likelihood in a small picture if only in the other polarity its paper is even.
_UNEVEN = 1.5

# What is taken off the likelihood in a tiny picture if all ink is left unread, for less of it less.
_UNREAD_TINY = 2.0

# The share of the longest strokes' length below which being shorter makes no difference: grain is long.
_SHORTEST = 0.25

# What is taken off the likelihood of what may be a scrap of paper if there is something like writing on it.
_WRITTEN_ON = 0.6

# How much less likely than others ink may be in which there are boxes drawn round digits, and still be right.
_LESS_LIKELY = 0.5

# What tells nothing of how long and how strong the strokes are: what is less likely than others by more than
# this, as paper is; nor of their length what has less than this share of the strongest contrast: noise.
_UNLIKELY, _FAINTER = 1.0, 0.6


class DigitImage(NamedTuple):
    """One digit of a picture, ready for the network."""

    image: NDArray[np.uint8]
    """uint8 [28, 28]: white ink (255) on black (0), as in MNIST."""

    box: Box
    """Where its ink is, in pixels of the upright picture."""


class Candidate(NamedTuple):
    """Some of a line's ink, taken for one digit."""

    line: int
    way: Way
    digit: DigitImage


class Guess(NamedTuple):
    """One way to see a picture."""

    likelihood: float
    """How much its ink looks like writing before anything is read: the logarithm of a share, at most 0."""

    lines: tuple[int, ...]
    """How many parts each line of writing has."""

    candidates: tuple[Candidate, ...]
    """All ways to take parts that follow one another for a digit."""

    stages: dict[str, NDArray[Any]]
    """The picture after each stage, by its name, if they were to be kept."""


class Page(NamedTuple):
    """What a picture may show."""

    size: tuple[int, int]
    """Width and height of the upright picture."""

    guesses: tuple[Guess, ...]
    """Likeliest first; none if the picture holds no ink."""

    seconds: dict[str, float]
    """The time that each stage took."""


def read_page(path: Path, keep_stages: bool = False) -> Page:
    """Return what a picture file may show.

    The first frame is read, turned upright as its EXIF data say. A 28x28 picture that already is as MNIST has
    it, in either polarity, comes back bit for bit.

    Args:
        path: the file.
        keep_stages: whether the guesses are to hold the picture after each stage.

    Raises:
        PictureError: the file is missing, damaged, too large, or not a picture.
    """
    start = time.perf_counter()
    fine, size = open_picture(path)
    picture = Picture(fine, size, seconds={"open": time.perf_counter() - start})
    guesses = sorted(find_guesses(picture, keep_stages), key=lambda guess: -guess.likelihood)
    return Page(size, tuple(guesses), picture.seconds)


def is_for_one(size: tuple[int, int]) -> bool:
    """Whether a picture, of that width and height, is so small and narrow that it seldom shows a number."""
    width, height = size
    return max(size) <= _SMALL_SIDE and width < _NUMBER * height


def find_guesses(picture: Picture, keep_stages: bool = False) -> list[Guess]:
    """Return what a picture may show if its ink is dark, and if it is light; nothing if there is no ink."""
    fine = picture.fine
    if fine.shape[:2] == (SIDE, SIDE):
        untouched = as_in_mnist(to_grey(fine))
        if untouched is not None:
            digit = DigitImage(untouched, ink_box(untouched > 0))
            way = Way(0, 0, (), digit.box, 0.0, is_seamed=False, is_part=False)
            return [Guess(0.0, (1,), (Candidate(0, way, digit),), {})]
    found = search_sheet(picture)
    # What is in a box drawn round digits is no blob with holes in the shape of digits.
    boxed = [one for one in found if one.layout.boxes]
    found = boxed if boxed and likeliest(boxed) > likeliest(found) - _LESS_LIKELY else found
    found = [one for one in found if not is_paper(writing(one.layout))] or found
    # Of writing and noise, writing stands out more; of digits and the crumbs of some, the digits are longer.
    least = likeliest(found) - _UNLIKELY
    is_likely = [one.likelihood > least for one in found]
    likely = [one for one, is_so in zip(found, is_likely) if is_so]
    most = max((one.contrast for one in likely), default=1.0)
    clearest = [one for one in likely if one.contrast > _FAINTER * most]
    longest = max((stroke_length(one.layout) for one in clearest), default=1.0)
    if max(picture.size) <= TINY:
        found = [charge_unread(one, all_ink(one), _UNREAD_TINY) for one in found]
    guesses = []
    for one, may_touch in zip(found, is_likely):
        share = min(1.0, one.contrast / most) * min(1.0, max(_SHORTEST, stroke_length(one.layout) / longest))
        likelihood = one.likelihood + 0.5 * float(np.log(share))
        most_parted = MOST_PARTED if may_touch and not is_for_one(picture.size) else 0
        guess = to_guess(one, likelihood, picture, most_parted, keep_stages)
        if keep_stages and one.fine is not fine:
            guess = guess._replace(stages={"prepared": one.fine, **guess.stages})
        guesses.append(guess)
    return guesses


def search_sheet(picture: Picture) -> list[Found]:
    """Return the ink of a picture; of one that shows a sheet on a desk, without the desk.

    If there is nothing like writing on the sheet, it may be ink itself, and the whole picture is searched. So
    may a scrap of paper be, and is searched beside it.
    """
    with picture.stage("sheet"):
        bare = cover_desk(picture.fine)
    if bare is not None:
        found = search_polarities(replace(picture, fine=bare))
        if likeliest(found) >= DOUBTFUL:
            return found
    found = search_polarities(picture)
    # In small pictures, the holes of thick digits are as likely.
    return found if max(picture.size) <= SMALL else found_on_scrap(found, picture)


def found_on_scrap(found: list[Found], picture: Picture) -> list[Found]:
    """Return the ink of a picture with that on a scrap of paper that was taken for ink, if there is one.

    Then the scrap itself is less likely to be ink. What is straight does not count: it may be the hole of a
    thick zero.
    """
    least = likeliest(found) - _LESS_LIKELY
    with picture.stage("sheet"):
        may_be = [one.likelihood > least and not is_paper(writing(one.layout)) for one in found]
        scraps = [find_scrap(one.layout, all_ink(one)) if so else None for one, so in zip(found, may_be)]
        scrap = next((scrap for scrap in scraps if scrap is not None), None)
        bare = None if scrap is None else leave_only(scrap, picture.fine)
    if scrap is None or bare is None:
        return found
    sheet = to_box(ink_box(scrap), scrap.shape, picture.size)
    on_scrap = search_polarities(replace(picture, fine=bare, sheet=sheet))
    on_scrap = [one for one in on_scrap if one.likelihood > DOUBTFUL and not one.layout.main.is_straight]
    if not on_scrap:
        return found
    charged = [one._replace(likelihood=one.likelihood - _WRITTEN_ON) for one in found]
    return on_scrap + [one if part is None else less for one, less, part in zip(found, charged, scraps)]


def search_polarities(picture: Picture) -> list[Found]:
    """Return the ink of a picture in one polarity or in both.

    Ink is searched for in the picture reduced, its channels aligned, and, if it is grainy, dithered or
    sprayed, smoothed; small digits are cut out of it as it was.
    """
    with picture.stage("reduce"):
        picture = replace(picture, fine=align_channels(picture.fine))
        working = reduce_to(picture.fine, WORKING_SIDE)
        working = without_grain(working) if max(picture.size) > SMALL else without_dithering(working)
        working = without_spray(working)
    is_small = max(picture.size) <= SMALL
    is_light = is_mostly_light(working)
    # A dark picture is searched in both polarities, the likelier first: it tells how far to go in the other.
    is_light_first = not (is_light or is_small) and glance(working, True, picture) > glance(
        working, False, picture
    )
    searched: dict[bool, tuple[bool, list[Found]]] = {}
    other = -np.inf
    for light_on_dark in (is_light_first, not is_light_first):
        is_even = is_on_even_paper(working, light_on_dark, picture)
        found = search_all(working, light_on_dark, is_even, picture, other)
        searched[light_on_dark] = is_even, found
        # In a small picture or a dark one, crumbs of the paper may look like writing.
        if is_light and min(working.shape[:2]) >= _SMALL_PICTURE and likeliest(found) > DOUBTFUL:
            break
        if not is_small:
            other = likeliest([one for one in found if not is_paper(writing(one.layout))])
    in_order = [searched[key] for key in sorted(searched)]
    price = _UNEVEN if is_small and any(is_even for is_even, _ in in_order) else 0.0
    return [
        one._replace(likelihood=one.likelihood - (0.0 if is_even else price))
        for is_even, found in in_order
        for one in found
    ]


def is_mostly_light(pixels: Pixels) -> bool:
    """Whether most of a picture is nearer to its lightest than to its darkest part."""
    dark, middle, light = np.quantile(to_grey(pixels[::4, ::4]), (0.01, 0.5, 0.99))
    return bool(middle > (dark + light) / 2)


def to_guess(found: Found, likelihood: float, picture: Picture, most_parted: int, keep_stages: bool) -> Guess:
    """Return what the recogniser needs of the ink found: an image for each digit it may be read as."""
    parts, labels = part(found.layout.lines, found.layout.labels, most_parted)
    found = found._replace(layout=replace(found.layout, labels=labels))
    stages: dict[str, NDArray[Any]] = {}
    if keep_stages:
        paper = found.ink.paper
        stages = {
            "paper": 255 - paper if found.ink.light_on_dark else paper,
            "ink": np.clip(found.ink.density / found.full, 0, 1),
            "without lines": np.clip(found.density, 0, 1),
            "pieces": labels,
        }
    with picture.stage("normalise"):
        candidates = tuple(find_candidates(found, parts, picture.size))
    lines = tuple(sum(map(len, line)) for line in parts)
    return Guess(likelihood, lines, candidates, stages)


def find_candidates(
    found: Found, parts: Sequence[Sequence[Sequence[Part]]], size: tuple[int, int]
) -> Iterator[Candidate]:
    """Yield all ways to take ink for digits, but for parts in which there is nothing but noise."""
    for number, (line, own) in enumerate(zip(found.layout.lines, parts)):
        for way in find_ways(line, own):
            ink = cut_out_sharply(way, found)
            if ink.any():
                box = to_box(way.box, found.layout.labels.shape, size)
                yield Candidate(number, way, DigitImage(normalise(ink), box))


def to_box(box: Box, shape: tuple[int, ...], size: tuple[int, int]) -> Box:
    """Return a box in pixels of the picture in its file, of that size, given the shape it is searched in."""
    left, top, right, bottom = box
    height, width = shape
    across, down = size[0] / width, size[1] / height
    return (
        int(left * across),
        int(top * down),
        min(size[0], int(np.ceil(right * across))),
        min(size[1], int(np.ceil(bottom * down))),
    )


def cut_out_sharply(way: Way, found: Found) -> Density:
    """Return the density of one digit's ink, of a small digit as the finer picture has it."""
    left, top, right, bottom = way.box
    ink = cut_out(way, found)
    if max(right - left, bottom - top) < _SMALL_DIGIT and found.fine.shape[:2] != found.layout.labels.shape:
        finer = cut_out_finer(way, found)
        ink = finer if finer.any() else ink
    return ink


def cut_out(way: Way, found: Found) -> Density:
    """Return the density of one digit's ink, with its soft edges, and nothing of its neighbours'."""
    left, top, right, bottom = with_margin(way.box, found.layout.labels)
    labels, density = found.layout.labels[top:bottom, left:right], found.density[top:bottom, left:right]
    own = np.isin(labels, way.labels)
    reach = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    is_kept = reach & (own | (labels == 0)) & (density > max(found.ink.floor / found.full, _GRAIN))
    return np.where(is_kept, np.clip(density, 0, 1), 0).astype(np.float32)


def cut_out_finer(way: Way, found: Found) -> Density:
    """Return the same as `cut_out`, measured again in the picture before it was reduced."""
    labels, fine = found.layout.labels, found.fine
    left, top, right, bottom = with_margin(way.box, labels)
    across, down = fine.shape[1] / labels.shape[1], fine.shape[0] / labels.shape[0]
    pixels = fine[round(top * down) : round(bottom * down), round(left * across) : round(right * across)]
    size = pixels.shape[1], pixels.shape[0]
    paper = cv2.resize(found.ink.paper[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)
    density = found.ink.measure(pixels, paper.reshape(pixels.shape)) / found.full
    is_own = cv2.resize(cut_out(way, found), size, interpolation=cv2.INTER_LINEAR) > 0.5 * _GRAIN
    return np.where(is_own & (density > _GRAIN), np.clip(density, 0, 1), 0).astype(np.float32)
