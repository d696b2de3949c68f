"""Read digits from picture files with a trained network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from app.datasets import SIDE, strokes
from app.errors import CheckpointError, PictureError
from app.evaluation import softmax
from app.pictures import Box, DigitImage, read_digits

BATCH_PICTURES = 256

# A second digit at least this probable is worth a warning. On MNIST's 10,000 validation images and a network
# of 99.11% accuracy, trained on the other 50,000, it warned of 1.2% of the images and 45% of the mistakes.
LIKELY_PROBABILITY = 0.2


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


@dataclass(frozen=True)
class Prediction:
    """What a picture says."""

    path: str
    text: str
    """The digits read, as written: empty if there are none."""

    digits: tuple[DigitReading, ...]
    warning: Optional[str]
    """A sentence that says why the reading is in doubt, or None."""

    def to_json(self) -> dict[str, Any]:
        """Return the keys `path`, `text`, `digits` and `warning` as plain JSON values."""
        return asdict(self)


class Recognizer:
    """A checkpoint's network, ready to read pictures.

    Args:
        checkpoint: a `.pdparams` file, or a run folder, whose best (else last) one is taken.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of another network.
    """

    def __init__(self, checkpoint: Path) -> None:
        # Paddle takes a second to import; who only looks for a checkpoint need not wait for it.
        from app.checkpoint import load_checkpoint, resolve_checkpoint

        self._checkpoint = load_checkpoint(resolve_checkpoint(checkpoint))

    def describe(self) -> str:
        """Return which checkpoint it is and, if its JSON says so, what it learned from and how well."""
        known = []
        data, metrics = (self._section(name) for name in ("data", "metrics"))
        source = data.get("trained_on", data.get("name"))
        if isinstance(source, str) and source.isprintable():
            known.append(f"trained on {source}")
        accuracy = metrics.get("validation_accuracy")
        if isinstance(accuracy, float) and 0 <= accuracy <= 1:
            # Whoever reads digits that people wrote must not take this figure for theirs.
            on = f" on {strokes.NAME}" if data.get("is_synthetic") is True else ""
            known.append(f"validation accuracy{on} {accuracy:.2%}")
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
        for start in range(0, len(paths), BATCH_PICTURES):
            yield from self._read_batch(paths[start : start + BATCH_PICTURES], top_k)

    def _read_batch(self, paths: Sequence[Path], top_k: int) -> Iterator[Union[Prediction, PictureError]]:
        pictures = [_try_to_read(path) for path in paths]
        found = [digit for picture in pictures if isinstance(picture, list) for digit in picture]
        probabilities = iter(self._probabilities([digit.image for digit in found]))
        for path, picture in zip(paths, pictures):
            if isinstance(picture, PictureError):
                yield picture
            else:
                yield _predict(path, picture, list(islice(probabilities, len(picture))), top_k)

    def _probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        from app.models import compute_logits

        stacked = np.array(images, np.uint8).reshape(-1, SIDE, SIDE)
        logits = compute_logits(self._checkpoint.network, stacked)
        if not np.isfinite(logits).all():
            raise CheckpointError(f"{self._checkpoint.path}: the network's outputs are not finite numbers")
        return softmax(logits)


def _try_to_read(path: Path) -> Union[list[DigitImage], PictureError]:
    try:
        return read_digits(path)
    except PictureError as error:
        return error


def _predict(
    path: Path, found: Sequence[DigitImage], probabilities: Sequence[NDArray[np.float64]], top_k: int
) -> Prediction:
    rankings = [_rank(row) for row in probabilities]
    digits = tuple(
        DigitReading(ranking[0].digit, ranking[0].probability, ranking[:top_k], digit.box)
        for digit, ranking in zip(found, rankings)
    )
    text = "".join(str(reading.digit) for reading in digits)
    return Prediction(str(path), text, digits, _doubt(rankings))


def _rank(probabilities: NDArray[np.float64]) -> tuple[Candidate, ...]:
    order = np.argsort(-probabilities, kind="stable")
    return tuple(Candidate(int(digit), float(probabilities[digit])) for digit in order)


def _doubt(rankings: Sequence[Sequence[Candidate]]) -> Optional[str]:
    """Return why a reading is in doubt: no ink, or a second digit of at least `LIKELY_PROBABILITY`."""
    if not rankings:
        return "the picture holds no ink"
    doubtful = [
        f"the {ranking[0].digit} may be a {ranking[1].digit} ({ranking[1].probability:.1%})"
        for ranking in rankings
        if ranking[1].probability >= LIKELY_PROBABILITY
    ]
    return ", ".join(doubtful) or None


def find_checkpoint(checkpoints: Path) -> Path:
    """Return the checkpoint to use when none is named.

    It is the best (else last) one of the newest finished run in the folder `checkpoints`, or, without a
    finished run, the first `.pdparams` file in its subfolder `pretrained`.

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
    """Return when a run was finished (ISO 8601), or an empty text if it is not, or cannot be told."""
    try:
        metadata = json.loads((run / "last.json").read_bytes())
        created = metadata["created"] if metadata["finished"] is True else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return created if isinstance(created, str) else ""
