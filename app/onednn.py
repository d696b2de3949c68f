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
from ctypes import c_char_p, c_float, c_int, c_int64, c_size_t, c_uint, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle
from numpy.typing import NDArray

_FILES = {"Linux": "libdnnl.so.3", "Windows": "mkldnn.dll"}
_MAJOR_VERSION = 3
_UNSUITABLE, _UNIMPLEMENTED = 2, 3
_CPU, _FLOAT32, _IN_ORDER, _SCRATCHPAD_OF_THE_USER = 1, 3, 1, 1
_MOST_DIMENSIONS = 12
_ALIGNMENT = 64

# Layouts (dnnl_format_tag_t): of the primitive's choice; of [C]; and of [N, C, H, W], plain, with the
# channels last, and with eight or sixteen channels together, the widths of AVX2 and AVX-512.
ANY, VECTOR, PLAIN, CHANNELS_LAST, CHANNELS_BY_8, CHANNELS_BY_16 = 1, 2, 5, 22, 102, 78

# Arguments of a primitive (DNNL_ARG_*).
SOURCE, DESTINATION, WEIGHTS, BIAS = 1, 17, 33, 41
MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE, _SCRATCHPAD = 49, 50, 51, 52, 64, 80
SOURCE_GRADIENT, DESTINATION_GRADIENT, WEIGHTS_GRADIENT, BIAS_GRADIENT = 129, 145, 161, 169
SCALE_GRADIENT, SHIFT_GRADIENT = 255, 256

# dnnl_prop_kind_t, dnnl_alg_kind_t, dnnl_normalization_flags_t.
_TRAINING, _INFERENCE, _BACKWARD = 64, 96, 128
_DIRECT, _MAXIMUM, _RELU = 1, 511, 256
_WITH_GIVEN_STATISTICS, _WITH_SCALE, _WITH_SHIFT, _WITH_RELU = 1, 2, 4, 8

# dnnl_query_t: the name of the implementation, and the layout of each argument.
_IMPLEMENTATION = 8
_LAYOUT_OF = {
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
    """There is no oneDNN, or it has no code for this on this processor, or only its slow reference code."""


class _Argument(ctypes.Structure):
    _fields_ = (("number", c_int), ("memory", c_void_p))


class _Version(ctypes.Structure):
    _fields_ = (("major", c_int), ("minor", c_int), ("patch", c_int))


class _Library:
    """The functions of the shared library, and the engine on which they work."""

    def __init__(self, path: Path) -> None:
        self._functions = ctypes.CDLL(str(path))
        self._functions.dnnl_version.restype = ctypes.POINTER(_Version)
        self._functions.dnnl_primitive_desc_query_md.restype = c_void_p
        self._functions.dnnl_memory_desc_get_size.restype = c_size_t
        self.execute = self._functions.dnnl_primitive_execute
        self.execute.argtypes = (c_void_p, c_void_p, c_int, ctypes.POINTER(_Argument))
        version = self._functions.dnnl_version().contents
        if version.major != _MAJOR_VERSION:
            raise UnsupportedError(f"{path.name} is version {version.major}, not {_MAJOR_VERSION}")
        self.version = f"{version.major}.{version.minor}.{version.patch}"
        self.engine = self.create(self, "engine", c_int(_CPU), c_size_t(0))
        # The library's own scratch memory would tie a primitive to the thread that made it.
        self.attributes = self.create(self, "primitive_attr")
        self.call("primitive_attr_set_scratchpad_mode", self.attributes, c_int(_SCRATCHPAD_OF_THE_USER))

    def call(self, name: str, *arguments: Any) -> None:
        check(name, getattr(self._functions, f"dnnl_{name}")(*arguments))

    def create(self, owner: object, name: str, *arguments: Any, by: Optional[str] = None) -> c_void_p:
        """Return a new object of the library, which is destroyed together with its owner."""
        handle = c_void_p()
        self.call(by or f"{name}_create", ctypes.byref(handle), *arguments)
        # When the process ends, everything does.
        weakref.finalize(owner, getattr(self._functions, f"dnnl_{name}_destroy"), handle).atexit = False
        return handle

    def layout_of(self, description: c_void_p, argument: int) -> c_void_p:
        query = self._functions.dnnl_primitive_desc_query_md
        return c_void_p(query(description, c_int(_LAYOUT_OF[argument]), c_int(0)))

    def size(self, layout: c_void_p) -> int:
        return int(self._functions.dnnl_memory_desc_get_size(layout))


def check(name: str, status: int) -> None:
    """Raise the error that a status of the library stands for, if it does."""
    if status in (_UNSUITABLE, _UNIMPLEMENTED):
        raise UnsupportedError(f"oneDNN's {name} answers {status}")
    if status != 0:
        raise RuntimeError(f"oneDNN's {name} answers {status}")


def _library() -> _Library:
    # Threads that ask at the same time get the same engine: memory of one cannot be used by another.
    with _LOADING:
        loaded = _load_library()
    if isinstance(loaded, str):
        raise UnsupportedError(loaded)
    return loaded


@cache
def _load_library() -> _Library | str:
    """Return the library, or why there is none."""
    system = platform.system()
    if system not in _FILES:
        return f"Paddle's wheel for {system} has none"
    try:
        return _Library(Path(paddle.__file__).parent / "libs" / _FILES[system])
    except (OSError, AttributeError, UnsupportedError) as error:
        return str(error)


def version() -> str:
    """Return oneDNN's version.

    Raises:
        UnsupportedError: Paddle's wheel has none for this system, or one of another major version.
    """
    return _library().version


class Layout:
    """How the values of a shape lie in memory."""

    def __init__(self, handle: c_void_p, owner: object) -> None:
        self.handle = handle
        self._owner = owner

    @classmethod
    def of(cls, shape: Sequence[int], tag: int) -> Layout:
        """Return the layout `tag` of a shape; `ANY` leaves the choice to the primitive that takes it."""
        arguments = (c_int(len(shape)), _dimensions(*shape), c_int(_FLOAT32), c_int(tag))
        layout = cls(c_void_p(), None)
        by = "memory_desc_create_with_tag"
        layout.handle = _library().create(layout, "memory_desc", *arguments, by=by)
        return layout

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return _library().size(self.handle)


class Memory:
    """Values in a layout, whose place is yet to be given."""

    def __init__(self, layout: Layout, address: Optional[int] = None) -> None:
        library = _library()
        self.layout = layout
        self.handle = library.create(self, "memory", layout.handle, library.engine, c_void_p(address))

    def place(self, address: int) -> None:
        """Say where the values are; they must stay there as long as they are used."""
        _library().call("memory_set_data_handle", self.handle, c_void_p(address))


class Buffer(Memory):
    """Values in a layout, at first zeros, with memory of their own."""

    def __init__(self, layout: Layout) -> None:
        memory = np.zeros(layout.size + _ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        self._memory = memory[start : start + layout.size]
        super().__init__(layout, self._memory.ctypes.data)

    @property
    def values(self) -> NDArray[np.float32]:
        """All of them, flat, in the order of the layout."""
        return self._memory.view(np.float32)


class Description:
    """A primitive that has not been given its memory yet: it knows the layouts that it wants."""

    handle: c_void_p

    def __init__(self, name: str, *arguments: Any) -> None:
        library = _library()
        self.name = name
        given = [each.handle if isinstance(each, (Layout, Description)) else each for each in arguments]
        by = f"{name}_primitive_desc_create"
        self.handle = library.create(self, "primitive_desc", *given, library.attributes, by=by)
        answer = c_char_p()
        query = (self.handle, c_int(_IMPLEMENTATION), c_int(0), ctypes.byref(answer))
        library.call("primitive_desc_query", *query)
        self.implementation = (answer.value or b"").decode()
        if "ref" in self.implementation.split(":"):
            raise UnsupportedError(f"oneDNN has only its reference code for {name}")

    def layout(self, argument: int) -> Layout:
        """Return the layout that it has chosen for an argument."""
        return Layout(_library().layout_of(self.handle, argument), owner=self)


class Primitive:
    """An operation and the memory that it reads and writes. Not for two threads at the same time."""

    def __init__(self, description: Description, arguments: Mapping[int, Memory]) -> None:
        library = _library()
        self.name = description.name
        self._memories = {**arguments, _SCRATCHPAD: Buffer(description.layout(_SCRATCHPAD))}
        self._handle = library.create(self, "primitive", description.handle)
        # A processor's stream has done its work when a call returns; there is nothing to wait for.
        self._stream = library.create(self, "stream", library.engine, c_uint(_IN_ORDER))
        pairs = [_Argument(number, memory.handle) for number, memory in self._memories.items()]
        self._arguments = (_Argument * len(pairs))(*pairs)
        self._execute = library.execute

    def run(self) -> None:
        """Do it."""
        status = self._execute(self._handle, self._stream, len(self._arguments), self._arguments)
        if status != 0:
            raise RuntimeError(f"oneDNN's {self.name} answers {status}")


def convolution(
    layouts: tuple[Optional[Layout], ...], stride: int, padding: tuple[int, int], training: bool
) -> Description:
    """Describe a convolution.

    Args:
        layouts: of the source, [N, C, H, W], the weights, [O, C, k, k], the bias, [O] or None, and the
            destination.
        stride: in both directions.
        padding: how many rows and columns of zeros there are before and after each picture.
        training: whether gradients are to follow.
    """
    windows = _windows(stride, padding)
    return Description("convolution_forward", *_forward(training), c_int(_DIRECT), *layouts, *windows)


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
        layouts: see `kind`.
        stride: as in `forward`.
        padding: as in `forward`.
        forward: the convolution.
    """
    name = f"convolution_backward_{kind}"
    windows = _windows(stride, padding)
    return Description(name, _library().engine, c_int(_DIRECT), *layouts, *windows, forward)


def pooling(source: Layout, destination: Layout, training: bool) -> Description:
    """Describe the maximum over 2x2 values; in training with a workspace that says where it was."""
    algorithm = c_int(_MAXIMUM)
    return Description("pooling_forward", *_forward(training), algorithm, source, destination, *_halving())


def pooling_gradient(source: Layout, destination: Layout, forward: Description) -> Description:
    """Describe the gradient of `forward`; the layouts are of gradients."""
    start = (_library().engine, c_int(_MAXIMUM))
    return Description("pooling_backward", *start, source, destination, *_halving(), forward)


def norm_and_relu(values: Layout, epsilon: float, training: bool) -> Description:
    """Describe batch norm with ReLU: by the batch's statistics in training, else by given ones."""
    flags = _WITH_SCALE | _WITH_SHIFT | _WITH_RELU | (0 if training else _WITH_GIVEN_STATISTICS)
    options = (c_float(epsilon), c_uint(flags))
    return Description("batch_normalization_forward", *_forward(training), values, values, *options)


def norm_and_relu_gradient(values: Layout, epsilon: float, forward: Description) -> Description:
    """Describe the gradient of `forward` with respect to its source, scale and shift."""
    start = (_library().engine, c_int(_BACKWARD))
    options = (c_float(epsilon), c_uint(_WITH_SCALE | _WITH_SHIFT | _WITH_RELU))
    return Description("batch_normalization_backward", *start, values, values, values, *options, forward)


def relu(values: Layout, training: bool) -> Description:
    """Describe ReLU, which may work in place."""
    zero = c_float(0)
    return Description("eltwise_forward", *_forward(training), c_int(_RELU), values, values, zero, zero)


def relu_gradient(values: Layout, forward: Description) -> Description:
    """Describe the gradient of `forward`, which may work in place; it looks at the destination's values."""
    start, zero = (_library().engine, c_int(_RELU)), c_float(0)
    return Description("eltwise_backward", *start, values, values, values, zero, zero, forward)


def reorder(source: Memory, destination: Memory) -> Primitive:
    """Return the copy from one layout to another."""
    engine = _library().engine
    description = Description("reorder", source.layout, engine, destination.layout, engine)
    return Primitive(description, {SOURCE: source, DESTINATION: destination})


def _forward(training: bool) -> tuple[Any, ...]:
    return _library().engine, c_int(_TRAINING if training else _INFERENCE)


def _windows(stride: int, padding: tuple[int, int]) -> tuple[Any, ...]:
    before, after = padding
    pairs = ((stride, stride), (0, 0), (before, before), (after, after))
    return tuple(_dimensions(*pair) for pair in pairs)


def _halving() -> tuple[Any, ...]:
    pairs = ((2, 2), (2, 2), (0, 0), (0, 0), (0, 0))
    return tuple(_dimensions(*pair) for pair in pairs)


def _dimensions(*sizes: int) -> ctypes.Array[c_int64]:
    return (c_int64 * _MOST_DIMENSIONS)(*sizes)
