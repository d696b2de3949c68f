import dataclasses

import numpy as np
import paddle
import pytest

from app.config import PRESETS
from app.datasets import DataSet, Digits, split
from app.datasets.dataset import (
    MnistDataset,
    TrainingBatches,
    batches_per_epoch,
    load_batches,
    share_of,
)
from app.errors import UsageError
from app.models import to_model_input

CONFIG = dataclasses.replace(PRESETS["tutorial"], batch_size=32, drop_last_batch=False)

DISTORTIONS = [
    {"shift": 2},
    {
        **{"shift": 1, "rotation": 10.0, "scale": 0.1, "shear": 0.1, "elastic": 34.0},
        **{"stroke": 0.5, "blur": 0.5, "erase": 0.5},
    },
]


def epoch_of(dataset, config, epoch, **worker):
    return [
        (images.numpy(), labels.numpy())
        for images, labels in load_batches(TrainingBatches(dataset, config, epoch, **worker))
    ]


def test_the_last_epochs_are_calm(digits):
    dataset = MnistDataset(digits, "train", 100)
    config = dataclasses.replace(CONFIG, epochs=4, stroke=0.9, blur=0.9)
    calmer = dataclasses.replace(config, stroke=0.3, blur=0.3)
    for epoch in range(4):
        expected = epoch_of(dataset, calmer if epoch >= 2 else config, epoch)
        for mine, theirs in zip(
            epoch_of(dataset, dataclasses.replace(config, calm_epochs=2), epoch), expected
        ):
            np.testing.assert_array_equal(mine[0], theirs[0])


def test_modes_give_the_parts_of_the_split(digits):
    train, valid, test = (MnistDataset(digits, mode, 100) for mode in ("train", "valid", "eval"))
    assert (len(train), len(valid), len(test)) == (500, 100, 200)
    np.testing.assert_array_equal(valid.digits.images, digits.train.images[500:])
    np.testing.assert_array_equal(test.digits.labels, digits.test.labels)


def test_another_mode_is_an_error(digits):
    with pytest.raises(ValueError, match="Train"):
        MnistDataset(digits, "Train")


def test_unequal_counts_are_an_error(digits):
    broken = dataclasses.replace(digits, test=Digits(digits.test.images, digits.test.labels[:-1]))
    with pytest.raises(ValueError, match="200 images but 199 labels"):
        MnistDataset(broken, "eval")


def test_items_are_what_the_tutorial_says(digits):
    dataset = MnistDataset(digits, "eval")
    image, label = dataset[7]
    assert image.shape == (1, 28, 28)
    assert image.dtype == np.float32
    assert label.shape == (1,)
    assert label.dtype == np.int64
    assert label[0] == digits.test.labels[7]
    np.testing.assert_array_equal(image, digits.test.images[7:8] / np.float32(255))


def test_paddles_own_loader_reads_the_dataset(digits):
    loader = paddle.io.DataLoader(MnistDataset(digits, "valid"), batch_size=30)
    images, labels = next(iter(loader))
    assert images.shape == [30, 1, 28, 28]
    assert labels.shape == [30, 1]


def test_validation_is_the_end_of_training_a_sixth_by_default(digits):
    train, validation, _ = split(digits)
    assert len(train.images) == 500
    np.testing.assert_array_equal(validation.labels, digits.train.labels[500:])


def test_validation_may_be_empty_but_training_may_not(digits):
    assert len(split(digits, 0).validation.images) == 0
    with pytest.raises(UsageError, match="600 leaves nothing"):
        split(digits, 600)


def test_a_data_set_with_its_own_validation_part_keeps_it(digits):
    own = DataSet("own", "memory", digits.train, digits.test, validation=digits.test)
    train, validation, _ = split(own)
    assert len(train.images) == 600
    np.testing.assert_array_equal(validation.images, digits.test.images)
    assert len(split(own, 50).train.images) == 750


def test_an_epoch_holds_every_image_once_in_its_own_order(digits):
    dataset = MnistDataset(digits)
    first, second, again = (epoch_of(dataset, CONFIG, epoch) for epoch in (0, 1, 0))
    assert [len(images) for images, _ in first] == [32] * 15 + [20]

    def sorted_rows(batches):
        rows = np.concatenate([images for images, _ in batches]).reshape(500, -1)
        return rows[np.lexsort(rows.T)]

    np.testing.assert_array_equal(sorted_rows(first), sorted_rows(second))
    assert not np.array_equal(first[0][0], second[0][0])
    for (images, labels), (same_images, same_labels) in zip(first, again):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_images_keep_their_labels(digits):
    for images, labels in epoch_of(MnistDataset(digits), CONFIG, 0):
        # The bar of label k is in row 2 k + 4.
        rows = images[:, 0, :, 5:23].mean(axis=2).argmax(axis=1)
        np.testing.assert_array_equal((rows - 4) // 2, labels[:, 0])


def test_each_batch_has_distortions_of_its_own():
    image = np.zeros((28, 28), np.uint8)
    image[10:18, 10:18] = 255
    same = Digits(np.repeat(image[np.newaxis], 64, axis=0), np.zeros(64, np.int64))
    dataset = MnistDataset(DataSet("one", "memory", same, same), "train", 0)
    first, second = epoch_of(dataset, dataclasses.replace(CONFIG, shift=2), 0)
    assert not np.array_equal(first[0], second[0])


@pytest.mark.parametrize("distortions", DISTORTIONS)
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_each_batch_without_changing_it(digits, processes, distortions):
    dataset, config = MnistDataset(digits), dataclasses.replace(CONFIG, **distortions)
    alone = epoch_of(dataset, config, 3)
    together = [epoch_of(dataset, config, 3, rank=rank, processes=processes) for rank in range(processes)]
    for batch, (images, labels) in enumerate(alone):
        np.testing.assert_array_equal(np.concatenate([part[batch][0] for part in together]), images)
        np.testing.assert_array_equal(np.concatenate([part[batch][1] for part in together]), labels)


@pytest.mark.parametrize("distortions", DISTORTIONS)
def test_a_resume_inside_an_epoch_gives_the_rest_of_it(digits, distortions):
    dataset, config = MnistDataset(digits), dataclasses.replace(CONFIG, **distortions)
    whole, rest = epoch_of(dataset, config, 1), epoch_of(dataset, config, 1, first_batch=10)
    assert len(rest) == 6
    for (images, _), (same, _) in zip(whole[10:], rest):
        np.testing.assert_array_equal(images, same)


def test_short_batches_can_be_dropped_and_epochs_limited():
    assert batches_per_epoch(500, CONFIG) == 16
    assert batches_per_epoch(500, dataclasses.replace(CONFIG, drop_last_batch=True)) == 15
    assert batches_per_epoch(500, dataclasses.replace(CONFIG, limit_train_batches=4)) == 4


@pytest.mark.parametrize("count", [0, 1, 2, 5, 128])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shares_are_every_item_once(count, workers):
    items = list(range(count))
    assert [item for rank in range(workers) for item in items[share_of(count, rank, workers)]] == items


def test_batches_are_scaled_in_the_one_place(digits):
    dataset = MnistDataset(digits)
    indices = np.array([3, 1, 4])
    images, labels = dataset.batch(indices)
    np.testing.assert_array_equal(images, to_model_input(dataset.digits.images[indices]))
    assert labels.shape == (3, 1)
