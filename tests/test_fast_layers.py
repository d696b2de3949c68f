import copy
import threading

import numpy as np
import paddle
import pytest
from paddle.nn.functional import cross_entropy

from app import onednn
from app.checkpoint import get_state
from app.fast_layers import FastFeatures, accelerate, agrees, gradients_agree, make_plan, stages_of
from app.models import MultiColumnNet, TwoConvNet

ARCHITECTURES = {
    "tutorial": {},
    "default": {"channels": (16, 32), "downsampling": "stride", "batch_norm": True, "hidden": 16},
    "best": {"channels": (16, 64), "padding": "valid", "batch_norm": True, "hidden": 16},
    "few channels": {"channels": (4, 6), "downsampling": "stride"},
    "few normalised channels": {"channels": (3, 5), "kernel_size": 3, "batch_norm": True},
    "single pixels": {"channels": (16, 16), "kernel_size": 1, "padding": "valid"},
    "large kernels": {"channels": (5, 16), "kernel_size": 9, "padding": "valid", "downsampling": "stride"},
    "larger than the second picture": {"channels": (2, 3), "kernel_size": 27},
}


def has_onednn() -> bool:
    try:
        onednn.version()
    except onednn.UnsupportedError:
        return False
    return True


needs_onednn = pytest.mark.skipif(not has_onednn(), reason="Paddle's wheel has no oneDNN for this system")


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


@needs_onednn
def test_every_column_of_a_network_is_fast_and_so_is_every_column_of_its_copy():
    paddle.seed(1)
    plain = MultiColumnNet(3, channels=(16, 32), padding="valid", batch_norm=True, hidden=16)
    fast = copy.deepcopy(plain)
    accelerate(fast)
    images, labels = some_pictures(20), paddle.randint(0, 10, [20, 1])
    for network in (plain, copied := copy.deepcopy(fast)):
        sum(cross_entropy(logits, labels) for logits in network.columns(images)).backward()
    for mine, theirs in zip(copied.parameters(), plain.parameters()):
        assert mine.stop_gradient or np.abs(theirs.grad.numpy()).max() > 0
        assert_close(mine, theirs)
        if not theirs.stop_gradient:
            assert_close(mine.grad, theirs.grad)
    for column in copied.sublayers():
        if isinstance(column, TwoConvNet):
            assert isinstance(column.features, FastFeatures)
            assert len(column.features._idle_plans) == 1


@needs_onednn
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["tutorial", "default", "best"])
def test_onednn_has_code_for_the_presets_networks(name, training):
    network = TwoConvNet(**ARCHITECTURES[name])
    network.train() if training else network.eval()
    assert make_plan(stages_of(network), 16, training).training == training


@needs_onednn
@pytest.mark.parametrize("training", [True, False])
def test_a_plan_that_computes_something_else_is_found_out(training):
    network, other = (TwoConvNet(**ARCHITECTURES["default"]) for _ in range(2))
    for each in (network, other):
        each.train() if training else each.eval()
    images = some_pictures(16)
    before = get_state(network)
    assert agrees(make_plan(stages_of(network), 16, training), network, images)
    assert not agrees(make_plan(stages_of(other), 16, training), network, images)
    for name, values in get_state(network).items():
        np.testing.assert_array_equal(values, before[name])


@needs_onednn
def test_wrong_gradients_are_found_out():
    network = TwoConvNet(**ARCHITECTURES["best"])
    images = some_pictures(16)
    plan = make_plan(stages_of(network), 16, training=True)
    assert gradients_agree(plan, network, images)
    # The first convolution's gradients follow from the second's, which is no longer computed.
    del plan._operations[3]._backward_steps[-2:]
    assert not gradients_agree(plan, network, images)


@needs_onednn
def test_what_is_no_number_says_nothing():
    network = TwoConvNet(**ARCHITECTURES["tutorial"])
    network.conv2.bias.set_value(paddle.full_like(network.conv2.bias, float("inf")))
    assert agrees(make_plan(stages_of(network), 16, training=True), network, some_pictures(16)) is None


def test_pictures_changed_before_the_gradients_are_known_are_refused():
    fast = pair(ARCHITECTURES["tutorial"])[1]
    images = some_pictures(20)
    loss = fast(images).sum()
    images.fill_(3.0)
    # Paddle wraps what is raised in a `PyLayer`.
    with pytest.raises(OSError, match="changed since"):
        loss.backward()


def test_a_bias_taken_away_counts():
    plain, fast = pair(ARCHITECTURES["tutorial"])
    images = some_pictures(20)
    for network in (plain, fast):
        network.conv2.bias.set_value(paddle.ones_like(network.conv2.bias))
        network(images).sum().backward()
        network.conv2.bias = None
    assert_close(fast(images), plain(images))


def test_many_numbers_of_pictures_do_not_fill_the_memory():
    fast = pair(ARCHITECTURES["tutorial"])[1]
    fast.eval()
    with paddle.no_grad():
        for count in range(400, 800, 50):
            fast(some_pictures(count))
    assert sum(plan.count for plan in fast.features._idle_plans) <= 1000


@needs_onednn
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["tutorial", "default", "best"])
def test_the_presets_networks_are_left_to_onednn(name, training):
    fast = pair(ARCHITECTURES[name])[1]
    fast.train() if training else fast.eval()
    with paddle.set_grad_enabled(training):
        output = fast(some_pictures(16))
    if training:
        output.sum().backward()
    (plan,) = fast.features._idle_plans
    assert (plan.count, plan.training) == (16, training)


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


def test_replaced_parameters_count():
    plain, fast = pair(ARCHITECTURES["best"])
    images = some_pictures(20)
    for _ in range(2):
        outputs = [network(images) for network in (plain, fast)]
        for output in outputs:
            output.sum().backward()
        other = paddle.create_parameter(plain.conv2.weight.shape, "float32")
        for network in (plain, fast):
            network.conv2.weight = other
    assert_close(*reversed(outputs))


def test_frozen_parameters_get_no_gradient_and_the_others_theirs():
    plain, fast = pair(ARCHITECTURES["best"])
    images = some_pictures(20)
    for network in (plain, fast):
        network.conv1.weight.stop_gradient = True
        network.norm2.bias.stop_gradient = True
        network(images).square().sum().backward()
    assert fast.conv1.weight.grad is None
    assert fast.norm2.bias.grad is None
    assert_close(fast.conv2.weight.grad, plain.conv2.weight.grad)
    assert_close(fast.norm1.weight.grad, plain.norm1.weight.grad)


def test_a_norm_in_eval_mode_keeps_its_statistics():
    plain, fast = pair(ARCHITECTURES["default"])
    images = some_pictures(20)
    for network in (plain, fast):
        network.norm1.eval()
    assert_close(fast(images), plain(images))
    np.testing.assert_array_equal(fast.norm1._mean.numpy(), 0)


@pytest.mark.parametrize("is_strided", [False, True])
def test_pictures_that_nobody_keeps_are_kept_until_the_gradients_are_known(is_strided):
    plain, fast = pair(ARCHITECTURES["tutorial"])
    pictures = some_pictures(24).numpy()
    losses = []
    for network in (plain, fast):
        if is_strided:
            wide = paddle.to_tensor(np.repeat(pictures, 2, axis=0))
            output = network(wide[::2])
            del wide
        else:
            output = network(paddle.to_tensor(pictures))
        losses.append(output.square().sum())
    # What is freed would be taken by these.
    others = [paddle.full(pictures.shape, 9.0) for _ in range(8)]
    for loss in losses:
        loss.backward()
    assert len(others) == 8
    assert_close(fast.conv1.weight.grad, plain.conv1.weight.grad)
    assert_close(fast.conv1.bias.grad, plain.conv1.bias.grad)


@pytest.mark.parametrize("shape", [[20, 1, 14, 14], [20, 28, 28], [20, 2, 28, 28]])
def test_pictures_of_another_shape_are_refused_as_paddle_refuses_them(shape):
    fast = pair(ARCHITECTURES["tutorial"])[1]
    with pytest.raises(ValueError, match=r"\S"):
        fast(paddle.zeros(shape))


def test_pictures_of_another_type_are_not_taken_for_floats():
    plain, fast = pair(ARCHITECTURES["tutorial"])
    for network in (plain, fast):
        network.to(dtype="float64")
    images = some_pictures(20).astype("float64")
    assert_close(fast(images), plain(images))


def test_training_without_gradients_updates_the_statistics():
    plain, fast = pair(ARCHITECTURES["default"])
    images = some_pictures(20)
    for network in (plain, fast):
        with paddle.no_grad():
            network(images)
    assert_close(fast.norm2._mean, plain.norm2._mean)


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
