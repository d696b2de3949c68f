"""`python -m app.report` writes the report of a run or a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from app import runtime
from app.config import DATASETS
from app.console import CommandParser, run_command
from app.evaluation import format_accuracy
from app.report import read_history, write_report
from app.report.findings import recorded_config


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Write the report of a run or a checkpoint and print its accuracies on standard output."""
    parser = CommandParser(
        prog="python -m app.report",
        description="Evaluate a checkpoint and write its report.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or a .pdparams file")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data-dir", metavar="DIR", help="folder of the four MNIST files (gzip or plain)")
    source.add_argument(
        "--data", metavar="FILE", help="evaluate on this file in the tutorial's format instead"
    )
    parser.add_argument(
        "--dataset", choices=DATASETS, help="evaluate on MNIST or on synthetic handwriting instead"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (the run's folder, or NAME-report beside a file)",
    )
    options = parser.parse_args(arguments)
    runtime.prepare()
    from app.checkpoint import load_checkpoint, resolve_checkpoint
    from app.datasets.dataset import load_data

    path = resolve_checkpoint(options.run)
    checkpoint = load_checkpoint(path)
    config = recorded_config(checkpoint)
    if options.data_dir or options.data or options.dataset:
        dataset = options.dataset or "mnist"
        config = replace(config, data_dir=options.data_dir, data=options.data, dataset=dataset)
    beside = path.with_name(f"{path.stem}-report")
    out_dir = options.out or (options.run if options.run.is_dir() else beside)
    history = read_history(path.with_name("metrics.jsonl"))
    data = load_data(config)
    report = write_report(checkpoint, data, out_dir, history)
    validation = "none, no digits are set apart"
    if report.validation is not None:
        validation = format_accuracy(report.validation.correct, report.validation.count)
    test = format_accuracy(report.test.correct, report.test.count)
    sys.stdout.write(
        f"validation accuracy{data.qualification}: {validation}\n"
        f"test accuracy{data.qualification}: {test}\nreport: {report.html}\n"
    )
    return 0


if __name__ == "__main__":
    run_command(main)
