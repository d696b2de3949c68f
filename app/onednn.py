"""The part of oneDNN that convolutional networks need, called by `ctypes`.

oneDNN is in Paddle's own wheel (`paddle/libs`), but Paddle 3.3 calls it in static graphs only. Its C
interface is stable within a major version (https://uxlfoundation.github.io/oneDNN): the numbers below are
from its `dnnl_types.h`, version 3. All values are float32. Calls release the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import platform
import threading
import weakref
from collections.abc import Mapping, Sequence
from ctypes import c_float, c_int, c_int64, c_size_t, c_uint, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle

_FILES = {"Linux": "libdnnl.so.3", "Windows": "mkldnn.dll"}
_MAJOR_VERSION = 3
_FLOAT32 = 3
_ALIGNMENT = 64

# Layouts (dnnl_format_tag_t) of [N, C, H, W], and of parameters with one and four dimensions. The last one
# keeps sixteen channels together, the width of AVX-512.
ANY, VECTOR, PLAIN, CHANNELS_LAST, CHANNELS_BY_16 = 1, 2, 5, 22, 78

# Arguments of a primitive (DNNL_ARG_*).
SOURCE, DESTINATION, WEIGHTS, BIAS = 1, 17, 33, 41
MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE, _SCRATCHPAD = 49, 50, 51, 52, 64, 80
_GRADIENT = 128
SOURCE_GRADIENT, DESTINATION_GRADIENT = SOURCE + _GRADIENT, DESTINATION + _GRADIENT
WEIGHTS_GRADIENT, BIAS_GRADIENT = WEIGHTS + _GRADIENT, BIAS + _GRADIENT
SCALE_GRADIENT, SHIFT_GRADIENT = 255, 256

# dnnl_prop_kind_t, dnnl_alg_kind_t, dnnl_normalization_flags_t, dnnl_query_t.
_TRAINING, _INFERENCE, _BACKWARD = 64, 96, 128
_DIRECT, _MAXIMUM, _RELU, _RELU_BY_DESTINATION = 1, 511, 32, 256
_WITH_GIVEN_STATISTICS, _WITH_SCALE, _WITH_SHIFT, _WITH_RELU = 1, 2, 4, 8
_QUERY_IMPLEMENTATION = 8
_QUERIES = {
    SOURCE: 129,
    SOURCE_GRADIENT: 130,
    WEIGHTS: 131,
    WEIGHTS_GRADIENT: 132,
    DESTINATION: 133,
    DESTINATION_GRADIENT: 134,
    WORKSPACE: 135,
    _SCRATCHPAD: 136,
}

_LOADING = threading.Lock()


class UnsupportedError(Exception):
    """oneDNN cannot do it on this processor, or only by its slow reference code."""


class _Argument(ctypes.Structure):
    _fields_ = (("number", c_int), ("memory", c_void_p))


class _Version(ctypes.Structure):
    _fields_ = (("major", c_int), ("minor", c_int), ("patch", c_int))


class _Library:
    """The functions of the shared library, with an engine to run them on."""

    def __init__(self, path: Path) -> None:
        self._functions = ctypes.CDLL(str(path))
        self._functions.dnnl_version.restype = ctypes.POINTER(_Version)
        self._functions.dnnl_primitive_desc_query_md.restype = c_void_p
        self._functions.dnnl_memory_desc_get_size.restype = c_size_t
        version = self._functions.dnnl_version().contents
        if version.major != _MAJOR_VERSION:
            raise UnsupportedError(f"{path}: version {version.major}, expected {_MAJOR_VERSION}")
        self.version = f"{version.major}.{version.minor}.{version.patch}"
        self.engine = self.create("engine", c_int(1), c_size_t(0))
        # Scratch memory belongs to the caller: the library's own would tie a primitive to one thread.
        self.attributes = self.create("primitive_attr")
        self.call("primitive_attr_set_scratchpad_mode", self.attributes, c_int(1))

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._functions, f"dnnl_{name}")(*arguments)
        if status != 0:
            raise UnsupportedError(f"oneDNN's {name} answers {status}")

    def create(self, name: str, *arguments: Any, suffix: str = "") -> c_void_p:
        handle = c_void_p()
        self.call(f"{name}_create{suffix}", ctypes.byref(handle), *arguments)
        return handle

    def own(self, owner: object, name: str, handle: c_void_p) -> c_void_p:
        """Destroy what `create` made together with its owner; at the end of the process it just ends."""
        weakref.finalize(owner, getattr(self._functions, f"dnnl_{name}_destroy"), handle).atexit = False
        return handle

    def query(self, description: c_void_p, what: int) -> c_void_p:
        return c_void_p(self._functions.dnnl_primitive_desc_query_md(description, c_int(what), c_int(0)))

    def size(self, layout: c_void_p) -> int:
        return int(self._functions.dnnl_memory_desc_get_size(layout))


def _library() -> _Library:
    # Threads that ask at the same time get the same engine: memory of one cannot be used by another.
    with _LOADING:
        return _load_library()


@cache
def _load_library() -> _Library:
    name = _FILES.get(platform.system())
    if name is None:
        raise UnsupportedError(f"Paddle's wheel for {platform.system()} has no oneDNN")
    try:
        return _Library(Path(paddle.__file__).parent / "libs" / name)
    except (OSError, AttributeError) as error:
        raise UnsupportedError(str(error)) from error


def version() -> str:
    """Return oneDNN's version.

    Raises:
        UnsupportedError: Paddle's wheel for this system has none, or one of another major version.
    """
    return _library().version


class Layout:
    """How the values of a shape lie in memory."""

    def __init__(self, handle: c_void_p, owner: Optional[object] = None) -> None:
        self.handle = handle
        self._owner = owner

    @classmethod
    def of(cls, shape: Sequence[int], tag: int) -> Layout:
        """Return the layout `tag` of a shape; `ANY` leaves the choice to the primitive that takes it."""
        library = _library()
        arguments = (c_int(len(shape)), _dimensions(*shape), c_int(_FLOAT32), c_int(tag))
        layout = cls(library.create("memory_desc", *arguments, suffix="_with_tag"))
        library.own(layout, "memory_desc", layout.handle)
        return layout

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return _library().size(self.handle)


class Memory:
    """Values in a layout: in a buffer of its own, filled with zeros, unless `place` gives it another."""

    def __init__(self, layout: Layout, *, is_placed: bool = False) -> None:
        library = _library()
        self.layout = layout
        bytes_kept = 0 if is_placed else layout.size + _ALIGNMENT
        self._buffer = np.zeros(bytes_kept, np.uint8)
        start = -self._buffer.ctypes.data % _ALIGNMENT
        self._buffer = self._buffer[start : start + layout.size]
        address = c_void_p(None if is_placed else self._buffer.ctypes.data)
        self.handle = library.create("memory", layout.handle, library.engine, address)
        library.own(self, "memory", self.handle)

    def place(self, address: int) -> None:
        """Say where the values are; whoever owns them keeps them there while they are used."""
        _library().call("memory_set_data_handle", self.handle, c_void_p(address))

    @property
    def values(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The values of its own buffer, flat, in the order of the layout."""
        return self._buffer.view(np.float32)


class Description:
    """A primitive that has not been given its memory yet: it knows the layouts that it wants."""

    def __init__(self, name: str, *arguments: Any) -> None:
        library = _library()
        self.name = name
        given = [each.handle if isinstance(each, Layout) else each for each in arguments]
        self.handle = library.create(f"{name}_primitive_desc", *given, library.attributes)
        library.own(self, "primitive_desc", self.handle)
        implementation = ctypes.c_char_p()
        library.call(
            "primitive_desc_query",
            self.handle,
            c_int(_QUERY_IMPLEMENTATION),
            c_int(0),
            ctypes.byref(implementation),
        )
        if (implementation.value or b"ref").startswith(b"ref"):
            raise UnsupportedError(f"oneDNN has only its reference code for this {name}")

    def layout(self, argument: int) -> Layout:
        """Return the layout that it has chosen for an argument."""
        return Layout(_library().query(self.handle, _QUERIES[argument]), owner=self)


class Primitive:
    """An operation and the memory that it reads and writes. Not for two threads at the same time."""

    def __init__(self, description: Description, arguments: Mapping[int, Memory]) -> None:
        library = _library()
        self.name = description.name
        self.handle = library.create("primitive", description.handle)
        library.own(self, "primitive", self.handle)
        self._stream = library.create("stream", library.engine, c_uint(1))
        library.own(self, "stream", self._stream)
        scratch = Memory(description.layout(_SCRATCHPAD))
        self._memories = {**arguments, _SCRATCHPAD: scratch}
        pairs = [_Argument(number, memory.handle) for number, memory in self._memories.items()]
        self._arguments = (_Argument * len(pairs))(*pairs)

    def run(self) -> None:
        """Do it."""
        count = c_int(len(self._arguments))
        _library().call("primitive_execute", self.handle, self._stream, count, self._arguments)


def convolution(
    layouts: tuple[Optional[Layout], ...], stride: int, padding: tuple[int, int], training: bool
) -> Description:
    """Describe a convolution.

    Args:
        layouts: of the source, [N, C, H, W], the weights, [O, C, k, k], the bias, [O] or None, and the
            destination.
        padding: how many rows and columns of zeros there are before and after each picture.
    """
    kind = c_int(_TRAINING if training else _INFERENCE)
    windows = _windows(stride, padding)
    return Description("convolution_forward", _library().engine, kind, c_int(_DIRECT), *layouts, *windows)


def convolution_gradient(
    kind: str,
    layouts: tuple[Optional[Layout], ...],
    stride: int,
    padding: tuple[int, int],
    forward: Description,
) -> Description:
    """Describe a gradient of `forward`.

    Args:
        kind: `data`: `layouts` are of the source's gradient, the weights and the destination's gradient; or
            `weights`: of the source, the gradients of the weights and of the bias, and the destination's.
    """
    name = f"convolution_backward_{kind}"
    windows = _windows(stride, padding)
    return Description(name, _library().engine, c_int(_DIRECT), *layouts, *windows, forward.handle)


def pooling(source: Layout, destination: Layout, training: bool) -> Description:
    """Describe the maximum over 2x2 values; in training with a workspace that says where it was."""
    kind = c_int(_TRAINING if training else _INFERENCE)
    two, zero = _dimensions(2, 2), _dimensions(0, 0)
    return Description(
        *("pooling_forward", _library().engine, kind, c_int(_MAXIMUM), source, destination),
        *(two, two, zero, zero, zero),
    )


def pooling_gradient(source: Layout, destination: Layout, forward: Description) -> Description:
    """Describe the gradient of `forward`; the layouts are of gradients."""
    two, zero = _dimensions(2, 2), _dimensions(0, 0)
    return Description(
        *("pooling_backward", _library().engine, c_int(_MAXIMUM), source, destination),
        *(two, two, zero, zero, zero, forward.handle),
    )


def norm_and_relu(values: Layout, epsilon: float, training: bool) -> Description:
    """Describe batch norm with ReLU: by the batch's statistics in training, else by given ones."""
    kind = c_int(_TRAINING if training else _INFERENCE)
    flags = _WITH_SCALE | _WITH_SHIFT | _WITH_RELU | (0 if training else _WITH_GIVEN_STATISTICS)
    name = "batch_normalization_forward"
    return Description(name, _library().engine, kind, values, values, c_float(epsilon), c_uint(flags))


def norm_and_relu_gradient(values: Layout, epsilon: float, forward: Description) -> Description:
    """Describe the gradient of `forward` with respect to its source, scale and shift."""
    flags = c_uint(_WITH_SCALE | _WITH_SHIFT | _WITH_RELU)
    layouts = (values, values, values)
    return Description(
        *("batch_normalization_backward", _library().engine, c_int(_BACKWARD), *layouts),
        *(c_float(epsilon), flags, forward.handle),
    )


def relu(values: Layout, training: bool) -> Description:
    """Describe ReLU, which may work in place."""
    kind = c_int(_TRAINING if training else _INFERENCE)
    algorithm = c_int(_RELU_BY_DESTINATION if training else _RELU)
    zero = c_float(0)
    return Description("eltwise_forward", _library().engine, kind, algorithm, values, values, zero, zero)


def relu_gradient(values: Layout, forward: Description) -> Description:
    """Describe the gradient of `forward`, which may work in place; it looks at the destination's values."""
    layouts, zero = (values, values, values), c_float(0)
    return Description(
        *("eltwise_backward", _library().engine, c_int(_RELU_BY_DESTINATION), *layouts),
        *(zero, zero, forward.handle),
    )


def reorder(source: Memory, destination: Memory) -> Primitive:
    """Return the copy from one layout to another."""
    engine = _library().engine
    description = Description("reorder", source.layout, engine, destination.layout, engine)
    return Primitive(description, {SOURCE: source, DESTINATION: destination})


def _windows(stride: int, padding: tuple[int, int]) -> tuple[Any, ...]:
    before, after = padding
    return (
        *(_dimensions(stride, stride), _dimensions(0, 0)),
        *(_dimensions(before, before), _dimensions(after, after)),
    )


def _dimensions(*sizes: int) -> ctypes.Array[c_int64]:
    return (c_int64 * 12)(*sizes)
