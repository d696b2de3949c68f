"""Take all ink of a picture for one digit that was cut out along its edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.pictures.cell import without_cell_lines
from app.pictures.found import Found, Picture, all_ink, charge_unread
from app.pictures.ink import HIGH, LOW, Ink, find_strokes, full_density
from app.pictures.layout import Layout
from app.pictures.opening import SMALL, TINY, Pixels
from app.pictures.pieces import Piece, find_pieces, join
from app.pictures.shade import is_even_ink, split_shade
from app.pictures.tones import darker_ink

# How likely a picture that one digit fills holds it and nothing else, and what is taken off for each side but
# one along which there is a line.
_AS_IT_IS, _FRAMED = -0.6, 0.5

# What reaches all sides of the picture is no digit but a frame if there is other ink of at least such a share
# of its length, and what reaches two is a fold or a pen: the scraps of a digit are shorter.
_BESIDE, _BESIDE_FOLD = 0.3, 0.12

# The share of a side of the picture that a digit which is cut out along two of them may cover, and by what
# factor the darkest of its ink is darker than most of it, at most, being blurred.
_COVERED, _BLURRED = 0.75, 1.5

# The share of the picture's longer side that a digit cut out along its edges still takes without its bar.
_MOST = 0.75


def take_all(ink: Ink, working: Pixels, picture: Picture) -> list[Found]:
    """Return all ink of a picture as one digit, if it fills the picture: one cut out along its edges."""
    full = full_density(ink.density, ink.floor)
    if full == 0:
        return []
    density = ink.density / np.float32(full)
    with picture.stage("layout"):
        labels, pieces = find_pieces(find_strokes(density, 0), density)
        positive = 255 - working if ink.light_on_dark else working
        if not pieces or not is_cut_out(pieces, labels > 0, positive):
            return []
        layout = Layout(labels, ((join(pieces),),), ())
        # All of it that is paler is no part of one digit.
        darker = darker_ink(layout, density, ink.floor / full)
        if darker is not None:
            density, full = darker.density, full * darker.full
            labels, pieces = find_pieces(find_strokes(density, 0), density)
            layout = Layout(labels, ((join(pieces),),), ())
    contrast = float(working.max()) - float(working.min())
    likelihood = _AS_IT_IS - float((density > HIGH).mean())
    # The lines of a table fill the picture, too.
    likelihood -= _FRAMED * max(0, len(without_cell_lines(density, LOW)[1]) - 1)
    return [Found(ink, density, full, layout, contrast, likelihood, picture.fine)]


def with_whole(found: list[Found], whole: list[Found]) -> list[Found]:
    """Return the ways to see a picture together.

    If all of it may be one digit, others that nearly fill it are less likely for what they leave unread.
    """
    if whole:
        found = [charge_unread(one, all_ink(one)) if nearly_fills(one) else one for one in found]
    return found + whole


def is_cut_out(pieces: Sequence[Piece], ink: NDArray[np.bool_], positive: Pixels) -> bool:
    """Whether all ink, the longest piece first, may be one digit cut out along its edges.

    It reaches all four sides of the picture, or nearly, in a small one at least two opposite ones. So do
    shadows and desks, but in tiny pictures: what reaches four sides and is broad is one, and what reaches two
    if it has darker ink in it, or takes up a side. With a digit beside it, it is a frame, a fold or a pen.
    """
    if is_accompanied(pieces, _BESIDE):
        return False
    left, top, right, bottom = pieces[0].box
    height, width = ink.shape
    near = 1 + 0.02 * max(ink.shape)
    across, down = max(left, width - right), max(top, height - bottom)
    if max(ink.shape) <= TINY:
        return bool(min(across, down) <= near)
    if max(across, down) <= near:
        return not split_shade(ink)[0].any()
    covered = max(float(side.mean()) for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
    is_narrow = max(ink.shape) <= SMALL and min(across, down) <= near and covered < _COVERED
    return bool(is_narrow and not is_accompanied(pieces, _BESIDE_FOLD) and is_even_ink(positive, _BLURRED))


def nearly_fills(found: Found) -> bool:
    """Whether the writing is nearly as long as the picture: a digit that touches a line may be shorter."""
    return bool(found.layout.whole.side >= _MOST * max(found.layout.labels.shape))


def is_accompanied(pieces: Sequence[Piece], least: float) -> bool:
    """Whether beside the longest piece there is another of at least such a share of its length."""
    return any(piece.side > least * pieces[0].side for piece in pieces[1:])
