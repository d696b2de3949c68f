"""The losses. Each takes logits (never softmax output) and labels."""

from __future__ import annotations

import paddle
from paddle.nn import functional


def cross_entropy(
    logits: paddle.Tensor, labels: paddle.Tensor, reduction: str = "mean", smoothing: float = 0.0
) -> paddle.Tensor:
    """Return the softmax cross-entropy, -ln softmax(logits)[label], in nats.

    With smoothing s, against (1 - s) of the label and s of the uniform distribution over all K classes
    (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016). Without, Paddle's
    kernel bounds the loss of a sample at 64; the gradient is not affected.

    Args:
        logits: float32 [N, K].
        labels: int64 [N] or [N, 1], 0 to K - 1.
        reduction: `mean` or `sum` over the batch gives a scalar; `none` gives float32 [N].
        smoothing: s, 0 to 1.
    """
    loss: paddle.Tensor = functional.cross_entropy(
        logits, labels.reshape([-1]), reduction=reduction, label_smoothing=smoothing
    )
    return loss.reshape([-1]) if reduction == "none" else loss
