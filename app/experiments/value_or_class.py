"""S1: one output that is to be the digit itself, or ten outputs with cross-entropy."""

from __future__ import annotations

import dataclasses

import numpy as np
import paddle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from paddle.nn import functional

from app.config import PRESETS, TrainConfig
from app.experiments.study import (
    Findings,
    Laboratory,
    Run,
    Statement,
    Study,
    Table,
    best_of,
    mean,
    percent,
    points,
    verdict,
)
from app.losses import cross_entropy, squared_error_of_value
from app.report.figures import BLUE, VERMILION

NAMES = {"value": "one output, squared error", "cross-entropy": "ten outputs, cross-entropy"}
COLORS = {"value": VERMILION, "cross-entropy": BLUE}

RATES = {"value": (0.003, 0.01, 0.03), "cross-entropy": (0.01, 0.03, 0.1, 0.3)}
"""Learning rates that each loss may choose from, the tutorial's 0.01 among them."""

TUTORIAL_RATE = 0.01


def search_rates(laboratory: Laboratory) -> dict[str, list[Run]]:
    """Train with both losses at each of `RATES`, from one seed."""
    return {
        loss: laboratory.try_rates(_config(laboratory), laboratory.choose(rates, (TUTORIAL_RATE,)), loss=loss)
        for loss, rates in RATES.items()
    }


def compare(laboratory: Laboratory, rates: dict[str, float]) -> dict[str, list[Run]]:
    """Train with each loss at its rate, from the same seeds."""
    return {
        loss: [
            laboratory.train(_config(laboratory), learning_rate=rate, loss=loss, seed=seed)
            for seed in laboratory.seeds
        ]
        for loss, rate in rates.items()
    }


def _config(laboratory: Laboratory) -> TrainConfig:
    return dataclasses.replace(
        PRESETS["tutorial"],
        downsampling="stride",
        epochs=laboratory.choose(12, 2),
        limit_train_batches=laboratory.choose(100, 5),
        log_every=0,
    )


def count_near_mistakes(runs: list[Run]) -> float:
    """Return the share of the mistakes on test digits that are off by one."""
    matrix = np.sum([run.test.confusion_matrix for run in runs], axis=0)
    off_by_one = matrix.diagonal(1).sum() + matrix.diagonal(-1).sum()
    return float(off_by_one / max(matrix.sum() - matrix.trace(), 1))


def compute_theory() -> dict[str, float]:
    """Return the tutorial's numbers, computed in float64."""

    def cost(probability: float) -> float:
        logits = paddle.to_tensor([[probability, 1 - probability]], "float64").log()
        return float(cross_entropy(logits, paddle.zeros([1], "int64")))

    softmax = functional.softmax(paddle.to_tensor([3.0, 1.0, -3.0], "float64")).tolist()
    two = functional.softmax(paddle.to_tensor([1.5, -0.5], "float64"))[0].item()
    sigmoid = functional.sigmoid(paddle.to_tensor(2.0, "float64")).item()
    return {
        **{f"softmax(3, 1, -3), class {label}": value for label, value in enumerate(softmax)},
        "softmax(1.5, -0.5), class 0": two,
        "sigmoid(1.5 - (-0.5))": sigmoid,
        "-ln 0.6": cost(0.6),
        "-ln 0.1": cost(0.1),
        "mean for 0.8, 0.9, 0.3 and true 1, 1, 0": mean([cost(0.8), cost(0.9), cost(0.7)]),
    }


def run(laboratory: Laboratory) -> Findings:
    """Compare the losses, each at its best learning rate and both at the tutorial's."""
    searched = search_rates(laboratory)
    best = {loss: best_of(runs).config.learning_rate for loss, runs in searched.items()}
    tuned = compare(laboratory, best)
    same = compare(laboratory, dict.fromkeys(NAMES, TUTORIAL_RATE))
    theory = compute_theory()
    tried = "; ".join(f"{NAMES[loss]}: {', '.join(map(str, rates))}" for loss, rates in RATES.items())
    config = tuned["value"][0].config
    return Findings(
        method="The tutorial's network with strides for pooling, plain SGD, "
        f"{config.epochs} epochs of {config.limit_train_batches} batches of {config.batch_size} images, "
        f"{len(laboratory.seeds)} seeds, MNIST; the same for both, but for the last layer and the loss. One "
        "output is read as the nearest digit. Losses of different scales need different learning rates: "
        f"beside the tutorial's {TUTORIAL_RATE:g}, each has the one that validates best ({tried}).",
        statements=_judge(tuned, same),
        explanation="One output puts the digits on a line: to take a 4 for a 5 is a small error, to take it "
        "for a 9 a large one, although a 4 looks more like a 9. Unsure between 1 and 7, the least squared "
        "error is at 4. Ten outputs have no such order.",
        draw=lambda: _draw(searched, same, tuned),
        caption="Accuracy per epoch at the same and at the best learning rates, and by learning rate.",
        data={
            "theory": theory,
            "same rate": {loss: [run.to_json() for run in runs] for loss, runs in same.items()},
            "best rate": {loss: [run.to_json() for run in runs] for loss, runs in tuned.items()},
            "searched": {loss: [run.to_json() for run in runs] for loss, runs in searched.items()},
        },
        tables=[
            Table(
                "Test accuracy, mean over the seeds (least to largest):",
                ("", f"rate {TUTORIAL_RATE:g}", "best rate", "mistakes off by one"),
                [
                    (
                        NAMES[loss],
                        percent(run.test.accuracy for run in same[loss]),
                        f"{percent(run.test.accuracy for run in tuned[loss])} at {best[loss]:g}",
                        f"{count_near_mistakes(tuned[loss]):.0%}",
                    )
                    for loss in NAMES
                ],
            ),
            Table(
                "The tutorial's theory in numbers:",
                ("", "value"),
                [(name, f"{value:.6f}") for name, value in theory.items()],
            ),
        ],
    )


def _judge(tuned: dict[str, list[Run]], same: dict[str, list[Run]]) -> list[Statement]:
    def ahead(runs: dict[str, list[Run]]) -> list[float]:
        return [
            ten.test.accuracy - one.test.accuracy for one, ten in zip(runs["value"], runs["cross-entropy"])
        ]

    near = {loss: count_near_mistakes(runs) for loss, runs in tuned.items()}
    return [
        Statement(
            "Ten outputs with cross-entropy read more digits, each loss at the best of its learning rates",
            f"test accuracy {points(ahead(tuned))}",
            verdict(ahead(tuned)),
            (compare, cross_entropy, squared_error_of_value),
        ),
        Statement(
            f"They do so at the tutorial's rate of {TUTORIAL_RATE:g}, too",
            f"test accuracy {points(ahead(same))}",
            verdict(ahead(same)),
            (compare,),
        ),
        Statement(
            "One output mistakes a digit for its neighbour in number rather than in shape",
            f"{near['value']:.0%} of its mistakes are off by one, {near['cross-entropy']:.0%} of the others",
            near["value"] > near["cross-entropy"],
            (count_near_mistakes,),
        ),
    ]


def _draw(searched: dict[str, list[Run]], same: dict[str, list[Run]], tuned: dict[str, list[Run]]) -> Figure:
    accuracy = {loss: mean(run.test.accuracy for run in runs) for loss, runs in tuned.items()}
    figure = Figure((10, 4))
    figure.suptitle(
        f"A digit is a name, not a number: {accuracy['cross-entropy']:.1%} with ten outputs, "
        f"{accuracy['value']:.1%} with one"
    )
    left, middle, right = figure.subplots(1, 3, sharey=True)
    _draw_epochs(left, tuned, "Each at its best rate")
    _draw_epochs(middle, same, f"Both at rate {TUTORIAL_RATE:g}")
    for loss, runs in searched.items():
        rates = [run.config.learning_rate for run in runs]
        right.plot(rates, [100 * run.best_accuracy for run in runs], color=COLORS[loss])
    right.set(xscale="log", xlabel="learning rate", title="Best epoch at each rate")
    left.set(ylabel="validation accuracy (%)", ylim=(0, 102))
    left.legend(loc="lower right")
    return figure


def _draw_epochs(axes: Axes, groups: dict[str, list[Run]], title: str) -> None:
    for loss, runs in groups.items():
        for number, run in enumerate(runs):
            label = NAMES[loss] if number == 0 else None
            accuracies = [100 * value for value in run.accuracies]
            axes.plot(range(1, len(accuracies) + 1), accuracies, color=COLORS[loss], label=label)
    axes.set(xlabel="epoch", title=title)


STUDY = Study(
    name="value-or-class",
    title="A number or a name: one output or ten",
    source="S1, the Paddle tutorial",
    claim="The same network with ten outputs and cross-entropy is better than with one output and the "
    "squared error of the label's value.",
    run=run,
)
