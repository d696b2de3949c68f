"""Read the digits in pictures: `python predict.py image.jpg [more files or folders]`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from app.console import CommandParser, progress_bar, run_command, say
from app.errors import CheckpointError, PictureError, UsageError

if TYPE_CHECKING:
    from app.recognizer import Prediction, Reading

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"


def main() -> int:
    """Parse the command line, read the pictures, print what they say; return 1 if one cannot be read."""
    arguments = parse_arguments()
    if arguments.checkpoint is not None:
        check_exists(arguments.checkpoint)
    # From here on NumPy, Pillow and then Paddle are imported: a second that a usage error need not cost.
    from app.recognizer import Recognizer, find_checkpoint
    from app.runtime import prepare

    pictures, failures = list_pictures(arguments.pictures)
    if not pictures:
        return 1
    if arguments.explain is not None and len(pictures) > 1:
        raise UsageError(f"--explain: expected one picture, found {len(pictures)}")
    if arguments.explain is not None and arguments.explain.resolve() == pictures[0].resolve():
        raise UsageError(f"--explain: {arguments.explain} is the picture itself, it would be lost")
    checkpoint = arguments.checkpoint or find_checkpoint(CHECKPOINTS)
    prepare()
    recognizer = Recognizer(checkpoint, arguments.single)
    say(f"checkpoint: {recognizer.describe()}")
    # A file name may hold what the terminal cannot show.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with progress_bar(len(pictures), "picture", "reading") as bar:
        for outcome in recognizer.look(pictures, arguments.top_k, arguments.explain is not None):
            if isinstance(outcome, PictureError):
                say(f"error: {outcome}")
                failures += 1
            else:
                show(outcome, arguments, bar.write)
            bar.update()
    return 1 if failures else 0


def show(reading: Reading, arguments: argparse.Namespace, write: Callable[[str], None]) -> None:
    """Write a reading as a line, and the files that were asked for."""
    prediction = reading.prediction
    write(json.dumps(prediction.to_json()) if arguments.json else format_line(prediction))
    if arguments.save_input is not None:
        from app.recognizer import save_images

        save_images(arguments.save_input, reading)
    if arguments.explain is not None:
        from app.explain import write_explanation

        write_explanation(arguments.explain, reading)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments; raise UsageError if they are wrong."""
    parser = CommandParser(
        description="Read the digits in each picture: a photo, a drawing or a scan, of any size and kind."
    )
    parser.add_argument(
        "pictures", nargs="+", type=Path, metavar="PICTURE", help="a picture, or a folder of pictures"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="a .pdparams file or a run folder (default: the newest finished run, else the pretrained one)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        choices=range(1, 11),
        default=1,
        metavar="K",
        help="show the K likeliest digits, 1 to 10 (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--single", action="store_true", help="read each picture as one digit")
    parser.add_argument(
        "--save-input", type=Path, metavar="DIR", help="write each digit as the network saw it, 28x28 PNG"
    )
    parser.add_argument(
        "--explain", type=Path, metavar="PNG", help="draw how the picture was read; for one picture"
    )
    return parser.parse_args()


def check_exists(checkpoint: Path) -> None:
    """Raise a CheckpointError if there is no such file or folder, without waiting for Paddle to say so."""
    try:
        checkpoint.stat()
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: cannot be opened: {error.strerror}") from error


def list_pictures(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """Return the picture files that `paths` name or hold, and how many files and folders cannot be opened."""
    from app.pictures import find_pictures

    pictures: list[Path] = []
    errors: list[PictureError] = []
    for path in paths:
        try:
            found, unreadable = find_pictures(path)
        except PictureError as error:
            errors.append(error)
        else:
            pictures += found
            errors += unreadable
    for error in errors:
        say(f"error: {error}")
    return pictures, len(errors)


def format_line(prediction: Prediction) -> str:
    """Return a prediction as a line for people, such as `image.jpg: 7 (99.8%)`, a number as `2024 (97.1%)`.

    Lines of digits are parted by ` / `; the probability of a number is that of all its digits.
    """
    if len(prediction.digits) > 1:
        share = math.prod(reading.probability for reading in prediction.digits)
        readings = [f"{prediction.text} ({share:.1%})".replace("\n", " / ")]
    else:
        readings = [
            f"{candidate.digit} ({candidate.probability:.1%})"
            for reading in prediction.digits
            for candidate in reading.top_k
        ]
    line = f"{prediction.path}: {', '.join(readings) or 'no digit'}"
    return f"{line} -- {prediction.warning}" if prediction.warning else line


if __name__ == "__main__":
    run_command(main)
