"""S4: what cross-entropy is, its faults, and whether its variants cure them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import paddle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from paddle import nn
from paddle.nn import functional

from app import runtime
from app.config import PRESETS, TrainConfig
from app.evaluation import softmax
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
from app.losses import balanced_weights, cross_entropy, focal, sigmoid_cross_entropy
from app.report.figures import BLUE, VERMILION

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weighted": {"class_weights": "balanced"},
    "focal": {"loss": "focal"},
    "smoothed": {"label_smoothing": 0.1},
}
DATA = {"balanced": 1.0, "imbalanced": 0.01}
"""Share of the training images of 0 to 4 that is kept."""

_LOSSES: dict[str, Callable[..., Any]] = {
    "weighted": balanced_weights,
    "focal": focal,
    "smoothed": cross_entropy,
}
COLORS = {"balanced": BLUE, "imbalanced": VERMILION}
CLIP = 1.0

Runs = dict[tuple[str, str], list[Run]]
"""By data and variant."""


class Perceptron(NamedTuple):
    """What came of the small example on random data."""

    losses: list[float]
    """After the first step of every tenth epoch, and after the last."""

    seen_accuracy: float
    unseen_accuracy: float
    """On as many new random samples."""


def compare(laboratory: Laboratory) -> Runs:
    """Train the same network on balanced and imbalanced digits with each variant, from the same seeds."""
    return {
        (data, variant): [
            laboratory.train(_config(laboratory, rare_share=share, clip_gradient=CLIP, **choices), seed=seed)
            for seed in laboratory.seeds
        ]
        for data, share in DATA.items()
        for variant, choices in VARIANTS.items()
    }


def train_unclipped(laboratory: Laboratory) -> Run:
    """Train as `compare` does on imbalanced digits with weights, but with the gradients as they are."""
    return laboratory.train(
        _config(laboratory, rare_share=DATA["imbalanced"], **VARIANTS["weighted"]), seed=0
    )


def _config(laboratory: Laboratory, **choices: Any) -> TrainConfig:
    return dataclasses.replace(
        PRESETS["fast"],
        epochs=laboratory.choose(2, 1),
        limit_train_batches=laboratory.choose(200, 5),
        **choices,
    )


def train_perceptron(seed: int = 0) -> Perceptron:
    """Train a 10-64-3 perceptron on 100 random samples of 3 random classes: Adam at 0.001, 100 epochs."""
    generator = runtime.random_generator(seed, "perceptron")
    seen, unseen = (
        (generator.normal(size=(100, 10)).astype(np.float32), generator.integers(0, 3, 100)) for _ in range(2)
    )
    paddle.seed(runtime.derive_seed(seed, "perceptron"))
    network = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 3))
    model = paddle.Model(network)
    model.prepare(paddle.optimizer.Adam(0.001, parameters=network.parameters()), cross_entropy)
    log = _LossLog()
    samples = paddle.io.TensorDataset([paddle.to_tensor(values) for values in seen])
    with warnings.catch_warnings():
        # Paddle's own loop copies tensors in a way of which Paddle advises against.
        warnings.filterwarnings("ignore", message="To copy construct from a tensor")
        model.fit(samples, batch_size=100, epochs=100, shuffle=False, verbose=0, callbacks=[log])

    def accuracy(inputs: Any, classes: Any) -> float:
        return float((network(paddle.to_tensor(inputs)).numpy().argmax(1) == classes).mean())

    return Perceptron([*log.values[::10], log.values[-1]], accuracy(*seen), accuracy(*unseen))


class _LossLog(paddle.callbacks.Callback):
    """Keeps the loss of each step of `paddle.Model.fit`."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Note a loss; Paddle calls it."""
        del step
        self.values.append(float(np.mean(logs["loss"])))


def decompose(count: int = 1000, seed: int = 0) -> float:
    """Return the largest |entropy + KL divergence - cross-entropy| over random pairs of distributions."""
    generator = runtime.random_generator(seed, "decompose")
    truth = generator.dirichlet(np.ones(10), count)
    logits = generator.normal(scale=2, size=(count, 10))
    crossed = cross_entropy(paddle.to_tensor(logits), paddle.to_tensor(truth), "none").numpy()
    predicted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = -(truth * np.log(truth)).sum(1)
    divergence = (truth * np.log(truth / predicted)).sum(1)
    return float(np.abs(entropy + divergence - crossed).max())


def check_gradient(count: int = 1000, seed: int = 0) -> float:
    """Return the largest difference between the gradient and softmax(logits) - truth."""
    generator = runtime.random_generator(seed, "gradient")
    truth = generator.dirichlet(np.ones(10), count)
    logits = paddle.to_tensor(generator.normal(scale=2, size=(count, 10)), stop_gradient=False)
    cross_entropy(logits, paddle.to_tensor(truth), "sum").backward()
    return float(np.abs(logits.grad.numpy() - (softmax(logits.numpy()) - truth)).max())


def check_convexity(count: int = 10_000, seed: int = 0) -> float:
    """Return how far the middle of a random chord lies below the loss, at the most; 0 if none does."""
    generator = runtime.random_generator(seed, "convexity")
    ends = [paddle.to_tensor(generator.normal(scale=5, size=(count, 10))) for _ in range(2)]
    classes = paddle.to_tensor(generator.integers(0, 10, count))
    first, second = (cross_entropy(end, classes, "none") for end in ends)
    middle = cross_entropy((ends[0] + ends[1]) / 2, classes, "none")
    return max(float((middle - (first + second) / 2).max()), 0.0)


class ZeroLogarithm(NamedTuple):
    """The cost of a class of which the network is sure, by 200, that it is another; the truth is 200."""

    softmax_by_hand: float
    softmax_loss: float
    sigmoid_by_hand: float
    sigmoid_loss: float


def take_logarithm_of_zero() -> ZeroLogarithm:
    """Return the cross-entropies at such logits, step by step and with the losses on logits."""
    logits, classes = paddle.to_tensor([[0.0, 200.0]]), paddle.to_tensor([0])
    off, on = paddle.zeros([1, 1]), logits[:, 1:]
    return ZeroLogarithm(
        -paddle.log(functional.softmax(logits))[0, 0].item(),
        cross_entropy(logits, classes).item(),
        -paddle.log(1 - functional.sigmoid(on)).item(),
        sigmoid_cross_entropy(on, off).item(),
    )


def run(laboratory: Laboratory) -> Findings:
    """Check the theory in numbers, run the small example, and compare the variants."""
    perceptron = train_perceptron()
    runs = compare(laboratory)
    collapsed = train_unclipped(laboratory)
    config = runs["balanced", "plain"][0].config
    return Findings(
        method=f"The network and recipe of the preset fast, {config.epochs} epochs of at most "
        f"{config.limit_train_batches} batches of {config.batch_size} images, {len(laboratory.seeds)} seeds, "
        "on MNIST as it is (balanced) and with the training images of 0 to 4 cut to 1% (imbalanced); "
        "validation and test images are all there. Weighted: inverse to the digits' counts; focal: gamma 2; "
        f"smoothed: 0.1. Gradients are clipped to a norm of {CLIP:g} in all runs: the weights need it.",
        statements=[
            *_judge_theory(),
            *_judge_variants(runs),
            Statement(
                "Weights of fifty need care: the same weighted training collapses without clipping",
                f"test accuracy {collapsed.test.accuracy:.2%}",
                collapsed.test.accuracy < 0.5,
                (train_unclipped,),
            ),
            Statement(
                "The small perceptron's loss falls, though its labels are drawn at random",
                f"from {perceptron.losses[0]:.3f} to {perceptron.losses[-1]:.3f}; it then reads "
                f"{perceptron.seen_accuracy:.0%} of the samples it saw and {perceptron.unseen_accuracy:.0%} "
                "of new ones",
                perceptron.losses[-1] < perceptron.losses[0],
                (train_perceptron,),
            ),
        ],
        explanation="Cross-entropy counts every image the same, so that what is rare is learned last: "
        "weights say that it matters as much as the rest. The focal loss looks at what is hard instead of "
        "what is rare, and smoothing forbids to be sure: both change how far a probability can be trusted.",
        draw=lambda: _draw(runs),
        caption="Accuracy, worst recall and calibration error of four losses on two training sets.",
        data={
            **{
                f"{data}, {variant}": [run.to_json() for run in each]
                for (data, variant), each in runs.items()
            },
            "weighted without clipping": collapsed.to_json(),
            "perceptron": perceptron._asdict(),
        },
        tables=[
            Table(
                "Test digits, mean over the seeds (least to largest):",
                ("training set", "loss", "accuracy", "recall of the worst digit", "calibration error"),
                [
                    (
                        data,
                        variant,
                        percent(run.test.accuracy for run in each),
                        percent(run.worst_recall for run in each),
                        percent(run.test.expected_calibration_error for run in each),
                    )
                    for (data, variant), each in runs.items()
                ],
            ),
            Table(
                "The perceptron's loss, by epoch:",
                [str(epoch) for epoch in (*range(1, 101, 10), 100)],
                [[f"{loss:.4f}" for loss in perceptron.losses]],
            ),
        ],
    )


def _judge_theory() -> list[Statement]:
    sum_error, gradient_error, violation = decompose(), check_gradient(), check_convexity()
    zero = take_logarithm_of_zero()
    return [
        Statement(
            "Cross-entropy is the entropy of the truth plus the KL divergence",
            f"to within {sum_error:.0e}, over 1,000 pairs of distributions",
            sum_error < 1e-9,
            (decompose, cross_entropy),
        ),
        Statement(
            "Its gradient with respect to the logits is p - y",
            f"to within {gradient_error:.0e}",
            gradient_error < 1e-9,
            (check_gradient,),
        ),
        Statement(
            "It is convex in the logits",
            f"of 10,000 chords, none passes below the loss (by more than {violation:.0e})",
            violation < 1e-9,
            (check_convexity,),
        ),
        Statement(
            "Spelled out, it takes the logarithm of 0; computed from logits, it does not",
            f"cost of 200: sigmoid by hand {zero.sigmoid_by_hand:g}, from logits {zero.sigmoid_loss:g}; "
            f"softmax by hand {zero.softmax_by_hand:g}, from logits {zero.softmax_loss:g} (Paddle's bound)",
            not np.isfinite(zero.sigmoid_by_hand) and bool(np.isfinite(zero.sigmoid_loss)),
            (take_logarithm_of_zero, sigmoid_cross_entropy),
        ),
    ]


def _judge_variants(runs: Runs) -> list[Statement]:
    def gains(data: str, variant: str, score: Callable[[Run], float]) -> list[float]:
        pairs = zip(runs[data, variant], runs[data, "plain"])
        return [score(one) - score(plain) for one, plain in pairs]

    def recall(run: Run) -> float:
        return run.worst_recall

    def calibration(run: Run) -> float:
        return -run.test.expected_calibration_error

    drops = [
        one.worst_recall - two.worst_recall
        for one, two in zip(runs["balanced", "plain"], runs["imbalanced", "plain"])
    ]
    statements = [
        Statement(
            "Plain cross-entropy suffers from imbalance",
            f"the worst digit's recall {points(-drop for drop in drops)}",
            verdict(drops),
            (compare, cross_entropy),
        )
    ]
    for variant, data, score, text in (
        ("weighted", "imbalanced", recall, "Weights help the worst digit of the imbalanced set"),
        ("focal", "imbalanced", recall, "The focal loss helps it"),
        ("smoothed", "balanced", calibration, "Smoothing improves the calibration on the balanced set"),
        ("smoothed", "imbalanced", calibration, "It improves the calibration on the imbalanced set"),
    ):
        gained = gains(data, variant, score)
        what = "recall" if score is recall else "calibration error"
        change = gained if score is recall else [-gain for gain in gained]
        statements.append(
            Statement(text, f"{what} {points(change)}", verdict(gained), (compare, _LOSSES[variant]))
        )
    return statements


def _draw(runs: Runs) -> Figure:
    def score(data: str, variant: str) -> float:
        return mean(run.worst_recall for run in runs[data, variant])

    figure = Figure((10, 3.8))
    figure.suptitle(
        f"Classes 0 to 4 cut to 1%: the worst digit's recall is {score('imbalanced', 'plain'):.0%}, "
        f"with weights {score('imbalanced', 'weighted'):.0%}, balanced {score('balanced', 'plain'):.0%}"
    )
    panels = figure.subplots(1, 3, sharey=True)
    _draw_scores(panels[0], runs, lambda run: run.test.accuracy, "Test accuracy (%)")
    _draw_scores(panels[1], runs, lambda run: run.worst_recall, "Recall of the worst digit (%)")
    _draw_scores(panels[2], runs, lambda run: run.test.expected_calibration_error, "Calibration error (%)")
    panels[0].set_yticks(range(len(VARIANTS)), list(VARIANTS))
    panels[0].set_ylim(len(VARIANTS) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_scores(axes: Axes, runs: Runs, score: Callable[[Run], float], name: str) -> None:
    for (data, variant), each in runs.items():
        height = list(VARIANTS).index(variant) + (-0.12 if data == "balanced" else 0.12)
        scores = [100 * score(run) for run in each]
        label = data if variant == "plain" else None
        axes.plot(scores, [height] * len(scores), "o", color=COLORS[data], markersize=5, label=label)
        axes.annotate(
            f"{mean(scores):.1f}",
            (max(scores), height),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=COLORS[data],
        )
    axes.margins(x=0.2)
    axes.set_xlabel(name)


STUDY = Study(
    name="variants",
    title="Cross-entropy and its variants",
    source="S4",
    claim="Cross-entropy is entropy plus KL divergence, convex in the logits, with the stable gradient p - "
    "y; its faults are class imbalance and log(0). Class weights, focal loss and label smoothing help.",
    run=run,
)
