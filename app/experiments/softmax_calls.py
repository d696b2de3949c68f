"""S3: six calls of softmax cross-entropy on the same logits, and what each of them teaches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle
from matplotlib.figure import Figure
from numpy.typing import NDArray
from paddle.nn import functional

from app.experiments.study import Findings, Laboratory, Statement, Study, Table
from app.losses import cross_entropy, double_softmax
from app.report.figures import BLUE, GREY, VERMILION

LOGITS = [[2.0, 0.5, 6.0], [0.1, 0.0, 3.0]]
ONE_HOT = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
SOFT = [[0.4, 0.1, 0.5], [0.3, 0.6, 0.1]]
CLASSES = [2, 1]


class Call(NamedTuple):
    """One way to call the loss."""

    name: str
    losses: NDArray[np.float32]
    """Of the two samples."""

    teaches: str


def call_all() -> list[Call]:
    """Return the six results, computed by Paddle in float32."""
    logits, one_hot, soft = (paddle.to_tensor(values, "float32") for values in (LOGITS, ONE_HOT, SOFT))
    classes = paddle.to_tensor(CLASSES)
    once = functional.softmax(logits)
    calls = (
        ("of the logits", cross_entropy(logits, one_hot, "none"), "The right call: raw logits."),
        (
            "of softmax(logits)",
            double_softmax(logits, one_hot, "none"),
            "The usual mistake: the loss applies its own softmax again.",
        ),
        (
            "of softmax(softmax(logits))",
            double_softmax(once, one_hot, "none"),
            "Each further softmax makes all answers more alike.",
        ),
        (
            "by hand",
            -(one_hot * paddle.log(once)).sum(1),
            "What the first call computes, spelled out: no more than that is in it.",
        ),
        (
            "with soft labels",
            cross_entropy(logits, soft, "none"),
            "The truth may be a distribution; the least loss is then its entropy, not 0.",
        ),
        (
            "with integer labels",
            cross_entropy(logits, classes, "none"),
            "Integers give the same as one-hot rows, and need no memory for zeros.",
        ),
    )
    return [Call(name, losses.numpy(), teaches) for name, losses, teaches in calls]


def flatten(times: int) -> NDArray[np.float64]:
    """Return the probabilities, float64 [2, 3], after so many softmaxes in a row."""
    values = paddle.to_tensor(LOGITS, "float64")
    for _ in range(times):
        values = functional.softmax(values)
    probabilities: NDArray[np.float64] = values.numpy()
    return probabilities


def run(_laboratory: Laboratory) -> Findings:
    """Call the loss in all six ways; a quick run is the full one."""
    calls = call_all()
    return Findings(
        method=f"Logits {LOGITS}, labels {[list(map(int, row)) for row in ONE_HOT]}, soft labels {SOFT}. The "
        "first sample is read rightly (class 2), the second wrongly (class 2 instead of 1).",
        statements=_judge(calls),
        explanation="Probabilities differ by 1 at most, so as logits they say little: one of them is never "
        "more than e times as likely as another. Give the loss raw logits, and apply the softmax only to "
        "read probabilities.",
        draw=lambda: _draw(calls),
        caption="Softmax applied once, twice and three times, and the six losses.",
        data={call.name: call.losses.tolist() for call in calls},
        tables=[
            Table(
                "",
                ("cross-entropy", "sample 1", "sample 2", "mean", "what it teaches"),
                [
                    (call.name, *(f"{loss:.6f}" for loss in (*call.losses, call.losses.mean())), call.teaches)
                    for call in calls
                ],
            )
        ],
    )


def _judge(calls: list[Call]) -> list[Statement]:
    right, double, triple, by_hand, soft, sparse = (call.losses.astype(float) for call in calls)
    truth = np.array(SOFT)
    entropy = -(truth * np.log(truth)).sum(1)
    uniform = float(np.log(3))
    distances = [np.abs(losses - uniform).max() for losses in (right, double, triple)]
    return [
        Statement(
            "The formula by hand, -sum(y ln softmax), equals the call with logits",
            f"largest difference {np.abs(by_hand - right).max():.1e}",
            bool(np.abs(by_hand - right).max() < 1e-5),
            (call_all, cross_entropy),
        ),
        Statement(
            "Integer labels give the same as one-hot labels",
            f"largest difference {np.abs(sparse - right).max():.1e}",
            bool(np.abs(sparse - right).max() < 1e-5),
            (call_all, cross_entropy),
        ),
        Statement(
            "With a second softmax the right answer costs more, and the wrong one less",
            f"{right[0]:.3f} becomes {double[0]:.3f}, {right[1]:.3f} becomes {double[1]:.3f}",
            bool(double[0] > right[0] and double[1] < right[1]),
            (call_all, double_softmax),
        ),
        Statement(
            "Each softmax brings every answer closer to ln 3, that of knowing nothing",
            "largest distance " + ", ".join(f"{distance:.3f}" for distance in distances),
            bool(distances[0] > distances[1] > distances[2]),
            (call_all, flatten),
        ),
        Statement(
            "A soft label costs at least its entropy",
            ", ".join(f"{loss:.3f} against {least:.3f}" for loss, least in zip(soft, entropy)),
            bool((soft >= entropy).all()),
            (call_all, cross_entropy),
        ),
    ]


def _draw(calls: list[Call]) -> Figure:
    figure = Figure((8, 3.8))
    figure.suptitle("One softmax answers; two mumble; three say nothing")
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    for place, times in enumerate((1, 2, 3)):
        probabilities = flatten(times)[0]
        for label, probability in enumerate(probabilities):
            color = BLUE if label == CLASSES[0] else GREY
            position = 4 * place + label
            left.bar(position, probability, color=color)
            left.text(position, probability + 0.02, f"{probability:.2f}", ha="center", fontsize=7)
    left.set(xticks=(1, 5, 9), xticklabels=("once", "twice", "three times"), ylim=(0, 1.1))
    left.set(title="Sample 1: blue is the true class", ylabel="probability", xlabel="softmax applied")
    left.grid(False)
    for row, call in enumerate(calls):
        color = VERMILION if "softmax" in call.name else BLUE
        right.barh(row, call.losses.mean(), color=color)
        right.text(call.losses.mean() + 0.03, row, f"{call.losses.mean():.4f}", va="center", fontsize=9)
    right.set(yticks=range(len(calls)), yticklabels=[call.name for call in calls], xlim=(0, 3))
    right.invert_yaxis()
    right.set(title="The six results", xlabel="mean cross-entropy (nats)")
    right.text(1.3, 1.5, "mistakes", color=VERMILION, va="center")
    right.grid(False)
    return figure


STUDY = Study(
    name="softmax-calls",
    title="Six calls of softmax cross-entropy",
    source="S3",
    claim="Cross-entropy takes raw logits: a softmax before it is a mistake that no message tells of. "
    "Integer labels need no one-hot, soft labels are allowed, and the built-in call is the formula.",
    run=run,
)
