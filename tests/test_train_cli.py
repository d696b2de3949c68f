"""`train.py` as a user runs it: a real process, from another folder."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from app.checkpoint import load_state

SCRIPT = Path(__file__).resolve().parent.parent / "train.py"
QUICK = ["--channels", "4", "4", "--hidden", "16", "--batch-size", "50"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def test_a_run_prints_plain_lines_and_predicts_where_the_report_is(tmp_path, digits_directory, monkeypatch):
    # As on a new machine, where the library of the figures has notes of its own.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    result = run(tmp_path, *QUICK, "--epochs", 2, "--data-dir", digits_directory, "--run-dir", "my run")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].endswith("500 training, 100 validation, 200 test images")
    assert [line.split()[1] for line in lines[1:3]] == ["1/2", "2/2"]
    assert re.fullmatch(r"validation accuracy: \d+\.\d+% \(\d+/100\)", lines[3])
    assert re.fullmatch(r"test accuracy: \d+\.\d+% \(\d+/200\), looked at once", lines[4])
    assert lines[5] == f"report: {Path('my run') / 'report.html'}"
    report = json.loads((tmp_path / "my run" / "report.json").read_text())
    assert report["validation"]["count"] == 100
    assert report["test"]["correct"] / 200 == report["test"]["accuracy"]
    assert "\r" not in result.stdout


def test_the_tutorials_log_lines_are_printed(tmp_path, digits_directory):
    options = ["--preset", "tutorial", "--epochs", 1, "--batch-size", 2, "--run-dir", "run"]
    result = run(tmp_path, *options, "--data-dir", digits_directory)
    logged = [line for line in result.stdout.splitlines() if "loss is" in line]
    assert [line.partition(", loss is: ")[0] for line in logged] == [
        "epoch: 0, batch: 0",
        "epoch: 0, batch: 200",
    ]
    assert all(re.fullmatch(r"epoch: 0, batch: \d+, loss is: \d+\.\d{4}", line) for line in logged)


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_min_accuracy_decides_the_exit_code(tmp_path, digits_directory, accuracy):
    options = ["--limit-train-batches", 1, "--epochs", 1, "--data-dir", digits_directory, "--run-dir", "run"]
    result = run(tmp_path, *QUICK, *options, "--min-accuracy", accuracy)
    assert result.returncode == (1 if accuracy else 0)
    assert re.fullmatch(
        r"error: the validation accuracy 0\.\d+ is below 1\.0\n" if accuracy else "", result.stderr
    )


def test_min_accuracy_without_validation_is_refused_at_once(tmp_path):
    result = run(tmp_path, "--validation-size", 0, "--min-accuracy", 0.5)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: --min-accuracy: ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_named_before_the_data_are_looked_for(tmp_path):
    (tmp_path / "file").touch()
    result = run(tmp_path, *QUICK, "--run-dir", "file", "--data-dir", "missing")
    assert result.returncode == 1
    assert result.stderr == "error: file: cannot be used as a run folder: Not a directory\n"


def test_ctrl_c_saves_and_says_how_to_resume(tmp_path, digits_directory):
    endless = [*QUICK, "--epochs", 100_000, "--data-dir", digits_directory, "--run-dir", "run"]
    with subprocess.Popen(
        command(*endless), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 2"):
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
        said = process.stderr.read()
    assert process.returncode == 130
    # The signal may come before the next epoch's first batch.
    assert re.fullmatch(
        r"interrupted (in epoch \d+ after \d+ batches|after \d+ epochs); .*--resume run\n", said
    )
    assert load_state(tmp_path / "run" / "last.pdparams").keys() >= {"conv1.weight", "fc.bias"}


def hear_hangup() -> None:
    """Undo what `nohup` does to the tests, and they to what they start: the end of a terminal is ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits_directory):
    """Return the options of a run, and the parameters it ended with, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    options = [*QUICK, "--epochs", 20, "--data-dir", digits_directory]
    assert run(folder, *options, "--run-dir", "run").returncode == 0
    return options, load_state(folder / "run" / "last.pdparams")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, whole, number):
    options, parameters = whole
    with subprocess.Popen(
        command(*options, "--run-dir", "parts"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_hangup,
    ) as process:
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(number)
        if number == signal.SIGHUP:
            # A terminal that closes is told of by the shell and by the system.
            process.send_signal(number)
        process.communicate()
    assert process.returncode == 128 + number
    resumed = run(tmp_path, "--resume", "parts")
    assert resumed.returncode == 0
    assert re.search(r"test accuracy: .*, looked at once\n", resumed.stdout)
    again = run(tmp_path, "--resume", "parts")
    assert "nothing is left to train, the run is evaluated again\n" in again.stdout
    assert "looked at once" not in again.stdout
    parts = load_state(tmp_path / "parts" / "last.pdparams")
    assert all((parts[name] == parameters[name]).all() for name in parameters)


def test_a_terminal_gets_a_progress_bar_with_loss_and_time_left(tmp_path, digits_directory):
    options = [*QUICK, "--epochs", 20, "--data-dir", digits_directory, "--run-dir", "run"]
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(command(*options), cwd=tmp_path, stdout=child, stderr=child, stdin=child)
    os.close(child)
    shown = b""
    try:
        while piece := os.read(parent, 1 << 16):
            shown += piece
    except OSError:
        pass  # How Linux reports that the other side has closed.
    os.close(parent)
    assert process.wait() == 0
    text = shown.decode()
    assert re.search(r"training: +\d+%.*image/s, loss=\d\.\d{4}", text)
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d", text)
    assert "epoch 20/20" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--epochs", "0"], "--epochs: 0 is impossible"),
        (["--epochs", "many"], "--epochs"),
        (["--learning-rate", "nan"], "--learning-rate: nan"),
        (["--epoch", "3"], "unrecognized arguments: --epoch"),
        (["--preset", "nothing"], "--preset"),
        (["--min-accuracy", "98"], "0.98 means 98%"),
        (["--resume", "run", "--epochs", "3"], "--epochs: a resumed run keeps its configuration"),
        (["--resume", "run", "--run-dir", "other"], "--run-dir"),
        (["--resume", "run", "--preset", "tutorial"], "--preset"),
        (["--resume", "run", "--print-config"], "--print-config"),
    ],
)
def test_usage_errors_are_one_line_at_once(tmp_path, arguments, reason):
    result = run(tmp_path, *arguments)
    assert result.returncode == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["--epochs", "0"], 2), (["--print-config"], 0)]
)
def test_what_needs_no_training_answers_before_paddle_is_imported(tmp_path, monkeypatch, arguments, code):
    for heavy in ("paddle", "matplotlib", "cv2"):
        (tmp_path / f"{heavy}.py").write_text(f"raise SystemExit('{heavy} was imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run(tmp_path, *arguments)
    assert "was imported" not in result.stderr
    assert result.returncode == code


def test_print_config_shows_the_resolved_configuration(tmp_path):
    result = run(tmp_path, "--preset", "tutorial", "--epochs", 3, "--print-config")
    shown = json.loads(result.stdout)
    assert shown["preset"] == "tutorial"
    assert shown["epochs"] == 3
    assert shown["channels"] == [20, 20]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--data", "gone.json.gz"], "gone.json.gz"),
        (["--data", "bad.json.gz"], "bad.json.gz"),
        (["--data", ""], "--data: expected a path"),
        (["--data", "bad.json.gz", "--data-dir", "{digits}"], "--data-dir: not allowed with --data"),
        (["--resume", "gone"], "gone: no run to resume"),
        (["--resume", "full/mine.txt"], "full/mine.txt: expected the folder of a run"),
        (["--data-dir", "{digits}", "--run-dir", "full"], "full: already holds files"),
        (["--data-dir", "{digits}", "--run-dir", "bad.json.gz"], "bad.json.gz: cannot be used"),
        (["--data-dir", "{digits}", "--validation-size", "600"], "leaves nothing to train on"),
    ],
)
def test_failures_are_one_line_and_leave_nothing_behind(tmp_path, digits_directory, arguments, reason):
    (tmp_path / "bad.json.gz").write_bytes(b"\x1f\x8bnot gzip")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    result = run(tmp_path, *(argument.format(digits=digits_directory) for argument in arguments))
    assert result.returncode in (1, 2)
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("module", ["paddle.version", "paddle.base.libpaddle", "paddle.tensor.math"])
def test_ctrl_c_while_paddle_is_imported_is_quiet(tmp_path, digits_directory, module):
    options = [*QUICK, "--epochs", 500, "--data-dir", digits_directory, "--run-dir", "run"]
    python, *rest = command(*options)
    with subprocess.Popen(
        # Python tells of each import that it has finished.
        [python, "-X", "importtime", *rest],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # Whatever goes wrong, nobody waits for 500 epochs.
        killer = threading.Timer(60, process.kill)
        killer.start()
        assert any(line.rstrip().endswith(f" {module}") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        said = [line for line in process.stderr if not line.startswith("import time:")]
        killer.cancel()
    assert process.returncode == 130
    assert len(said) == 1
    assert said[0].startswith("interrupted")


def test_a_full_disk_under_the_output_is_one_line(tmp_path, digits_directory, full_disk):
    options = [*QUICK, "--epochs", 1, "--data-dir", digits_directory, "--run-dir", "run"]
    result = subprocess.run(
        command(*options), cwd=tmp_path, stdout=full_disk, stderr=subprocess.PIPE, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: standard output cannot be written (No space left")
    assert result.stderr.count("\n") == 1


def test_default_preset_learns_mnist_in_one_short_epoch(tmp_path, mnist_directory):
    options = ["--epochs", 1, "--data-dir", mnist_directory, "--run-dir", "run", "--min-accuracy", 0.98]
    result = run(tmp_path, *options)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["validation"]["count"] == report["test"]["count"] == 10_000
    assert report["test"]["accuracy"] >= 0.98
