from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.choice import choose_digits, leaves_digits, without_crumbs
from app.pictures import Candidate, DigitImage, Guess
from app.pictures.parting import Way

LARGE = 400, 300
LEAST = 10.0


def logits(digit: int, lead: float = 15.0, others: float = 0.0) -> NDArray[np.float32]:
    row = np.full(10, others, np.float32)
    row[digit] += lead
    return row


def candidate(
    first: int, size: int, *, last: int | None = None, line: int = 0, is_part: bool = False
) -> Candidate:
    box = 0, 0, size, size
    last = first if last is None else last
    way = Way(first, last, (), box, 0.0, is_seamed=is_part, is_part=is_part)
    return Candidate(line, way, DigitImage(np.zeros((28, 28), np.uint8), box))


def guess_of(*candidates: Candidate, likelihood: float = 0.0) -> Guess:
    lines = [0] * (1 + max(each.line for each in candidates))
    for each in candidates:
        lines[each.line] = max(lines[each.line], each.way.last + 1)
    return Guess(likelihood, tuple(lines), candidates, {})


def test_of_two_guesses_that_read_alike_the_likelier_ink_is_right() -> None:
    merits = [
        choose_digits(
            guess_of(candidate(0, 80), likelihood=likelihood), logits(3)[np.newaxis], LARGE, LEAST
        ).merit
        for likelihood in (0.0, -1.0)
    ]
    assert merits[0] > merits[1] + 0.5


def test_of_two_equal_probabilities_the_one_with_the_higher_score_is_right() -> None:
    merits = [
        choose_digits(guess_of(candidate(0, 80)), logits(3, others=others)[np.newaxis], LARGE, LEAST).merit
        for others in (0.0, -14.0)
    ]
    assert merits[0] > merits[1] + 0.5


@pytest.mark.parametrize(("size", "price"), [((40, 40), 1.0), ((100, 40), 0.0), (LARGE, 0.0)])
def test_a_small_picture_seldom_shows_a_number(size: tuple[int, int], price: float) -> None:
    one = choose_digits(guess_of(candidate(0, 30)), logits(3)[np.newaxis], size, LEAST)
    rows = np.stack([logits(3), logits(3)])
    two = choose_digits(guess_of(candidate(0, 30), candidate(1, 30)), rows, size, LEAST)
    assert two.chosen == [0, 1]
    assert one.merit - two.merit == pytest.approx(price)


@pytest.mark.parametrize(("apart", "together", "chosen"), [(15.0, 1.0, [0, 1]), (1.0, 15.0, [2])])
def test_pieces_are_digits_as_they_read_best(apart: float, together: float, chosen: list[int]) -> None:
    guess = guess_of(candidate(0, 80), candidate(1, 80), candidate(0, 90, last=1))
    rows = np.stack([logits(1, apart), logits(4, apart), logits(7, together)])
    assert choose_digits(guess, rows, LARGE, LEAST).chosen == chosen


def test_a_single_digit_is_chosen_and_what_is_left_out_is_said() -> None:
    guess = guess_of(candidate(0, 80), candidate(1, 90))
    rows = np.stack([logits(1), logits(4)])
    assert choose_digits(guess, rows, LARGE, LEAST).chosen == [0, 1]
    alone = choose_digits(guess, rows, LARGE, LEAST, single=True)
    assert alone.chosen == [1]
    assert alone.remark == "beside it is ink that looks like another digit"


def test_a_line_without_digits_is_left_out_and_said() -> None:
    guess = guess_of(candidate(0, 80), candidate(0, 80, line=1))
    choice = choose_digits(guess, np.stack([logits(1), logits(4, 1.0)]), LARGE, LEAST)
    assert choice.chosen == [0]
    assert choice.remark == "above or below it is ink that hardly looks like digits"


@pytest.mark.parametrize(
    ("other", "sureness", "is_so"),
    [
        (candidate(1, 80), 1.0, True),
        (candidate(0, 80, line=1), 1.0, True),
        (candidate(1, 80), 0.9, False),
        (candidate(1, 50), 1.0, False),
        (candidate(1, 80, is_part=True), 1.0, False),
        (candidate(0, 80), 1.0, False),
    ],
)
def test_another_digit_is_as_large_and_looks_like_one(other: Candidate, sureness: float, is_so: bool) -> None:
    guess = guess_of(candidate(0, 100), other)
    assert leaves_digits(guess, 0, np.array([2.0, sureness])) is is_so


def test_lines_without_a_digit_are_dropped_beside_others_only() -> None:
    assert without_crumbs([0, 0, 1, 2], np.array([2.0, 0.1, 0.2, 0.6])) == [0, 1, 3]
    assert without_crumbs([0, 1], np.array([0.9, 0.1])) == [0, 1]
