"""Read the digits in pictures: `python predict.py image.jpg [more files or folders]`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from app.console import CommandParser, named_path, png_path, printable, progress_bar, run_command, say
from app.errors import CheckpointError, FileError, PictureError, UsageError
from app.files import expect_figure_or_nothing

if TYPE_CHECKING:
    from app.recognizer import DigitReading, Prediction, Reading

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"


def main() -> int:
    """Parse the command line, read the pictures, print what they say; return 1 if one cannot be read."""
    arguments = parse_arguments()
    if arguments.checkpoint is not None:
        check_exists(arguments.checkpoint)
    # From here on NumPy, Pillow and then Paddle are imported: a second that a usage error need not cost.
    from app.recognizer import ImageFolder, Recognizer, find_checkpoint
    from app.runtime import prepare

    pictures, errors = list_pictures(arguments.pictures)
    for error in errors:
        report(error, print if arguments.json else None)
    if not pictures:
        return 1
    if arguments.explain is not None:
        check_explanation(arguments.explain, pictures)
    folder = None
    if arguments.save_input is not None:
        if arguments.save_input.resolve() in [picture.resolve().parent for picture in pictures]:
            raise UsageError(
                f"--save-input: {arguments.save_input} holds pictures to read; name another folder"
            )
        folder = ImageFolder(arguments.save_input)
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
                report(outcome, bar.write if arguments.json else None)
                errors.append(outcome)
            else:
                prediction = outcome.prediction
                bar.write(json.dumps(prediction.to_json()) if arguments.json else format_line(prediction))
                if folder is not None:
                    folder.save(outcome)
                if arguments.explain is not None:
                    explain(arguments.explain, outcome)
            bar.update()
    return 1 if errors else 0


def check_explanation(path: Path, pictures: Sequence[Path]) -> None:
    """Raise a UserError unless a figure of the only picture can be written to `path`."""
    if len(pictures) > 1:
        raise UsageError(f"--explain: expected one picture, found {len(pictures)}")
    if path.resolve() == pictures[0].resolve():
        raise UsageError(f"--explain: {path} is the picture itself, it would be lost")
    expect_figure_or_nothing(path)
    if not path.parent.is_dir():
        raise FileError(f"{path}: cannot be written: there is no folder {path.parent}")


def explain(path: Path, reading: Reading) -> None:
    """Draw how a picture was read."""
    # Matplotlib takes a second to import; who wants no figure need not wait for it.
    from app.explain import write_explanation

    write_explanation(path, reading)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments; raise UsageError if they are wrong."""
    parser = CommandParser(
        description="Read the digits in each picture: a photo, a drawing or a scan, of any size and kind."
    )
    parser.add_argument(
        "pictures", nargs="+", type=named_path, metavar="PICTURE", help="a picture, or a folder of pictures"
    )
    parser.add_argument(
        "--checkpoint",
        type=named_path,
        metavar="PATH",
        help="a .pdparams file or a run folder (default: the newest finished run that learned to "
        "read, else the pretrained one)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        choices=range(1, 11),
        default=1,
        metavar="K",
        help="show the K likeliest digits in each place, 1 to 10 (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--single", action="store_true", help="read each picture as one digit")
    parser.add_argument(
        "--save-input",
        type=named_path,
        metavar="DIR",
        help="write each digit as the network saw it, 28x28 PNG",
    )
    parser.add_argument(
        "--explain", type=png_path, metavar="PNG", help="draw how the picture was read; for one picture"
    )
    return parser.parse_args()


def check_exists(checkpoint: Path) -> None:
    """Raise a CheckpointError if there is no such file or folder, without waiting for Paddle to say so."""
    try:
        checkpoint.stat()
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: cannot be opened: {error.strerror}") from error


def list_pictures(paths: Sequence[Path]) -> tuple[list[Path], list[PictureError]]:
    """Return the picture files that `paths` name or hold, and the errors of what cannot be opened."""
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
    return pictures, errors


def report(error: PictureError, write_json: Callable[[str], object] | None) -> None:
    """Say why a picture cannot be read, and once more as an object among those of the other pictures."""
    say(f"error: {printable(str(error))}")
    if write_json is not None:
        write_json(json.dumps({"path": str(error.path), "error": error.reason}))


def format_line(prediction: Prediction) -> str:
    """Return a prediction as a line for people, such as `image.jpg: 7 (99.8%)`, a number as `2024 (97.1%)`.

    Lines of digits are parted by ` / `; the probability of a number is that of all its digits, and if more
    than one candidate was asked for, those of each digit follow after semicolons.
    """
    if len(prediction.digits) > 1:
        share = math.prod(reading.probability for reading in prediction.digits)
        readings = [f"{prediction.text} ({share:.1%})".replace("\n", " / ")]
        if len(prediction.digits[0].top_k) > 1:
            readings += [format_candidates(reading) for reading in prediction.digits]
    else:
        readings = [format_candidates(reading) for reading in prediction.digits]
    line = f"{printable(prediction.path)}: {'; '.join(readings) or 'no digit'}"
    return f"{line} -- {prediction.warning}" if prediction.warning else line


def format_candidates(reading: DigitReading) -> str:
    """Return the candidates of one digit, such as `4 (70.1%), 9 (29.5%)`."""
    return ", ".join(f"{one.digit} ({one.probability:.1%})" for one in reading.top_k)


if __name__ == "__main__":
    run_command(main)
