"""Write files whole or not at all, lock folders, and tell files from what only has their name."""

from __future__ import annotations

import gzip
import json
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Optional, cast

from app.errors import FileError, UserError

SOFTWARE = "paddle-mnist"
"""What a figure, as a PNG, says under the keyword `Software`."""

# So many bytes of a PNG hold the short texts at its beginning.
_TEXTS = 1024


def other_than_a_file(status: os.stat_result) -> Optional[str]:
    """Return what something of this status is if it is no file: a folder, or what may keep one waiting."""
    if stat.S_ISREG(status.st_mode):
        return None
    return "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"


def expect_file(path: Path, error: type[UserError]) -> None:
    """Raise `error` if there is something else at `path`, and OSError if there is nothing."""
    if found := other_than_a_file(path.stat()):
        raise error(f"{path}: expected a file, found {found}")


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, as `replacing` does."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, as `replacing` does; NaN and infinity are refused (ValueError)."""
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_figure(path: Path, png: bytes) -> None:
    """Write a PNG made by `SOFTWARE`, as `replacing` does, but in place of nothing else than another such.

    Raises:
        FileError: the folder cannot be written to, the disk is full, or `path` is something else.
    """
    expect_figure_or_nothing(path)
    write_atomically(path, png)


def expect_figure_or_nothing(path: Path) -> None:
    """Raise a `FileError` if there is something else at `path` than a figure of this program."""
    try:
        expect_file(path, FileError)
        with path.open("rb") as file:
            is_figure = f"Software\0{SOFTWARE}".encode() in file.read(_TEXTS)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from error
    if not is_figure:
        raise FileError(f"{path}: exists already, is no figure of this program, and is not overwritten")


def make_directory(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        FileError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be made: {error.strerror}") from error


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others that ask for it, too, out of a folder; the lock ends with this process at the latest.

    Where the system cannot lock a folder (Windows, some network disks), nothing is kept out.

    Raises:
        FileError: another process is in there.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(directory, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileError(f"{directory}: in use, another process is writing to it") from None
        yield


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file as `replacing` does, to write what is compressed on the way if the name ends in `.gz`."""
    with replacing(path) as file:
        if path.suffix == ".gz":
            # No name and no time inside, so that the same content gives the same bytes.
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as stream:
                yield cast(BinaryIO, stream)
        else:
            yield file


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that becomes `path` at the end.

    Until then, and for ever if anything fails, `path` is what it was before. Writers that run at the same
    time do not meet: the last to finish wins.

    Raises:
        FileError: the folder cannot be written to, or the disk is full.
    """
    # A path such as `.` has no name that another could take the place of.
    temporary = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
