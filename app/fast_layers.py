"""Convolutions that halve the picture, each as one matrix product: drop-ins for Paddle's layers.

Paddle 3.3 convolves on a CPU picture by picture with small matrix products, and spends more time on
gathering and scattering windows than on arithmetic. Here the windows of the whole batch are the rows of one
matrix (im2col; Chellapilla, Puri and Simard, 2006, "High Performance Convolutional Neural Networks for
Document Processing"). NumPy copies them, whole rows of a window at a time, and Paddle multiplies; both
release the interpreter's lock meanwhile, so that two threads run side by side.
"""

from __future__ import annotations

import ctypes
from typing import Any, Optional

import numpy as np
import paddle
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from paddle import nn
from paddle.autograd import PyLayer

from app.models import TwoConvNet

Array = NDArray[Any]
Gradients = tuple[Optional[paddle.Tensor], ...]


def accelerate(network: nn.Layer) -> None:
    """Put the fast layers in the place of the network's convolutions and pooling, if it has any.

    They take over the parameters.
    """
    if not isinstance(network, TwoConvNet):
        return
    layer = StridedConv2D if network.architecture["downsampling"] == "stride" else PooledConv2D
    is_padded = network.architecture["padding"] == "same"
    for number in (1, 2):
        setattr(network, f"conv{number}", layer(getattr(network, f"conv{number}"), is_padded))
        setattr(network, f"pool{number}", nn.Identity())


class _Substitute(nn.Layer):
    """A layer that has the very parameters of an `nn.Conv2D`, with an odd kernel."""

    def __init__(self, plain: nn.Conv2D, is_padded: bool) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias
        self.padding = plain.weight.shape[-1] // 2 if is_padded else 0


class StridedConv2D(_Substitute):
    """`nn.Conv2D` with stride 2 and padding k // 2 or 0, for pictures of even sides."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return float32 [N, out, H / 2, W / 2] of float32 [N, in, H, W]; without padding of H - k + 1."""
        result: paddle.Tensor = _StridedConvolution.apply(x, self.weight, self.bias, self.padding)
        return result


class PooledConv2D(_Substitute):
    """`nn.Conv2D` with padding k // 2 or 0, then `nn.MaxPool2D(2)`, for pictures of even sides."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return float32 [N, out, H / 2, W / 2] of float32 [N, in, H, W]; without padding of H - k + 1."""
        result: paddle.Tensor = _PooledConvolution.apply(x, self.weight, self.bias, self.padding)
        return result


class _StridedConvolution(PyLayer):
    @staticmethod
    def forward(
        ctx: Any, x: paddle.Tensor, weight: paddle.Tensor, bias: Optional[paddle.Tensor], padding: int
    ) -> paddle.Tensor:
        kernels = memory_of(weight)
        ctx.kernels = kernels
        ctx.wants_input_gradient = not x.stop_gradient
        ctx.has_bias = bias is not None
        ctx.padding = padding
        shape = _output_shape(x, weight, padding)
        ctx.columns = _columns(memory_of(x), kernels.shape[-1], padding, shape)
        return _finish(_convolve(ctx.columns, kernels), bias, shape)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> Gradients:
        output = _tensor(memory_of(gradient).transpose(1, 0, 2, 3))
        output_gradient = memory_of(output)
        bias_gradient = output_gradient.sum(axis=(1, 2, 3)) if ctx.has_bias else None
        weight_gradient = _weight_gradient(ctx.columns, output, ctx.kernels.shape)
        return _gradients(ctx, output_gradient, weight_gradient, bias_gradient)


class _PooledConvolution(PyLayer):
    """The four pixels under a maximum see a window of k + 1 pixels between them.

    So they are the four results of a convolution with stride 2 and 4 * O kernels of side k + 1, each kernel
    shifted to its pixel's place in the window. For k = 5 the product is 1.44 times as large as that of single
    pixels, but of a shape that runs twice as fast, with a third of the values to copy into columns.
    """

    @staticmethod
    def forward(
        ctx: Any, x: paddle.Tensor, weight: paddle.Tensor, bias: Optional[paddle.Tensor], padding: int
    ) -> paddle.Tensor:
        kernels = memory_of(weight)
        outputs, channels, side, _ = kernels.shape
        shifted = np.zeros((4, outputs, channels, side + 1, side + 1), np.float32)
        for place, (down, right) in enumerate(_places(side)):
            shifted[place, ..., down, right] = kernels
        ctx.side = side
        ctx.kernels = shifted.reshape(4 * outputs, channels, side + 1, side + 1)
        ctx.wants_input_gradient = not x.stop_gradient
        ctx.has_bias = bias is not None
        ctx.padding = padding
        shape = _output_shape(x, weight, padding)
        ctx.columns = _columns(memory_of(x), side + 1, padding, shape)
        candidates = _convolve(ctx.columns, ctx.kernels).reshape(4, -1)
        ctx.is_left = candidates[0::2] >= candidates[1::2]
        rows = np.maximum(candidates[0::2], candidates[1::2], out=candidates[0::2])
        ctx.is_top = rows[0] >= rows[1]
        # The bias is the same for all four: added to the maximum, it meets a quarter of the values.
        maximum = np.maximum(rows[0], rows[1], out=rows[0])
        return _finish(maximum.reshape(outputs, -1), bias, shape)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> Gradients:
        output_gradient = np.ascontiguousarray(memory_of(gradient).transpose(1, 0, 2, 3))
        bias_gradient = output_gradient.sum(axis=(1, 2, 3)) if ctx.has_bias else None
        # The first of equal candidates takes the gradient, as in Paddle.
        flat = output_gradient.reshape(-1)
        outputs, *rest = output_gradient.shape
        candidates = paddle.empty([4 * outputs, *rest], "float32")
        spread = memory_of(candidates).reshape(4, -1)
        np.multiply(flat, ctx.is_top, out=spread[1])
        np.subtract(flat, spread[1], out=spread[3])
        for row, is_left in zip((0, 2), ctx.is_left):
            np.multiply(spread[row + 1], is_left, out=spread[row])
            np.subtract(spread[row + 1], spread[row], out=spread[row + 1])
        shifted = _weight_gradient(ctx.columns, candidates, ctx.kernels.shape)
        shifted = shifted.reshape(4, outputs, *shifted.shape[1:])
        weight_gradient = np.zeros((outputs, shifted.shape[2], ctx.side, ctx.side), np.float32)
        for place, (down, right) in enumerate(_places(ctx.side)):
            weight_gradient += shifted[place, ..., down, right]
        return _gradients(ctx, memory_of(candidates), weight_gradient, bias_gradient)


def _places(side: int) -> list[tuple[slice, slice]]:
    """Return where the kernels of the four pixels under a maximum lie in their common window."""
    first, second = slice(0, side), slice(1, side + 1)
    return [(first, first), (first, second), (second, first), (second, second)]


def _output_shape(x: paddle.Tensor, weight: paddle.Tensor, padding: int) -> tuple[int, ...]:
    """Return the shape of the result, [N, O, H', W'], for even H, W and odd k: half of what k leaves."""
    count, _, *sides = x.shape
    outputs, _, side, _ = weight.shape
    if any(each % 2 for each in sides):
        raise ValueError(f"the pictures' sides must be even, not {sides}")
    return (count, outputs, *((each + 2 * padding - side + 1) // 2 for each in sides))


def _columns(x: Array, side: int, padding: int, output: tuple[int, ...]) -> paddle.Tensor:
    """Return the windows of [N, C, H, W], two pixels apart: [N * H' * W', side * side * C].

    There are `padding` rows and columns of zeros before each picture, and as many after it as the last
    windows reach; `output` is [N, O, H', W']. For a single channel the result is transposed.
    """
    count, channels, height, width = x.shape
    down, right = output[2:]
    after = max(2 * down - 2 + side - padding - height, 0)
    padded = np.zeros((count, height + padding + after, width + padding + after, channels), np.float32)
    padded[:, padding : padding + height, padding : padding + width] = x.transpose(0, 2, 3, 1)
    image, row, pixel, value = padded.strides
    if channels == 1:
        # A window's rows are too short to copy one by one; the pixels at one place of all windows are not.
        pixels = as_strided(padded, (side, side, count, down, right), (row, pixel, image, 2 * row, 2 * pixel))
        return _tensor(pixels, side * side, count * down * right)
    shape = (count, down, right, side, side * channels)
    windows = as_strided(padded, shape, (image, 2 * row, 2 * pixel, row, value))
    return _tensor(windows, count * down * right, side * side * channels)


def _convolve(columns: paddle.Tensor, kernels: Array) -> Array:
    """Return [O, N * H' * W'], contiguous, of `_columns` and [O, C, k, k]."""
    outputs, channels, side, _ = kernels.shape
    if channels == 1:
        return memory_of(paddle.matmul(_tensor(kernels, outputs, side * side), columns))
    # The transpose of the product is faster to compute and to turn round than the product.
    flat = _tensor(kernels.transpose(2, 3, 1, 0), side * side * channels, outputs)
    return np.ascontiguousarray(memory_of(paddle.matmul(columns, flat)).T)


def _finish(output: Array, bias: Optional[paddle.Tensor], shape: tuple[int, ...]) -> paddle.Tensor:
    """Return `shape`, [N, O, H', W'], of [O, N * H' * W'] and the bias."""
    if bias is not None:
        output += memory_of(bias)[:, np.newaxis]
    count, outputs, height, width = shape
    return _tensor(output.reshape(outputs, count, height, width).transpose(1, 0, 2, 3))


def _weight_gradient(columns: paddle.Tensor, gradient: paddle.Tensor, shape: tuple[int, ...]) -> Array:
    """Return the gradient of the kernels, of `shape` [O, C, k, k], from the output's, [O, N, H', W']."""
    outputs, channels, side, _ = shape
    product = paddle.matmul(gradient.reshape([outputs, -1]), columns, transpose_y=channels == 1)
    by_place: Array = memory_of(product).reshape(outputs, side, side, channels).transpose(0, 3, 1, 2)
    return by_place


def _gradients(ctx: Any, output: Array, weight: Array, bias: Optional[Array]) -> Gradients:
    """Return what a backward pass returns; `output` is the gradient of the output, [O, N, H', W']."""
    input_gradient = _input_gradient(output, ctx.kernels, ctx.padding) if ctx.wants_input_gradient else None
    gradients = [input_gradient, _tensor(weight)]
    return tuple(gradients if bias is None else [*gradients, _tensor(bias)])


def _input_gradient(gradient: Array, kernels: Array, padding: int) -> paddle.Tensor:
    """Return [N, C, H, W], the gradient of the input, from that of the output, [O, N, H', W'].

    Each 2x2 pixels of the input meet the same few outputs: their gradients are gathered, and one product
    gives all four pixels. Nothing is scattered.
    """
    outputs, count, down, right = gradient.shape
    channels, side = kernels.shape[1:3]
    # Of a pooled kernel, whose window is larger by one, the side is even.
    lost = (side - 1) // 2 - padding
    height, width = down + lost, right + lost
    before, after = (side - 1 - padding) // 2, (padding + 1) // 2
    reach = before + 1 + after
    # Pixel 2 * i + parity meets output i - before + offset at this place of the kernel:
    places = [
        (offset, parity, 2 * (before - offset) + parity + padding)
        for offset in range(reach)
        for parity in (0, 1)
        if 0 <= 2 * (before - offset) + parity + padding < side
    ]
    by_place = kernels.transpose(2, 3, 0, 1)
    taps = np.zeros((reach, reach, outputs, 2, 2, channels), np.float32)
    for up, row, kernel_row in places:
        for left, column, kernel_column in places:
            taps[up, left, :, row, column] = by_place[kernel_row, kernel_column]
    padded = np.zeros((count, height + reach - 1, width + reach - 1, outputs), np.float32)
    padded[:, before : before + down, before : before + right] = gradient.transpose(1, 2, 3, 0)
    strides = padded.strides
    shape = (count, height, width, reach, reach * outputs)
    windows = as_strided(padded, shape, (*strides[:3], *strides[1::2]))
    rows = _tensor(windows, count * height * width, reach * reach * outputs)
    product = memory_of(paddle.matmul(rows, _tensor(taps, reach * reach * outputs, 4 * channels)))
    pixels = product.reshape(count, height, width, 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    # In two steps, of which each copies in long runs.
    pixels = np.ascontiguousarray(pixels).reshape(count, 2 * height, 2 * width, channels)
    return _tensor(pixels.transpose(0, 3, 1, 2))


def memory_of(tensor: paddle.Tensor) -> Array:
    """Return the memory of a float32 tensor as an array that can be written to if it is contiguous."""
    array: Array = np.from_dlpack(tensor.detach())
    if array.flags.writeable or not array.flags.c_contiguous:
        return array
    # NumPy before 2.1 takes whatever it is offered this way for read-only.
    memory: Any = (ctypes.c_float * array.size).from_address(array.ctypes.data)
    memory.owner = array
    return np.frombuffer(memory, np.float32).reshape(array.shape)


def _tensor(array: Array, *shape: int) -> paddle.Tensor:
    """Return a contiguous copy of the array, in another shape if one is given.

    Never `paddle.from_dlpack(array)`: Paddle takes a lock of its own to release such a tensor and then
    wants the interpreter's, in the reverse order of `from_dlpack`: two threads block each other for ever.
    """
    tensor = paddle.empty(shape or array.shape, "float32")
    memory_of(tensor).reshape(array.shape)[...] = array
    return tensor
