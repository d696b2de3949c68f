import copy

import numpy as np
import paddle
import pytest
from paddle import nn

from app.checkpoint import get_state
from app.fast_layers import PooledConv2D, StridedConv2D, accelerate
from app.models import TwoConvNet

SIZES = [  # in and out channels, kernel side, width, height, pictures
    (1, 20, 5, 28, 28, 7),
    (20, 20, 5, 14, 14, 5),
    (1, 16, 5, 28, 28, 3),
    (16, 32, 5, 14, 14, 4),
    (3, 4, 3, 8, 6, 2),
    (2, 3, 1, 4, 4, 1),
    (2, 3, 7, 10, 12, 2),
    (2, 2, 9, 4, 4, 2),
    (5, 3, 11, 12, 12, 2),
]


def assert_close(actual: paddle.Tensor, expected: paddle.Tensor) -> None:
    expected_values = expected.numpy()
    np.testing.assert_allclose(
        actual.numpy(), expected_values, rtol=0, atol=1e-5 * np.abs(expected_values).max()
    )


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bias", [False, None])
@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_outputs_and_all_gradients_are_those_of_paddles_layers(pooled, size, bias, blank, padded):
    channels, outputs, side, width, height, count = size
    lost = 0 if padded else side - 1
    # A picture that is smaller than the kernel cannot do without padding.
    width, height = (max(each, lost + 2) for each in (width, height))
    paddle.seed(1)
    padding = side // 2 if padded else 0
    plain = nn.Conv2D(channels, outputs, side, stride=1 if pooled else 2, padding=padding, bias_attr=bias)
    pool = nn.MaxPool2D(2) if pooled else nn.Identity()
    fast = (PooledConv2D if pooled else StridedConv2D)(copy.deepcopy(plain), padded)
    images = paddle.randn([count, channels, height, width])
    if blank:
        # On paper without ink the four pixels under a maximum are equal: one of them takes the gradient.
        images[:, :, : height // 2] = 0
    gradient = paddle.randn([count, outputs, (height - lost) // 2, (width - lost) // 2])
    inputs = [images.detach() for _ in range(2)]
    for each in inputs:
        each.stop_gradient = False
    expected, actual = pool(plain(inputs[0])), fast(inputs[1])
    expected.backward(gradient)
    actual.backward(gradient)
    assert_close(actual, expected)
    assert_close(inputs[1].grad, inputs[0].grad)
    for mine, theirs in zip(fast.parameters(), plain.parameters()):
        assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("downsampling", ["max-pool", "stride"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_an_accelerated_network_is_the_same_function_with_the_same_parameters(
    downsampling, batch_norm, padding
):
    paddle.seed(2)
    network = TwoConvNet((4, 6), 5, downsampling, batch_norm, hidden=8, padding=padding)
    images = paddle.rand([9, 1, 28, 28])
    parameters, expected = network.state_dict(), network(images)
    before = get_state(network)
    accelerate(network)
    assert list(network.state_dict()) == list(parameters)
    assert all(network.state_dict()[name] is parameters[name] for name in parameters if "weight" in name)
    for name, tensor in network.state_dict().items():
        if "_mean" in name or "_variance" in name:
            tensor.set_value(before[name])
    assert_close(network(images), expected)


def test_the_presets_networks_get_fast_layers():
    tutorial, strided = TwoConvNet(), TwoConvNet((4, 4), downsampling="stride", batch_norm=True)
    accelerate(tutorial)
    accelerate(strided)
    assert isinstance(tutorial.conv2, PooledConv2D)
    assert isinstance(strided.conv2, StridedConv2D)


def test_odd_sides_are_refused():
    with pytest.raises(ValueError, match="must be even"):
        StridedConv2D(nn.Conv2D(1, 2, 3, stride=2, padding=1), is_padded=True)(paddle.zeros([1, 1, 7, 8]))
