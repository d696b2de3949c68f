"""Test accuracy over seeds: mean and deviation, both halves of the test set, ensemble, calibration.

Every seed is a run of `train(config, run_dir)` that stays in its folder: a study that was interrupted goes on
where it stopped, and one with more seeds trains only those that are missing. The test digits are those of
each run's own report, looked at once when it ends; here they are only counted in more ways.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from app import runtime
from app.config import TrainConfig, add_config_arguments, config_from_arguments, given_options, option_name
from app.console import TrainingDisplay, run_command, say
from app.datasets import Digits, split
from app.errors import UserError
from app.evaluation import (
    CALIBRATION_BINS,
    average_probabilities,
    evaluate,
    fit_temperature,
    format_accuracy,
)
from benchmarks import common
from benchmarks.common import Finding, mean_and_deviation

TARGETS = {"fast": (0.99, 5), "default": (0.994, 5), "best": (0.997, 3)}
"""Mean test accuracy to reach, and of how many seeds at least."""

ENSEMBLE_TARGETS = {"best": 0.9975}

CALIBRATION_TARGETS = {"best": 0.0015}
"""Largest mean calibration error of the plain probabilities, which are what the program gives."""

QUICK: dict[str, Any] = {"epochs": 1, "limit_train_batches": 5}

PLACES = {"data": None, "data_dir": None}
"""Fields of the configuration that no result depends on and no two machines share."""


Scores = dict[str, Any]
"""What `score` found; of a run also the `seconds` that it trained."""


class Member(NamedTuple):
    """A run's logits; in an ensemble, the logarithms of the averaged probabilities."""

    validation: Optional[NDArray[np.floating[Any]]]
    """None if no digits are set apart."""

    test: NDArray[np.floating[Any]]


def train_or_reuse(config: TrainConfig, run_dir: Path) -> None:
    """Leave a finished run of `config` in `run_dir`: the one that is there, continued, or a new one.

    Raises:
        UserError: there is one of another configuration.
    """
    from app.training import resume, train

    if not (run_dir / "config.json").exists():
        train(config, run_dir, TrainingDisplay())
        return
    recorded, wanted = json.loads((run_dir / "config.json").read_text()), config.to_json()
    for name in wanted:
        # Where the data are does not matter; how many threads there are and which data is settled by the run.
        is_settled = (name, wanted[name]) in (("workers", None), ("dataset", "auto"))
        is_free = name in PLACES or is_settled
        if not is_free and recorded.get(name) != wanted[name]:
            raise UserError(
                f"{run_dir}: a run with {option_name(name)} {recorded.get(name)}, not {wanted[name]}; "
                "give another folder by --runs"
            )
    last = run_dir / "last.json"
    if not (last.exists() and json.loads(last.read_text()).get("finished")):
        resume(run_dir, {"data": config.data, "data_dir": config.data_dir}, TrainingDisplay())


def load_member(run_dir: Path, validation: Digits, test: Digits) -> Member:
    """Return the logits of the parameters that the run chose."""
    from app.checkpoint import load_checkpoint, resolve_checkpoint
    from app.models import compute_logits

    network = load_checkpoint(resolve_checkpoint(run_dir)).network
    has_validation = len(validation.labels) > 0
    return Member(
        compute_logits(network, validation.images) if has_validation else None,
        compute_logits(network, test.images),
    )


def average(members: Sequence[Member]) -> Member:
    """Return the ensemble of the members."""
    validations = [member.validation for member in members if member.validation is not None]
    return Member(
        average_probabilities(validations) if validations else None,
        average_probabilities([member.test for member in members]),
    )


def score(member: Member, validation: Digits, test: Digits) -> Scores:
    """Return counts, accuracies and calibration errors; without validation, nothing that is fitted on it."""
    result = evaluate(member.test, test.labels)
    half = len(test.labels) // 2
    is_correct = member.test.argmax(axis=1) == test.labels
    scores = {
        "correct": result.correct,
        "count": result.count,
        "accuracy": result.accuracy,
        "first_half": float(is_correct[:half].mean()),
        "second_half": float(is_correct[half:].mean()),
        "calibration_error": result.expected_calibration_error,
        "validation_accuracy": None,
        "temperature": None,
        "scaled_calibration_error": None,
    }
    if member.validation is not None:
        temperature = fit_temperature(member.validation, validation.labels)
        scaled = evaluate(member.test / temperature, test.labels)
        scores["validation_accuracy"] = evaluate(member.validation, validation.labels).accuracy
        scores["temperature"] = temperature
        scores["scaled_calibration_error"] = scaled.expected_calibration_error
    return scores


def summarise(
    preset: str, choices: str, seeds: Sequence[Scores], ensemble: Scores, *, judged: bool
) -> list[Finding]:
    """Return the table of a preset with `choices` on top; targets only if it is to be `judged` by them."""
    accuracies = [seed["accuracy"] for seed in seeds]
    least, enough = TARGETS.get(preset, (None, 0)) if judged else (None, 0)
    what = f"test accuracy of `{f'--preset {preset} {choices}'.strip()}`, seeds: {len(seeds)}"
    measured = f"{describe(seeds, 'accuracy')} ({', '.join(f'{accuracy:.2%}' for accuracy in accuracies)})"
    mean = statistics.mean(accuracies)
    findings = [
        Finding(
            what,
            measured,
            f"at least {least:.2%}, mean of {enough} seeds" if least else "",
            mean >= least if least and len(seeds) >= enough else None,
        ),
        Finding(
            "first and second half of the test digits",
            f"{describe(seeds, 'first_half')} and {describe(seeds, 'second_half')}",
        ),
        Finding("validation accuracy", describe(seeds, "validation_accuracy")),
    ]
    if len(seeds) > 1:
        least = ENSEMBLE_TARGETS.get(preset) if judged else None
        findings.append(
            Finding(
                f"ensemble of the {len(seeds)}",
                format_accuracy(ensemble["correct"], ensemble["count"]),
                f"at least {least:.2%}" if least else "",
                ensemble["accuracy"] >= least if least else None,
            )
        )
        findings.append(Finding("its calibration error", describe_calibration([ensemble])))
    most = CALIBRATION_TARGETS.get(preset) if judged else None
    findings.append(
        Finding(
            f"calibration error of a seed, {CALIBRATION_BINS} bins",
            describe_calibration(seeds),
            f"at most {most:.2%}" if most else "",
            statistics.mean(seed["calibration_error"] for seed in seeds) <= most if most else None,
        )
    )
    seconds = mean_and_deviation([seed["seconds"] for seed in seeds], "{:.0f}")
    return [*findings, Finding("training time of a seed", f"{seconds} s")]


def describe(scores: Sequence[Scores], name: str) -> str:
    """Return mean and deviation of a share, or that it could not be measured."""
    values = [one[name] for one in scores]
    return "none, no digits are set apart" if None in values else mean_and_deviation(values, "{:.3%}")


def describe_calibration(scores: Sequence[Scores]) -> str:
    """Return the error before and after temperature scaling, or why there is no scaling."""
    raw = describe(scores, "calibration_error")
    if any(one["temperature"] is None for one in scores):
        return f"{raw}; not scaled, no validation digits to fit a temperature to"
    temperature = statistics.mean(one["temperature"] for one in scores)
    return f"{raw}; with a temperature of {temperature:.2f} {describe(scores, 'scaled_calibration_error')}"


def draw(path: Path, seeds: Sequence[Scores], ensemble: Scores) -> None:
    """Draw the accuracy of each seed and of the ensemble: whole test set and both halves."""
    figure = common.new_figure(6, 4)
    ax = figure.subplots()
    keys = ("accuracy", "first_half", "second_half")
    for number, seed in enumerate(seeds):
        places = [position - 0.15 + 0.3 * (number + 0.5) / len(seeds) for position in range(len(keys))]
        label = "a seed" if number == 0 else None
        ax.plot(places, [100 * seed[key] for key in keys], "o", color="#0072b2", label=label)
    if len(seeds) > 1:
        together = [100 * ensemble[key] for key in keys]
        ax.plot(range(len(keys)), together, "_", markersize=40, color="#d55e00", label="ensemble")
    ax.set_xticks(range(len(keys)), ["all test digits", "first half", "second half"])
    ax.set_xlim(-0.5, len(keys) - 0.5)
    ax.set_ylabel("accuracy, %")
    ax.grid(axis="y", color="#e6e8eb")
    ax.legend()
    common.write_figure(path, figure)


def parse_arguments() -> tuple[argparse.Namespace, TrainConfig]:
    """Return the checked command line and the configuration of the runs, but for the seed."""
    parser = common.make_parser("accuracy", __doc__, conflict_handler="resolve")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="how many seeds (5)")
    parser.add_argument("--seed-start", type=int, default=0, metavar="N", help="the first of them (0)")
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="folder of the runs (checkpoints/accuracy; with --quick, one that is deleted)",
    )
    add_config_arguments(parser, without=["seed"])
    arguments = parser.parse_args()
    common.require_at_least_one(arguments, "seeds")
    if arguments.quick:
        arguments.seeds = min(arguments.seeds, 2)
    config = config_from_arguments(arguments)
    if config.data is None and config.dataset == "auto":
        # An accuracy on synthetic digits is none on MNIST: without MNIST there is nothing to measure.
        config = dataclasses.replace(config, dataset="mnist")
    if arguments.quick:
        config = dataclasses.replace(config, **QUICK)
    # An impossible last seed shows now, not after hours.
    dataclasses.replace(config, seed=arguments.seed_start + arguments.seeds - 1)
    return arguments, config


def spell(choices: Mapping[str, Any]) -> str:
    """Return the options that override these fields; where the data are is left out."""
    words = []
    for name, value in choices.items():
        option = option_name(name)
        if name in PLACES:
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            words += [option, *map(str, value)]
        else:
            words += [option, "auto" if value is None else str(value)]
    return shlex.join(words)


def study(config: TrainConfig, seeds: Sequence[int], folder: Path) -> tuple[dict[str, Scores], Scores]:
    """Train what is missing; return the scores of each seed, and of the ensemble."""
    from app.datasets.dataset import load_data

    _, validation, test = split(load_data(config), config.validation_size)
    runs, members = {}, []
    for seed in seeds:
        run_dir = folder / f"{config.preset}-{seed}"
        train_or_reuse(dataclasses.replace(config, seed=seed), run_dir)
        history = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        members.append(load_member(run_dir, validation, test))
        scores = score(members[-1], validation, test)
        runs[str(seed)] = {**scores, "seconds": sum(record["seconds"] for record in history)}
        say(f"seed {seed}: test accuracy {format_accuracy(scores['correct'], scores['count'])}")
    return runs, score(average(members), validation, test)


def main() -> int:
    """Train the seeds, print the table, write the files."""
    arguments, config = parse_arguments()
    choices = spell(given_options(arguments))
    results = common.results_folder(arguments)
    runtime.prepare()
    from app.training import TrainingStoppedError

    seeds = range(arguments.seed_start, arguments.seed_start + arguments.seeds)
    with tempfile.TemporaryDirectory() as temporary:
        kept = runtime.REPOSITORY / "checkpoints" / "accuracy"
        folder = arguments.runs or (Path(temporary) if arguments.quick else kept)
        try:
            runs, ensemble = study(config, seeds, folder)
        except TrainingStoppedError as stopped:
            say("interrupted, the state is saved: the same command goes on from here")
            return stopped.exit_code
    scores = list(runs.values())
    judged = not (arguments.quick or choices)
    findings = summarise(config.preset, choices, scores, ensemble, judged=judged)
    environment = common.describe_machine()
    # A trial never replaces what the preset as it is came to.
    name = f"accuracy_{config.preset}" + ("_changed" if choices else "")
    content = {"config": {**config.to_json(), **PLACES}, "runs": runs, "ensemble": ensemble}
    options = f"--preset {config.preset} --seeds {len(runs)} --seed-start {arguments.seed_start} {choices}"
    common.write_results(results, name, environment, findings, content, options, benchmark="accuracy")
    draw(results / f"{name}.png", scores, ensemble)
    common.show(environment, findings, results, name)
    return 0


if __name__ == "__main__":
    run_command(main)
