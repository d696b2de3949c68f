"""The benchmarks: their own arithmetic, that they start, run and write; not the figures themselves."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.config import PRESETS, TrainConfig
from app.console import TrainingDisplay
from app.datasets import Digits
from app.errors import UserError
from app.evaluation import evaluate, fit_temperature
from app.training import TrainingStoppedError, train
from benchmarks import accuracy, common, pictures, speed, table, time_to_accuracy

NAMES = (
    *("speed", "step", "time_to_accuracy", "accuracy", "startup", "scaling", "pictures", "strokes", "table"),
)
UNDISTURBED = {"elapsed": 10.0, "cores_of_others": 0.0}
ENVIRONMENT = {"processor": "Abacus", "cores": 2, "paddle": "3.3.1", "torch": None}


def run(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)],
        cwd=common.REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_help_comes_without_paddle_and_torch(name: str, tmp_path: Path) -> None:
    for heavy in ("paddle", "torch"):
        (tmp_path / f"{heavy}.py").write_text(f"raise SystemExit('{heavy} was imported')")
    result = run(name, "--help", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")


def test_flop_are_those_counted_by_hand() -> None:
    # Forward: 28x28 places of 5x5x20 multiply-adds, 14x14 of 5x5x20x20, 980x10; two FLOP each, three times,
    # but without the input gradient of the first layer.
    tutorial = 2 * (3 * (784 * 500 + 196 * 10_000 + 9_800) - 784 * 500)
    assert tutorial == 13_386_800
    assert speed.training_flop(PRESETS["tutorial"]) == tutorial
    strided = TrainConfig(channels=(16, 32), downsampling="stride", batch_norm=True, hidden=128)
    assert speed.training_flop(strided) == 2 * (
        3 * (196 * 400 + 49 * 12_800 + 1568 * 128 + 128 * 10) - 196 * 400
    )
    unpadded = dataclasses.replace(PRESETS["tutorial"], padding="valid")
    assert speed.training_flop(unpadded) == 2 * (3 * (576 * 500 + 64 * 10_000 + 3_200) - 576 * 500)


def test_a_ratio_is_judged_by_its_median() -> None:
    assert common.judge("a : b", [0.5, 0.9, 0.7], at_least=0.7) == (
        "a : b",
        "0.70 (0.50 to 0.90)",
        "at least 0.70",
        True,
    )
    assert common.judge("a : b", [0.5, 0.9, 0.7], at_most=0.6).reached is False
    assert common.judge("seconds", [2.0]) == ("seconds", "2.00", "", None)


def test_the_better_peer_of_each_round_counts() -> None:
    rounds = [
        {side: {"images_per_second": rate} for side, rate in zip((speed.PROGRAM, *speed.PEERS), rates)}
        for rates in ((10.0, 10.0, 20.0), (10.0, 40.0, 5.0), (10.0, 1.0, 10.0))
    ]
    ratio = speed.compare_training("default", rounds, 0.5)[-1]
    assert (ratio.measured, ratio.reached) == ("0.50 (0.25 to 1.00)", True)


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str) -> dict[str, float]:
        order.append(name)
        return {"seconds": float(len(order))}

    rounds = common.alternate(2, {"a": lambda: side("a"), "b": lambda: side("b")}, "seconds")
    assert order == ["a", "b", "a", "b"]
    assert common.median_of(rounds, "b", "seconds") == 3.0


def test_a_line_is_fitted_and_its_largest_residual_told() -> None:
    line = common.fit_line([1, 2, 3], [5, 7, 9])
    assert line == pytest.approx((2, 3, 0))
    bent = common.fit_line([0, 1, 2], [1, 4, 1])
    assert bent == pytest.approx((0, 2, 1.0))


def test_mean_and_sample_deviation() -> None:
    assert common.mean_and_deviation([1.0, 2.0, 3.0], "{:.1f}") == "2.0 ± 1.0"
    assert common.mean_and_deviation([2.0], "{:.1f}") == "2.0"


def peer_run(*accuracies: float, seconds: float = 400.0) -> dict[str, object]:
    history = [{"seconds": 10.0 * epoch, "accuracy": a} for epoch, a in enumerate(accuracies, 1)]
    return {"history": history, "seconds": seconds, "peak_memory": 500 << 20, **UNDISTURBED}


def test_time_to_accuracy_is_that_of_the_first_epoch_to_reach_it() -> None:
    runs = [peer_run(0.97, 0.985, 0.979), peer_run(0.981), peer_run(0.90)]
    assert time_to_accuracy.seconds_until(runs[0], 0.98) == 20.0
    assert time_to_accuracy.describe_threshold(runs, 0.98) == "after 15.0 ± 7.1 s (2 of 3)"
    assert time_to_accuracy.describe_threshold(runs, 0.99) == "never"


@pytest.mark.parametrize(
    ("seconds", "accuracy", "reached"), [(20.0, 0.995, True), (20.0, 0.993, False), (40.0, 0.995, False)]
)
def test_the_default_preset_must_be_both_quick_and_good(
    seconds: float, accuracy: float, reached: bool
) -> None:
    runs = {
        "default": {"0": peer_run(accuracy, seconds=seconds)},
        "pytorch-example": {"0": peer_run(0.98, 0.991)},
    }
    finding, peer, _memory = time_to_accuracy.summarise(runs)
    assert "98.0% after 10.0 s" in finding.measured
    assert finding.measured.startswith(f"1 : {400 / seconds:.1f}, ")
    assert finding.reached is reached
    assert (peer.target, peer.reached) == ("", None)
    assert peer.measured.endswith("98.0% after 10.0 s, 99.0% after 20.0 s, 99.2% never")


def test_no_target_is_judged_on_a_busy_machine() -> None:
    findings = [common.judge("a : b", [2.0], at_least=1.0), common.judge("seconds", [2.0])]
    quiet = [UNDISTURBED, {"elapsed": 0.1, "cores_of_others": 1.0}]
    assert common.withhold_if_disturbed(findings, quiet) == findings
    busy = [UNDISTURBED, {"elapsed": 10.0, "cores_of_others": 1.0}]
    ratio, seconds = common.withhold_if_disturbed(findings, busy)
    assert ratio.target == "at least 1.00 (not judged: others used 0.50 cores)"
    assert ratio.reached is None
    assert seconds == findings[1]


def test_runs_of_another_machine_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "time_to_accuracy.json"
    assert time_to_accuracy.load_runs(path, ENVIRONMENT, again=False) == {}
    runs = {"default": {"0": peer_run(0.99)}}
    path.write_text(json.dumps({"environment": {}}))
    with pytest.raises(UserError, match=r"time_to_accuracy\.json: not the results of a benchmark"):
        time_to_accuracy.load_runs(path, ENVIRONMENT, again=False)
    common.write_results(tmp_path, "time_to_accuracy", ENVIRONMENT, [], {"runs": runs})
    assert time_to_accuracy.load_runs(path, ENVIRONMENT, again=True) == runs
    elsewhere = {**ENVIRONMENT, "processor": "Slide rule"}
    with pytest.raises(UserError, match="Abacus"):
        time_to_accuracy.load_runs(path, elsewhere, again=False)
    assert time_to_accuracy.load_runs(path, elsewhere, again=True) == {}


def test_the_readme_says_what_the_committed_results_say() -> None:
    text = (common.REPOSITORY / "README.md").read_text(encoding="utf-8")
    documents = table.load_results(common.RESULTS)
    content = table.format_markdown(table.with_targets(documents))
    assert table.replace_between(text, content, Path("README.md")) == text
    assert (common.RESULTS / table.ALL).read_text(encoding="utf-8") == table.format_all(documents)


def test_the_readme_table_is_rewritten_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter é\n", encoding="utf-8")
    findings = [common.Finding("start", "0.9 s"), common.Finding("a : b", "1.30", "at most 1.25", False)]
    common.write_results(tmp_path, "startup", ENVIRONMENT, findings, {}, "--rounds 9")
    for _ in range(2):
        result = run("table", "--readme", readme, "--results", tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert readme.read_text(encoding="utf-8").splitlines() == [
            "before",
            table.BEGIN,
            "| what | measured | target | command |",
            "|---|---|---|---|",
            "| a : b | 1.30 | at most 1.25 (missed) | `python -m benchmarks.startup --rounds 9` |",
            "",
            "Measured on Abacus, 2 cores, Paddle 3.3.1: startup.",
            table.END,
            "after é",
        ]
        assert (tmp_path / table.ALL).read_text(encoding="utf-8").splitlines() == [
            "# All that was measured",
            "",
            "| what | measured | target | command |",
            "|---|---|---|---|",
            "| start | 0.9 s |  | `python -m benchmarks.startup --rounds 9` |",
            "| a : b | 1.30 | at most 1.25 (missed) | `python -m benchmarks.startup --rounds 9` |",
            "",
            "Measured on Abacus, 2 cores, Paddle 3.3.1: startup.",
        ]


def test_a_readme_without_markers_or_no_results_is_one_line_of_error(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("no markers\n")
    result = run("table", "--readme", readme, "--results", tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    common.write_results(tmp_path, "startup", ENVIRONMENT, [], {})
    result = run("table", "--readme", readme, "--results", tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert readme.read_text() == "no markers\n"
    assert not (tmp_path / table.ALL).exists()


def score_of(accuracy: float, **changes: object) -> dict[str, object]:
    return {
        **{"accuracy": accuracy, "correct": round(10_000 * accuracy), "count": 10_000},
        **{"first_half": accuracy - 0.001, "second_half": accuracy + 0.001, "seconds": 60.0},
        **{"calibration_error": 0.001, "scaled_calibration_error": 0.004, "temperature": 1.5},
        **{"validation_accuracy": 0.99, **changes},
    }


def test_mean_ensemble_and_calibration_of_a_preset_are_judged_by_its_targets() -> None:
    seeds = [score_of(0.9965), score_of(0.9975), score_of(0.9972)]
    findings = accuracy.summarise("best", "", seeds, score_of(0.9976), judged=True)
    judged = {finding.what: finding.reached for finding in findings if finding.target}
    assert judged == {
        "test accuracy of `--preset best`, seeds: 3": True,
        "ensemble of the 3": True,
        "calibration error of a seed, 15 bins": True,
    }
    assert findings[0].measured == "99.707% ± 0.051% (99.65%, 99.75%, 99.72%)"
    worse = accuracy.summarise("best", "", seeds[:1] * 3, score_of(0.997), judged=True)
    assert [finding.reached for finding in worse if finding.target] == [False, False, True]
    (few, *_) = accuracy.summarise("best", "", seeds[1:], score_of(0.9976), judged=True)
    assert few.reached is None
    other = accuracy.summarise("best", "--hidden 8", seeds, score_of(0.9976), judged=False)
    assert {(finding.target, finding.reached) for finding in other} == {("", None)}
    assert "`--preset best --hidden 8`" in other[0].what


def test_calibration_without_validation_is_judged_and_said_unscaled() -> None:
    nothing = {"temperature": None, "scaled_calibration_error": None, "validation_accuracy": None}
    bare = score_of(0.997, calibration_error=0.004, **nothing)
    findings = accuracy.summarise("best", "", [bare] * 3, bare, judged=True)
    (error,) = [finding for finding in findings if finding.what.startswith("calibration error of a seed")]
    assert "0.400%" in error.measured
    assert "no validation digits" in error.measured
    assert error.reached is False


def test_scores_count_both_halves_and_fit_the_temperature_to_validation() -> None:
    labels = np.arange(20) % 10
    logits = np.eye(10)[labels] * 3
    logits[0] = logits[1]
    validation = Digits(np.zeros((20, 28, 28), np.uint8), labels)
    scores = accuracy.score(accuracy.Member(logits, logits), validation, validation)
    assert (scores["correct"], scores["first_half"], scores["second_half"]) == (19, 0.9, 1.0)
    assert scores["temperature"] == fit_temperature(logits, labels)
    scaled = evaluate(logits / scores["temperature"], labels)
    assert scores["scaled_calibration_error"] == scaled.expected_calibration_error


@pytest.fixture
def study(digits_directory: Path, tmp_path: Path) -> list[object]:
    folders = ["--data-dir", digits_directory, "--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    return ["--preset", "fast", "--epochs", 2, "--channels", 4, 4, "--no-nesterov", *folders]


@pytest.mark.slow
def test_a_study_of_accuracy_keeps_its_runs_and_goes_on_where_it_stopped(
    study: list[object], tmp_path: Path
) -> None:
    first = run("accuracy", *study, "--seeds", 1)
    assert first.returncode == 0, first.stderr
    kept = (tmp_path / "runs" / "fast-0" / "last.pdopt").stat().st_mtime_ns
    config = TrainConfig.from_json(json.loads((tmp_path / "runs" / "fast-0" / "config.json").read_text()))
    with pytest.raises(TrainingStoppedError):
        train(
            dataclasses.replace(config, seed=1),
            tmp_path / "runs" / "fast-1",
            InterruptedAtOnce(visible=False),
        )
    both = run("accuracy", *study, "--seeds", 2)
    assert both.returncode == 0, both.stderr
    assert (tmp_path / "runs" / "fast-0" / "last.pdopt").stat().st_mtime_ns == kept
    document = json.loads((tmp_path / "results" / "accuracy_fast_changed.json").read_text())
    assert document["command"] == (
        "python -m benchmarks.accuracy --preset fast --seeds 2 --seed-start 0 "
        "--epochs 2 --channels 4 4 --no-nesterov"
    )
    assert str(tmp_path) not in json.dumps(document["config"])
    for seed, scores in document["runs"].items():
        report = json.loads((tmp_path / "runs" / f"fast-{seed}" / "report.json").read_text())
        assert scores["accuracy"] == report["test"]["accuracy"]
        assert scores["validation_accuracy"] == report["validation"]["accuracy"]
    assert list(document["runs"]) == ["0", "1"]
    assert document["ensemble"]["count"] == 200
    assert (tmp_path / "results" / "accuracy_fast_changed.png").read_bytes().startswith(b"\x89PNG")
    other = run("accuracy", *study, "--seeds", 1, "--hidden", 8)
    assert (other.returncode, other.stdout) == (1, "")
    assert "--hidden 128, not 8" in other.stderr
    assert other.stderr.count("\n") == 1


class InterruptedAtOnce(TrainingDisplay):
    """Presses Ctrl-C when the training begins."""

    def start(self, *_counts: int) -> None:
        self.is_pressed = False

    def step(self, *_what: object) -> None:
        if not self.is_pressed:
            self.is_pressed = True
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seed", 3], "arguments: --seed"), (["--seeds", 0], "--seeds: 0 is impossible")],
)
def test_impossible_seeds_are_one_line_of_error(arguments: list[object], message: str) -> None:
    result = run("accuracy", *arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr


@pytest.mark.slow
def test_startup_runs_and_writes_its_files(tmp_path: Path) -> None:
    result = run("startup", "--quick", "--results", tmp_path)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "startup.json").read_text())
    assert document["command"] == "python -m benchmarks.startup --rounds 1"
    assert document["modules"]["app.config"]["imports_paddle"] is False
    assert all(side["seconds"] > 0 for side in document["rounds"][0].values())
    assert (tmp_path / "startup.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_strokes_are_measured_on_their_own_and_on_other_digits(
    tmp_path: Path, digits_directory: Path
) -> None:
    result = run("strokes", "--quick", "--results", tmp_path, "--data-dir", digits_directory)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "strokes.json").read_text())
    measured = document["result"]
    assert (measured["strokes"]["count"], measured["transfer"]["count"]) == (10_000, 200)
    assert np.sum(measured["transfer"]["confusion_matrix"]) == 200
    own, transferred, seconds = (finding["reached"] for finding in document["findings"])
    assert (own, transferred) == (False, False)
    # Beside other work on the machine, time is not judged.
    assert seconds in (True, None)
    assert f"test images of IDX files in {digits_directory.name}" in result.stdout
    assert (tmp_path / "strokes.png").read_bytes().startswith(b"\x89PNG")


def test_tuning_of_the_environment_does_not_reach_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert common.run("-c", "import os; print('OMP_NUM_THREADS' in os.environ)").output == "False\n"


def test_a_failing_side_is_one_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing-here"):
        common.run("predict.py", tmp_path / "nothing-here.png")


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
@pytest.mark.parametrize("name", ["speed", "time_to_accuracy"])
def test_missing_pytorch_is_said_in_one_line(name: str) -> None:
    result = run(name, "--quick")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        'error: PyTorch, the other side, is not installed: python -m pip install -e ".[bench]"\n'
    )


def test_a_steps_parts_add_up_to_it(digits_directory: Path) -> None:
    arguments = {"config": PRESETS["default"].to_json(), "data_dir": str(digits_directory), "steps": 2}
    profiled = common.call(
        "sides", "time_steps", **arguments, task="training", threads=1, is_fast=True, is_profiled=True
    )
    assert sum(profiled["parts"].values()) == pytest.approx(profiled["seconds"])
    assert min(profiled["parts"].values()) >= 0
    assert profiled["parts"]["optimiser"] > 0
    plain = common.call("sides", "time_steps", **arguments, task="evaluation", threads=2, is_fast=False)
    assert plain["seconds"] > 0
    assert "parts" not in plain


def test_plain_paddle_trains(digits_directory: Path) -> None:
    config = PRESETS["tutorial"].to_json()
    arguments = {"config": config, "data_dir": str(digits_directory), "epochs": 2, "batches": 1}
    result = common.call("sides", "train_plainly", **arguments, image_by_image=True)
    assert result["images_per_second"] > 0
    assert result["threads"] == 1


@pytest.mark.parametrize("preset", ["tutorial", "default", "best"])
def test_pytorch_has_the_same_network(preset: str) -> None:
    pytest.importorskip("torch")
    from app.models import TwoConvNet
    from benchmarks.pytorch import build

    config = PRESETS[preset]
    names = ("channels", "kernel_size", "downsampling", "batch_norm", "hidden", "padding")
    ours = TwoConvNet(**{name: getattr(config, name) for name in names})
    trained = [parameter for parameter in ours.parameters() if not parameter.stop_gradient]
    assert sorted(parameter.size for parameter in trained) == sorted(
        parameter.numel() for parameter in build(config).parameters()
    )


def test_pytorchs_example_trains(digits_directory: Path) -> None:
    pytest.importorskip("torch")
    arguments = {"data_dir": str(digits_directory), "seed": 0, "epochs": 1, "batches": 1, "threads": 1}
    result = common.call(
        "pytorch", "run_example", example="pytorch-example", **arguments, started=time.monotonic()
    )
    assert len(result["history"]) == 1
    assert 0 < result["history"][0]["seconds"] < 60


@pytest.mark.parametrize(
    ("file", "text", "source"),
    [
        ("7_desk.jpg", "7", "mine"),
        ("phone/2024_1.png", "2024", "mine/phone"),
        ("phone/12-345.png", "12\n345", "mine/phone"),
        ("phone/7/IMG_0001.jpg", "7", "mine/phone"),
        ("3/4_1.png", "3", "mine"),
        ("none_cat.png", "", "mine"),
        ("none/cat.png", "", "mine"),
    ],
)
def test_a_picture_is_labelled_by_its_folder_or_its_name(file: str, text: str, source: str) -> None:
    sample = pictures.label(Path("my", "mine", file), Path("my", "mine"))
    assert sample is not None
    assert (sample.text, sample.source) == (text, source)


@pytest.mark.parametrize("file", ["IMG_0001.jpg", "7th.png", "cat.png", "nonesuch.png", "scan/20b.png"])
def test_a_name_that_only_looks_like_a_label_is_none(file: str) -> None:
    assert pictures.label(Path("2024", file), Path("2024")) is None


def outcome(
    text: str, read: str, source: str = "a", doubt: float = 0.0, severity: float = 0.0, warned: bool = False
) -> pictures.Outcome:
    return pictures.Outcome(pictures.Sample(Path("x"), text, source, severity), read, doubt, warned)


def test_a_split_or_refused_digit_is_wrong_and_no_digit_must_be_warned_of() -> None:
    assert outcome("7", "7").is_right
    assert outcome("7", "7", warned=True).is_right
    assert not outcome("7", "77").is_right
    assert not outcome("7", "").is_right
    assert not outcome("", "7").is_right
    assert outcome("", "7", warned=True).is_right


def test_every_source_counts_the_same_in_the_mean() -> None:
    sources = pictures.by_source(
        [outcome("1", "1", "a"), outcome("1", "2", "b"), outcome("1", "1", "b"), outcome("", "1", "c")]
    )
    assert list(sources) == ["a", "b", "c"]
    (finding,) = pictures.find(sources, are_simulated=False)
    assert finding.measured == "75.00%"


def test_single_digits_and_numbers_have_their_own_targets() -> None:
    outcomes = [outcome("1", "1", "photo/ink")] * 49 + [outcome("1", "", "cell/line")]
    outcomes += [outcome("2024", "2024", "number/ink")] * 9 + [outcome("2024", "202", "number/ink")]
    outcomes += [outcome("12\n34", "", "number/two-lines"), outcome("", "", "none/blank")]
    outcomes += [outcome("2024", "24", "number/touching"), outcome("2024", "2024", "number/touching")]
    rows = {row.what: row for row in pictures.find(pictures.by_source(outcomes), are_simulated=True)}
    assert rows["one digit"].measured == "98.00% (49/50; 95% interval 89.50% to 99.65%)"
    assert rows["one digit"].reached
    assert rows["numbers of four digits"].measured.startswith("90.00% (9/10; ")
    assert rows["numbers of four digits"].reached is False
    assert rows["those whose digits touch"].measured == "50.00%"
    assert rows["number: mean over 3 kinds"].measured == "46.67%"


def test_severity_falls_into_thirds() -> None:
    severities = (0, 0.3, 0.5, 0.7, 1)
    outcomes = [outcome("1", "1", severity=severity) for severity in severities]
    thirds = [[one.sample.severity for one in pictures.band(outcomes, number)] for number in range(3)]
    assert thirds == [[0, 0.3], [0.5], [0.7, 1]]


def test_auroc_counts_pairs() -> None:
    assert pictures.auroc([0.1, 0.2], [0.3, 0.9]) == 1.0
    assert pictures.auroc([0.1, 0.5], [0.3, 0.5]) == (1 + 0 + 1 + 0.5) / 4
    assert pictures.auroc([0.1], [float("inf")]) == 1.0


def test_a_picture_without_a_digit_that_nothing_warns_of_is_a_mistake() -> None:
    mistakes = [outcome("", "7"), outcome("12\n34", "12\n84"), outcome("7", "")]
    outcomes = [*mistakes, outcome("", "7", warned=True), outcome("7", "7")]
    assert pictures.find_mistakes(outcomes) == mistakes
    lines = ["x: none read as 7", "x: 12-34 read as 12-84", "x: 7 read as nothing"]
    assert pictures.list_mistakes(outcomes).splitlines() == lines


def test_mistakes_are_shown_by_turns_of_the_sources() -> None:
    mistakes = [outcome("1", str(number), source) for number, source in enumerate("aaabbc")]
    assert [one.read for one in pictures.spread(mistakes, 5)] == ["0", "3", "5", "1", "4"]


def test_peak_memory_is_not_that_of_the_benchmark_itself() -> None:
    size = 300 << 20
    assert np.ones(size, np.uint8).all()
    own = pictures.measure("-c", "pass")["peak_memory"]
    assert own < size / 2
    used = pictures.measure("-c", f"b = bytearray(b'1' * {size // 2})")["peak_memory"]
    assert size / 2 < used - own < size


def test_pictures_reads_a_folder_of_labelled_pictures(tmp_path: Path, tutorial_checkpoint: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "pens").mkdir(parents=True)
    samples = common.REPOSITORY / "data" / "samples"
    shutil.copy(samples / "0_black_pen.png", folder / "pens" / "0_1.png")
    shutil.copy(samples / "0_black_pen.png", folder / "unlabelled.png")
    (folder / "5_broken.png").write_bytes(b"no picture")
    # Not what it shows: a mistake for the gallery, with EXIF data that Pillow warns about.
    with Image.open(samples / "0_black_pen.png") as picture:
        picture.convert("RGB").save(folder / "8_not.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09")
    # Mistakes whose names are no text for a figure: a formula's beginning, letters that its font has not.
    shutil.copy(samples / "0_black_pen.png", folder / "8_$^$.png")
    shutil.copy(samples / "0_black_pen.png", folder / "8_\N{CJK UNIFIED IDEOGRAPH-4E00}.png")
    result = run("pictures", folder, "--results", tmp_path / "results", "--checkpoint", tutorial_checkpoint)
    assert result.returncode == 1
    assert "unlabelled.png: left out" in result.stderr
    assert "5_broken.png: not a picture" in result.stderr
    assert "Traceback" not in result.stderr
    document = json.loads((tmp_path / "results" / "pictures.json").read_text())
    assert {name: source["count"] for name, source in document["sources"].items()} == {
        "mine": 4,
        "mine/pens": 1,
    }
    assert document["mistakes"][0] == {"file": "5_broken.png", "source": "mine", "text": "5", "read": None}
    assert f"{folder / '5_broken.png'}: 5 read as nothing\n" in result.stdout
    assert f"{folder / '8_not.jpg'}: 8 read as " in result.stdout
    assert "Warning" not in result.stderr
    assert (tmp_path / "results" / "pictures.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_simulates_and_reads(
    tmp_path: Path, digits_directory: Path, tutorial_checkpoint: Path
) -> None:
    options = ("--quick", "--only", "small/p", "--data-dir", digits_directory, "--split", "test")
    result = run("pictures", *options, "--results", tmp_path, "--checkpoint", tutorial_checkpoint)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "pictures.json").read_text())
    assert document["sources"]["small/plain"]["count"] == 2
    assert document["command"].endswith("--count 2 --seed 0 --split test --only small/p")


def test_an_unknown_kind_or_a_folder_without_labels_is_one_line_of_error(tmp_path: Path) -> None:
    shutil.copy(common.REPOSITORY / "data" / "samples" / "0_black_pen.png", tmp_path / "cat.png")
    for options in (("--quick", "--only", "oil-painting/"), (tmp_path, "--results", tmp_path / "results")):
        result = run("pictures", *options)
        assert result.returncode == 1
        assert result.stderr.count("error: ") == 1
        assert "Traceback" not in result.stderr
