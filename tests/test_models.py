import numpy as np
import paddle
import pytest

from app.config import TrainConfig
from app.errors import UsageError
from app.models import (
    MultiColumnNet,
    SoftmaxRegression,
    TwoConvNet,
    build_columns,
    compute_logits,
    infer_architecture,
    is_softmax_regression,
    to_model_input,
)
from app.views import VIEWS, see


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def test_model_input_is_0_to_1_float32_with_a_channel():
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 255
    inputs = to_model_input(images)
    assert inputs.shape == (2, 1, 28, 28)
    assert inputs.dtype == np.float32
    assert inputs[0].max() == 0
    assert inputs[1].min() == 1


def test_default_network_is_the_tutorials():
    shapes = {name: tuple(tensor.shape) for name, tensor in TwoConvNet().state_dict().items()}
    assert shapes == {
        "conv1.weight": (20, 1, 5, 5),
        "conv1.bias": (20,),
        "conv2.weight": (20, 20, 5, 5),
        "conv2.bias": (20,),
        "fc.weight": (980, 10),
        "fc.bias": (10,),
    }


def test_default_network_computes_what_the_tutorial_writes_down():
    network = TwoConvNet()
    x = paddle.to_tensor(to_model_input(some_images(3)))
    functional = paddle.nn.functional
    expected = functional.max_pool2d(functional.relu(network.conv1(x)), 2)
    expected = functional.max_pool2d(functional.relu(network.conv2(expected)), 2)
    expected = network.fc(expected.reshape([3, 980]))
    np.testing.assert_allclose(network(x).numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("downsampling", ["max-pool", "stride"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("hidden", [0, 7])
@pytest.mark.parametrize(
    ("kernel_size", "padding"), [(1, "same"), (3, "same"), (5, "same"), (5, "valid"), (9, "valid")]
)
def test_every_variant_gives_ten_logits_and_shapes_that_tell_its_architecture(
    columns, downsampling, batch_norm, hidden, kernel_size, padding
):
    choices = {"channels": (4, 6), "kernel_size": kernel_size, "batch_norm": batch_norm, "padding": padding}
    network = build_columns(columns, downsampling=downsampling, hidden=hidden, dropout=0.5, **choices)
    assert compute_logits(network, some_images(2)).shape == (2, 10)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    expected = {"columns": columns, "hidden": hidden, "outputs": 10, **choices}
    assert infer_architecture(shapes) == expected


def test_outputs_are_logits_not_probabilities():
    logits = compute_logits(TwoConvNet(), some_images(20))
    assert logits.min() < 0
    assert not np.allclose(logits.sum(1), 1)


def test_logits_do_not_depend_on_the_batch_size_or_on_dropout():
    network = TwoConvNet((4, 4), batch_norm=True, hidden=8, dropout=0.5)
    network.train()
    images = some_images(13)
    together = compute_logits(network, images)
    np.testing.assert_allclose(compute_logits(network, images, batch_size=5), together, rtol=1e-4, atol=1e-5)
    assert network.training


def test_unknown_downsampling_is_refused():
    with pytest.raises(ValueError, match="downsampling"):
        TwoConvNet(downsampling="average")


@pytest.mark.parametrize(("padding", "kernel_size"), [("full", 5), ("valid", 3), ("valid", 7)])
def test_impossible_padding_is_refused(padding, kernel_size):
    with pytest.raises(ValueError, match="padding"):
        TwoConvNet(padding=padding, kernel_size=kernel_size)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"conv1.weight": (4, 1, 5, 5), "fc.weight": (10, 10)}, "conv2.weight is missing"),
        ({"conv1.weight": (4,), "conv2.weight": (4, 4, 5, 5), "fc.weight": (1, 1)}, "conv1.weight has 1 dim"),
        ({"plain.conv1.weight": (4, 1, 5, 5)}, "columns named plain, upright, moments, narrow"),
        ({"plain.fc.bias": (10,), "narrow.fc.bias": (10,)}, "columns named"),
        ({"plain.fc.bias": (10,), "upright.fc.bias": (10,), "fc.bias": (10,)}, "columns named"),
        ({"plain.fc.bias": (10,), "upright.fc.bias": (10,)}, "conv1.weight is missing"),
    ],
)
def test_shapes_of_another_network_are_refused(shapes, reason):
    with pytest.raises(ValueError, match=reason):
        infer_architecture(shapes)


def test_columns_of_different_sizes_are_refused():
    columns = {"plain": TwoConvNet((2, 3), 3), "upright": TwoConvNet((2, 4), 3)}
    shapes = {
        f"{view}.{name}": tuple(tensor.shape)
        for view, column in columns.items()
        for name, tensor in column.state_dict().items()
    }
    with pytest.raises(ValueError, match="different sizes"):
        infer_architecture(shapes)


def test_columns_are_networks_whose_logits_are_averaged_each_with_its_view():
    network = MultiColumnNet(3, channels=(2, 3), kernel_size=3, batch_norm=True, hidden=5)
    network.eval()
    images = paddle.to_tensor(to_model_input(some_images(4)))
    columns = [(view, getattr(network, view)) for view in VIEWS[:3]]
    expected = np.mean([column(see(images, view)).numpy() for view, column in columns], axis=0)
    np.testing.assert_allclose(network(images).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert network.filters.shape == (6, 3, 3)
    np.testing.assert_array_equal(network.filters[4:], network.moments.filters)


@pytest.mark.parametrize("columns", [0, 1, len(VIEWS) + 1])
def test_a_number_of_columns_for_which_there_are_no_views_is_refused(columns):
    with pytest.raises(ValueError, match="columns must be 2 to 4"):
        MultiColumnNet(columns)


def test_there_is_a_view_for_every_column_that_may_be_asked_for():
    TrainConfig(columns=len(VIEWS))
    with pytest.raises(UsageError, match="--columns"):
        TrainConfig(columns=len(VIEWS) + 1)


def test_softmax_regression_is_one_linear_layer_with_biases_of_one():
    network = SoftmaxRegression()
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == {
        "fc.weight": (784, 10),
        "fc.bias": (10,),
    }
    np.testing.assert_array_equal(network.fc.bias.numpy(), np.ones(10))
    images = some_images(3)
    pixels = to_model_input(images).reshape(3, 784)
    expected = pixels @ network.fc.weight.numpy() + 1
    np.testing.assert_allclose(compute_logits(network, images), expected, rtol=1e-4, atol=1e-5)
    assert network.filters.shape == (10, 28, 28)
    np.testing.assert_array_equal(network.filters[3].ravel(), network.fc.weight.numpy()[:, 3])


def test_softmax_regression_is_told_by_its_shapes():
    shapes = {"fc.weight": (784, 10), "fc.bias": (10,)}
    assert is_softmax_regression(shapes)
    assert not is_softmax_regression({**shapes, "fc.weight": (980, 10)})
    assert not is_softmax_regression({name: tuple(t.shape) for name, t in TwoConvNet().state_dict().items()})


def test_one_output_is_read_as_the_nearest_digit():
    network = TwoConvNet((2, 2), 3, outputs=1)
    images = some_images(1)
    for value, digit in ((-3.0, 0), (0.4, 0), (3.6, 4), (8.9, 9), (50.0, 9)):
        network.fc.weight.set_value(paddle.zeros([98, 1]))
        network.fc.bias.set_value(paddle.to_tensor([value]))
        logits = compute_logits(network, images)
        assert logits.argmax() == digit
        np.testing.assert_allclose(logits[0], -((value - np.arange(10)) ** 2), rtol=1e-5, atol=1e-5)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert infer_architecture(shapes)["outputs"] == 1
