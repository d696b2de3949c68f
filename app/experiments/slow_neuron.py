"""S5: a sigmoid neuron that is badly wrong learns slowly from the quadratic cost, not from cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import paddle
from matplotlib.figure import Figure

from app.experiments.study import Findings, Laboratory, Statement, Study, Table
from app.losses import quadratic, sigmoid_cross_entropy
from app.report.figures import BLUE, VERMILION

STEPS = 300
RATE = 0.15
SHOWN = (0, 50, 100, 150, 200, 300)

STARTS = {"run 1": (0.6, 0.9), "run 2": (2.0, 2.0)}
"""Weight and bias: the second start is the worse one."""

COSTS = {"quadratic cost": quadratic, "cross-entropy": sigmoid_cross_entropy}


class Course(NamedTuple):
    """How a neuron learned; item n is after n steps."""

    outputs: list[float]
    costs: list[float]
    gradients: list[float]
    """Of the cost with respect to the weight."""


def train_neuron(
    cost: Callable[..., paddle.Tensor], weight: float, bias: float, steps: int = STEPS
) -> Course:
    """Train sigmoid(weight * 1 + bias) towards 0 by gradient descent, in float64.

    Paddle differentiates the cost: of the quadratic one, (a - y) sigmoid'(z) x; of cross-entropy, (a - y) x.
    """
    target = paddle.zeros([1, 1], "float64")
    parameters = [paddle.to_tensor(value, "float64", stop_gradient=False) for value in (weight, bias)]
    course = Course([], [], [])
    for _ in range(steps + 1):
        logit = (parameters[0] * 1.0 + parameters[1]).reshape([1, 1])
        loss = cost(logit, target)
        gradients = paddle.grad(loss, parameters)
        course.outputs.append(paddle.nn.functional.sigmoid(logit).item())
        course.costs.append(loss.item())
        course.gradients.append(gradients[0].item())
        with paddle.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                parameter.subtract_(RATE * gradient)
    return course


def run(_laboratory: Laboratory) -> Findings:
    """Train both starts under both costs; it takes a second, so that a quick run is the full one."""
    courses = {
        (cost, start): train_neuron(function, *values)
        for cost, function in COSTS.items()
        for start, values in STARTS.items()
    }
    rows = [[str(step), *(f"{course.outputs[step]:.6f}" for course in courses.values())] for step in SHOWN]
    return Findings(
        method=f"One input of 1, one sigmoid unit, target 0, {STEPS} steps of gradient descent at rate "
        f"{RATE}, in float64, from (weight, bias) = (0.6, 0.9) and from (2, 2), which is further off.",
        statements=_judge(courses),
        explanation="The gradient of the quadratic cost carries the slope of the sigmoid, which is flat "
        "where the neuron is sure, even if it is sure of the wrong thing. Cross-entropy cancels that factor: "
        "what is left is the error itself.",
        draw=lambda: _draw(courses),
        caption="The neuron's output and cost over 300 steps, under the quadratic cost and cross-entropy.",
        data={
            f"{cost}, {start}": {**course._asdict(), "rate": RATE}
            for (cost, start), course in courses.items()
        },
        tables=[
            Table(
                "The output, which should become 0:",
                ("step", *(f"{cost}, {start}" for cost, start in courses)),
                rows,
            )
        ],
    )


def _judge(courses: dict[tuple[str, str], Course]) -> list[Statement]:
    code = (train_neuron,)
    one, two = (courses["quadratic cost", start] for start in STARTS)
    fall = 1 - two.costs[50] / two.costs[0]
    statements = [
        Statement(
            "The quadratic cost brings run 1 to about 0.09, and run 2 only to 0.20",
            f"{one.outputs[-1]:.6f} and {two.outputs[-1]:.6f}",
            round(one.outputs[-1], 2) == 0.09 and round(two.outputs[-1], 2) == 0.20,
            (train_neuron, quadratic),
        ),
        Statement(
            "Run 2's quadratic cost hardly falls at first",
            f"by {fall:.1%} in 50 steps, run 1's by {1 - one.costs[50] / one.costs[0]:.1%}",
            fall < 0.05,
            code,
        ),
    ]
    for cost, wanted, words in (
        ("quadratic cost", False, "With the quadratic cost, the larger error learns more slowly"),
        ("cross-entropy", True, "With cross-entropy, the larger error learns faster"),
    ):
        first = [courses[cost, start].gradients[0] for start in STARTS]
        statements.append(
            Statement(
                words,
                f"gradient at the start: {first[0]:.4f} in run 1, {first[1]:.4f} in run 2",
                (first[1] > first[0]) == wanted,
                (train_neuron, COSTS[cost]),
            )
        )
    ends = [courses["cross-entropy", start].outputs[-1] for start in STARTS]
    statements.append(
        Statement(
            "With cross-entropy, both starts end close to the target, and close together",
            f"{ends[0]:.6f} and {ends[1]:.6f}",
            max(ends) < 0.05 and abs(ends[0] - ends[1]) < 0.01,
            (train_neuron, sigmoid_cross_entropy),
        )
    )
    return statements


def _draw(courses: dict[tuple[str, str], Course]) -> Figure:
    figure = Figure((8, 5.4))
    figure.suptitle("The more wrong, the slower: only with the quadratic cost")
    axes = figure.subplots(2, 2, sharex=True)
    # Where each label points at its curve, in steps, and where it stands, in shares of the panel.
    places = {
        ("quadratic cost", "run 1"): (60, (0.28, 0.52)),
        ("quadratic cost", "run 2"): (215, (0.66, 0.86)),
        ("cross-entropy", "run 1"): (12, (0.4, 0.35)),
        ("cross-entropy", "run 2"): (10, (0.25, 0.72)),
    }
    for (cost, start), course in courses.items():
        column = list(COSTS).index(cost)
        color = {"run 1": BLUE, "run 2": VERMILION}[start]
        step, place = places[cost, start]
        for panel, values in zip(axes[:, column], (course.outputs, course.costs)):
            panel.plot(values, color=color, marker="")
            panel.annotate(
                f"{start}, from {course.outputs[0]:.2f}",
                (step, values[step]),
                xytext=place,
                textcoords="axes fraction",
                color=color,
                arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.7},
            )
        axes[0, column].set(title=cost)
        axes[1, column].set(xlabel="step")
    for panel in axes.flat:
        panel.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("output (the target is 0)")
    axes[1, 0].set_ylabel("cost (half the squared error)")
    axes[1, 1].set_ylabel("cost (nats)")
    return figure


STUDY = Study(
    name="slow-neuron",
    title="The slow neuron",
    source="S5, after chapter 3 of Nielsen's book",
    claim="A sigmoid neuron that is badly wrong learns slowly from the quadratic cost, and the more slowly, "
    "the more wrong it is. From cross-entropy it learns the faster, the more wrong it is.",
    run=run,
)
