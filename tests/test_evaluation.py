"""Evaluation: hand-computed values, plain loops over the samples, and properties over made-up logits."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.evaluation import (
    Evaluation,
    average_probabilities,
    evaluate,
    fit_temperature,
    format_accuracy,
    softmax,
    wilson_interval,
)


@st.composite
def scored_samples(draw: Any) -> tuple[Any, Any]:
    """Draw logits and labels; a coarse grid makes equal logits common."""
    count, classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    value = st.integers(-8, 8).map(lambda number: number / 2) | st.floats(-500, 500, width=32)
    logits = draw(arrays(np.float32, (count, classes), elements=value))
    labels = draw(arrays(np.int64, count, elements=st.integers(0, classes - 1)))
    return logits, labels


def logits_of(probabilities: list[list[float]]) -> Any:
    return np.log(np.array(probabilities, np.float64))


@pytest.fixture
def four_samples() -> Evaluation:
    probabilities = [[0.7, 0.2, 0.1], [0.1, 0.25, 0.65], [0.05, 0.9, 0.05], [0.2, 0.5, 0.3]]
    return evaluate(logits_of(probabilities), np.array([0, 1, 1, 0]))


def test_softmax_of_the_textbook_example() -> None:
    np.testing.assert_allclose(softmax(np.array([[3.0, 1.0, -3.0]])), [[0.88, 0.12, 0.0]], atol=0.003)


def test_softmax_of_two_classes_is_a_sigmoid_of_the_difference() -> None:
    np.testing.assert_allclose(softmax(np.array([[1.5, -0.5]]))[0, 0], 1 / (1 + math.exp(-2)), rtol=1e-15)


def test_softmax_takes_huge_logits() -> None:
    probabilities = softmax(np.array([[3e38, 0, -3e38], [-3e38, -3e38, -3e38]], np.float32))
    np.testing.assert_allclose(probabilities, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert probabilities.dtype == np.float64


@given(scored_samples())
def test_softmax_rows_are_distributions_that_ignore_a_common_shift(samples: tuple[Any, Any]) -> None:
    logits = samples[0].astype(np.float64)
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(softmax(logits + 64), probabilities, rtol=1e-9)


def test_counts_of_a_small_example(four_samples: Evaluation) -> None:
    assert (four_samples.correct, four_samples.count, four_samples.accuracy) == (2, 4, 0.5)
    assert four_samples.confusion_matrix.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert four_samples.confusion_matrix.dtype == np.int64
    assert four_samples.top_2_accuracy == 0.75


def test_loss_of_a_small_example(four_samples: Evaluation) -> None:
    expected = -(math.log(0.7) + math.log(0.25) + math.log(0.9) + math.log(0.2)) / 4
    assert four_samples.loss == pytest.approx(expected, rel=1e-14)


def test_class_scores_of_a_small_example_where_one_class_never_occurs(four_samples: Evaluation) -> None:
    assert four_samples.precision.tolist() == [1, 0.5, 0]
    assert four_samples.recall.tolist() == [0.5, 0.5, 0]
    assert four_samples.f1.tolist() == pytest.approx([2 / 3, 0.5, 0])
    assert four_samples.support.tolist() == [2, 2, 0]


def test_calibration_of_a_small_example(four_samples: Evaluation) -> None:
    """Confidences 0.7, 0.65, 0.9, 0.5: hit, miss, hit, miss, each alone in its bin of 1/15."""
    assert four_samples.expected_calibration_error == pytest.approx((0.3 + 0.65 + 0.1 + 0.5) / 4)
    filled = {number for number, bin_ in enumerate(four_samples.reliability) if bin_.count}
    assert filled == {7, 9, 10, 13}
    assert four_samples.reliability[10].confidence == pytest.approx(0.7)
    assert four_samples.reliability[10].accuracy == 1
    assert (four_samples.reliability[0].confidence, four_samples.reliability[0].accuracy) == (0, 0)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    reliability = evaluate(np.zeros((3, 5)), np.array([0, 1, 0])).reliability
    assert [bin_.count for bin_ in reliability] == [0, 0, 3] + [0] * 12
    assert reliability[2].upper == pytest.approx(0.2)


def test_bins_cover_zero_to_one_without_a_gap(four_samples: Evaluation) -> None:
    bins = four_samples.reliability
    assert (len(bins), bins[0].lower, bins[-1].upper) == (15, 0, 1)
    assert [bin_.upper for bin_ in bins[:-1]] == [bin_.lower for bin_ in bins[1:]]


def test_perfect_predictions_give_perfect_figures() -> None:
    scores = evaluate(1000 * np.eye(10), np.arange(10))
    assert (scores.accuracy, scores.loss, scores.expected_calibration_error) == (1, 0, 0)
    assert math.copysign(1, scores.loss) == 1
    assert scores.f1.tolist() == [1] * 10


def test_of_equal_logits_the_first_class_is_predicted() -> None:
    scores = evaluate(np.zeros((3, 3), np.float32), np.array([0, 1, 2]))
    assert (scores.correct, scores.top_2_accuracy) == (1, pytest.approx(2 / 3))


@given(scored_samples())
def test_figures_agree_with_plain_loops(samples: tuple[Any, Any]) -> None:
    logits, labels = samples
    scores = evaluate(logits, labels)
    classes = logits.shape[1]
    confusion = [[0] * classes for _ in range(classes)]
    top_2 = 0
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist()):
        order = sorted(range(classes), key=lambda class_: -row[class_])
        confusion[label][order[0]] += 1
        top_2 += label in order[:2]
        largest = max(row)
        losses.append(math.log(math.fsum(math.exp(value - largest) for value in row)) + largest - row[label])
    assert scores.confusion_matrix.tolist() == confusion
    assert scores.top_2_accuracy == pytest.approx(top_2 / len(labels))
    assert scores.loss == pytest.approx(math.fsum(losses) / len(labels), rel=1e-9, abs=1e-12)
    for class_ in range(classes):
        hits = confusion[class_][class_]
        predicted = sum(row[class_] for row in confusion)
        assert scores.precision[class_] == (hits / predicted if predicted else 0)
        assert scores.recall[class_] == (hits / sum(confusion[class_]) if sum(confusion[class_]) else 0)
        total = scores.precision[class_] + scores.recall[class_]
        product = scores.precision[class_] * scores.recall[class_]
        assert scores.f1[class_] == pytest.approx(2 * product / total if total else 0)


@given(scored_samples())
def test_calibration_agrees_with_plain_loops(samples: tuple[Any, Any]) -> None:
    logits, labels = samples
    scores = evaluate(logits, labels)
    confidence = softmax(logits).max(axis=1)
    is_correct = logits.argmax(axis=1) == labels
    total = 0.0
    for bin_ in scores.reliability:
        inside = [i for i in range(len(labels)) if bin_.lower < confidence[i] <= bin_.upper]
        assert bin_.count == len(inside)
        if inside:
            assert bin_.confidence == pytest.approx(sum(confidence[i] for i in inside) / len(inside))
            assert bin_.accuracy == pytest.approx(sum(bool(is_correct[i]) for i in inside) / len(inside))
            total += abs(sum(float(confidence[i]) - bool(is_correct[i]) for i in inside))
    assert scores.expected_calibration_error == pytest.approx(total / len(labels), abs=1e-12)


@given(scored_samples())
def test_every_sample_is_counted_once_and_every_figure_is_a_share(samples: tuple[Any, Any]) -> None:
    scores = evaluate(*samples)
    assert scores.confusion_matrix.sum() == scores.count == len(samples[1])
    assert sum(bin_.count for bin_ in scores.reliability) == scores.count
    assert scores.accuracy == scores.correct / scores.count <= scores.top_2_accuracy <= 1
    assert scores.accuracy_interval.lower <= scores.accuracy <= scores.accuracy_interval.upper
    assert 0 <= scores.expected_calibration_error <= 1


@given(scored_samples(), st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(samples: tuple[Any, Any], random: Any) -> None:
    logits, labels = samples
    order = random.sample(range(len(labels)), len(labels))
    first, second = evaluate(logits, labels), evaluate(logits[order], labels[order])
    assert first.confusion_matrix.tolist() == second.confusion_matrix.tolist()
    assert first.loss == pytest.approx(second.loss, abs=1e-12)
    assert first.expected_calibration_error == pytest.approx(second.expected_calibration_error, abs=1e-12)


@given(scored_samples())
def test_json_has_plain_numbers_only(samples: tuple[Any, Any]) -> None:
    scores = evaluate(*samples)
    content = scores.to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["correct"] == scores.correct
    assert [row["support"] for row in content["per_class"]] == scores.support.tolist()
    assert content["accuracy_interval"] == {
        "lower": scores.accuracy_interval.lower,
        "upper": scores.accuracy_interval.upper,
    }


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros(3), np.zeros(3, int), r"shape \[N, K\]"),
        (np.zeros((3, 1)), np.zeros(3, int), r"K >= 2"),
        (np.zeros((3, 2), int), np.zeros(3, int), "float logits"),
        (np.zeros((3, 2)), np.zeros(2, int), r"shape \[3\], not int64 \[2\]"),
        (np.zeros((3, 2)), np.zeros((3, 1), int), r"not int64 \[3, 1\]"),
        (np.zeros((3, 2)), np.zeros(3), "integer labels"),
        (np.zeros((0, 2)), np.zeros(0, int), "no samples"),
        (np.array([[0, 1], [0, np.nan]]), np.zeros(2, int), "sample 1 are not finite"),
        (np.array([[-np.inf, 1], [0, 1]]), np.zeros(2, int), "sample 0 are not finite"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), "labels must be 0 to 1, not 0 to 2"),
        (np.zeros((3, 2)), np.array([0, 1, -1]), "labels must be 0 to 1, not -1 to 1"),
    ],
)
def test_unfit_input_is_refused(logits: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(logits, labels)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type_are_taken(kind: Any) -> None:
    labels = np.arange(200) % 40
    logits = np.eye(40)[labels]
    assert evaluate(logits, labels.astype(kind)).correct == 200


@pytest.mark.parametrize(
    ("correct", "count", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_gives_the_published_values(
    correct: int, count: int, lower: float, upper: float
) -> None:
    """The four worked cases of Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert wilson_interval(correct, count) == pytest.approx((lower, upper), abs=5e-5)


@given(st.integers(1, 10**7), st.data())
def test_wilson_interval_holds_the_accuracy_and_mirrors_for_mistakes(count: int, data: Any) -> None:
    correct = data.draw(st.integers(0, count))
    lower, upper = wilson_interval(correct, count)
    assert 0 <= lower <= correct / count <= upper <= 1
    assert wilson_interval(count - correct, count) == pytest.approx((1 - upper, 1 - lower), abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "count", "text"),
    [
        (9941, 10000, "99.41% (9941/10000)"),
        (0, 7, "0.00% (0/7)"),
        (7, 7, "100.00% (7/7)"),
        (1, 3, "33.33% (1/3)"),
        (59999, 60000, "99.998% (59999/60000)"),
        (1, 60000, "0.002% (1/60000)"),
        (999_999, 1_000_000, "99.9999% (999999/1000000)"),
    ],
)
def test_accuracy_is_printed_with_its_counts(correct: int, count: int, text: str) -> None:
    assert format_accuracy(correct, count) == text


@given(st.integers(1, 10**12), st.data())
def test_rounding_never_hides_a_mistake_or_a_hit(count: int, data: Any) -> None:
    correct = data.draw(st.integers(0, count) | st.sampled_from([0, 1, count - 1, count]))
    percentage = float(format_accuracy(correct, count).partition("%")[0])
    assert (percentage == 100) == (correct == count)
    assert (percentage == 0) == (correct == 0)
    assert percentage == pytest.approx(100 * correct / count, abs=0.00501)


@pytest.mark.parametrize("counts", [(1, 0), (0, 0), (5, 4), (-1, 4)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    for function in (wilson_interval, format_accuracy):
        with pytest.raises(ValueError, match="expected 0 <= correct <= count"):
            function(*counts)


def test_averaged_probabilities_are_logits_of_their_mean():
    logits = np.random.default_rng(0).normal(scale=5, size=(3, 20, 10)).astype(np.float32)
    expected = np.mean([softmax(one) for one in logits], axis=0)
    np.testing.assert_allclose(softmax(average_probabilities(logits)), expected, rtol=1e-12)
    np.testing.assert_allclose(average_probabilities(logits), np.log(expected), rtol=1e-9)
    sure = np.array([[1e4, -1e4]], np.float32)
    np.testing.assert_allclose(softmax(average_probabilities([sure, -sure])), [[0.5, 0.5]])


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_by_which_logits_are_too_sure_is_found_and_calibrates(temperature):
    generator = np.random.default_rng(1)
    honest = generator.normal(scale=2, size=(20_000, 10))
    labels = (generator.random((20_000, 1)) > np.cumsum(softmax(honest), axis=1)).sum(axis=1)
    logits = honest * temperature
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)
    assert evaluate(logits / fit_temperature(logits, labels), labels).expected_calibration_error < 0.02


def test_the_temperature_has_the_least_loss():
    generator = np.random.default_rng(2)
    logits, labels = generator.normal(size=(300, 10)), generator.integers(0, 10, 300)
    logits[np.arange(300), labels] += 2
    best = fit_temperature(logits, labels)
    losses = [evaluate(logits / (best * factor), labels).loss for factor in (0.99, 1, 1.01)]
    assert losses[1] < min(losses[0], losses[2])


def test_the_temperature_of_a_faultless_network_is_bounded():
    logits = np.eye(10)
    assert fit_temperature(logits, np.arange(10)) == pytest.approx(0.01)
