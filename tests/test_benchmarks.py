"""The benchmarks: their own arithmetic, that they start, run and write; not the figures themselves."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.config import PRESETS, TrainConfig
from app.errors import UserError
from benchmarks import common, speed, table, time_to_accuracy

NAMES = ("speed", "time_to_accuracy", "startup", "scaling", "strokes", "table")
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
def test_help_comes_without_paddle_and_torch_and_at_once(name: str, tmp_path: Path) -> None:
    for heavy in ("paddle", "torch"):
        (tmp_path / f"{heavy}.py").write_text(f"raise SystemExit('{heavy} was imported')")
    times = []
    # The quickest of three: the machine may be busy with other things.
    for _ in range(3):
        started = time.perf_counter()
        result = run(name, "--help", PYTHONPATH=str(tmp_path))
        times.append(time.perf_counter() - started)
        assert (result.returncode, result.stderr) == (0, "")
    assert min(times) < 0.3


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
    assert time_to_accuracy.describe_threshold(runs, 0.98) == "15.0 ± 7.1 s (2 of 3)"
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
    assert finding.measured.startswith(f"1 : {400 / seconds:.1f}, ")
    assert finding.reached is reached
    assert (peer.target, peer.reached) == ("", None)
    assert peer.measured.endswith("98.0% after 10.0 s, 99.0% after 20.0 s, 99.2% after never")


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
    path.write_text(json.dumps({"environment": ENVIRONMENT, "runs": runs}))
    assert time_to_accuracy.load_runs(path, ENVIRONMENT, again=True) == runs
    elsewhere = {**ENVIRONMENT, "processor": "Slide rule"}
    with pytest.raises(UserError, match="Abacus"):
        time_to_accuracy.load_runs(path, elsewhere, again=False)
    assert time_to_accuracy.load_runs(path, elsewhere, again=True) == {}


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
            "| start | 0.9 s |  | `python -m benchmarks.startup --rounds 9` |",
            "| a : b | 1.30 | at most 1.25 (missed) | `python -m benchmarks.startup --rounds 9` |",
            "",
            "Measured on Abacus, 2 cores, Paddle 3.3.1: startup.",
            table.END,
            "after é",
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


def test_startup_runs_and_writes_its_files(tmp_path: Path) -> None:
    result = run("startup", "--quick", "--results", tmp_path)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "startup.json").read_text())
    assert document["command"] == "python -m benchmarks.startup --rounds 1"
    assert document["modules"]["app.config"]["imports_paddle"] is False
    assert all(side["seconds"] > 0 for side in document["rounds"][0].values())
    assert (tmp_path / "startup.png").read_bytes().startswith(b"\x89PNG")


def test_strokes_are_measured_on_their_own_and_on_other_digits(
    tmp_path: Path, digits_directory: Path
) -> None:
    result = run("strokes", "--quick", "--results", tmp_path, "--data-dir", digits_directory)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "strokes.json").read_text())
    measured = document["result"]
    assert (measured["strokes"]["count"], measured["transfer"]["count"]) == (10_000, 200)
    assert np.sum(measured["transfer"]["confusion_matrix"]) == 200
    assert [finding["reached"] for finding in document["findings"]] == [False, False, True]
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


def test_plain_paddle_trains(digits_directory: Path) -> None:
    config = PRESETS["tutorial"].to_json()
    arguments = {"config": config, "data_dir": str(digits_directory), "epochs": 2, "batches": 1}
    result = common.call("sides", "train_plainly", **arguments, image_by_image=True)
    assert result["images_per_second"] > 0
    assert result["threads"] == 1


@pytest.mark.parametrize("preset", ["tutorial", "default"])
def test_pytorch_has_the_same_network(preset: str) -> None:
    pytest.importorskip("torch")
    from app.models import TwoConvNet
    from benchmarks.pytorch import build

    config = PRESETS[preset]
    names = ("channels", "kernel_size", "downsampling", "batch_norm", "hidden")
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
