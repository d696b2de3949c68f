"""Training throughput and evaluation time beside PyTorch and Paddle as it comes; the arithmetic floor.

The same network, batch size, optimiser and data on every side, each side in fresh processes, in turn over
several rounds; a ratio is taken within a round, and the median of the rounds is what counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from functools import partial
from pathlib import Path
from typing import Any, Callable

from app.config import PRESETS, TrainConfig, halved_side
from app.console import run_command
from app.datasets import CLASSES, SIDE
from benchmarks import common
from benchmarks.common import Finding, Rounds, Sides, call, judge, median_of

EPOCHS = 3
"""The first warms up."""

PROGRAM = "this program"
PLAIN = "Paddle as it comes"
PLAIN_LOADER = "Paddle as it comes, loading image by image"
PEERS = ("PyTorch, contiguous", "PyTorch, channels-last")
"""With all cores."""


def training_flop(config: TrainConfig) -> int:
    """Return the floating-point operations of training on one image, a multiply-add counting as two.

    Forward, gradient of the weights, gradient of the inputs: three products of the same size a layer, two in
    the first one, whose inputs need no gradient. Only convolutions and linear layers count.
    """
    first, second = config.channels
    window = config.kernel_size**2
    places = 4 if config.downsampling == "max-pool" else 1
    side, products = SIDE, []
    for kernels in (first, first * second):
        side = halved_side(side, config.kernel_size, config.padding)
        products.append(places * side**2 * window * kernels)
    features = second * side**2
    widths = [features, *([config.hidden] if config.hidden else []), CLASSES]
    products += [inputs * outputs for inputs, outputs in zip(widths, widths[1:])]
    return 2 * (3 * sum(products) - products[0])


def training_sides(config: TrainConfig, data_dir: str, batches: int, cores: int, validation: int) -> Sides:
    """Return the sides that train the preset's network, each giving `images_per_second` and its threads."""

    def this_program() -> dict[str, Any]:
        run = common.train(
            *("--preset", config.preset, "--epochs", EPOCHS, "--data-dir", data_dir),
            *("--shift", 0, "--rotation", 0, "--scale", 0, "--shear", 0),
            *("--limit-train-batches", batches, "--limit-validation-batches", 1),
            *("--validation-size", validation),
        )
        return {"images_per_second": run.images_per_second(), "threads": run.threads}

    content = {"config": dataclasses.replace(config, validation_size=validation).to_json()}
    common_arguments = {**content, "data_dir": data_dir, "epochs": EPOCHS}
    torch_side = partial(call, "pytorch", "train", **common_arguments, batches=batches)
    sides: dict[str, Callable[[], dict[str, Any]]] = {PROGRAM: this_program}
    for threads, suffix in ((cores, ""), (1, ", one thread")):
        for name, layout in zip(PEERS, ("contiguous", "channels-last")):
            sides[name + suffix] = partial(torch_side, threads=threads, layout=layout)
    if config.preset == "tutorial":
        # It is slow: a quarter of the batches measures it as well.
        plain = partial(call, "sides", "train_plainly", **common_arguments, batches=-(-batches // 4))
        sides[PLAIN] = partial(plain, image_by_image=False)
        sides[PLAIN_LOADER] = partial(plain, image_by_image=True)
    return sides


def evaluation_sides(config: TrainConfig, data_dir: str, repeats: int, cores: int) -> Sides:
    """Return the sides that turn the test images into logits, each giving `seconds`."""
    arguments = {"config": config.to_json(), "data_dir": data_dir, "repeats": repeats}
    return {
        PROGRAM: partial(call, "sides", "evaluate", **arguments),
        "PyTorch": partial(call, "pytorch", "evaluate", **arguments, threads=cores),
    }


def compare_training(preset: str, rounds: Rounds, target: float) -> list[Finding]:
    """Return the throughput of every side, then the ratios that have a target."""
    network = f"{preset} network"
    findings = [
        judge(
            f"training, {network}, {side}, images/s",
            [one[side]["images_per_second"] for one in rounds],
            "{:,.0f}",
        )
        for side in rounds[0]
    ]

    def ratios(*peers: str) -> list[float]:
        unit = "images_per_second"
        return [one[PROGRAM][unit] / max(one[peer][unit] for peer in peers) for one in rounds]

    what = f"training, {network}, this program : PyTorch on all cores, the better layout"
    findings.append(judge(what, ratios(*PEERS), at_least=target))
    if PLAIN in rounds[0]:
        what = f"training, {network}, this program : Paddle as it comes, the step alone"
        findings.append(judge(what, ratios(PLAIN), at_least=6.0))
    return findings


def compare_floor(preset: str, config: TrainConfig, rounds: Rounds, product: Rounds) -> list[Finding]:
    """Return what the arithmetic alone would allow, and how much of it the program reaches."""
    flop = training_flop(config)
    floor = median_of(product, "matrix product", "flops") / flop
    reached = median_of(rounds, PROGRAM, "images_per_second") / floor
    what = f"arithmetic floor, {preset} network, images/s"
    return [Finding(what, f"{floor:,.0f} ({flop / 1e6:.1f} MFLOP an image; {reached:.0%} of it reached)")]


def compare_evaluation(preset: str, rounds: Rounds) -> list[Finding]:
    """Return the times of both sides and their ratio."""
    what = f"evaluation of the test images, {preset} network"
    ratios = [one[PROGRAM]["seconds"] / one["PyTorch"]["seconds"] for one in rounds]
    return [
        *(
            judge(f"{what}, {side}, s", [one[side]["seconds"] for one in rounds], "{:.3f}")
            for side in rounds[0]
        ),
        judge(f"{what}, this program : PyTorch's best", ratios, at_most=1.0),
    ]


def draw(path: Path, training: dict[str, Rounds], floors: dict[str, float]) -> None:
    """Draw the throughput of every side, with the arithmetic floor's as a line."""
    figure = common.new_figure(9, 1.2 + 0.35 * sum(len(rounds[0]) for rounds in training.values()))
    axes = figure.subplots(
        len(training), 1, squeeze=False, height_ratios=[len(rounds[0]) for rounds in training.values()]
    )
    for (preset, rounds), ax in zip(training.items(), axes[:, 0]):
        sides = list(rounds[0])[::-1]
        rates = [median_of(rounds, side, "images_per_second") for side in sides]
        bars = ax.barh(sides, rates, color=["#d55e00" if side == PROGRAM else "#8a8f98" for side in sides])
        ax.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3)
        ax.set_title(f"{preset} network (products alone: {floors[preset]:,.0f})", loc="left")
        ax.margins(x=0.15)
    axes[-1, 0].set_xlabel("training, images/s")
    common.write_figure(path, figure)


def parse_arguments() -> argparse.Namespace:
    """Return the checked command line."""
    parser = common.make_parser("speed", __doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of all sides (5)")
    parser.add_argument("--batches", type=int, default=200, metavar="N", help="batches an epoch (200)")
    arguments = parser.parse_args()
    common.require_at_least_one(arguments, "rounds", "batches")
    if arguments.quick:
        arguments.rounds, arguments.batches = 1, 3
    return arguments


def main() -> int:
    """Measure, print, write."""
    arguments = parse_arguments()
    common.require_torch()
    folder = common.results_folder(arguments)
    environment = common.describe_machine()
    data_dir = call("sides", "find_data", data_dir=arguments.data_dir)
    side, repeats, validation = (256, 1, 100) if arguments.quick else (2048, 10, 10_000)
    cores, rounds = environment["cores"], arguments.rounds

    measure = partial(call, "sides", "matrix_product", side=side, repeats=repeats)
    product = common.alternate(rounds, {"matrix product": measure}, "flops")
    rate = statistics.median(one["matrix product"]["flops"] for one in product)
    findings = [Finding(f"float32 products of {side}x{side}, all cores", f"{rate / 1e9:,.0f} GFLOP/s")]
    training: dict[str, Rounds] = {}
    evaluation: dict[str, Rounds] = {}
    floors = {}
    for preset, target in (("tutorial", 0.6), ("default", 1.0)):
        config = PRESETS[preset]
        sides = training_sides(config, data_dir, arguments.batches, cores, validation)
        training[preset] = common.alternate(rounds, sides, "images_per_second")
        sides = evaluation_sides(config, data_dir, repeats, cores)
        evaluation[preset] = common.alternate(rounds, sides, "seconds")
        floors[preset] = rate / training_flop(config)
        findings += compare_training(preset, training[preset], target)
        findings += compare_floor(preset, config, training[preset], product)
        findings += compare_evaluation(preset, evaluation[preset])
    everything = [product, *training.values(), *evaluation.values()]
    measured = [side for rounds_of_one in everything for one in rounds_of_one for side in one.values()]
    findings = common.withhold_if_disturbed(findings, measured)
    content = {"matrix_product": product, "training": training, "evaluation": evaluation}
    options = f"--rounds {arguments.rounds} --batches {arguments.batches}"
    common.write_results(folder, "speed", environment, findings, content, options)
    draw(folder / "speed.png", training, floors)
    common.show(environment, findings, folder, "speed")
    return 0


if __name__ == "__main__":
    run_command(main)
