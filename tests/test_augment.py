import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app import runtime
from app.augment import augment, blur, change_strokes, erase, main, sample_bilinear, shift, warp
from app.config import TrainConfig

REPOSITORY = Path(__file__).resolve().parent.parent
EVERYTHING = TrainConfig(
    shift=2, rotation=15, scale=0.1, shear=0.1, elastic=34, stroke=0.5, blur=0.5, erase=0.5
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(count: int) -> np.ndarray:
    return generator(7).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def bars(count: int) -> np.ndarray:
    """Pictures of an upright bar, 4 pixels wide and 16 high, in the middle."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 6:22, 12:16] = 255
    return images


def moments(images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Total ink, its centre, and the covariance of its places, per image."""
    weights = images.astype(float) / images.sum(axis=(1, 2), keepdims=True)
    rows, columns = np.mgrid[:28, :28]
    down, right = ((weights * place).sum(axis=(1, 2)) for place in (rows, columns))
    spread = [
        (weights * (one - one_mean[:, None, None]) * (other - other_mean[:, None, None])).sum(axis=(1, 2))
        for one, one_mean, other, other_mean in (
            (rows, down, rows, down),
            (rows, down, columns, right),
            (columns, right, columns, right),
        )
    ]
    return images.sum(axis=(1, 2), dtype=float), down, right, *spread


def test_every_image_is_moved_as_a_whole_and_black_moves_in():
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 10:12, 14] = [7, 9]
    moved = shift(images, 2, generator())
    seen = set()
    for image in moved:
        rows, columns = np.nonzero(image)
        assert list(image[rows, columns]) == [7, 9]
        seen.add((rows[0] - 10, columns[0] - 14))
    assert seen == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


def test_ink_that_leaves_the_frame_does_not_come_back_on_the_other_side():
    images = np.zeros((100, 28, 28), np.uint8)
    images[:, 0, :] = 255
    assert shift(images, 3, generator(1))[:, -4:].max() == 0
    # Moved by at most three pixels and stretched by at most half, no ink can be far below.
    assert warp(images, TrainConfig(shift=3, scale=0.5), generator(1))[:, 20:].max() == 0


@pytest.mark.parametrize(
    "choices",
    [
        {name: getattr(EVERYTHING, name)}
        for name in ("shift", "rotation", "scale", "shear", "elastic", "stroke", "blur", "erase")
    ],
)
def test_each_choice_distorts_by_the_generator_alone(choices):
    images, config = noise(40), TrainConfig(**choices)
    original = images.copy()
    first, again, other = (augment(images, config, generator(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(images, original)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    assert first.shape == images.shape
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, images)


def test_without_any_choice_the_images_stay_as_they_are():
    np.testing.assert_array_equal(augment(noise(3), TrainConfig(), generator()), noise(3))


@pytest.mark.parametrize("count", [0, 1, 33])
def test_everything_at_once_works_on_any_number_of_images(count):
    assert augment(noise(count), EVERYTHING, generator()).shape == (count, 28, 28)


def test_distortions_of_an_image_do_not_depend_on_those_of_the_others():
    images = noise(70)
    others = images.copy()
    others[:50] = 0
    np.testing.assert_array_equal(
        augment(images, EVERYTHING, generator())[50:], augment(others, EVERYTHING, generator())[50:]
    )


def test_bilinear_sampling_gives_the_worked_example_of_simard():
    corners = np.array([[[3, 7], [5, 9]]], np.uint8)
    value = sample_bilinear(corners, np.full((1, 1), 0.5, np.float32), np.full((1, 1), 0.75, np.float32))
    assert value.tolist() == [[7.0]]


def test_bilinear_sampling_is_exact_on_pixels_and_black_outside():
    images = noise(2)
    rows, columns = (np.broadcast_to(place, (2, 28, 28)).astype(np.float32) for place in np.mgrid[:28, :28])
    np.testing.assert_array_equal(sample_bilinear(images, rows, columns), images)
    for distance in (28, 29, 1000):
        assert sample_bilinear(images, rows + distance, columns).max() == 0
        assert sample_bilinear(images, rows, columns - distance).max() == 0
    half = sample_bilinear(images, rows[:, :1], columns[:, :1] - np.float32(0.5))
    np.testing.assert_allclose(half[:, 0, 0], images[:, 0, 0] / 2)


def test_rotation_turns_about_the_centre_by_up_to_its_degrees_both_ways():
    ink, down, right, tall, slant, wide = moments(warp(bars(300), TrainConfig(rotation=30), generator()))
    np.testing.assert_allclose(ink, bars(1).sum(), rtol=0.03)
    np.testing.assert_allclose([down, right], 13.5, atol=0.05)
    angles = np.degrees(0.5 * np.arctan2(2 * slant, tall - wide))
    assert -31 < angles.min() < -28
    assert 28 < angles.max() < 31


def test_scale_stretches_each_axis_by_itself():
    _, down, right, tall, slant, wide = moments(warp(bars(300), TrainConfig(scale=0.3), generator()))
    np.testing.assert_allclose([down, right], 13.5, atol=0.05)
    np.testing.assert_allclose(slant, 0, atol=0.05)
    # Of a bar of n pixels the variance is (n^2 - 1) / 12.
    stretched = np.sqrt(tall / ((16**2 - 1) / 12))
    assert 0.69 < stretched.min() < 0.72
    assert 1.28 < stretched.max() < 1.31
    assert abs(np.corrcoef(stretched, wide)[0, 1]) < 0.2


def test_shear_moves_rows_to_the_side_and_not_up_or_down():
    _, down, _, tall, slant, _ = moments(warp(bars(300), TrainConfig(shear=0.4), generator()))
    np.testing.assert_allclose(down, 13.5, atol=0.05)
    np.testing.assert_allclose(tall, (16**2 - 1) / 12, atol=0.2)
    slopes = slant / tall
    assert -0.41 < slopes.min() < -0.38
    assert 0.38 < slopes.max() < 0.41


def test_shift_by_resampling_is_that_by_whole_pixels():
    ink, down, right, *_ = moments(warp(bars(300), TrainConfig(shift=2, rotation=1e-6), generator()))
    assert set(ink) == {bars(1).sum()}
    for centre in (down, right):
        assert set(np.round(centre - 13.5, 6)) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize(("strength", "sigma"), [(34.0, 4.0), (60.0, 6.0), (8.0, 2.0)])
def test_elastic_displacements_have_the_spread_and_the_reach_of_smoothed_noise(strength, sigma):
    # In a picture whose brightness is its row, the brightness tells where each pixel came from.
    ramp = np.repeat(np.arange(28, dtype=np.uint8)[:, np.newaxis] * 8, 28, axis=1)
    images = np.broadcast_to(ramp, (2000, 28, 28))
    warped = warp(images, TrainConfig(elastic=strength, elastic_sigma=sigma), generator())
    displacement = (warped / 8 - np.arange(28)[:, np.newaxis])[:, 8:20, 8:20]
    # As it is smoothed directly: white noise, uniform in -1..1, weighed by a Gaussian of sum one.
    offsets = np.arange(-50, 51)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    expected = strength * np.sqrt(1 / 3) * (kernel**2).sum()
    assert displacement.std() == pytest.approx(expected, rel=0.03)
    correlation = np.corrcoef(displacement[:, 6, 2], displacement[:, 6, 6])[0, 1]
    assert correlation == pytest.approx(np.exp(-((4 / (2 * sigma)) ** 2)), abs=0.07)


def test_strokes_get_thicker_or_thinner_but_stay_where_they_are():
    images = bars(300)
    changed = change_strokes(images, 1.0, generator())
    ink, down, right, *_ = moments(changed)
    np.testing.assert_allclose([down, right], 13.5, atol=1e-6)
    share = ink / bars(1).sum()
    # From 2 x 14 to 4 x 18 and twice 1 x 16 pixels, of 4 x 16.
    assert 28 / 64 <= share.min() < 0.46
    assert 1.6 < share.max() <= (64 + 2 * 16 + 2 * 4) / 64
    assert 0.3 < (share > 1).mean() < 0.7
    np.testing.assert_array_equal(changed.max(axis=(1, 2)), 255)


@pytest.mark.parametrize("times", [1.0, 2.5])
def test_blur_spreads_ink_and_keeps_its_amount(times):
    ink, down, _, tall, _, wide = moments(blur(bars(200), times, generator()))
    np.testing.assert_allclose(ink, bars(1).sum(), rtol=0.03)
    np.testing.assert_allclose(down, 13.5, atol=0.05)
    for spread, pixels in ((tall, 16), (wide, 4)):
        # The variance of each step: half of it, to both sides, in one of two directions.
        added = spread - (pixels**2 - 1) / 12
        assert -0.02 < added.min() < 0.02
        assert 0.85 * times / 4 < added.max() < 1.08 * times / 4


def test_erasing_paints_a_rectangle_black_in_the_share_of_images_asked_for():
    erased = erase(np.full((2000, 28, 28), 200, np.uint8), 0.25, generator())
    holes = (erased == 0).sum(axis=(1, 2))
    assert set(np.unique(erased)) == {0, 200}
    assert (holes > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert holes[holes > 0].mean() / 28**2 == pytest.approx(0.085, abs=0.01)
    for image in erased[holes > 0]:
        rows, columns = np.nonzero(image == 0)
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_the_contact_sheet_is_a_picture_written_whole(tmp_path, digits_directory):
    command = [sys.executable, "-m", "app.augment", tmp_path / "sheet.png", "--data-dir", digits_directory]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_contact_sheet_without_mnist_shows_synthetic_digits_and_no_download(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    monkeypatch.setattr(runtime, "REPOSITORY", tmp_path)
    assert main([str(tmp_path / "sheet.png")]) == 0
    assert "MNIST is not in" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
