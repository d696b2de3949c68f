"""Tell how much ink looks like writing: strokes of a pen, and no paper, edge of a sheet or tip of a thumb."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pictures.clutter import is_along_frame
from app.pictures.ink import HIGH
from app.pictures.layout import Layout
from app.pictures.normalise import Density, ink_box
from app.pictures.opening import SMALL
from app.pictures.pieces import Piece, close_gaps, fill_holes, with_margin

# How many times as long as broad the strokes of most digits are, all together; a one in felt pen the least.
_SLENDER = 6

# Shares of a picture's border that paper covers and digits cut out along their edges do not; and of its area
# that is not paper where there is a digit on it, and of a framed area that is, without and with the digits;
# and of the picture that such an area takes.
_ALL_ROUND, _DOTS, _MOSTLY, _SHEET, _SHEET_SIZE = 0.95, 0.002, 0.7, 0.93, 0.4

# A scrap of paper takes so much of the picture, fills so much of its convex hull, and so much of it is blank.
# The lines on it are at most so thick, as a share of the picture.
_SCRAP_SIZE, _CONVEX, _BLANK, _LINE = 0.03, 0.9, 0.7, 0.01

# How strong the edges of ink are at least that stands out, in units of the strongest tenth of the edges
# elsewhere; what weight it has if they are less strong; and how many pixels away elsewhere begins.
_SEEN, _SHADE_WEIGHT, _ELSEWHERE = 1.3, 8.0, 4

# On both sides of a stroke is the same paper. Beside a straight one that is an edge, of a sheet, a shadow or
# a pen, the tones differ by this share of its contrast; and it looks by so much less like writing. Beside it
# is what is not further away than its own width, or a few pixels. Ones of a number are like its other digits,
# to within a factor.
_STEP, _EDGE, _BESIDE, _ALIKE = 0.45, 1.5, 4, 1.25

# What is no ink: more than this share of its outline has less of an edge than the other share of its best.
_UNSEEN, _NO_EDGE = 0.3, 0.2


def judge(
    layout: Layout, density: Density, grey: NDArray[np.uint8], printed: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the contrast of the ink that was kept, and how much it looks like strokes of a pen.

    The first is in levels of grey, the second the logarithm of a share, or less. `printed` tells where ink is
    that was not kept, such as ruled lines.

    Strokes are long and thin, leave most of the frame's border free, and end where the picture has an edge.
    If paper is taken for ink, it is broad and reaches the border; and much of its outline lies where the
    closing's square no longer fitted in, and nothing is to be seen. On blank paper nothing that is found
    stands out from the grain.
    """
    slenderness = min(1.0, layout.main.length / layout.main.width / _SLENDER)
    dense = density > HIGH
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    own = writing(layout)
    contrast = edges[outline(own)]
    strongest = max(1.0, float(np.quantile(contrast, 0.9))) if contrast.size else 1.0
    support = float(np.minimum(1, contrast / (0.4 * strongest)).mean()) if contrast.size else 1.0
    misplaced = float(is_along_frame(layout.main)) + 2 * border_share(dense) + float(dense.mean())
    likelihood = float(np.log(slenderness) + 3 * np.log(max(0.01, support))) - misplaced
    if max(grey.shape) > SMALL:
        # A small picture has too little paper beside its ink to tell the grain from.
        likelihood += _SHADE_WEIGHT * float(np.log(visibility(own, printed, edges)))
        likelihood -= _EDGE * is_edge(layout.main, layout, grey)
    return strongest, likelihood


def visibility(is_ink: NDArray[np.bool_], printed: NDArray[np.bool_], edges: NDArray[np.uint8]) -> float:
    """Return how much ink stands out from the grain of the paper: 1 for ink that does, less for shades.

    Half of a shade's outline is as strong as what the grain comes to here and there.

    Args:
        is_ink: bool [height, width].
        printed: bool [height, width], where other ink is, whose edges are not the paper's.
        edges: uint8 [height, width], how much the picture changes there.
    """
    side = 2 * _ELSEWHERE + 1
    is_near = cv2.dilate((is_ink | printed).astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    # A quarter of the pixels tells as much of the paper.
    own, elsewhere = edges[outline(is_ink)], edges[::2, ::2][~is_near[::2, ::2]]
    if not own.size or not elsewhere.size:
        return 1.0
    strength = max(1.0, float(np.median(own))) / max(1.0, float(np.quantile(elsewhere, 0.9)))
    return min(1.0, strength / _SEEN)


def stroke_length(layout: Layout) -> float:
    """Return the length of all strokes; what hardly is one, or what the frame cuts, counts less."""
    pieces = [piece for line in layout.lines for piece in line]
    return sum(
        piece.length
        * (0.3 if is_along_frame(piece) or not piece.is_stroke else 0.5 if piece.touches else 1.0)
        for piece in pieces
    )


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


def find_scrap(layout: Layout, is_ink: NDArray[np.bool_]) -> Optional[NDArray[np.bool_]]:
    """Return where a scrap of paper lies that was taken for a stroke, with all on it, bool [height, width].

    None if there is none: it is large, has hardly a dent, and most of it is blank. `is_ink` tells where ink
    was found, before any outlines were filled.
    """
    own = writing(layout) & is_ink
    scrap = fill_holes(close_gaps(own, round(_LINE / 2 * max(own.shape))))
    area = np.count_nonzero(scrap)
    if area < _SCRAP_SIZE * own.size or np.count_nonzero(own) < _BLANK * area:
        return None
    outlines, _ = cv2.findContours(scrap.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return scrap if area >= _CONVEX * cv2.contourArea(cv2.convexHull(np.concatenate(outlines))) else None


def border_share(is_ink: NDArray[np.bool_]) -> float:
    """Return the share of a picture's border that is ink."""
    return float(np.concatenate([is_ink[0], is_ink[-1], is_ink[:, 0], is_ink[:, -1]]).mean())


def without_ghosts(layout: Layout, grey: NDArray[np.uint8]) -> Layout:
    """Return the layout without the edges of things, the tips of thumbs and the like.

    They are no bent strokes, and have no paper on one side, or end where nothing is to be seen. If there is
    nothing else, nothing is left out, but edges count as clutter.
    """
    straight = [piece for line in layout.lines for piece in line if not piece.is_bent]
    edges = {
        piece
        for piece in straight
        if not is_one_of_a_number(piece, layout.main) and is_edge(piece, layout, grey)
    }
    ghosts = edges | {piece for piece in straight if is_ghost(piece, layout, grey)}
    lines = [tuple(piece for piece in line if piece not in ghosts) for line in layout.lines]
    if not ghosts:
        return layout
    if not any(lines):
        return replace(layout, clutter=layout.clutter + all_labels(edges))
    lines = list(filter(None, lines))
    return replace(layout, lines=tuple(lines), clutter=layout.clutter + all_labels(ghosts), scattered=None)


def is_one_of_a_number(piece: Piece, main: Piece) -> bool:
    """Whether a straight stroke is as broad, dark and tall as a bent one: it may lie where a shadow ends."""
    ratios = (piece.width / main.width, piece.darkness / main.darkness, piece.height / main.height)
    return main.is_bent and piece.touches == 0 and all(1 / _ALIKE < ratio < _ALIKE for ratio in ratios)


def all_labels(pieces: Collection[Piece]) -> tuple[int, ...]:
    """Return the numbers of all the ink that several pieces are of."""
    return tuple(label for piece in pieces for label in piece.labels)


def is_edge(piece: Piece, layout: Layout, grey: NDArray[np.uint8]) -> bool:
    """Whether a piece is a slender straight stroke between two tones, in a picture that is not small.

    A pen writes upon paper of one tone. What else is written beside it does not count for a tone.
    """
    is_slender = piece.length > _SLENDER * piece.width
    if not (piece.is_straight and is_slender) or max(grey.shape) <= SMALL:
        return False
    near = 2 + round(piece.width / 4)
    far = near + max(_BESIDE, round(piece.width))
    left, top, right, bottom = with_margin(piece.box, layout.labels, far)
    grey, labels = grey[top:bottom, left:right], layout.labels[top:bottom, left:right]
    own = np.isin(labels, piece.labels)
    within, around = (
        cv2.dilate(own.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
        for reach in (near, far)
    )
    rows, columns = np.nonzero(own)
    x, y, middle_x, middle_y = cv2.fitLine(np.stack([columns, rows], 1), cv2.DIST_L2, 0, 0.01, 0.01).ravel()
    down, across = np.indices(own.shape, np.float32)
    down, across = down - middle_y, across - middle_x
    along, aside = x * across + y * down, x * down - y * across
    is_beside = around & ~within & ~np.isin(labels, layout.whole.labels)
    is_beside &= (along > along[own].min()) & (along < along[own].max())
    one, other = grey[is_beside & (aside < 0)], grey[is_beside & (aside > 0)]
    if not one.size or not other.size:
        return False
    tones = float(np.median(one)), float(np.median(other))
    ink = float(np.median(grey[own]))
    return abs(tones[0] - tones[1]) > _STEP * max(abs(tone - ink) for tone in tones)


def is_ghost(piece: Piece, layout: Layout, grey: NDArray[np.uint8]) -> bool:
    """Whether much of a piece's outline lies where the picture, smoothed, has no edge.

    What fills the picture has no outline.
    """
    left, top, right, bottom = with_margin(piece.box, layout.labels, 8)
    own = np.isin(layout.labels[top:bottom, left:right], piece.labels)
    smooth = cv2.GaussianBlur(grey[top:bottom, left:right], (5, 5), 0)
    edge = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8))[outline(own)]
    return edge.size > 0 and bool((edge < _NO_EDGE * np.quantile(edge, 0.9)).mean() > _UNSEEN)


def outline(is_ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the outermost pixels of ink, bool [height, width]; the picture's border is none."""
    inner: NDArray[np.bool_] = (
        cv2.erode(is_ink.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    )
    return is_ink & ~inner
