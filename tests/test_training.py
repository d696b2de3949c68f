import dataclasses
import json
import shutil
import signal
from functools import partial

import numpy as np
import pytest

from app import training
from app.checkpoint import deserialize, digest_of, load_checkpoint, load_state, serialize
from app.config import PRESETS, TrainConfig
from app.datasets import Digits
from app.errors import CheckpointError, FileError, UsageError, UserError
from app.losses import LOSSES
from app.models import SoftmaxRegression
from app.runtime import available_cores
from app.training import TrainingStoppedError

# Most tests are of the parameters; figures would take most of their time.
train = partial(training.train, with_report=False)
resume = partial(training.resume, with_report=False)

# Everything that carries state from step to step, or draws at random, is on.
CONFIG = TrainConfig(
    channels=(4, 4),
    kernel_size=3,
    batch_norm=True,
    hidden=16,
    dropout=0.1,
    shift=1,
    rotation=2,
    elastic=5,
    workers=2,
    batch_size=64,
    epochs=3,
    learning_rate=0.1,
    momentum=0.9,
    nesterov=True,
    schedule="one-cycle",
    weight_decay=1e-3,
    clip_gradient=5.0,
    label_smoothing=0.01,
    average_decay=0.8,
)


@pytest.fixture
def config(digits_directory) -> TrainConfig:
    return dataclasses.replace(CONFIG, data_dir=str(digits_directory))


def read_metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def assert_same_parameters(first, second):
    first, second = load_state(first), load_state(second)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


class InterruptAt:
    """Stands at the terminal and presses Ctrl-C in a given step, or when a given epoch is shown."""

    def __init__(self, step, *, in_lines=False):
        self.left = step
        self.in_lines = in_lines

    def start(self, *_counts):
        pass

    def step(self, *_what):
        if not self.in_lines:
            self._count()

    def line(self, text):
        if self.in_lines and text.startswith("epoch"):
            self._count()

    def _count(self):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)

    def close(self):
        pass


def test_a_run_learns_and_leaves_everything_in_its_folder(config, tmp_path):
    result = training.train(dataclasses.replace(config, epochs=6), tmp_path / "run")
    assert result.test.accuracy > 0.9
    assert result.validation.count == 100
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files >= {
        "config.json",
        "metrics.jsonl",
        "last.pdparams",
        "last.pdopt",
        "last.json",
        "best.pdparams",
        "best.json",
        "report.html",
        "report.json",
    }
    assert not [name for name in files if name.startswith(".")]
    metrics = read_metrics(tmp_path / "run")
    assert [record["epoch"] for record in metrics] == [1, 2, 3, 4, 5, 6]
    assert set(metrics[0]) == {
        "epoch",
        "train_loss",
        "validation_loss",
        "validation_accuracy",
        "least_score",
        "learning_rate",
        "seconds",
        "images_per_second",
    }
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    best = max(metrics, key=lambda record: (record["validation_accuracy"], -record["validation_loss"]))
    assert json.loads((tmp_path / "run" / "best.json").read_text())["metrics"] == best
    assert result.validation.accuracy == best["validation_accuracy"]
    assert json.loads((tmp_path / "run" / "last.json").read_text())["finished"] is True


def test_same_seed_same_parameters_other_seed_others(config, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(dataclasses.replace(config, epochs=1, seed=seed), tmp_path / name)
    assert_same_parameters(tmp_path / "a" / "last.pdparams", tmp_path / "b" / "last.pdparams")
    with pytest.raises(AssertionError):
        assert_same_parameters(tmp_path / "a" / "last.pdparams", tmp_path / "c" / "last.pdparams")


@pytest.mark.parametrize("step", [1, 5, 8, 11, 16, 17])
def test_resume_gives_the_same_parameters(config, tmp_path, step):
    train(config, tmp_path / "whole")
    with pytest.raises(TrainingStoppedError, match="--resume") as stopped:
        train(config, tmp_path / "parts", InterruptAt(step))
    assert stopped.value.exit_code == 130
    resume(tmp_path / "parts")
    for name in ("last.pdparams", "best.pdparams"):
        assert_same_parameters(tmp_path / "whole" / name, tmp_path / "parts" / name)
    whole, parts = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "parts")
    for record in (*whole, *parts):
        del record["seconds"], record["images_per_second"]
    assert parts == whole


def test_a_run_interrupted_twice_still_arrives_at_the_same_parameters(config, tmp_path):
    train(config, tmp_path / "whole")
    with pytest.raises(TrainingStoppedError):
        train(config, tmp_path / "parts", InterruptAt(3))
    with pytest.raises(TrainingStoppedError):
        resume(tmp_path / "parts", display=InterruptAt(9))
    resume(tmp_path / "parts")
    assert_same_parameters(tmp_path / "whole" / "last.pdparams", tmp_path / "parts" / "last.pdparams")


def test_an_interrupt_in_the_very_last_step_leaves_the_report_to_the_resume(config, tmp_path):
    with pytest.raises(TrainingStoppedError, match="after 1 epochs"):
        train(dataclasses.replace(config, epochs=1), tmp_path / "run", InterruptAt(8), with_report=True)
    assert not (tmp_path / "run" / "report.html").exists()
    assert resume(tmp_path / "run", with_report=True).test is not None
    assert (tmp_path / "run" / "report.html").exists()


def test_an_interrupt_during_validation_is_heard_at_the_end_of_its_epoch(config, tmp_path):
    with pytest.raises(TrainingStoppedError, match="after 2 epochs"):
        train(config, tmp_path / "run", InterruptAt(2, in_lines=True))


def test_the_best_parameters_are_those_of_the_best_epoch_not_of_the_last(config, tmp_path):
    # So large a rate at the end of the run, without a schedule, makes it worse again.
    wild = dataclasses.replace(
        config, schedule="constant", learning_rate=0.5, batch_norm=False, average_decay=0.0, epochs=6
    )
    train(wild, tmp_path / "run")
    metrics = read_metrics(tmp_path / "run")
    accuracies = [record["validation_accuracy"] for record in metrics]
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["metrics"]["validation_accuracy"] == max(accuracies)
    assert max(accuracies) > accuracies[-1]
    assert best["epoch"] < 6


@pytest.mark.parametrize("change", [{"batch_size": 32}, {"seed": 5}, {"epochs": 2}, {"momentum": 0.5}])
def test_resume_with_a_changed_configuration_is_refused(config, tmp_path, change):
    with pytest.raises(TrainingStoppedError):
        train(config, tmp_path / "run", InterruptAt(2))
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=r"config\.json: changed"):
        resume(tmp_path / "run")


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": "one"},
        {"epoch": -3},
        {"epoch": 1},
        {"batch": 1_000_000},
        {"history": 5},
        {"best": {"x": 1}},
        {"seconds": "x"},
        {"more": 1},
    ],
)
def test_impossible_progress_is_one_clear_error(config, tmp_path, change):
    with pytest.raises(TrainingStoppedError):
        train(config, tmp_path / "run", InterruptAt(2))
    path = tmp_path / "run" / "last.pdopt"
    content = deserialize(path)
    content["progress"] = json.dumps({**json.loads(content["progress"]), **change})
    del content["digest"]
    path.write_bytes(serialize({**content, "digest": digest_of(content)}))
    with pytest.raises(CheckpointError, match=r"last\.pdopt"):
        resume(tmp_path / "run")


def test_a_run_killed_in_its_first_epoch_can_be_resumed(config, tmp_path):
    class Killed(InterruptAt):
        def step(self, *_what):
            raise SystemExit

    train(config, tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(config, tmp_path / "killed", Killed(1))
    (tmp_path / "killed" / ".0123.part").touch()
    resume(tmp_path / "killed")
    assert_same_parameters(tmp_path / "whole" / "last.pdparams", tmp_path / "killed" / "last.pdparams")
    assert not list((tmp_path / "killed").glob(".*"))


def test_resuming_a_finished_run_changes_nothing(config, tmp_path):
    first = train(config, tmp_path / "run")
    before = (tmp_path / "run" / "last.pdparams").read_bytes()
    second = resume(tmp_path / "run")
    assert (tmp_path / "run" / "last.pdparams").read_bytes() == before
    assert second.test.to_json() == first.test.to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.0, "nesterov": False, "schedule": "constant"},
        {"dropout": 0.2, "workers": None},
        {"batch_norm": False, "downsampling": "stride", "hidden": 0, "workers": 3},
    ],
    ids=["plain SGD", "dropout", "strided"],
)
def test_other_choices_resume_too(config, tmp_path, changes):
    plain = dataclasses.replace(config, **changes)
    train(plain, tmp_path / "whole")
    with pytest.raises(TrainingStoppedError):
        train(plain, tmp_path / "parts", InterruptAt(9))
    resume(tmp_path / "parts")
    assert_same_parameters(tmp_path / "whole" / "last.pdparams", tmp_path / "parts" / "last.pdparams")


def test_resume_on_other_data_is_refused(config, tmp_path, digits):
    from app.datasets.course_json import write_course_json

    with pytest.raises(TrainingStoppedError):
        train(dataclasses.replace(config, validation_size=100), tmp_path / "run", InterruptAt(2))
    write_course_json(tmp_path / "other.json.gz", digits)
    with pytest.raises(CheckpointError, match="other data"):
        resume(tmp_path / "run", {"data": str(tmp_path / "other.json.gz")})
    few = dataclasses.replace(digits, train=Digits(*(array[:20] for array in digits.train)))
    write_course_json(tmp_path / "few.json.gz", few)
    with pytest.raises(CheckpointError, match="run: cannot be continued with these data"):
        resume(tmp_path / "run", {"data": str(tmp_path / "few.json.gz")})


def drop_from_state(run, name):
    content = deserialize(run / "last.pdopt")
    del content[name]
    # What is left is undamaged.
    if content.pop("digest", None):
        content["digest"] = digest_of(content)
    (run / "last.pdopt").write_bytes(serialize(content))


def flip_a_bit_of_the_parameters(data):
    # The last byte of a float is its exponent's: another number, and no damage to the file's structure.
    where = data.index(b"conv2.weight") + 400
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda _: b"nonsense", lambda data: data[:-100], flip_a_bit_of_the_parameters],
    ids=["empty", "text", "truncated", "flipped"],
)
def test_a_damaged_state_is_one_clear_error(config, tmp_path, damage):
    with pytest.raises(TrainingStoppedError):
        train(config, tmp_path / "run", InterruptAt(2))
    path = tmp_path / "run" / "last.pdopt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"last\.pdopt"):
        resume(tmp_path / "run")


def test_a_run_that_is_being_trained_is_not_resumed_meanwhile(config, tmp_path):
    class ResumedAt(InterruptAt):
        def step(self, *what):
            with pytest.raises(FileError, match="run: in use"):
                resume(tmp_path / "run")
            super().step(*what)

    with pytest.raises(TrainingStoppedError):
        train(config, tmp_path / "run", ResumedAt(2))
    resume(tmp_path / "run")


def test_a_state_without_a_checksum_is_one_of_an_earlier_version(config, tmp_path):
    with pytest.raises(TrainingStoppedError):
        train(config, tmp_path / "run", InterruptAt(2))
    drop_from_state(tmp_path / "run", "digest")
    assert resume(tmp_path / "run").is_new
    assert not resume(tmp_path / "run").is_new


def test_data_that_moved_are_found_again(config, tmp_path, digits_directory, monkeypatch):
    shutil.copytree(digits_directory, tmp_path / "data")
    with pytest.raises(TrainingStoppedError):
        train(dataclasses.replace(config, data_dir=str(tmp_path / "data")), tmp_path / "run", InterruptAt(2))
    (tmp_path / "data").rename(tmp_path / "moved")
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "moved"))
    resume(tmp_path / "run")


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(CheckpointError, match="no run to resume"):
        resume(tmp_path)


def test_an_existing_run_is_never_overwritten(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="already holds"):
        train(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_without_a_report_a_run_is_evaluated_and_finished_all_the_same(config, tmp_path):
    whole = training.train(config, tmp_path / "whole")
    bare = training.train(config, tmp_path / "bare", with_report=False)
    assert (bare.validation.accuracy, bare.test.loss) == (whole.validation.accuracy, whole.test.loss)
    assert json.loads((tmp_path / "bare" / "last.json").read_text())["finished"] is True
    made = [{path.name for path in (tmp_path / name).iterdir()} for name in ("whole", "bare")]
    assert made[0] - made[1] == {"report.html", "report.json", "figures"}


def test_without_validation_the_last_parameters_are_reported(config, tmp_path):
    result = train(dataclasses.replace(config, validation_size=0, epochs=1), tmp_path / "run")
    assert result.validation is None
    assert result.test.count == 200
    assert read_metrics(tmp_path / "run")[0]["validation_accuracy"] is None
    assert not (tmp_path / "run" / "best.pdparams").exists()


def test_a_kill_between_the_last_parameters_and_their_description_is_mended_by_a_resume(config, tmp_path):
    train(dataclasses.replace(config, validation_size=0, epochs=1), tmp_path / "run")
    path = tmp_path / "run" / "last.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "of an older file", "epoch": 0}))
    assert resume(tmp_path / "run").test.count == 200
    assert json.loads(path.read_text())["epoch"] == 1


def test_limits_make_a_complete_run_short(config, tmp_path):
    limited = dataclasses.replace(
        config, limit_train_batches=2, limit_validation_batches=1, evaluation_batch_size=10
    )
    result = train(limited, tmp_path / "run", with_report=True)
    assert len(result.history) == 3
    assert (tmp_path / "run" / "report.html").exists()


def test_divergence_is_said_and_not_saved(config, tmp_path):
    wild = dataclasses.replace(config, learning_rate=1e30, batch_norm=False, schedule="constant")
    with pytest.raises(UserError, match="diverged"):
        train(wild, tmp_path / "run")
    assert not (tmp_path / "run" / "best.pdparams").exists()


@pytest.mark.parametrize(("batch_size", "most"), [(60, 1), (80, 2), (4000, 100)])
def test_the_number_of_workers_is_settled_when_the_run_begins(config, tmp_path, batch_size, most):
    changes = {"workers": None, "epochs": 1, "batch_size": batch_size, "limit_train_batches": 1}
    train(dataclasses.replace(config, **changes), tmp_path / "auto")
    settled = json.loads((tmp_path / "auto" / "config.json").read_text())["workers"]
    assert settled == min(available_cores(), most)


def test_workers_train_to_the_same_parameters_up_to_rounding(config, tmp_path):
    plain = dataclasses.replace(config, batch_norm=False, epochs=1)
    for workers in (1, 2):
        train(dataclasses.replace(plain, workers=workers), tmp_path / str(workers))
    one, two = (load_state(tmp_path / name / "last.pdparams") for name in ("1", "2"))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_batch_larger_than_the_data_is_an_error_when_it_would_be_dropped(config, tmp_path):
    with pytest.raises(UsageError, match="batch-size"):
        train(dataclasses.replace(config, batch_size=1000, drop_last_batch=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_tutorials_json_trains_to_the_same_parameters_as_the_idx_files(config, tmp_path, digits):
    from app.datasets.course_json import write_course_json

    write_course_json(tmp_path / "digits.json.gz", digits)
    train(dataclasses.replace(config, epochs=1), tmp_path / "idx")
    train(dataclasses.replace(config, epochs=1, data=str(tmp_path / "digits.json.gz")), tmp_path / "json")
    assert_same_parameters(tmp_path / "idx" / "last.pdparams", tmp_path / "json" / "last.pdparams")


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_learns_and_its_checkpoint_can_be_read(config, tmp_path, name):
    # The squares of so small a mean need larger steps than the others.
    rate = {"squared-error": 1.0, "value": 0.003, "double-softmax": 0.5}.get(name, 0.1)
    choices = {"loss": name, "learning_rate": rate, "epochs": 8, "label_smoothing": 0.0}
    result = train(dataclasses.replace(config, average_decay=0.0, **choices), tmp_path / "run")
    assert result.test.accuracy > 0.3
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    network = load_checkpoint(tmp_path / "run" / "best.pdparams").network
    assert network.fc.weight.shape[1] == (1 if name == "value" else 10)


def test_softmax_regression_learns_and_resumes(config, tmp_path):
    plain = dataclasses.replace(
        PRESETS["softmax-regression"], data_dir=config.data_dir, epochs=3, class_weights="balanced"
    )
    result = train(plain, tmp_path / "whole")
    assert result.test.accuracy > 0.9
    with pytest.raises(TrainingStoppedError):
        train(plain, tmp_path / "parts", InterruptAt(20))
    resume(tmp_path / "parts")
    assert_same_parameters(tmp_path / "whole" / "last.pdparams", tmp_path / "parts" / "last.pdparams")
    assert isinstance(load_checkpoint(tmp_path / "whole" / "best.pdparams").network, SoftmaxRegression)


def test_the_rare_digits_are_cut_in_training_only(config, tmp_path, digits):
    train(dataclasses.replace(config, rare_share=0.1, epochs=1), tmp_path / "run")
    described = json.loads((tmp_path / "run" / "last.json").read_text())["data"]
    labels = digits.train.labels[:500]
    kept = sum(max(round(0.1 * (labels == label).sum()), 1) for label in range(5)) + (labels > 4).sum()
    assert (described["train_count"], described["validation_count"], described["test_count"]) == (
        kept,
        100,
        200,
    )


def test_weighted_workers_train_to_the_same_parameters_up_to_rounding(config, tmp_path):
    weighted = dataclasses.replace(
        config, batch_norm=False, epochs=1, rare_share=0.2, class_weights="balanced", loss="focal"
    )
    for workers in (1, 2):
        train(dataclasses.replace(weighted, workers=workers), tmp_path / str(workers))
    one, two = (load_state(tmp_path / name / "last.pdparams") for name in ("1", "2"))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3, atol=1e-4, err_msg=name)


def one_step(config, run_dir, **choices):
    """Return the parameters after the first step of a run, by name."""
    train(dataclasses.replace(config, epochs=1, limit_train_batches=1, average_decay=0.0, **choices), run_dir)
    return load_state(run_dir / "last.pdparams")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weights_decay_and_biases_and_norms_do_not(config, tmp_path, momentum):
    plain = dataclasses.replace(
        config, schedule="constant", momentum=momentum, nesterov=False, learning_rate=0.5, weight_decay=0.0
    )
    start = one_step(plain, tmp_path / "start", learning_rate=1e-12)
    without = one_step(plain, tmp_path / "without")
    decayed = one_step(plain, tmp_path / "decayed", weight_decay=0.1)
    for name in start:
        shrunk = 0.5 * 0.1 * start[name] if start[name].ndim > 1 else 0
        np.testing.assert_allclose(decayed[name], without[name] - shrunk, atol=1e-6, err_msg=name)
    assert {name for name in start if start[name].ndim > 1} == {
        *("conv1.weight", "conv2.weight", "hidden.weight", "fc.weight")
    }


def test_the_gradient_is_clipped_by_the_norm_of_all_of_it(config, tmp_path):
    plain = dataclasses.replace(
        config, schedule="constant", momentum=0.0, nesterov=False, weight_decay=0.0, clip_gradient=0.0
    )
    rate = 0.1
    start = one_step(plain, tmp_path / "start", learning_rate=1e-12)
    moves = []
    for limit in (0.0, 0.01, 1e6):
        state = one_step(plain, tmp_path / str(limit), learning_rate=rate, clip_gradient=limit)
        trained = [name for name in start if not name.endswith(("_mean", "_variance"))]
        moves.append(np.concatenate([(state[name] - start[name]).ravel() for name in trained]) / rate)
    free, clipped, unreached = moves
    np.testing.assert_array_equal(unreached, free)
    assert np.linalg.norm(free) > 0.1
    assert np.linalg.norm(clipped) == pytest.approx(0.01, rel=1e-3)
    assert clipped @ free == pytest.approx(np.linalg.norm(clipped) * np.linalg.norm(free), rel=1e-3)


def test_the_average_is_what_is_validated_and_kept(config, tmp_path):
    result = train(config, tmp_path / "run")
    content = deserialize(tmp_path / "run" / "last.pdopt")
    kept = load_state(tmp_path / "run" / "last.pdparams")
    for name, array in kept.items():
        np.testing.assert_array_equal(array, content["average"][name])
    assert not np.array_equal(kept["fc.weight"], content["parameters"]["fc.weight"])
    # The report evaluates best.pdparams as it is in the file.
    best = json.loads((tmp_path / "run" / "best.json").read_text())["metrics"]
    assert result.validation.loss == pytest.approx(best["validation_loss"], rel=1e-6)


def test_a_state_without_the_average_is_one_clear_error(config, tmp_path):
    with pytest.raises(TrainingStoppedError):
        train(config, tmp_path / "run", InterruptAt(2))
    drop_from_state(tmp_path / "run", "average")
    with pytest.raises(CheckpointError, match=r"last\.pdopt"):
        resume(tmp_path / "run")
