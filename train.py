"""Train a digit recogniser: `python train.py` trains the default preset and writes a report."""

from __future__ import annotations

import argparse
import json
from typing import Any

from app.config import add_config_arguments, config_from_arguments, given_options, option_name
from app.console import CommandParser, named_path, run_command, say
from app.errors import UsageError


def parse_arguments() -> argparse.Namespace:
    """Return the checked arguments of the command line."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--run-dir", type=named_path, metavar="DIR", help="folder of the run (checkpoints/TIME-PRESET)"
    )
    parser.add_argument("--resume", type=named_path, metavar="RUN", help="continue the run in this folder")
    parser.add_argument(
        "--min-accuracy",
        type=float,
        metavar="X",
        help="exit with 1 if the validation accuracy is below X (0 to 1)",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="show the resolved configuration and exit"
    )
    add_config_arguments(parser)
    arguments = parser.parse_args()
    if arguments.min_accuracy is not None and not 0 <= arguments.min_accuracy <= 1:
        raise UsageError(f"--min-accuracy: {arguments.min_accuracy} is not between 0 and 1 (0.98 means 98%)")
    return arguments


def resume_overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that go with --resume: where the data are. Any other is an error."""
    given = given_options(arguments)
    for name in given:
        if name not in ("data", "data_dir"):
            raise UsageError(f"{option_name(name)}: a resumed run keeps its configuration")
    if "preset" in arguments:
        raise UsageError("--preset: a resumed run keeps its configuration")
    if arguments.print_config:
        raise UsageError("--print-config: shows what a new run would use, not a resumed one")
    if arguments.run_dir is not None:
        raise UsageError("--run-dir: a resumed run stays in its folder")
    return given


def main() -> int:
    """Parse, train, print; return the exit code."""
    arguments = parse_arguments()
    config = config_from_arguments(arguments)
    overrides = resume_overrides(arguments) if arguments.resume else {}
    if arguments.min_accuracy is not None and config.validation_size == 0:
        raise UsageError("--min-accuracy: of the validation images, which --validation-size 0 leaves out")
    if arguments.print_config:
        print(json.dumps(config.to_json(), indent=2))
        return 0

    from app import runtime

    runtime.prepare()
    from app.console import TrainingDisplay
    from app.evaluation import format_accuracy
    from app.training import TrainingStoppedError, new_run_dir, resume, train

    display = TrainingDisplay()
    try:
        if arguments.resume:
            result = resume(arguments.resume, overrides, display)
        else:
            result = train(config, arguments.run_dir or new_run_dir(config.preset), display)
    except TrainingStoppedError as stopped:
        say(str(stopped))
        return stopped.exit_code
    if result.test is None:
        return 0
    if result.validation is not None:
        accuracy = format_accuracy(result.validation.correct, result.validation.count)
        print(f"validation accuracy{result.qualification}: {accuracy}")
    accuracy = format_accuracy(result.test.correct, result.test.count)
    print(f"test accuracy{result.qualification}: {accuracy}{', looked at once' if result.is_new else ''}")
    print(f"report: {result.run_dir / 'report.html'}")
    if arguments.min_accuracy is None:
        return 0
    if result.validation is None:
        raise UsageError("--min-accuracy: the run has no validation images")
    measured = result.validation.accuracy
    if measured < arguments.min_accuracy:
        say(f"error: the validation accuracy {measured:.4f} is below {arguments.min_accuracy}")
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
