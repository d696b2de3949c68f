"""`python -m app.experiments` runs the studies and writes their pages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Optional

from app import runtime
from app.console import CommandParser, named, named_path, run_command, say
from app.experiments import STUDIES
from app.files import make_directory

_LESSONS = runtime.REPOSITORY / "docs"
_QUICK = runtime.REPOSITORY / "checkpoints" / "quick-experiments"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the studies that are asked for and print each verdict and where its page is."""
    parser = CommandParser(
        prog="python -m app.experiments",
        description="Repeat what the source articles claim, and write a page, a figure and a JSON on each.",
    )
    parser.add_argument(
        "study",
        choices=[*STUDIES, "all"],
        help="the study, or all of them and lessons.md, their pages in one",
    )
    parser.add_argument(
        "--out",
        type=named_path,
        metavar="DIR",
        help="where to write (docs, or with --quick a folder in checkpoints)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="train for moments: shows that a study works, and nothing else"
    )
    parser.add_argument(
        "--data-dir", type=named, metavar="DIR", help="folder of the four MNIST files (gzip or plain)"
    )
    options = parser.parse_args(arguments)
    runtime.prepare()
    from app.experiments.page import summarise, write_lessons, write_study
    from app.experiments.study import Laboratory
    from app.training import TrainingStoppedError

    out_dir = options.out or (_QUICK if options.quick else _LESSONS)
    laboratory = Laboratory(options.data_dir, is_quick=options.quick)
    make_directory(out_dir)
    for name in STUDIES if options.study == "all" else [options.study]:
        say(f"{name}:")
        try:
            findings = write_study(import_module(STUDIES[name]).STUDY, laboratory, out_dir)
        except TrainingStoppedError as stopped:
            say(f"interrupted; {name} begins anew when it is called again")
            return stopped.exit_code
        summary = "Quick, which tells nothing." if options.quick else summarise(findings.statements)
        sys.stdout.write(f"{name}: {summary} {out_dir / name}.md\n")
    if options.study == "all":
        sys.stdout.write(f"lessons: {write_lessons(out_dir)}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
