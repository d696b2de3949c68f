import re

from app.checkpoint import load_checkpoint
from app.datasets import split
from app.datasets.mnist import load_mnist
from app.evaluation import evaluate, format_accuracy
from app.models import compute_logits
from app.recognizer import Recognizer
from app.report.findings import recorded_config
from app.runtime import REPOSITORY

PRETRAINED = REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams"


def test_it_scores_what_its_card_says(mnist_directory):
    card = PRETRAINED.with_name("MODEL_CARD.md").read_text()
    data = load_mnist([mnist_directory])
    checkpoint = load_checkpoint(PRETRAINED)
    validation = split(data, recorded_config(checkpoint).validation_size).validation
    for part, digits in (("validation", validation), ("test", data.test)):
        scores = evaluate(compute_logits(checkpoint.network, digits.images), digits.labels)
        stated = re.search(rf"{part} accuracy \| (\S+ \(\d+/\d+\))", card)
        assert stated
        assert stated[1] == format_accuracy(scores.correct, scores.count)
    stated = re.search(r"calibration error \| (\S+) on the test images", card)
    assert stated
    assert stated[1] == f"{scores.expected_calibration_error:.2%}"
    assert PRETRAINED.stat().st_size < 4 << 20


def test_its_card_names_the_data_and_the_versions_of_its_json():
    card = PRETRAINED.with_name("MODEL_CARD.md").read_text()
    metadata = load_checkpoint(PRETRAINED).metadata
    assert f"`{metadata['data']['checksum']}`" in card
    environment = metadata["environment"]
    for name in ("python", "paddle", "numpy"):
        assert f"{name} {environment[name]}" in card.lower()


def test_it_reads_every_sample_by_the_label_in_its_name():
    samples = sorted((REPOSITORY / "data" / "samples").iterdir())
    assert len(samples) == 12
    for sample, prediction in zip(samples, Recognizer(PRETRAINED).read(samples)):
        assert prediction.text == sample.name[0], prediction
        assert prediction.warning is None
