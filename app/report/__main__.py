"""`python -m app.report` writes the report of a run or a checkpoint, or averages several."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from app import runtime
from app.config import DATASETS
from app.console import CommandParser, named, named_path, printable, run_command, say
from app.errors import UsageError
from app.evaluation import Evaluation, format_accuracy
from app.files import make_directory, write_json
from app.report import read_history, write_report
from app.report.ensemble import examine_ensemble
from app.report.findings import recorded_config, was_trained_on

if TYPE_CHECKING:
    from app.checkpoint import Checkpoint
    from app.datasets import DataSet


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Write the report of one run, or evaluate several together; print accuracies on standard output."""
    parser = CommandParser(
        prog="python -m app.report",
        description="Evaluate a checkpoint and write its report. Of several, evaluate each of them and the "
        "average of their probabilities instead.",
    )
    parser.add_argument(
        "runs", type=named_path, nargs="+", metavar="RUN", help="folder of a run, or a .pdparams file"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data-dir", type=named, metavar="DIR", help="folder of the four MNIST files (gzip or plain)"
    )
    source.add_argument(
        "--data", type=named, metavar="FILE", help="evaluate on this file in the tutorial's format instead"
    )
    parser.add_argument(
        "--dataset", choices=DATASETS, help="evaluate on MNIST or on synthetic handwriting instead"
    )
    parser.add_argument(
        "--out",
        type=named_path,
        metavar="DIR",
        help="where to write (the run's folder, or NAME-report beside a file; of other data than it was "
        "trained on, other-data in there); of several runs, "
        "where to write ensemble.json (nowhere)",
    )
    options = parser.parse_args(arguments)
    runtime.prepare()
    from app.checkpoint import load_checkpoint, resolve_checkpoint
    from app.datasets.dataset import find_again, load_data

    paths = [resolve_checkpoint(run) for run in options.runs]
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise UsageError(f"{path}: given twice; it would count twice in the average")
    checkpoints = [load_checkpoint(path) for path in paths]
    config = recorded_config(checkpoints[0])
    if options.data_dir or options.data or options.dataset:
        dataset = options.dataset or "mnist"
        config = replace(config, data_dir=options.data_dir, data=options.data, dataset=dataset)
    else:
        config = find_again(config)
    data = load_data(config)
    if len(checkpoints) > 1:
        _report_ensemble(checkpoints, data, options.out)
    else:
        _report_one(checkpoints[0], data, options.runs[0], options.out)
    return 0


def _report_one(checkpoint: Checkpoint, data: DataSet, run: Path, out: Optional[Path]) -> None:
    path = checkpoint.path
    out_dir = run if run.is_dir() else path.with_name(f"{path.stem}-report")
    if was_trained_on(checkpoint, data) is False:
        # The report of a run, which tells how well it learned, is of its own data.
        out_dir /= "other-data"
    history = read_history(path.with_name("metrics.jsonl"))
    report = write_report(checkpoint, data, out or out_dir, history)
    _say_doubts([path], [report.doubt])
    sys.stdout.write(
        f"validation accuracy{data.qualification}: {_accuracy(report.validation)}\n"
        f"test accuracy{data.qualification}: {_accuracy(report.test)}\n"
        f"report: {report.html}\n"
    )


def _report_ensemble(checkpoints: Sequence[Checkpoint], data: DataSet, out: Optional[Path]) -> None:
    ensemble = examine_ensemble(checkpoints, data)
    names = [str(checkpoint.path) for checkpoint in checkpoints]
    _say_doubts([checkpoint.path for checkpoint in checkpoints], ensemble.doubts)
    for name, scores in zip([*names, f"average of {len(names)}"], [*ensemble.members, ensemble.average]):
        sys.stdout.write(
            f"{name}: validation accuracy{data.qualification}: {_accuracy(scores.validation)}, "
            f"test accuracy{data.qualification}: {_accuracy(scores.test)}\n"
        )
    if out is not None:
        make_directory(out)
        write_json(out / "ensemble.json", ensemble.to_json())
        sys.stdout.write(f"figures: {out / 'ensemble.json'}\n")


def _say_doubts(paths: Sequence[Path], doubts: Sequence[str]) -> None:
    for path, doubt in zip(paths, doubts):
        if doubt:
            say(f"note: {printable(f'{path}: {doubt}')}")


def _accuracy(evaluation: Optional[Evaluation]) -> str:
    if evaluation is None:
        return "none, no digits are set apart"
    return format_accuracy(evaluation.correct, evaluation.count)


if __name__ == "__main__":
    run_command(main)
