"""Score logits against labels: accuracy, loss, per-class scores and calibration, in NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15

# The 97.5% point of the standard normal distribution: 95% of it lies within +-1.96.
NORMAL_QUANTILE = 1.959963984540054


class Interval(NamedTuple):
    """A confidence interval of a proportion, 0 <= lower <= upper <= 1."""

    lower: float
    upper: float


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions whose confidence c, the probability of the predicted class, has lower < c <= upper."""

    lower: float
    upper: float
    count: int

    confidence: float
    """Their mean confidence; 0 when there are none."""

    accuracy: float
    """The share of them that is right; 0 when there are none."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well N predictions over K classes fit their labels; every sample is counted exactly once."""

    count: int
    correct: int

    accuracy: float
    """correct / count, 0 to 1."""

    accuracy_interval: Interval
    """The 95% Wilson interval of the accuracy."""

    top_2_accuracy: float
    """The share of samples whose label is among the two likeliest classes, 0 to 1."""

    loss: float
    """Mean cross-entropy in nats."""

    expected_calibration_error: float
    """Mean distance of confidence and accuracy over the bins of `reliability`, weighted by count, 0 to 1."""

    reliability: tuple[ReliabilityBin, ...]
    """Fifteen bins of equal width from 0 to 1."""

    confusion_matrix: NDArray[np.int64]
    """int64 [K, K]: rows are the true classes, columns the predicted ones."""

    precision: NDArray[np.float64]
    """float64 [K]: of the samples predicted as a class, the share that is of it; 0 where there are none."""

    recall: NDArray[np.float64]
    """float64 [K]: of the samples of a class, the share predicted as such; 0 where there are none."""

    f1: NDArray[np.float64]
    """float64 [K]: the harmonic mean of precision and recall; 0 where both are 0."""

    support: NDArray[np.int64]
    """int64 [K]: samples of each class."""

    def to_json(self) -> dict[str, Any]:
        """Return all figures as plain Python numbers, lists and dicts, ready for `json.dumps`."""
        scores = zip(self.precision.tolist(), self.recall.tolist(), self.f1.tolist(), self.support.tolist())
        return {
            "accuracy": self.accuracy,
            "correct": self.correct,
            "count": self.count,
            "accuracy_interval": self.accuracy_interval._asdict(),
            "top_2_accuracy": self.top_2_accuracy,
            "loss": self.loss,
            "expected_calibration_error": self.expected_calibration_error,
            "reliability": [asdict(bin_) for bin_ in self.reliability],
            "confusion_matrix": self.confusion_matrix.tolist(),
            "per_class": [
                {"class": label, "precision": precision, "recall": recall, "f1": f1, "support": support}
                for label, (precision, recall, f1, support) in enumerate(scores)
            ],
        }


def evaluate(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> Evaluation:
    """Score logits, float [N, K], against the true classes, int [N], 0 to K - 1.

    The predicted class is the one with the largest logit, the first of them where several are equal.

    Raises:
        ValueError: the shapes or types are others, there are no samples or fewer than two classes, a logit
            is not finite or a label is out of range.
    """
    _check(logits, labels)
    count, classes = logits.shape
    log_probabilities = _log_softmax(logits)
    predicted = logits.argmax(axis=1)
    pairs = labels.astype(np.int64) * classes + predicted
    confusion_matrix = np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.int64)
    if confusion_matrix.sum() != count:
        raise AssertionError(f"the confusion matrix counts {confusion_matrix.sum()} of {count} samples")
    correct = int(confusion_matrix.trace())
    hits = confusion_matrix.diagonal()
    support = confusion_matrix.sum(axis=1)
    confidence = np.exp(log_probabilities.max(axis=1))
    reliability = _reliability(confidence, predicted == labels)
    gaps = [bin_.count * abs(bin_.accuracy - bin_.confidence) for bin_ in reliability]
    return Evaluation(
        count=count,
        correct=correct,
        accuracy=correct / count,
        accuracy_interval=wilson_interval(correct, count),
        top_2_accuracy=float((_ranks(logits, labels) < 2).mean()),
        # Subtracted, because the negative of a perfect 0.0 is -0.0.
        loss=0.0 - float(log_probabilities[np.arange(count), labels].mean()),
        expected_calibration_error=sum(gaps) / count,
        reliability=reliability,
        confusion_matrix=confusion_matrix,
        precision=_ratio(hits, confusion_matrix.sum(axis=0)),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, confusion_matrix.sum(axis=0) + support),
        support=support,
    )


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the probabilities, float64 [N, K], of finite logits, float [N, K]; no logit is too large."""
    probabilities: NDArray[np.float64] = np.exp(_log_softmax(logits))
    return probabilities


def average_probabilities(logits: Sequence[NDArray[np.floating[Any]]]) -> NDArray[np.float64]:
    """Return the logarithms, float64 [N, K], of the mean of several networks' probabilities.

    They are logits themselves, which `evaluate` takes.

    Args:
        logits: of each network, one at least, float [N, K], finite.
    """
    total: NDArray[np.float64] = np.logaddexp.reduce([_log_softmax(one) for one in logits])
    return total - log(len(logits))


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Return the T, 0.01 to 100, for which logits / T have the least cross-entropy.

    Temperature scaling of Guo et al., On Calibration of Modern Neural Networks (ICML 2017): it changes the
    confidence, never the predicted class. Fit it to samples that the network was not trained on.

    Args:
        logits: float [N, K].
        labels: int [N], the true classes.

    Raises:
        ValueError: as in `evaluate`.
    """
    _check(logits, labels)
    values = logits.astype(np.float64)
    mean_true = values[np.arange(len(labels)), labels].mean()
    lower, upper = 0.01, 100.0
    # The loss is convex in 1 / T; its slope there is what the network expects of the logits less the truth.
    for _ in range(60):
        middle = sqrt(lower * upper)
        slope = (softmax(values / middle) * values).sum(axis=1).mean() - mean_true
        lower, upper = (middle, upper) if slope > 0 else (lower, middle)
    return sqrt(lower * upper)


def wilson_interval(correct: int, count: int) -> Interval:
    """Return the 95% confidence interval of the accuracy of which `correct` of `count` is a sample.

    The score interval of Wilson (Journal of the American Statistical Association 22, 1927), which unlike
    the usual p +- 1.96 sd stays within 0 to 1 and is sound close to its ends.

    Raises:
        ValueError: not 0 <= correct <= count, or count is 0.
    """
    _check_counts(correct, count)
    z = NORMAL_QUANTILE
    proportion = correct / count
    centre = (proportion + z**2 / (2 * count)) / (1 + z**2 / count)
    variance = proportion * (1 - proportion) / count + z**2 / (4 * count**2)
    half_width = z * sqrt(variance) / (1 + z**2 / count)
    # At both ends the formula is exact on paper but off by a rounding error in floating point.
    lower = max(centre - half_width, 0.0) if correct else 0.0
    upper = min(centre + half_width, 1.0) if correct < count else 1.0
    return Interval(lower, upper)


def format_accuracy(correct: int, count: int) -> str:
    """Return the accuracy as people read it, `99.41% (9941/10000)`.

    Two decimals, or as many more as it takes not to round a single mistake away to 100.00%, nor a single
    hit to 0.00%.

    Raises:
        ValueError: not 0 <= correct <= count, or count is 0.
    """
    _check_counts(correct, count)
    decimals = 2
    while 0 < correct < count and float(f"{100 * correct / count:.{decimals}f}") in (0, 100):
        decimals += 1
    return f"{100 * correct / count:.{decimals}f}% ({correct}/{count})"


def _check(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2 or logits.dtype.kind != "f":
        raise ValueError(
            f"expected float logits of shape [N, K], K >= 2, not {logits.dtype} {list(logits.shape)}"
        )
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"expected integer labels of shape [{len(logits)}], not {labels.dtype} {list(labels.shape)}"
        )
    if not len(labels):
        raise ValueError("there are no samples to evaluate")
    if not np.isfinite(logits).all():
        raise ValueError(f"the logits of sample {np.argmin(np.isfinite(logits).all(axis=1))} are not finite")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be 0 to {logits.shape[1] - 1}, not {labels.min()} to {labels.max()}")


def _check_counts(correct: int, count: int) -> None:
    if not 0 <= correct <= count or not count:
        raise ValueError(f"expected 0 <= correct <= count and count >= 1, not {correct} of {count}")


def _log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    # With the largest logit at zero no exponential overflows and the sum is at least one.
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True).astype(np.float64)
    log_probabilities: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probabilities


def _ranks(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return how many classes come before each label; of equal logits the first class comes first."""
    own = logits[np.arange(len(labels)), labels][:, np.newaxis]
    earlier = np.arange(logits.shape[1]) < labels[:, np.newaxis]
    ranks: NDArray[np.int64] = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return ranks


def _reliability(
    confidence: NDArray[np.float64], is_correct: NDArray[np.bool_]
) -> tuple[ReliabilityBin, ...]:
    """Return the reliability curve of Guo et al., On Calibration of Modern Neural Networks (ICML 2017)."""
    edges = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
    # A confidence on an edge belongs to the bin below it, as in the paper.
    bins = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    if counts.sum() != len(confidence):
        raise AssertionError(f"the bins count {counts.sum()} of {len(confidence)} samples")
    mean_confidence = _ratio(np.bincount(bins, confidence, CALIBRATION_BINS), counts)
    accuracy = _ratio(np.bincount(bins, is_correct, CALIBRATION_BINS), counts)
    columns = (edges[:-1], edges[1:], counts, mean_confidence, accuracy)
    return tuple(ReliabilityBin(*row) for row in zip(*(column.tolist() for column in columns)))


def _ratio(numerator: NDArray[Any], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide element by element, with 0 / 0 = 0."""
    quotient = np.zeros(len(denominator))
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
