"""The networks: plain Paddle layers that take `to_model_input` pictures and return logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Union

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from app import runtime
from app.config import DOWNSAMPLING, PADDING, UNPADDED_KERNELS, TrainConfig, halved_side
from app.datasets import CLASSES, SIDE
from app.dropout import SeededDropout
from app.views import VIEWS, see


def to_model_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return uint8 [N, 28, 28] pictures as the float32 [N, 1, 28, 28] in 0..1 that every network here takes.

    Training, evaluation and prediction all scale their pixels in this one place.
    """
    return np.true_divide(images[:, np.newaxis], 255, dtype=np.float32)


class TwoConvNet(nn.Layer):
    """Two convolutions, each halving the picture's side, then one or two linear layers.

    The tutorial's network is `TwoConvNet()`, with the tutorial's parameter names: `conv1`, `conv2`, `fc`.

    Args:
        channels: output channels of the two convolutions.
        kernel_size: side of both kernels, odd.
        padding: `same` pads each picture so that it keeps its size before the halving; `valid` moves the
            kernel inside the picture only, which costs it the kernel's side less one. Sides of 1, 5 and 9
            leave nothing over.
        downsampling: `max-pool` pools 2x2 after each convolution; `stride` moves the kernel two pixels at a
            time instead, which never computes the full-size feature maps.
        batch_norm: normalise each convolution's output, after the pooling, over the batch; it takes over the
            bias.
        hidden: units of a linear layer with ReLU before the last one; 0 for none.
        dropout: share of the features that are dropped in training before the last linear layer, 0 <= p < 1.
        outputs: 10, one for each digit, or 1, which is to be the digit itself.
    """

    def __init__(
        self,
        channels: Sequence[int] = (20, 20),
        kernel_size: int = 5,
        downsampling: str = "max-pool",
        batch_norm: bool = False,
        hidden: int = 0,
        dropout: float = 0.0,
        outputs: int = CLASSES,
        padding: str = "same",
    ) -> None:
        super().__init__()
        if downsampling not in DOWNSAMPLING:
            raise ValueError(f"downsampling must be one of {DOWNSAMPLING}, not {downsampling!r}")
        if padding not in PADDING:
            raise ValueError(f"padding must be one of {PADDING}, not {padding!r}")
        if padding == "valid" and kernel_size not in UNPADDED_KERNELS:
            raise ValueError(f"with padding 'valid' the kernel's side must be one of {UNPADDED_KERNELS}")
        self.architecture = {
            "channels": list(channels),
            "kernel_size": kernel_size,
            "downsampling": downsampling,
            "batch_norm": batch_norm,
            "hidden": hidden,
            "dropout": dropout,
            "outputs": outputs,
            "padding": padding,
        }
        """The arguments, as plain JSON values."""
        pooled = downsampling == "max-pool"
        convolution: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": 1 if pooled else 2,
            "padding": kernel_size // 2 if padding == "same" else 0,
            "bias_attr": False if batch_norm else None,
        }
        first, second = channels
        self.conv1 = nn.Conv2D(1, first, **convolution)
        self.norm1 = nn.BatchNorm2D(first) if batch_norm else nn.Identity()
        self.pool1 = nn.MaxPool2D(2) if pooled else nn.Identity()
        self.conv2 = nn.Conv2D(first, second, **convolution)
        self.norm2 = nn.BatchNorm2D(second) if batch_norm else nn.Identity()
        self.pool2 = nn.MaxPool2D(2) if pooled else nn.Identity()
        features = second * last_side(kernel_size, padding) ** 2
        self.hidden = nn.Linear(features, hidden) if hidden else None
        self.dropout = SeededDropout(dropout) if dropout else nn.Identity()
        self.fc = nn.Linear(hidden or features, outputs)
        self.relu = nn.ReLU()

    @property
    def filters(self) -> NDArray[np.float32]:
        """The first layer's weights as pictures, float32 [C, k, k]."""
        weights: NDArray[np.float32] = self.conv1.weight.numpy()[:, 0]
        return weights

    def features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return what comes out of both convolutions, float32 [N, F], of float32 [N, 1, 28, 28] pictures."""
        # ReLU after the pooling: the same function as before it, on a quarter of the values.
        x = self.relu(self.norm1(self.pool1(self.conv1(images))))
        x = self.relu(self.norm2(self.pool2(self.conv2(x))))
        features: paddle.Tensor = paddle.flatten(x, 1)
        return features

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the logits, float32 [N, outputs], of float32 [N, 1, 28, 28] pictures."""
        x = self.features(images)
        if self.hidden is not None:
            x = self.relu(self.hidden(x))
        logits: paddle.Tensor = self.fc(self.dropout(x))
        return logits


def last_side(kernel_size: int, padding: str) -> int:
    """Return the side of what the second convolution of a `TwoConvNet` gives, halved."""
    return halved_side(halved_side(SIDE, kernel_size, padding), kernel_size, padding)


class MultiColumnNet(nn.Layer):
    """Several `TwoConvNet` side by side, each with a view of its own of the picture; the logits are averaged.

    After Ciresan, Meier and Schmidhuber, "Multi-column deep neural networks for image classification" (CVPR
    2012). In training the columns see the same images, and each should have a loss of its own (`columns`):
    with a common one they would come to rely on one another, and their mistakes would be less different. Each
    has the name of its view.

    Args:
        columns: how many of `app.views.VIEWS` there are, from the first on; at least two.
        choices: the arguments of every `TwoConvNet`.
    """

    def __init__(self, columns: int, **choices: Any) -> None:
        super().__init__()
        if not 2 <= columns <= len(VIEWS):
            raise ValueError(f"columns must be 2 to {len(VIEWS)}, not {columns}")
        networks = [TwoConvNet(**choices) for _ in range(columns)]
        for view, network in zip(VIEWS, networks):
            self.add_sublayer(view, network)
        self.architecture = {"columns": columns, **networks[0].architecture}
        """The arguments, as plain JSON values."""

    @property
    def filters(self) -> NDArray[np.float32]:
        """The weights of all first layers as pictures, float32 [columns * C, k, k]."""
        return np.concatenate([column.filters for column in self.children()])

    def columns(self, images: paddle.Tensor) -> list[paddle.Tensor]:
        """Return the logits of each column, float32 [N, outputs], of float32 [N, 1, 28, 28] pictures."""
        return [column(see(images, view)) for view, column in self.named_children()]

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the columns' mean logits, float32 [N, outputs], of float32 [N, 1, 28, 28] pictures."""
        logits: paddle.Tensor = paddle.stack(self.columns(images)).mean(0)
        return logits


class SoftmaxRegression(nn.Layer):
    """One linear layer from the 784 pixels to ten logits; its biases start at one."""

    def __init__(self) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {"layers": "one linear"}
        """What there is to say of it, as plain JSON values."""
        self.fc = nn.Linear(SIDE**2, CLASSES, bias_attr=nn.initializer.Constant(1.0))

    @property
    def filters(self) -> NDArray[np.float32]:
        """The weights of each digit as a picture, float32 [10, 28, 28]."""
        weights: NDArray[np.float32] = self.fc.weight.numpy().T.reshape(CLASSES, SIDE, SIDE)
        return weights

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the logits, float32 [N, 10], of float32 [N, 1, 28, 28] pictures."""
        logits: paddle.Tensor = self.fc(paddle.flatten(images, 1))
        return logits


Network = Union[TwoConvNet, MultiColumnNet, SoftmaxRegression]


def build_network(config: TrainConfig) -> Network:
    """Return the untrained network that `config` describes; its parameters are drawn from Paddle's seed."""
    if config.network == "softmax-regression":
        return SoftmaxRegression()
    return build_columns(
        config.columns,
        channels=config.channels,
        kernel_size=config.kernel_size,
        downsampling=config.downsampling,
        batch_norm=config.batch_norm,
        hidden=config.hidden,
        dropout=config.dropout,
        outputs=config.outputs,
        padding=config.padding,
    )


def build_columns(columns: int, **choices: Any) -> Union[TwoConvNet, MultiColumnNet]:
    """Return a `MultiColumnNet`, or the plain `TwoConvNet` if there is one column."""
    return MultiColumnNet(columns, **choices) if columns > 1 else TwoConvNet(**choices)


def is_softmax_regression(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether parameters of these names and shapes are those of a `SoftmaxRegression`."""
    return dict(shapes) == {"fc.weight": (SIDE**2, CLASSES), "fc.bias": (CLASSES,)}


def infer_architecture(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the arguments of `build_columns` that follow from the names and shapes of its parameters.

    `downsampling` and `dropout` leave no trace in them and are not among the arguments.

    Raises:
        ValueError: the names or shapes are not those of such a network; the message says which.
    """
    if not any(name.startswith(f"{VIEWS[0]}.") for name in shapes):
        return {"columns": 1, **_infer_column(shapes)}
    by_view: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        view, _, own_name = name.partition(".")
        by_view.setdefault(view, {})[own_name] = shape
    if set(by_view) != set(VIEWS[: len(by_view)]) or len(by_view) == 1:
        raise ValueError(f"expected columns named {', '.join(VIEWS)}, from the first on, two or more")
    first, *others = (_infer_column(by_view[view]) for view in VIEWS[: len(by_view)])
    if any(other != first for other in others):
        raise ValueError("its columns are of different sizes")
    return {"columns": len(by_view), **first}


def _infer_column(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the arguments of a `TwoConvNet`, as `infer_architecture` does."""
    for name, rank in (("conv1.weight", 4), ("conv2.weight", 4), ("fc.weight", 2), ("hidden.weight", 2)):
        if name not in shapes and name != "hidden.weight":
            raise ValueError(f"the parameter {name} is missing")
        if len(shapes.get(name, (0,) * rank)) != rank:
            raise ValueError(f"{name} has {len(shapes[name])} dimensions, expected {rank}")
    architecture: dict[str, Any] = {
        "channels": (shapes["conv1.weight"][0], shapes["conv2.weight"][0]),
        "kernel_size": shapes["conv1.weight"][-1],
        "batch_norm": "norm1.weight" in shapes,
        "hidden": shapes["hidden.weight"][1] if "hidden.weight" in shapes else 0,
        "outputs": 1 if shapes["fc.weight"][-1] == 1 else CLASSES,
    }
    features = shapes["hidden.weight" if architecture["hidden"] else "fc.weight"][0]
    is_same = features == architecture["channels"][1] * last_side(architecture["kernel_size"], "same") ** 2
    may_be_valid = architecture["kernel_size"] in UNPADDED_KERNELS
    architecture["padding"] = "valid" if may_be_valid and not is_same else "same"
    expected = _parameter_shapes(**architecture)
    for name in (*expected, *shapes):
        if name not in shapes:
            raise ValueError(f"the parameter {name} is missing")
        if name not in expected:
            raise ValueError(f"unexpected parameter {name!a:.60}")
        if shapes[name] != expected[name]:
            raise ValueError(f"{name} has shape {list(shapes[name])}, expected {list(expected[name])}")
    if min(*architecture["channels"], *map(min, shapes.values())) < 1 or architecture["kernel_size"] % 2 == 0:
        raise ValueError("a size of zero, or an even kernel")
    return architecture


def _parameter_shapes(
    channels: tuple[int, int], kernel_size: int, batch_norm: bool, hidden: int, outputs: int, padding: str
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a `TwoConvNet`'s parameters and running statistics, without building it."""
    features = channels[1] * last_side(kernel_size, padding) ** 2
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (before, after) in enumerate(((1, channels[0]), channels), start=1):
        shapes[f"conv{number}.weight"] = (after, before, kernel_size, kernel_size)
        if batch_norm:
            for name in ("weight", "bias", "_mean", "_variance"):
                shapes[f"norm{number}.{name}"] = (after,)
        else:
            shapes[f"conv{number}.bias"] = (after,)
    if hidden:
        shapes["hidden.weight"], shapes["hidden.bias"] = (features, hidden), (hidden,)
    shapes["fc.weight"], shapes["fc.bias"] = (hidden or features, outputs), (outputs,)
    return shapes


def compute_logits(
    network: nn.Layer, images: NDArray[np.uint8], batch_size: int = 125
) -> NDArray[np.float32]:
    """Return the logits, float32 [N, 10], of uint8 [N, 28, 28] pictures, computed in eval mode.

    A network of one output v means the nearest digit: digit k has the logit -(v - k)^2, because the squared
    error is the log-likelihood of a number with normal errors (here of variance 1/2), up to a constant.
    The batches are shared by a thread for each core; but for rounding, the result does not depend on how many
    there are, nor on the batch size.
    """
    was_training = network.training
    network.eval()
    logits = np.empty((len(images), CLASSES), np.float32)

    def compute(start: int) -> None:
        batch = slice(start, start + batch_size)
        with paddle.no_grad():
            outputs = network(paddle.to_tensor(to_model_input(images[batch]))).numpy()
        is_value = outputs.shape[1] == 1
        logits[batch] = -((outputs - np.arange(CLASSES, dtype=np.float32)) ** 2) if is_value else outputs

    with ThreadPoolExecutor(runtime.thread_count()) as threads:
        list(threads.map(compute, range(0, len(images), batch_size)))
    if was_training:
        network.train()
    return logits
