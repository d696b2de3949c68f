"""How well people's own pictures are read: simulated ones of every kind, or folders of labelled pictures.

A label is the folder that a file lies in (`7/a.png`), or else what its name begins with (`7_desk.jpg`,
`2024_1.png`); `-` stands between the lines of a number, `none` for a picture without a digit. A picture is
right if its whole text is; one without a digit, if there is a warning.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from app.console import printable, run_command, say
from app.errors import PictureError, UserError
from benchmarks import common
from benchmarks.common import Finding, judge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from app.datasets import Digits

    Images = dict[Path, Sequence[NDArray[np.uint8]]]
    """For each picture, the 28x28 images that the network saw of it."""

BANDS = ("mild", "medium", "severe")
"""Names of the thirds of the severity."""

# One digit each, and of these the mean over the kinds counts.
SINGLE = ("photo", "drawing", "cell", "small")
LARGE = "photo/12-megapixel"
# Harder than what the target is for, and reported beside it.
TOUCHING = "number/touching"
NO_DIGIT = "none"

PRETRAINED = common.REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams"

SINGLE_TARGET, NUMBER_TARGET = 0.98, 0.93
SECONDS_TARGET, MEMORY_TARGET = 0.5, 400.0

_LABEL = re.compile(r"(\d+(?:-\d+)*|none)(?![0-9A-Za-z-])")
_MISTAKES_SHOWN = 48

# On Linux a process counts as its own peak memory what the one that started it had reached. So each is
# started by a small process in between, and not by this one, which holds Paddle and pictures.
_MEASURE = """
import json, sys
from benchmarks import common
print(json.dumps(common.run(*sys.argv[1:])._asdict()))
"""


class Sample(NamedTuple):
    """A picture whose text is known."""

    path: Path
    text: str
    source: str
    """Its kind, or the subfolder it lies in."""

    severity: Optional[float] = None


class Outcome(NamedTuple):
    """What was read in a sample."""

    sample: Sample
    read: Optional[str]
    """None if the file could not be read."""

    doubt: float
    """The higher, the less it looks like digits; infinite where none was found, NaN in an unreadable file."""

    is_warned: bool
    """Whether the reading came with a warning."""

    @property
    def is_right(self) -> bool:
        """Whether the whole text is; without a digit, whether there is a warning."""
        if self.read is None:
            return False
        return self.read == self.sample.text if self.sample.text else self.is_warned


def parse_arguments() -> argparse.Namespace:
    """Return the checked command line."""
    parser = common.make_parser("pictures", __doc__ and __doc__.partition("\n")[0])
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="labelled pictures, in place of the simulated ones",
    )
    parser.add_argument("--count", type=int, default=100, metavar="N", help="pictures of each kind (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the simulated pictures (0)")
    parser.add_argument("--only", default="", metavar="KIND", help="kinds that begin so, such as photo/")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="of simulated pictures the pretrained network, else as of predict.py",
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        default="validation",
        help="whose digits are drawn: validation (to tune by; the default) or test (to report)",
    )
    arguments = parser.parse_args()
    if arguments.count < 1 or arguments.seed < 0:
        parser.error("--count must be at least 1, --seed at least 0")
    if arguments.quick:
        arguments.count = 2
    return arguments


def simulate(arguments: argparse.Namespace, folder: Path) -> list[Sample]:
    """Write the simulated pictures to a folder."""
    from tests.photos import KINDS, write_set

    kinds = [
        kind for kind in KINDS if kind.startswith(arguments.only) and not (arguments.quick and kind == LARGE)
    ]
    if not kinds:
        raise UserError(f"--only: no kind begins with {arguments.only!r}; they are: {', '.join(KINDS)}")
    digits = load_digits(arguments.data_dir, arguments.split)
    samples = []
    for kind in kinds:
        count = arguments.count if kind != LARGE else -(-arguments.count // 4)
        started = time.perf_counter()
        samples += [Sample(*one) for one in write_set(folder, [kind], count, digits, arguments.seed)]
        say(f"{kind}: {count} pictures made in {time.perf_counter() - started:.1f} s")
    return samples


def load_digits(data_dir: Optional[str], name: str) -> Digits:
    """Return MNIST's `validation` or `test` digits."""
    from app.datasets import split
    from app.datasets.mnist import load_mnist
    from app.runtime import data_directories

    data = load_mnist(data_directories(data_dir))
    # No preset trains on the last 5,000 of MNIST's training images.
    parts = split(data, len(data.train.images) // 12)
    return parts.validation if name == "validation" else parts.test


def find_samples(folders: Sequence[Path]) -> tuple[list[Sample], int]:
    """Return the labelled pictures in folders, and how many files are left out, with a line for each of them.

    Raises:
        PictureError: a folder cannot be opened or holds no picture.
    """
    from app.pictures import find_pictures

    samples, left_out = [], 0
    for folder in folders:
        paths, errors = find_pictures(folder)
        for error in errors:
            say(f"error: {error}")
        for path in paths:
            sample = label(path, folder)
            if sample is None:
                say(f"{path}: left out: neither its name nor its folder begins with a label")
                left_out += 1
            else:
                samples.append(sample)
    return samples, left_out


def label(path: Path, folder: Path) -> Optional[Sample]:
    """Return a picture in a folder of the user's with its label and source, or None if it has no label."""
    parent = path.parent
    by_name, by_folder = _LABEL.match(path.stem), _LABEL.fullmatch(parent.name)
    # The user's own folder may be called 2024 for another reason.
    if by_folder and parent != folder:
        found, parent = by_folder, parent.parent
    elif by_name:
        found = by_name
    else:
        return None
    text = "" if found[1] == NO_DIGIT else found[1].replace("-", "\n")
    source = folder if path == folder else Path(folder.name, parent.relative_to(folder))
    return Sample(path, text, source.as_posix())


def read(samples: Sequence[Sample], checkpoint: Path) -> tuple[list[Outcome], Images]:
    """Return what predict.py's recogniser reads in each sample, and what the network saw of wrong ones."""
    from app.recognizer import Recognizer

    recognizer = Recognizer(checkpoint)
    say(f"checkpoint: {recognizer.describe()}")
    outcomes: list[Outcome] = []
    images: Images = {}
    for sample, reading in zip(samples, recognizer.look([sample.path for sample in samples])):
        if isinstance(reading, PictureError):
            say(f"error: {reading}")
            outcomes.append(Outcome(sample, None, math.nan, False))
            continue
        prediction = reading.prediction
        doubt = -prediction.score if prediction.digits else math.inf
        outcomes.append(Outcome(sample, prediction.text, doubt, prediction.warning is not None))
        if not outcomes[-1].is_right:
            images[sample.path] = reading.images
    return outcomes, images


def by_source(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes of each source, in the order in which the sources come first."""
    sources: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        sources.setdefault(outcome.sample.source, []).append(outcome)
    return sources


def accuracy(outcomes: Sequence[Outcome]) -> float:
    """Return the share that is right."""
    return statistics.fmean(outcome.is_right for outcome in outcomes)


def band(outcomes: Sequence[Outcome], number: int) -> list[Outcome]:
    """Return those whose severity lies in a third of 0 to 1, numbered from 0."""
    return [
        one
        for one in outcomes
        if one.sample.severity is not None and min(int(3 * one.sample.severity), 2) == number
    ]


def auroc(of_digits: Sequence[float], of_others: Sequence[float]) -> float:
    """Return the probability that a random picture without a digit has more doubt than a random digit has.

    It is the area under the receiver operating characteristic; ties count half (the U of Mann and Whitney).
    """
    import numpy as np

    digits = np.sort(of_digits)
    below = np.searchsorted(digits, of_others, "left") + np.searchsorted(digits, of_others, "right")
    return float(below.mean() / 2 / len(digits))


def tabulate(sources: Mapping[str, Sequence[Outcome]]) -> str:
    """Return the accuracy of each source, and of its bands of severity, as a table for a terminal."""
    has_bands = any(one.sample.severity is not None for outcomes in sources.values() for one in outcomes)
    bands = range(len(BANDS)) if has_bands else ()
    rows = []
    for source, outcomes in sources.items():
        right = sum(outcome.is_right for outcome in outcomes)
        parts = [band(outcomes, number) for number in bands]
        rows.append(
            [source, f"{right / len(outcomes):.1%} ({right}/{len(outcomes)})"]
            + [f"{accuracy(part):.1%}" if part else "" for part in parts]
        )
    return common.format_table(["source", "right", *(BANDS if has_bands else ())], rows)


def find(sources: Mapping[str, Sequence[Outcome]], *, are_simulated: bool) -> list[Finding]:
    """Return the rows of the table of results; targets only for the simulated pictures."""
    with_digits = {name: outcomes for name, outcomes in sources.items() if not is_without_digits(outcomes)}
    if not are_simulated:
        return [judge("mean over sources", [mean_accuracy(with_digits)], "{:.2%}")] if with_digits else []
    findings = []
    for group in (*SINGLE, "number"):
        kinds = {name: outcomes for name, outcomes in with_digits.items() if name.startswith(f"{group}/")}
        if kinds:
            findings.append(judge(f"{group}: mean over {len(kinds)} kinds", [mean_accuracy(kinds)], "{:.2%}"))
    singles = [one for name, all_ in with_digits.items() if name.split("/")[0] in SINGLE for one in all_]
    numbers = [
        one
        for name, outcomes in with_digits.items()
        for one in outcomes
        if len(one.sample.text) == 4 and name != TOUCHING
    ]
    touching = with_digits.get(TOUCHING, ())
    if singles:
        findings.append(judge_accuracy("one digit", singles, SINGLE_TARGET))
    if numbers:
        findings.append(judge_accuracy("numbers of four digits", numbers, NUMBER_TARGET))
    if touching:
        findings.append(judge("those whose digits touch", [accuracy(touching)], "{:.2%}"))
    return findings


def judge_accuracy(what: str, outcomes: Sequence[Outcome], target: float) -> Finding:
    """Return a row with an accuracy, of how many pictures that is, and its 95% interval."""
    from app.evaluation import wilson_interval

    right = sum(outcome.is_right for outcome in outcomes)
    lower, upper = wilson_interval(right, len(outcomes))
    finding = judge(what, [accuracy(outcomes)], "{:.2%}", at_least=target)
    interval = f"({right}/{len(outcomes)}; 95% interval {lower:.2%} to {upper:.2%})"
    return finding._replace(measured=f"{finding.measured} {interval}")


def is_without_digits(outcomes: Sequence[Outcome]) -> bool:
    """Return whether all of these pictures show no digit."""
    return not any(outcome.sample.text for outcome in outcomes)


def mean_accuracy(sources: Mapping[str, Sequence[Outcome]]) -> float:
    """Return the mean over the sources of their accuracies."""
    return statistics.fmean(accuracy(outcomes) for outcomes in sources.values())


def find_doubt(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Return how well the doubt tells each source of pictures without a digit from pictures of one."""
    outcomes = [outcome for outcome in outcomes if outcome.read is not None]
    of_digits = [outcome.doubt for outcome in outcomes if len(outcome.sample.text) == 1]
    others = {name: part for name, part in by_source(outcomes).items() if is_without_digits(part)}
    if not of_digits or not others:
        return []
    doubts = {name: [outcome.doubt for outcome in part] for name, part in others.items()}
    rows = [
        judge(f"AUROC of doubt, {name}", [auroc(of_digits, part)], "{:.3f}") for name, part in doubts.items()
    ]
    everything = [doubt for part in doubts.values() for doubt in part]
    return [*rows, judge("AUROC of doubt, all without a digit", [auroc(of_digits, everything)], "{:.3f}")]


def time_stages(samples: Sequence[Sample]) -> list[Finding]:
    """Return the mean milliseconds of each stage of reading a picture, of one picture of each source."""
    from app.pictures import read_page

    of_sources = {sample.source: sample for sample in samples if sample.source != LARGE}
    totals: dict[str, float] = {}
    for sample in of_sources.values():
        with suppress(PictureError):
            for stage, seconds in read_page(sample.path).seconds.items():
                totals[stage] = totals.get(stage, 0.0) + seconds
    return [
        judge(f"stage: {stage}", [1000 * total / len(of_sources)], "{:.1f} ms")
        for stage, total in totals.items()
    ]


def measure(*command: object) -> dict[str, Any]:
    """Return the `seconds`, `peak_memory` (bytes) and `output` of Python with these arguments."""
    measured: dict[str, Any] = json.loads(common.run("-c", _MEASURE, *command).output)
    return measured


def measure_large(large: Sequence[Path], small: Path, checkpoint: Path, rounds: int) -> list[Finding]:
    """Return what 12-megapixel photos, one a round, cost predict.py beyond a small picture, in turn."""
    photos = cycle(large)

    def side(path: Path) -> dict[str, Any]:
        return measure("predict.py", "--checkpoint", checkpoint.resolve(), path.resolve())

    sides = {"large": lambda: side(next(photos)), "small": lambda: side(small)}
    measured = common.alternate(rounds, sides, "seconds")
    seconds = [one["large"]["seconds"] - one["small"]["seconds"] for one in measured]
    memory = [(one["large"]["peak_memory"] - one["small"]["peak_memory"]) / 2**20 for one in measured]
    findings = [
        judge("12-megapixel photo, beyond start-up", seconds, "{:.2f} s", at_most=SECONDS_TARGET),
        judge("its peak memory, beyond start-up", memory, "{:.0f} MiB", at_most=MEMORY_TARGET),
    ]
    return common.withhold_if_disturbed(findings, [side for one in measured for side in one.values()])


def draw(path: Path, outcomes: Sequence[Outcome], images: Images) -> None:
    """Draw a gallery of mistakes, as many of each source as there is room for."""
    mistakes = spread(find_mistakes(outcomes), _MISTAKES_SHOWN)
    figure = common.new_figure(16, 1 + 1.5 * -(-max(1, len(mistakes)) // 8))
    axes = figure.subplots(-(-max(1, len(mistakes)) // 8), 8, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, outcome in zip(axes, mistakes):
        axis.imshow(show_mistake(outcome.sample.path, images.get(outcome.sample.path, ())))
        sample = outcome.sample
        # The font does not have every letter that a name may have, and `$` would begin a formula.
        lines = (ascii(text)[1:-1] for text in (sample.source, sample.path.name[:40]))
        axis.set_title("\n".join([describe(outcome), *lines]), fontsize=7, parse_math=False)
    figure.suptitle("Mistakes: the picture, and what the network saw" if mistakes else "No mistakes")
    common.write_figure(path, figure)


def find_mistakes(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the pictures that were not read as what they are, those without a digit if nothing warns."""
    return [outcome for outcome in outcomes if not outcome.is_right]


def describe(mistake: Outcome) -> str:
    """Return what a picture is and what was read in it, lines parted by `-`."""
    true, read = mistake.sample.text or NO_DIGIT, mistake.read or "nothing"
    return f"{true} read as {read}".replace("\n", "-")


def list_mistakes(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each of the first mistakes, and how many more there are."""
    mistakes = find_mistakes(outcomes)
    lines = [f"{printable(str(one.sample.path))}: {describe(one)}" for one in mistakes[:_MISTAKES_SHOWN]]
    if len(mistakes) > _MISTAKES_SHOWN:
        lines.append(f"and {len(mistakes) - _MISTAKES_SHOWN} more")
    return "\n".join(lines)


def spread(mistakes: Sequence[Outcome], count: int) -> list[Outcome]:
    """Return up to `count` of them, by turns of each source."""
    turns = zip_longest(*by_source(mistakes).values())
    return [outcome for turn in turns for outcome in turn if outcome is not None][:count]


def show_mistake(path: Path, seen: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Return a picture beside the 28x28 images that the network saw of it, if there are any."""
    from PIL import Image, ImageOps

    from app.pictures import open_picture

    # A margin on the right parts it from the next one's.
    canvas = Image.new("RGB", (300, 140), "white")
    try:
        pixels, _ = open_picture(path)
    except PictureError:
        # It was reported when it was read.
        return canvas
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    canvas.paste(ImageOps.contain(picture, (140, 140)), (0, 0))
    across = 1 if len(seen) == 1 else 3
    for number, image in enumerate(seen[:9]):
        side = 132 // across
        place = 148 + number % across * side, 4 + number // across * side
        canvas.paste(Image.fromarray(image).resize((side - 2, side - 2), Image.Resampling.NEAREST), place)
    return canvas


def main() -> int:
    """Read, print the tables, and write the files."""
    arguments = parse_arguments()
    if (arguments.folders or arguments.only) and arguments.results is None:
        # What somebody's own pictures show is theirs, and some kinds are not this repository's measurement.
        arguments.results = Path(tempfile.gettempdir(), "paddle-mnist-pictures")
    folder = common.results_folder(arguments)
    from app.recognizer import find_checkpoint
    from app.runtime import prepare

    checkpoint = arguments.checkpoint
    if checkpoint is None:
        # A measurement of this program is one of the network that comes with it, whatever was trained since.
        checkpoint = find_checkpoint(common.REPOSITORY / "checkpoints") if arguments.folders else PRETRAINED
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.folders:
            samples, left_out = find_samples(arguments.folders)
        else:
            samples, left_out = simulate(arguments, Path(temporary)), 0
        if not samples:
            raise UserError(f"{arguments.folders[0]}: no picture has a label")
        prepare()
        started = time.perf_counter()
        outcomes, images = read(samples, checkpoint)
        seconds = time.perf_counter() - started
        say(f"pictures read: {len(samples)}, in {seconds:.1f} s")
        sources = by_source(outcomes)
        findings = (
            find(sources, are_simulated=not arguments.folders) + find_doubt(outcomes) + time_stages(samples)
        )
        large = [sample.path for sample in samples if sample.source == LARGE]
        if large:
            small = common.REPOSITORY / "data" / "samples" / "6_small_palette.gif"
            rounds = 1 if arguments.quick else max(5, len(large))
            findings += measure_large(large, small, checkpoint, rounds)
        print(tabulate(sources))
        if arguments.folders and find_mistakes(outcomes):
            print(list_mistakes(outcomes))
        draw(folder / "pictures.png", outcomes, images)
        write(folder, findings, outcomes, arguments)
    return 1 if left_out else 0


def write(
    folder: Path, findings: Sequence[Finding], outcomes: Sequence[Outcome], arguments: argparse.Namespace
) -> None:
    """Print the findings and write pictures.json: the table, and every mistake."""
    environment = common.describe_machine()
    content = {
        "sources": {
            name: {
                "count": len(part),
                "accuracy": accuracy(part),
                "bands": {
                    title: accuracy(band(part, number))
                    for number, title in enumerate(BANDS)
                    if band(part, number)
                },
            }
            for name, part in by_source(outcomes).items()
        },
        "mistakes": [
            {
                "file": outcome.sample.path.name,
                "source": outcome.sample.source,
                "text": outcome.sample.text,
                "read": outcome.read,
            }
            for outcome in find_mistakes(outcomes)
        ],
    }
    options = f"--count {arguments.count} --seed {arguments.seed} --split {arguments.split}"
    if arguments.folders:
        options = " ".join(map(str, arguments.folders))
    elif arguments.only:
        options += f" --only {arguments.only}"
    common.write_results(folder, "pictures", environment, findings, content, options)
    common.show(environment, findings, folder, "pictures")


if __name__ == "__main__":
    run_command(main)
