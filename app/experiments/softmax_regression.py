"""S2: softmax regression learns from cross-entropy and from the squared error of the softmax output."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import paddle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

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
from app.losses import cross_entropy, sigmoid_cross_entropy, squared_error
from app.report.figures import BLUE, GREY, VERMILION

COLORS = {"cross-entropy": BLUE, "squared-error": VERMILION}
NAMES = {"cross-entropy": "cross-entropy", "squared-error": "squared error"}
FUNCTIONS = {"cross-entropy": cross_entropy, "squared-error": squared_error}

RATES = {"cross-entropy": (0.02, 0.06, 0.2, 0.6), "squared-error": (0.2, 1.0, 3.0, 10.0)}
"""Learning rates that each loss may choose from, the article's 0.2 among them."""

PROBABILITIES = np.linspace(0.001, 0.999, 200)


def compare(laboratory: Laboratory) -> dict[str, list[Run]]:
    """Train with the article's settings and each of the losses, from several seeds."""
    config = _config(laboratory)
    return {
        loss: [laboratory.train(config, loss=loss, seed=seed) for seed in laboratory.seeds] for loss in NAMES
    }


def search_rates(laboratory: Laboratory) -> dict[str, list[Run]]:
    """Train as `compare` does, but each loss at the learning rate of `RATES` that validates best."""
    found = {}
    for loss, rates in RATES.items():
        config = dataclasses.replace(_config(laboratory), loss=loss)
        best = best_of(laboratory.try_rates(config, laboratory.choose(rates, rates[:1])))
        rate = best.config.learning_rate
        found[loss] = [laboratory.train(config, learning_rate=rate, seed=seed) for seed in laboratory.seeds]
    return found


def _config(laboratory: Laboratory) -> TrainConfig:
    # One thread: batches of 32 are too small to be worth sharing.
    config = dataclasses.replace(PRESETS["softmax-regression"], workers=1)
    if laboratory.is_quick:
        return dataclasses.replace(config, epochs=2, limit_train_batches=15)
    return config


def gradient_of_true_logit(loss: str, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the size of the gradient by which the true class of two rises, float64 [N].

    Args:
        loss: a name of `FUNCTIONS`.
        probability: what the softmax gives the true class, float64 [N].
    """
    values = np.stack([np.log(probability), np.log(1 - probability)], axis=1)
    logits = paddle.to_tensor(values, stop_gradient=False)
    FUNCTIONS[loss](logits, paddle.zeros([len(values)], "int64"), "sum").backward()
    gradient: NDArray[np.float64] = -logits.grad.numpy()[:, 0]
    return gradient


def two_class_difference() -> float:
    """Return how far the sigmoid's cross-entropy is from the softmax's of two classes, over many logits."""
    difference = paddle.linspace(-30, 30, 601, "float64").reshape([-1, 1])
    logits = paddle.concat([difference, paddle.zeros_like(difference)], axis=1)
    as_softmax = cross_entropy(logits, paddle.zeros([601], "int64"), "none")
    as_sigmoid = sigmoid_cross_entropy(difference, paddle.ones_like(difference), "none")
    return float((as_softmax - as_sigmoid).abs().max())


def run(laboratory: Laboratory) -> Findings:
    """Compare the losses, at the article's learning rate and each at its best."""
    runs = compare(laboratory)
    tuned = search_rates(laboratory)
    groups = {_name(each): each for found in (runs, tuned) for each in found.values()}
    config = runs["cross-entropy"][0].config
    tried = "; ".join(f"{NAMES[loss]}: {', '.join(map(str, rates))}" for loss, rates in RATES.items())
    return Findings(
        method=f"784 pixels to ten outputs with softmax, biases at one, plain SGD at rate "
        f"{config.learning_rate}, batches of {config.batch_size}, {config.epochs} epochs, "
        f"{len(laboratory.seeds)} seeds, MNIST. The squared error is the mean over the ten outputs, as in "
        "Keras. Because its gradients are smaller whatever else they are, both were trained again at the "
        f"rate that validates best ({tried}).",
        statements=_judge(runs, tuned),
        explanation="The gradient of cross-entropy with respect to the logits is p - y, the error itself. "
        "That of the squared error is multiplied by the slope of the softmax (for two classes, 2 p (1 - p)), "
        "which goes to zero where an output is sure and wrong, just where there is most to learn. It is "
        "divided by the number of outputs besides, which a larger learning rate makes up for.",
        draw=lambda: _draw(runs, tuned),
        caption="Validation accuracy and loss by epoch; the gradient by the probability of the true class.",
        data={
            **{name: [run.to_json() for run in each] for name, each in groups.items()},
            "two classes": {"largest difference": two_class_difference()},
        },
        tables=[
            Table(
                "Mean over the seeds (least to largest):",
                ("", "validation after one epoch", "test accuracy", "test cross-entropy"),
                [
                    (
                        name,
                        percent(run.accuracies[0] for run in each),
                        percent(run.test.accuracy for run in each),
                        f"{mean(run.test.loss for run in each):.4f}",
                    )
                    for name, each in groups.items()
                ],
            )
        ],
    )


def _name(runs: list[Run]) -> str:
    config = runs[0].config
    return f"{NAMES[config.loss]}, rate {config.learning_rate:g}"


def _judge(runs: dict[str, list[Run]], tuned: dict[str, list[Run]]) -> list[Statement]:
    entropy, squares = runs.values()
    starts = [one.accuracies[0] - two.accuracies[0] for one, two in zip(entropy, squares)]
    ends = [one.test.accuracy - two.test.accuracy for one, two in zip(entropy, squares)]
    tuned_ends = [one.test.accuracy - two.test.accuracy for one, two in zip(*tuned.values())]
    tuned_starts = [one.accuracies[0] - two.accuracies[0] for one, two in zip(*tuned.values())]
    factors = {loss: gradient_of_true_logit(loss, np.array([0.001, 0.5])) for loss in FUNCTIONS}
    shares = {loss: float(wrong / undecided) for loss, (wrong, undecided) in factors.items()}
    coincidence = two_class_difference()
    rates = " and ".join(f"{each[0].config.learning_rate:g}" for each in tuned.values())
    return [
        Statement(
            "Cross-entropy converges faster",
            f"validation accuracy after one epoch {points(starts)}",
            verdict(starts),
            (compare, cross_entropy, squared_error),
        ),
        Statement(
            "Cross-entropy ends better",
            f"test accuracy {points(ends)}",
            verdict(ends),
            (compare,),
        ),
        Statement(
            f"It converges faster with each loss at its best rate ({rates}), too",
            f"validation accuracy after one epoch {points(tuned_starts)}",
            verdict(tuned_starts),
            (search_rates,),
        ),
        Statement(
            "It ends better then, too",
            f"test accuracy {points(tuned_ends)}",
            verdict(tuned_ends),
            (search_rates,),
        ),
        Statement(
            "Where a network is sure and wrong, the squared error's gradient vanishes, the other's does not",
            "true class at 0.001 against 0.5: "
            + ", ".join(f"{NAMES[loss]} {share:.4f} times as large" for loss, share in shares.items()),
            shares["squared-error"] < 0.01 < 1 < shares["cross-entropy"],
            (gradient_of_true_logit,),
        ),
        Statement(
            "With two classes, sigmoid cross-entropy and log-likelihood coincide",
            f"largest difference {coincidence:.0e}",
            coincidence < 1e-9,
            (two_class_difference, sigmoid_cross_entropy),
        ),
    ]


def _draw(runs: dict[str, list[Run]], tuned: dict[str, list[Run]]) -> Figure:
    def ahead(groups: dict[str, list[Run]]) -> float:
        entropy, squares = (mean(run.test.accuracy for run in each) for each in groups.values())
        return 100 * (entropy - squares)

    figure = Figure((10, 4))
    figure.suptitle(
        f"Cross-entropy against squared error: {ahead(runs):+.1f} points of test accuracy at rate 0.2, "
        f"{ahead(tuned):+.1f} at the best rates",
        fontsize=12,
    )
    accuracy, loss, factor = figure.subplots(1, 3)
    for line, groups in (("-", runs), ("--", tuned)):
        for name, each in groups.items():
            if groups is tuned and each[0].config == runs[name][0].config:
                # The rate that is best was the first: one line on another.
                continue
            for number, run in enumerate(each):
                style: dict[str, Any] = {"color": COLORS[name], "linestyle": line, "markersize": 3}
                epochs = range(1, len(run.history) + 1)
                label = _name(each) if number == 0 else None
                accuracy.plot(epochs, [100 * value for value in run.accuracies], label=label, **style)
                loss.plot(epochs, [record["validation_loss"] for record in run.history], **style)
    accuracy.set(xlabel="epoch", ylabel="validation accuracy (%)", title="What is read")
    accuracy.legend(loc="lower right", fontsize=9)
    loss.set(xlabel="epoch", ylabel="validation cross-entropy (nats)", title="How sure of the truth")
    _draw_factor(factor)
    return figure


def _draw_factor(axes: Axes) -> None:
    for loss in FUNCTIONS:
        gradient = gradient_of_true_logit(loss, PROBABILITIES)
        axes.plot(PROBABILITIES, gradient, color=COLORS[loss], marker="")
    axes.text(0.4, 0.68, "cross-entropy", color=BLUE)
    axes.text(0.2, 0.08, "squared error", color=VERMILION)
    axes.annotate(
        "sure and wrong:\nno gradient",
        (0.01, 0.01),
        xytext=(0.02, 0.42),
        color=GREY,
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    axes.set(xlabel="probability of the true class (of two)", ylabel="gradient of its logit", title="Why")


STUDY = Study(
    name="softmax-regression",
    title="Softmax regression: squared error against cross-entropy",
    source="S2",
    claim="The same network converges faster and ends better with cross-entropy than with the mean squared "
    "error of its softmax output.",
    run=run,
)
