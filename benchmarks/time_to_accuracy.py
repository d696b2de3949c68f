"""Seconds of wall clock, whole process, until 98, 99.0 and 99.2% test accuracy, beside published examples.

This program: `python train.py --preset P --seed S` from its start to its end, report included, and the test
accuracy that it reports. The peers: PyTorch's official MNIST example and Keras' convnet example (in PyTorch),
whose test accuracy is looked at after every epoch; their clock runs from the start of the process too. Every
run is kept in the JSON; another call measures only what is missing there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Optional

from app.config import PRESETS
from app.console import run_command
from app.errors import UserError
from benchmarks import common
from benchmarks.common import Finding, call, mean_and_deviation, withhold_if_disturbed
from benchmarks.table import load

THRESHOLDS = (0.98, 0.99, 0.992)

EPOCHS = {"pytorch-example": 14, "keras-example": 15}
"""The peers, and how long each of them trains."""

PROGRAM = ["fast", "default"]

TARGETS = {"fast": (0.99, 40), "default": (0.994, 15)}
"""Mean test accuracy to reach, and how many times as fast as PyTorch's whole example."""

MEMORY_TARGET = 1 << 30

Runs = dict[str, dict[str, dict[str, Any]]]
"""The runs by side, then by seed (as text, because JSON has no other keys)."""


def run_program(preset: str, seed: int, data_dir: str, quick: bool) -> dict[str, Any]:
    """Return seconds, test accuracy and peak memory of a whole run of train.py."""
    limits = ("--epochs", 1, "--limit-train-batches", 5, "--limit-validation-batches", 1) if quick else ()
    run = common.train("--preset", preset, "--seed", seed, "--data-dir", data_dir, *limits)
    history = [{"seconds": run.seconds, "accuracy": run.test_accuracy}]
    taken = {"seconds": run.seconds, "peak_memory": run.peak_memory, "threads": run.threads}
    return {"history": history, **taken}


def run_peer(example: str, seed: int, epochs: int, data_dir: str, cores: int, batches: int) -> dict[str, Any]:
    """Return seconds and test accuracy after each epoch of a peer, and the seconds of its whole process."""
    arguments = {"example": example, "seed": seed, "epochs": epochs, "data_dir": data_dir, "threads": cores}
    started = time.monotonic()
    result = call("pytorch", "run_example", **arguments, batches=batches, started=started)
    return {**result, "seconds": time.monotonic() - started}


def seconds_until(run: dict[str, Any], threshold: float) -> Optional[float]:
    """Return when a run first had a test accuracy of at least `threshold`, None for never."""
    reached = (epoch["seconds"] for epoch in run["history"] if epoch["accuracy"] >= threshold)
    return next(reached, None)


def load_runs(path: Path, environment: dict[str, Any], again: bool) -> Runs:
    """Return the runs that are in the JSON already.

    Raises:
        UserError: the file is damaged, or they are of another machine or other versions, which `again`
            replaces altogether.
    """
    if not path.exists():
        return {}
    document = load(path)
    for name in common.MACHINE:
        here, there = environment[name], document["environment"][name]
        if here != there and not again:
            raise UserError(f"{path}: measured with {name} {there}, here it is {here}; --again starts afresh")
        if here != there:
            return {}
    runs: Runs = document["runs"]
    return runs


def summarise(runs: Runs) -> list[Finding]:
    """Return a row for each side: time, accuracy, and how many times as fast as PyTorch's whole example."""
    example = runs.get("pytorch-example", {}).values()
    base = statistics.mean(run["seconds"] for run in example) if example else None
    findings = []
    for side, by_seed in runs.items():
        all_runs = list(by_seed.values())
        seconds = [run["seconds"] for run in all_runs]
        accuracy = [run["history"][-1]["accuracy"] for run in all_runs]
        parts = [
            f"{mean_and_deviation(seconds, '{:.1f}')} s",
            f"test {mean_and_deviation(accuracy, '{:.2%}')}, seeds: {len(all_runs)}",
        ]
        target, reached = "", None
        if side in PRESETS:
            what = f"whole `python train.py --preset {side}` : PyTorch's example, 14 epochs"
            if side in TARGETS:
                least, times = TARGETS[side]
                target = f"at most 1 : {times}, test at least {least:.1%}"
                fast_enough = base is not None and base / statistics.mean(seconds) >= times
                reached = fast_enough and statistics.mean(accuracy) >= least
            if base is not None:
                parts.insert(0, f"1 : {base / statistics.mean(seconds):.1f}")
        else:
            what = f"{side} in PyTorch, whole process"
        for threshold in THRESHOLDS:
            parts.append(f"{threshold:.1%} {describe_threshold(all_runs, threshold)}")
        findings.append(Finding(what, ", ".join(parts), target, reached))
    memory = [run["peak_memory"] for run in runs.get("default", {}).values()]
    if memory:
        measured = f"{max(memory) / 2**20:,.0f} MiB"
        reached = max(memory) <= MEMORY_TARGET
        findings.append(Finding("peak memory of `python train.py`", measured, "at most 1,024 MiB", reached))
    return withhold_if_disturbed(findings, [run for by_seed in runs.values() for run in by_seed.values()])


def seeds_in(runs: Runs, sides: Iterable[str]) -> int:
    """Return the most seeds that one of the sides has."""
    return max(len(runs.get(side, {})) for side in sides)


def describe_threshold(runs: list[dict[str, Any]], threshold: float) -> str:
    """Return the mean time to a test accuracy over the runs that reached it, and how many did if not all."""
    times = [seconds for run in runs if (seconds := seconds_until(run, threshold)) is not None]
    if not times:
        return "never"
    some = "" if len(times) == len(runs) else f" ({len(times)} of {len(runs)})"
    return f"after {mean_and_deviation(times, '{:.1f}')} s{some}"


def draw(path: Path, runs: Runs) -> None:
    """Draw test accuracy over seconds: a curve for a run of a peer, a point for one of this program."""
    figure = common.new_figure()
    ax = figure.subplots()
    for number, (side, by_seed) in enumerate(runs.items()):
        for run in by_seed.values():
            seconds = [epoch["seconds"] for epoch in run["history"]]
            accuracy = [100 * epoch["accuracy"] for epoch in run["history"]]
            ax.plot(seconds, accuracy, color=f"C{number}", marker="o", markersize=4, linewidth=1)
        ax.plot([], [], color=f"C{number}", marker="o", label=side)
    for threshold in THRESHOLDS:
        ax.axhline(100 * threshold, color="#8a8f98", linewidth=0.6)
    ax.set_xscale("log")
    ax.set_xlabel("seconds since the start of the process")
    ax.set_ylabel("test accuracy, %")
    best = max(run["history"][-1]["accuracy"] for by_seed in runs.values() for run in by_seed.values())
    if best > THRESHOLDS[0]:
        ax.set_ylim(97.5, 99.8)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("{x:g}")
    ax.legend()
    common.write_figure(path, figure)


def parse_arguments() -> argparse.Namespace:
    """Return the checked command line."""
    parser = common.make_parser("time_to_accuracy", __doc__)
    sides = [*PROGRAM, *EPOCHS]
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N-1 (5)")
    parser.add_argument(
        "--seeds-of-peers", type=int, default=2, metavar="N", help="the same for the peers (2)"
    )
    parser.add_argument("--only", nargs="+", choices=sides, default=sides, metavar="SIDE", help=str(sides))
    parser.add_argument("--again", action="store_true", help="measure also what the JSON has already")
    parser.add_argument(
        "--epochs-of-peers", type=int, metavar="N", help="stop the peers after N epochs, kept as other sides"
    )
    arguments = parser.parse_args()
    common.require_at_least_one(arguments, "seeds", "seeds_of_peers", "epochs_of_peers")
    if arguments.quick:
        arguments.seeds, arguments.again, arguments.epochs_of_peers = 1, True, 1
    return arguments


def main() -> int:
    """Measure what is missing, one seed after the other, sides in turn; print, write after every run."""
    arguments = parse_arguments()
    if set(arguments.only) & set(EPOCHS):
        common.require_torch()
    folder = common.results_folder(arguments)
    environment = common.describe_machine()
    path = folder / "time_to_accuracy.json"
    runs = load_runs(path, environment, arguments.again)
    data_dir = call("sides", "find_data", data_dir=arguments.data_dir)
    for seed in range(arguments.seeds):
        for side in arguments.only:
            if side in EPOCHS and seed >= arguments.seeds_of_peers:
                continue
            limit = arguments.epochs_of_peers if side in EPOCHS else None
            by_seed = runs.setdefault(f"{side} ({limit} epochs)" if limit else side, {})
            if str(seed) in by_seed and not arguments.again:
                continue
            if side in EPOCHS:
                epochs, batches = limit or EPOCHS[side], 5 if arguments.quick else 0
                measure = partial(run_peer, side, seed, epochs, data_dir, environment["cores"], batches)
            else:
                measure = partial(run_program, side, seed, data_dir, arguments.quick)
            name = f"{side}, seed {seed}"
            started = time.strftime("%Y-%m-%d %H:%M %z")
            measured = common.alternate(1, {name: measure}, "seconds")[0][name]
            by_seed[str(seed)] = {**measured, "started": started}
            options = f"--seeds {seeds_in(runs, PROGRAM)} --seeds-of-peers {seeds_in(runs, EPOCHS)}"
            common.write_results(folder, path.stem, environment, summarise(runs), {"runs": runs}, options)
    rows = [
        [side, *(describe_threshold(list(by_seed.values()), threshold) for threshold in THRESHOLDS)]
        for side, by_seed in runs.items()
    ]
    print(common.format_table(["seconds until", *(f"{threshold:.1%}" for threshold in THRESHOLDS)], rows))
    draw(folder / "time_to_accuracy.png", runs)
    common.show(environment, summarise(runs), folder, "time_to_accuracy")
    return 0


if __name__ == "__main__":
    run_command(main)
