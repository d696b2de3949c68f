"""Tell how much ink looks like writing: the strokes of a pen, and neither paper nor the tip of a thumb."""

from __future__ import annotations

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
