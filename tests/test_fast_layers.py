import copy
import threading

import numpy as np
import paddle
import pytest
from paddle.nn.functional import cross_entropy

from app import onednn
from app.checkpoint import get_state
from app.fast_layers import FastFeatures, accelerate
from app.models import TwoConvNet

ARCHITECTURES = {
    "tutorial": {},
    "default": {"channels": (16, 32), "downsampling": "stride", "batch_norm": True, "hidden": 16},
    "best": {"channels": (48, 96), "padding": "valid", "batch_norm": True, "hidden": 16},
    "few channels": {"channels": (4, 6), "downsampling": "stride"},
    "few normalised channels": {"channels": (3, 5), "kernel_size": 3, "batch_norm": True},
    "single pixels": {"channels": (16, 16), "kernel_size": 1, "padding": "valid"},
    "large kernels": {"channels": (5, 16), "kernel_size": 9, "padding": "valid", "downsampling": "stride"},
    "larger than the second picture": {"channels": (2, 3), "kernel_size": 27},
}


def assert_close(actual: paddle.Tensor, expected: paddle.Tensor) -> None:
    expected_values = expected.numpy()
    np.testing.assert_allclose(
        actual.numpy(), expected_values, rtol=0, atol=5e-5 * np.abs(expected_values).max()
    )


def pair(architecture: dict) -> tuple[TwoConvNet, TwoConvNet]:
    """A network with norms of many kinds, if any, and its fast copy."""
    paddle.seed(1)
    plain = TwoConvNet(**architecture)
    if plain.architecture["batch_norm"]:
        for norm in (plain.norm1, plain.norm2):
            count = norm.weight.shape[0]
            # Negative factors, too: a maximum is not the same before and after them.
            norm.weight.set_value(paddle.linspace(-1, 1, count))
            norm.bias.set_value(paddle.linspace(-0.5, 0.7, count))
    fast = copy.deepcopy(plain)
    accelerate(fast)
    return plain, fast


def some_pictures(count: int) -> paddle.Tensor:
    images = paddle.rand([count, 1, 28, 28])
    # On paper without ink the four pixels under a maximum are equal: one of them takes the gradient.
    images[:, :, :12] = 0
    return images


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_gradients_and_statistics_are_those_of_paddles_layers(name):
    plain, fast = pair(ARCHITECTURES[name])
    for count in (5, 20, 5):
        images, labels = some_pictures(count), paddle.randint(0, 10, [count, 1])
        losses = [cross_entropy(network(images), labels) for network in (plain, fast)]
        for loss in losses:
            loss.backward()
        assert_close(losses[1], losses[0])
    assert list(fast.state_dict()) == list(plain.state_dict())
    for mine, theirs in zip(fast.state_dict().values(), plain.state_dict().values()):
        assert_close(mine, theirs)
        if not theirs.stop_gradient:
            # Three passes have added up.
            assert_close(mine.grad, theirs.grad)
    plain.eval()
    fast.eval()
    with paddle.no_grad():
        assert_close(fast(images), plain(images))
        images = some_pictures(40)
        assert_close(fast(images), plain(images))


@pytest.mark.parametrize("name", ["tutorial", "default", "best"])
def test_onednn_computes_the_presets_networks_where_paddle_brings_it(name):
    try:
        onednn.version()
    except onednn.UnsupportedError as error:
        pytest.skip(str(error))
    fast = pair(ARCHITECTURES[name])[1]
    images = some_pictures(20)
    through_onednn = fast.features(images)
    assert through_onednn.grad_fn.name() != TwoConvNet.features(fast, images).grad_fn.name()


def test_the_parameters_stay_the_networks_own():
    network = TwoConvNet(**ARCHITECTURES["default"])
    before = dict(network.state_dict())
    accelerate(network)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_changed_parameters_count():
    plain, fast = pair(ARCHITECTURES["best"])
    images = some_pictures(20)
    fast(images)
    for network in (plain, fast):
        network.conv2.weight.set_value(paddle.ones_like(network.conv2.weight))
        network.norm1.bias.set_value(paddle.ones_like(network.norm1.bias))
    fast.eval()
    plain.eval()
    fast.set_state_dict(get_state(plain))
    with paddle.no_grad():
        assert_close(fast(images), plain(images))


def test_two_passes_before_the_gradients_do_not_disturb_each_other():
    plain, fast = pair(ARCHITECTURES["tutorial"])
    first, second = some_pictures(6), some_pictures(6) / 2
    for network in (plain, fast):
        outputs = [network(images) for images in (first, second)]
        for output in outputs:
            output.square().sum().backward()
    assert_close(fast.conv1.weight.grad, plain.conv1.weight.grad)


def test_gradients_of_the_pictures_and_in_eval_mode_are_paddles():
    plain, fast = pair(ARCHITECTURES["default"])
    for training in (True, False):
        gradients = []
        for network in (plain, fast):
            network.train() if training else network.eval()
            images = paddle.ones([20, 1, 28, 28])
            images.stop_gradient = False
            network(images).sum().backward()
            gradients.append(images.grad)
        assert_close(gradients[1], gradients[0])
    fast.clear_gradients()
    fast(some_pictures(20)).sum().backward()
    assert fast.conv1.weight.grad is not None


def test_threads_share_a_network():
    plain, fast = pair(ARCHITECTURES["default"])
    plain.eval()
    fast.eval()
    batches = [some_pictures(20 + number % 2) for number in range(12)]
    outputs: dict[int, paddle.Tensor] = {}

    def compute(number: int) -> None:
        with paddle.no_grad():
            outputs[number] = fast(batches[number])

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with paddle.no_grad():
        for number, images in enumerate(batches):
            assert_close(outputs[number], plain(images))


def test_a_copy_of_the_network_has_features_of_its_own():
    fast = pair(ARCHITECTURES["tutorial"])[1]
    images = some_pictures(20)
    before = fast(images)
    other = copy.deepcopy(fast)
    assert isinstance(other.features, FastFeatures)
    other.conv1.weight.set_value(paddle.zeros_like(other.conv1.weight))
    assert_close(fast(images), before)
    assert not np.allclose(other(images).numpy(), before.numpy())
