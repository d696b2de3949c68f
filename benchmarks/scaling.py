"""Throughput and memory of train.py over workers, batch sizes and numbers of training images.

The larger data sets are MNIST over and over, written as IDX files into a temporary folder. They are trained
on for one whole epoch; time and memory must grow in proportion to the images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable

from app.console import run_command
from benchmarks import common
from benchmarks.common import Finding, Rounds, Sides, call, fit_line, median_of

BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
COUNTS = (10_000, 30_000, 60_000, 120_000, 300_000, 600_000)
WORKERS = (1, 2)

MEMORY_TARGET = 1024
"""Bytes of peak memory per training image above the base."""

RESIDUAL_TARGET = 0.1
"""Largest distance of a time from the straight line, as a share of it."""


def measure(*options: object) -> dict[str, Any]:
    """Return throughput, seconds and peak memory of a run of the default preset."""
    run = common.train("--preset", "default", "--limit-validation-batches", 1, *options)
    return {
        "images_per_second": run.images_per_second(),
        "seconds": run.seconds,
        "peak_memory": run.peak_memory,
    }


def batch_sides(data_dir: str, sizes: Sequence[int], images: int, validation: int) -> Sides:
    """Return a side for each number of workers and batch size."""
    sides: dict[str, Callable[[], dict[str, Any]]] = {}
    for count in WORKERS:
        for size in sizes:
            options = ["--data-dir", data_dir, "--epochs", 2, "--validation-size", validation]
            options += ["--batch-size", size, "--limit-train-batches", max(1, images // size)]
            sides[f"workers: {count}, batch {size}"] = partial(measure, *options, "--workers", count)
    return sides


def measure_counts(data_dir: str, counts: Sequence[int], rounds: int, validation: int) -> Rounds:
    """Return rounds of one whole epoch on data sets of so many images."""
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Callable[[], dict[str, Any]]] = {}
        for count in counts:
            part = Path(folder) / str(count)
            part.mkdir()
            # In another process: a child's peak memory is never below what its parent has when it starts.
            call("sides", "write_repeated", data_dir=data_dir, count=count, folder=str(part))
            options = ("--data-dir", part, "--epochs", 1, "--validation-size", validation)
            for workers in WORKERS:
                sides[f"workers: {workers}, images {count}"] = partial(
                    measure, *options, "--workers", workers
                )
        return common.alternate(rounds, sides, "seconds")


def by_workers(rounds: Rounds) -> dict[str, dict[int, str]]:
    """Return for each number of workers, in words, the sides by batch size or number of images."""
    groups: dict[str, dict[int, str]] = {}
    for side in rounds[0]:
        workers, size = side.split(", ")
        groups.setdefault(workers, {})[int(size.split()[1])] = side
    return groups


def find(batches: Rounds, images: Rounds) -> list[Finding]:
    """Return the rows of the table."""
    findings = []
    for workers, sides in by_workers(batches).items():
        rates = [
            f"{size}: {median_of(batches, side, 'images_per_second'):,.0f}" for size, side in sides.items()
        ]
        memory = max(median_of(batches, side, "peak_memory") for side in sides.values())
        what = f"training, default preset, {workers}, images/s by batch size"
        findings.append(Finding(what, f"{', '.join(rates)} (peak memory at most {memory / 2**20:,.0f} MiB)"))
    for workers, sides in by_workers(images).items():
        counts = list(sides)
        time_line, memory_line = (
            fit_line(counts, [median_of(images, side, unit) for side in sides.values()])
            for unit in ("seconds", "peak_memory")
        )
        span = f"{counts[0]:,} to {counts[-1]:,} images, {workers}"
        measured = (
            f"{time_line.intercept:.1f} s + {1e6 * time_line.slope:,.0f} µs an image, "
            f"off the line by at most {time_line.largest_residual:.0%}"
        )
        reached = time_line.largest_residual <= RESIDUAL_TARGET
        findings.append(Finding(f"time of a whole epoch, {span}", measured, "linear within 10%", reached))
        measured = f"{memory_line.slope:,.0f} bytes an image above {memory_line.intercept / 2**20:,.0f} MiB"
        reached = memory_line.slope <= MEMORY_TARGET
        findings.append(Finding(f"peak memory, {span}", measured, "at most 1,024 bytes", reached))
    return findings


def draw(path: Path, batches: Rounds, images: Rounds) -> None:
    """Draw throughput over batch size, and seconds and memory over images."""
    figure = common.new_figure(12, 3.6)
    left, middle, right = figure.subplots(1, 3)
    for workers, sides in by_workers(batches).items():
        rates = [median_of(batches, side, "images_per_second") for side in sides.values()]
        left.plot(list(sides), rates, marker="o", label=workers)
    left.set_xscale("log", base=2)
    left.xaxis.set_major_formatter("{x:g}")
    left.set_ylim(0, 1.1 * left.get_ylim()[1])
    left.set_xlabel("images in a batch")
    left.set_ylabel("training, images/s")
    left.legend()
    for ax, unit, factor, label in (
        (middle, "seconds", 1.0, "seconds, one whole epoch"),
        (right, "peak_memory", 2.0**20, "peak memory, MiB"),
    ):
        for number, (workers, sides) in enumerate(by_workers(images).items()):
            counts = list(sides)
            values = [median_of(images, side, unit) / factor for side in sides.values()]
            line = fit_line(counts, values)
            ax.plot(counts, values, "o", color=f"C{number}", label=workers)
            fitted = [line.intercept + line.slope * count for count in counts]
            ax.plot(counts, fitted, linewidth=1, color=f"C{number}")
        ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
        ax.legend()
        ax.set_xlabel("training images")
        ax.set_ylabel(label)
    common.write_figure(path, figure)


def main() -> int:
    """Measure, print, write."""
    arguments = common.parse_rounds("scaling", __doc__, 2)
    folder = common.results_folder(arguments)
    environment = common.describe_machine()
    data_dir = call("sides", "find_data", data_dir=arguments.data_dir)
    sizes, counts = (BATCH_SIZES[:2], (300, 900)) if arguments.quick else (BATCH_SIZES, COUNTS)
    images, validation = (128, 100) if arguments.quick else (25_600, 1000)
    sides = batch_sides(data_dir, sizes, images, validation)
    batches = common.alternate(arguments.rounds, sides, "images_per_second")
    epochs = measure_counts(data_dir, counts, arguments.rounds, validation)
    findings = find(batches, epochs)
    measured = [side for one in [*batches, *epochs] for side in one.values()]
    findings = common.withhold_if_disturbed(findings, measured)
    content = {"batches": batches, "images": epochs}
    common.write_results(folder, "scaling", environment, findings, content, f"--rounds {arguments.rounds}")
    draw(folder / "scaling.png", batches, epochs)
    common.show(environment, findings, folder, "scaling")
    return 0


if __name__ == "__main__":
    run_command(main)
