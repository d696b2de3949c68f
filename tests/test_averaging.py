import numpy as np
import paddle
import pytest

from app.averaging import MovingAverage
from app.models import TwoConvNet


def walk(network: TwoConvNet, steps: int):
    """Change everything in the network at random, step by step, and give its state after each."""
    generator = np.random.default_rng(0)
    for _ in range(steps):
        for tensor in network.state_dict().values():
            tensor.set_value(generator.standard_normal(tensor.shape).astype(np.float32))
        yield {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_the_average_is_the_weighted_mean_of_all_steps_running_statistics_included(steps):
    network = TwoConvNet((2, 3), 3, batch_norm=True)
    average = MovingAverage(network, 0.9)
    states = []
    for step, state in enumerate(walk(network, steps), start=1):
        states.append(state)
        average.update(step)
    weights = 0.9 ** np.arange(steps)[::-1]
    assert "norm1._mean" in states[0]
    for name, tensor in average.network.state_dict().items():
        expected = np.average([state[name] for state in states], axis=0, weights=weights)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_averaging_leaves_the_network_as_it_is():
    network = TwoConvNet((2, 3), 3)
    average = MovingAverage(network, 0.5)
    (state,) = walk(network, 1)
    average.update(1)
    average.update(2)
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), state[name])
    assert network.training
    assert not average.network.training
    assert isinstance(average.network.fc.weight, paddle.Tensor)
