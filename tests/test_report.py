"""The report of small made-up data: what the page says, what the JSON holds, and what stays unwritten."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from PIL import Image

from app.checkpoint import Checkpoint, get_state, load_checkpoint, save_checkpoint
from app.config import TrainConfig
from app.datasets import DataSet, Digits, split
from app.datasets.strokes import make_extra_strokes
from app.errors import CheckpointError, FileError, UsageError
from app.evaluation import evaluate, softmax
from app.models import TwoConvNet, compute_logits
from app.report import read_history, write_report
from app.report.__main__ import main
from app.report.figures import BLUE
from app.report.findings import find_worst_mistakes
from app.runtime import REPOSITORY

VOID = {"meta", "img", "br"}
HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 0.9 / epoch,
        "validation_loss": 0.8 / epoch,
        "validation_accuracy": 1 - 0.3 / epoch,
        "learning_rate": 0.1,
        "seconds": 1.5,
        "images_per_second": 400.0,
    }
    for epoch in (1, 2, 3)
]


class Page(HTMLParser):
    """A parsed report: its tags, its visible text, and whether every tag is closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.extend(data.split())

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def bare_checkpoint(tutorial_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tutorial_checkpoint)


@pytest.fixture
def checkpoint(bare_checkpoint: Checkpoint, digits: DataSet) -> Checkpoint:
    return trained_on(bare_checkpoint, digits)


def trained_on(checkpoint: Checkpoint, data: DataSet, **config: Any) -> Checkpoint:
    metadata = {
        "config": TrainConfig(**config).to_json(),
        "epoch": 2,
        "data": {"name": data.name, "checksum": data.checksum(), "train_count": 500},
        "environment": {"python": "3.11.0", "threads": 1},
    }
    return replace(checkpoint, metadata=metadata)


def report_of(
    checkpoint: Checkpoint, data: DataSet, out: Path, history: Sequence[Mapping[str, Any]] = HISTORY
) -> tuple[Page, dict[str, Any]]:
    html = write_report(checkpoint, data, out, history).html
    return Page(html), json.loads((out / "report.json").read_text(encoding="utf-8"))


def with_labels_as_read(checkpoint: Checkpoint, data: DataSet, wrong: int) -> DataSet:
    """Label the data as the network reads it, except for the last `wrong` training pictures."""
    train = compute_logits(checkpoint.network, data.train.images).argmax(axis=1)
    train[len(train) - wrong :] = (train[len(train) - wrong :] + 1) % 10
    test = compute_logits(checkpoint.network, data.test.images).argmax(axis=1)
    return replace(data, train=Digits(data.train.images, train), test=Digits(data.test.images, test))


def test_json_figures_are_those_of_the_evaluation(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    report = write_report(checkpoint, digits, tmp_path, HISTORY)
    content = json.loads((tmp_path / "report.json").read_text())
    parts = split(digits)
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        expected = evaluate(compute_logits(checkpoint.network, part.images), part.labels)
        assert content[name] == expected.to_json()
        assert getattr(report, name).correct == expected.correct == content[name]["correct"]
    assert content["history"] == HISTORY
    assert content["config"] == TrainConfig().to_json()
    assert content["data"] == {
        "name": "made",
        "source": "memory",
        "checksum": digits.checksum(),
        "is_training_data": True,
    }
    assert content["checkpoint"]["sha256"] == hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()
    assert content["checkpoint"]["epoch"] == 2


def test_page_is_one_file_that_refers_to_nothing_outside(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    page, _ = report_of(checkpoint, digits, tmp_path)
    references = [value for _, tag in page.tags for name, value in tag.items() if name in ("src", "href")]
    assert references
    assert all(value.startswith("data:image/png;base64,") for value in references)
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in page.tags}
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert all(image["alt"] for image in page.all("img"))
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert len(page.source) < 1_000_000


def test_every_figure_of_the_page_also_lies_in_its_folder(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    page, _ = report_of(checkpoint, digits, tmp_path)
    figures = {path.stem: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert set(figures) == {"loss", "accuracy", "confusion_matrix", "reliability", "mistakes", "filters"}
    for name in set(figures) - {"mistakes"}:
        assert base64.b64encode(figures[name]).decode() in page.source
    assert {path.name for path in tmp_path.iterdir()} == {"figures", "report.html", "report.json"}


def test_validation_comes_before_the_test_by_which_nothing_was_chosen(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    page, content = report_of(checkpoint, digits, tmp_path)
    before, _, after = page.text.partition("Test accuracy")
    validation, test = content["validation"], content["test"]
    assert f"({validation['correct']}/{validation['count']})" in before
    assert f"({test['correct']}/{test['count']})" not in before
    assert f"({test['correct']}/{test['count']})" in after
    assert "played no part in training or in choosing this checkpoint" in after
    assert "not known" not in page.text


def test_page_shows_configuration_environment_and_epochs(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    page, _ = report_of(checkpoint, digits, tmp_path)
    for name in TrainConfig().to_json():
        assert f" {name} " in page.text
    assert "python 3.11.0" in page.text
    assert "Training time 4.5 s" in page.text
    assert "0.45 0.4 0.85" in page.text


def test_mistakes_are_the_least_probable_true_digits_first(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    page, content = report_of(checkpoint, digits, tmp_path)
    part = split(digits).validation
    mistakes = content["mistakes"]
    assert (content["mistakes_of"], len(mistakes)) == ("validation", 25)
    assert len(page.all("li")) == 25
    for mistake in mistakes:
        assert mistake["true"] == part.labels[mistake["index"]] != mistake["predicted"]
        assert mistake["true_probability"] <= mistake["probability"]
        assert f"{mistake['true']} → {mistake['predicted']} " in page.text
    order = [mistake["true_probability"] for mistake in mistakes]
    assert order == sorted(order)


def test_worst_mistakes_of_a_small_example() -> None:
    logits = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]]))
    worst = find_worst_mistakes(logits, np.array([1, 1, 1, 1]))
    assert [mistake.index for mistake in worst] == [3, 0, 1]
    assert (worst[0].true, worst[0].predicted) == (1, 0)
    assert worst[0].probability == pytest.approx(0.9)
    assert worst[0].true_probability == pytest.approx(0.1)


def test_only_the_mistakes_that_there_are_are_shown(
    bare_checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    data = with_labels_as_read(bare_checkpoint, digits, wrong=3)
    page, content = report_of(trained_on(bare_checkpoint, data), data, tmp_path)
    assert sorted(mistake["index"] for mistake in content["mistakes"]) == [97, 98, 99]
    assert len(page.all("li")) == 3
    assert "97.00% (97/100)" in page.text
    assert "All 3," in page.text


def test_a_network_without_mistakes_has_a_report(
    bare_checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    data = with_labels_as_read(bare_checkpoint, digits, wrong=0)
    page, content = report_of(trained_on(bare_checkpoint, data), data, tmp_path)
    assert content["mistakes"] == []
    assert "100.00% (100/100)" in page.text
    assert "There are no mistakes." in page.text
    assert not (tmp_path / "figures" / "mistakes.png").exists()


def test_without_validation_digits_the_figures_are_of_the_test_digits(
    bare_checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    history = [{**row, "validation_loss": None, "validation_accuracy": None} for row in HISTORY]
    checkpoint = trained_on(bare_checkpoint, digits, validation_size=0)
    page, content = report_of(checkpoint, digits, tmp_path, history)
    assert (content["validation"], content["mistakes_of"]) == (None, "test")
    assert "No digits are set apart for validation." in page.text
    assert not (tmp_path / "figures" / "accuracy.png").exists()
    assert (tmp_path / "figures" / "loss.png").exists()


def test_a_bare_checkpoint_has_a_report_that_claims_nothing_about_its_training(
    bare_checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    page, content = report_of(bare_checkpoint, digits, tmp_path, [])
    assert "No history of the training is recorded." in page.text
    assert "Nothing is recorded about the data" in page.text
    assert "played no part" not in page.text
    assert content["data"]["is_training_data"] is None
    assert not (tmp_path / "figures" / "loss.png").exists()


def test_other_data_than_in_training_is_said_clearly(
    bare_checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    checkpoint = trained_on(bare_checkpoint, digits, validation_size=599)
    other = replace(digits, name="another", train=Digits(digits.train.images[:60], digits.train.labels[:60]))
    page, content = report_of(checkpoint, other, tmp_path)
    assert content["data"]["is_training_data"] is False
    assert "trained on other data: made" in page.text
    assert digits.checksum() in page.text
    assert other.checksum() in page.text
    assert "played no part" not in page.text
    assert content["validation"]["count"] == 10


@pytest.mark.parametrize("figure", ["loss", "accuracy"])
def test_the_single_point_of_one_epoch_is_visible(
    figure: str, checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    write_report(checkpoint, digits, tmp_path, HISTORY[:1])
    pixels = np.array(Image.open(tmp_path / "figures" / f"{figure}.png").convert("RGB"))
    is_blue = (pixels == tuple(bytes.fromhex(BLUE[1:]))).all(axis=2)
    # The legend has a line and a marker of its own, at the figure's side; the point stands in the middle.
    middle = is_blue[:, int(0.53 * is_blue.shape[1]) : int(0.59 * is_blue.shape[1])]
    assert 20 < middle.sum() < 200


def test_texts_from_outside_are_escaped(
    tutorial_checkpoint: Path, bare_checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    run = tmp_path / "<b>run & co"
    run.mkdir()
    path = run / "best.pdparams"
    path.write_bytes(tutorial_checkpoint.read_bytes())
    hostile = replace(digits, name="<script>alert(1)</script>", source='"><img src=x>')
    checkpoint = trained_on(replace(bare_checkpoint, path=path), hostile)
    checkpoint.metadata["environment"]["<i>"] = "<u>'\""
    history = [{**HISTORY[0], "<em>": "</style>"}]
    page, _ = report_of(checkpoint, hostile, run, history)
    assert not {"b", "i", "u", "em", "script"} & {name for name, _ in page.tags}
    assert "<b>run & co/best.pdparams" in page.text
    assert "<script>alert(1)</script>" in page.text


def test_numbers_that_json_cannot_hold_become_null(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    history = [HISTORY[0], {**HISTORY[1], "train_loss": float("nan"), "validation_loss": float("inf")}]
    _, content = report_of(checkpoint, digits, tmp_path, history)
    assert content["history"][1]["train_loss"] is content["history"][1]["validation_loss"] is None


def test_nothing_is_written_when_the_outputs_are_not_finite(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    bias = checkpoint.network.fc.bias
    bias.set_value(np.full(10, np.inf, np.float32))
    with pytest.raises(CheckpointError, match=r"mnist\.pdparams: the network's outputs are not finite"):
        write_report(checkpoint, digits, tmp_path / "out", HISTORY)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_named(
    checkpoint: Checkpoint, digits: DataSet, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileError, match=r"out: cannot be made: "):
        write_report(checkpoint, digits, tmp_path / "out", HISTORY)
    assert (tmp_path / "out").read_text() == "mine"


def test_an_earlier_report_is_replaced_whole(checkpoint: Checkpoint, digits: DataSet, tmp_path: Path) -> None:
    for name in ("report.html", "report.json"):
        (tmp_path / name).write_text("x" * 2_000_000)
    page, content = report_of(checkpoint, digits, tmp_path)
    assert "xxxx" not in page.source
    assert content["test"]["count"] == 200


def test_history_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HISTORY))
    assert read_history(path) == HISTORY
    assert read_history(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"epoch": 1}\n{"epoch": 2', "line 2 is not valid JSON"),
        (b"[1]\n", "line 1: expected an object, found list"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_damaged_history_is_refused_with_its_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"metrics\.jsonl: {message}"):
        read_history(path)


def test_a_history_that_is_a_pipe_is_not_waited_for(
    tmp_path: Path, make_pipe: Callable[[Path], None]
) -> None:
    make_pipe(tmp_path / "metrics.jsonl")
    with pytest.raises(CheckpointError, match="found a device or a pipe"):
        read_history(tmp_path / "metrics.jsonl")


def test_command_reports_on_a_run_folder(
    tutorial_checkpoint: Path,
    digits_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "best.pdparams").write_bytes(tutorial_checkpoint.read_bytes())
    (tmp_path / "metrics.jsonl").write_text(json.dumps(HISTORY[0]))
    assert main([str(tmp_path), "--data-dir", str(digits_directory)]) == 0
    validation, test, report = capsys.readouterr().out.splitlines()
    content = json.loads((tmp_path / "report.json").read_text())
    assert validation.startswith("validation accuracy: ")
    assert validation.endswith(f"({content['validation']['correct']}/100)")
    assert test.startswith("test accuracy: ")
    assert test.endswith(f"({content['test']['correct']}/200)")
    assert report == f"report: {tmp_path / 'report.html'}"
    assert content["history"] == HISTORY[:1]


def test_command_puts_the_report_of_a_file_beside_it_or_where_it_is_told(
    tutorial_checkpoint: Path, digits_directory: Path, tmp_path: Path
) -> None:
    path = tmp_path / "seven.pdparams"
    path.write_bytes(tutorial_checkpoint.read_bytes())
    data = ["--data-dir", str(digits_directory)]
    main([str(path), *data])
    assert (tmp_path / "seven-report" / "report.html").is_file()
    main([str(path), *data, "--out", str(tmp_path / "deep" / "er")])
    assert (tmp_path / "deep" / "er" / "report.json").is_file()


def test_command_names_a_configuration_that_it_cannot_use(
    tutorial_checkpoint: Path, digits_directory: Path, tmp_path: Path
) -> None:
    path = tmp_path / "last.pdparams"
    path.write_bytes(tutorial_checkpoint.read_bytes())
    path.with_suffix(".json").write_text(
        json.dumps({"config": {"epochs": 0}, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    )
    with pytest.raises(CheckpointError, match=r"last\.json: not a configuration of this program: .*epochs"):
        main([str(tmp_path), "--data-dir", str(digits_directory)])


def save_network(path: Path, seed: int, data: DataSet, validation_size: int, extra_strokes: int = 0) -> Path:
    paddle.seed(seed)
    network = TwoConvNet((2, 2), 3)
    data = replace(data, extra=make_extra_strokes(extra_strokes))
    config = TrainConfig(validation_size=validation_size, extra_strokes=extra_strokes).to_json()
    metadata = {"config": config, "data": {"checksum": data.checksum()}, "network": network.architecture}
    save_checkpoint(path, get_state(network), metadata)
    return path


def test_several_runs_are_evaluated_with_the_mean_of_their_probabilities(
    digits: DataSet, digits_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [save_network(tmp_path / f"{seed}.pdparams", seed, digits, 90 + seed) for seed in (1, 2, 3)]
    before = set(tmp_path.iterdir())
    words = [*map(str, paths), "--data-dir", str(digits_directory)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert set(tmp_path.iterdir()) == before | {tmp_path / "out"}
    content = json.loads((tmp_path / "out" / "ensemble.json").read_text())
    # The last 91 of the training digits: those that all three set apart.
    for part, (images, labels) in {
        "validation": (digits.train.images[-91:], digits.train.labels[-91:]),
        "test": digits.test,
    }.items():
        probabilities = [softmax(compute_logits(load_checkpoint(path).network, images)) for path in paths]
        for found, expected in zip(
            [*content["members"], content["average"]], [*probabilities, np.mean(probabilities, axis=0)]
        ):
            assert found[part]["count"] == len(labels)
            assert found[part]["correct"] == (expected.argmax(1) == labels).sum()
            loss = -np.log(expected[np.arange(len(labels)), labels]).mean()
            assert found[part]["loss"] == pytest.approx(loss)
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"figures: {tmp_path / 'out' / 'ensemble.json'}"
    assert [line.partition(": ")[0] for line in lines] == [*map(str, paths), "average of 3"]
    assert lines[-1].endswith(f"({content['average']['test']['correct']}/200)")


@pytest.mark.parametrize("sizes", [((90, 0), (40, 7)), ((40, 7), (90, 0))])
def test_extra_strokes_do_not_hide_what_a_network_was_trained_on(
    sizes: tuple[tuple[int, int], ...],
    digits: DataSet,
    digits_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [save_network(tmp_path / f"{one[0]}.pdparams", 1, digits, *one) for one in sizes]
    assert main([*map(str, paths), "--data-dir", str(digits_directory)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert all("/40), test accuracy: " in line for line in said.out.splitlines())


def test_data_that_moved_are_found_again(
    digits: DataSet, digits_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_network(tmp_path / "best.pdparams", 1, digits, 50)
    metadata = json.loads(path.with_suffix(".json").read_text())
    metadata["config"]["data_dir"] = str(tmp_path / "gone")
    path.with_suffix(".json").write_text(json.dumps(metadata))
    monkeypatch.setenv("MNIST_DATA_DIR", str(digits_directory))
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["data"]["is_training_data"] is True


def test_what_was_trained_on_other_data_is_named(
    digits: DataSet, digits_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = replace(digits, train=Digits(*(array[:500] for array in digits.train)))
    paths = [save_network(tmp_path / f"{data is part}.pdparams", 1, data, 50) for data in (digits, part)]
    doubt = "trained on other data, unnamed; it may have been trained on some of these digits"
    note = f"note: {paths[1]}: {doubt}\n"
    assert main([*map(str, paths), "--data-dir", str(digits_directory)]) == 0
    assert capsys.readouterr().err == note
    assert main([str(paths[1]), "--data-dir", str(digits_directory)]) == 0
    assert capsys.readouterr().err == note


def test_a_report_on_other_data_leaves_that_of_the_run_alone(
    digits: DataSet, digits_directory: Path, tmp_path: Path
) -> None:
    save_network(tmp_path / "best.pdparams", 1, replace(digits, train=digits.test), 50)
    (tmp_path / "report.json").write_text("the run's own")
    assert main([str(tmp_path), "--data-dir", str(digits_directory)]) == 0
    assert (tmp_path / "report.json").read_text() == "the run's own"
    assert (tmp_path / "other-data" / "report.html").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_path_that_is_no_text_is_shown(checkpoint: Checkpoint, digits: DataSet, tmp_path: Path) -> None:
    odd = replace(checkpoint, path=tmp_path / os.fsdecode(b"r\xe9") / "best.pdparams")
    (tmp_path / os.fsdecode(b"r\xe9")).mkdir()
    odd.path.write_bytes(checkpoint.path.read_bytes())
    page, _ = report_of(odd, digits, odd.path.parent)
    assert r"r\udce9/best.pdparams" in page.text


def test_a_run_that_is_given_twice_is_refused(
    digits: DataSet, digits_directory: Path, tmp_path: Path
) -> None:
    path = save_network(tmp_path / "best.pdparams", 1, digits, 90)
    with pytest.raises(UsageError, match="given twice"):
        main([str(path), str(tmp_path), "--data-dir", str(digits_directory)])


def test_an_average_of_runs_of_which_one_saw_all_digits_has_no_validation(
    digits: DataSet, digits_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [save_network(tmp_path / f"{size}.pdparams", 0, digits, size) for size in (0, 100)]
    assert main([*map(str, paths), "--data-dir", str(digits_directory)]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert "validation accuracy: none, no digits are set apart, test accuracy: " in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing"], 1, "error: missing: "),
        ([], 2, "the following arguments are required: RUN"),
        ([""], 2, "argument RUN: expected a file or a folder, found an empty name"),
        (["run", "--out", ""], 2, "argument --out: expected a file or a folder, found an empty name"),
        (["run", "--data", "a.gz", "--data-dir", "b"], 2, "not allowed with argument"),
    ],
)
def test_command_fails_with_one_line(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.report", *arguments]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    assert message in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_help_does_not_import_paddle() -> None:
    program = (
        "import sys, app.report.__main__\n"
        "try:\n    app.report.__main__.main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'paddle' not in sys.modules"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert b"--out" in ended.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}
