import copy
from typing import Union

import numpy as np
import paddle
import pytest

from app.fast_layers import accelerate
from app.losses import cross_entropy
from app.models import MultiColumnNet, TwoConvNet, build_columns
from app.replicas import Replicas
from app.views import VIEWS, see


def make_network(**options) -> Union[TwoConvNet, MultiColumnNet]:
    paddle.seed(3)
    choices = {"channels": (4, 6), "kernel_size": 3, "downsampling": "stride", "hidden": 8, **options}
    network = build_columns(choices.pop("columns", 1), **choices)
    accelerate(network)
    return network


def make_batch(count: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    generator = np.random.default_rng(count)
    images = generator.random((count, 1, 28, 28), dtype=np.float32)
    return paddle.to_tensor(images), paddle.to_tensor(generator.integers(0, 10, (count, 1)))


def train(network: TwoConvNet, workers: int, counts=(32, 31, 2, 1)) -> list[float]:
    replicas = Replicas(network, workers, cross_entropy)
    replicas.train()
    optimizer = paddle.optimizer.Momentum(0.1, 0.9, [p for p in network.parameters() if not p.stop_gradient])
    losses = []
    for count in counts:
        losses.append(float(replicas.backward(*make_batch(count), count)))
        optimizer.step()
        optimizer.clear_grad()
    return losses


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"channels": (16, 32), "kernel_size": 5},
        {"channels": (16, 16), "downsampling": "max-pool"},
        {"columns": 3},
    ],
    ids=["few channels", "sixteens of channels", "pooled", "columns"],
)
def test_several_threads_train_as_one(workers, choices):
    alone, together = make_network(**choices), make_network(**choices)
    losses = train(alone, 1)
    np.testing.assert_allclose(train(together, workers), losses, rtol=1e-5)
    for name, tensor in alone.state_dict().items():
        np.testing.assert_allclose(together.state_dict()[name].numpy(), tensor.numpy(), rtol=1e-4, atol=1e-6)


def test_the_same_number_of_threads_gives_the_same_bits():
    first, second = make_network(batch_norm=True), make_network(batch_norm=True)
    assert train(first, 3) == train(second, 3)
    for name, tensor in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name].numpy(), tensor.numpy())


def test_one_thread_is_the_plain_step():
    network, plain = make_network(batch_norm=True), make_network(batch_norm=True)
    images, labels = make_batch(16)
    loss = Replicas(network, 1, cross_entropy).backward(images, labels, 16)
    expected = cross_entropy(plain(images), labels)
    expected.backward()
    assert float(loss) == float(expected)
    np.testing.assert_array_equal(network.fc.weight.grad.numpy(), plain.fc.weight.grad.numpy())


def test_each_column_learns_as_if_it_were_alone_and_the_loss_is_their_mean():
    network = make_network(columns=3, batch_norm=True)
    images, labels = make_batch(16)
    columns = [(view, copy.deepcopy(getattr(network, view))) for view in VIEWS[:3]]
    loss = Replicas(network, 1, cross_entropy).backward(images, labels, 16)
    expected = []
    for view, column in columns:
        expected.append(cross_entropy(column(see(images, view)), labels))
        expected[-1].backward()
        for mine, theirs in zip(getattr(network, view).parameters(), column.parameters()):
            if not theirs.stop_gradient:
                np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-6)
    assert len({float(each) for each in expected}) == 3
    assert float(loss) == pytest.approx(float(sum(expected)) / 3)


def test_each_column_drops_features_of_its_own():
    network = make_network(columns=2, dropout=0.5)
    replicas = Replicas(network, 1, cross_entropy)
    replicas.train()
    replicas.backward(*make_batch(8), 8, dropout_seed=5)
    ones = paddle.ones([8, 8])
    dropped = [column.dropout(ones).numpy() == 0 for column in (network.plain, network.upright)]
    assert 0 < (dropped[0] != dropped[1]).mean() < 1


def test_a_share_of_a_batch_is_weighed_by_the_whole_batch():
    network = make_network()
    replicas = Replicas(network, 2, cross_entropy)
    images, labels = make_batch(8)
    whole = float(replicas.backward(images, labels, 8))
    assert float(replicas.backward(images, labels, 32)) == pytest.approx(whole / 4)


def test_without_images_there_is_no_loss_and_no_gradient():
    network = make_network()
    images, labels = make_batch(1)
    assert float(Replicas(network, 2, cross_entropy).backward(images[:0], labels[:0], 5)) == 0
    assert network.fc.weight.grad is None


def test_running_statistics_are_the_mean_over_the_replicas():
    network = make_network(batch_norm=True)
    halves = [copy.deepcopy(network) for _ in range(2)]
    images, labels = make_batch(10)
    for half, share in zip(halves, (slice(0, 5), slice(5, 10))):
        half(images[share])
    Replicas(network, 2, cross_entropy).backward(images, labels, 10)
    expected = np.mean([half.norm1._mean.numpy() for half in halves], axis=0)
    np.testing.assert_allclose(network.norm1._mean.numpy(), expected, rtol=1e-6)
