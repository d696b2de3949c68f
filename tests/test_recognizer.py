from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.checkpoint import get_state, load_checkpoint, save_checkpoint
from app.doubt import LEAST_SCORE, LIKELY_PROBABILITY
from app.errors import CheckpointError, FileError, PictureError
from app.evaluation import softmax
from app.models import TwoConvNet, compute_logits, to_model_input
from app.pictures import Box, read_page
from app.recognizer import (
    BATCH_PICTURES,
    Candidate,
    DigitReading,
    ImageFolder,
    Prediction,
    Reading,
    Recognizer,
    _doubt,
    doubts_of_place,
    find_checkpoint,
    is_speck,
    lies_along_side,
    reaches_across,
)
from app.runtime import REPOSITORY


def reading_of(digit: int, box: Box) -> DigitReading:
    """Return a digit that is read without a doubt, with its box."""
    return DigitReading(digit, 1.0, (Candidate(digit, 1.0),), box, LEAST_SCORE)


def mnist_like(seed: int) -> NDArray[np.uint8]:
    """Return a picture with the size, the place and the brightness of an MNIST digit."""
    image = np.zeros((28, 28), np.uint8)
    image[5:24, 9:20] = np.random.default_rng(seed).integers(120, 140, (19, 11))
    image[5, 9] = image[23, 19] = 255
    return image


def save_picture(path: Path, image: NDArray[np.uint8]) -> Path:
    Image.fromarray(image).save(path)
    return path


def predictions(recognizer: Recognizer, paths: list[Path], top_k: int = 1) -> list[Prediction]:
    found = list(recognizer.read(paths, top_k))
    assert all(isinstance(prediction, Prediction) for prediction in found)
    return [prediction for prediction in found if isinstance(prediction, Prediction)]


def save_run(
    run: Path, created: str, finished: bool = True, best: bool = True, accuracy: float = 0.99, **config: Any
) -> None:
    run.mkdir(parents=True)
    names = ["last", "best"] if best else ["last"]
    for name in names:
        (run / f"{name}.pdparams").touch()
        content = {
            "created": created,
            "finished": finished and name == "last",
            "metrics": {"validation_accuracy": accuracy},
            "config": config,
        }
        (run / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def recognizer(tutorial_checkpoint: Path) -> Recognizer:
    return Recognizer(tutorial_checkpoint)


@pytest.mark.parametrize("inverted", [False, True])
def test_prediction_sees_the_tensor_that_training_sees(tmp_path: Path, inverted: bool) -> None:
    image = mnist_like(1)
    path = save_picture(tmp_path / "digit.png", 255 - image if inverted else image)
    (guess,) = read_page(path).guesses
    seen = to_model_input(np.stack([candidate.digit.image for candidate in guess.candidates]))
    assert np.array_equal(seen, to_model_input(image[np.newaxis]))


def test_probabilities_are_the_softmax_of_the_network_s_logits(
    tmp_path: Path, recognizer: Recognizer, tutorial_checkpoint: Path
) -> None:
    image = mnist_like(2)
    path = save_picture(tmp_path / "digit.png", image)
    (prediction,) = predictions(recognizer, [path], top_k=10)
    (reading,) = prediction.digits
    expected = softmax(compute_logits(load_checkpoint(tutorial_checkpoint).network, image[np.newaxis]))[0]
    found = {candidate.digit: candidate.probability for candidate in reading.top_k}
    assert np.allclose([found[digit] for digit in range(10)], expected, atol=1e-7)
    assert sum(found.values()) == pytest.approx(1)
    assert [candidate.probability for candidate in reading.top_k] == sorted(found.values(), reverse=True)
    assert (reading.digit, reading.probability) == (reading.top_k[0].digit, reading.top_k[0].probability)
    assert prediction.text == str(reading.digit)
    assert reading.box == (9, 5, 20, 24)


def test_many_pictures_are_read_in_order_over_several_batches(
    tmp_path: Path, recognizer: Recognizer, tutorial_checkpoint: Path
) -> None:
    images = np.stack([mnist_like(seed) for seed in range(BATCH_PICTURES + 20)])
    paths = [save_picture(tmp_path / f"{number:04}.png", image) for number, image in enumerate(images)]
    broken, blank = 7, BATCH_PICTURES + 3
    paths[broken].write_bytes(b"broken")
    save_picture(paths[blank], np.zeros((28, 28), np.uint8))
    expected = softmax(compute_logits(load_checkpoint(tutorial_checkpoint).network, images)).max(axis=1)
    outcomes = list(recognizer.read(paths))
    assert len(outcomes) == len(paths)
    for number, (path, outcome) in enumerate(zip(paths, outcomes)):
        if number == broken:
            assert isinstance(outcome, PictureError)
            assert str(path) in str(outcome)
        else:
            assert isinstance(outcome, Prediction)
            assert outcome.path == str(path)
            found = [reading.probability for reading in outcome.digits]
            assert found == ([] if number == blank else [pytest.approx(expected[number], abs=1e-6)])


def test_the_json_has_the_promised_keys(tmp_path: Path, recognizer: Recognizer) -> None:
    path = save_picture(tmp_path / "digit.png", mnist_like(3))
    (prediction,) = predictions(recognizer, [path], top_k=3)
    content = json.loads(json.dumps(prediction.to_json()))
    assert list(content) == ["path", "text", "digits", "score", "warning"]
    (digit,) = content["digits"]
    assert list(digit) == ["digit", "probability", "top_k", "box", "score"]
    assert [list(candidate) for candidate in digit["top_k"]] == [["digit", "probability"]] * 3
    assert digit["box"] == [9, 5, 20, 24]


def test_an_empty_picture_is_said_to_be_empty(tmp_path: Path, recognizer: Recognizer) -> None:
    path = save_picture(tmp_path / "blank.png", np.full((50, 50), 255, np.uint8))
    (prediction,) = predictions(recognizer, [path])
    assert prediction.to_json() == {
        "path": str(path),
        "text": "",
        "digits": (),
        "score": 0.0,
        "warning": "the picture holds no ink",
    }


@pytest.mark.parametrize(
    ("second", "score", "warning"),
    [
        (LIKELY_PROBABILITY - 0.05, LEAST_SCORE, None),
        (LIKELY_PROBABILITY + 0.05, LEAST_SCORE, "the 4 may be a 9 (15.0%)"),
        (LIKELY_PROBABILITY + 0.05, LEAST_SCORE - 0.1, "the 4 may be a 9 (15.0%)"),
        (LIKELY_PROBABILITY - 0.01, LEAST_SCORE - 0.1, "the 4 hardly looks like a digit"),
    ],
)
def test_a_low_score_is_a_doubt_and_says_which(second: float, score: float, warning: Optional[str]) -> None:
    assert _doubt([[Candidate(4, 1 - second), Candidate(9, second)]], [score], LEAST_SCORE) == warning


def test_of_many_doubts_the_first_are_spelt_out() -> None:
    place = [Candidate(4, 0.99), Candidate(9, 0.01)]
    warning = _doubt([place] * 30, [LEAST_SCORE] + [0.0] * 29, LEAST_SCORE)
    assert warning == ", ".join(["the 4 hardly looks like a digit"] * 4) + ", and 25 more of 30 are in doubt"


def test_ink_that_is_left_out_is_said() -> None:
    warning = _doubt([[Candidate(4, 0.99), Candidate(9, 0.01)]], [LEAST_SCORE], LEAST_SCORE, remark="rest")
    assert warning == "rest"


@pytest.mark.parametrize(
    ("box", "size", "is_so"),
    [
        ((100, 0, 140, 300), (400, 300), True),
        ((0, 100, 400, 130), (400, 300), True),
        ((100, 4, 140, 295), (400, 300), True),
        ((100, 0, 140, 280), (400, 300), False),
        ((0, 0, 390, 280), (400, 300), False),
        ((20, 0, 30, 64), (60, 64), False),
    ],
)
def test_what_ends_at_opposite_sides_reaches_across(box: Box, size: tuple[int, int], is_so: bool) -> None:
    assert reaches_across(box, size) is is_so


@pytest.mark.parametrize(
    ("box", "size", "is_so"),
    [
        ((0, 100, 16, 190), (400, 300), True),
        ((384, 100, 396, 190), (400, 300), True),
        ((0, 100, 40, 190), (400, 300), False),
        ((20, 100, 36, 190), (400, 300), False),
        ((0, 100, 16, 190), (300, 200), False),
    ],
)
def test_slender_ink_beside_a_side_lies_along_it(box: Box, size: tuple[int, int], is_so: bool) -> None:
    assert lies_along_side(box, size) is is_so


@pytest.mark.parametrize(
    ("box", "size", "is_so"),
    [
        ((100, 100, 110, 119), (400, 300), True),
        ((100, 100, 110, 120), (400, 300), False),
        ((100, 100, 110, 119), (300, 300), False),
        ((100, 100, 139, 120), (3000, 4000), True),
        ((100, 100, 140, 120), (3000, 4000), False),
    ],
)
def test_ink_of_a_few_pixels_is_a_speck(box: Box, size: tuple[int, int], is_so: bool) -> None:
    assert is_speck(box, size) is is_so


@pytest.mark.parametrize(("digit", "is_doubted"), [(1, True), (7, False)])
@pytest.mark.parametrize(
    ("box", "doubt"),
    [
        ((340, 0, 356, 300), "goes from side to side of the picture and may be an edge or a shadow"),
        ((0, 100, 16, 190), "lies along a side of the picture and may be an edge or a shadow"),
    ],
)
def test_a_one_may_be_an_edge(digit: int, is_doubted: bool, box: Box, doubt: str) -> None:
    places = [reading_of(4, (100, 100, 150, 200)), reading_of(digit, box)]
    assert doubts_of_place(places, (400, 300)) == [None, doubt if is_doubted else None]


def test_a_tiny_digit_may_be_a_speck_if_it_is_the_only_one() -> None:
    tiny = reading_of(7, (50, 50, 60, 65))
    assert doubts_of_place([tiny], (400, 300)) == ["is tiny and may be a speck"]
    assert doubts_of_place([tiny, tiny], (400, 300)) == [None, None]


def test_a_doubtful_place_is_said_unless_the_digit_is_doubtful_itself() -> None:
    places = [[Candidate(1, 0.99), Candidate(7, 0.01)]] * 2
    warning = _doubt(places, [LEAST_SCORE, 0.0], LEAST_SCORE, of_place=["is there", "is here"])
    assert warning == "the 1 is there, the 1 hardly looks like a digit"


def test_the_edge_of_a_desk_is_warned_of(tmp_path: Path) -> None:
    picture = np.full((300, 400), 225, np.uint8)
    picture[:, 340:356] = 40
    Image.fromarray(picture).save(tmp_path / "desk.png")
    pretrained = REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams"
    (read,) = Recognizer(pretrained).read([tmp_path / "desk.png"])
    assert isinstance(read, Prediction)
    assert read.warning == "the 1 goes from side to side of the picture and may be an edge or a shadow"


@pytest.mark.parametrize(
    ("least_score", "is_doubted"),
    [(-1e6, False), (1e6, True), (None, False), ("high", False), (math.nan, False)],
)
def test_the_score_that_passes_is_the_checkpoints_own(
    tmp_path: Path, least_score: Any, is_doubted: bool
) -> None:
    pretrained = REPOSITORY / "checkpoints" / "pretrained"
    (tmp_path / "net.pdparams").write_bytes((pretrained / "best.pdparams").read_bytes())
    description = json.loads((pretrained / "best.json").read_text())
    description["metrics"]["least_score"] = least_score
    (tmp_path / "net.json").write_text(json.dumps(description))
    sample = REPOSITORY / "data" / "samples" / "0_black_pen.png"
    (prediction,) = predictions(Recognizer(tmp_path / "net.pdparams"), [sample])
    assert prediction.text == "0"
    assert prediction.warning == ("the 0 hardly looks like a digit" if is_doubted else None)


def test_a_program_that_uses_the_recognizer_sees_no_warning() -> None:
    code = """
from pathlib import Path
from app.recognizer import Recognizer
recognizer = Recognizer(Path("checkpoints/pretrained/best.pdparams"))
(prediction,) = recognizer.read([Path("data/samples/0_black_pen.png")])
print(prediction.text)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr, result.returncode) == ("0\n", "", 0)


def test_pictures_of_one_name_keep_their_own_images(tmp_path: Path, recognizer: Recognizer) -> None:
    paths = []
    for number, name in enumerate(["a/b.png", "a_b.png", "c/B.jpg.png", "c/b.png", "b~2.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        paths.append(save_picture(tmp_path / name, mnist_like(number)))
    folder = ImageFolder(tmp_path / "seen" / "here")
    for reading in recognizer.look(paths):
        assert isinstance(reading, Reading)
        folder.save(reading)
    written = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "seen" / "here").iterdir()}
    names = ["b-1.png", "a_b-1.png", "B.jpg-1.png", "b~2-1.png", "b~2~2-1.png"]
    assert sorted(written) == sorted(names)
    for number, name in enumerate(names):
        assert (written[name] == mnist_like(number)).all()


def test_images_take_the_place_of_nothing_but_such_images(tmp_path: Path, recognizer: Recognizer) -> None:
    path = save_picture(tmp_path / "b.png", mnist_like(0))
    (reading,) = recognizer.look([path])
    assert isinstance(reading, Reading)
    for _ in range(2):
        ImageFolder(tmp_path / "seen").save(reading)
    (tmp_path / "seen" / "b-1.png").write_bytes(b"a person's own")
    with pytest.raises(FileError, match="exists already"):
        ImageFolder(tmp_path / "seen").save(reading)
    assert (tmp_path / "seen" / "b-1.png").read_bytes() == b"a person's own"


def test_no_pictures_give_no_predictions(recognizer: Recognizer) -> None:
    assert list(recognizer.read([])) == []


@pytest.mark.parametrize(
    ("metrics", "suffix"),
    [({"validation_accuracy": 0.9931}, " (validation accuracy 99.31%)"), (None, "")],
)
def test_a_run_folder_means_its_best_checkpoint(tmp_path: Path, metrics: Any, suffix: str) -> None:
    network = TwoConvNet()
    for name in ("last", "best"):
        metadata = {"metrics": metrics, "network": network.architecture}
        save_checkpoint(tmp_path / f"{name}.pdparams", get_state(network), metadata)
    assert Recognizer(tmp_path).describe() == f"{tmp_path / 'best.pdparams'}{suffix}"


def test_a_missing_or_broken_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        Recognizer(tmp_path / "missing.pdparams")
    (tmp_path / "text.pdparams").write_text("no parameters")
    with pytest.raises(CheckpointError, match="text"):
        Recognizer(tmp_path / "text.pdparams")


def test_the_newest_finished_run_is_found(tmp_path: Path) -> None:
    save_run(tmp_path / "b", "2026-01-02T00:00:00.000000+00:00")
    save_run(tmp_path / "a", "2026-01-03T00:00:00.000000+00:00")
    save_run(tmp_path / "c", "2026-01-04T00:00:00.000000+00:00", finished=False)
    save_run(tmp_path / "d", "2026-01-01T00:00:00.000000+00:00")
    assert find_checkpoint(tmp_path) == tmp_path / "a" / "best.pdparams"


def test_a_run_without_a_best_checkpoint_gives_its_last(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "2026-01-02T00:00:00.000000+00:00", best=False)
    assert find_checkpoint(tmp_path) == tmp_path / "run" / "last.pdparams"


def test_a_trial_is_passed_over(tmp_path: Path) -> None:
    save_run(tmp_path / "good", "2026-01-02T00:00:00.000000+00:00", limit_train_batches=None)
    save_run(tmp_path / "short", "2026-01-03T00:00:00.000000+00:00", limit_train_batches=20)
    save_run(tmp_path / "poor", "2026-01-04T00:00:00.000000+00:00", accuracy=0.1)
    assert find_checkpoint(tmp_path) == tmp_path / "good" / "best.pdparams"


@pytest.mark.parametrize(
    "content",
    [*("", "[]", "{}", "[" * 100_000), '{"finished": true, "created": 5}', '{"finished": true, "config": 5}'],
)
def test_a_run_whose_json_cannot_be_used_is_passed_over(tmp_path: Path, content: str) -> None:
    save_run(tmp_path / "good", "2026-01-02T00:00:00.000000+00:00")
    save_run(tmp_path / "odd", "2026-01-03T00:00:00.000000+00:00")
    (tmp_path / "odd" / "last.json").write_text(content)
    assert find_checkpoint(tmp_path) == tmp_path / "good" / "best.pdparams"


def test_a_run_whose_json_is_a_pipe_is_passed_over(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    save_run(tmp_path / "good", "2026-01-02T00:00:00.000000+00:00")
    (tmp_path / "odd").mkdir()
    make_pipe(tmp_path / "odd" / "last.json")
    assert find_checkpoint(tmp_path) == tmp_path / "good" / "best.pdparams"


def test_without_a_finished_run_the_pretrained_network_is_found(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "2026-01-02T00:00:00.000000+00:00", finished=False)
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "mnist.pdparams").touch()
    assert find_checkpoint(tmp_path) == tmp_path / "pretrained" / "mnist.pdparams"


@pytest.mark.parametrize("folder", ["", "missing"])
def test_without_any_checkpoint_the_error_says_what_to_do(tmp_path: Path, folder: str) -> None:
    with pytest.raises(CheckpointError, match=r"python train\.py.*--checkpoint"):
        find_checkpoint(tmp_path / folder)
