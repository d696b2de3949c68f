"""The studies: exact values where the sources give them, and quick runs of all on small made-up data."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.experiments import STUDIES
from app.experiments.__main__ import main
from app.experiments.page import summarise
from app.experiments.slow_neuron import COSTS, STARTS, train_neuron
from app.experiments.softmax_calls import CLASSES, LOGITS, ONE_HOT, SOFT, call_all
from app.experiments.softmax_regression import gradient_of_true_logit, two_class_difference
from app.experiments.study import Laboratory, Statement, percent, points, verdict
from app.experiments.value_or_class import compute_theory
from app.experiments.variants import (
    check_convexity,
    check_gradient,
    decompose,
    take_logarithm_of_zero,
    train_perceptron,
)
from app.losses import quadratic, sigmoid_cross_entropy
from app.runtime import REPOSITORY


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def follow_neuron(slope_counts, weight, bias):
    """Train the neuron by the formulas, without Paddle, and return its outputs."""
    outputs = []
    for _ in range(301):
        output = 1 / (1 + math.exp(-(weight + bias)))
        outputs.append(output)
        gradient = output * (output * (1 - output) if slope_counts else 1)
        weight, bias = weight - 0.15 * gradient, bias - 0.15 * gradient
    return outputs


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("cost", COSTS)
def test_the_neuron_follows_the_formulas(cost, start):
    expected = follow_neuron(cost == "quadratic cost", *STARTS[start])
    course = train_neuron(COSTS[cost], *STARTS[start])
    np.testing.assert_allclose(course.outputs, expected, rtol=1e-10)
    target = [a**2 / 2 if cost == "quadratic cost" else -math.log(1 - a) for a in expected]
    np.testing.assert_allclose(course.costs, target, rtol=1e-10)


@pytest.mark.parametrize(
    ("cost", "start", "step", "output"),
    [
        (quadratic, (0.6, 0.9), 300, 0.093956),
        (quadratic, (2.0, 2.0), 300, 0.202848),
        (quadratic, (2.0, 2.0), 50, 0.975933),
        (sigmoid_cross_entropy, (0.6, 0.9), 300, 0.011638),
        (sigmoid_cross_entropy, (2.0, 2.0), 300, 0.012009),
        (sigmoid_cross_entropy, (2.0, 2.0), 50, 0.098504),
    ],
)
def test_the_neuron_arrives_at_the_published_values(cost, start, step, output):
    assert round(train_neuron(cost, *start).outputs[step], 6) == output


def test_the_six_softmax_calls_to_six_digits():
    logits, one_hot, soft = np.array(LOGITS), np.array(ONE_HOT), np.array(SOFT)
    once = np.exp(log_softmax(logits))
    twice = np.exp(log_softmax(once))
    right = -(one_hot * log_softmax(logits)).sum(1)
    expected = [
        right,
        -(one_hot * log_softmax(once)).sum(1),
        -(one_hot * log_softmax(twice)).sum(1),
        right,
        -(soft * log_softmax(logits)).sum(1),
        -log_softmax(logits)[[0, 1], CLASSES],
    ]
    for call, losses in zip(call_all(), expected):
        np.testing.assert_allclose(call.losses, losses, atol=1e-6, rtol=0, err_msg=call.name)


def test_the_tutorials_theory_in_numbers():
    theory = compute_theory()
    assert [round(theory[f"softmax(3, 1, -3), class {label}"], 4) for label in range(3)] == [
        0.8789,
        0.1189,
        0.0022,
    ]
    assert theory["-ln 0.6"] == pytest.approx(0.510826, abs=1e-6)
    assert theory["-ln 0.1"] == pytest.approx(2.302585, abs=1e-6)
    expected = -(math.log(0.8) + math.log(0.9) + math.log(0.7)) / 3
    assert theory["mean for 0.8, 0.9, 0.3 and true 1, 1, 0"] == pytest.approx(expected)
    assert theory["softmax(1.5, -0.5), class 0"] == pytest.approx(theory["sigmoid(1.5 - (-0.5))"])


def test_the_theory_of_cross_entropy_holds_in_numbers():
    assert decompose() < 1e-9
    assert check_gradient() < 1e-9
    assert check_convexity() < 1e-9
    assert two_class_difference() < 1e-9


def test_gradient_factors_are_those_on_paper():
    probability = np.array([0.01, 0.3, 0.9])
    np.testing.assert_allclose(gradient_of_true_logit("cross-entropy", probability), 1 - probability)
    # Two outputs with errors of 1 - p each, through the slope p (1 - p), in the mean of the two squares.
    np.testing.assert_allclose(
        gradient_of_true_logit("squared-error", probability), 2 * (1 - probability) ** 2 * probability
    )


def test_the_logarithm_of_zero_is_met_by_hand_and_not_from_logits():
    zero = take_logarithm_of_zero()
    assert zero.sigmoid_by_hand == math.inf
    assert zero.sigmoid_loss == 200
    assert zero.softmax_loss == 64


def test_the_perceptron_learns_noise_by_heart_and_repeats():
    one = train_perceptron(seed=1)
    assert len(one.losses) == 11
    assert one.losses[-1] < one.losses[0]
    assert one.seen_accuracy > one.unseen_accuracy
    assert train_perceptron(seed=1) == one


def test_a_verdict_needs_agreement():
    assert verdict([0.1, 0.2]) is True
    assert verdict([-0.1, 0.0]) is False
    assert verdict([-0.1, 0.2]) is None


@pytest.mark.parametrize(
    ("holds", "expected"),
    [
        ([True, True], "The claim holds."),
        ([False, None], "The claim does not hold here."),
        ([None, None], "The claim is undecided here."),
        ([True, None, False], "The claim holds in part: 1 of 3 statements."),
    ],
)
def test_the_verdict_on_a_claim_follows_from_its_statements(holds, expected):
    assert summarise([Statement("", "", each, ()) for each in holds]) == expected


def test_shares_and_differences_are_told_with_their_range():
    assert percent([0.5]) == "50.00%"
    assert percent([0.5, 0.7]) == "60.00% (50.00% to 70.00%)"
    assert points([-0.01]) == "-1.00 points"
    assert points([0.01, 0.03]) == "+2.00 points (+1.00 to +3.00)"


def test_a_laboratory_trains_the_same_choices_once(digits_directory):
    from app.config import PRESETS

    laboratory = Laboratory(str(digits_directory), is_quick=True)
    runs = [laboratory.train(PRESETS["softmax-regression"], epochs=1, seed=seed) for seed in (0, 0, 1)]
    assert runs[0] is runs[1]
    assert runs[0] is not runs[2]
    described = runs[2].to_json()
    assert described["choices"]["seed"] == 1
    assert "data_dir" not in described["choices"]
    assert described["test"]["count"] == 200


@pytest.fixture(scope="module")
def lessons(tmp_path_factory, digits_directory):
    out = tmp_path_factory.mktemp("lessons")
    assert main(["all", "--quick", "--out", str(out), "--data-dir", str(digits_directory)]) == 0
    return out


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_writes_its_page_figure_and_json(lessons, name):
    content = json.loads((lessons / f"{name}.json").read_text())
    assert content["study"] == name
    assert content["quick"] is True
    assert content["data"]
    page = (lessons / f"{name}.md").read_text()
    assert page.startswith("# ")
    for part in ("**Claim**", "**Method**", "**Verdict**", "**Why**", "A quick run", f"({name}.png)"):
        assert part in page
    assert content["verdict"] in page
    with Image.open(lessons / f"{name}.png") as image:
        assert 600 <= image.width <= 1200
    assert (lessons / f"{name}.png").stat().st_size < 200_000


def test_the_lessons_hold_every_study_and_their_links_lead_somewhere(lessons):
    text = (lessons / "lessons.md").read_text()
    assert text.count("**Verdict**") == len(STUDIES)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 30
    for link in links:
        assert (lessons / link).exists(), link


def test_the_committed_lessons_are_of_full_runs_and_whole():
    text = (REPOSITORY / "docs" / "lessons.md").read_text()
    for name in STUDIES:
        content = json.loads((REPOSITORY / "docs" / f"{name}.json").read_text())
        assert content["quick"] is False
        for statement in content["statements"]:
            assert statement["measured"] in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (REPOSITORY / "docs" / link).exists(), link


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.experiments", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_study_that_trains_nothing_needs_no_data(tmp_path):
    result = command("slow-neuron", "--out", str(tmp_path / "new" / "folder"))
    assert result.returncode == 0, result.stderr
    assert (
        result.stdout == f"slow-neuron: The claim holds. {tmp_path / 'new' / 'folder' / 'slow-neuron.md'}\n"
    )
    assert result.stderr == "slow-neuron:\n"


def test_an_unknown_study_is_one_line():
    result = command("quick-neuron")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "slow-neuron" in result.stderr


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = command("slow-neuron", "--out", str(Path(tmp_path) / "file" / "out"))
    assert result.returncode == 1
    assert "cannot be made" in result.stderr.splitlines()[-1]
