import numpy as np
import paddle
import pytest

from app.dropout import SeededDropout


def masks(p: float, seed: int, first: int, count: int, features: int = 101) -> np.ndarray:
    layer = SeededDropout(p)
    layer.place(seed, first)
    return layer(paddle.ones([count, features])).numpy()


@pytest.mark.parametrize("p", [0.001, 0.3, 0.5, 0.9, 0.99])
def test_the_share_that_is_dropped_and_the_mean_are_as_promised(p):
    mask = masks(p, 1, 0, 2000)
    assert (mask == 0).mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / mask.size))
    np.testing.assert_allclose(mask[mask > 0], 1 / (1 - p), rtol=1e-2 if p == 0.99 else 1e-4)


def test_an_image_draws_the_same_in_whatever_share_of_the_batch_it_is():
    whole = masks(0.5, 3, 0, 10)
    for first, count in ((0, 4), (4, 6), (9, 1), (3, 0)):
        np.testing.assert_array_equal(masks(0.5, 3, first, count), whole[first : first + count])


def test_images_and_batches_draw_on_their_own():
    first, second = masks(0.5, 3, 0, 2, features=1000)
    other = masks(0.5, 4, 0, 1, features=1000)[0]
    for one, two in ((first, second), (first, other)):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.15


def test_gradients_flow_through_what_is_kept_only():
    layer = SeededDropout(0.5)
    layer.place(0, 0)
    x = paddle.full([4, 50], 2.0)
    x.stop_gradient = False
    y = layer(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy() / 2)
    assert set(np.unique(x.grad.numpy())) == {0, 2}


def test_evaluation_drops_nothing():
    layer = SeededDropout(0.5)
    layer.place(0, 0)
    layer.eval()
    np.testing.assert_array_equal(layer(paddle.ones([4, 50])).numpy(), 1)


def test_without_a_place_it_is_paddles_dropout():
    layer, plain = SeededDropout(0.5), paddle.nn.Dropout(0.5)
    results = []
    for each in (layer, plain):
        paddle.seed(1)
        results.append(each(paddle.ones([4, 50])).numpy())
    np.testing.assert_array_equal(*results)
    assert 0 in results[0]
