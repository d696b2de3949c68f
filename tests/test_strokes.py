"""Synthetic handwriting: its bytes, its form, its cache, and its place among the data sets."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from app import runtime
from app.config import PRESETS, TrainConfig
from app.datasets import DataSet, Digits, split, strokes
from app.datasets.dataset import load_data
from app.datasets.mnist import load_mnist
from app.datasets.strokes import BLOCK, CHECKSUM, SKELETONS, load_strokes, main, make_strokes
from app.errors import DataError, FileError, UsageError
from app.pictures.normalise import centre_of_mass

REPOSITORY = Path(__file__).resolve().parent.parent
SMALL = replace(
    PRESETS["default"], channels=(4, 4), hidden=16, epochs=2, limit_train_batches=2, validation_size=500
)


@pytest.fixture(scope="session")
def some() -> Digits:
    return make_strokes(3000, 7)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the data set is kept."""
    directory = tmp_path_factory.mktemp("repository") / "data" / "strokes"
    load_strokes(directory)
    return directory


def test_a_seed_gives_the_same_bytes_everywhere(some: Digits) -> None:
    digest = hashlib.sha256(some.images.tobytes() + some.labels.astype("<i8").tobytes()).hexdigest()
    assert digest == "1e676f3162c7069d741e5a28dffb51a75214a661c766b8a90899f9067a24a07c"


def test_a_larger_count_only_adds_digits(some: Digits) -> None:
    assert len(some.images) > BLOCK
    for count in (0, 1, 100, BLOCK, BLOCK + 1):
        fewer = make_strokes(count, 7)
        assert fewer.images.shape == (count, 28, 28)
        np.testing.assert_array_equal(fewer.images, some.images[:count])
        np.testing.assert_array_equal(fewer.labels, some.labels[:count])


def test_no_image_comes_twice_in_a_seed_or_in_another(some: Digits) -> None:
    other = make_strokes(3000, 8).images
    assert len(np.unique(np.concatenate([some.images, other]).reshape(6000, -1), axis=0)) == 6000


def test_images_have_the_form_of_mnist(some: Digits) -> None:
    assert some.images.dtype == np.uint8
    assert some.labels.dtype == np.int64
    for image in some.images:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
        assert image.max() == 255
        # Ink is not cut off for the sake of the centre.
        is_at_the_edge = image[[0, -1]].any() or image[:, [0, -1]].any()
        assert is_at_the_edge or all(abs(place - 14) <= 0.501 for place in centre_of_mass(image))


def test_every_digit_is_as_likely(some: Digits) -> None:
    counts = np.bincount(some.labels, minlength=10)
    # Five standard deviations of a binomial distribution of 3000 and a tenth.
    assert np.abs(counts - 300).max() < 5 * np.sqrt(270)


@pytest.mark.parametrize("digit", SKELETONS)
def test_every_digit_is_written_in_several_ways(digit: int) -> None:
    ways = [tuple(way) for _, way in SKELETONS[digit]]
    assert len(set(ways)) == len(ways) >= 4


def test_ink_and_pen_are_those_of_mnist(some: Digits, mnist_directory: Path) -> None:
    written = load_mnist([mnist_directory]).train
    for digit in range(10):
        made, real = (each.images[each.labels == digit] for each in (some, written))
        assert made.mean() == pytest.approx(real.mean(), rel=0.2)
        assert made.mean(axis=(1, 2)).std() == pytest.approx(real.mean(axis=(1, 2)).std(), rel=0.35)
        assert (made > 0).mean() == pytest.approx((real > 0).mean(), rel=0.2)


def test_the_data_set_is_the_known_one_and_as_large_as_mnist(kept: Path) -> None:
    data = load_strokes(kept)
    assert data.checksum() == CHECKSUM
    assert (len(data.train.labels), len(data.test.labels)) == (60_000, 10_000)
    assert data.is_synthetic
    assert "MNIST" not in data.name
    assert data.source == str(kept)


def test_what_is_kept_is_read_and_not_made_again(kept: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert len(times) == 4
    assert load_strokes(kept).checksum() == CHECKSUM
    assert times == {path: path.stat().st_mtime_ns for path in kept.iterdir()}


def test_a_damaged_or_changed_file_is_made_again(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "train-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"cut")
    assert load_strokes(tmp_path).checksum() == CHECKSUM
    for name in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        assert (tmp_path / name).read_bytes() == (kept / name).read_bytes()


@pytest.mark.slow
def test_two_processes_at_once_keep_the_same_files(kept: Path, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from app.datasets.strokes import load_strokes;"
    script += "print(load_strokes(Path(sys.argv[1])).checksum())"
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE) for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == [CHECKSUM] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in kept.iterdir())
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (kept / path.name).read_bytes()


def test_the_command_draws_a_contact_sheet(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        assert main([str(tmp_path / f"{seed}.png"), "--seed", seed]) == 0
    with Image.open(tmp_path / "0.png") as sheet:
        assert sheet.size == (2 * 30 * 24, 2 * 30 * 20)
        pixels = np.asarray(sheet)
    # Every one of the 480 places holds a digit.
    places = pixels.reshape(20, 60, 24, 60).max(axis=(1, 3))
    assert (places == 255).all()
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--seed: -1"):
        main([str(tmp_path / "sheet.png"), "--seed", "-1"])
    with pytest.raises(FileError, match=r"gone.sheet\.png: cannot be written"):
        main([str(tmp_path / "gone" / "sheet.png")])


@pytest.fixture
def nowhere(kept: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A configuration whose data folders hold strokes and no MNIST."""
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    monkeypatch.setattr(runtime, "REPOSITORY", kept.parent.parent)
    return SMALL


def test_auto_takes_the_files_that_are_there(digits_directory: Path, digits: DataSet) -> None:
    data = load_data(replace(SMALL, data_dir=str(digits_directory)), mirrors=[])
    assert data.checksum() == digits.checksum()
    assert data.note is None
    assert data.qualification == ""


def test_auto_takes_strokes_without_a_network_and_says_why(nowhere: TrainConfig) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        mirrors = [f"http://127.0.0.1:{unused.getsockname()[1]}/{number}/" for number in range(4)]
        data = load_data(nowhere, mirrors=mirrors)
    assert data.checksum() == CHECKSUM
    assert data.note is not None
    assert "MNIST is not in " in data.note
    assert "refused): training on synthetic handwriting" in data.note
    assert "\n" not in data.note


def test_auto_gives_up_on_a_network_that_hangs_within_its_patience(nowhere: TrainConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirrors = [f"http://127.0.0.1:{silent.getsockname()[1]}/{number}/" for number in range(4)]
        started = time.monotonic()
        data = load_data(nowhere, mirrors=mirrors, patience=0.8)
        assert time.monotonic() - started < 4
    assert data.note is not None
    assert "(no answer within 0.2 s)" in data.note


@pytest.mark.slow
def test_a_folder_that_nothing_can_be_put_into_means_strokes_made_anew(
    nowhere: TrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    config = replace(nowhere, data_dir=str(tmp_path / "file" / "folder"), dataset="strokes")
    data = load_data(config, mirrors=["http://127.0.0.1:9/"])
    assert data.is_synthetic
    assert data.checksum() == CHECKSUM
    assert data.source == "app/datasets/strokes.py"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_broken_file_is_an_error_and_no_reason_for_strokes(digits_directory: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_directory, tmp_path, dirs_exist_ok=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"broken")
    with pytest.raises(DataError, match="t10k-labels"):
        load_data(replace(SMALL, data_dir=str(tmp_path)), mirrors=[])


def test_a_folder_that_is_named_is_not_replaced_by_strokes(nowhere: TrainConfig, tmp_path: Path) -> None:
    config = replace(nowhere, data_dir=str(tmp_path / "typo"))
    with pytest.raises(DataError, match=r"is not in .*typo and could not be downloaded"):
        load_data(config, mirrors=["http://127.0.0.1:9/"])
    assert not (tmp_path / "typo").exists()


def test_mnist_fails_where_it_cannot_be_had(nowhere: TrainConfig) -> None:
    with pytest.raises(DataError, match="could not be downloaded"):
        load_data(replace(nowhere, dataset="mnist"), mirrors=["http://127.0.0.1:9/"])


def test_strokes_are_taken_when_asked_for_even_beside_mnist(
    digits_directory: Path, kept: Path, tmp_path: Path
) -> None:
    shutil.copytree(digits_directory, tmp_path, dirs_exist_ok=True)
    shutil.copytree(kept, tmp_path / "strokes")
    data = load_data(replace(SMALL, data_dir=str(tmp_path), dataset="strokes"))
    assert data.checksum() == CHECKSUM
    assert data.note is None
    assert data.qualification == " on synthetic handwriting"


def test_strokes_cannot_come_from_a_file() -> None:
    with pytest.raises(UsageError, match="--dataset: strokes"):
        TrainConfig(data="mnist.json.gz", dataset="strokes")


def test_evenly_every_way_to_write_a_digit_is_as_common_as_another() -> None:
    usual, even = (make_strokes(2 * BLOCK, 7, evenly) for evenly in (False, True))
    # Most ones are plain strokes, which is one way of many. The others hold more ink.
    ink = [np.mean(images[labels == 1] > 127) for images, labels in (usual, even)]
    assert ink[1] > 1.1 * ink[0]
    assert np.bincount(even.labels).min() > 0.08 * len(even.labels)
    # Of zeros, there are more narrow and wide ones.
    widths = [np.ptp(np.nonzero(image)[1]) for image in usual.images[usual.labels == 0]]
    even_widths = [np.ptp(np.nonzero(image)[1]) for image in even.images[even.labels == 0]]
    assert np.std(even_widths) > 1.1 * np.std(widths)


def test_narrow_eights_are_no_bars() -> None:
    even = make_strokes(2 * BLOCK, 7, evenly=True)
    # The paper around an eight is the first of the regions without ink.
    papers = [np.pad(image < 128, 1, constant_values=True) for image in even.images[even.labels == 8]]
    regions = [cv2.connectedComponents(paper.astype(np.uint8), connectivity=4)[0] - 1 for paper in papers]
    assert np.mean(np.array(regions) > 1) > 0.98


def test_extra_strokes_are_for_training_only(digits_directory: Path, digits: DataSet) -> None:
    plain = split(digits)
    data = load_data(replace(SMALL, data_dir=str(digits_directory), extra_strokes=150))
    mixed = split(data)
    extra = make_strokes(150, strokes.EXTRA_SEED, evenly=True)
    np.testing.assert_array_equal(mixed.train.images, np.concatenate([plain.train.images, extra.images]))
    np.testing.assert_array_equal(mixed.train.labels, np.concatenate([plain.train.labels, extra.labels]))
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(mixed, part).images, getattr(plain, part).images)
    assert data.checksum() != digits.checksum()


def test_a_run_on_strokes_says_so_and_resumes_on_strokes(
    nowhere: TrainConfig, tmp_path: Path, digits_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.checkpoint import load_checkpoint, read_json
    from app.recognizer import Recognizer
    from app.training import resume, train

    # A proxy that refuses is as good as no network.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    result = train(replace(nowhere, epochs=1), tmp_path / "run")
    assert result.qualification == " on synthetic handwriting"
    assert read_json(tmp_path / "run" / "config.json")["dataset"] == "strokes"
    recorded = load_checkpoint(tmp_path / "run" / "best.pdparams").metadata["data"]
    assert recorded["name"] == recorded["trained_on"] == "synthetic handwriting"
    assert recorded["checksum"] == CHECKSUM
    assert "training on synthetic handwriting" in recorded["note"]

    described = Recognizer(tmp_path / "run").describe()
    assert "(trained on synthetic handwriting, validation accuracy on synthetic handwriting " in described
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Test accuracy on synthetic handwriting" in page
    assert "MNIST" not in page.replace(recorded["note"], "")

    # Meanwhile the four files have come.
    shutil.copytree(digits_directory, tmp_path / "data")
    again = resume(tmp_path / "run", {"data_dir": str(tmp_path / "data")})
    assert again.qualification == result.qualification
    assert again.test is not None
    assert result.test is not None
    assert again.test.accuracy == result.test.accuracy


def test_what_was_mixed_in_is_recorded(tmp_path: Path, digits_directory: Path) -> None:
    from app.recognizer import Recognizer
    from app.training import train

    config = replace(SMALL, data_dir=str(digits_directory), validation_size=100, extra_strokes=50)
    train(config, tmp_path / "run")
    described = Recognizer(tmp_path / "run").describe()
    assert f"IDX files in {digits_directory.name} and 50 images of synthetic handwriting" in described
    assert "accuracy on synthetic" not in described


def test_train_py_does_its_job_without_a_network(kept: Path, tmp_path: Path) -> None:
    # A copy of the program, whose data folder is certain to hold no MNIST.
    shutil.copytree(REPOSITORY / "app", tmp_path / "app")
    shutil.copytree(kept, tmp_path / "data" / "strokes")
    shutil.copy(REPOSITORY / "train.py", tmp_path)
    environment = {**os.environ, "https_proxy": "http://127.0.0.1:9"}
    environment.pop("MNIST_DATA_DIR", None)
    quick = ["--channels", "4", "4", "--hidden", "16", "--limit-train-batches", "20", "--epochs", "1"]
    command = [sys.executable, "train.py", "--run-dir", "run", *quick]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    why, data, _epoch, validation, test, _report = result.stdout.splitlines()
    assert why.startswith(f"MNIST is not in {tmp_path / 'data'} and cannot be downloaded (")
    assert data.startswith("data: synthetic handwriting from ")
    assert validation.startswith("validation accuracy on synthetic handwriting: ")
    assert test.startswith("test accuracy on synthetic handwriting: ")
    assert result.stderr == ""

    failing = subprocess.run(
        [*command, "--dataset", "mnist", "--run-dir", "other"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert failing.returncode == 1
    assert "could not be downloaded" in failing.stderr


@pytest.mark.slow
def test_strokes_alone_teach_to_read_mnist(tmp_path: Path, kept: Path, mnist_directory: Path) -> None:
    from app.checkpoint import load_checkpoint
    from app.models import compute_logits
    from app.training import train

    config = replace(PRESETS["default"], epochs=1, data_dir=str(kept.parent), dataset="strokes")
    train(config, tmp_path / "run")
    network = load_checkpoint(tmp_path / "run" / "best.pdparams").network
    validation = split(load_mnist([mnist_directory])).validation
    accuracy = (compute_logits(network, validation.images).argmax(axis=1) == validation.labels).mean()
    assert accuracy > 0.94
