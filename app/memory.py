"""A tensor's memory as a NumPy array."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray


def memory_of(tensor: paddle.Tensor) -> NDArray[Any]:
    """Return the memory of a float32 tensor as an array that can be written to if it is contiguous."""
    array: NDArray[Any] = np.from_dlpack(tensor.detach())
    if array.flags.writeable or not array.flags.c_contiguous:
        return array
    # NumPy before 2.1 takes whatever it is offered this way for read-only.
    memory: Any = (ctypes.c_float * array.size).from_address(array.ctypes.data)
    memory.owner = array
    return np.frombuffer(memory, np.float32).reshape(array.shape)
