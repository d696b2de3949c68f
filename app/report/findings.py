"""What a report shows of a checkpoint, computed once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
from numpy.typing import NDArray

from app.config import TrainConfig
from app.datasets import DataSet, Digits, split
from app.datasets.strokes import make_extra_strokes
from app.errors import CheckpointError, UsageError
from app.evaluation import Evaluation, evaluate, softmax

# Whatever imports Paddle is imported where it is used, so that `--help` answers without it.
if TYPE_CHECKING:
    from app.checkpoint import Checkpoint

WORST_MISTAKES = 25


@dataclass(frozen=True)
class Mistake:
    """A digit that the network read as another."""

    index: int
    """Its position in the part of the data that the report examines."""

    true: int
    predicted: int

    probability: float
    """Of the predicted digit, 0 to 1."""

    true_probability: float
    """Of the true digit, 0 to 1."""


@dataclass(frozen=True)
class Findings:
    """Everything that the page and the JSON show, computed once."""

    checkpoint: Checkpoint
    checkpoint_sha256: str
    data: DataSet
    data_checksum: str
    is_training_data: Optional[bool]
    """Whether the checkpoint was trained on this data; None when nothing is recorded."""

    validation: Optional[Evaluation]
    test: Evaluation
    examined_part: str
    """`validation`, or `test` when nothing is set apart: the part that figures and mistakes show."""

    examined: Evaluation
    examined_images: NDArray[np.uint8]
    mistakes: list[Mistake]
    history: list[dict[str, Any]]
    created: datetime

    def section(self, name: str) -> dict[str, Any]:
        """Return a part of the checkpoint's metadata, as `recorded_section` does."""
        return recorded_section(self.checkpoint, name)


def examine(checkpoint: Checkpoint, data: DataSet, history: Sequence[Mapping[str, Any]]) -> Findings:
    """Evaluate `checkpoint` on the validation and test parts of `data`.

    Raises:
        CheckpointError: the recorded configuration is not usable, or the network's outputs are not finite.
        UsageError: the recorded validation size does not fit the data.
    """
    is_training_data = was_trained_on(checkpoint, data)
    parts = split(data, validation_size_for(checkpoint, is_training_data))
    test, test_mistakes = _score(checkpoint, parts.test)
    validation, mistakes = test, test_mistakes
    if len(parts.validation.labels):
        validation, mistakes = _score(checkpoint, parts.validation)
    has_validation = validation is not test
    return Findings(
        checkpoint=checkpoint,
        checkpoint_sha256=hashlib.sha256(checkpoint.path.read_bytes()).hexdigest(),
        data=data,
        data_checksum=data.checksum(),
        is_training_data=is_training_data,
        validation=validation if has_validation else None,
        test=test,
        examined_part="validation" if has_validation else "test",
        examined=validation,
        examined_images=(parts.validation if has_validation else parts.test).images,
        mistakes=mistakes,
        history=[dict(row) for row in history],
        created=datetime.now(timezone.utc),
    )


def was_trained_on(checkpoint: Checkpoint, data: DataSet) -> Optional[bool]:
    """Return whether `checkpoint` was trained on this data, whatever extra strokes; None if it is not known.

    Raises:
        CheckpointError: the recorded configuration is not usable.
    """
    recorded = recorded_section(checkpoint, "data").get("checksum")
    if recorded is None:
        return None
    extra_strokes = recorded_config(checkpoint).extra_strokes
    if extra_strokes != (0 if data.extra is None else len(data.extra.labels)):
        # The checksum is of all that it was trained on.
        data = replace(data, extra=make_extra_strokes(extra_strokes))
    return bool(recorded == data.checksum())


def validation_size_for(checkpoint: Checkpoint, is_training_data: Optional[bool]) -> Optional[int]:
    """Return how many digits of its training data `checkpoint` set apart; of other data, the usual share.

    A validation size chosen for other data says nothing about this one.
    """
    return recorded_config(checkpoint).validation_size if is_training_data else None


def describe_doubt(checkpoint: Checkpoint, is_training_data: Optional[bool]) -> str:
    """Return why it is not known that the validation digits are new to `checkpoint`; empty if they are."""
    if is_training_data:
        return ""
    if is_training_data is None:
        doubt = "nothing is recorded about what it was trained on; it may have been trained on these digits"
        return f"{doubt}; {checkpoint.assumption}" if checkpoint.assumption else doubt
    name = name_training_data(checkpoint)
    return f"trained on other data, {name}; it may have been trained on some of these digits"


def name_training_data(checkpoint: Checkpoint) -> str:
    """Return what the checkpoint was trained on, extra strokes included, as recorded."""
    recorded = recorded_section(checkpoint, "data")
    return str(recorded.get("trained_on", recorded.get("name", "unnamed")))


def finite_logits(checkpoint: Checkpoint, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the network's logits, float32 [N, 10], of uint8 [N, 28, 28] pictures.

    Raises:
        CheckpointError: they are not finite.
    """
    from app.models import compute_logits

    logits = compute_logits(checkpoint.network, images)
    if not np.isfinite(logits).all():
        raise CheckpointError(f"{checkpoint.path}: the network's outputs are not finite numbers")
    return logits


def _score(checkpoint: Checkpoint, digits: Digits) -> tuple[Evaluation, list[Mistake]]:
    logits = finite_logits(checkpoint, digits.images)
    return evaluate(logits, digits.labels), find_worst_mistakes(logits, digits.labels)


def find_worst_mistakes(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> list[Mistake]:
    """Return up to 25 mistakes among float [N, 10] logits, least probability of the true digit first."""
    probabilities = softmax(logits)
    predicted = logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    true_probability = probabilities[wrong, labels[wrong]]
    worst = wrong[np.argsort(true_probability, kind="stable")][:WORST_MISTAKES]
    return [
        Mistake(
            index=int(index),
            true=int(labels[index]),
            predicted=int(predicted[index]),
            probability=float(probabilities[index, predicted[index]]),
            true_probability=float(probabilities[index, labels[index]]),
        )
        for index in worst
    ]


def recorded_section(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """Return a part of the checkpoint's metadata, empty when it is not recorded."""
    section = checkpoint.metadata.get(name)
    return section if isinstance(section, dict) else {}


def recorded_config(checkpoint: Checkpoint) -> TrainConfig:
    """Return the configuration that the checkpoint was trained with, the plain one if none is recorded.

    Raises:
        CheckpointError: what is recorded is not a configuration of this program.
    """
    try:
        return TrainConfig.from_json(recorded_section(checkpoint, "config"))
    except UsageError as error:
        sidecar = checkpoint.path.with_suffix(".json")
        raise CheckpointError(f"{sidecar}: not a configuration of this program: {error}") from error


def series(history: Iterable[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Return the (epoch, value) pairs of a metric, without the epochs that have none."""
    pairs = []
    for row in history:
        epoch, value = finite_number(row.get("epoch")), finite_number(row.get(name))
        if epoch is not None and value is not None:
            pairs.append((epoch, value))
    return pairs


def finite_number(value: Any) -> Optional[float]:
    """Return `value` if it is a finite number, else None."""
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def reading(mistake: Mistake) -> str:
    """Return a mistake as text, true digit first."""
    return f"{mistake.true} → {mistake.predicted}"


def percent(share: float) -> str:
    """Return a probability as text; only a certain one reads 100.0% or 0.0%."""
    text = f"{100 * share:.1f}%"
    if share < 1 and text == "100.0%":
        return ">99.9%"
    if share > 0 and text == "0.0%":
        return "<0.1%"
    return text
