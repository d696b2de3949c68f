"""Several networks together: the average of their probabilities, beside each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from app.datasets import DataSet, Digits, split
from app.evaluation import Evaluation, average_probabilities, evaluate
from app.report.findings import describe_doubt, finite_logits, validation_size_for, was_trained_on

if TYPE_CHECKING:
    from app.checkpoint import Checkpoint


class Scores(NamedTuple):
    """How well one network, or the average, reads the digits."""

    validation: Optional[Evaluation]
    """None if there are no digits that all of the networks set apart."""

    test: Evaluation


@dataclass(frozen=True)
class Ensemble:
    """Networks and what they come to together."""

    paths: list[str]
    doubts: list[str]
    """Why the validation digits may be known to each network, empty where they are not."""

    members: list[Scores]
    """Of each network alone, on the same digits."""

    average: Scores
    """Of the mean of their probabilities."""

    def to_json(self) -> dict[str, Any]:
        """Return all figures as plain JSON values."""
        return {
            "members": [
                {"path": path, "doubt": doubt or None, **_describe(one)}
                for path, doubt, one in zip(self.paths, self.doubts, self.members)
            ],
            "average": _describe(self.average),
        }


def _describe(scores: Scores) -> dict[str, Any]:
    return {name: part.to_json() if part else None for name, part in scores._asdict().items()}


def examine_ensemble(checkpoints: Sequence[Checkpoint], data: DataSet) -> Ensemble:
    """Evaluate the networks and the mean of their probabilities on the test digits of `data`.

    Validation is on the digits that none of the networks was trained on: all set the last ones apart, so
    that these are as many as the fewest of them. Of a network that was trained on other data, it is not
    known.

    Raises:
        CheckpointError: a recorded configuration is not usable, or a network's outputs are not finite.
        UsageError: a recorded validation size does not fit the data.
    """
    are_trained_on = [was_trained_on(checkpoint, data) for checkpoint in checkpoints]
    sizes = [validation_size_for(*pair) for pair in zip(checkpoints, are_trained_on)]
    fewest = min(len(split(data, size).validation.labels) for size in sizes)
    digits = split(data, fewest)
    tests = _evaluate_all(checkpoints, digits.test)
    validations: Sequence[Optional[Evaluation]] = [None] * len(tests)
    if fewest:
        validations = _evaluate_all(checkpoints, digits.validation)
    scores = [Scores(*pair) for pair in zip(validations, tests)]
    doubts = [describe_doubt(*pair) for pair in zip(checkpoints, are_trained_on)]
    return Ensemble([str(checkpoint.path) for checkpoint in checkpoints], doubts, scores[:-1], scores[-1])


def _evaluate_all(checkpoints: Sequence[Checkpoint], digits: Digits) -> list[Evaluation]:
    """Return the evaluation of each network and, last, of their average."""
    logits = [finite_logits(checkpoint, digits.images) for checkpoint in checkpoints]
    average = evaluate(average_probabilities(logits), digits.labels)
    return [*(evaluate(one, digits.labels) for one in logits), average]
