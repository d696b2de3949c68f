import numpy as np
import paddle
import pytest

from app.views import VIEWS, see


def draw(function) -> paddle.Tensor:
    """A picture of the ink, 0 to 1, that `function` gives at x and y from the middle."""
    y, x = np.indices((28, 28)) - 13.5
    return paddle.to_tensor(function(x, y).astype(np.float32)[np.newaxis, np.newaxis])


def spot(x, y, width=2.0, height=4.0, slant=0.0, right=0.0, below=0.0):
    """A soft oblong; slanted, its middle moves to the right by `slant` for each pixel down."""
    x, y = x - right, y - below
    return np.exp(-(((x - slant * y) / width) ** 2 + (y / height) ** 2) / 2)


def moments(picture: paddle.Tensor) -> dict[str, float]:
    ink = picture.numpy()[0, 0]
    y, x = np.indices(ink.shape) - 13.5
    ink = ink / ink.sum()
    right, below = (ink * x).sum(), (ink * y).sum()
    height = (ink * y * y).sum() - below**2
    slant = ((ink * x * y).sum() - right * below) / height
    width = (ink * x * x).sum() - right**2 - slant**2 * height
    return {"right": right, "below": below, "slant": slant, "height": height**0.5, "width": width**0.5}


SLANTED = {"width": 1.5, "height": 3.5, "slant": -0.4, "right": 1.5, "below": -2.0}


@pytest.mark.parametrize(
    ("view", "width", "height"),
    [("upright", 1.5, 3.5), ("moments", 5.5 * (1.5 / 3.5) ** 0.5, 5.5), ("narrow", 2.8, 3.5)],
)
def test_a_view_is_centred_upright_and_of_its_size(view, width, height):
    # Bilinear sampling softens the narrow side a little, and the picture's edge cuts off what is large.
    if view == "narrow":
        picture, expected = draw(lambda x, y: spot(x, y, **{**SLANTED, "width": 4.0})), 2.8
    else:
        picture, expected = draw(lambda x, y: spot(x, y, **SLANTED)), width
    found = moments(see(picture, view))
    assert found["right"] == pytest.approx(0, abs=0.1)
    assert found["below"] == pytest.approx(0, abs=0.1)
    assert found["slant"] == pytest.approx(0, abs=0.03)
    assert found["width"] == pytest.approx(expected, rel=0.07)
    assert found["height"] == pytest.approx(height, rel=0.07)


def test_the_plain_view_is_the_picture():
    picture = draw(spot)
    assert see(picture, "plain") is picture


@pytest.mark.parametrize("view", VIEWS[1:])
def test_slant_and_place_make_no_difference(view):
    straight = draw(lambda x, y: spot(x, y, width=3.2))
    slanted = draw(lambda x, y: spot(x, y, width=3.2, slant=0.3, right=-1, below=1))
    np.testing.assert_allclose(see(slanted, view).numpy(), see(straight, view).numpy(), atol=0.03)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_without_ink_stay_so(view, count):
    seen = see(paddle.zeros([count, 1, 28, 28]), view)
    np.testing.assert_array_equal(seen.numpy(), np.zeros((count, 1, 28, 28)))


@pytest.mark.parametrize("view", VIEWS)
def test_a_full_picture_and_a_single_pixel_are_seen_as_numbers(view):
    dot = np.zeros((2, 1, 28, 28), np.float32)
    dot[0, 0, 3, 4] = 1
    dot[1] = 1
    seen = see(paddle.to_tensor(dot), view).numpy()
    assert np.isfinite(seen).all()
    assert seen.max() <= 1 + 1e-6
    assert seen[0].sum() > 0.5


@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_is_seen_alike_alone_and_among_others(view):
    pictures = paddle.to_tensor(np.random.default_rng(0).random((5, 1, 28, 28), np.float32))
    np.testing.assert_allclose(see(pictures, view)[2:3].numpy(), see(pictures[2:3], view).numpy(), atol=1e-4)


def test_other_views_are_refused():
    with pytest.raises(ValueError, match="view must be one of"):
        see(paddle.zeros([1, 1, 28, 28]), "sideways")
