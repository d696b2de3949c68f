"""Threads of one process that train a network together: each takes its share of every batch.

Paddle's, oneDNN's and NumPy's operations release the interpreter's lock, so that each thread keeps a core
busy. Unlike processes, threads cost no start-up time and no messages.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
from paddle import nn

from app.datasets.dataset import share_of
from app.dropout import SeededDropout
from app.memory import memory_of
from app.models import MultiColumnNet

Loss = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


class Replicas:
    """A network and copies of it that share its parameters' memory and have gradients of their own.

    The gradients of the shares of a batch are added up in a fixed order: a step equals the step of one thread
    on the whole batch, up to float32 rounding, and two runs are equal bit by bit. Batch norm is the
    exception: each replica normalises by the statistics of its own share, and the running statistics are the
    mean over the replicas.

    Args:
        network: `backward` leaves its gradients and running statistics ready for the optimiser. Its
            parameters may be changed in place, but no longer be put elsewhere.
        count: how many threads train it, itself included.
        loss: gives the mean loss of logits and labels; of a network of columns, that of each.
    """

    def __init__(self, network: nn.Layer, count: int, loss: Loss) -> None:
        self._loss = loss
        self._networks = [network, *(copy.deepcopy(network) for _ in range(count - 1))]
        self._parameters = [
            [parameter for parameter in replica.parameters() if not parameter.stop_gradient]
            for replica in self._networks
        ]
        # Paddle lists batch norm's running statistics among the parameters, without gradients.
        self._statistics = [
            [parameter for parameter in replica.parameters() if parameter.stop_gradient]
            for replica in self._networks
        ]
        for parameters in self._parameters[1:]:
            for parameter, original in zip(parameters, self._parameters[0]):
                # No public method does; without it each step would have to copy all parameters.
                original._share_underline_tensor_to(parameter)
        self._dropouts = [
            [layer for layer in replica.sublayers() if isinstance(layer, SeededDropout)]
            for replica in self._networks
        ]
        self._threads = ThreadPoolExecutor(max(count - 1, 1), "replica")

    def train(self) -> None:
        """Put all replicas into training mode."""
        for network in self._networks:
            network.train()

    def backward(
        self,
        images: paddle.Tensor,
        labels: paddle.Tensor,
        total: int,
        dropout_seed: int = 0,
        first_image: int = 0,
    ) -> paddle.Tensor:
        """Compute the gradients of the loss of a batch, or of this process's share of it.

        Args:
            images: float32 [N, 1, 28, 28].
            labels: int64 [N, 1].
            total: images in the whole batch, over all processes: what the sum of the losses is divided by.
            dropout_seed: of the whole batch: each of its images draws the same, whoever has it.
            first_image: the number in the whole batch of the first of `images`.

        Returns:
            That loss, a scalar. Without images it is zero, and there are no gradients.
        """
        count = min(len(self._networks), len(labels))
        shares = [share_of(len(labels), number, count) for number in range(count)]
        arguments = [
            (number, images[share], labels[share], total, dropout_seed, first_image + share.start)
            for number, share in enumerate(shares)
        ]
        waiting = [self._threads.submit(self._backward, *each) for each in arguments[1:]]
        losses = [self._backward(*each) for each in arguments[:1]] + [future.result() for future in waiting]
        with paddle.no_grad():
            for others in self._parameters[1:count]:
                for parameter, other in zip(self._parameters[0], others):
                    parameter.grad.add_(other.grad)
                    other.clear_gradient(False)
        self._average_statistics(count)
        return sum(losses, paddle.zeros([]))

    def _backward(
        self,
        number: int,
        images: paddle.Tensor,
        labels: paddle.Tensor,
        total: int,
        dropout_seed: int,
        first_image: int,
    ) -> paddle.Tensor:
        for index, dropout in enumerate(self._dropouts[number]):
            # Each column drops features of its own.
            dropout.place(dropout_seed + index, first_image)
        network = self._networks[number]
        # Of a network of columns each learns as if it were alone; what is shown is their mean.
        columns = network.columns(images) if isinstance(network, MultiColumnNet) else [network(images)]
        loss = sum(self._loss(logits, labels) for logits in columns) * (len(labels) / total)
        loss.backward()
        return loss.detach() / len(columns)

    def _average_statistics(self, count: int) -> None:
        """Give all replicas the mean of the running statistics of the first `count`, which had images."""
        if count < 2:
            return
        for tensors in zip(*self._statistics):
            arrays = [memory_of(tensor) for tensor in tensors]
            mean = np.mean(arrays[:count], axis=0)
            for array in arrays:
                array[...] = mean
