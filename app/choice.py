"""Choose what a picture shows: of each guess the digits that read best, in the order of reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from app.doubt import scores_of
from app.evaluation import softmax
from app.pictures import Box, Guess, is_for_one

# What a further digit costs, and how much the ink's looks and the scores count beside the reading, all
# against the negative log-probability of a digit. Scores are taken in units of the least that passes without
# a doubt, and no surer than so many of them. Chosen on simulated pictures of MNIST's validation digits
# (`tests/photos.py`) and on digits of hands that MNIST does not know; half or twice as much changes little.
_DIGIT_COST = 0.3
_INK_WEIGHT = 1.5
_SCORE_WEIGHT, _SUREST = 1.75, 2.5

# Where ink may be several digits that touch: what each unit of sureness below `_SURE` costs, and what each
# height costs by which it is wider than `_WIDE` heights.
_UNSURE, _SURE = 4.0, 3.0
_WIDER, _WIDE = 5.0, 1.0

# The sureness below which a line of writing beside others is none: an edge of the desk, a smear.
_CRUMB = 0.5

# What a warning says of ink that is left out: lines without digits; and, where there is to be one digit,
# others of at least this share of its size.
_NO_DIGITS = "above or below it is ink that hardly looks like digits"
_ANOTHER = "beside it is ink that looks like another digit"
_AS_LARGE = 0.6

# What each digit but the first costs in pictures that seldom show a number.
_FURTHER_DIGIT = 1.0


class Choice(NamedTuple):
    """The digits of a guess."""

    merit: float
    """How well its ink looks and reads: what is greater is likelier to be what the picture shows."""

    chosen: list[int]
    """Which candidates are its digits, in reading order."""

    remark: Optional[str]
    """What is left out, or None."""


def choose_digits(
    guess: Guess, rows: NDArray[np.float32], size: tuple[int, int], least_score: float, single: bool = False
) -> Choice:
    """Return what a guess shows, read in the best way.

    Args:
        guess: one way to see a picture.
        rows: float32 [K, 10], the logits of its candidates.
        size: width and height of the picture.
        least_score: with which a digit passes without a doubt.
        single: whether the picture is known to show one digit.
    """
    costs = -np.log(softmax(rows).max(axis=1)) + [cut.way.strangeness for cut in guess.candidates]
    all_sureness = scores_of(rows) / max(least_score, 1.0)
    if single:
        chosen = [pick_one(guess, costs)]
    else:
        chosen = cut_lines(guess, costs + touching_costs(guess, all_sureness))
    sureness = np.minimum(all_sureness[chosen], _SUREST)
    kept = without_crumbs([guess.candidates[index].line for index in chosen], sureness)
    remark = _NO_DIGITS if len(kept) < len(chosen) else None
    if single and leaves_digits(guess, chosen[0], all_sureness):
        remark = _ANOTHER
    chosen, sureness = [chosen[index] for index in kept], sureness[kept]
    merit = _INK_WEIGHT * guess.likelihood + float((_SCORE_WEIGHT * sureness - costs[chosen]).mean())
    if is_for_one(size):
        merit -= _FURTHER_DIGIT * (len(chosen) - 1)
    return Choice(merit, chosen, remark)


def touching_costs(guess: Guess, sureness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what speaks against each candidate because digits may touch: 0 for ink without a seam.

    Several that do may together look like one digit, but seldom like a good one, or a narrow one.
    """
    boxes = np.array([cut.way.box for cut in guess.candidates], np.float64)
    shapes = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    costs = _UNSURE * np.maximum(0, _SURE - sureness) + _WIDER * np.maximum(0, shapes - _WIDE)
    return np.where([cut.way.is_seamed for cut in guess.candidates], costs, 0)


def cut_lines(guess: Guess, costs: NDArray[np.float64]) -> list[int]:
    """Return the candidates that take every piece of ink once, at the least cost, in reading order."""
    chosen: list[int] = []
    for line, count in enumerate(guess.lines):
        # The cheapest way to read the first 0, 1, ... parts: its cost and its candidates.
        best: list[tuple[float, list[int]]] = [(0.0, []), *[(np.inf, [])] * count]
        ways = [(cut.way, index) for index, cut in enumerate(guess.candidates) if cut.line == line]
        for way, index in sorted(ways, key=lambda one: one[0].last):
            before, digits = best[way.first]
            cost = before + float(costs[index]) + _DIGIT_COST
            if cost < best[way.last + 1][0]:
                best[way.last + 1] = cost, [*digits, index]
        chosen += best[count][1]
    return chosen


def without_crumbs(lines: Sequence[int], sureness: NDArray[np.float64]) -> list[int]:
    """Return which digits to keep: all, but for those of lines that hold nothing like a digit beside others.

    Args:
        lines: the line of each digit.
        sureness: float64 [K], its score; 1 is the least that passes without a doubt.
    """
    best = {line: max(sureness[[one == line for one in lines]]) for line in lines}
    if max(best.values()) < 1:
        return list(range(len(lines)))
    return [index for index, line in enumerate(lines) if best[line] >= _CRUMB]


def pick_one(guess: Guess, costs: NDArray[np.float64]) -> int:
    """Return the candidate that is the only digit: it reads well and is not much smaller than the others."""
    sides = np.array([_longest_side(cut.digit.box) for cut in guess.candidates])
    is_part = [cut.way.is_part for cut in guess.candidates]
    return int(np.argmin(np.where(is_part, np.inf, costs - 2 * np.log(sides / sides.max()))))


def leaves_digits(guess: Guess, chosen: int, sureness: NDArray[np.float64]) -> bool:
    """Whether beside the only digit there is other ink that looks like one and is not much smaller."""
    own = guess.candidates[chosen]
    return any(
        (cut.line != own.line or cut.way.last < own.way.first or cut.way.first > own.way.last)
        and not cut.way.is_part
        and sure >= 1
        and _longest_side(cut.digit.box) > _AS_LARGE * _longest_side(own.digit.box)
        for cut, sure in zip(guess.candidates, sureness)
    )


def _longest_side(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])
