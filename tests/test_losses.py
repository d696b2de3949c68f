import math

import numpy as np
import paddle
import pytest

from app.losses import cross_entropy


def test_uniform_logits_cost_the_logarithm_of_ten():
    loss = cross_entropy(paddle.zeros([4, 10]), paddle.to_tensor([0, 3, 5, 9]))
    assert float(loss) == pytest.approx(math.log(10), rel=1e-6)


def test_labels_may_be_a_column():
    logits = paddle.to_tensor(np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32))
    labels = paddle.to_tensor([1, 2, 3, 4, 5])
    flat = cross_entropy(logits, labels, reduction="none")
    column = cross_entropy(logits, labels.reshape([5, 1]), reduction="none")
    assert flat.shape == [5]
    np.testing.assert_array_equal(flat.numpy(), column.numpy())


def test_gradient_is_probability_minus_truth_over_the_count():
    values = np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 4, 5])
    logits = paddle.to_tensor(values, stop_gradient=False)
    cross_entropy(logits, paddle.to_tensor(labels)).backward()
    probabilities = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    np.testing.assert_allclose(logits.grad.numpy(), (probabilities - np.eye(10)[labels]) / 6, atol=1e-6)


def test_sure_and_wrong_costs_paddles_bound_and_keeps_its_gradient():
    logits = paddle.to_tensor([[1e4, -1e4]], stop_gradient=False)
    loss = cross_entropy(logits, paddle.to_tensor([1]))
    loss.backward()
    assert float(loss) == 64
    np.testing.assert_array_equal(logits.grad.numpy(), [[1, -1]])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_smoothed_labels_give_every_class_its_share(reduction):
    values = np.random.default_rng(2).normal(scale=3, size=(50, 10)).astype(np.float32)
    labels = np.arange(50) % 10
    targets = 0.9 * np.eye(10)[labels] + 0.1 / 10
    log_probabilities = values - np.log(np.exp(values.astype(np.float64)).sum(1, keepdims=True))
    losses = -(targets * log_probabilities).sum(1)
    expected = {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]
    loss = cross_entropy(paddle.to_tensor(values), paddle.to_tensor(labels), reduction, smoothing=0.1)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)
