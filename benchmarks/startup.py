"""How long the commands take to start: predict.py beside a bare import of Paddle, --help, every module."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any, Callable

from app.console import run_command, say
from benchmarks import common
from benchmarks.common import Finding, Rounds, Sides, judge, median_of

PREDICT = "predict.py on one picture"
IMPORT = "bare import paddle"
HELP = ("train.py", "predict.py")

_IMPORT_AND_TIME = """
import sys, time
started = time.perf_counter()
import {module}
print(time.perf_counter() - started, int("paddle" in sys.modules))
"""


def command_sides() -> Sides:
    """Return the commands, each giving the `seconds` of its whole process."""

    def measure(*command: object) -> dict[str, Any]:
        return {"seconds": common.run(*command).seconds}

    checkpoint = Path("checkpoints", "pretrained", "best.pdparams")
    picture = Path("data", "samples", "0_black_pen.png")
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        PREDICT: partial(measure, "predict.py", "--checkpoint", checkpoint, picture),
        IMPORT: partial(measure, "-c", "import paddle"),
    }
    for script in HELP:
        sides[f"{script} --help"] = partial(measure, script, "--help")
    return sides


def list_modules() -> list[str]:
    """Return the names of the application's modules."""
    files = sorted((common.REPOSITORY / "app").rglob("*.py"))
    names = [".".join(file.relative_to(common.REPOSITORY).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith(".__main__")]


def time_import(module: str, rounds: int) -> dict[str, Any]:
    """Return the median seconds of importing a module in a fresh process, and whether Paddle came with it."""
    outputs = [common.run("-c", _IMPORT_AND_TIME.format(module=module)).output for _ in range(rounds)]
    seconds, paddle = zip(*(map(float, output.split()) for output in outputs))
    say(f"import {module}: {statistics.median(seconds):.3f} s")
    return {"seconds": statistics.median(seconds), "imports_paddle": bool(paddle[0])}


def find(rounds: Rounds, modules: dict[str, dict[str, Any]]) -> list[Finding]:
    """Return the rows of the table."""
    ratios = [one[PREDICT]["seconds"] / one[IMPORT]["seconds"] for one in rounds]
    light = {name: module["seconds"] for name, module in modules.items() if not module["imports_paddle"]}
    slowest = max(light, key=lambda name: light[name])
    findings = [
        judge(f"{PREDICT} : {IMPORT}", ratios, at_most=1.25),
        *(judge(f"{side}, s", [one[side]["seconds"] for one in rounds]) for side in (PREDICT, IMPORT)),
    ]
    for script in HELP:
        times = [one[f"{script} --help"]["seconds"] for one in rounds]
        findings.append(judge(f"{script} --help, s", times, at_most=0.3))
    what = f"import of the slowest of {len(light)} modules without Paddle"
    findings.append(Finding(what, f"{light[slowest]:.2f} s ({slowest})"))
    return findings


def draw(path: Path, rounds: Rounds, modules: dict[str, dict[str, Any]]) -> None:
    """Draw all times as bars."""
    times = {side: median_of(rounds, side, "seconds") for side in rounds[0]}
    times.update({f"import {name}": module["seconds"] for name, module in modules.items()})
    figure = common.new_figure(8, 1 + 0.22 * len(times))
    ax = figure.subplots()
    bars = ax.barh(list(times)[::-1], list(times.values())[::-1], color="#0072b2")
    ax.bar_label(bars, [f"{seconds:.2f}" for seconds in reversed(times.values())], padding=3)
    ax.margins(x=0.1, y=0.01)
    ax.set_xlabel("seconds")
    common.write_figure(path, figure)


def main() -> int:
    """Measure, print, write."""
    arguments = common.parse_rounds("startup", __doc__, 9)
    folder = common.results_folder(arguments)
    environment = common.describe_machine()
    sides = command_sides()
    if not arguments.quick:
        say("warming up: byte code and file cache")
        common.alternate(1, sides, "seconds")
    rounds = common.alternate(arguments.rounds, sides, "seconds")
    names = ["app.config", "app.console"] if arguments.quick else list_modules()
    modules = {name: time_import(name, 1 if arguments.quick else 3) for name in names}
    findings = find(rounds, modules)
    findings = common.withhold_if_disturbed(findings, [side for one in rounds for side in one.values()])
    content = {"rounds": rounds, "modules": modules}
    common.write_results(folder, "startup", environment, findings, content, f"--rounds {arguments.rounds}")
    draw(folder / "startup.png", rounds, modules)
    common.show(environment, findings, folder, "startup")
    return 0


if __name__ == "__main__":
    run_command(main)
