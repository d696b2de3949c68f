"""The tutorial's data file, `mnist.json.gz`: a JSON list `[train, valid, eval]`, each `[images, labels]`.

An image is a list of 784 numbers in 0..1, row by row, white ink on black; a label is an integer, 0 to 9.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, Union

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.console import progress_bar
from app.datasets import CLASSES, SIDE, DataSet, Digits, split
from app.datasets.idx import opened
from app.errors import DataError
from app.files import writing

PARTS = ("train", "valid", "eval")
PIXELS = SIDE * SIDE

MNIST_CHECKSUM = "94d51b72971cee860660d41bd4f9c77de633ce3f9150991a301fa75b82e83237"
"""`DataSet.checksum()` of MNIST with its last 10,000 training images set apart, as in the tutorial."""

MAX_BYTES = 2 << 30
"""Of JSON text, decompressed; MNIST takes a sixth of it."""

# Far more than 784 numbers or the labels of a million images take, line ends and indents included.
_MAX_LIST_BYTES = 16 << 20
_PIECE_BYTES = 1 << 20
_NUMBER_CHARACTERS = b"0123456789+-.eE, \t\n\r"
_WHITE_SPACE = re.compile(rb"[ \t\n\r]*")


def read_course_json(path: Path) -> DataSet:
    """Read a file in the tutorial's format, gzip or plain, image by image.

    Pixels are given as k / 256 in the tutorial's own file and as k / 255 in others. If all values are
    multiples of 1/256 below 1 they are taken as the former, otherwise as the latter, rounded.

    Returns:
        The data set, with its `valid` part as validation. It is named `MNIST (course JSON)` only if its
        arrays are MNIST's in the tutorial's split.

    Raises:
        DataError: the file cannot be read or is not of this format; the message says which part and image.
    """
    with opened(path) as stream, progress_bar(None, "image", path.name) as bar:
        scanner = _Scanner(stream, path)
        parts = []
        for index, name in enumerate(PARTS):
            scanner.expect(b"[" if index == 0 else b",", f"before part {name}")
            parts.append(_read_part(scanner, name, bar))
        scanner.expect(b"]", "after part eval")
        scanner.expect_end()
    are_256ths = all(part.are_256ths for part in parts)
    train, validation, test = (part.digits(are_256ths) for part in parts)
    data = DataSet("course JSON", str(path), train, test, validation)
    return replace(data, name="MNIST (course JSON)") if data.checksum() == MNIST_CHECKSUM else data


def write_course_json(path: Path, data: DataSet) -> None:
    """Write a data set in the tutorial's format, gzip-compressed if the name ends in `.gz`.

    Pixels are written as k / 255 with six significant digits, from which they can be told again exactly.
    Without a validation part of its own, the data set's last sixth of the training images becomes it: MNIST's
    last 10,000 of 60,000, as in the tutorial. The file appears whole or not at all.

    Raises:
        DataError: the file exists already, or fewer than 6 training images leave none to validate on.
        FileError: the file cannot be written.
    """
    refuse_existing(path)
    parts = split(data)
    if not len(parts.validation.labels):
        found = len(data.train.labels)
        raise DataError(f"{data.source}: expected at least 6 training images to set one apart, found {found}")
    numbers = [repr(float(f"{pixel / 255:.6g}")).encode() for pixel in range(256)]
    total = sum(len(digits.images) for digits in parts)
    with writing(path) as stream, progress_bar(total, "image", path.name) as bar:
        for index, digits in enumerate(parts):
            stream.write(b"[[" if index == 0 else b",[")
            for image_index, image in enumerate(digits.images):
                stream.write(b"[[" if image_index == 0 else b",[")
                stream.write(b",".join([numbers[pixel] for pixel in image.tobytes()]))
                stream.write(b"]")
                bar.update()
            stream.write(b"]," + json.dumps(digits.labels.tolist()).encode() + b"]")
        stream.write(b"]")


def refuse_existing(path: Path) -> None:
    """Raise a `DataError` if there is something at `path` already."""
    try:
        exists = path.exists()
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
    if exists:
        raise DataError(f"{path}: exists already and is not overwritten")


class _Part(NamedTuple):
    """A part with its pixels in both readings, until the whole file has shown which one is right."""

    as_255ths: bytearray
    as_256ths: bytearray
    are_256ths: bool
    labels: NDArray[np.int64]

    def digits(self, are_256ths: bool) -> Digits:
        pixels = self.as_256ths if are_256ths else self.as_255ths
        return Digits(np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE), self.labels)


def _read_part(scanner: _Scanner, name: str, bar: tqdm[None]) -> _Part:
    as_255ths, as_256ths, are_256ths = bytearray(), bytearray(), True
    count = 0
    scanner.expect(b"[", f"{name}, the list of images and labels")
    scanner.expect(b"[", f"{name}, the list of images")
    while count == 0 or scanner.goes_on(f"{name}, after image {count - 1}"):
        values = _read_image(scanner, f"{name}, image {count} (counting from 0)")
        scaled = values * 256
        are_256ths = are_256ths and bool(((scaled == np.floor(scaled)) & (scaled < 256)).all())
        as_255ths += np.rint(values * 255).astype(np.uint8).tobytes()
        as_256ths += np.minimum(scaled, 255).astype(np.uint8).tobytes()
        count += 1
        bar.update()
    scanner.expect(b",", f"{name}, between images and labels")
    labels = _read_labels(scanner, name, count)
    scanner.expect(b"]", f"{name}, after the labels")
    return _Part(as_255ths, as_256ths, are_256ths, labels)


def _read_image(scanner: _Scanner, where: str) -> NDArray[np.float64]:
    values = scanner.numbers(where)
    if len(values) != PIXELS:
        scanner.fail(where, f"{PIXELS} numbers", str(len(values)))
    if min(values) < 0 or max(values) > 1:
        outside = next(value for value in values if not 0 <= value <= 1)
        scanner.fail(where, "numbers from 0 to 1", repr(outside)[:40])
    return np.array(values, np.float64)


def _read_labels(scanner: _Scanner, name: str, expected: int) -> NDArray[np.int64]:
    labels = scanner.numbers(f"{name}, labels")
    if len(labels) != expected:
        scanner.fail(name, f"{expected} labels, as many as images", str(len(labels)))
    for index, label in enumerate(labels):
        if not (isinstance(label, int) and 0 <= label < CLASSES):
            where = f"{name}, label {index} (counting from 0)"
            scanner.fail(where, f"an integer from 0 to {CLASSES - 1}", repr(label)[:40])
    return np.array(labels, np.int64)


class _Scanner:
    """Takes a JSON text apart piece by piece, so that it is never in memory as a whole."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._buffer = b""
        self._position = 0
        self._taken = 0

    def expect(self, expected: bytes, where: str) -> None:
        """Step over one character, `expected`."""
        found = self._peek()
        if found != expected:
            self.fail(where, repr(expected.decode()), _show(found))
        self._position += 1

    def expect_end(self) -> None:
        """Make sure that nothing follows."""
        found = self._peek()
        if found:
            self.fail("after the last list", "the end of the file", _show(found))

    def goes_on(self, where: str) -> bool:
        """Step over what follows an item of a list: a comma (True) or the end of the list (False)."""
        found = self._peek()
        if found not in (b",", b"]"):
            self.fail(where, "',' or ']'", _show(found))
        self._position += 1
        return found == b","

    def numbers(self, where: str) -> list[Union[int, float]]:
        """Step over a list of nothing but numbers and return it."""
        text = self._list_text(where)
        # What remains without the characters of numbers shows null, true, NaN, texts, and lists in the list.
        if text.translate(None, _NUMBER_CHARACTERS) != b"[]":
            items = text[1:-1].split(b",")
            odd = next(item for item in items if item.translate(None, _NUMBER_CHARACTERS))
            self.fail(where, "a list of numbers", _show(odd.strip()))
        try:
            values: list[Union[int, float]] = json.loads(text)
        except ValueError as error:
            self.fail(where, "a JSON list", str(error))
        return values

    def _list_text(self, where: str) -> bytes:
        found = self._peek()
        if found != b"[":
            self.fail(where, "a list of numbers", _show(found))
        end = self._buffer.find(b"]", self._position)
        while end < 0:
            searched = len(self._buffer) - self._position
            if searched > _MAX_LIST_BYTES:
                self.fail(where, f"a list of at most {_MAX_LIST_BYTES} bytes", "a longer one")
            if not self._fill():
                self.fail(where, "']'", _show(b""))
            end = self._buffer.find(b"]", searched)
        text = self._buffer[self._position : end + 1]
        self._position = end + 1
        return text

    def _peek(self) -> bytes:
        """Return the next character that is not white space, or b"" at the end of the file."""
        while True:
            white_space = _WHITE_SPACE.match(self._buffer, self._position)
            self._position = white_space.end() if white_space else self._position
            if self._position < len(self._buffer):
                return self._buffer[self._position : self._position + 1]
            if not self._fill():
                return b""

    def _fill(self) -> bool:
        piece = self._stream.read(_PIECE_BYTES)
        self._taken += len(piece)
        if self._taken > MAX_BYTES:
            raise DataError(f"{self._path}: expected at most {MAX_BYTES} bytes of JSON, found more")
        self._buffer = self._buffer[self._position :] + piece
        self._position = 0
        return bool(piece)

    def fail(self, where: str, expected: str, found: str) -> NoReturn:
        """Raise the error that names the file and the place."""
        raise DataError(f"{self._path}: {where}: expected {expected}, found {found}")


def _show(found: bytes) -> str:
    """Return some bytes of the file as they can stand in an error line."""
    return ascii(found[:40].decode(errors="replace")) if found else "the end of the file"
