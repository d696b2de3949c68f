"""From a picture file to the 28x28 digits it may show, stage by stage.

A picture is opened, and the desk around the sheet left out; its ink is told from the paper; printed lines are
removed; the ink is sorted into digits and clutter; and every digit is given the form of MNIST. What a picture
shows is a guess as long as nobody has read it: dark ink or light, one digit or two. So several guesses are
made where the ink does not tell, each with its likelihood, and the recogniser takes the one that reads best.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.datasets import SIDE
from app.pictures.frame import without_frame
from app.pictures.ink import (
    Ink,
    align_channels,
    even_paper,
    find_ink,
    full_density,
    has_even_paper,
    hysteresis,
)
from app.pictures.layout import (
    Box,
    Layout,
    Piece,
    fill_holes,
    find_layout,
    find_pieces,
    is_along_frame,
    is_soft,
    join,
    may_be_one,
    sharpness,
    strangeness,
)
from app.pictures.lines import remove_lines
from app.pictures.normalise import Density, as_in_mnist, ink_box, normalise
from app.pictures.opening import Pixels, open_picture, reduce_to
from app.pictures.sheet import cover_desk

# The longest side at which ink is searched; digits that are small in it are cut out of the finer picture.
WORKING_SIDE = 1000
_SMALL_DIGIT = 80

# Of the density of full ink: what a stroke must reach somewhere, what its faint parts must reach, and what
# less is left of the paper's grain around it.
_HIGH, _LOW, _GRAIN = 0.5, 0.25, 0.15

# The density of what is left when printed lines are gone, below which it is measured anew.
_FAINT = 0.8

# Likelihoods above which a guess is taken at once, and below which another is made.
_CLEAR, _DOUBTFUL = -0.05, -0.2

# How many times as long as broad the strokes of most digits are, all together; a one in felt pen the least.
_SLENDER = 6

# In pictures with a shorter side of fewer pixels, both polarities are always tried: it costs little, and the
# frame is often full of ink.
_SMALL_PICTURE = 300

# A picture of fewer pixels to its longer side whose paper is even seldom shows a desk or a shadow.
_FLAT_PICTURE = 600

# Whether a large picture's paper is even is told in one with a longest side of so many pixels; by what factor
# the darkest of even ink is darker than most of it, at most; and which share of the frame it may cover.
_COARSE, _EVENLY_DARK, _CUT_OUT = 300, 1.3, 0.4

# What is added to the likelihood if ink is taken for one digit in scattered pieces, and if some of it is
# taken for a shadow.
_SCATTERED, _SHADOWED = -0.3, -0.3

# How wide a stroke may be that meets the frame, as a share of the picture's shorter side: on even paper,
# which may be cut out along the digit's edges, and on other paper, where a shadow or a desk may reach in.
_THICK, _THIN = 0.4, 0.15

# How likely such a picture holds one digit and nothing else, and what is taken off for each side along which
# there is a line.
_AS_IT_IS, _FRAMED = -0.6, 0.5

# What is taken off the likelihood if all ink is set aside, for less of it less: where one digit may fill the
# picture, or a shadow may be ink; and in any of at most so many pixels to the longer side, which seldom shows
# more than a digit.
_UNREAD = 3.0
_UNREAD_TINY, _TINY = 2.0, 64

# The share of the picture's longer side that a digit cut out along its edges still takes without its bar.
_MOST = 0.75

# Shares of a picture's border that paper covers and digits cut out along their edges do not; and of its area
# that is not paper where there is a digit on it, and of a framed area that is, without and with the digits;
# and of the picture that such an area takes.
_ALL_ROUND, _DOTS, _MOSTLY, _SHEET, _SHEET_SIZE = 0.95, 0.002, 0.7, 0.93, 0.4

# The share of the longest strokes' length below which being shorter makes no difference: grain is long.
_SHORTEST = 0.25

# How much less likely than others ink may be in which there are boxes drawn round digits, and still be right.
_LESS_LIKELY = 0.5

# What tells nothing of how long and how strong the strokes are: what is less likely than others by more than
# this, as paper is; nor of their length what has less than this share of the strongest contrast: noise.
_UNLIKELY, _FAINTER = 1.0, 0.6

# How broad a shadow is at least that takes a part of the picture, as a share of its shorter side, and the
# pixels of its edge; and what is taken off the likelihood if all that is read may be one.
_SHADE, _SOFT_EDGE, _SHADY = 0.3, 2, 0.6

# A broad stroke may be a shadow: how broad at least, as a share of the picture's shorter side; how dark the
# strokes in it are at least, and what is taken off, in units of its own density; and shares of its area.
_BROAD, _IN_SHADOW, _SHADOW, _LEAST_IN, _MOST_IN = 0.04, 1.5, 1.25, 0.005, 0.3

# What is no ink: more than this share of its outline has less of an edge than the other share of its best.
_UNSEEN, _NO_EDGE = 0.3, 0.2

# Pieces of ink that one digit may have fallen into.
_MOST_PIECES = 4


class DigitImage(NamedTuple):
    """One digit of a picture, ready for the network."""

    image: NDArray[np.uint8]
    """uint8 [28, 28]: white ink (255) on black (0), as in MNIST."""

    box: Box
    """Where its ink is, in pixels of the upright picture."""


class Candidate(NamedTuple):
    """Pieces `first` to `last` (included) of a line, taken for one digit."""

    line: int
    first: int
    last: int
    digit: DigitImage

    strangeness: float
    """What speaks against these pieces being one digit; 0 for a single piece."""


class Guess(NamedTuple):
    """One way to see a picture."""

    likelihood: float
    """How much its ink looks like writing before anything is read: the logarithm of a share, at most 0."""

    lines: tuple[int, ...]
    """How many pieces each line of writing has."""

    candidates: tuple[Candidate, ...]
    """All ways to take pieces that follow one another for a digit."""

    stages: dict[str, NDArray[Any]]
    """The picture after each stage, by its name, if they were to be kept."""


@dataclass
class Page:
    """A picture on its way to digits."""

    size: tuple[int, int]
    """Width and height of the upright picture."""

    guesses: tuple[Guess, ...] = ()
    """Likeliest first; none if the picture holds no ink."""

    seconds: dict[str, float] = field(default_factory=dict)
    """The time that each stage took."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage's."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


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
    page = Page(size, seconds={"open": time.perf_counter() - start})
    page.guesses = tuple(sorted(find_guesses(fine, page, keep_stages), key=lambda guess: -guess.likelihood))
    return page


def find_guesses(fine: Pixels, page: Page, keep_stages: bool = False) -> list[Guess]:
    """Return what a picture may show if its ink is dark, and if it is light; nothing if there is no ink."""
    if fine.shape[:2] == (SIDE, SIDE):
        untouched = as_in_mnist(to_grey(fine))
        if untouched is not None:
            digit = DigitImage(untouched, ink_box(untouched > 0))
            return [Guess(0.0, (1,), (Candidate(0, 0, 0, digit, 0.0),), {})]
    prepared, found = search_sheet(fine, page)
    # What is in a box drawn round digits is no blob with holes in the shape of digits.
    boxed = [one for one in found if one.layout.boxes]
    found = boxed if boxed and likeliest(boxed) > likeliest(found) - _LESS_LIKELY else found
    found = [one for one in found if not is_paper(writing(one.layout))] or found
    # Of writing and noise, writing stands out more; of digits and the crumbs of some, the digits are longer.
    least = likeliest(found) - _UNLIKELY
    likely = [one for one in found if one.likelihood > least]
    most = max((one.contrast for one in likely), default=1.0)
    clearest = [one for one in likely if one.contrast > _FAINTER * most]
    longest = max((stroke_length(one.layout) for one in clearest), default=1.0)
    if max(page.size) <= _TINY:
        found = [charge_unread(one, _UNREAD_TINY) for one in found]
    guesses = []
    for one in found:
        share = min(1.0, one.contrast / most) * min(1.0, max(_SHORTEST, stroke_length(one.layout) / longest))
        guess = to_guess(one, one.likelihood + 0.5 * float(np.log(share)), prepared, page, keep_stages)
        if keep_stages and prepared is not fine:
            guess = guess._replace(stages={"prepared": prepared, **guess.stages})
        guesses.append(guess)
    return guesses


def search_sheet(fine: Pixels, page: Page) -> tuple[Pixels, list[Found]]:
    """Return the picture as it was searched, and its ink: of a sheet on a desk without the desk.

    It is `fine` itself if nothing had to be changed. If there is nothing like writing on the sheet, it may be
    ink itself, and the whole picture is searched.
    """
    with page.stage("sheet"):
        bare = cover_desk(fine)
    if bare is not None:
        aligned, found = search_polarities(bare, page)
        if likeliest(found) >= _DOUBTFUL:
            return aligned, found
    return search_polarities(fine, page)


def search_polarities(fine: Pixels, page: Page) -> tuple[Pixels, list[Found]]:
    """Return a picture with its channels aligned, and its ink in one polarity or in both."""
    with page.stage("reduce"):
        fine = align_channels(fine)
        working = reduce_to(fine, WORKING_SIDE)
    found: list[Found] = []
    for light_on_dark in (False, True):
        found += search_all(working, light_on_dark, page)
        # In a small picture or a dark one, crumbs of the paper may look like writing.
        is_clear = min(working.shape[:2]) >= _SMALL_PICTURE and is_mostly_light(working)
        if is_clear and likeliest(found) > _CLEAR:
            break
    return fine, found


def likeliest(found: Sequence[Found]) -> float:
    """Return the likelihood of the likeliest; minus infinity if there is none."""
    return max((one.likelihood for one in found), default=-math.inf)


def is_mostly_light(pixels: Pixels) -> bool:
    """Whether most of a picture is nearer to its lightest than to its darkest part."""
    dark, middle, light = np.quantile(to_grey(pixels[::4, ::4]), (0.01, 0.5, 0.99))
    return bool(middle > (dark + light) / 2)


def stroke_length(layout: Layout) -> float:
    """Return the length of all strokes; what hardly is one, or what the frame cuts, counts less."""
    pieces = [piece for line in layout.lines for piece in line]
    return sum(
        piece.length
        * (0.3 if is_along_frame(piece) or not piece.is_stroke else 0.5 if piece.touches else 1.0)
        for piece in pieces
    )


def to_grey(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the luminance of a picture, uint8 [height, width]; of grey ones, their own values."""
    if pixels.shape[2] == 1 or (is_grey(pixels[::8, ::8]) and is_grey(pixels)):
        return pixels[..., 0]
    grey: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return grey


def is_grey(pixels: Pixels) -> bool:
    """Whether all channels of a picture are alike."""
    return bool((pixels == pixels[..., :1]).all())


class Found(NamedTuple):
    """The ink of a picture, sorted out."""

    ink: Ink
    density: Density
    """Without printed lines, 1 for full ink."""

    full: float
    """The density, as in `ink`, that became 1."""

    layout: Layout
    contrast: float
    """Of the edges of the strokes, in levels of grey: at least 1."""

    likelihood: float
    """How much the ink looks like writing: see `judge`."""

    is_in_shadow: bool
    """Whether it was found in a shadow, whose density is taken off."""


def search_all(working: Pixels, light_on_dark: bool, page: Page) -> list[Found]:
    """Return the ink of a picture in one polarity, as seen in one or more ways.

    On even paper, ink is what is darker. Where that may be a shadow or the desk, or where paper is not even,
    what is narrow is ink. Of two ways to see a picture, the one that leaves strokes unread is less likely,
    and so is the one that reads what is as broad as a shadow.
    """
    even, is_settled = search_even(working, light_on_dark, page)
    if is_settled:
        return even
    found = search_narrow(working, light_on_dark, page)
    if even:
        shade, strokes = split_shade(all_ink(even[0]))
        found = [charge_strokes(one, strokes) for one in found]
        even = [charge_shade(one, shade) for one in even]
    return found + even


def search_even(working: Pixels, light_on_dark: bool, page: Page) -> tuple[list[Found], bool]:
    """Return what is darker than even paper, whose light may slope, and whether that is all there is.

    There is nothing if the paper is not even; a large picture's is, if its ink is all about as dark, too, and
    there is nothing along the frame. It is all if it looks like writing, or may be one digit cut out along
    its edges, or is paper, as the polarity is the other one, or is nowhere as broad as a shadow; and in tiny
    pictures, which show no shadows.
    """
    positive = 255 - working if light_on_dark else working
    is_small = max(page.size) < _FLAT_PICTURE
    with page.stage("ink"):
        coarse = positive if is_small else reduce_to(positive, _COARSE)
        is_even = has_even_paper(coarse) and (is_small or is_even_ink(coarse))
    if not is_even:
        return [], False
    ink = time_ink(working, light_on_dark, None, page)
    found = search(ink, working, _THICK, page)
    is_tiny = max(page.size) <= _TINY
    whole = [
        one for one in take_all(ink, working, page) if is_tiny or border_share(one.density > _HIGH) < _CUT_OUT
    ]
    if whole:
        return with_whole(found, whole), True
    if not found or not (is_small or all(map(is_alone, found))):
        return [], False
    is_clear = is_tiny or likeliest(found) >= _DOUBTFUL
    if is_clear or is_paper(writing(found[0].layout)):
        return found, True
    shade, _ = split_shade(all_ink(found[0]))
    return found, not shade.any()


def search_narrow(working: Pixels, light_on_dark: bool, page: Page) -> list[Found]:
    """Return what is darker than the paper or the shadow on both its sides.

    It is searched with a wide reach, so that the broadest felt pen is ink and not paper, and then with the
    reach that the strokes found ask for, which counts alone unless it loses them. If that does not look like
    writing, a shadow may have been taken for ink, and the search starts again with a short reach.
    """
    short = min(working.shape[:2])
    all_found: list[Found] = []
    whole: list[Found] = []
    widest = max(5, short // 2)
    for reach in (widest, short // 12):
        if reach < 9 and all_found:
            break
        ink = time_ink(working, light_on_dark, reach, page)
        if reach == widest and max(page.size) <= _TINY:
            whole = take_all(ink, working, page)
        found = search(ink, working, _THIN, page)
        finer = max(9, round(6 * found[-1].layout.main.width)) if found else reach
        if finer < reach / 1.5:
            nearer = search(time_ink(working, light_on_dark, finer, page), working, _THIN, page)
            # In a deep shadow, the shorter reach may lose the ink; at the edge of one, the longer.
            is_lost = found[-1].is_in_shadow or likeliest(nearer) < min(_DOUBTFUL, likeliest(found))
            found = nearer + (found if is_lost else [])
        all_found += found
        if likeliest(all_found) > _DOUBTFUL:
            break
    return with_whole(all_found, whole)


def split_shade(ink: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where ink is as broad as a shadow or a desk, and where it is not, all bool [height, width]."""
    radius = _SHADE / 2 * min(ink.shape)
    margin = math.ceil(radius)
    # What lies along the frame goes on beyond it, however thin it is inside.
    beyond = np.pad(ink.astype(np.uint8), margin, mode="edge")
    is_core = cv2.distanceTransform(beyond, cv2.DIST_L2, 5) >= radius
    if not is_core.any():
        return np.zeros_like(ink), ink
    from_core = cv2.distanceTransform((~is_core).astype(np.uint8), cv2.DIST_L2, 5)
    is_broad = from_core[margin:-margin, margin:-margin] <= radius + _SOFT_EDGE
    return ink & is_broad, ink & ~is_broad


def charge_strokes(found: Found, strokes: NDArray[np.bool_]) -> Found:
    """Return ink that is less likely the more of all strokes it leaves unread: its own and those given."""
    own = writing(found.layout)
    unread = (strokes & ~own).sum() / max(1, int((strokes | own).sum()))
    return found._replace(likelihood=found.likelihood - _UNREAD * float(unread))


def charge_shade(found: Found, shade: NDArray[np.bool_]) -> Found:
    """Return ink that is less likely the more of it may be a shadow or a desk."""
    own = writing(found.layout)
    return found._replace(likelihood=found.likelihood - _SHADY * float(shade[own].mean()))


def all_ink(found: Found) -> NDArray[np.bool_]:
    """Return where ink is, whatever became of it, bool [height, width]."""
    noise = found.ink.floor / found.full
    density = found.ink.density / np.float32(found.full)
    return hysteresis(density, max(_LOW, noise), max(_HIGH, 1.3 * noise))


def time_ink(working: Pixels, light_on_dark: bool, reach: Optional[int], page: Page) -> Ink:
    """Return what `find_ink` does, and add the time it takes to the page's."""
    with page.stage("ink"):
        return find_ink(working, light_on_dark, reach)


def is_alone(found: Found) -> bool:
    """Whether there is nothing along the frame: no desk, no shadow."""
    return not found.layout.clutter and found.layout.main.touches == 0


def is_even_ink(pixels: Pixels) -> bool:
    """Whether what is darker than even paper is all about as dark: where there is a shadow, ink is darker."""
    paper = even_paper(pixels)
    missing = np.max(cv2.subtract(paper, pixels).reshape(paper.shape), axis=2)
    _, dark = cv2.threshold(missing, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if not dark.any():
        return False
    middle, darkest = np.quantile(missing[dark > 0] / paper.max(axis=2)[dark > 0], (0.5, 0.99))
    return bool(darkest < _EVENLY_DARK * middle)


def with_whole(found: list[Found], whole: list[Found]) -> list[Found]:
    """Return the ways to see a picture together.

    If all of it may be one digit, others that nearly fill it are less likely for what they leave unread.
    """
    if whole:
        found = [charge_unread(one, _UNREAD) if nearly_fills(one) else one for one in found]
    return found + whole


def search(ink: Ink, working: Pixels, thickest: float, page: Page) -> list[Found]:
    """Return the ink of a picture, sorted out, and again without what cannot be strokes or may be a shadow.

    Beside a punched hole or the edge of a desk, which are darker than any pencil, full ink is misjudged.
    `thickest` is how wide a stroke may be that meets the frame, as a share of the picture's shorter side.
    """
    grey = to_grey(working)
    density = ink.density
    found: list[Found] = []
    scattered: list[Found] = []
    is_in_shadow, price = False, 0.0
    for _ in range(3):
        full = full_density(density, ink.floor)
        if full < 1.5 * ink.floor:
            break
        noise = ink.floor / full
        with page.stage("lines"):
            cleaned = remove_lines(density / np.float32(full), max(_LOW, noise))
            # Beside black lines, pencil is faint; without them it is full ink.
            left = full_density(cleaned, noise)
            if 0 < left < _FAINT:
                cleaned, full, noise = cleaned / np.float32(left), full * left, noise / left
        with page.stage("layout"):
            is_ink = hysteresis(cleaned, max(_LOW, noise), max(_HIGH, 1.3 * noise))
            layout = without_ghosts(find_layout(is_ink, cleaned, thickest), grey)
        if not layout.lines:
            break
        with page.stage("judge"):
            contrast, likelihood = judge(layout, cleaned, grey)
            one = Found(ink, cleaned, full, layout, contrast, likelihood + price, is_in_shadow)
            found = [*found[:1], one]
        if layout.scattered is not None:
            scattered.append(as_one_digit(found[-1], layout.scattered))
        aside = layout.clutter + layout.shadows
        if is_shadow_on_ink(layout, cleaned):
            density = np.maximum(density - np.float32(_SHADOW * full), 0)
            is_in_shadow = True
        elif aside:
            is_aside = np.isin(layout.labels, aside).astype(np.uint8)
            density = np.where(cv2.dilate(is_aside, np.ones((7, 7), np.uint8)), np.float32(0), density)
        else:
            break
        if is_in_shadow or layout.shadows:
            price = _SHADOWED
    # The black corner of a desk is darker than pale ink, which shows only without it.
    if len(found) > 1 and is_all_clutter(found[0].layout) and found[1].likelihood > found[0].likelihood:
        found = found[1:]
    return [*scattered[:1], *found]


def is_all_clutter(layout: Layout) -> bool:
    """Whether nothing of what was taken for writing could be a stroke."""
    return set(layout.whole.labels) <= set(layout.clutter)


def is_shadow_on_ink(layout: Layout, density: Density) -> bool:
    """Whether the longest of the writing is broad, soft, and has darker strokes in it, which are the ink."""
    main = layout.main
    if main.width < _BROAD * min(density.shape) or not is_soft(sharpness(layout.labels, density, main)):
        return False
    own = density[np.isin(layout.labels, main.labels)]
    return bool(_LEAST_IN < (own > _IN_SHADOW).mean() < _MOST_IN)


def as_one_digit(found: Found, whole: Piece) -> Found:
    """Return the same ink, all of it taken for one digit in scattered pieces: seldom so."""
    layout = Layout(found.layout.labels, ((whole,),), found.layout.clutter)
    return found._replace(layout=layout, likelihood=found.likelihood + _SCATTERED)


def take_all(ink: Ink, working: Pixels, page: Page) -> list[Found]:
    """Return all ink of a picture as one digit, if it fills the picture: one cut out along its edges."""
    full = full_density(ink.density, ink.floor)
    if full == 0:
        return []
    density = ink.density / np.float32(full)
    with page.stage("layout"):
        labels, pieces = find_pieces(hysteresis(density, _LOW, _HIGH), density)
        if not pieces or not fills(pieces[0], labels.shape) or is_accompanied(pieces):
            return []
        layout = Layout(labels, ((join(pieces),),), ())
    contrast = float(working.max()) - float(working.min())
    likelihood = _AS_IT_IS - float((density > _HIGH).mean())
    # The lines of a table fill the picture, too.
    likelihood -= _FRAMED * max(0, len(without_frame(density, _LOW)[1]) - 1)
    return [Found(ink, density, full, layout, contrast, likelihood, is_in_shadow=False)]


def charge_unread(found: Found, most: float) -> Found:
    """Return ink that is less likely, by up to `most`, the more of it was set aside and is not read."""
    ink = all_ink(found)
    unread = max(0.0, 1 - float(writing(found.layout).sum()) / max(1, int(ink.sum())))
    return found._replace(likelihood=found.likelihood - most * unread)


def nearly_fills(found: Found) -> bool:
    """Whether the writing is nearly as long as the picture: a digit that touches a line may be shorter."""
    return bool(found.layout.whole.side >= _MOST * max(found.layout.labels.shape))


def fills(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece reaches all four sides of the picture, or nearly; in a tiny one, two opposite ones."""
    left, top, right, bottom = piece.box
    near = 1 + 0.02 * max(shape)
    across, down = max(left, shape[1] - right), max(top, shape[0] - bottom)
    return (min if max(shape) <= _TINY else max)(across, down) <= near


def writing(layout: Layout) -> NDArray[np.bool_]:
    """Return where the ink is that was taken for writing, bool [height, width]."""
    return np.isin(layout.labels, layout.whole.labels)


def is_paper(is_ink: NDArray[np.bool_]) -> bool:
    """Whether what was taken for ink is paper: it goes all round the picture, with more than dots in it.

    In a frame, paper goes all round what is in it, or fills a rectangle with a hole in it, and most of that.
    """
    left, top, right, bottom = ink_box(is_ink)
    rest = is_ink[top:bottom, left:right]
    if border_share(is_ink) > _ALL_ROUND:
        return bool((~rest).mean() > _DOTS)
    if rest.size < _SHEET_SIZE * is_ink.size or rest.mean() < _MOSTLY:
        return False
    if border_share(rest) > _ALL_ROUND:
        return bool((~rest).mean() > _DOTS)
    filled = fill_holes(rest)
    return bool(filled.mean() > _SHEET and (filled & ~rest).mean() > _DOTS)


def border_share(is_ink: NDArray[np.bool_]) -> float:
    """Return the share of a picture's border that is ink."""
    return float(np.concatenate([is_ink[0], is_ink[-1], is_ink[:, 0], is_ink[:, -1]]).mean())


def is_accompanied(pieces: Sequence[Piece]) -> bool:
    """Whether beside the longest piece there are others of some size: then that is a frame around them."""
    return any(piece.side > 0.3 * pieces[0].side for piece in pieces[1:])


def judge(layout: Layout, density: Density, grey: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the contrast of the ink that was kept, and how much it looks like strokes of a pen.

    The first is in levels of grey, the second the logarithm of a share.

    Strokes are long and thin, leave most of the frame's border free, and end where the picture has an edge.
    If paper is taken for ink, it is broad and reaches the border; and much of its outline lies where the
    closing's square no longer fitted in, and nothing is to be seen.
    """
    slenderness = min(1.0, layout.main.length / layout.main.width / _SLENDER)
    dense = density > _HIGH
    contrast = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))[outline(writing(layout))]
    strongest = max(1.0, float(np.quantile(contrast, 0.9))) if contrast.size else 1.0
    support = float(np.minimum(1, contrast / (0.4 * strongest)).mean()) if contrast.size else 1.0
    misplaced = float(is_along_frame(layout.main)) + 2 * border_share(dense) + float(dense.mean())
    return strongest, float(np.log(slenderness) + 3 * np.log(max(0.01, support))) - misplaced


def without_ghosts(layout: Layout, grey: NDArray[np.uint8]) -> Layout:
    """Return the layout without the tips of thumbs and the like, of which the rest was taken for paper.

    They are no bent strokes, and end where nothing is to be seen. Nothing changes if there is nothing else.
    """
    ghosts = {
        piece
        for line in layout.lines
        for piece in line
        if not piece.is_bent and is_ghost(piece, layout, grey)
    }
    lines = [tuple(piece for piece in line if piece not in ghosts) for line in layout.lines]
    if not ghosts or not any(lines):
        return layout
    clutter = layout.clutter + tuple(label for piece in ghosts for label in piece.labels)
    return replace(layout, lines=tuple(filter(None, lines)), clutter=clutter, scattered=None)


def is_ghost(piece: Piece, layout: Layout, grey: NDArray[np.uint8]) -> bool:
    """Whether much of a piece's outline lies where the picture, smoothed, has no edge."""
    left, top, right, bottom = _with_margin(piece.box, layout.labels, 8)
    own = np.isin(layout.labels[top:bottom, left:right], piece.labels)
    smooth = cv2.GaussianBlur(grey[top:bottom, left:right], (5, 5), 0)
    edge = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8))[outline(own)]
    return bool((edge < _NO_EDGE * np.quantile(edge, 0.9)).mean() > _UNSEEN)


def outline(is_ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the outermost pixels of ink, bool [height, width]; the picture's border is none."""
    inner: NDArray[np.bool_] = (
        cv2.erode(is_ink.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    )
    return is_ink & ~inner


def to_guess(found: Found, likelihood: float, fine: Pixels, page: Page, keep_stages: bool) -> Guess:
    """Return what the recogniser needs of the ink found: an image for each digit it may be read as."""
    stages: dict[str, NDArray[Any]] = {}
    if keep_stages:
        paper = found.ink.paper
        stages = {
            "paper": 255 - paper if found.ink.light_on_dark else paper,
            "ink": np.clip(found.ink.density / found.full, 0, 1),
            "without lines": np.clip(found.density, 0, 1),
            "pieces": found.layout.labels,
        }
    with page.stage("normalise"):
        candidates = tuple(find_candidates(found, fine, page.size))
    return Guess(likelihood, tuple(map(len, found.layout.lines)), candidates, stages)


def find_candidates(found: Found, fine: Pixels, size: tuple[int, int]) -> Iterator[Candidate]:
    """Yield all ways to take up to `_MOST_PIECES` neighbours of a line for one digit."""
    for number, line in enumerate(found.layout.lines):
        for first in range(len(line)):
            for last in range(first, min(len(line), first + _MOST_PIECES)):
                pieces = line[first : last + 1]
                if not may_be_one(pieces):
                    break
                digit = to_digit(pieces, found, fine, size)
                yield Candidate(number, first, last, digit, strangeness(pieces))


def to_digit(pieces: Sequence[Piece], found: Found, fine: Pixels, size: tuple[int, int]) -> DigitImage:
    """Return pieces of ink as one digit; `size` is the width and height of the picture in its file."""
    whole = join(pieces)
    left, top, right, bottom = whole.box
    height, width = found.layout.labels.shape
    across, down = size[0] / width, size[1] / height
    box = (
        int(left * across),
        int(top * down),
        min(size[0], int(np.ceil(right * across))),
        min(size[1], int(np.ceil(bottom * down))),
    )
    ink = cut_out(whole, found)
    if max(right - left, bottom - top) < _SMALL_DIGIT and fine.shape[:2] != (height, width):
        finer = cut_out_finer(whole, found, fine)
        ink = finer if finer.any() else ink
    return DigitImage(normalise(ink), box)


def cut_out(whole: Piece, found: Found) -> Density:
    """Return the density of one digit's ink, with its soft edges, and nothing of its neighbours'."""
    left, top, right, bottom = _with_margin(whole.box, found.layout.labels)
    labels, density = found.layout.labels[top:bottom, left:right], found.density[top:bottom, left:right]
    own = np.isin(labels, whole.labels)
    reach = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    is_kept = reach & (own | (labels == 0)) & (density > max(found.ink.floor / found.full, _GRAIN))
    return np.where(is_kept, np.clip(density, 0, 1), 0).astype(np.float32)


def cut_out_finer(whole: Piece, found: Found, fine: Pixels) -> Density:
    """Return the same as `cut_out`, measured again in the picture before it was reduced."""
    labels = found.layout.labels
    left, top, right, bottom = _with_margin(whole.box, labels)
    across, down = fine.shape[1] / labels.shape[1], fine.shape[0] / labels.shape[0]
    part = fine[round(top * down) : round(bottom * down), round(left * across) : round(right * across)]
    size = part.shape[1], part.shape[0]
    paper = cv2.resize(found.ink.paper[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)
    density = found.ink.measure(part, paper.reshape(part.shape)) / found.full
    is_own = cv2.resize(cut_out(whole, found), size, interpolation=cv2.INTER_LINEAR) > 0.5 * _GRAIN
    return np.where(is_own & (density > _GRAIN), np.clip(density, 0, 1), 0).astype(np.float32)


def _with_margin(box: Box, labels: NDArray[np.int32], margin: int = 2) -> Box:
    left, top, right, bottom = box
    height, width = labels.shape
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(width, right + margin),
        min(height, bottom + margin),
    )
