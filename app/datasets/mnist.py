"""Find MNIST in a folder, or download it from one of several mirrors, and verify it.

`python -m app.datasets.mnist` does so and describes what it found.
"""

from __future__ import annotations

import hashlib
import http.client
import math
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from app.console import CommandParser, named, named_path, progress_bar, run_command
from app.datasets import CLASSES, DataSet, Digits
from app.datasets.course_json import refuse_existing, write_course_json
from app.datasets.idx import read_digits
from app.errors import DataError, DownloadError, UsageError
from app.files import expect_file, write_atomically
from app.runtime import data_directories


class PublishedFile(NamedTuple):
    """What is known of a file before it is downloaded."""

    sha256: str
    size: int
    """Bytes."""


# The sums of the files as Yann LeCun published them; every mirror serves the same bytes.
FILES: Mapping[str, PublishedFile] = {
    "train-images-idx3-ubyte.gz": PublishedFile(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422
    ),
    "train-labels-idx1-ubyte.gz": PublishedFile(
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881
    ),
    "t10k-images-idx3-ubyte.gz": PublishedFile(
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877
    ),
    "t10k-labels-idx1-ubyte.gz": PublishedFile(
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542
    ),
}

# The original host, yann.lecun.com, refuses downloads and is not among them.
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://dataset.bj.bcebos.com/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)

MNIST_CHECKSUM = "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b"
"""`DataSet.checksum()` of the real MNIST."""

TIMEOUT = 10.0
"""Seconds to wait for a connection, and for more data on it."""

TIME_LIMIT = 300.0
"""Seconds for one file from one mirror, however steadily it trickles: 33 kB/s for the largest."""


class DigitFiles(NamedTuple):
    """The four files of a data set in the IDX format."""

    train_images: Path
    train_labels: Path
    test_images: Path
    test_labels: Path


class _MirrorError(Exception):
    """Why a mirror did not deliver a file."""


def load_mnist(
    directories: Sequence[Path],
    *,
    mirrors: Sequence[str] = MIRRORS,
    files: Mapping[str, PublishedFile] = FILES,
    timeout: float = TIMEOUT,
    time_limit: float = TIME_LIMIT,
    patience: float = math.inf,
) -> DataSet:
    """Read the first folder that holds all four files; if none does, download them into the first.

    Args:
        directories: at least one, in order of preference. A folder without all four files is passed over.
        mirrors, files, timeout, time_limit, patience: as in `download_mnist`.

    Returns:
        The data set, without validation part. It is named `MNIST` only if its arrays are MNIST's.

    Raises:
        DataError: a file that is there is broken.
        DownloadError, FileError: as in `download_mnist`.
    """
    for directory in directories:
        found = find_files(directory)
        if found is not None:
            return _read(directory, found)
    download_mnist(
        directories[0],
        mirrors=mirrors,
        files=files,
        timeout=timeout,
        time_limit=time_limit,
        patience=patience,
    )
    return _read(directories[0], DigitFiles(*(directories[0] / name for name in FILES)))


def find_files(directory: Path) -> Optional[DigitFiles]:
    """Return the four files in a folder, compressed or not, or None unless all are there.

    Besides the published names, those with a dot (`train-images.idx3-ubyte`) are known.

    Raises:
        DataError: it is no folder, or may not be looked into.
    """
    try:
        if directory.exists() and not directory.is_dir():
            raise DataError(f"{directory}: expected a folder, found a file")
        found = [path for path in (_find_file(directory, name) for name in FILES) if path is not None]
    except OSError as error:
        raise DataError(f"{directory}: cannot be read ({error.strerror or error})") from error
    return DigitFiles(*found) if len(found) == len(FILES) else None


def _find_file(directory: Path, name: str) -> Optional[Path]:
    dotted = name.replace("-idx", ".idx")
    names = (name, name[: -len(".gz")], dotted, dotted[: -len(".gz")])
    return next((directory / each for each in names if (directory / each).is_file()), None)


def _read(directory: Path, files: DigitFiles) -> DataSet:
    try:
        train = read_digits(files.train_images, files.train_labels)
        test = read_digits(files.test_images, files.test_labels)
    except DataError as error:
        raise DataError(
            f"{error}; if it is meant to be MNIST, delete it to have it downloaded again"
        ) from error
    data = DataSet(f"IDX files in {directory.resolve().name}", str(directory), train, test)
    return replace(data, name="MNIST") if data.checksum() == MNIST_CHECKSUM else data


def download_mnist(
    directory: Path,
    *,
    mirrors: Sequence[str] = MIRRORS,
    files: Mapping[str, PublishedFile] = FILES,
    timeout: float = TIMEOUT,
    time_limit: float = TIME_LIMIT,
    patience: float = math.inf,
) -> None:
    """Download the files that the folder lacks, each from the first mirror that delivers it.

    Each file is checked before it gets its name, so that several processes may do this at once.

    Args:
        directory: made if need be.
        mirrors: addresses that a file name is appended to. One that fails is asked last from then on.
        files: the names, checksums and sizes to expect.
        timeout: seconds to wait for a connection, and for more data on it.
        time_limit: seconds for one file from one mirror.
        patience: seconds to wait for one file from all mirrors together while nothing arrives; each is given
            an equal share of what is left.

    Raises:
        DataError: a file there has other bytes than expected.
        DownloadError: the folder cannot be made, or no mirror delivers a file; then the message has a line
            for each mirror.
        FileError: the folder cannot be written to.
    """
    order = list(dict.fromkeys(mirrors))
    missing = [name for name in files if not _is_present(directory / name, files[name])]
    # Smallest first: a folder that cannot be written to shows after kilobytes, not megabytes.
    for name in sorted(missing, key=lambda name: files[name].size):
        faults: dict[str, str] = {}
        left = patience
        for mirror in tuple(order):
            wait = min(timeout, left / (len(order) - len(faults)))
            started = time.monotonic()
            try:
                content = _download(f"{mirror.rstrip('/')}/{name}", files[name], wait, time_limit)
            except _MirrorError as fault:
                left -= min(wait, time.monotonic() - started)
                faults[mirror] = _one_line(str(fault))
                order.remove(mirror)
                order.append(mirror)
            else:
                _store(directory / name, content)
                break
        else:
            reasons = "; ".join(dict.fromkeys(faults.values()))
            raise DownloadError(_describe_failure(directory, name, files, faults), reasons)


def _is_present(path: Path, published: PublishedFile) -> bool:
    try:
        if not path.exists():
            return False
        expect_file(path, DataError)
        found = _sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if found != published.sha256:
        raise DataError(
            f"{path}: expected the published file with SHA-256 {published.sha256}, found {found}; "
            "delete it to have it downloaded again"
        )
    return True


def _store(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{path.parent}: cannot be made a folder ({error.strerror or error})"
        raise DownloadError([reason], reason) from error
    write_atomically(path, content)


def _describe_failure(
    directory: Path, name: str, files: Mapping[str, PublishedFile], faults: Mapping[str, str]
) -> list[str]:
    return [
        f"{name} is not in {directory} and could not be downloaded from any mirror:",
        *(f"  {mirror}: {reason}" for mirror, reason in faults.items()),
        f"Put {', '.join(files)} into {directory} by hand, or name the folder that has them with --data-dir.",
    ]


def _download(url: str, published: PublishedFile, timeout: float, time_limit: float) -> bytes:
    """Return the content of a file that was checked, or raise a `_MirrorError`."""
    deadline = time.monotonic() + time_limit
    parts: queue.SimpleQueue[Union[bytes, Exception]] = queue.SimpleQueue()
    # No time-out of a socket limits a name server that hangs or a header that trickles in, so the
    # connection has a thread to itself, which can be left behind.
    arguments = (url, published.size, timeout, deadline, parts)
    threading.Thread(target=_receive, args=arguments, daemon=True).start()
    content = bytearray()
    with progress_bar(published.size, "B", url.rpartition("/")[2], scale=True) as bar:
        while len(content) < published.size:
            try:
                part = parts.get(timeout=min(timeout, max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                if time.monotonic() < deadline:
                    raise _MirrorError(_no_answer(timeout)) from None
                raise _MirrorError(f"not complete after {time_limit:g} s") from None
            if isinstance(part, Exception):
                raise _MirrorError(_reason(part, timeout)) from part
            if not part:
                raise _MirrorError(f"cut short: expected {published.size} bytes, found {len(content)}")
            content += part
            bar.update(len(part))
    found = hashlib.sha256(content).hexdigest()
    if found != published.sha256:
        raise _MirrorError(f"wrong bytes: expected SHA-256 {published.sha256}, found {found}")
    return bytes(content)


def _receive(
    url: str,
    size: int,
    timeout: float,
    deadline: float,
    parts: queue.SimpleQueue[Union[bytes, Exception]],
) -> None:
    """Put the first `size` bytes behind `url` into the queue, then b"" at their end, or what went wrong."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            announced = response.headers.get("Content-Length", str(size))
            if announced != str(size):
                raise _MirrorError(f"expected {size} bytes, found {announced} announced")
            while size > 0 and time.monotonic() < deadline:
                part = response.read1(min(size, 1 << 16))
                parts.put(part)
                if not part:
                    return
                size -= len(part)
    # Whatever it is, it is this mirror's fault and the next one may do better.
    except Exception as error:
        parts.put(error)


def _reason(error: BaseException, timeout: float) -> str:
    if isinstance(error, _MirrorError):
        return str(error)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.msg}".rstrip()
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason, timeout)
    # Until Python 3.10 a socket's time-out is a class of its own.
    if isinstance(error, OSError) and "timed out" in str(error):
        return _no_answer(timeout)
    if isinstance(error, http.client.RemoteDisconnected):
        return "closed the connection without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _no_answer(timeout: float) -> str:
    return f"no answer within {timeout:.2g} s"


def _one_line(text: str) -> str:
    # A reason may quote what the server sent, line ends and escape sequences included.
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def describe(data: DataSet, files: DigitFiles) -> str:
    """Return what a person wants to know of a data set and its four files, as lines of text.

    Raises:
        DataError: a file can no longer be read.
    """
    checksum = data.checksum()
    verdict = "that of MNIST" if checksum == MNIST_CHECKSUM else "not that of MNIST"
    return "\n".join(
        [
            f"{data.name}, from {data.source}",
            "",
            *_describe_files(files),
            "",
            f"{'':8}  {'images':>7}  {'pixels':>7}" + "".join(f"  {digit:>5}" for digit in range(CLASSES)),
            _describe_part("training", data.train),
            _describe_part("test", data.test),
            "",
            f"checksum of all images and labels: {checksum} ({verdict})",
        ]
    )


def _describe_files(files: DigitFiles) -> list[str]:
    width = max(len(path.name) for path in files)
    lines = [f"{'file':{width}}  {'bytes':>10}  {'SHA-256':64}  as published"]
    published_sums = {published.sha256 for published in FILES.values()}
    for path in files:
        try:
            checksum, size = _sha256(path), path.stat().st_size
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        lines.append(
            f"{path.name:{width}}  {size:>10}  {checksum}  {'yes' if checksum in published_sums else 'no'}"
        )
    return lines


def _describe_part(name: str, digits: Digits) -> str:
    count, height, width = digits.images.shape
    balance = "".join(f"  {number:>5}" for number in np.bincount(digits.labels, minlength=CLASSES))
    return f"{name:8}  {count:>7}  {f'{height}x{width}':>7}{balance}"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Find or download MNIST and describe it on standard output."""
    parser = CommandParser(
        prog="python -m app.datasets.mnist",
        description="Find MNIST, or download it, verify it and describe it.",
        epilog="Looks in --data-dir; if it is not given, in MNIST_DATA_DIR, then in data/ of the repository.",
    )
    parser.add_argument("--data-dir", type=named, metavar="DIR", help="look here, and download to here")
    parser.add_argument(
        "--mirror",
        metavar="URL",
        action="append",
        help="download from here in place of the known mirrors (may be given several times)",
    )
    parser.add_argument(
        "--course-json",
        metavar="FILE",
        type=named_path,
        help="also write the tutorial's format, such as mnist.json.gz",
    )
    options = parser.parse_args(arguments)
    mirrors = options.mirror or MIRRORS
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise UsageError(f"--mirror {mirror}: expected an address that begins with http:// or https://")
    if options.course_json is not None:
        refuse_existing(options.course_json)

    data = load_mnist(data_directories(options.data_dir), mirrors=mirrors)
    files = find_files(Path(data.source))
    if files is None:
        raise DataError(f"{data.source}: the files vanished while they were read")
    sys.stdout.write(describe(data, files) + "\n")
    if options.course_json is not None:
        write_course_json(options.course_json, data)
        size = options.course_json.stat().st_size
        sys.stdout.write(f"\nwrote {options.course_json} ({size} bytes)\n")
    return 0


if __name__ == "__main__":
    run_command(main)
