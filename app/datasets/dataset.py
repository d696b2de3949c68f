"""From a `DataSet` to the batches of training: the split, `MnistDataset` and the `DataLoader`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import numpy as np
import paddle
from numpy.typing import NDArray

from app import runtime
from app.augment import augment, calm
from app.config import TrainConfig
from app.datasets import DataSet, make_imbalanced, split, strokes
from app.datasets.course_json import read_course_json
from app.datasets.mnist import MIRRORS, find_files, load_mnist
from app.errors import DownloadError, FileError
from app.models import to_model_input

PATIENCE = 12.0
"""Seconds to wait for an unreachable network before strokes are taken for MNIST."""

MODES = ("train", "valid", "eval")


def load_data(
    config: TrainConfig, *, mirrors: Sequence[str] = MIRRORS, patience: float = PATIENCE
) -> DataSet:
    """Return the data set that `config` names, with its extra strokes.

    That is its JSON file, or else MNIST from a folder or a mirror, or synthetic handwriting. With the data
    set `auto` it is MNIST, or strokes if no folder is named, MNIST is in none of the usual ones and cannot be
    downloaded: the `note` says why.

    Args:
        config: its fields `data`, `data_dir`, `dataset` and `extra_strokes`.
        mirrors: as in `download_mnist`.
        patience: as in `download_mnist`, for `auto`.

    Raises:
        DataError, FileError: it cannot be had, or a file is malformed.
    """
    data = _load(config, mirrors, patience)
    return dataclasses.replace(data, extra=strokes.make_extra_strokes(config.extra_strokes))


def find_again(config: TrainConfig) -> TrainConfig:
    """Return a recorded configuration that looks in the usual places if its folder no longer holds the data.

    It was on another machine, or is gone. Whoever uses the data compares the checksum with that recorded.
    """
    if config.data_dir is None or config.dataset == "strokes" or find_files(Path(config.data_dir)):
        return config
    return dataclasses.replace(config, data_dir=None)


def _load(config: TrainConfig, mirrors: Sequence[str], patience: float) -> DataSet:
    if config.data is not None:
        return read_course_json(Path(config.data))
    directories = runtime.data_directories(config.data_dir)
    # Not where MNIST_DATA_DIR says: that folder is for MNIST, and may be many people's.
    kept = Path(config.data_dir or runtime.REPOSITORY / "data").expanduser() / "strokes"
    if config.dataset == "strokes":
        return strokes.load_strokes(kept)
    # Who names a folder wants what is in it.
    if config.dataset == "mnist" or config.data_dir is not None:
        return load_mnist(directories, mirrors=mirrors)
    try:
        return load_mnist(directories, mirrors=mirrors, patience=patience)
    except (DownloadError, FileError) as error:
        reason = error.reason if isinstance(error, DownloadError) else str(error)
        folders = " or ".join(map(str, directories))
        note = f"MNIST is not in {folders} and cannot be downloaded ({reason}): training on {strokes.NAME}"
        return dataclasses.replace(strokes.load_strokes(kept), note=note)


class MnistDataset(paddle.io.Dataset):
    """One part of a data set, image by image, as the tutorial's class of this name gives it.

    Item i is (image, label): float32 [1, 28, 28] in 0..1, white ink on black, and int64 [1].

    Args:
        data: where the digits come from.
        mode: `train`, `valid` (set apart from the training images) or `eval` (the test images).
        validation_size: as in `split`.
        rare_share: share of the training images of 0 to 4 that is kept.

    Raises:
        ValueError: another mode, or images and labels of different counts.
        UsageError: the validation size leaves nothing to train on.
    """

    def __init__(
        self,
        data: DataSet,
        mode: str = "train",
        validation_size: Optional[int] = None,
        rare_share: float = 1.0,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        self.mode = mode
        self.digits = split(data, validation_size)[MODES.index(mode)]
        if mode == "train" and rare_share < 1:
            self.digits = make_imbalanced(self.digits, rare_share)
        if len(self.digits.images) != len(self.digits.labels):
            raise ValueError(f"{len(self.digits.images)} images but {len(self.digits.labels)} labels")

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        images, labels = self.batch(np.array([index]))
        return images[0], labels[0]

    def __len__(self) -> int:
        return len(self.digits.images)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the items at `indices`, float32 [N, 1, 28, 28] and int64 [N, 1], sliced at once."""
        return to_model_input(self.digits.images[indices]), self.digits.labels[indices, np.newaxis]


class TrainingBatches(paddle.io.Dataset):
    """The batches of one epoch, each assembled as a whole: item k is batch k, or this process's share of it.

    The order depends on (seed, epoch) alone and the distortions of a batch on (seed, epoch, batch), so
    neither a resume nor the number of processes changes what is trained on.

    Args:
        dataset: the images to train on.
        config: gives the batch size, the seed and the distortions.
        epoch: counted from 0.
        rank: this process.
        processes: how many share each batch, in contiguous parts.
        first_batch: where to begin, after a resume in the middle of an epoch.
    """

    def __init__(
        self,
        dataset: MnistDataset,
        config: TrainConfig,
        epoch: int,
        rank: int = 0,
        processes: int = 1,
        first_batch: int = 0,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.config = config
        self.epoch = epoch
        self.rank = rank
        self.processes = processes
        self.first_batch = first_batch
        self._distortions = calm(config) if epoch >= config.epochs - config.calm_epochs else config
        self.order = runtime.random_generator(config.seed, "shuffle", epoch).permutation(len(dataset))

    def __len__(self) -> int:
        return batches_per_epoch(len(self.dataset), self.config) - self.first_batch

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        batch = self.first_batch + index
        indices = self.order[batch * self.config.batch_size : (batch + 1) * self.config.batch_size]
        images = self.dataset.digits.images[indices]
        generator = runtime.random_generator(self.config.seed, "augment", self.epoch, batch)
        images = augment(images, self._distortions, generator)
        share = share_of(len(indices), self.rank, self.processes)
        labels = self.dataset.digits.labels[indices[share], np.newaxis]
        return to_model_input(images[share]), labels


def batches_per_epoch(count: int, config: TrainConfig) -> int:
    """Return how many training batches `count` images make, limits and dropped remainders included."""
    batches = count // config.batch_size if config.drop_last_batch else -(-count // config.batch_size)
    return min(batches, config.limit_train_batches or batches)


def images_per_epoch(count: int, config: TrainConfig) -> int:
    """Return how many of `count` training images an epoch uses."""
    return min(count, batches_per_epoch(count, config) * config.batch_size)


def share_of(count: int, number: int, parts: int) -> slice:
    """Return the contiguous part `number` of `count` items; the parts hold each item once."""
    return slice(count * number // parts, count * (number + 1) // parts)


def load_batches(batches: TrainingBatches) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
    """Return the batches as tensors; Paddle's loader prepares the next one in a thread."""
    return iter(paddle.io.DataLoader(batches, batch_size=None, num_workers=0))
