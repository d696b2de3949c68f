import argparse
import dataclasses
import subprocess
import sys

import pytest

from app.config import PRESETS, TrainConfig, add_config_arguments, config_from_arguments
from app.errors import UsageError


def parse(*arguments: str) -> TrainConfig:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return config_from_arguments(parser.parse_args(arguments))


def test_tutorial_preset_is_the_tutorial():
    tutorial = PRESETS["tutorial"]
    assert (tutorial.channels, tutorial.kernel_size, tutorial.downsampling) == ((20, 20), 5, "max-pool")
    assert (tutorial.batch_size, tutorial.epochs, tutorial.learning_rate) == (100, 10, 0.01)
    assert (tutorial.momentum, tutorial.schedule, tutorial.shift, tutorial.hidden) == (0, "constant", 0, 0)
    assert tutorial.log_every == 200


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_carry_their_own_name(name):
    assert PRESETS[name].preset == name


def test_without_options_the_default_preset_is_used():
    assert parse() == PRESETS["default"]


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--epochs", "3"], {"epochs": 3}),
        (["--channels", "8", "16"], {"channels": (8, 16)}),
        (["--no-batch-norm"], {"batch_norm": False}),
        (["--learning-rate", "5e-2", "--no-nesterov"], {"learning_rate": 0.05, "nesterov": False}),
        (["--workers", "3"], {"workers": 3}),
        (["--workers", "auto"], {"workers": None}),
        (["--validation-size", "0"], {"validation_size": 0}),
        (["--downsampling", "max-pool"], {"downsampling": "max-pool"}),
    ],
)
def test_options_override_the_preset(arguments, changed):
    assert parse(*arguments) == dataclasses.replace(PRESETS["default"], **changed)


def test_every_field_but_the_preset_has_an_option():
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    text = parser.format_help()
    for field in dataclasses.fields(TrainConfig):
        assert "--" + field.name.replace("_", "-") in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", -1),
        ("batch_size", "100"),
        ("channels", (0, 20)),
        ("channels", (20,)),
        ("kernel_size", 4),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("momentum", 1.0),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("dropout", 1.0),
        ("dropout", float("nan")),
        ("weight_decay", -1e-4),
        ("clip_gradient", -1.0),
        ("label_smoothing", 1.0),
        ("loss", "hinge"),
        ("focal_gamma", -1.0),
        ("class_weights", "heavy"),
        ("rare_share", 0.0),
        ("network", "transformer"),
        ("average_decay", 1.0),
        ("validation_size", -1),
        ("hidden", -1),
        ("seed", -1),
        ("shift", 28),
        ("rotation", 181.0),
        ("scale", 1.0),
        ("shear", -0.1),
        ("elastic", float("inf")),
        ("elastic_sigma", 0.0),
        ("stroke", 1.5),
        ("blur", -0.5),
        ("erase", 2.0),
        ("downsampling", "average"),
        ("schedule", "sometimes"),
        ("limit_train_batches", 0),
        ("batch_norm", 1),
        ("seed", None),
        ("workers", 0),
        ("padding", "full"),
        ("calm_epochs", -1),
    ],
)
def test_impossible_values_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        TrainConfig(**{name: value})


def test_nesterov_needs_momentum():
    with pytest.raises(UsageError, match="momentum"):
        TrainConfig(nesterov=True)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"focal_gamma": 1.0}, "--focal-gamma: belongs to --loss focal"),
        ({"loss": "value", "label_smoothing": 0.1}, "--label-smoothing: .* is a number"),
        ({"loss": "value", "network": "softmax-regression"}, "--loss: value needs a network of one output"),
        ({"padding": "valid", "kernel_size": 7}, "--kernel-size: 7 .* 1, 5 or 9 with --padding valid"),
        ({"network": "softmax-regression", "batch_norm": True}, "--batch-norm: .* a single layer"),
        ({"network": "softmax-regression", "hidden": 5}, "--hidden: .* a single layer"),
        ({"network": "softmax-regression", "dropout": 0.5}, "--dropout: .* a single layer"),
    ],
)
def test_choices_that_do_not_go_together_are_refused_with_a_reason(values, reason):
    with pytest.raises(UsageError, match=reason):
        TrainConfig(**values)


def test_only_the_loss_of_the_value_wants_a_single_output():
    assert TrainConfig(loss="value").outputs == 1
    assert {TrainConfig(loss=loss).outputs for loss in ("focal", "quadratic", "cross-entropy")} == {10}


def test_only_the_plain_cross_entropy_is_comparable_with_an_evaluations():
    assert TrainConfig().has_plain_loss
    for change in ({"loss": "focal"}, {"label_smoothing": 0.1}, {"class_weights": "balanced"}):
        assert not TrainConfig(**change).has_plain_loss


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_json_round_trip(name):
    assert TrainConfig.from_json(PRESETS[name].to_json()) == PRESETS[name]


def test_unknown_name_in_json_is_refused():
    with pytest.raises(UsageError, match="learning_rat"):
        TrainConfig.from_json({"learning_rat": 0.1})


def test_paths_become_absolute_so_that_a_run_can_be_resumed_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("--data-dir", "here").data_dir == str(tmp_path / "here")


def test_importing_the_configuration_imports_nothing_heavy():
    code = "import sys, app.config; print({'paddle', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
