"""Where the time of a step goes, in training and evaluation, and what threads and fast layers gain.

Of a step of one thread, each operation of oneDNN (`app/onednn.py`) is timed, and the optimiser; what is left
are the linear layers, the loss, and the bookkeeping of Paddle and of this program.
"""

from __future__ import annotations

import dataclasses
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from app.config import PRESETS
from app.console import run_command
from benchmarks import common
from benchmarks.common import Finding, Rounds, call, judge, median_of

TASKS = ("training", "evaluation")

PROFILED = "one thread, profiled"
ONE, ALL, PLAIN = "one thread", "all threads", "one thread, Paddle's own layers"


def find(task: str, preset: str, rounds: Rounds) -> list[Finding]:
    """Return the rows of one task and network: the parts of a step, what threads gain, what fast layers."""
    what = f"{task}, {preset} network, {rounds[0][ONE]['images']:,} images"
    parts: dict[str, float] = {
        part: statistics.median(one[PROFILED]["parts"][part] for one in rounds)
        for part in rounds[0][PROFILED]["parts"]
    }
    shares = ", ".join(f"{part} {1000 * seconds:.1f}" for part, seconds in parts.items() if seconds > 0)
    total = 1000 * median_of(rounds, PROFILED, "seconds")
    return [
        Finding(f"{what}, one thread, ms", f"{total:.1f}: {shares}"),
        judge(
            f"{what}, one thread : all threads", [one[ONE]["seconds"] / one[ALL]["seconds"] for one in rounds]
        ),
        judge(
            f"{what}, Paddle's own layers : fast layers, one thread",
            [one[PLAIN]["seconds"] / one[ONE]["seconds"] for one in rounds],
            at_least=1.3 if task == "training" else None,
        ),
    ]


def draw(path: Path, measured: dict[tuple[str, str], Rounds]) -> None:
    """Draw the parts of each step, one bar for each."""
    figure = common.new_figure(8, 1.5 + 0.5 * len(measured))
    ax = figure.subplots()
    names = [f"{task}, {preset}" for task, preset in measured]
    starts = [0.0] * len(names)
    for part in next(iter(measured.values()))[0][PROFILED]["parts"]:
        widths = [
            1000 * statistics.median(one[PROFILED]["parts"][part] for one in rounds)
            for rounds in measured.values()
        ]
        ax.barh(names, widths, left=starts, label=part)
        starts = [start + width for start, width in zip(starts, widths)]
    ax.invert_yaxis()
    ax.set_xlabel("ms for a batch on one thread")
    ax.legend()
    common.write_figure(path, figure)


def main() -> int:
    """Measure, print, write."""
    arguments = common.parse_rounds("step", __doc__, 3)
    folder = common.results_folder(arguments)
    environment = common.describe_machine()
    data_dir = call("sides", "find_data", data_dir=arguments.data_dir)
    steps = 2 if arguments.quick else 60
    measured: dict[tuple[str, str], Rounds] = {}
    findings: list[Finding] = []
    for preset in ("tutorial", "default", "best"):
        config = dataclasses.asdict(PRESETS[preset])
        for task in TASKS:
            step = partial(
                call, "sides", "time_steps", config=config, data_dir=data_dir, task=task, steps=steps
            )
            sides: dict[str, Any] = {
                PROFILED: partial(step, threads=1, is_fast=True, is_profiled=True),
                ONE: partial(step, threads=1, is_fast=True),
                ALL: partial(step, threads=environment["cores"], is_fast=True),
                PLAIN: partial(step, threads=1, is_fast=False),
            }
            rounds = common.alternate(arguments.rounds, sides, "seconds")
            measured[task, preset] = rounds
            findings += find(task, preset, rounds)
    everything = [side for rounds in measured.values() for one in rounds for side in one.values()]
    findings = common.withhold_if_disturbed(findings, everything)
    content = {"steps": {f"{task}, {preset}": rounds for (task, preset), rounds in measured.items()}}
    options = f"--rounds {arguments.rounds}"
    common.write_results(folder, "step", environment, findings, content, options)
    draw(folder / "step.png", measured)
    common.show(environment, findings, folder, "step")
    return 0


if __name__ == "__main__":
    run_command(main)
