from __future__ import annotations

import gzip
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.datasets import DataSet, Digits
from app.datasets.course_json import read_course_json, write_course_json
from app.errors import DataError


def make_digits(seed: int, count: int) -> Digits:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 28, 28), np.uint8)
    images[generator.random(images.shape) < 0.5] = 0
    return Digits(images, generator.integers(0, 10, count))


def make_content(divisor: int = 255) -> list[Any]:
    return [
        [(digits.images.reshape(-1, 784) / divisor).tolist(), digits.labels.tolist()]
        for digits in (make_digits(1, 4), make_digits(2, 3), make_digits(3, 2))
    ]


def assert_same(one: Digits, other: Digits) -> None:
    np.testing.assert_array_equal(one.images, other.images, strict=True)
    np.testing.assert_array_equal(one.labels, other.labels, strict=True)


def read_text(tmp_path: Path, text: str) -> DataSet:
    path = tmp_path / "digits.json"
    path.write_text(text)
    return read_course_json(path)


def expect_error(tmp_path: Path, text: str, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_text(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'digits.json'}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@settings(max_examples=15, deadline=None)
@given(
    counts=st.tuples(*[st.integers(1, 4)] * 3),
    seed=st.integers(0, 2**32),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_what_was_written_is_read_back(counts: tuple[int, int, int], seed: int, suffix: str) -> None:
    train, validation, test = (make_digits(seed + part, count) for part, count in enumerate(counts))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"digits.json{suffix}"
        write_course_json(path, DataSet("made", "memory", train, test, validation))
        data = read_course_json(path)
    assert data.name == "course JSON"
    assert data.source == str(path)
    assert data.validation is not None
    for one, other in ((data.train, train), (data.validation, validation), (data.test, test)):
        assert_same(one, other)


def test_every_pixel_value_survives(tmp_path: Path) -> None:
    image = np.arange(784, dtype=np.int64).astype(np.uint8).reshape(1, 28, 28)
    digits = Digits(image, np.array([5]))
    path = tmp_path / "digits.json"
    write_course_json(path, DataSet("made", "memory", digits, digits, digits))
    assert_same(read_course_json(path).train, digits)


def test_the_file_is_what_the_tutorial_loads(tmp_path: Path) -> None:
    train, test = make_digits(1, 12), make_digits(2, 3)
    path = tmp_path / "mnist.json.gz"
    write_course_json(path, DataSet("made", "memory", train, test))
    with gzip.open(path) as file:
        parts = json.load(file)
    assert [(len(images), len(labels)) for images, labels in parts] == [(10, 10), (2, 2), (3, 3)]
    assert parts[1][1] == train.labels[10:].tolist()
    values = np.array(parts[1][0])
    assert values.shape == (2, 784)
    np.testing.assert_allclose(values, train.images[10:].reshape(2, 784) / 255, atol=5e-7)


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    data = DataSet("made", "memory", make_digits(1, 6), make_digits(2, 2))
    paths = [tmp_path / "one.json.gz", tmp_path / "two.json.gz"]
    for path in paths:
        write_course_json(path, data)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("divisor", [255, 256])
def test_both_scales_of_pixels_are_told_apart(tmp_path: Path, divisor: int) -> None:
    data = read_text(tmp_path, json.dumps(make_content(divisor)))
    assert_same(data.train, make_digits(1, 4))
    assert_same(data.test, make_digits(3, 2))


def test_values_of_single_precision_are_read(tmp_path: Path) -> None:
    content = make_content()
    for part in content:
        part[0] = np.array(part[0], np.float32).tolist()
    assert_same(read_text(tmp_path, json.dumps(content)).train, make_digits(1, 4))


def test_white_space_and_integer_pixels_are_read(tmp_path: Path) -> None:
    content = make_content()
    content[0][0][0] = [0, 1] * 392
    data = read_text(tmp_path, "\n " + json.dumps(content, indent=2) + "\r\n\t")
    assert data.train.images[0].ravel().tolist() == [0, 255] * 392
    assert_same(data.test, make_digits(3, 2))


def set_pixel(value: Any) -> str:
    content = make_content()
    content[1][0][2][700] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, "'true'"),
        (None, "'null'"),
        ("0.5", "'\"0.5\"'"),
        (float("nan"), "'NaN'"),
        (float("-inf"), "'-Infinity'"),
        ([0.5], "'[0.5'"),
        ({}, "'{}'"),
        (1.001, "1.001"),
        (-0.25, "-0.25"),
        (255, "255"),
    ],
)
def test_a_pixel_that_is_no_number_from_0_to_1_is_named(tmp_path: Path, value: Any, found: str) -> None:
    expect_error(tmp_path, set_pixel(value), "valid, image 2 (counting from 0)", f"found {found}")


@pytest.mark.parametrize("number", ["1e999", "9" * 400])
def test_a_number_beyond_all_bounds_is_refused(tmp_path: Path, number: str) -> None:
    text = set_pixel(0.987654321).replace("0.987654321", number)
    expect_error(tmp_path, text, "valid, image 2", "numbers from 0 to 1")


@pytest.mark.parametrize("number", ["1.2.3", "-", "00", "1 2", ""])
def test_a_malformed_number_is_refused(tmp_path: Path, number: str) -> None:
    text = set_pixel(0.987654321).replace("0.987654321", number)
    expect_error(tmp_path, text, "valid, image 2", "JSON list")


@pytest.mark.parametrize("label", [10, -1, 5.0, 0.5])
def test_a_label_that_is_no_digit_is_named(tmp_path: Path, label: Any) -> None:
    content = make_content()
    content[2][1][1] = label
    expect_error(tmp_path, json.dumps(content), "eval, label 1 (counting from 0)", "integer from 0 to 9")


def test_counts_that_do_not_agree_are_named(tmp_path: Path) -> None:
    content = make_content()
    content[0][1].pop()
    expect_error(tmp_path, json.dumps(content), "train: expected 4 labels", "found 3")
    content = make_content()
    content[0][0][3].pop()
    expect_error(tmp_path, json.dumps(content), "train, image 3", "expected 784 numbers, found 783")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"train": []}, ["before part train", "found '{'"]),
        ([], ["train", "found ']'"]),
        (make_content()[:2], ["before part eval", "found ']'"]),
        ([*make_content(), []], ["after part eval", "found ','"]),
        ([[[], []], *make_content()[1:]], ["train, image 0", "found ']'"]),
        ([[*make_content()[0], 1], *make_content()[1:]], ["train, after the labels", "found ','"]),
        ([[make_content()[0][0]], *make_content()[1:]], ["train, between images and labels", "found ']'"]),
    ],
)
def test_another_structure_is_named(tmp_path: Path, content: Any, words: list[str]) -> None:
    expect_error(tmp_path, json.dumps(content), *words)


def test_text_that_ends_early_or_late_is_refused(tmp_path: Path) -> None:
    text = json.dumps(make_content())
    for end in (0, 1, 100, len(text) // 2, len(text) - 1):
        expect_error(tmp_path, text[:end], "found the end of the file")
    expect_error(tmp_path, text + " []", "the end of the file", "found '['")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    expect_error(tmp_path, "[" * 100_000, "train, image 0")
    expect_error(tmp_path, '[[[[{"a":' + '{"a":' * 100_000 + "]", "train, image 0")


def test_a_list_without_end_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "digits.json.gz"
    path.write_bytes(gzip.compress(b"[[[[" + b"0," * (50 << 20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"image 0.*a longer one"):
            read_course_json(path)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_a_damaged_or_absent_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "digits.json.gz"
    path.write_bytes(gzip.compress(json.dumps(make_content()).encode())[:-30])
    with pytest.raises(DataError, match="whole gzip file"):
        read_course_json(path)
    with pytest.raises(DataError, match="No such file"):
        read_course_json(tmp_path / "absent.json.gz")


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        write_course_json(path, DataSet("made", "memory", make_digits(1, 6), make_digits(2, 2)))
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_five_training_images_are_too_few_to_set_a_sixth_apart(tmp_path: Path) -> None:
    data = DataSet("made", "memory", make_digits(5, 1), make_digits(2, 2))
    with pytest.raises(DataError, match="at least 6 training images"):
        write_course_json(tmp_path / "digits.json", data)
    assert list(tmp_path.iterdir()) == []
