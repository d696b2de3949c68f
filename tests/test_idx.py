from __future__ import annotations

import gzip
import os
import stat
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.datasets.idx import read_digits, read_idx, write_idx, writing
from app.errors import DataError, FileError

IMAGES = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
LABELS = np.array([3, 9], np.uint8)


def idx_bytes(sizes: tuple[int, ...], values: bytes, kind: int = 0x08, zeros: int = 0) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", zeros, kind, len(sizes), *sizes) + values


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def expect_error(path: Path, *words: str, dimensions: int = 1) -> None:
    with pytest.raises(DataError) as caught:
        read_idx(path, dimensions)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@settings(max_examples=40, deadline=None)
@given(
    array=arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_what_was_written_is_read_back(array: np.ndarray, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"array{suffix}"
        write_idx(path, array)
        again = read_idx(path, array.ndim)
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, array, strict=True)


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    write_idx(tmp_path / "plain", np.array([[1, 2, 3], [4, 5, 255]], np.uint8))
    expected = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])
    assert (tmp_path / "plain").read_bytes() == expected


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    content = idx_bytes((3,), b"\x01\x02\x03")
    for path in (write(tmp_path / "a", gzip.compress(content)), write(tmp_path / "b.gz", content)):
        np.testing.assert_array_equal(read_idx(path, 1), [1, 2, 3])


def test_compressed_files_hold_neither_time_nor_name(tmp_path: Path) -> None:
    write_idx(tmp_path / "one.gz", LABELS)
    write_idx(tmp_path / "two.gz", LABELS)
    content = (tmp_path / "one.gz").read_bytes()
    assert content == (tmp_path / "two.gz").read_bytes()
    assert content[4:8] == bytes(4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["an empty file"]),
        (b"\x00\x00", ["00 00 08 01", "found 00 00"]),
        (idx_bytes((1,), b"\x01", zeros=1), ["found 00 01 08 01"]),
        (idx_bytes((1,), b"\x01", kind=0x09), ["unsigned byte", "found 00 00 09 01"]),
        (idx_bytes((1, 1), b"\x01"), ["1-dimensional", "found 00 00 08 02"]),
        (idx_bytes((1,), b"")[:6], ["4 bytes of sizes", "found 2"]),
        (idx_bytes((4,), b"\x01\x02\x03"), ["expected 4", "found 3"]),
        (idx_bytes((2,), b"\x01\x02\x03"), ["expected 2", "found more"]),
        (idx_bytes((2**32 - 1,), b"\x01"), ["at most", f"found {2**32 - 1}"]),
        (b"<html>Not found</html>", ["found 3c 68 74 6d"]),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_every_violation_is_named(tmp_path: Path, content: bytes, words: list[str], compress: type) -> None:
    # An empty file is not a gzip file, but a gzip file may be empty inside.
    expect_error(write(tmp_path / "labels", compress(content)), *words)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(idx_bytes((2000,), bytes(range(200)) * 10))
    flipped = bytearray(whole)
    flipped[-5] ^= 0xFF
    for content in (whole[:-20], whole[:-4], whole[:5], bytes(flipped), whole + b"trailing"):
        expect_error(write(tmp_path / "labels.gz", content), "whole gzip file")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    expect_error(tmp_path / "absent", "No such file")
    expect_error(tmp_path, "found a folder")


def test_a_pipe_is_not_waited_for(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    make_pipe(tmp_path / "pipe.json.gz")
    expect_error(tmp_path / "pipe.json.gz", "found a device or a pipe")


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_false_header_allocates_nothing(tmp_path: Path, compress: type) -> None:
    path = write(tmp_path / "images", compress(idx_bytes((60000, 28, 28), b"\x01" * 100)))
    tracemalloc.start()
    try:
        expect_error(path, "60000x28x28", dimensions=3)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.gz", gzip.compress(idx_bytes((10,), bytes(50 << 20)), 1))
    tracemalloc.start()
    try:
        expect_error(path, "expected 10", "found more")
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_digits_are_read_as_pairs(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", IMAGES)
    write_idx(tmp_path / "labels", LABELS)
    digits = read_digits(tmp_path / "images", tmp_path / "labels")
    np.testing.assert_array_equal(digits.images, IMAGES)
    assert digits.labels.dtype == np.int64
    assert digits.labels.tolist() == [3, 9]


@pytest.mark.parametrize(
    ("images", "labels", "file", "words"),
    [
        (IMAGES[:, :27], LABELS, "images", ["28x28", "found 27x28"]),
        (IMAGES[:0], LABELS[:0], "images", ["at least one", "found none"]),
        (IMAGES, LABELS[:1], "labels", ["expected 2 labels", "found 1"]),
        (IMAGES, np.array([9, 10], np.uint8), "labels", ["0 to 9", "found 10 at index 1"]),
    ],
)
def test_digits_that_make_no_sense_are_named(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, file: str, words: list[str]
) -> None:
    write_idx(tmp_path / "images", images)
    write_idx(tmp_path / "labels", labels)
    with pytest.raises(DataError) as caught:
        read_digits(tmp_path / "images", tmp_path / "labels")
    assert str(caught.value).startswith(f"{tmp_path / file}: ")
    for word in words:
        assert word in str(caught.value)


def test_other_types_are_not_written(tmp_path: Path) -> None:
    for array in (np.zeros(3, np.int64), np.array(3, np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            write_idx(tmp_path / "file", array)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b"old")

    def write_half() -> None:
        with writing(path) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "file", b"")
    for path in (tmp_path / "absent" / "labels", file / "labels", tmp_path):
        with pytest.raises(FileError, match="cannot be written") as caught:
            write_idx(path, LABELS)
        assert str(caught.value).startswith(f"{path}: ")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.name != "posix", reason="file permissions as on Unix")
def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_idx(tmp_path / "labels", LABELS)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1
