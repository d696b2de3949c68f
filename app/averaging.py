"""A running average of a network over the steps of its training, itself a network."""

from __future__ import annotations

import copy

import paddle
from paddle import nn


class MovingAverage:
    """The exponential moving average of a network's parameters and of batch norm's running statistics.

    After t steps the values after step i weigh decay^(t - i), divided by the sum of these weights: the mean
    is unbiased from the first step on, and the step at which the average is updated is all the state it needs
    besides its values (Polyak and Juditsky, 1992, with the weights and the correction of Kingma and Ba,
    "Adam", 2015). Running statistics are averaged like parameters, because those of any single step belong to
    another network.

    Args:
        network: what is averaged.
        decay: 0 to 1, exclusive; 1 / (1 - decay) is about how many steps count.
    """

    def __init__(self, network: nn.Layer, decay: float) -> None:
        self.network = copy.deepcopy(network)
        """The average, in eval mode."""

        self.network.eval()
        self._decay = decay
        self._pairs = list(zip(self.network.state_dict().values(), network.state_dict().values()))

    def update(self, step: int) -> None:
        """Take up the network as it is after the step `step`, counted from 1."""
        share = paddle.to_tensor((1 - self._decay) / (1 - self._decay**step), "float32")
        with paddle.no_grad():
            for average, current in self._pairs:
                average.lerp_(current, share)
