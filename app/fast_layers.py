"""The two convolutions with what follows each of them, by oneDNN: a drop-in for Paddle's layers.

Paddle 3.3 convolves on a CPU picture by picture, through copies of all windows, and makes a pass over memory
for each layer. oneDNN, which is in Paddle's own wheel, has code for each processor, and from one of its
operations to the next the values stay in a layout of its own. Where it is missing (macOS), or has no code for
the processor, Paddle's layers stay.
"""

from __future__ import annotations

import ctypes
import math
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
from app.models import TwoConvNet
from app.onednn import Layout, Memory, Primitive

Array = NDArray[Any]

# Making a plan for a new number of pictures takes as long as Paddle takes for about so many of them.
_WORTHWHILE = 16

# How many idle plans are kept: a training run needs one for a full batch and one for the last, and two for
# validation, for each thread.
_PLANS_KEPT = 16

# By the number of their dimensions: biases and norms, kernels.
_PARAMETER_TAGS = {1: onednn.VECTOR, 4: onednn.PLAIN}


def accelerate(network: nn.Layer) -> None:
    """Let oneDNN compute the features of a network that has two convolutions; its parameters stay its own."""
    if isinstance(network, TwoConvNet):
        network.features = FastFeatures(network)  # type: ignore[method-assign]


class FastFeatures:
    """`TwoConvNet.features` of a network, by oneDNN where that can do it, else by Paddle.

    Threads may call it at the same time. Batch norm's running statistics are kept as Paddle keeps them.
    """

    def __init__(self, network: TwoConvNet) -> None:
        self._network = network
        self._is_supported = True
        # Its methods used here are atomic: threads need no lock.
        self._idle_plans: deque[_Plan] = deque(maxlen=_PLANS_KEPT)

    def __deepcopy__(self, memo: dict[int, Any]) -> FastFeatures:
        """Return the features of the copy that is being made of the network."""
        return FastFeatures(memo[id(self._network)])

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features, float32 [N, F], of float32 [N, 1, 28, 28] pictures."""
        plan = self._take_plan(images)
        if plan is None:
            return TwoConvNet.features(self._network, images)
        if plan.training:
            result: paddle.Tensor = _Features.apply(images, *plan.parameters, self, plan)
            return result
        features = plan.forward(images)
        self.give_back(plan)
        return features

    def _take_plan(self, images: paddle.Tensor) -> Optional[_Plan]:
        """Return a plan that nobody else has, None if Paddle's own layers are to do the work."""
        training = self._network.training
        # Plans know neither the gradient of the pictures nor any gradient in eval mode.
        wants_more = not images.stop_gradient or (paddle.is_grad_enabled() and not training)
        if not self._is_supported or wants_more or len(images) < (1 if training else _WORTHWHILE):
            return None
        try:
            for _ in range(len(self._idle_plans)):
                plan = self._idle_plans.popleft()
                if (plan.count, plan.training) == (len(images), training):
                    return plan
                self._idle_plans.append(plan)
        except IndexError:
            # Other threads have taken all that were there.
            pass
        try:
            return _make_plan(self._network, len(images))
        except onednn.UnsupportedError:
            self._is_supported = False
            return None

    def give_back(self, plan: _Plan) -> None:
        """Keep a plan for the next pictures of the same number."""
        self._idle_plans.append(plan)


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
        gradients = ctx.plan.backward(gradient)
        ctx.owner.give_back(ctx.plan)
        return (None, *gradients)


@dataclass(frozen=True)
class _Stage:
    """A convolution and what follows it, as `TwoConvNet` has it."""

    weight: paddle.Tensor
    bias: Optional[paddle.Tensor]
    norm: Optional[nn.BatchNorm2D]
    is_pooled: bool
    padding: int


def _stages(network: TwoConvNet) -> list[_Stage]:
    architecture = network.architecture
    return [
        _Stage(
            weight=convolution.weight,
            bias=convolution.bias,
            norm=norm if architecture["batch_norm"] else None,
            is_pooled=architecture["downsampling"] == "max-pool",
            padding=convolution.weight.shape[-1] // 2 if architecture["padding"] == "same" else 0,
        )
        for convolution, norm in ((network.conv1, network.norm1), (network.conv2, network.norm2))
    ]


def _make_plan(network: TwoConvNet, count: int) -> _Plan:
    """Return a plan in the fastest layout for which oneDNN has code on this processor."""
    stages = _stages(network)
    tags = [onednn.CHANNELS_BY_16, onednn.CHANNELS_LAST]
    # Blocks of sixteen waste work on channels that do not exist. Batch norm is slow without blocks.
    if any(stage.weight.shape[0] % 16 and stage.norm is None for stage in stages):
        tags.reverse()
    try:
        return _Plan(stages, count, network.training, tags[0])
    except onednn.UnsupportedError:
        return _Plan(stages, count, network.training, tags[1])


class _Plan:
    """All operations for a number of pictures, one after the other, with the memory between them."""

    def __init__(self, stages: list[_Stage], count: int, training: bool, tag: int) -> None:
        self.count = count
        self.training = training
        self._operations: list[_Operation] = []
        before: Optional[_Operation] = None
        for stage in stages:
            before = convolution = _Convolution(stage, before, count, training, tag)
            self._operations.append(convolution)
            if stage.is_pooled:
                before = _Pooling(before, training, tag)
                self._operations.append(before)
            before = _Relu(before, training) if stage.norm is None else _Norm(stage.norm, before, training)
            self._operations.append(before)
        self.parameters = [each for operation in self._operations for each in operation.parameters]
        last = self._operations[-1]
        plain = Layout.of(last.shape, onednn.PLAIN)
        self._features, self._gradient = Memory(plain, is_placed=True), Memory(plain, is_placed=True)
        self._leave = onednn.reorder(last.output, self._features)
        if last.gradient is not None:
            self._enter = onednn.reorder(self._gradient, last.gradient)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features, [N, F]."""
        images = images.contiguous()
        self._operations[0].source.place(images.data_ptr())
        for operation in self._operations:
            operation.forward()
        features = paddle.empty([self.count, math.prod(self._operations[-1].shape[1:])], "float32")
        self._features.place(features.data_ptr())
        self._leave.run()
        return features

    def backward(self, gradient: paddle.Tensor) -> list[paddle.Tensor]:
        """Return the gradients of `parameters` from that of the features, after `forward`."""
        gradient = gradient.contiguous()
        self._gradient.place(gradient.data_ptr())
        self._enter.run()
        gradients: list[paddle.Tensor] = []
        for operation in reversed(self._operations):
            gradients[:0] = operation.backward()
        return gradients


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
        output: Memory,
        shape: Sequence[int],
        gradient: Optional[Memory],
        parameters: Sequence[paddle.Tensor] = (),
    ) -> None:
        self.source, self.output, self.shape, self.gradient = source, output, shape, gradient
        self.parameters = parameters
        layouts = [Layout.of(each.shape, _PARAMETER_TAGS[each.ndim]) for each in parameters]
        self._values = [Memory(layout, is_placed=True) for layout in layouts]
        self._value_gradients = [Memory(layout, is_placed=True) for layout in layouts]
        self._forward_steps: list[Primitive] = []
        self._backward_steps: list[Primitive] = []

    def forward(self) -> None:
        """Compute `output`."""
        for memory, parameter in zip(self._values, self.parameters):
            memory.place(parameter.data_ptr())
        for step in self._forward_steps:
            step.run()

    def backward(self) -> list[paddle.Tensor]:
        """Compute the gradient of the source, where one is wanted; return the gradients of `parameters`."""
        gradients = [paddle.empty(parameter.shape, "float32") for parameter in self.parameters]
        for memory, gradient in zip(self._value_gradients, gradients):
            memory.place(gradient.data_ptr())
        for step in self._backward_steps:
            step.run()
        return gradients


class _Convolution(_Operation):
    def __init__(
        self, stage: _Stage, before: Optional[_Operation], count: int, training: bool, tag: int
    ) -> None:
        outputs, channels, side, _ = stage.weight.shape
        width = SIDE if before is None else before.shape[-1]
        stride = 1 if stage.is_pooled else 2
        result_width = (width + 2 * stage.padding - side) // stride + 1
        # As many rows and columns after the picture as the last windows reach.
        padding = (stage.padding, (result_width - 1) * stride + side - width - stage.padding)
        shape = [count, outputs, result_width, result_width]
        # The layouts of a single channel are all alike, but the fastest code is found only if it may choose.
        pictures = Layout.of([count, channels, width, width], onednn.ANY)
        weights = Layout.of(stage.weight.shape, onednn.ANY)
        bias = None if stage.bias is None else Layout.of(stage.bias.shape, onednn.VECTOR)
        output = Layout.of(shape, tag)
        layouts = (pictures if before is None else before.output.layout, weights, bias, output)
        description = onednn.convolution(layouts, stride, padding, training)
        source = before.output if before else _picture_memory(description, count)
        gradient = Memory(output) if training else None
        parameters = [stage.weight] if stage.bias is None else [stage.weight, stage.bias]
        super().__init__(source, Memory(output), shape, gradient, parameters)

        # The last of these two pairs is dropped where there is no bias.
        arguments = dict(zip((onednn.WEIGHTS, onednn.BIAS), self._values))
        arguments |= {onednn.SOURCE: source, onednn.DESTINATION: self.output}
        self._forward_steps += _with_own(onednn.WEIGHTS, description, arguments)
        if gradient is None:
            return
        layouts = (source.layout, *layouts[1:])
        by_weights = onednn.convolution_gradient("weights", layouts, stride, padding, description)
        arguments = dict(zip((onednn.WEIGHTS_GRADIENT, onednn.BIAS_GRADIENT), self._value_gradients))
        arguments |= {onednn.SOURCE: source, onednn.DESTINATION_GRADIENT: gradient}
        self._backward_steps += _with_own(onednn.WEIGHTS_GRADIENT, by_weights, arguments)
        if before is not None and before.gradient is not None:
            by_source = onednn.convolution_gradient(
                "data", (before.gradient.layout, weights, output), stride, padding, description
            )
            arguments = {
                onednn.WEIGHTS: self._values[0],
                onednn.SOURCE_GRADIENT: before.gradient,
                onednn.DESTINATION_GRADIENT: gradient,
            }
            self._backward_steps += _with_own(onednn.WEIGHTS, by_source, arguments)


def _picture_memory(description: onednn.Description, count: int) -> Memory:
    layout = description.layout(onednn.SOURCE)
    if layout.size != count * SIDE**2 * np.dtype(np.float32).itemsize:
        raise onednn.UnsupportedError("oneDNN wants channels that the pictures do not have")
    return Memory(layout, is_placed=True)


def _with_own(number: int, description: onednn.Description, arguments: dict[int, Memory]) -> list[Primitive]:
    """Return the primitive, with one argument in the layout of its choice, and the copy from or to that."""
    own = Memory(description.layout(number))
    plain = arguments[number]
    primitive = Primitive(description, {**arguments, number: own})
    if number == onednn.WEIGHTS_GRADIENT:
        return [primitive, onednn.reorder(own, plain)]
    return [onednn.reorder(plain, own), primitive]


class _Pooling(_Operation):
    def __init__(self, before: _Operation, training: bool, tag: int) -> None:
        shape = [*before.shape[:2], *(width // 2 for width in before.shape[2:])]
        layout = Layout.of(shape, tag)
        super().__init__(before.output, Memory(layout), shape, Memory(layout) if training else None)
        description = onednn.pooling(self.source.layout, layout, training)
        arguments = {onednn.SOURCE: self.source, onednn.DESTINATION: self.output}
        if self.gradient is None or before.gradient is None:
            self._forward_steps.append(Primitive(description, arguments))
            return
        # It says which of the four was the largest.
        workspace = {onednn.WORKSPACE: Memory(description.layout(onednn.WORKSPACE))}
        self._forward_steps.append(Primitive(description, {**arguments, **workspace}))
        description = onednn.pooling_gradient(before.gradient.layout, layout, description)
        arguments = {
            onednn.SOURCE_GRADIENT: before.gradient,
            onednn.DESTINATION_GRADIENT: self.gradient,
        }
        self._backward_steps.append(Primitive(description, {**arguments, **workspace}))


class _Relu(_Operation):
    """In the place of its source, as its gradient is."""

    def __init__(self, before: _Operation, training: bool) -> None:
        super().__init__(before.output, before.output, before.shape, before.gradient)
        description = onednn.relu(self.output.layout, training)
        arguments = {onednn.SOURCE: self.output, onednn.DESTINATION: self.output}
        self._forward_steps.append(Primitive(description, arguments))
        if self.gradient is not None:
            description = onednn.relu_gradient(self.output.layout, description)
            arguments = {
                onednn.DESTINATION: self.output,
                onednn.SOURCE_GRADIENT: self.gradient,
                onednn.DESTINATION_GRADIENT: self.gradient,
            }
            self._backward_steps.append(Primitive(description, arguments))


class _Norm(_Operation):
    """Batch norm with ReLU; its gradient is in the place of its source's."""

    def __init__(self, norm: nn.BatchNorm2D, before: _Operation, training: bool) -> None:
        layout = before.output.layout
        parameters = (norm.weight, norm.bias)
        super().__init__(before.output, Memory(layout), before.shape, before.gradient, parameters)
        self._norm = norm
        channels = Layout.of(norm.weight.shape, onednn.VECTOR)
        self._statistics = [Memory(channels, is_placed=not training) for _ in range(2)]
        description = onednn.norm_and_relu(layout, norm._epsilon, training)
        known = {onednn.SOURCE: self.source, onednn.SCALE: self._values[0]}
        known |= dict(zip((onednn.MEAN, onednn.VARIANCE), self._statistics))
        arguments = {**known, onednn.SHIFT: self._values[1], onednn.DESTINATION: self.output}
        if self.gradient is None:
            self._forward_steps.append(Primitive(description, arguments))
            return
        # It says where ReLU let the values pass.
        known[onednn.WORKSPACE] = Memory(description.layout(onednn.WORKSPACE))
        self._forward_steps.append(Primitive(description, {**arguments, **known}))
        description = onednn.norm_and_relu_gradient(layout, norm._epsilon, description)
        arguments = {onednn.SOURCE_GRADIENT: self.gradient, onednn.DESTINATION_GRADIENT: self.gradient}
        arguments |= dict(zip((onednn.SCALE_GRADIENT, onednn.SHIFT_GRADIENT), self._value_gradients))
        self._backward_steps.append(Primitive(description, {**arguments, **known}))

    def forward(self) -> None:
        running = (self._norm._mean, self._norm._variance)
        if self.gradient is None:
            for memory, statistic in zip(self._statistics, running):
                memory.place(statistic.data_ptr())
        super().forward()
        if self.gradient is not None:
            for memory, statistic in zip(self._statistics, running):
                values = memory_of(statistic)
                values *= self._norm._momentum
                values += (1 - self._norm._momentum) * memory.values[: len(values)]


def memory_of(tensor: paddle.Tensor) -> Array:
    """Return the memory of a float32 tensor as an array that can be written to if it is contiguous."""
    array: Array = np.from_dlpack(tensor.detach())
    if array.flags.writeable or not array.flags.c_contiguous:
        return array
    # NumPy before 2.1 takes whatever it is offered this way for read-only.
    memory: Any = (ctypes.c_float * array.size).from_address(array.ctypes.data)
    memory.owner = array
    return np.frombuffer(memory, np.float32).reshape(array.shape)
