"""The IDX file format of MNIST: a strict reader, and a writer, plain or gzip-compressed.

An IDX file is two zero bytes, a byte for the type, a byte for the number of dimensions, the sizes as
big-endian 32-bit integers, then the values, last dimension fastest. The format is described at the end of
MNIST's original page, http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from app.datasets import CLASSES, SIDE, Digits
from app.errors import DataError
from app.files import expect_file, writing

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"

MAX_VALUES = 1 << 30
"""More than any data set of this kind holds (the largest EMNIST file: 547 million values)."""

# Deflate cannot do better than 258 bytes for 2 bits (https://zlib.net/zlib_tech.html), so a header that
# promises more is false, and nothing needs to be allocated to find out.
_MAX_EXPANSION = 1032


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes; whether it is gzip is told by its first bytes.

    Args:
        path: the file.
        dimensions: how many the file must have, e.g. 3 for images and 1 for labels.

    Returns:
        uint8, read-only, of the shape that the file states.

    Raises:
        DataError: the file cannot be read or is not exactly such a file.
    """
    with opened(path) as stream:
        shape = _read_header(stream, path, dimensions)
        expected = math.prod(shape)
        limit = min(MAX_VALUES, path.stat().st_size * _MAX_EXPANSION)
        if expected > limit:
            found = "x".join(map(str, shape))
            raise DataError(f"{path}: expected at most {limit} values in a file of this size, found {found}")
        # One byte more shows trailing bytes, and lets gzip compare its checksum at the end.
        values = stream.read(expected + 1)
    if len(values) < expected:
        raise DataError(f"{path}: expected {expected} bytes of values, found {len(values)}")
    if len(values) > expected:
        raise DataError(f"{path}: expected {expected} bytes of values, found more")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read_header(stream: BinaryIO, path: Path, dimensions: int) -> tuple[int, ...]:
    header = stream.read(4)
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if header != expected:
        raise DataError(
            f"{path}: expected the first bytes {expected.hex(' ')} "
            f"(IDX, unsigned byte, {dimensions}-dimensional), found {header.hex(' ') or 'an empty file'}"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path}: expected {4 * dimensions} bytes of sizes, found {len(sizes)}")
    return struct.unpack(f">{dimensions}I", sizes)


def read_digits(images_path: Path, labels_path: Path) -> Digits:
    """Read a pair of IDX files: images uint8 [N, 28, 28] and their labels [N], 0 to 9.

    Raises:
        DataError: a file is not such a file, or the two do not belong together.
    """
    labels = read_idx(labels_path, 1)
    images = read_idx(images_path, 3)
    if images.shape[1:] != (SIDE, SIDE):
        found = f"{images.shape[1]}x{images.shape[2]}"
        raise DataError(f"{images_path}: expected images of {SIDE}x{SIDE} pixels, found {found}")
    if len(images) == 0:
        raise DataError(f"{images_path}: expected at least one image, found none")
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, "
            f"as many as there are images in {images_path.name}, found {len(labels)}"
        )
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        first = int(wrong[0])
        raise DataError(
            f"{labels_path}: expected labels 0 to {CLASSES - 1}, "
            f"found {labels[first]} at index {first} (of {wrong.size} out of range)"
        )
    return Digits(images, labels.astype(np.int64))


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an array as an IDX file, gzip-compressed if the name ends in `.gz`.

    The same array gives the same bytes. The file appears whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        array: uint8, of 1 to 255 dimensions.

    Raises:
        FileError: the file cannot be written.
        ValueError: the array is of another type or has no dimension.
    """
    if array.dtype != np.uint8 or array.ndim == 0:
        raise ValueError(f"expected uint8 of at least one dimension, not {array.dtype} of {array.ndim}")
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    with writing(path) as stream:
        stream.write(header)
        stream.write(array.tobytes())


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a plain or gzip file to read its content; faults that show up while reading are `DataError`s."""
    try:
        expect_file(path, DataError)
        with path.open("rb") as file:
            compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=file) as stream:
                    yield cast(BinaryIO, stream)
            else:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: expected a whole gzip file, found a damaged one ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
