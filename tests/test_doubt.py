import numpy as np
import pytest
from numpy.typing import NDArray

from app.doubt import LEAST_SCORE, LIKELY_PROBABILITY, find_least_score, scores_of
from app.evaluation import softmax


def logits_of(count: int, undecided: int) -> NDArray[np.float32]:
    """Return the logits of so many images, the first of which have two likely digits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-5, 1, (count, 10)).astype(np.float32)
    logits[:, 3] = rng.normal(15, 3, count)
    logits[:undecided, 8] = logits[:undecided, 3]
    return logits


@pytest.mark.parametrize("undecided", [0, 40])
def test_99_percent_pass_where_they_can(undecided: int) -> None:
    logits = logits_of(10_000, undecided)
    has_second = np.sort(softmax(logits), axis=1)[:, -2] >= LIKELY_PROBABILITY
    passing = ~has_second & (scores_of(logits) >= find_least_score(logits))
    assert passing.mean() == pytest.approx(0.99, abs=2e-4)


@pytest.mark.parametrize("undecided", [100, 3000])
def test_the_score_still_tells_something_of_a_network_that_often_wavers(undecided: int) -> None:
    logits = logits_of(10_000, undecided)
    passing = scores_of(logits[undecided:]) >= find_least_score(logits)
    assert 0.99 < passing.mean() < 1
    assert scores_of(np.zeros((1, 10), np.float32)) < find_least_score(logits)


def test_a_network_that_always_wavers_gets_the_usual_score() -> None:
    assert find_least_score(logits_of(50, 50)) == LEAST_SCORE
