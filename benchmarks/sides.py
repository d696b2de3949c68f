"""What is measured of Paddle and of this program's parts: each function runs in a process of its own.

Nothing imports Paddle before the function is called: some sides prepare the process first, as the program
does, and one leaves it as it comes.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Optional

import numpy as np

from app import runtime
from app.config import TrainConfig
from app.datasets import Digits, split
from app.datasets.idx import write_idx
from app.datasets.mnist import load_mnist
from benchmarks.common import answer


def describe() -> dict[str, Any]:
    """Return the versions, the machine, and what the program sets before it imports Paddle."""
    settings = {setting.name: f"{setting.value} ({setting.reason})" for setting in runtime.prepare()}
    try:
        torch: Optional[str] = version("torch")
    except PackageNotFoundError:
        torch = None
    return {**runtime.describe_environment(), "torch": torch, "settings": settings}


def find_data(data_dir: Optional[str]) -> str:
    """Return the folder in which train.py would find MNIST, after a download if need be."""
    return str(Path(load_mnist(runtime.data_directories(data_dir)).source).absolute())


def write_repeated(data_dir: str, count: int, folder: str) -> None:
    """Write a data set of `count` training images, MNIST's over and over, and MNIST's test images."""
    data = load_mnist([Path(data_dir)])
    indices = np.arange(count) % len(data.train.images)
    train = Digits(data.train.images[indices], data.train.labels[indices])
    for name, digits in (("train", train), ("t10k", data.test)):
        write_idx(Path(folder) / f"{name}-images-idx3-ubyte", digits.images)
        write_idx(Path(folder) / f"{name}-labels-idx1-ubyte", digits.labels.astype(np.uint8))


def matrix_product(side: int, repeats: int) -> dict[str, Any]:
    """Return the FLOP/s of square float32 products on all cores, as the program uses them.

    Where the program gives Paddle one thread and has a thread of its own for each core, so does this.
    """
    runtime.prepare()
    import paddle

    inner = int(os.environ["OMP_NUM_THREADS"])
    workers = runtime.thread_count()

    def multiply(count: int) -> None:
        matrix = paddle.ones([side, side])
        for _ in range(count):
            paddle.matmul(matrix, matrix)

    def multiply_on_all(count: int) -> float:
        threads = [threading.Thread(target=multiply, args=(count,)) for _ in range(workers)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started

    multiply_on_all(1)
    seconds = min(multiply_on_all(repeats) for _ in range(3))
    return {"flops": workers * repeats * 2 * side**3 / seconds, "threads": workers * inner}


def evaluate(config: dict[str, Any], data_dir: str, repeats: int) -> dict[str, Any]:
    """Return the seconds in which this program turns the uint8 test images into logits."""
    runtime.prepare()
    from app.fast_layers import accelerate
    from app.models import build_network, compute_logits

    network = build_network(TrainConfig.from_json(config))
    accelerate(network)
    images = load_mnist([Path(data_dir)]).test.images
    compute_logits(network, images)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        compute_logits(network, images)
        seconds.append(time.perf_counter() - started)
    # compute_logits has a thread for each core.
    return {"seconds": statistics.median(seconds), "threads": runtime.thread_count()}


def time_steps(
    config: dict[str, Any],
    data_dir: str,
    task: str,
    steps: int,
    threads: int,
    is_fast: bool,
    is_profiled: bool = False,
) -> dict[str, Any]:
    """Return the mean seconds of a step and, if `is_profiled`, of its parts.

    Args:
        task: `training`, forward, backward and the optimiser's step on one batch; or `evaluation`, the
            logits of 1,000 images, 125 at a time.
        is_fast: with the layers of `app/fast_layers.py` instead of Paddle's own.
    """
    runtime.prepare()
    import paddle
    from paddle.nn.functional import cross_entropy

    from app.fast_layers import accelerate
    from app.models import build_network, to_model_input
    from app.replicas import Replicas

    choices = TrainConfig.from_json(config)
    digits = load_mnist([Path(data_dir)]).train
    count = min(len(digits.images), choices.batch_size if task == "training" else 1000)
    images = paddle.to_tensor(to_model_input(digits.images[:count]))
    labels = paddle.to_tensor(digits.labels[:count, np.newaxis].astype(np.int64))
    paddle.seed(0)
    network = build_network(choices)
    if is_fast:
        accelerate(network)
    replicas = Replicas(network, threads, cross_entropy)
    optimizer = paddle.optimizer.Momentum(1e-6, choices.momentum, network.parameters())

    def train() -> None:
        replicas.backward(images, labels, count)
        optimizer.step()
        optimizer.clear_grad()

    def evaluate_share(start: int) -> None:
        with paddle.no_grad():
            network(images[start : start + 125])

    def evaluate_all() -> None:
        list((executor.map if threads > 1 else map)(evaluate_share, range(0, count, 125)))

    executor = ThreadPoolExecutor(threads)
    if task == "training":
        step = train
        replicas.train()
    else:
        step = evaluate_all
        network.eval()
    for _ in range(3):
        step()
    parts = _watch(optimizer) if is_profiled else {}
    started = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = (time.perf_counter() - started) / steps
    result: dict[str, Any] = {"seconds": seconds, "images": count, "threads": threads}
    if is_profiled:
        parts = {part: total / steps for part, total in parts.items()}
        result["parts"] = {**parts, "the rest": seconds - sum(parts.values())}
    return result


def _watch(optimizer: Any) -> dict[str, float]:
    """Return where the seconds in oneDNN's operations and in the optimiser add up from now on, by kind."""
    from app import onednn

    kinds = {
        "convolution_forward": "convolutions",
        "convolution_backward_data": "their gradients",
        "convolution_backward_weights": "their gradients",
        "reorder": "changes of layout",
    }
    others = "norm, ReLU, pooling"
    seconds = dict.fromkeys((*dict.fromkeys(kinds.values()), others, "optimiser"), 0.0)

    def watched(work: Callable[..., Any], kind_of: Callable[..., str]) -> Callable[..., Any]:
        def run(*arguments: Any) -> None:
            started = time.perf_counter()
            work(*arguments)
            seconds[kind_of(*arguments)] += time.perf_counter() - started

        return run

    # In this process, which does nothing else, every operation is to be timed: mypy sees a method replaced.
    onednn.Primitive.run = watched(  # type: ignore[method-assign]
        onednn.Primitive.run, lambda primitive: kinds.get(primitive.name, others)
    )
    optimizer.step = watched(optimizer.step, lambda: "optimiser")
    return seconds


def train_plainly(
    config: dict[str, Any], data_dir: str, epochs: int, batches: int, image_by_image: bool
) -> dict[str, Any]:
    """Return the images/s of the tutorial's network and loop in Paddle as it comes, without any setting.

    Args:
        image_by_image: load as the tutorial does, with a `DataLoader` that asks a data set for each image
            and collates them. Otherwise the batches are ready tensors, and the step alone is measured.
    """
    import paddle
    from paddle.nn import functional

    choices = TrainConfig.from_json(config)
    paddle.seed(choices.seed)
    digits = split(load_mnist([Path(data_dir)]), choices.validation_size).train
    images = digits.images[:, np.newaxis].astype(np.float32) / 255
    labels = digits.labels[:, np.newaxis]
    batches = min(batches, len(images) // choices.batch_size)

    class Pictures(paddle.io.Dataset):
        def __getitem__(self, index: int) -> Any:
            return images[index], labels[index]

        def __len__(self) -> int:
            return batches * choices.batch_size

    class Tutorial(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            first, second = choices.channels
            self.conv1 = paddle.nn.Conv2D(1, first, 5, padding=2)
            self.conv2 = paddle.nn.Conv2D(first, second, 5, padding=2)
            self.fc = paddle.nn.Linear(second * 49, 10)

        def forward(self, pictures: Any) -> Any:
            features = functional.max_pool2d(functional.relu(self.conv1(pictures)), 2)
            features = functional.max_pool2d(functional.relu(self.conv2(features)), 2)
            return self.fc(paddle.flatten(features, 1))

    if image_by_image:
        source: Any = paddle.io.DataLoader(
            Pictures(), batch_size=choices.batch_size, shuffle=True, drop_last=True
        )
    else:
        parts = [slice(i * choices.batch_size, (i + 1) * choices.batch_size) for i in range(batches)]
        source = [(paddle.to_tensor(images[part]), paddle.to_tensor(labels[part])) for part in parts]
    network = Tutorial()
    network.train()
    optimizer = paddle.optimizer.SGD(choices.learning_rate, network.parameters())
    rates = []
    for _ in range(epochs):
        started = time.perf_counter()
        for pictures, truth in source:
            loss = functional.cross_entropy(network(pictures), truth)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        float(loss)
        rates.append(batches * choices.batch_size / (time.perf_counter() - started))
    return {
        "images_per_second": statistics.median(rates[1:]),
        "threads": int(os.environ["OMP_NUM_THREADS"]),
    }


if __name__ == "__main__":
    answer(
        {
            function.__name__: function
            for function in (
                describe,
                find_data,
                write_repeated,
                matrix_product,
                evaluate,
                time_steps,
                train_plainly,
            )
        }
    )
