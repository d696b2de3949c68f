import math

import numpy as np
import paddle
import pytest
from paddle.nn import functional

from app.config import TrainConfig
from app.losses import (
    LOSSES,
    balanced_weights,
    cross_entropy,
    double_softmax,
    focal,
    loss_for,
    quadratic,
    sigmoid_cross_entropy,
    squared_error,
    squared_error_of_value,
)

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(scale=3, size=(40, 10))
CLASSES = GENERATOR.integers(0, 10, 40)
SOFT = GENERATOR.dirichlet(np.ones(10), 40)
WEIGHTS = np.linspace(0.5, 3, 10)
CLASS_LOSSES = {name: loss for name, loss in LOSSES.items() if name != "value"}
EXTREME = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]])


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


# The formulas, float64, for one-hot or soft targets: each gives the losses of the samples.
FORMULAS = {
    "cross-entropy": lambda z, y: -(y * np.log(softmax(z))).sum(1),
    "focal": lambda z, y: -(y * (1 - softmax(z)) ** 2 * np.log(softmax(z))).sum(1),
    "squared-error": lambda z, y: ((softmax(z) - y) ** 2).mean(1),
    "sigmoid-cross-entropy": lambda z, y: -(y * np.log(sigmoid(z)) + (1 - y) * np.log(1 - sigmoid(z))).sum(1),
    "quadratic": lambda z, y: ((sigmoid(z) - y) ** 2).sum(1) / 2,
    "double-softmax": lambda z, y: -(y * np.log(softmax(softmax(z)))).sum(1),
}


def reduce(losses, weights, reduction):
    losses = losses * weights
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / weights.sum()}[reduction]


def test_every_loss_has_its_formula_here():
    assert FORMULAS.keys() == CLASS_LOSSES.keys()


@pytest.mark.parametrize("name", CLASS_LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("kind", ["classes", "column", "soft", "ignored", "ignored negative"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_loss_is_its_formula(name, reduction, smoothing, is_weighted, kind, dtype):
    targets = SOFT if kind == "soft" else np.eye(10)[CLASSES]
    targets = (1 - smoothing) * targets + smoothing / 10
    weights = targets @ WEIGHTS if is_weighted else np.ones(40)
    labels, options = CLASSES, {}
    if kind == "column":
        labels = CLASSES[:, np.newaxis]
    elif kind == "soft":
        labels = SOFT
    elif kind == "ignored":
        options["ignore_index"] = 3
        weights = weights * (CLASSES != 3)
    elif kind == "ignored negative":
        options["ignore_index"] = -1
        labels = np.where(CLASSES == 4, -1, CLASSES)
        weights = weights * (CLASSES != 4)
    expected = reduce(FORMULAS[name](LOGITS, targets), weights, reduction)
    loss = LOSSES[name](
        paddle.to_tensor(LOGITS, dtype),
        paddle.to_tensor(labels),
        reduction,
        smoothing=smoothing,
        class_weights=WEIGHTS if is_weighted else None,
        **options,
    )
    assert loss.shape == ([40] if reduction == "none" else [])
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignored", [None, 3, -100])
def test_the_error_of_the_value_is_its_formula(reduction, ignored):
    outputs = np.random.default_rng(1).normal(4, 3, (40, 1))
    labels = np.where(CLASSES == 4, -100, CLASSES) if ignored == -100 else CLASSES
    used = np.ones(40) if ignored is None else (labels != ignored).astype(float)
    for shape in ([40], [40, 1]):
        loss = squared_error_of_value(
            paddle.to_tensor(outputs),
            paddle.to_tensor(labels.reshape(shape)),
            reduction,
            class_weights=WEIGHTS,
            ignore_index=ignored,
        )
        weights = WEIGHTS[np.where(labels < 0, 0, labels)] * used
        expected = reduce((outputs[:, 0] - labels) ** 2, weights, reduction)
        np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


def differences(function, values, step=1e-5):
    """Return the gradient of a scalar function by central differences."""
    gradient = np.zeros_like(values)
    for index in np.ndindex(*values.shape):
        for sign in (1, -1):
            moved = values.copy()
            moved[index] += sign * step
            gradient[index] += sign * function(moved) / (2 * step)
    return gradient


@pytest.mark.parametrize("name", CLASS_LOSSES)
@pytest.mark.parametrize("labels", [CLASSES[:4], SOFT[:4]], ids=["classes", "soft"])
@pytest.mark.parametrize("options", [{}, {"class_weights": WEIGHTS, "smoothing": 0.1}], ids=["", "options"])
def test_gradients_are_those_of_finite_differences(name, labels, options):
    def loss(values):
        return LOSSES[name](values, paddle.to_tensor(labels), **options)

    logits = paddle.to_tensor(LOGITS[:4], stop_gradient=False)
    loss(logits).backward()
    expected = differences(lambda values: float(loss(paddle.to_tensor(values))), LOGITS[:4])
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_gradients_are_those_of_finite_differences_for_every_gamma(gamma):
    def loss(values):
        return focal(values, paddle.to_tensor(CLASSES[:4]), gamma=gamma, alpha=WEIGHTS)

    logits = paddle.to_tensor(LOGITS[:4], stop_gradient=False)
    loss(logits).backward()
    expected = differences(lambda values: float(loss(paddle.to_tensor(values))), LOGITS[:4])
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-5, atol=1e-9)


def test_the_value_has_the_gradient_of_finite_differences():
    values = np.array([[-1.0], [3.5]])
    labels = paddle.to_tensor([2, 9])
    outputs = paddle.to_tensor(values, stop_gradient=False)
    squared_error_of_value(outputs, labels).backward()
    expected = differences(
        lambda moved: float(squared_error_of_value(paddle.to_tensor(moved), labels)), values
    )
    np.testing.assert_allclose(outputs.grad.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in CLASS_LOSSES), ("focal", {"gamma": 0.0}), ("focal", {"gamma": 0.5})],
)
def test_extreme_logits_have_finite_losses_and_gradients(name, options, smoothing):
    for label in range(3):
        logits = paddle.to_tensor(EXTREME, "float32", stop_gradient=False)
        labels = paddle.full([4], label, "int64")
        loss = LOSSES[name](logits, labels, "none", smoothing=smoothing, **options)
        loss.sum().backward()
        assert np.isfinite(loss.numpy()).all()
        assert np.isfinite(logits.grad.numpy()).all()
        assert (loss.numpy() >= 0).all()


def test_an_extreme_value_has_a_finite_loss_and_gradient():
    outputs = paddle.to_tensor([[1e4], [-1e4]], stop_gradient=False)
    loss = squared_error_of_value(outputs, paddle.to_tensor([0, 9]), "none")
    loss.sum().backward()
    np.testing.assert_allclose(loss.numpy(), [1e8, 10009.0**2], rtol=1e-6)
    np.testing.assert_allclose(outputs.grad.numpy(), [[2e4], [-20018]], rtol=1e-6)


def test_sure_and_wrong_costs_paddles_bound_and_keeps_its_gradient():
    logits = paddle.to_tensor([[1e4, -1e4]], stop_gradient=False)
    loss = cross_entropy(logits, paddle.to_tensor([1]))
    loss.backward()
    assert float(loss) == 64
    np.testing.assert_array_equal(logits.grad.numpy(), [[1, -1]])


def test_sigmoid_units_that_are_sure_and_wrong_cost_their_logits():
    loss = sigmoid_cross_entropy(paddle.to_tensor([[1e4, -1e4]]), paddle.to_tensor([1]))
    assert float(loss) == 2e4


def test_uniform_logits_cost_the_logarithm_of_ten():
    loss = cross_entropy(paddle.zeros([4, 10]), paddle.to_tensor([0, 3, 5, 9]))
    assert float(loss) == pytest.approx(2.302585, abs=1e-6)


def test_gradient_is_probability_minus_truth_over_the_count():
    logits = paddle.to_tensor(LOGITS, "float32", stop_gradient=False)
    cross_entropy(logits, paddle.to_tensor(CLASSES)).backward()
    np.testing.assert_allclose(logits.grad.numpy(), (softmax(LOGITS) - np.eye(10)[CLASSES]) / 40, atol=1e-6)


@pytest.mark.parametrize(("smoothing", "lowest"), [(0.1, 0.500288), (0.05, 0.282396), (0.2, 0.866894)])
def test_the_least_smoothed_loss_is_the_entropy_of_its_target(smoothing, lowest):
    best = np.log(np.where(np.eye(10)[:1] == 1, 1 - 0.9 * smoothing, smoothing / 10))
    logits = paddle.to_tensor(best, stop_gradient=False)
    loss = cross_entropy(logits, paddle.to_tensor([0]), smoothing=smoothing)
    loss.backward()
    assert float(loss) == pytest.approx(lowest, abs=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), 0, atol=1e-12)
    if smoothing == 0.1:
        assert best[0, 0] - best[0, 1] == pytest.approx(4.510860, abs=1e-6)


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.5, 0.173287), (0.9, 0.00105361), (0.99, 1.00503e-6)]
)
def test_focal_values_for_gamma_two(probability, expected):
    logits = paddle.to_tensor([[math.log(probability), math.log(1 - probability)]], "float64")
    assert float(focal(logits, paddle.to_tensor([0]), gamma=2)) == pytest.approx(expected, rel=1e-5)
    halved = focal(logits, paddle.to_tensor([0]), gamma=2, alpha=[0.5, 7])
    assert float(halved) == pytest.approx(expected / 2, rel=1e-5)


def test_focal_without_gamma_is_cross_entropy():
    logits, labels = paddle.to_tensor(LOGITS), paddle.to_tensor(CLASSES)
    np.testing.assert_allclose(focal(logits, labels, gamma=0).numpy(), cross_entropy(logits, labels).numpy())


def test_known_probabilities_have_known_costs():
    for probability, cost in ((0.6, 0.510826), (0.1, 2.302585)):
        logits = paddle.to_tensor([[math.log(probability), math.log(1 - probability)]])
        assert float(cross_entropy(logits, paddle.to_tensor([0]))) == pytest.approx(cost, abs=1e-6)
    probabilities = functional.softmax(paddle.to_tensor([3.0, 1.0, -3.0])).numpy()
    np.testing.assert_allclose(probabilities, [0.8789, 0.1189, 0.0022], atol=1e-4)


def test_a_second_softmax_has_a_floor_of_its_own():
    sure = paddle.to_tensor([[1e4] + 9 * [-1e4]])
    assert float(double_softmax(sure, paddle.to_tensor([0]))) == pytest.approx(
        math.log(1 + 9 / math.e), rel=1e-6
    )


def test_saturated_and_wrong_is_where_squares_stop_learning_and_cross_entropies_do_not():
    gradients = {}
    for loss in (squared_error, quadratic, cross_entropy, sigmoid_cross_entropy):
        logits = paddle.to_tensor([[20.0, -20.0]], "float64", stop_gradient=False)
        loss(logits, paddle.to_tensor([1])).backward()
        gradients[loss] = np.abs(logits.grad.numpy()).max()
    assert gradients[squared_error] < 1e-8
    assert gradients[quadratic] < 1e-8
    assert gradients[cross_entropy] > 0.999
    assert gradients[sigmoid_cross_entropy] > 0.999


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_ignored_samples_costs_nothing(name):
    logits = paddle.ones([3, 1 if name == "value" else 10])
    assert float(LOSSES[name](logits, paddle.full([3], -1, "int64"), ignore_index=-1)) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"labels": paddle.zeros([3, 9])}, "soft labels of shape"),
        ({"labels": paddle.zeros([4], "int64")}, "labels of shape"),
        ({"labels": paddle.zeros([3, 2], "int64")}, "labels of shape"),
        ({"labels": paddle.zeros([3, 10]), "ignore_index": 1}, "ignore_index"),
        ({"class_weights": [1.0, 2.0]}, "10 factors"),
        ({"reduction": "average"}, "reduction"),
        ({"logits": paddle.zeros([3])}, "logits of shape"),
    ],
)
@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_what_does_not_fit_is_refused_with_a_reason(name, arguments, reason):
    with pytest.raises(ValueError, match=reason):
        LOSSES[name](**{"logits": paddle.zeros([3, 10]), "labels": paddle.zeros([3], "int64"), **arguments})


def test_the_value_needs_one_output_and_classes():
    with pytest.raises(ValueError, match="one output"):
        squared_error_of_value(paddle.zeros([3, 10]), paddle.zeros([3], "int64"))
    with pytest.raises(ValueError, match="soft labels"):
        squared_error_of_value(paddle.zeros([3, 1]), paddle.zeros([3, 1]))


def test_the_configurations_choices_are_the_losses():
    assert set(TrainConfig.__dataclass_fields__["loss"].metadata["choices"]) == set(LOSSES)


def test_balanced_weights_make_classes_count_the_same_and_average_one():
    labels = np.repeat([0, 1, 2], [1, 9, 30])
    weights = balanced_weights(labels)
    np.testing.assert_allclose(weights[:3] * [1, 9, 30], 40 / 3)
    assert weights[labels].mean() == pytest.approx(1)
    assert (weights[3:] == 0).all()


def test_the_options_of_a_configuration_reach_its_loss():
    logits, labels = paddle.to_tensor(LOGITS), paddle.to_tensor(CLASSES)
    for options, expected in (
        ({}, cross_entropy(logits, labels)),
        ({"label_smoothing": 0.1}, cross_entropy(logits, labels, smoothing=0.1)),
        ({"loss": "focal"}, focal(logits, labels)),
        ({"loss": "focal", "focal_gamma": 0.5}, focal(logits, labels, gamma=0.5)),
        ({"loss": "squared-error", "label_smoothing": 0.2}, squared_error(logits, labels, smoothing=0.2)),
    ):
        assert float(loss_for(TrainConfig(**options), CLASSES)(logits, labels)) == float(expected)


def test_the_weighted_losses_of_the_parts_of_a_batch_add_up_to_that_of_the_whole():
    logits, labels = paddle.to_tensor(LOGITS), paddle.to_tensor(CLASSES)
    loss = loss_for(TrainConfig(class_weights="balanced"), CLASSES)
    parts = [float(loss(logits[part], labels[part])) * len(labels[part]) for part in (slice(7), slice(7, 40))]
    assert float(loss(logits, labels)) == pytest.approx(sum(parts) / 40)
    # The weights were made from these very labels, so that their sum is the count.
    whole = cross_entropy(logits, labels, class_weights=balanced_weights(CLASSES))
    assert float(loss(logits, labels)) == pytest.approx(float(whole))


class TestPaddlesOwnCrossEntropy:
    """What the module says of Paddle's function: the reasons why it is not called with its options."""

    logits = paddle.to_tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    labels = paddle.to_tensor([0, 1])
    soft = paddle.to_tensor([[0.4, 0.1, 0.5], [0.3, 0.6, 0.1]])
    weights = paddle.to_tensor([1.0, 2.0, 3.0])

    def test_it_cannot_smooth_a_column_of_classes(self):
        with pytest.raises(RuntimeError, match="label_smooth"):
            functional.cross_entropy(self.logits, self.labels.reshape([2, 1]), label_smoothing=0.1)
        ours = cross_entropy(self.logits, self.labels.reshape([2, 1]), smoothing=0.1)
        assert float(ours) == pytest.approx((1.098612 + 1.795328) / 2, abs=1e-6)

    def test_with_smoothing_it_ignores_nothing_and_divides_by_too_much(self):
        options = {"label_smoothing": 0.1, "ignore_index": 1}
        losses = functional.cross_entropy(self.logits, self.labels, reduction="none", **options)
        mean = functional.cross_entropy(self.logits, self.labels, **options)
        np.testing.assert_allclose(losses.numpy().ravel(), [1.098612, 1.795328], atol=1e-6)
        assert float(mean) == pytest.approx((1.098612 + 1.795328) / 2 / 3, abs=1e-6)
        ours = cross_entropy(self.logits, self.labels, smoothing=0.1, ignore_index=1)
        assert float(ours) == pytest.approx(1.098612, abs=1e-6)

    def test_with_a_negative_index_it_divides_by_the_ignored_too(self):
        labels = paddle.to_tensor([0, -5])
        theirs = functional.cross_entropy(self.logits, labels, ignore_index=-5)
        assert float(theirs) == pytest.approx(1.098612 / 2, abs=1e-6)
        ours = cross_entropy(self.logits, labels, ignore_index=-5)
        assert float(ours) == pytest.approx(1.098612, abs=1e-6)

    def test_weights_of_smoothed_labels_are_paddles_not_pytorchs(self):
        theirs = functional.cross_entropy(self.logits, self.labels, weight=self.weights, label_smoothing=0.1)
        ours = cross_entropy(self.logits, self.labels, class_weights=self.weights, smoothing=0.1)
        assert float(theirs) == pytest.approx(1.5481, abs=1e-4)
        assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
        # PyTorch weighs the terms: (1 - s) w_y (-ln p_y) + s / K sum_k w_k (-ln p_k), over the sum of w_y.
        minus_log = -np.log(softmax(self.logits.numpy()))
        weights = self.weights.numpy()
        terms = 0.9 * weights[[0, 1]] * minus_log[[0, 1], [0, 1]] + 0.1 / 3 * (weights * minus_log).sum(1)
        assert terms.sum() / weights[[0, 1]].sum() == pytest.approx(1.5997, abs=1e-4)

    def test_weights_of_soft_labels_are_divided_by_their_sum_not_by_the_count(self):
        theirs = functional.cross_entropy(self.logits, self.soft, weight=self.weights, soft_label=True)
        ours = cross_entropy(self.logits, self.soft, class_weights=self.weights)
        assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
        losses = cross_entropy(self.logits, self.soft, "none").numpy()
        used = self.soft.numpy() @ self.weights.numpy()
        assert float(ours) == pytest.approx((losses * used).sum() / used.sum(), rel=1e-6)
        assert float(ours) != pytest.approx((losses * used).sum() / 2, rel=1e-2)

    def test_its_focal_loss_is_binary_and_adds_up(self):
        logits, labels = paddle.zeros([2, 3]), paddle.to_tensor([[1.0, 0, 0], [0, 1, 0]])
        summed = functional.sigmoid_focal_loss(logits, labels)
        terms = functional.sigmoid_focal_loss(logits, labels, reduction="none")
        assert terms.shape == [2, 3]
        assert float(summed) == pytest.approx(float(terms.sum()))
