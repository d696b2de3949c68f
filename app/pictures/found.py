"""What a picture's ink was found to be, as long as nobody has read it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from app.pictures.ink import Ink, find_strokes
from app.pictures.judge import writing
from app.pictures.layout import Layout
from app.pictures.normalise import Density
from app.pictures.opening import Pixels
from app.pictures.pieces import Box

# What is taken off the likelihood if all ink is left unread, for less of it less.
_UNREAD = 3.0


@dataclass
class Picture:
    """A picture that is searched."""

    fine: Pixels
    """All its pixels, or as many as are of use."""

    size: tuple[int, int]
    """Width and height of the upright picture in its file."""

    sheet: Optional[Box] = None
    """Where in it the scrap of paper is, if all the rest has been left out."""

    seconds: dict[str, float] = field(default_factory=dict)
    """The time that each stage took."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage's."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


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

    fine: Pixels
    """The picture that it was found in, before it was reduced."""

    is_in_shadow: bool = False
    """Whether it was found in a shadow, whose density is taken off."""

    leaves_lines: bool = False
    """Whether the ink that it leaves unread was taken for the lines of the paper."""


def likeliest(found: Sequence[Found]) -> float:
    """Return the likelihood of the likeliest; minus infinity if there is none."""
    return max((one.likelihood for one in found), default=-math.inf)


def charge_unread(found: Found, ink: NDArray[np.bool_], most: float = _UNREAD) -> Found:
    """Return what is less likely, by up to `most`, the more of the ink given and its own it leaves unread.

    The lines that it is written upon are not to be read.
    """
    if found.leaves_lines:
        return found
    own = writing(found.layout)
    unread = float((ink & ~own).sum()) / max(1, int((ink | own).sum()))
    return found._replace(likelihood=found.likelihood - most * unread)


def all_ink(found: Found) -> NDArray[np.bool_]:
    """Return where ink is, whatever became of it, bool [height, width]."""
    return strokes_of(found.ink, found.full)


def strokes_of(ink: Ink, full: float) -> NDArray[np.bool_]:
    """Return where ink is if it has that density where it is full, bool [height, width]."""
    return find_strokes(ink.density / np.float32(full), ink.floor / full)
