"""Where digits come from. Every source ends in one `DataSet` of uint8 arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from app.errors import UsageError

CLASSES = 10
SIDE = 28


class Digits(NamedTuple):
    """Pictures of single digits with their labels."""

    images: NDArray[np.uint8]
    """uint8 [N, 28, 28]: white ink (255) on black (0), as in MNIST."""

    labels: NDArray[np.int64]
    """int64 [N]: the digits, 0 to 9."""


@dataclass(frozen=True)
class DataSet:
    """Training and test digits of one source, and the validation digits if the source sets them apart."""

    name: str
    """What a report calls it: `MNIST`, or a description of another source."""

    source: str
    """The folder or file that it was read from."""

    train: Digits
    test: Digits
    validation: Optional[Digits] = None
    extra: Optional[Digits] = None
    """Digits of another source to train on as well; never to validate or test with."""

    note: Optional[str] = None
    """Why this data set was taken, if another one was wanted first."""

    is_synthetic: bool = False
    """Whether nobody wrote these digits."""

    @property
    def qualification(self) -> str:
        """What every accuracy on these digits has to say, ` on NAME` if nobody wrote them."""
        return f" on {self.name}" if self.is_synthetic else ""

    def checksum(self) -> str:
        """Return the SHA-256 (hex) of all images and labels, part by part, whatever files they came in.

        The same digits with validation digits set apart by the source are another data set.
        """
        digest = hashlib.sha256()
        for digits in (self.train, self.validation, self.test, self.extra):
            if digits is not None:
                digest.update(np.ascontiguousarray(digits.images).data)
                digest.update(np.ascontiguousarray(digits.labels.astype("<i8")).data)
        return digest.hexdigest()


def make_imbalanced(digits: Digits, share: float) -> Digits:
    """Return the digits with only the first `share` (0 to 1) of each of 0, 1, 2, 3 and 4, at least one each.

    The order stays as it is.
    """
    is_kept = np.ones(len(digits.labels), bool)
    for label in range(5):
        positions = np.flatnonzero(digits.labels == label)
        is_kept[positions[max(round(share * len(positions)), 1) :]] = False
    return Digits(digits.images[is_kept], digits.labels[is_kept])


class Split(NamedTuple):
    """The digits to train on, to choose by, and to look at once at the end."""

    train: Digits
    validation: Digits
    """Empty when the validation size is 0."""
    test: Digits


def split(data: DataSet, validation_size: Optional[int] = None) -> Split:
    """Set the last `validation_size` training images apart for validation, as the tutorial does.

    None keeps the data set's own validation part, or sets a sixth apart: MNIST's last 10,000 of 60,000. The
    extra digits of the data set all go to training.

    Raises:
        UsageError: nothing would be left to train on.
    """
    images, labels = data.train
    if data.validation is not None:
        images = np.concatenate([images, data.validation.images])
        labels = np.concatenate([labels, data.validation.labels])
    if validation_size is None:
        validation_size = len(images) // 6 if data.validation is None else len(data.validation.images)
    boundary = len(images) - validation_size
    if boundary < 1:
        raise UsageError(
            f"--validation-size: {validation_size} leaves nothing to train on, "
            f"{data.source} has {len(images)} training images"
        )
    train = Digits(images[:boundary], labels[:boundary])
    if data.extra is not None:
        extra = data.extra
        train = Digits(
            np.concatenate([train.images, extra.images]), np.concatenate([train.labels, extra.labels])
        )
    return Split(train, Digits(images[boundary:], labels[boundary:]), data.test)
