"""The PyTorch sides, written as PyTorch likes it: each function runs in a process of its own.

The data set is one tensor in memory, scaled once; a batch is an `index_select` of a seeded permutation;
nothing is read from the device inside an epoch. The two examples follow the architecture and the recipe that
PyTorch and Keras publish; their loading is this one, which is faster than theirs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from app.config import TrainConfig, halved_side
from app.datasets import CLASSES, SIDE, Digits, split
from app.datasets.mnist import load_mnist
from benchmarks.common import answer

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}

EVALUATION_BATCHES = (250, 1000)


def build(config: TrainConfig) -> nn.Sequential:
    """Return this program's network in PyTorch; of several columns, the first."""
    pooled = config.downsampling == "max-pool"
    padding = config.kernel_size // 2 if config.padding == "same" else 0
    side = SIDE
    layers: list[nn.Module] = []
    for inputs, outputs in zip((1, config.channels[0]), config.channels):
        layers.append(
            nn.Conv2d(
                inputs,
                outputs,
                config.kernel_size,
                stride=1 if pooled else 2,
                padding=padding,
                bias=not config.batch_norm,
            )
        )
        if pooled:
            layers.append(nn.MaxPool2d(2))
        if config.batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
        side = halved_side(side, config.kernel_size, config.padding)
    layers.append(nn.Flatten())
    features = config.channels[1] * side**2
    if config.hidden:
        layers += [nn.Linear(features, config.hidden), nn.ReLU(inplace=True)]
    if config.dropout:
        layers.append(nn.Dropout(config.dropout))
    return nn.Sequential(*layers, nn.Linear(config.hidden or features, CLASSES))


def train(
    config: dict[str, Any], data_dir: str, epochs: int, batches: int, threads: int, layout: str
) -> dict[str, Any]:
    """Return the images/s of training this program's network; the first epoch warms up."""
    choices = TrainConfig.from_json(config)
    torch.set_num_threads(threads)
    torch.manual_seed(choices.seed)
    generator = torch.Generator().manual_seed(choices.seed)
    digits = split(load_mnist([Path(data_dir)]), choices.validation_size).train
    images, labels = scale(digits.images, LAYOUTS[layout]), torch.from_numpy(digits.labels.copy())
    size = choices.batch_size
    batches = min(batches, len(images) // size)
    network = build(choices).to(memory_format=LAYOUTS[layout])
    # Weights decay; biases and norms, which have one dimension, do not.
    groups = [
        {
            "params": [value for value in network.parameters() if (value.ndim > 1) == is_weight],
            "weight_decay": choices.weight_decay if is_weight else 0.0,
        }
        for is_weight in (True, False)
    ]
    optimizer = torch.optim.SGD(
        groups, choices.learning_rate, choices.momentum, nesterov=choices.nesterov, fused=True
    )
    schedule = None
    if choices.schedule == "one-cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            choices.learning_rate,
            total_steps=epochs * batches,
            pct_start=choices.warmup,
            cycle_momentum=False,
        )
    rates = []
    for _ in range(epochs):
        started = time.perf_counter()
        network.train()
        losses = []
        order = torch.randperm(len(images), generator=generator)
        for indices in order[: batches * size].split(size):
            optimizer.zero_grad(set_to_none=True)
            outputs = network(images.index_select(0, indices))
            loss = functional.cross_entropy(outputs, labels.index_select(0, indices))
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.detach())
        float(torch.stack(losses).mean())
        rates.append(batches * size / (time.perf_counter() - started))
    return {"images_per_second": statistics.median(rates[1:]), "threads": torch.get_num_threads()}


def scale(images: NDArray[np.uint8], layout: torch.memory_format) -> torch.Tensor:
    """Return uint8 [N, 28, 28] pictures as float32 [N, 1, 28, 28] in 0..1."""
    pictures = torch.from_numpy(images[:, np.newaxis].copy()).to(torch.float32).div_(255)
    return pictures.to(memory_format=layout)


def evaluate(config: dict[str, Any], data_dir: str, repeats: int, threads: int) -> dict[str, Any]:
    """Return the seconds from uint8 test images to logits, the best of the layouts and batch sizes."""
    torch.set_num_threads(threads)
    network = build(TrainConfig.from_json(config)).eval()
    images = load_mnist([Path(data_dir)]).test.images
    ways = {}
    for name, layout in LAYOUTS.items():
        network.to(memory_format=layout)
        for size in EVALUATION_BATCHES:
            _logits(network, images, size, layout)
            seconds = []
            for _ in range(repeats):
                started = time.perf_counter()
                _logits(network, images, size, layout)
                seconds.append(time.perf_counter() - started)
            ways[f"{name}, batches of {size}"] = statistics.median(seconds)
    best = min(ways, key=lambda way: ways[way])
    return {"seconds": ways[best], "way": best, "ways": ways, "threads": torch.get_num_threads()}


def _logits(
    network: nn.Module, images: NDArray[np.uint8], size: int, layout: torch.memory_format
) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [network(scale(images[i : i + size], layout)) for i in range(0, len(images), size)]
        return np.asarray(torch.cat(parts).numpy())


class Recipe(NamedTuple):
    """How a peer's example trains."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    decay: float
    """Factor of the learning rate after each epoch."""

    batch_size: int
    mean: float
    """Subtracted from pixels in 0..1 before they are divided by `deviation`."""

    deviation: float
    validation_share: float
    """Last training images that are only evaluated, after each epoch."""


def pytorch_example() -> Recipe:
    """PyTorch's `examples/mnist`, as its public description has it; softmax and NLL are in the loss here."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU()),
        *(nn.Dropout(0.5), nn.Linear(128, CLASSES)),
    )
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    return Recipe(network, optimizer, 0.7, 64, 0.1307, 0.3081, 0.0)


def keras_example() -> Recipe:
    """Keras' "Simple MNIST convnet", with Keras' initial values and Adam's epsilon of Keras."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, CLASSES)),
    )
    for parameter in network.parameters():
        nn.init.xavier_uniform_(parameter) if parameter.ndim > 1 else nn.init.zeros_(parameter)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7)
    return Recipe(network, optimizer, 1.0, 128, 0.0, 1.0, 0.1)


EXAMPLES: dict[str, Callable[[], Recipe]] = {
    "pytorch-example": pytorch_example,
    "keras-example": keras_example,
}


def run_example(
    example: str, data_dir: str, seed: int, epochs: int, batches: int, threads: int, started: float
) -> dict[str, Any]:
    """Train an example; return the seconds since `started` (monotonic) and the test accuracy of each epoch.

    `batches` ends each epoch after so many, 0 for never.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    recipe = EXAMPLES[example]()
    data = load_mnist([Path(data_dir)])
    count = len(data.train.images)
    boundary = count - int(count * recipe.validation_share)
    images, labels = _normalise(data.train, recipe)
    test = _normalise(data.test, recipe)
    schedule = torch.optim.lr_scheduler.StepLR(recipe.optimizer, 1, recipe.decay)
    history = []
    for _ in range(epochs):
        recipe.network.train()
        order = torch.randperm(boundary)
        for indices in order.split(recipe.batch_size)[: batches or None]:
            recipe.optimizer.zero_grad(set_to_none=True)
            outputs = recipe.network(images.index_select(0, indices))
            functional.cross_entropy(outputs, labels.index_select(0, indices)).backward()
            recipe.optimizer.step()
        schedule.step()
        if boundary < count:
            _accuracy(recipe.network, images[boundary:], labels[boundary:])
        accuracy = _accuracy(recipe.network, *test)
        history.append({"seconds": time.monotonic() - started, "accuracy": accuracy})
    return {"history": history, "threads": torch.get_num_threads()}


def _normalise(digits: Digits, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    images = scale(digits.images, torch.contiguous_format)
    return images.sub_(recipe.mean).div_(recipe.deviation), torch.from_numpy(digits.labels.copy())


def _accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    network.eval()
    with torch.inference_mode():
        correct = sum(
            int((network(part).argmax(1) == truth).sum())
            for part, truth in zip(images.split(1000), labels.split(1000))
        )
    return correct / len(labels)


if __name__ == "__main__":
    answer({"train": train, "evaluate": evaluate, "run_example": run_example})
