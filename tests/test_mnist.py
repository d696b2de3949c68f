from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from app.datasets import CLASSES
from app.datasets.mnist import (
    FILES,
    MNIST_CHECKSUM,
    PublishedFile,
    download_mnist,
    find_files,
    load_mnist,
    main,
)
from app.errors import DataError, UsageError

REPOSITORY = Path(__file__).resolve().parent.parent

DOWNLOAD_SCRIPT = """
import sys
from pathlib import Path
from app.datasets.mnist import PublishedFile, load_mnist

directory, mirror, *published = sys.argv[1:]
files = {}
for each in published:
    name, sha256, size = each.split(",")
    files[name] = PublishedFile(sha256, int(size))
print("ready", flush=True)
sys.stdin.readline()
print(load_mnist([Path(directory)], mirrors=[mirror], files=files).checksum())
"""


class Mirror(ThreadingHTTPServer):
    """A server whose folders each fail in their own way: `/FAULT/NAME`."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.directory = directory
        self.requests: list[str] = []
        self.released = threading.Event()

    def url(self, fault: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{fault}/"


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        _, fault, name = self.path.split("/")
        content = (self.server.directory / name).read_bytes()
        getattr(self, fault.replace("-", "_"))(content)

    def answer(self, content: bytes, length: object) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def good(self, content: bytes) -> None:
        self.answer(content, len(content))

    def no_length(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def cut(self, content: bytes) -> None:
        self.answer(content[: len(content) // 2], len(content))

    def wrong_bytes(self, content: bytes) -> None:
        self.answer(bytes(len(content)), len(content))

    def wrong_length(self, content: bytes) -> None:
        self.answer(content, len(content) + 1)

    def odd_length(self, content: bytes) -> None:
        self.answer(content, "many\x1b[31m")

    def bad_chunks(self, content: bytes) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"this is no length\r\n" + content)

    def missing(self, _content: bytes) -> None:
        self.send_error(404)

    def broken(self, _content: bytes) -> None:
        self.send_error(500)

    def redirect(self, _content: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", self.path)
        self.end_headers()

    def nonsense(self, _content: bytes) -> None:
        self.wfile.write(b"SSH-2.0-server\r\n")

    def silent(self, _content: bytes) -> None:
        self.close_connection = True

    def hang(self, _content: bytes) -> None:
        self.server.released.wait()

    def hang_half_way(self, content: bytes) -> None:
        self.answer(content[: len(content) // 2], len(content))
        self.server.released.wait()

    def trickle(self, content: bytes) -> None:
        self.answer(b"", len(content))
        for position in range(len(content)):
            if self.server.released.wait(0.02):
                return
            self.wfile.write(content[position : position + 1])

    def trickle_header(self, _content: bytes) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
        while not self.server.released.wait(0.02):
            self.wfile.write(b"x")

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def mirror(digits_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Mirror(digits_directory) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def published(digits_directory: Path) -> dict[str, PublishedFile]:
    contents = {name: (digits_directory / name).read_bytes() for name in FILES}
    return {
        name: PublishedFile(hashlib.sha256(content).hexdigest(), len(content))
        for name, content in contents.items()
    }


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_files_are_downloaded_into_a_new_folder(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile], digits_directory: Path
) -> None:
    directory = tmp_path / "new" / "folder"
    data = load_mnist([directory], mirrors=[mirror.url("good")], files=published)
    assert data.checksum() == load_mnist([digits_directory]).checksum()
    assert data.name == "IDX files in folder"
    assert data.source == str(directory)
    assert names_in(directory) == sorted(FILES)
    for name in FILES:
        assert (directory / name).read_bytes() == (digits_directory / name).read_bytes()


def test_only_missing_files_are_downloaded(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile], digits_directory: Path
) -> None:
    present, missing = list(FILES)[:3], list(FILES)[3]
    for name in present:
        shutil.copy(digits_directory / name, tmp_path)
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in present}
    for _ in range(2):
        download_mnist(tmp_path, mirrors=[mirror.url("good")], files=published)
    assert mirror.requests == [f"/good/{missing}"]
    assert times == {name: (tmp_path / name).stat().st_mtime_ns for name in present}


def test_a_mirror_that_gives_no_length_is_used(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile]
) -> None:
    download_mnist(tmp_path, mirrors=[mirror.url("no-length")], files=published)
    assert names_in(tmp_path) == sorted(FILES)


FAULTS = {
    "cut": "cut short: expected",
    "wrong-bytes": "wrong bytes: expected SHA-256",
    "wrong-length": "announced",
    "odd-length": "announced",
    "bad-chunks": "IncompleteRead",
    "missing": "HTTP 404 Not Found",
    "broken": "HTTP 500 Internal Server Error",
    "redirect": "HTTP 302",
    "nonsense": "BadStatusLine",
    "silent": "closed the connection without an answer",
    "hang": "no answer within 0.3 s",
    "hang-half-way": "no answer within 0.3 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mirror_that_fails_gives_way_to_the_next(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile], fault: str
) -> None:
    mirrors = [mirror.url(fault), mirror.url("good")]
    download_mnist(tmp_path, mirrors=mirrors, files=published, timeout=0.3)
    assert names_in(tmp_path) == sorted(FILES)
    # The failed mirror is asked last from then on, which is not at all while the other one delivers.
    assert sum(path.startswith("/good/") for path in mirror.requests) == 4
    assert len({path for path in mirror.requests if path.startswith(f"/{fault}/")}) == 1


def test_the_last_error_lists_every_mirror_with_its_reason(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        mirrors = [*(mirror.url(fault) for fault in FAULTS), refusing, "http://[/"]
        with pytest.raises(DataError) as caught:
            download_mnist(tmp_path / "new", mirrors=mirrors, files=published, timeout=0.3)
    first, *reasons, advice = str(caught.value).splitlines()
    assert "t10k-labels-idx1-ubyte.gz is not in " in first
    assert [line.split(": ")[0].strip() for line in reasons] == mirrors
    for line, reason in zip(reasons, [*FAULTS.values(), "refused", "ValueError"]):
        assert reason in line
        assert line.isprintable()
    assert str(tmp_path / "new") in advice
    for name in FILES:
        assert name in advice
    assert not (tmp_path / "new").exists()
    # One file that nobody delivers is enough to give up.
    assert {path.rpartition("/")[2] for path in mirror.requests} == {"t10k-labels-idx1-ubyte.gz"}


@pytest.mark.parametrize("fault", ["trickle", "trickle-header"])
def test_a_trickle_of_bytes_does_not_hold_up_for_ever(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile], fault: str
) -> None:
    begin = time.monotonic()
    with pytest.raises(DataError, match=r"not complete after 0\.4 s"):
        download_mnist(tmp_path, mirrors=[mirror.url(fault)], files=published, timeout=5, time_limit=0.4)
    assert time.monotonic() - begin < 3
    assert names_in(tmp_path) == []


def test_files_that_arrived_before_a_failure_are_kept(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile]
) -> None:
    largest = "train-images-idx3-ubyte.gz"
    files = {**published, largest: PublishedFile("0" * 64, published[largest].size)}
    with pytest.raises(DataError, match=r"train-images.*could not be downloaded"):
        download_mnist(tmp_path, mirrors=[mirror.url("good")], files=files)
    assert names_in(tmp_path) == sorted(set(FILES) - {largest})


def test_a_file_with_other_bytes_is_neither_used_nor_replaced(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile]
) -> None:
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match="delete it to have it downloaded again") as caught:
        load_mnist([tmp_path], mirrors=[mirror.url("good")], files=published)
    assert str(caught.value).startswith(f"{path}: ")
    assert path.read_bytes() == b"mine"
    assert mirror.requests == []


def test_a_pipe_in_a_files_place_is_not_waited_for(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile], make_pipe: Callable[[Path], None]
) -> None:
    make_pipe(tmp_path / "t10k-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match=r"ubyte\.gz: expected a file, found a device or a pipe"):
        load_mnist([tmp_path], mirrors=[mirror.url("good")], files=published)


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile]
) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "folder", tmp_path / ("long" * 100)):
        with pytest.raises(DataError) as caught:
            load_mnist([directory], mirrors=[mirror.url("good")], files=published)
        assert str(caught.value).startswith(f"{directory}: ")
    assert not any(path.endswith("train-images-idx3-ubyte.gz") for path in mirror.requests)


def test_two_processes_at_once_do_not_spoil_the_download(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile], digits_directory: Path
) -> None:
    sums = [f"{name},{file.sha256},{file.size}" for name, file in published.items()]
    command = [sys.executable, "-c", DOWNLOAD_SCRIPT, str(tmp_path), mirror.url("good"), *sums]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == [load_mnist([digits_directory]).checksum()] * 2
    assert names_in(tmp_path) == sorted(FILES)


def test_the_first_folder_with_all_four_files_is_used(tmp_path: Path, digits_directory: Path) -> None:
    partial, dotted = tmp_path / "partial", tmp_path / "dotted"
    partial.mkdir()
    dotted.mkdir()
    for name in FILES:
        content = gzip.decompress((digits_directory / name).read_bytes())
        (dotted / name.replace("-idx", ".idx")[: -len(".gz")]).write_bytes(content)
    shutil.copy(digits_directory / "train-labels-idx1-ubyte.gz", partial)
    data = load_mnist([tmp_path / "absent", partial, dotted, digits_directory], mirrors=[])
    assert data.source == str(dotted)
    assert data.checksum() == load_mnist([digits_directory]).checksum()
    assert find_files(partial) is None


def test_a_broken_file_is_named_and_not_downloaded_over(
    tmp_path: Path, mirror: Mirror, published: dict[str, PublishedFile], digits_directory: Path
) -> None:
    shutil.copytree(digits_directory, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="delete it to have it downloaded again") as caught:
        load_mnist([tmp_path, digits_directory], mirrors=[mirror.url("good")], files=published)
    assert str(caught.value).startswith(f"{path}: ")
    assert mirror.requests == []


def test_the_command_describes_what_it_found(
    digits_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "course.json.gz"
    assert main(["--data-dir", str(digits_directory), "--course-json", str(target)]) == 0
    output = capsys.readouterr().out
    data = load_mnist([digits_directory])
    assert str(digits_directory) in output
    assert f"{data.checksum()} (not that of MNIST)" in output
    for name in FILES:
        sha256 = hashlib.sha256((digits_directory / name).read_bytes()).hexdigest()
        line = next(line for line in output.splitlines() if line.startswith(name))
        assert line.split()[1:] == [str((digits_directory / name).stat().st_size), sha256, "no"]
    training = next(line for line in output.splitlines() if line.startswith("training"))
    balance = [int((data.train.labels == digit).sum()) for digit in range(CLASSES)]
    assert training.split() == ["training", "600", "28x28", *map(str, balance)]
    assert f"wrote {target} ({target.stat().st_size} bytes)" in output


def test_the_command_refuses_before_it_works(tmp_path: Path, digits_directory: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(DataError, match="exists already"):
        main(["--data-dir", str(digits_directory), "--course-json", str(tmp_path / "mine")])
    with pytest.raises(UsageError, match="http://"):
        main(["--data-dir", str(digits_directory), "--mirror", "somewhere/else"])


def test_the_command_fails_with_an_error_and_no_traceback(tmp_path: Path, digits_directory: Path) -> None:
    shutil.copytree(digits_directory, tmp_path, dirs_exist_ok=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"broken")
    result = subprocess.run(
        [sys.executable, "-m", "app.datasets.mnist", "--data-dir", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {tmp_path / 't10k-labels-idx1-ubyte.gz'}: expected")
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_that_is_named_is_not_passed_over(tmp_path: Path, digits_directory: Path) -> None:
    options = ["--data-dir", str(tmp_path / "a\nb"), "--mirror", "http://127.0.0.1:9/"]
    result = subprocess.run(
        [sys.executable, "-m", "app.datasets.mnist", *options],
        cwd=REPOSITORY,
        env={**os.environ, "MNIST_DATA_DIR": str(digits_directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    first, mirror, advice = result.stderr.splitlines()
    assert first.startswith(f"error: t10k-labels-idx1-ubyte.gz is not in {tmp_path}")
    assert first.endswith("a\\nb and could not be downloaded from any mirror:")
    assert mirror.startswith("  http://127.0.0.1:9/: ")
    assert advice.startswith("Put train-images-idx3-ubyte.gz, ")


def test_the_real_files_are_known(mnist_directory: Path) -> None:
    begin = time.perf_counter()
    data = load_mnist([mnist_directory])
    seconds = time.perf_counter() - begin
    assert data.name == "MNIST"
    assert data.checksum() == MNIST_CHECKSUM
    assert data.train.images.shape == (60000, 28, 28)
    assert data.test.images.shape == (10000, 28, 28)
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # Measured 0.25 s; image by image in Python it would take tens of seconds.
    assert seconds < 5
