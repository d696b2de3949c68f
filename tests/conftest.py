"""Small data and checkpoints that the tests share. Nothing here needs the network or the real MNIST."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest

from app import runtime
from app.datasets import DataSet, Digits
from app.datasets.idx import write_idx

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def pytest_configure() -> None:
    """Prepare the process as the commands do, before a test module imports Paddle.

    Ctrl-C is heard also if a shell started the tests behind it, which has its jobs ignore it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runtime.prepare()


def make_digits(count: int, seed: int) -> Digits:
    """Make pictures that a network can tell apart: label k is a bright bar in row 2 k + 4, in noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, count)
    images = generator.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels):
        image[2 * label + 4 : 2 * label + 6, 5:23] = 255
    return Digits(images, labels.astype(np.int64))


@pytest.fixture(scope="session")
def digits() -> DataSet:
    """A data set of 600 training and 200 test pictures."""
    return DataSet("made", "memory", make_digits(600, 1), make_digits(200, 2))


@pytest.fixture(scope="session")
def digits_directory(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> Path:
    """A folder that holds `digits` as the four IDX files."""
    directory = tmp_path_factory.mktemp("digits")
    arrays = (*digits.train, *digits.test)
    for name, array in zip(MNIST_FILES, arrays):
        write_idx(directory / f"{name}.gz", array.astype(np.uint8))
    return directory


@pytest.fixture(scope="session")
def mnist_directory() -> Path:
    """The folder of the real MNIST; tests that use it are left out where there is none."""
    for directory in runtime.data_directories(None):
        if all((directory / name).exists() or (directory / f"{name}.gz").exists() for name in MNIST_FILES):
            return directory.resolve()
    pytest.skip("the four MNIST files are neither in MNIST_DATA_DIR nor in data/")


@pytest.fixture(scope="session")
def tutorial_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parameters of an untrained tutorial network, saved as the tutorial's own script does."""
    import paddle

    from app.models import TwoConvNet

    path = tmp_path_factory.mktemp("tutorial") / "mnist.pdparams"
    paddle.seed(0)
    paddle.save(TwoConvNet().state_dict(), str(path))
    return path


@pytest.fixture
def full_disk() -> Iterator[TextIO]:
    """A stream to a disk that is full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as stream:
        yield stream


@pytest.fixture
def make_pipe() -> Callable[[Path], None]:
    """What makes a named pipe, which nobody writes to: whoever opens it waits without end."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("named pipes are not there on this system")
    return os.mkfifo
