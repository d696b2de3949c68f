"""What synthetic handwriting teaches: accuracy on its own held-out digits and on MNIST, with the confusions.

A network is trained on strokes alone, as `python train.py --dataset strokes` does, and then reads the test
images of both.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from app.console import run_command
from app.datasets import CLASSES
from benchmarks import common
from benchmarks.common import Finding, judge


def measure(options: list[object], data_dir: list[object]) -> dict[str, Any]:
    """Train on strokes and evaluate on both; return the seconds and both evaluations.

    Raises:
        UserError: a command failed, as where MNIST cannot be had.
    """
    with tempfile.TemporaryDirectory() as folder:
        run_dir, transfer = Path(folder, "run"), Path(folder, "transfer")
        command = ("train.py", "--dataset", "strokes", "--run-dir", run_dir, *options)
        sides = {"training": lambda: common.run(*command)._asdict()}
        training = common.alternate(1, sides, "seconds")[0]["training"]
        common.run("-m", "app.report", run_dir, "--dataset", "mnist", "--out", transfer, *data_dir)
        own, mnist = (json.loads((path / "report.json").read_text()) for path in (run_dir, transfer))
    return {
        **{name: value for name, value in training.items() if name != "output"},
        "strokes": own["test"],
        "transfer": mnist["test"],
        "transfer_to": mnist["data"]["name"],
    }


def find(result: dict[str, Any]) -> list[Finding]:
    """Return the rows of the table."""
    to = result["transfer_to"]
    return [
        judge(
            "trained on strokes, held-out strokes", [result["strokes"]["accuracy"]], "{:.2%}", at_least=0.99
        ),
        judge(
            f"trained on strokes, test images of {to}",
            [result["transfer"]["accuracy"]],
            "{:.2%}",
            at_least=0.95,
        ),
        *common.withhold_if_disturbed(
            [judge("training on strokes, whole process, s", [result["seconds"]], "{:.0f}", at_most=300)],
            [result],
        ),
    ]


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw the confusion matrix of the transfer: counts, shaded by the share of each true digit."""
    counts = np.array(result["transfer"]["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = common.new_figure(6.4, 5.6)
    axes = figure.subplots()
    # The square root lets single mistakes show beside a thousand hits.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for true in range(CLASSES):
        for read in range(CLASSES):
            color = "white" if shares[true, read] > 0.3 else "black"
            axes.text(read, true, f"{counts[true, read]}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(CLASSES))
    axes.set_yticks(range(CLASSES))
    axes.set_xlabel("read as")
    axes.set_ylabel("true digit")
    accuracy = result["transfer"]["accuracy"]
    axes.set_title(f"Trained on strokes, read {result['transfer_to']}: {accuracy:.2%}", loc="left")
    common.write_figure(path, figure)


def main() -> int:
    """Measure, print, write."""
    arguments = common.make_parser("strokes", __doc__).parse_args()
    folder = common.results_folder(arguments)
    environment = common.describe_machine()
    options: list[object] = ["--epochs", 1, "--limit-train-batches", 20] if arguments.quick else []
    data_dir: list[object] = ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    result = measure(options, data_dir)
    findings = find(result)
    common.write_results(folder, "strokes", environment, findings, {"result": result})
    draw(folder / "strokes.png", result)
    common.show(environment, findings, folder, "strokes")
    return 0


if __name__ == "__main__":
    run_command(main)
