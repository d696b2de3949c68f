"""Read digits from picture files with a trained network."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.choice import choose_digits
from app.datasets import SIDE
from app.doubt import LEAST_SCORE, LIKELY_PROBABILITY, scores_of
from app.errors import CheckpointError, PictureError
from app.evaluation import softmax
from app.files import SOFTWARE, make_directory, write_figure
from app.pictures import Box, Guess, Page, read_page
from app.pictures import Candidate as Cut
from app.pictures.opening import SMALL, TINY
from app.runtime import prepare

# Pictures whose digits the network sees at once: few, so that the first readings do not wait for the last.
BATCH_PICTURES = 16

# Characters of a picture's name that are kept in the name of a file: with four bytes each, 255 hold them.
_LONGEST_NAME = 50

# So many doubts are spelt out; a picture of a carpet would give dozens.
_MOST_DOUBTS = 4

# What ends so near to a side of a picture, as a share of the longer one, goes on beyond it; and what is so
# many times as long as wide may lie along it.
_NEAR_SIDE, _SLENDER = 0.015, 3

# A lone digit with a longest side of fewer pixels, or of a smaller share of the picture's, may be a speck:
# MNIST's have 20 pixels. In small pictures they are as small.
_SPECK, _SPECK_SHARE = 20, 0.01

# Who learned to read has at least this validation accuracy.
_LEARNED = 0.9


@dataclass(frozen=True)
class Candidate:
    """One digit that a picture may show."""

    digit: int
    probability: float
    """0 to 1; over the ten digits they add up to 1."""


@dataclass(frozen=True)
class DigitReading:
    """What the network reads in one place of a picture."""

    digit: int
    probability: float
    top_k: tuple[Candidate, ...]
    """The likeliest digits, likeliest first; the first is `digit`."""

    box: Box
    """Left, top, right, bottom of its ink, in pixels of the upright picture."""

    score: float
    """How sure it is that this is that digit: see `app/doubt.py`."""


@dataclass(frozen=True)
class Prediction:
    """What a picture says."""

    path: str
    text: str
    """The digits read, as written, lines joined by line feeds: empty if there are none."""

    digits: tuple[DigitReading, ...]
    score: float
    """Of the least sure digit; 0 if there is none."""

    warning: Optional[str]
    """A sentence that says why the reading is in doubt, or None."""

    def to_json(self) -> dict[str, Any]:
        """Return the keys `path`, `text`, `digits`, `score` and `warning` as plain JSON values."""
        return asdict(self)


class Reading(NamedTuple):
    """A prediction with what it was made from."""

    prediction: Prediction
    images: tuple[NDArray[np.uint8], ...]
    """uint8 [28, 28] for each digit: what the network saw."""

    probabilities: NDArray[np.float64]
    """float64 [K, 10], of each digit."""

    stages: dict[str, NDArray[Any]]
    """The picture after each stage of the pipeline; empty unless asked for."""


class Recognizer:
    """A checkpoint's network, ready to read pictures.

    Args:
        checkpoint: a `.pdparams` file, or a run folder, whose best (else last) one is taken.
        single: whether each picture is known to show one digit.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of another network.
    """

    def __init__(self, checkpoint: Path, single: bool = False) -> None:
        prepare()
        # Paddle takes a second to import; who only looks for a checkpoint need not wait for it.
        from app.checkpoint import load_checkpoint, resolve_checkpoint

        self._checkpoint = load_checkpoint(resolve_checkpoint(checkpoint))
        self._single = single
        score = self._section("metrics").get("least_score")
        self._least_score = LEAST_SCORE
        if isinstance(score, float) and math.isfinite(score):
            self._least_score = score

    def describe(self) -> str:
        """Return which checkpoint it is and, if its JSON says so, what it learned from and how well."""
        known = []
        data, metrics = (self._section(name) for name in ("data", "metrics"))
        source = data.get("trained_on", data.get("name"))
        is_named = isinstance(source, str) and source.isprintable()
        if is_named:
            known.append(f"trained on {source}")
        accuracy = metrics.get("validation_accuracy")
        if isinstance(accuracy, float) and 0 <= accuracy <= 1:
            # Whoever reads digits that people wrote must not take this figure for theirs.
            on = f" on {source}" if is_named and data.get("is_synthetic") is True else ""
            known.append(f"validation accuracy{on} {accuracy:.2%}")
        if self._checkpoint.assumption:
            known.append(self._checkpoint.assumption)
        return f"{self._checkpoint.path} ({', '.join(known)})" if known else str(self._checkpoint.path)

    def _section(self, name: str) -> dict[str, Any]:
        section = self._checkpoint.metadata.get(name)
        return section if isinstance(section, dict) else {}

    def read(self, paths: Sequence[Path], top_k: int = 1) -> Iterator[Union[Prediction, PictureError]]:
        """Yield, for each picture file in order, its prediction, or the error if it cannot be read.

        Args:
            paths: the files, read and recognised `BATCH_PICTURES` at a time.
            top_k: how many candidates to give for each digit, 1 to 10.
        """
        for reading in self.look(paths, top_k):
            yield reading.prediction if isinstance(reading, Reading) else reading

    def look(
        self, paths: Sequence[Path], top_k: int = 1, keep_stages: bool = False
    ) -> Iterator[Union[Reading, PictureError]]:
        """Yield the same as `read`, with the images that the network saw and, if asked for, all stages."""
        size = 1 if keep_stages else BATCH_PICTURES
        for start in range(0, len(paths), size):
            batch = paths[start : start + size]
            pages = [_try_to_read(path, keep_stages) for path in batch]
            guesses = [guess for page in pages if isinstance(page, Page) for guess in page.guesses]
            logits = iter(self._logits([cut.digit.image for guess in guesses for cut in guess.candidates]))
            for path, page in zip(batch, pages):
                if isinstance(page, PictureError):
                    yield page
                else:
                    seen = [
                        np.array(list(itertools.islice(logits, len(guess.candidates))))
                        for guess in page.guesses
                    ]
                    yield self._choose(path, page, seen, top_k)

    def _logits(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        from app.models import compute_logits

        stacked = np.array(images, np.uint8).reshape(-1, SIDE, SIDE)
        logits = compute_logits(self._checkpoint.network, stacked)
        if not np.isfinite(logits).all():
            raise CheckpointError(f"{self._checkpoint.path}: the network's outputs are not finite numbers")
        return logits

    def _choose(self, path: Path, page: Page, logits: Sequence[NDArray[np.float32]], top_k: int) -> Reading:
        """Return the reading of the guess whose ink looks and reads best, given [K, 10] logits of each."""
        choices = [
            choose_digits(guess, rows, page.size, self._least_score, self._single)
            for guess, rows in zip(page.guesses, logits)
        ]
        if not choices:
            nothing = Prediction(str(path), "", (), 0.0, "the picture holds no ink")
            return Reading(nothing, (), np.empty((0, 10)), {})
        best = max(range(len(choices)), key=lambda index: choices[index].merit)
        guess, (_, chosen, remark) = page.guesses[best], choices[best]
        cuts = [guess.candidates[index] for index in chosen]
        return self._to_reading(path, page.size, cuts, logits[best][chosen], guess, top_k, remark)

    def _to_reading(
        self,
        path: Path,
        size: tuple[int, int],
        cuts: list[Cut],
        rows: NDArray[np.float32],
        guess: Guess,
        top_k: int,
        remark: Optional[str],
    ) -> Reading:
        probabilities = softmax(rows)
        rankings = [_rank(row) for row in probabilities]
        scores = scores_of(rows, guess.likelihood).tolist()
        digits = tuple(
            DigitReading(ranking[0].digit, ranking[0].probability, ranking[:top_k], cut.digit.box, score)
            for cut, ranking, score in zip(cuts, rankings, scores)
        )
        lines = [
            "".join(str(digit.digit) for digit, cut in zip(digits, cuts) if cut.line == number)
            for number in sorted({cut.line for cut in cuts})
        ]
        prediction = Prediction(
            str(path),
            "\n".join(lines),
            digits,
            min(scores),
            _doubt(
                rankings,
                scores,
                self._least_score,
                remark,
                any(cut.way.is_part for cut in cuts),
                doubts_of_place(digits, size),
            ),
        )
        return Reading(prediction, tuple(cut.digit.image for cut in cuts), probabilities, guess.stages)


def _try_to_read(path: Path, keep_stages: bool) -> Union[Page, PictureError]:
    try:
        return read_page(path, keep_stages)
    except PictureError as error:
        return error


def _rank(probabilities: NDArray[np.float64]) -> tuple[Candidate, ...]:
    order = np.argsort(-probabilities, kind="stable")
    return tuple(Candidate(int(digit), float(probabilities[digit])) for digit in order)


def _doubt(
    rankings: Sequence[Sequence[Candidate]],
    scores: Sequence[float],
    least_score: float,
    remark: Optional[str] = None,
    is_parted: bool = False,
    of_place: Sequence[Optional[str]] = (),
) -> Optional[str]:
    """Return why a reading is in doubt, or None.

    For each digit, the first of these: a second one is likely, its score is low, or why where it is makes it
    doubtful. For all: digits were parted that touch, or the remark.
    """
    doubtful = []
    for (first, second, *_), score, reason in itertools.zip_longest(rankings, scores, of_place):
        if second.probability >= LIKELY_PROBABILITY:
            article = "an" if second.digit == 8 else "a"
            doubtful.append(f"the {first.digit} may be {article} {second.digit} ({second.probability:.1%})")
        elif score < least_score:
            doubtful.append(f"the {first.digit} hardly looks like a digit")
        elif reason:
            doubtful.append(f"the {first.digit} {reason}")
    if len(doubtful) > _MOST_DOUBTS + 1:
        doubtful[_MOST_DOUBTS:] = [f"and {len(doubtful) - _MOST_DOUBTS} more of {len(rankings)} are in doubt"]
    if is_parted:
        # Many of such numbers are read wrongly, and the scores do not tell which.
        doubtful.append("digits touch one another and may be parted wrongly")
    if remark:
        doubtful.append(remark)
    return ", ".join(doubtful) or None


def doubts_of_place(digits: Sequence[DigitReading], size: tuple[int, int]) -> list[Optional[str]]:
    """Return why the box of each digit makes it doubtful, or None, in a picture of that width and height."""
    reasons: list[Optional[str]] = []
    for digit in digits:
        if digit.digit == 1 and reaches_across(digit.box, size):
            reasons.append("goes from side to side of the picture and may be an edge or a shadow")
        elif digit.digit == 1 and lies_along_side(digit.box, size):
            reasons.append("lies along a side of the picture and may be an edge or a shadow")
        elif len(digits) == 1 and is_speck(digit.box, size):
            reasons.append("is tiny and may be a speck")
        else:
            reasons.append(None)
    return reasons


def is_speck(box: Box, size: tuple[int, int]) -> bool:
    """Whether ink is so small in a picture, of that width and height, that is not small itself."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    return max(size) > SMALL and (side < _SPECK or side < _SPECK_SHARE * max(size))


def lies_along_side(box: Box, size: tuple[int, int]) -> bool:
    """Whether slender upright ink meets the left or the right side of a picture that is not small."""
    (left, top, right, bottom), (width, _) = box, size
    is_slender = bottom - top > _SLENDER * (right - left)
    return max(size) > SMALL and is_slender and min(left, width - right) <= _NEAR_SIDE * max(size)


def reaches_across(box: Box, size: tuple[int, int]) -> bool:
    """Whether ink goes from one side of a picture, of that width and height, to the opposite one, or nearly.

    In tiny pictures it tells nothing, and none does: they are often cut out along their digits.
    """
    (left, top, right, bottom), (width, height) = box, size
    near = _NEAR_SIDE * max(size)
    across, down = max(left, width - right), max(top, height - bottom)
    return min(across, down) <= near and max(size) > TINY


class ImageFolder:
    """A folder for the digits as the network saw them: 28x28, `PICTURE-NUMBER.png`, in reading order.

    PICTURE is the picture's name without its suffix; a second picture of the same name is PICTURE~2.

    Raises:
        FileError: the folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        make_directory(path)
        self._path = path
        self._taken: set[str] = set()

    def save(self, reading: Reading) -> None:
        """Write a picture's digits.

        Raises:
            FileError: a file cannot be written, or is there already and was not made by this program.
        """
        texts = PngInfo()
        texts.add_text("Software", SOFTWARE)
        stem = Path(reading.prediction.path).stem
        name = self._new_name("".join(one for one in stem if one.isprintable())[:_LONGEST_NAME])
        for number, image in enumerate(reading.images, start=1):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG", pnginfo=texts)
            write_figure(self._path / f"{name}-{number}.png", buffer.getvalue())

    def _new_name(self, stem: str) -> str:
        """Return the first name that no picture has yet, on disks that do not tell A from a either."""
        names = (stem if count == 1 else f"{stem}~{count}" for count in itertools.count(1))
        name = next(name for name in names if name.lower() not in self._taken)
        self._taken.add(name.lower())
        return name


def find_checkpoint(checkpoints: Path) -> Path:
    """Return the checkpoint to use when none is named.

    It is the best (else last) one of the newest finished run in the folder `checkpoints`, or, without a
    finished run, the first `.pdparams` file in its subfolder `pretrained`. A run that was limited to some
    batches, or hardly learned to read, is passed over.

    Raises:
        CheckpointError: there is none; the message says what to do.
    """
    finished = [(_finished_at(run), run) for run in checkpoints.glob("*")]
    for created, run in sorted(finished, reverse=True):
        for name in ("best.pdparams", "last.pdparams"):
            if created and (run / name).is_file():
                return run / name
    pretrained = sorted(checkpoints.glob("pretrained/*.pdparams"))
    if not pretrained:
        raise CheckpointError(
            f"{checkpoints}: no finished run and no pretrained network;"
            " train one with `python train.py`, or name a file with --checkpoint"
        )
    return pretrained[0]


def _finished_at(run: Path) -> str:
    """Return when a run was finished (ISO 8601), or an empty text if it is not, or not fit to read with."""
    path = run / "last.json"
    try:
        if not path.is_file():
            return ""
        metadata = json.loads(path.read_bytes())
        config, metrics = metadata.get("config") or {}, metadata.get("metrics") or {}
        accuracy = metrics.get("validation_accuracy")
        is_trial = config.get("limit_train_batches") or (accuracy is not None and accuracy < _LEARNED)
        created = metadata["created"] if metadata["finished"] is True and not is_trial else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return created if isinstance(created, str) else ""
