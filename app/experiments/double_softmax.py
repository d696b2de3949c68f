"""What it costs to apply the softmax twice: once in the network, and again in the loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.config import PRESETS
from app.datasets import CLASSES
from app.experiments.study import (
    Findings,
    Laboratory,
    Run,
    Statement,
    Study,
    Table,
    mean,
    percent,
    points,
    verdict,
)
from app.losses import cross_entropy, double_softmax
from app.report.figures import BLUE, VERMILION

LOSSES = {"cross-entropy": "softmax once", "double-softmax": "softmax twice"}
COLORS = {"cross-entropy": BLUE, "double-softmax": VERMILION}

LEAST = math.log(1 + (CLASSES - 1) / math.e)
"""The least cross-entropy that a second softmax lets ten classes reach."""


def compare(laboratory: Laboratory) -> dict[str, list[Run]]:
    """Train the same network from the same seeds with the softmax applied once and twice."""
    # Plain SGD without a schedule, as in a first program, which is where the mistake is made.
    config = dataclasses.replace(
        PRESETS["tutorial"],
        downsampling="stride",
        learning_rate=0.1,
        epochs=laboratory.choose(8, 2),
        limit_train_batches=laboratory.choose(100, 5),
        log_every=0,
    )
    return {
        loss: [laboratory.train(config, loss=loss, seed=seed) for seed in laboratory.seeds] for loss in LOSSES
    }


def run(laboratory: Laboratory) -> Findings:
    """Compare the two losses."""
    runs = compare(laboratory)
    config = runs["cross-entropy"][0].config
    rows = [
        (
            name,
            percent(run.test.accuracy for run in runs[loss]),
            percent(run.worst_recall for run in runs[loss]),
            percent(run.accuracies[0] for run in runs[loss]),
            f"{mean(run.history[-1]['train_loss'] for run in runs[loss]):.3f}",
            percent(run.test.expected_calibration_error for run in runs[loss]),
        )
        for loss, name in LOSSES.items()
    ]
    return Findings(
        method=f"The tutorial's network with strides for pooling, plain SGD at rate {config.learning_rate}, "
        f"{config.epochs} epochs of {config.limit_train_batches} batches of {config.batch_size} images, "
        f"{len(laboratory.seeds)} seeds, MNIST. Only the loss differs. Both networks are read in the same "
        "way, with one softmax.",
        statements=_judge(runs),
        explanation=f"What a second softmax sees are numbers from 0 to 1. Ten classes cannot cost less than "
        f"ln(1 + 9 / e) = {LEAST:.4f} then, and the gradient passes through the slope of the first softmax, "
        "which is flat wherever the network is sure: the squared error's weakness, brought back.",
        draw=lambda: _draw(runs),
        caption="Validation accuracy and training loss by epoch, with the softmax applied once and twice.",
        data={loss: [run.to_json() for run in runs[loss]] for loss in LOSSES},
        tables=[
            Table(
                "Mean over the seeds (least to largest):",
                (
                    "",
                    "test accuracy",
                    "recall of the worst digit",
                    "validation after one epoch",
                    "last training loss",
                    "calibration error",
                ),
                rows,
            )
        ],
    )


def _judge(runs: dict[str, list[Run]]) -> list[Statement]:
    once, twice = runs.values()
    ends = [two.test.accuracy - one.test.accuracy for one, two in zip(once, twice)]
    starts = [two.accuracies[0] - one.accuracies[0] for one, two in zip(once, twice)]
    least = min(record["train_loss"] for run in twice for record in run.history)
    return [
        Statement(
            "The second softmax costs accuracy at the end",
            f"test accuracy {points(ends)}",
            verdict(-end for end in ends),
            (compare, double_softmax),
        ),
        Statement(
            "It slows the beginning",
            f"validation accuracy after one epoch {points(starts)}",
            verdict(-start for start in starts),
            (compare, double_softmax),
        ),
        Statement(
            f"Its loss stays above {LEAST:.3f}, however well the network reads",
            f"least training loss of an epoch {least:.3f}; softmax once: "
            f"{min(record['train_loss'] for run in once for record in run.history):.3f}",
            least > LEAST,
            (double_softmax, cross_entropy),
        ),
        Statement(
            "The mistake is easily missed, because the network learns all the same",
            f"test accuracy {percent(run.test.accuracy for run in twice)}",
            min(run.test.accuracy for run in twice) > 0.8,
            (compare,),
        ),
    ]


def _draw(runs: dict[str, list[Run]]) -> Figure:
    once, twice = ([run.test.accuracy for run in each] for each in runs.values())
    figure = Figure((8, 3.8))
    change = 100 * (mean(twice) - mean(once))
    figure.suptitle(f"A second softmax: {change:+.1f} points of test accuracy, and no loss below {LEAST:.2f}")
    left, right = figure.subplots(1, 2)
    for loss, each in runs.items():
        for number, run in enumerate(each):
            label = LOSSES[loss] if number == 0 else None
            epochs = range(1, len(run.history) + 1)
            left.plot(epochs, [100 * value for value in run.accuracies], color=COLORS[loss], label=label)
            losses = [record["train_loss"] for record in run.history]
            right.plot(epochs, losses, color=COLORS[loss], label=label)
        _label_end(right, each, LOSSES[loss], COLORS[loss])
    right.axhline(LEAST, color=COLORS["double-softmax"], linestyle=":", marker="")
    right.annotate(
        f"no lower than {LEAST:.3f}",
        (0.98, LEAST),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        color=COLORS["double-softmax"],
    )
    left.set(xlabel="epoch", ylabel="validation accuracy (%)", title="What is read")
    left.legend(loc="lower right")
    right.set(xlabel="epoch", ylabel="training loss (nats)", title="What the log says", ylim=(0, None))
    return figure


def _label_end(axes: Axes, runs: Sequence[Run], name: str, color: str) -> None:
    axes.annotate(
        name,
        (len(runs[0].history), runs[0].history[-1]["train_loss"]),
        xytext=(0, 6),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=color,
    )


STUDY = Study(
    name="double-softmax",
    title="Softmax twice",
    source="S3, trained",
    claim="To pass softmax output to a loss that applies the softmax itself is a mistake: it costs accuracy.",
    run=run,
)
