from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest
from PIL import Image

from app.checkpoint import get_state, save_checkpoint
from app.models import TwoConvNet

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = REPOSITORY / "data" / "samples"


def predict(*arguments: object, cwd: Path, without: str = "") -> subprocess.CompletedProcess[str]:
    """Run `predict.py` as a process; the import of the modules named in `without` fails."""
    environment = dict(os.environ)
    for name in without.split():
        (cwd / "absent").mkdir(exist_ok=True)
        (cwd / "absent" / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
        environment["PYTHONPATH"] = str(cwd / "absent")
    return subprocess.run(
        [sys.executable, REPOSITORY / "predict.py", *map(os.fspath, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_a_notice_that_cannot_be_written_stops_nothing(tutorial_checkpoint: Path, full_disk: TextIO) -> None:
    command = [sys.executable, REPOSITORY / "predict.py", "--checkpoint", tutorial_checkpoint, SAMPLES]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=full_disk, text=True, timeout=120, check=False
    )
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == len(list(SAMPLES.iterdir()))


def test_each_picture_gives_a_line_and_unreadable_ones_an_error(
    tmp_path: Path, tutorial_checkpoint: Path
) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    Image.new("L", (40, 40), 255).save(tmp_path / "blank.png")
    result = predict(
        *("--checkpoint", tutorial_checkpoint, "--top-k", "3"),
        *("missing.png", "broken.png", "blank.png", SAMPLES),
        cwd=tmp_path,
    )
    assert result.returncode == 1
    blank, *lines = result.stdout.splitlines()
    assert blank == "blank.png: no digit -- the picture holds no ink"
    assert [line.split(": ")[0] for line in lines] == sorted(map(str, SAMPLES.iterdir()))
    for line in lines:
        readings = line.split(": ")[1].split(" -- ")[0].split(", ")
        assert len(readings) == 3
        assert all(reading[0].isdigit() and reading.endswith("%)") for reading in readings)
    assert result.stderr.splitlines() == [
        "error: missing.png: cannot be opened: No such file or directory",
        f"checkpoint: {tutorial_checkpoint} (nothing says how it halves the picture, "
        "it is taken to pool as the tutorial's network does)",
        "error: broken.png: not a picture, or of a kind that cannot be read",
    ]


def test_json_is_one_object_a_line_whatever_the_file_is_called(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    network = TwoConvNet()
    metadata = {"metrics": {"validation_accuracy": 0.98765}, "network": network.architecture}
    save_checkpoint(run / "last.pdparams", get_state(network), metadata)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    names = ["plain.png", "sieben \u4e03.png"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"not-utf-8-\xff.png"))
    for name in names:
        (pictures / name).write_bytes((SAMPLES / "0_black_pen.png").read_bytes())
    result = predict("pictures", "--checkpoint", "run", "--json", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == f"checkpoint: {Path('run', 'last.pdparams')} (validation accuracy 98.77%)\n"
    contents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [content["path"] for content in contents] == [
        str(Path("pictures", name)) for name in sorted(names)
    ]
    assert all(content["text"] == str(content["digits"][0]["digit"]) for content in contents)
    assert all(content["digits"][0]["box"] == [61, 48, 153, 211] for content in contents)


def test_json_has_an_object_for_what_cannot_be_read(tmp_path: Path, tutorial_checkpoint: Path) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    pictures = ("missing.png", "broken.png", SAMPLES / "0_black_pen.png")
    result = predict("--checkpoint", tutorial_checkpoint, "--json", *pictures, cwd=tmp_path)
    assert result.returncode == 1
    missing, broken, read = (json.loads(line) for line in result.stdout.splitlines())
    assert missing == {"path": "missing.png", "error": "cannot be opened: No such file or directory"}
    assert broken == {
        "path": "broken.png",
        "error": "not a picture, or of a kind that cannot be read",
    }
    assert "error" not in read
    assert len(result.stderr.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: PICTURE"),
        (["--top-k", "0", "x.png"], "--top-k"),
        (["--top-k", "11", "x.png"], "--top-k"),
        (["--chec", "x", "x.png"], "--chec"),
        ([""], "empty name"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = predict(*arguments, cwd=tmp_path, without="numpy PIL paddle")
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]


def test_help_needs_neither_numpy_nor_pillow_nor_paddle(tmp_path: Path) -> None:
    result = predict("--help", cwd=tmp_path, without="numpy PIL paddle")
    assert result.returncode == 0
    assert "--checkpoint" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--checkpoint", "none.pdparams", "x.png"], "error: none.pdparams: cannot be opened"),
        (["--checkpoint", "no\nsuch", "x.png"], r"error: no\nsuch: cannot be opened"),
        (["x.png"], "error: x.png: cannot be opened"),
        (["."], "error: .: the folder holds no picture"),
    ],
)
def test_what_is_missing_is_said_before_paddle_is_loaded(
    tmp_path: Path, arguments: list[str], error: str
) -> None:
    result = predict(*arguments, cwd=tmp_path, without="paddle")
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(error)


@pytest.mark.parametrize(
    "target", ["digit.png", "other.png", ".", "how.jpg", "missing/how.png", "folder.png"]
)
def test_an_explanation_is_refused_before_anything_is_read(tmp_path: Path, target: str) -> None:
    picture = (SAMPLES / "0_black_pen.png").read_bytes()
    (tmp_path / "digit.png").write_bytes(picture)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "other.png").write_bytes(picture)
    result = predict("--explain", target, "digit.png", cwd=tmp_path, without="paddle")
    assert result.returncode == (1 if target in ("missing/how.png", "folder.png", "other.png") else 2)
    (line,) = result.stderr.splitlines()
    assert target in line
    assert result.stdout == ""
    names = {"digit.png", "absent", "folder.png", "other.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "digit.png").read_bytes() == (tmp_path / "other.png").read_bytes() == picture


def test_a_folder_for_inputs_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes((SAMPLES / "0_black_pen.png").read_bytes())
    result = predict("--save-input", "digit.png", "digit.png", cwd=tmp_path, without="paddle")
    assert result.returncode == 1
    assert result.stderr.startswith("error: digit.png: cannot be made")


def test_inputs_are_not_written_among_the_pictures(tmp_path: Path) -> None:
    for name in ("x.png", "x-1.png"):
        (tmp_path / name).write_bytes((SAMPLES / "0_black_pen.png").read_bytes())
    result = predict(".", "--save-input", ".", cwd=tmp_path, without="paddle")
    assert result.returncode == 2
    assert "holds pictures to read" in result.stderr
    assert (tmp_path / "x-1.png").read_bytes() == (SAMPLES / "0_black_pen.png").read_bytes()


def test_a_picture_of_one_column_can_be_explained(tmp_path: Path, tutorial_checkpoint: Path) -> None:
    Image.new("L", (1, 300), 255).save(tmp_path / "column.png")
    result = predict("--checkpoint", tutorial_checkpoint, "--explain", "how.png", "column.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "how.png").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="no such names")
def test_a_name_that_would_command_the_terminal_is_shown(tmp_path: Path, tutorial_checkpoint: Path) -> None:
    name = "new\nline\x1b[31m.png"
    (tmp_path / name).write_bytes((SAMPLES / "0_black_pen.png").read_bytes())
    (tmp_path / f"broken{name}").write_text("no picture")
    result = predict(
        *("--checkpoint", tutorial_checkpoint, "--save-input", "seen", name, f"broken{name}"), cwd=tmp_path
    )
    assert result.stdout.startswith(r"new\nline\x1b[31m.png: ")
    assert len(result.stdout.splitlines()) == 1
    assert "\x1b" not in result.stderr
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["newline[31m-1.png"]


def test_the_candidates_of_a_number_are_shown_digit_by_digit(
    tmp_path: Path, tutorial_checkpoint: Path
) -> None:
    page = Image.new("L", (200, 120), 255)
    for left in (30, 110):
        page.paste(0, (left, 20, left + 10, 100))
    page.save(tmp_path / "number.png")
    result = predict("--checkpoint", tutorial_checkpoint, "--top-k", "2", "number.png", cwd=tmp_path)
    candidates = r"\d \(\d+\.\d%\), \d \(\d+\.\d%\)"
    assert re.match(rf"number\.png: \d\d \(\d+\.\d%\); {candidates}; {candidates}( -- .*)?\n$", result.stdout)


def test_inputs_and_explanation_of_a_number_are_written(tmp_path: Path, tutorial_checkpoint: Path) -> None:
    Image.open(SAMPLES / "0_black_pen.png").save(tmp_path / "digit.png")
    options = ("--explain", "how.png", "--save-input", "seen", "--single")
    # An earlier figure is replaced.
    for _ in range(2):
        result = predict("--checkpoint", tutorial_checkpoint, *options, "digit.png", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert Image.open(tmp_path / "seen" / "digit-1.png").size == (28, 28)
    assert min(Image.open(tmp_path / "how.png").size) > 400
