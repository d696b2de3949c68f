import numpy as np

from app.augment import shift


def test_every_image_is_moved_as_a_whole_and_black_moves_in():
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 10:12, 14] = [7, 9]
    moved = shift(images, 2, np.random.default_rng(0))
    seen = set()
    for image in moved:
        rows, columns = np.nonzero(image)
        assert list(image[rows, columns]) == [7, 9]
        seen.add((rows[0] - 10, columns[0] - 14))
    assert seen == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


def test_same_generator_gives_the_same_shifts():
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    first, second = (shift(images, 3, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_ink_that_leaves_the_frame_does_not_come_back_on_the_other_side():
    images = np.zeros((100, 28, 28), np.uint8)
    images[:, 0, :] = 255
    moved = shift(images, 3, np.random.default_rng(1))
    assert moved[:, -4:].max() == 0
