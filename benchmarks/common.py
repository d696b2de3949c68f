"""What the benchmarks share: measured processes, statistics, tables, and the files of their results."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from app.console import CommandParser, run_command, say
from app.errors import UsageError, UserError
from app.files import make_directory, write_atomically, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"

# What would change a side's threads, BLAS path or allocator: every side starts as on a new machine.
_TUNING_PREFIXES = (
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "DNNL_"),
    *("MALLOC_", "GLIBC_TUNABLES", "GLOG_", "FLAGS_", "PADDLE_", "TORCH_", "PYTORCH_"),
)

# Runs are comparable if these are equal.
MACHINE = ("processor", "cores", "paddle", "torch")


Sides = Mapping[str, Callable[[], dict[str, Any]]]
"""What to measure, by name."""

Rounds = Sequence[Mapping[str, Mapping[str, Any]]]
"""For each round, by side, what was measured."""


QUIET = 0.05
"""Cores that other programs may keep busy on average while a comparison is measured."""


class Process(NamedTuple):
    """What a finished process took."""

    seconds: float
    """Wall clock, from before its start to after its end."""

    peak_memory: int
    """Bytes; of several processes, the largest."""

    output: str


class Training(NamedTuple):
    """What a run of train.py took and came to."""

    seconds: float
    peak_memory: int
    history: list[dict[str, Any]]
    """The records of metrics.jsonl."""

    test_accuracy: float
    threads: Optional[int]
    """Threads that shared each batch, from the run's configuration; None if it does not tell."""

    def images_per_second(self) -> float:
        """Return the median of the epochs after the first, which warms up."""
        rates: list[float] = [record["images_per_second"] for record in self.history]
        return statistics.median(rates[1:] or rates)


class Finding(NamedTuple):
    """A row of a table of results."""

    what: str
    measured: str
    target: str = ""
    reached: Optional[bool] = None


def make_parser(name: str, description: Optional[str], **settings: Any) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has; `settings` are argparse's own."""
    parser = CommandParser(prog=f"python -m benchmarks.{name}", description=description, **settings)
    parser.add_argument("--quick", action="store_true", help="tiny limits, to see that everything runs")
    parser.add_argument("--data-dir", metavar="PATH", help="folder of the four MNIST files, as of train.py")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="folder for the JSON and the PNG (benchmarks/results; with --quick, a temporary one)",
    )
    return parser


def parse_rounds(name: str, description: Optional[str], rounds: int) -> argparse.Namespace:
    """Return the checked command line of a benchmark that takes `--rounds` and nothing else of its own."""
    parser = make_parser(name, description)
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"rounds ({rounds})")
    arguments = parser.parse_args()
    require_at_least_one(arguments, "rounds")
    if arguments.quick:
        arguments.rounds = 1
    return arguments


def require_at_least_one(arguments: argparse.Namespace, *names: str) -> None:
    """Raise UsageError if one of these numbers was given and is below 1."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option}: {value} is impossible, it must be at least 1")


def results_folder(arguments: argparse.Namespace) -> Path:
    """Return where the results go; quick ones never replace those of a real measurement."""
    quick = Path(tempfile.gettempdir()) / "paddle-mnist-benchmarks"
    folder: Path = arguments.results or (quick if arguments.quick else RESULTS)
    make_directory(folder)
    return folder


def require_torch() -> None:
    """Raise UserError unless PyTorch can be imported."""
    if find_spec("torch") is None:
        raise UserError('PyTorch, the other side, is not installed: python -m pip install -e ".[bench]"')


def run(*command: object) -> Process:
    """Run Python with these arguments in the repository's folder, in an environment without tuning.

    Raises:
        UserError: it failed; the message has its own.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_TUNING_PREFIXES)}
    words = [sys.executable, *map(str, command)]
    # Files, because a pipe that nobody empties would hold the process up.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        with subprocess.Popen(
            words, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        ) as process:
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                # Ctrl-C, or another signal to this process alone: the next measurement wants the cores.
                process.terminate()
                raise
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            _, reported, message = errors.read().strip().rpartition("error: ")
            # Without a message of ours it is a traceback, whose last line says what happened.
            message = message if reported else message.rpartition("\n")[2]
            raise UserError(f"{shlex.join(words[1:4])} failed ({process.returncode}): {message}")
        # macOS counts bytes, the others KiB.
        unit = 1 if sys.platform == "darwin" else 1024
        return Process(seconds, usage.ru_maxrss * unit, output.read())


def call(module: str, function: str, **arguments: Any) -> Any:
    """Return the result of `benchmarks.MODULE.FUNCTION(**arguments)` in a process of its own."""
    process = run("-m", f"benchmarks.{module}", function, json.dumps(arguments))
    return json.loads(process.output.splitlines()[-1])


def answer(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Be the process that `call` starts."""

    def main() -> int:
        name, arguments = sys.argv[1:]
        print(json.dumps(functions[name](**json.loads(arguments))))
        return 0

    run_command(main)


def train(*options: object) -> Training:
    """Run `python train.py` with these options and a run folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        process = run("train.py", "--run-dir", run_dir, *options)
        return Training(
            process.seconds,
            process.peak_memory,
            [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()],
            json.loads((run_dir / "report.json").read_text())["test"]["accuracy"],
            json.loads((run_dir / "config.json").read_text()).get("workers"),
        )


def alternate(rounds: int, sides: Sides, unit: str) -> Rounds:
    """Measure the sides in turn, A B C A B C, and return what each gave in each round.

    Each gives a dictionary whose `unit` is the figure. Added are the load average at its start and how many
    cores other programs kept busy meanwhile: a side with many threads suffers most from them.
    """
    results: list[dict[str, dict[str, Any]]] = []
    for number in range(1, rounds + 1):
        results.append({})
        for name, measure in sides.items():
            load, started, busy = os.getloadavg()[0], time.perf_counter(), _busy_elsewhere()
            result = measure()
            elapsed = time.perf_counter() - started
            others = max(0.0, _busy_elsewhere() - busy) / elapsed
            results[-1][name] = {
                **result,
                "load_average": load,
                "elapsed": elapsed,
                "cores_of_others": others,
            }
            figure = f"{result[unit]:,.0f}" if result[unit] >= 100 else f"{result[unit]:.3g}"
            threads = f"{result['threads']} threads, " if "threads" in result else ""
            say(
                f"round {number}/{rounds}  {name}: {figure} {unit}  ({threads}others used {others:.2f} cores)"
            )
    return results


def _busy_elsewhere() -> float:
    """Return the seconds of processor time that others than our finished processes have used; Linux only."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(int, words)
    used = user + nice + system + interrupts + soft_interrupts + stolen
    own = os.times()
    return used / os.sysconf("SC_CLK_TCK") - (own.user + own.system + own.children_user + own.children_system)


def median_of(rounds: Rounds, side: str, unit: str) -> float:
    """Return the median of a side's figure over the rounds."""
    values: list[float] = [one[side][unit] for one in rounds]
    return statistics.median(values)


def withhold_if_disturbed(
    findings: Sequence[Finding], measured: Iterable[Mapping[str, Any]]
) -> list[Finding]:
    """Return the findings, without a judgement on any target if other programs were busy meanwhile.

    Two threads of which one waits for a core can be twenty times slower than one: on a busy machine a peer
    seems slow that is not.
    """
    sides = list(measured)
    others = sum(side["cores_of_others"] * side["elapsed"] for side in sides)
    share = others / sum(side["elapsed"] for side in sides)
    if share <= QUIET:
        return list(findings)
    note = f"not judged: others used {share:.2f} cores"
    return [
        finding
        if finding.reached is None
        else finding._replace(target=f"{finding.target} ({note})", reached=None)
        for finding in findings
    ]


def judge(
    what: str,
    values: Sequence[float],
    form: str = "{:.2f}",
    *,
    at_least: Optional[float] = None,
    at_most: Optional[float] = None,
) -> Finding:
    """Return a row with the median and the range of `values`, against a bound if there is one."""
    median = statistics.median(values)
    measured = form.format(median)
    if len(values) > 1:
        measured += f" ({form.format(min(values))} to {form.format(max(values))})"
    if at_least is not None:
        return Finding(what, measured, f"at least {form.format(at_least)}", median >= at_least)
    if at_most is not None:
        return Finding(what, measured, f"at most {form.format(at_most)}", median <= at_most)
    return Finding(what, measured)


def mean_and_deviation(values: Sequence[float], form: str) -> str:
    """Return the mean and, of two values or more, the sample standard deviation, such as `8.1 ± 0.2`."""
    mean = form.format(statistics.mean(values))
    return f"{mean} ± {form.format(statistics.stdev(values))}" if len(values) > 1 else mean


class Line(NamedTuple):
    """A straight line through measured points."""

    slope: float
    intercept: float
    largest_residual: float
    """The largest distance of a point from the line, as a share of the point's value."""


def fit_line(xs: Sequence[float], ys: Sequence[float]) -> Line:
    """Return the least-squares line; at least two different `xs`."""
    mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / spread
    intercept = mean_y - slope * mean_x
    return Line(slope, intercept, max(abs(intercept + slope * x - y) / y for x, y in zip(xs, ys)))


def format_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal."""
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )


def describe_machine() -> dict[str, Any]:
    """Return the processor, cores, versions, what this program sets, the load average and the time."""
    return {
        **call("sides", "describe"),
        "load_average": os.getloadavg()[0],
        "measured": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def write_results(
    folder: Path,
    name: str,
    environment: Mapping[str, Any],
    findings: Sequence[Finding],
    content: Mapping[str, Any],
    options: str = "",
    *,
    benchmark: Optional[str] = None,
) -> None:
    """Write NAME.json: where it was measured, the rows of the README's table, and every single figure.

    `benchmark` is the module that was run, if its name is another.
    """
    document = {
        "command": f"python -m benchmarks.{benchmark or name} {options}".strip(),
        "environment": environment,
        "findings": [finding._asdict() for finding in findings],
        **content,
    }
    write_json(folder / f"{name}.json", document)


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomically(path, buffer.getvalue())


def new_figure(width: float = 8, height: float = 4) -> Figure:
    """Return an empty figure, size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def show(environment: Mapping[str, Any], findings: Sequence[Finding], folder: Path, name: str) -> None:
    """Print where it was measured, what was found, and where the files are."""
    said = {None: "", True: "reached", False: "missed"}
    rows = [[finding.what, finding.measured, finding.target, said[finding.reached]] for finding in findings]
    print(format_table(["what", "measured", "target", ""], rows))
    for key, value in environment.items():
        if key != "settings":
            print(f"{key}: {value}")
    for setting, value in environment["settings"].items():
        print(f"this program sets {setting}: {value}")
    print(f"figures: {folder / name}.json, .png")
