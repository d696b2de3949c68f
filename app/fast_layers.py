"""The convolutions and what follows each of them, by oneDNN: a drop-in for `TwoConvNet.features`.

Paddle 3.3 convolves on a CPU picture by picture, through copies of all windows, and makes a pass over memory
for each layer. oneDNN, which is in Paddle's own wheel, has code for each processor, and from one of its
operations to the next the values stay in a layout of its own. Where it is missing (macOS), or has no code for
the processor, Paddle's layers stay.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn
from paddle.autograd import PyLayer

from app import onednn
from app.datasets import SIDE
from app.memory import memory_of
from app.models import TwoConvNet
from app.onednn import Buffer, Description, Layout, Memory, Primitive

# Making a plan for a new number of pictures takes as long as Paddle takes for about so many of them. In eval
# mode there are plans for multiples of it only: the pictures of pages come in all numbers.
_WORTHWHILE = 16

# For how many pictures idle plans are kept, the newest always, by each column of a network. With the preset
# `best`, a picture takes up to 0.15 MB in each of four.
_PICTURES_KEPT = 1000

# Whether oneDNN agreed with Paddle on features like these when this process first met them.
_AGREEMENT: dict[tuple[object, ...], bool] = {}

# How far its results may be from Paddle's, as a share: a near tie of a maximum may go either way.
_TOLERANCE = 1e-2

# By the number of their dimensions: biases and norms, kernels.
_PARAMETER_TAGS = {1: onednn.VECTOR, 4: onednn.PLAIN}


def accelerate(network: nn.Layer) -> None:
    """Let oneDNN compute the features of a network's pairs of convolutions; its parameters stay its own."""
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, TwoConvNet):
            # The object hides the class's method of this name, which it falls back on.
            layer.features = FastFeatures(layer)  # type: ignore[method-assign]


class FastFeatures:
    """`TwoConvNet.features` of a network, by oneDNN where that can do it, else by Paddle.

    Several threads may call it in eval mode at the same time. Batch norm's running statistics are kept as
    Paddle keeps them. Hooks on the layers that it stands for do not run. In training, the gradients of all
    parameters are to be asked for at once, and once: Paddle's `PyLayer` knows no more.
    """

    def __init__(self, network: TwoConvNet) -> None:
        # The network has this object; holding it in turn would leave both to the garbage collector.
        self._network = weakref.ref(network)
        self._is_supported = True
        # The oldest come first. Its methods are atomic: threads need no lock.
        self._idle_plans: deque[Plan] = deque()

    def __deepcopy__(self, memo: dict[int, Any]) -> FastFeatures:
        """Return the features of the copy that is being made of the network."""
        return FastFeatures(memo[id(self._network())])

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features, float32 [N, F], of float32 [N, 1, 28, 28] pictures."""
        network = self._network()
        assert network is not None
        stages = stages_of(network)
        plan = self._take_plan(network, stages, images) if self._suits(network, stages, images) else None
        if plan is None:
            return TwoConvNet.features(network, images)
        is_frozen = all(parameter.stop_gradient for parameter in plan.parameters)
        if plan.training and paddle.is_grad_enabled() and not is_frozen:
            # Paddle finds out from the arguments which gradients there are.
            result: paddle.Tensor = _Features.apply(images, *plan.parameters, self, plan)
            return result
        features = plan.forward(_padded(images, plan.count))[: len(images)]
        self.give_back(plan)
        return features

    def _suits(self, network: TwoConvNet, stages: Sequence[Stage], images: paddle.Tensor) -> bool:
        """Whether this can be left to oneDNN, and is worth it.

        Of gradients, plans know those of the parameters in training only.
        """
        training = network.training
        has_known_gradients = training and images.stop_gradient
        parameters = [parameter for stage in stages for parameter in stage.parameters]
        return (
            self._is_supported
            and paddle.in_dynamic_mode()
            and list(images.shape[1:]) == [1, SIDE, SIDE]
            and len(images) >= (1 if training else _WORTHWHILE)
            and (has_known_gradients or not paddle.is_grad_enabled())
            and all(each.dtype == paddle.float32 for each in (images, *parameters))
            and all(each.place.is_cpu_place() for each in (images, *parameters))
            and all(each.is_contiguous() for each in parameters)
            and all(stage.norm is None or stage.norm.training == training for stage in stages)
        )

    def _take_plan(
        self, network: TwoConvNet, stages: Sequence[Stage], images: paddle.Tensor
    ) -> Optional[Plan]:
        """Return a plan that nobody else has, None if oneDNN turns out to be of no use."""
        training = network.training
        count = len(images) if training else math.ceil(len(images) / _WORTHWHILE) * _WORTHWHILE
        try:
            for _ in range(len(self._idle_plans)):
                plan = self._idle_plans.popleft()
                if plan.suits(stages, count, training):
                    return plan
                self._idle_plans.append(plan)
        except IndexError:
            # Other threads have taken all that were there.
            pass
        try:
            plan = make_plan(stages, count, training)
        except onednn.UnsupportedError:
            self._is_supported = False
            return None
        kind = (training, *(stage.kind for stage in stages))
        if kind not in _AGREEMENT:
            verdict = agrees(plan, network, _padded(images, count))
            if verdict is None:
                return plan
            _AGREEMENT[kind] = verdict
        self._is_supported = _AGREEMENT[kind]
        return plan if self._is_supported else None

    def give_back(self, plan: Plan) -> None:
        """Keep a plan for the next pictures of the same number."""
        plan.images = None
        self._idle_plans.append(plan)
        while len(kept := list(self._idle_plans)) > 1 and sum(each.count for each in kept) > _PICTURES_KEPT:
            self._idle_plans.popleft()


class _Features(PyLayer):
    """The features of pictures in training, with the gradients of the parameters."""

    @staticmethod
    def forward(ctx: Any, images: paddle.Tensor, *others: Any) -> paddle.Tensor:
        *_parameters, ctx.owner, ctx.plan = others
        # What the plan has computed stays in its memory until the gradients are known.
        features: paddle.Tensor = ctx.plan.forward(images)
        return features

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[Optional[paddle.Tensor], ...]:
        plan, ctx.plan = ctx.plan, None
        if plan is None:
            raise RuntimeError("the gradients of fast layers can be computed once for each pass")
        gradients = plan.backward(gradient)
        ctx.owner.give_back(plan)
        # Paddle wants none for what is frozen.
        pairs = zip(plan.parameters, gradients)
        return (None, *(None if parameter.stop_gradient else gradient for parameter, gradient in pairs))


def _padded(images: paddle.Tensor, count: int) -> paddle.Tensor:
    """Return the pictures with as many blank ones after them as make `count`."""
    missing = count - len(images)
    return paddle.concat([images, paddle.zeros([missing, 1, SIDE, SIDE], "float32")]) if missing else images


def agrees(plan: Plan, network: TwoConvNet, images: paddle.Tensor) -> Optional[bool]:
    """Whether a plan computes the features that Paddle's layers do, None if those are not finite numbers.

    Batch norm's running statistics stay as they are.
    """
    norms = [stage.norm for stage in stages_of(network) if stage.norm is not None]
    statistics = [memory_of(each) for norm in norms for each in (norm._mean, norm._variance)]
    before = [values.copy() for values in statistics]
    with paddle.no_grad():
        features = (plan.forward(images), TwoConvNet.features(network, images))
    for values, old in zip(statistics, before):
        values[...] = old
    return _are_close(*(_flat([each]) for each in features))


def gradients_agree(plan: Plan, network: TwoConvNet, images: paddle.Tensor) -> Optional[bool]:
    """The same of the gradients that a plan for training computes of the network's parameters.

    Not for two threads at the same time: Paddle's `grad` is for one.
    """
    stages = stages_of(network)
    features = plan.forward(images)
    upstream = paddle.cos(paddle.arange(features.size, dtype="float32")).reshape(features.shape)
    parameters = [parameter for stage in stages for parameter in stage.parameters]
    expected = paddle.grad([TwoConvNet.features(network, images)], parameters, [upstream])
    return _are_close(_flat(plan.backward(upstream)), _flat(expected))


def _are_close(actual: NDArray[Any], expected: NDArray[Any]) -> Optional[bool]:
    if not np.isfinite(expected).all():
        return None
    return bool(np.linalg.norm(actual - expected) <= _TOLERANCE * np.linalg.norm(expected))


def _flat(tensors: Sequence[paddle.Tensor]) -> NDArray[Any]:
    """Return the values of all tensors in one row."""
    return np.concatenate([tensor.numpy().ravel() for tensor in tensors])


@dataclass(frozen=True)
class Stage:
    """A convolution and what follows it, as `TwoConvNet` has it."""

    weight: paddle.Tensor
    bias: Optional[paddle.Tensor]
    norm: Optional[nn.BatchNorm2D]
    is_pooled: bool
    padding: int

    @property
    def parameters(self) -> list[paddle.Tensor]:
        """The weights, then what there is of a bias and of the norm's scale and shift."""
        norm = [] if self.norm is None else [self.norm.weight, self.norm.bias]
        return [self.weight, *([] if self.bias is None else [self.bias]), *norm]

    @property
    def kind(self) -> tuple[object, ...]:
        """What the choice of oneDNN's code depends on."""
        options = (self.bias is None, self.norm is None, self.is_pooled, self.padding)
        return (*self.weight.shape, *options)


def stages_of(network: TwoConvNet) -> list[Stage]:
    """Return both stages of a network as it is now."""
    architecture = network.architecture
    return [
        Stage(
            weight=convolution.weight,
            bias=convolution.bias,
            norm=norm if architecture["batch_norm"] else None,
            is_pooled=architecture["downsampling"] == "max-pool",
            padding=convolution.weight.shape[-1] // 2 if architecture["padding"] == "same" else 0,
        )
        for convolution, norm in ((network.conv1, network.norm1), (network.conv2, network.norm2))
    ]


def make_plan(stages: Sequence[Stage], count: int, training: bool) -> Plan:
    """Return a plan in the fastest layout for which oneDNN has code on this processor.

    Raises:
        UnsupportedError: there is none.
    """
    tags = [onednn.CHANNELS_BY_16, onednn.CHANNELS_BY_8, onednn.CHANNELS_LAST]
    # Blocks waste work on channels that do not exist. Batch norm is slow without blocks.
    if any(stage.weight.shape[0] % 16 and stage.norm is None for stage in stages):
        tags.reverse()
    for tag in tags[:-1]:
        try:
            return Plan(stages, count, training, tag)
        except onednn.UnsupportedError:
            continue
    return Plan(stages, count, training, tags[-1])


class Plan:
    """All operations for a number of pictures, one after the other, with the memory between them.

    Args:
        stages: of the network.
        count: how many pictures.
        training: whether gradients may follow.
        tag: the layout of what is between the operations, of `app.onednn`.

    Raises:
        UnsupportedError: oneDNN has no code for it in this layout.
    """

    images: Optional[paddle.Tensor] = None
    """What the operations are at work on."""

    def __init__(self, stages: Sequence[Stage], count: int, training: bool, tag: int) -> None:
        self.count = count
        self.training = training
        self._operations: list[_Operation] = []
        before: Optional[_Operation] = None
        for stage in stages:
            before = _Convolution(stage, before, count, training, tag)
            self._operations.append(before)
            if stage.is_pooled:
                before = _Pooling(before, training, tag)
                self._operations.append(before)
            before = _Relu(before, training) if stage.norm is None else _Norm(stage.norm, before, training)
            self._operations.append(before)
        self.parameters = [each for operation in self._operations for each in operation.parameters]
        self._norms = [stage.norm for stage in stages]
        last = self._operations[-1]
        plain = Layout.of(last.shape, onednn.PLAIN)
        self._features, self._gradient = Memory(plain), Memory(plain)
        self._leave = onednn.reorder(last.output, self._features)
        if last.gradient is not None:
            self._enter = onednn.reorder(self._gradient, last.gradient)

    def suits(self, stages: Sequence[Stage], count: int, training: bool) -> bool:
        """Whether it is for so many pictures, and these parameters and norms are its own."""
        parameters = [each for stage in stages for each in stage.parameters]
        return (
            (self.count, self.training, len(self.parameters)) == (count, training, len(parameters))
            and all(mine is theirs for mine, theirs in zip(self.parameters, parameters))
            and all(mine is stage.norm for mine, stage in zip(self._norms, stages))
        )

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features, [N, F]."""
        # The gradient of the first kernels needs the pictures once more.
        self.images = images.contiguous()
        self._version = self.images.inplace_version
        self._operations[0].source.place(self.images.data_ptr())
        for operation in self._operations:
            operation.forward()
        features = paddle.empty([self.count, math.prod(self._operations[-1].shape[1:])], "float32")
        self._features.place(features.data_ptr())
        self._leave.run()
        return features

    def backward(self, gradient: paddle.Tensor) -> list[paddle.Tensor]:
        """Return the gradients of `parameters` from that of the features, after `forward`."""
        if self.images is None or self.images.inplace_version != self._version:
            raise RuntimeError("the pictures have changed since the features were computed")
        gradient = gradient.contiguous()
        self._gradient.place(gradient.data_ptr())
        self._enter.run()
        by_operation = [operation.backward() for operation in reversed(self._operations)]
        return [each for gradients in reversed(by_operation) for each in gradients]


class _Operation:
    """One layer, for a number of pictures.

    Args:
        source: what it works on; the place of the pictures is given later.
        output: what comes out, of `shape`, [N, C, H, W].
        gradient: that of `output`; None outside training.
        parameters: they and their gradients stay where Paddle has them.
    """

    def __init__(
        self,
        source: Memory,
        output: Buffer,
        shape: Sequence[int],
        gradient: Optional[Buffer],
        parameters: Sequence[paddle.Tensor] = (),
    ) -> None:
        self.source, self.output, self.shape, self.gradient = source, output, shape, gradient
        self.parameters = parameters
        layouts = [Layout.of(each.shape, _PARAMETER_TAGS[each.ndim]) for each in parameters]
        self._values = [Memory(layout) for layout in layouts]
        self._value_gradients = [Memory(layout) for layout in layouts]
        self._forward_steps: list[Primitive] = []
        self._backward_steps: list[Primitive] = []

    def forward(self) -> None:
        """Compute `output`."""
        _place(self._values, self.parameters)
        for step in self._forward_steps:
            step.run()

    def backward(self) -> list[paddle.Tensor]:
        """Compute the gradient of the source, where one is wanted; return the gradients of `parameters`."""
        gradients = [paddle.empty(parameter.shape, "float32") for parameter in self.parameters]
        _place(self._values, self.parameters)
        _place(self._value_gradients, gradients)
        for step in self._backward_steps:
            step.run()
        return gradients


def _place(memories: Sequence[Memory], tensors: Sequence[paddle.Tensor]) -> None:
    for memory, tensor in zip(memories, tensors):
        memory.place(tensor.data_ptr())


@dataclass(frozen=True)
class _Windows:
    """How a convolution moves over its pictures, and how wide those and its results are."""

    width: int
    result_width: int
    stride: int
    padding: tuple[int, int]

    @classmethod
    def of(cls, stage: Stage, width: int) -> _Windows:
        side, stride = stage.weight.shape[-1], 1 if stage.is_pooled else 2
        result_width = (width + 2 * stage.padding - side) // stride + 1
        # As many rows and columns after the picture as the last windows reach.
        after = (result_width - 1) * stride + side - width - stage.padding
        return cls(width, result_width, stride, (stage.padding, after))


class _Convolution(_Operation):
    def __init__(
        self, stage: Stage, before: Optional[_Operation], count: int, training: bool, tag: int
    ) -> None:
        windows = _Windows.of(stage, SIDE if before is None else before.shape[-1])
        outputs, channels, *_ = stage.weight.shape
        shape = [count, outputs, windows.result_width, windows.result_width]
        output = Layout.of(shape, tag)
        weights = Layout.of(stage.weight.shape, onednn.ANY)
        bias = None if stage.bias is None else Layout.of(stage.bias.shape, onednn.VECTOR)
        if before is None:
            # The layouts of a single channel are alike, but the fastest code is found only if it may choose.
            pictures = Layout.of([count, channels, windows.width, windows.width], onednn.ANY)
        else:
            pictures = before.output.layout
        layouts = (pictures, weights, bias, output)
        forward = onednn.convolution(layouts, windows.stride, windows.padding, training)
        source = _picture_memory(forward, count) if before is None else before.output
        parameters = [stage.weight] if stage.bias is None else [stage.weight, stage.bias]
        super().__init__(source, Buffer(output), shape, Buffer(output) if training else None, parameters)
        arguments = {onednn.SOURCE: source, onednn.WEIGHTS: self._values[0], onednn.DESTINATION: self.output}
        if bias is not None:
            arguments[onednn.BIAS] = self._values[1]
        self._forward_steps += _with_own_weights(forward, arguments)
        if self.gradient is not None:
            hint = (windows.stride, windows.padding, forward)
            self._add_weight_gradient(self.gradient, (source.layout, *layouts[1:]), hint)
            if before is not None and before.gradient is not None:
                self._add_source_gradient(self.gradient, before.gradient, weights, hint)

    def _add_weight_gradient(self, gradient: Buffer, layouts: tuple[Any, ...], hint: tuple[Any, ...]) -> None:
        description = onednn.convolution_gradient("weights", layouts, *hint)
        own = Buffer(description.layout(onednn.WEIGHTS_GRADIENT))
        arguments = {onednn.SOURCE: self.source, onednn.DESTINATION_GRADIENT: gradient}
        arguments[onednn.WEIGHTS_GRADIENT] = own
        plain, *bias = self._value_gradients
        if bias:
            arguments[onednn.BIAS_GRADIENT] = bias[0]
        self._backward_steps += [Primitive(description, arguments), onednn.reorder(own, plain)]

    def _add_source_gradient(
        self, gradient: Buffer, source_gradient: Buffer, weights: Layout, hint: tuple[Any, ...]
    ) -> None:
        layouts = (source_gradient.layout, weights, gradient.layout)
        description = onednn.convolution_gradient("data", layouts, *hint)
        arguments = {
            onednn.WEIGHTS: self._values[0],
            onednn.SOURCE_GRADIENT: source_gradient,
            onednn.DESTINATION_GRADIENT: gradient,
        }
        self._backward_steps += _with_own_weights(description, arguments)


def _picture_memory(description: Description, count: int) -> Memory:
    layout = description.layout(onednn.SOURCE)
    if layout.size != count * SIDE**2 * np.dtype(np.float32).itemsize:
        raise onednn.UnsupportedError("oneDNN wants channels that the pictures do not have")
    return Memory(layout)


def _with_own_weights(description: Description, arguments: dict[int, Memory]) -> list[Primitive]:
    """Return the copy of the weights into the layout that the primitive wants, and the primitive."""
    own = Buffer(description.layout(onednn.WEIGHTS))
    copy = onednn.reorder(arguments[onednn.WEIGHTS], own)
    return [copy, Primitive(description, {**arguments, onednn.WEIGHTS: own})]


class _Pooling(_Operation):
    def __init__(self, before: _Operation, training: bool, tag: int) -> None:
        shape = [*before.shape[:2], *(width // 2 for width in before.shape[2:])]
        layout = Layout.of(shape, tag)
        super().__init__(before.output, Buffer(layout), shape, Buffer(layout) if training else None)
        forward = onednn.pooling(self.source.layout, layout, training)
        arguments = {onednn.SOURCE: self.source, onednn.DESTINATION: self.output}
        if self.gradient is not None and before.gradient is not None:
            # It says which of the four was the largest.
            workspace = Buffer(forward.layout(onednn.WORKSPACE))
            arguments[onednn.WORKSPACE] = workspace
            backward = onednn.pooling_gradient(before.gradient.layout, layout, forward)
            gradients = {
                onednn.SOURCE_GRADIENT: before.gradient,
                onednn.DESTINATION_GRADIENT: self.gradient,
                onednn.WORKSPACE: workspace,
            }
            self._backward_steps.append(Primitive(backward, gradients))
        self._forward_steps.append(Primitive(forward, arguments))


class _Relu(_Operation):
    """In the place of its source, as its gradient is."""

    def __init__(self, before: _Operation, training: bool) -> None:
        super().__init__(before.output, before.output, before.shape, before.gradient)
        forward = onednn.relu(self.output.layout, training)
        arguments = {onednn.SOURCE: self.output, onednn.DESTINATION: self.output}
        self._forward_steps.append(Primitive(forward, arguments))
        if self.gradient is not None:
            gradients = {
                onednn.DESTINATION: self.output,
                onednn.SOURCE_GRADIENT: self.gradient,
                onednn.DESTINATION_GRADIENT: self.gradient,
            }
            backward = onednn.relu_gradient(self.output.layout, forward)
            self._backward_steps.append(Primitive(backward, gradients))


class _Norm(_Operation):
    """Batch norm with ReLU; its gradient is in the place of its source's."""

    def __init__(self, norm: nn.BatchNorm2D, before: _Operation, training: bool) -> None:
        layout = before.output.layout
        parameters = (norm.weight, norm.bias)
        super().__init__(before.output, Buffer(layout), before.shape, before.gradient, parameters)
        self._norm = norm
        channels = Layout.of(norm.weight.shape, onednn.VECTOR)
        scale, shift = self._values
        known: dict[int, Memory] = {onednn.SOURCE: self.source, onednn.SCALE: scale}
        forward = onednn.norm_and_relu(layout, norm._epsilon, training)
        if self.gradient is None:
            self._running = [Memory(channels), Memory(channels)]
            known |= zip((onednn.MEAN, onednn.VARIANCE), self._running)
        else:
            self._batch = [Buffer(channels), Buffer(channels)]
            known |= zip((onednn.MEAN, onednn.VARIANCE), self._batch)
            # It says where ReLU let the values pass.
            known[onednn.WORKSPACE] = Buffer(forward.layout(onednn.WORKSPACE))
            gradients = {
                onednn.SOURCE_GRADIENT: self.gradient,
                onednn.DESTINATION_GRADIENT: self.gradient,
                **dict(zip((onednn.SCALE_GRADIENT, onednn.SHIFT_GRADIENT), self._value_gradients)),
            }
            backward = onednn.norm_and_relu_gradient(layout, norm._epsilon, forward)
            self._backward_steps.append(Primitive(backward, {**known, **gradients}))
        arguments = {**known, onednn.SHIFT: shift, onednn.DESTINATION: self.output}
        self._forward_steps.append(Primitive(forward, arguments))

    def forward(self) -> None:
        running = (self._norm._mean, self._norm._variance)
        if self.gradient is None:
            _place(self._running, running)
            super().forward()
            return
        super().forward()
        # Whether a run diverges is said elsewhere, once.
        with np.errstate(all="ignore"):
            for buffer, statistic in zip(self._batch, running):
                values = memory_of(statistic)
                values *= self._norm._momentum
                values += (1 - self._norm._momentum) * buffer.values[: len(values)]
