"""The losses. Each takes the network's raw outputs (never softmax or sigmoid output) and labels.

All but `squared_error_of_value` share one signature and one meaning of its options:

- `logits`: float32 or float64 [N, K].
- `labels`: the classes, int64 [N] or [N, 1], 0 to K - 1; or soft labels, floats [N, K], each row a
  distribution over the classes.
- `reduction`: `none` gives the loss of each sample, [N]; `sum` adds them up; `mean` divides by N, or with
  class weights or ignored samples by the sum of the weights that were used.
- `class_weights`: K factors, or None. A sample weighs as much as its class; one with a soft label as much as
  its classes on average.
- `ignore_index`: samples with this label count for nothing, in the mean neither; 0 to K - 1 or any other
  whole number. A batch of nothing else costs 0.
- `smoothing`: the share s of each label that is spread evenly over all K classes: y' = (1 - s) y + s / K
  (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016).

Labels are converted and losses reduced here, because Paddle 3.3.1's `cross_entropy` does not always do it
right: with smoothing it ignores no sample and its mean is K times too small if it was asked to ignore one; it
cannot smooth labels [N, 1] at all; and with a negative `ignore_index` (as its default is) it divides by the
ignored samples, too. Its weighting of soft and smoothed labels is the one described above; PyTorch weighs
each class's term of the sum, and divides the losses of soft labels by N. Of the focal loss Paddle has only
the binary form, `sigmoid_focal_loss`, which adds up by default.

Every loss and gradient is finite for logits of any finite size that a square does not overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Optional, Union

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.nn import functional

from app.config import TrainConfig
from app.datasets import CLASSES

Weights = Union[Sequence[float], paddle.Tensor]
Loss = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]

# A label that nothing has: Paddle's own default, -100, would silently leave samples out.
_NO_LABEL = -(2**31)

# The least that 1 - p counts as in the focal loss: at 0 the derivative of a power below 1 is infinite.
_TINY = 1e-30


def cross_entropy(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    reduction: str = "mean",
    *,
    class_weights: Optional[Weights] = None,
    ignore_index: Optional[int] = None,
    smoothing: float = 0.0,
) -> paddle.Tensor:
    """Return the softmax cross-entropy in nats, -ln p_label, or -sum_k y_k ln p_k for soft labels y.

    p = softmax(logits); the gradient of a sample with respect to its logits is p - y. Paddle's kernel, which
    computes it, takes no -ln p for larger than 64; the gradient is not affected.
    """
    labels, weights = _weigh(labels, logits, class_weights, ignore_index, smoothing)
    is_soft = labels.is_floating_point()
    losses = functional.cross_entropy(
        logits, labels, soft_label=is_soft, reduction="none", ignore_index=_NO_LABEL
    )
    return _reduce(losses.reshape([-1]), weights, reduction)


def focal(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    reduction: str = "mean",
    *,
    gamma: float = 2.0,
    alpha: Optional[Weights] = None,
    class_weights: Optional[Weights] = None,
    ignore_index: Optional[int] = None,
    smoothing: float = 0.0,
) -> paddle.Tensor:
    """Return the focal loss, -sum_k y_k alpha_k (1 - p_k)^gamma ln p_k, p = softmax(logits).

    The form of Lin et al., "Focal Loss for Dense Object Detection" (2017), for K classes: samples that are
    already recognised count for less. Gamma 0 is the cross-entropy. As in the paper, alpha, one factor a
    class, does not enter the mean's divisor; `class_weights` do. No -ln p is taken for larger than 64.
    """
    targets, weights = _weigh_distributions(labels, logits, class_weights, ignore_index, smoothing)
    log_probabilities = functional.log_softmax(logits)
    others = paddle.clip(-paddle.expm1(log_probabilities), min=_TINY)
    terms = targets * others**gamma * log_probabilities
    if alpha is not None:
        terms = terms * _factors(alpha, logits, "alpha")
    return _reduce(-terms.sum(1), weights, reduction)


def squared_error(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    reduction: str = "mean",
    *,
    class_weights: Optional[Weights] = None,
    ignore_index: Optional[int] = None,
    smoothing: float = 0.0,
) -> paddle.Tensor:
    """Return the squared error of the softmax output, the mean of (p_k - y_k)^2 over the K classes.

    As Keras' mean squared error after a softmax. The gradient with respect to logit k is
    (2 / K) p_k (d_k - sum_j p_j d_j) with d = p - y: it vanishes where the network is sure, right or wrong.
    """
    targets, weights = _weigh_distributions(labels, logits, class_weights, ignore_index, smoothing)
    return _reduce(((functional.softmax(logits) - targets) ** 2).mean(1), weights, reduction)


def sigmoid_cross_entropy(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    reduction: str = "mean",
    *,
    class_weights: Optional[Weights] = None,
    ignore_index: Optional[int] = None,
    smoothing: float = 0.0,
) -> paddle.Tensor:
    """Return the cross-entropy of K sigmoid units, -sum_k (y_k ln a_k + (1 - y_k) ln(1 - a_k)).

    a = sigmoid(logits); the gradient is a - y. (Nielsen, "Neural Networks and Deep Learning", chapter 3.)
    """
    targets, weights = _weigh_distributions(labels, logits, class_weights, ignore_index, smoothing)
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _reduce(losses.sum(1), weights, reduction)


def quadratic(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    reduction: str = "mean",
    *,
    class_weights: Optional[Weights] = None,
    ignore_index: Optional[int] = None,
    smoothing: float = 0.0,
) -> paddle.Tensor:
    """Return the quadratic cost of K sigmoid units, half the sum of (a_k - y_k)^2, a = sigmoid(logits).

    The gradient is (a - y) a (1 - a): it vanishes where a unit is saturated, right or wrong. (Nielsen,
    chapter 1.)
    """
    targets, weights = _weigh_distributions(labels, logits, class_weights, ignore_index, smoothing)
    losses = ((functional.sigmoid(logits) - targets) ** 2).sum(1) / 2
    return _reduce(losses, weights, reduction)


def double_softmax(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    reduction: str = "mean",
    *,
    class_weights: Optional[Weights] = None,
    ignore_index: Optional[int] = None,
    smoothing: float = 0.0,
) -> paddle.Tensor:
    """Return a common mistake, for study: the cross-entropy of softmax(logits) in the place of logits.

    Probabilities differ by at most 1, so that K classes cost at least ln(1 + (K - 1) / e): 1.461 for ten.
    """
    return cross_entropy(
        functional.softmax(logits),
        labels,
        reduction,
        class_weights=class_weights,
        ignore_index=ignore_index,
        smoothing=smoothing,
    )


def squared_error_of_value(
    outputs: paddle.Tensor,
    labels: paddle.Tensor,
    reduction: str = "mean",
    *,
    class_weights: Optional[Weights] = None,
    ignore_index: Optional[int] = None,
) -> paddle.Tensor:
    """Return (output - label)^2, which takes the label for a quantity.

    Args:
        outputs: one output a sample, float32 or float64 [N, 1].
        labels: int64 [N] or [N, 1].
        reduction: as above.
        class_weights: as above, of as many classes as there are.
        ignore_index: as above.

    Raises:
        ValueError: more outputs than one, soft labels, or not as many labels as outputs.
    """
    if outputs.ndim != 2 or outputs.shape[1] != 1:
        raise ValueError(f"expected one output a sample, [N, 1], not {outputs.shape}")
    if labels.is_floating_point():
        raise ValueError("soft labels have no value")
    count = len(outputs)
    if labels.shape not in ([count], [count, 1]):
        raise ValueError(f"expected labels of shape [{count}] or [{count}, 1], not {labels.shape}")
    labels, weights = _weigh_classes(labels.reshape([-1]), outputs.dtype, class_weights, ignore_index)
    losses = (outputs.reshape([-1]) - labels.astype(outputs.dtype)) ** 2
    return _reduce(losses, weights, reduction)


LOSSES: dict[str, Callable[..., paddle.Tensor]] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "squared-error": squared_error,
    "sigmoid-cross-entropy": sigmoid_cross_entropy,
    "quadratic": quadratic,
    "value": squared_error_of_value,
    "double-softmax": double_softmax,
}
"""The losses by the names that a configuration gives them."""


def loss_for(config: TrainConfig, labels: NDArray[np.int64]) -> Loss:
    """Return the loss of a batch that `config` wants, with the class weights that fit the training labels.

    Weighted losses are divided by the number of images instead of the sum of their weights, so that the
    parts of a batch, wherever they are computed, add up to the whole; the weights are 1 on average.
    """
    function, options = LOSSES[config.loss], dict[str, Any]()
    if config.label_smoothing:
        options["smoothing"] = config.label_smoothing
    if config.focal_gamma is not None:
        options["gamma"] = config.focal_gamma
    if config.class_weights == "none":
        return partial(function, **options)
    weights = paddle.to_tensor(balanced_weights(labels), "float32")

    def weighted(outputs: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        return function(outputs, labels, "sum", class_weights=weights, **options) / len(labels)

    return weighted


def balanced_weights(labels: NDArray[np.int64], classes: int = CLASSES) -> NDArray[np.float64]:
    """Return a weight for each class, float64 [K], with which all classes count the same in total.

    They are inverse to the counts and 1 on average over the labels, int64 [N]; a class without any has 0.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0)


def _weigh(
    labels: paddle.Tensor,
    logits: paddle.Tensor,
    class_weights: Optional[Weights],
    ignore_index: Optional[int],
    smoothing: float,
) -> tuple[paddle.Tensor, Optional[paddle.Tensor]]:
    """Return labels, int64 [N] or, if soft or smoothed, floats [N, K], and the samples' weights, [N] or None.

    Raises:
        ValueError: shapes that do not fit, or `ignore_index` with soft labels.
    """
    if logits.ndim != 2:
        raise ValueError(f"expected logits of shape [N, K], not {logits.shape}")
    count, classes = logits.shape
    factors = None if class_weights is None else _factors(class_weights, logits, "class_weights")
    if labels.is_floating_point():
        if labels.shape != logits.shape:
            raise ValueError(f"expected soft labels of shape {logits.shape}, not {labels.shape}")
        if ignore_index is not None:
            raise ValueError("ignore_index needs labels that are classes, not soft labels")
        targets, weights = labels.astype(logits.dtype), None
    else:
        if labels.shape not in ([count], [count, 1]):
            raise ValueError(f"expected labels of shape [{count}] or [{count}, 1], not {labels.shape}")
        # With smoothing the weights follow from the smoothed labels.
        at_once = None if smoothing else factors
        labels, weights = _weigh_classes(labels.reshape([-1]), logits.dtype, at_once, ignore_index)
        if not smoothing:
            return labels, weights
        targets = functional.one_hot(labels, classes).astype(logits.dtype)
    if smoothing:
        targets = (1 - smoothing) * targets + smoothing / classes
    if factors is not None:
        own = targets @ factors
        weights = own if weights is None else own * weights
    return targets, weights


def _weigh_distributions(
    labels: paddle.Tensor,
    logits: paddle.Tensor,
    class_weights: Optional[Weights],
    ignore_index: Optional[int],
    smoothing: float,
) -> tuple[paddle.Tensor, Optional[paddle.Tensor]]:
    """Return what `_weigh` does, but all labels as distributions, floats [N, K]."""
    labels, weights = _weigh(labels, logits, class_weights, ignore_index, smoothing)
    if not labels.is_floating_point():
        labels = functional.one_hot(labels, logits.shape[1]).astype(logits.dtype)
    return labels, weights


def _weigh_classes(
    labels: paddle.Tensor,
    dtype: paddle.dtype,
    class_weights: Optional[Weights],
    ignore_index: Optional[int],
) -> tuple[paddle.Tensor, Optional[paddle.Tensor]]:
    """Return int64 [N] labels, 0 in the place of ignored ones, and the samples' weights, [N] or None."""
    weights = None
    if ignore_index is not None:
        is_used = labels != ignore_index
        labels, weights = labels * is_used.astype(labels.dtype), is_used.astype(dtype)
    if class_weights is not None:
        own = paddle.gather(_tensor(class_weights, dtype), labels)
        weights = own if weights is None else own * weights
    return labels, weights


def _factors(values: Weights, logits: paddle.Tensor, name: str) -> paddle.Tensor:
    factors = _tensor(values, logits.dtype)
    if factors.shape != logits.shape[1:]:
        raise ValueError(f"{name}: expected {logits.shape[1]} factors, not {factors.shape}")
    return factors


def _tensor(values: Weights, dtype: paddle.dtype) -> paddle.Tensor:
    return values.astype(dtype) if isinstance(values, paddle.Tensor) else paddle.to_tensor(values, dtype)


def _reduce(losses: paddle.Tensor, weights: Optional[paddle.Tensor], reduction: str) -> paddle.Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, not {reduction!r}")
    if weights is not None:
        losses = losses * weights
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if weights is None:
        return losses.mean()
    total = weights.sum()
    # Nothing but ignored samples: 0 / 1 instead of 0 / 0.
    return losses.sum() / (total + (total == 0).astype(total.dtype))
