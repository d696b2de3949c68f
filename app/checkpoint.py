"""Save and load checkpoints: plain Paddle state dicts with their JSON, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paddle
from numpy.typing import NDArray

from app.errors import CheckpointError
from app.fast_layers import accelerate
from app.files import expect_file, write_atomically, write_json
from app.models import (
    Network,
    SoftmaxRegression,
    build_columns,
    infer_architecture,
    is_softmax_regression,
)

FORMAT = 1
State = Mapping[str, NDArray[Any]]

# Far above what any network of this program needs; a file beyond them is not one of its checkpoints.
MAX_FILE_BYTES = 256 << 20
MAX_OPCODES = 10_000
MAX_DESCRIPTION_BYTES = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A network as it was saved, ready to use."""

    path: Path
    network: Network
    """In eval mode."""

    metadata: dict[str, Any]
    """What the JSON beside the file says; empty when there is none."""

    @property
    def assumption(self) -> str:
        """What was taken for granted about the network, as a clause; empty if nothing was."""
        is_told = "downsampling" in self.metadata.get("network", {})
        if is_told or isinstance(self.network, SoftmaxRegression):
            return ""
        return "nothing says how it halves the picture, it is taken to pool as the tutorial's network does"


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises:
        CheckpointError: the file cannot be read or holds something else.
    """
    try:
        expect_file(path, CheckpointError)
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, to the microsecond, so that texts sort as times do."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def save_checkpoint(path: Path, state: State, metadata: Mapping[str, Any]) -> None:
    """Write `state` (float arrays by parameter name) to `path`, and `metadata` to the JSON beside it."""
    data = serialize(dict(state))
    write_atomically(path, data)
    write_json(
        path.with_suffix(".json"),
        {"format": FORMAT, **metadata, "sha256": hashlib.sha256(data).hexdigest(), "created": utc_now()},
    )


def serialize(content: Any) -> bytes:
    """Return what `paddle.save` would write for `content`."""
    buffer = io.BytesIO()
    paddle.save(content, buffer)
    return buffer.getvalue()


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of what a dict holds: text, arrays, and dicts of them, in any order.

    It tells damage, and no intent: whoever changes the content can note another digest.
    """
    digest = hashlib.sha256()
    for name, value in sorted(content.items()):
        if isinstance(value, Mapping):
            described = digest_of(value)
        elif isinstance(value, np.ndarray):
            described = f"{value.dtype.str} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        else:
            described = f"{value!r}"
        digest.update(f"{name!r} {described}\n".encode())
    return digest.hexdigest()


def resolve_checkpoint(path: Path) -> Path:
    """Return the parameter file that `path` means: itself, or a run folder's best (else last) one.

    Raises:
        CheckpointError: there is no such file.
    """
    try:
        if not path.is_dir():
            path.stat()
            return path
        for name in ("best.pdparams", "last.pdparams"):
            if (path / name).is_file():
                return path / name
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    raise CheckpointError(f"{path}: the folder holds neither best.pdparams nor last.pdparams")


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a `.pdparams` file, this program's or the tutorial's, and build its network.

    The architecture follows from the parameters' names and shapes, but for the way in which the network
    halves the picture: that is in the JSON beside the file. Without JSON, the plain network of the tutorial
    pools, and any other of two convolutions is refused. Nothing in the file is executed.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or not of a network of this program.
    """
    state = load_state(path)
    metadata = _read_description(path)
    try:
        network = _build_network({name: array.shape for name, array in state.items()}, metadata)
    except ValueError as error:
        raise CheckpointError(f"{path}: not a checkpoint of this program's network: {error}") from error
    accelerate(network)
    set_state(network, state, path)
    network.eval()
    return Checkpoint(path, network, metadata)


def _read_description(path: Path) -> dict[str, Any]:
    """Return the JSON beside `path` if it is this program's, else an empty dict."""
    sidecar = path.with_suffix(".json")
    # The tutorial's data may lie beside its parameters as mnist.json: a list of hundreds of megabytes.
    if not sidecar.exists() or sidecar.stat().st_size > MAX_DESCRIPTION_BYTES:
        return {}
    metadata = read_json(sidecar)
    if metadata.get("sha256") != hashlib.sha256(path.read_bytes()).hexdigest():
        raise CheckpointError(
            f"{path}: damaged, or {sidecar.name} beside it describes other parameters (another SHA-256)"
        )
    return metadata


def _build_network(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, Any]) -> Network:
    recorded = metadata.get("network", {})
    if not isinstance(recorded, dict):
        raise ValueError(f"expected an object for `network` in the JSON file beside it, not {recorded!a:.40}")
    if is_softmax_regression(shapes):
        network = SoftmaxRegression()
        _compare(recorded, network.architecture)
        return network
    architecture = infer_architecture(shapes)
    _compare(recorded, architecture)
    if "downsampling" in recorded:
        return build_columns(**architecture, downsampling=str(recorded["downsampling"]))
    if architecture["batch_norm"] or architecture["hidden"]:
        raise ValueError(
            "it needs the JSON file that was saved beside it, which says how the network halves the picture"
        )
    return build_columns(**architecture, downsampling="max-pool")


def _compare(recorded: Mapping[str, Any], architecture: Mapping[str, Any]) -> None:
    """Raise a ValueError if a recorded field is not that of the network that the parameters show.

    Earlier versions recorded fewer fields. A field that is not known here is refused: the network may depend
    on it. `downsampling` and `dropout` leave no trace in the parameters.
    """
    # JSON has lists in place of tuples.
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in architecture.items()}
    for name, value in recorded.items():
        if name in ("downsampling", "dropout"):
            continue
        if name not in own:
            raise ValueError(f"the JSON file beside it has {name!a:.40}, which such a network has not")
        if value != own[name]:
            raise ValueError(
                f"the JSON file beside it has {value!a:.40} for {name}, the parameters {own[name]!a}"
            )


def set_state(network: paddle.nn.Layer, state: State, path: Path) -> None:
    """Copy `state` into `network`; the names and shapes must agree exactly.

    Raises:
        CheckpointError: naming `path` and the first parameter that is missing, unexpected, of another
            shape, or not finite.
    """
    own = network.state_dict()
    values = {}
    for name in own:
        if name not in state:
            raise CheckpointError(f"{path}: the parameter {name} is missing")
    for name, array in state.items():
        if name not in own:
            raise CheckpointError(f"{path}: unexpected parameter {name!a:.60}")
        expected = list(own[name].shape)
        if list(array.shape) != expected:
            raise CheckpointError(f"{path}: {name} has shape {list(array.shape)}, expected {expected}")
        with np.errstate(over="ignore"):
            values[name] = np.ascontiguousarray(array, np.float32)
        if array.dtype.kind != "f" or not np.isfinite(values[name]).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite float32 numbers")
    for name, array in values.items():
        own[name].set_value(array)


def get_state(network: paddle.nn.Layer) -> dict[str, NDArray[np.float32]]:
    """Return copies of the network's parameters and running statistics by name."""
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def load_state(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a Paddle state dict by name, without executing anything the file holds.

    Raises:
        CheckpointError: the file is missing, damaged, or holds anything but arrays by name.
    """
    content = deserialize(path)
    # Some versions of Paddle add a table from structured to generated names; it is not a parameter.
    content.pop("StructuredToParameterName@@", None)
    for name, value in content.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{path}: expected arrays by name, found a name of {type(name).__name__}")
        if not isinstance(value, np.ndarray):
            found = type(value).__name__
            raise CheckpointError(f"{path}: expected an array at {name!a:.60}, found {found}")
    if not content:
        raise CheckpointError(f"{path}: the state dict is empty")
    return content


def deserialize(path: Path) -> dict[Any, Any]:
    """Return the dict that `paddle.save` wrote to `path`, its tensors as NumPy arrays.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or asks for more than arrays and numbers.
    """
    try:
        expect_file(path, CheckpointError)
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CheckpointError(
            f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, not a checkpoint of this program"
        )
    try:
        _check_opcodes(data)
        content = _unwrap(_ArrayUnpickler(io.BytesIO(data)).load(), {})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:
        # A damaged pickle can fail in any way; none of them is worth more than this line.
        raise CheckpointError(f"{path}: not a Paddle state dict, or damaged") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a state dict, found {type(content).__name__}")
    return content


def _check_opcodes(data: bytes) -> None:
    """Bound the pickle's program, so that none can nest values until the interpreter's stack overflows."""
    for count, _ in enumerate(pickletools.genops(data)):
        if count > MAX_OPCODES:
            raise CheckpointError("not a Paddle state dict: too many pickle instructions")


class _Array:
    """Stands for `numpy.ndarray` while unpickling: takes its raw bytes and checks them."""

    value: NDArray[Any]

    def __setstate__(self, state: Any) -> None:
        _version, shape, data_type, fortran_order, raw = state
        if not isinstance(data_type, _DataType) or not isinstance(raw, bytes):
            raise CheckpointError("refused: an array of Python objects")
        dimensions = tuple(int(size) for size in shape)
        if len(raw) != math.prod(dimensions) * data_type.value.itemsize:
            raise CheckpointError(f"an array of shape {list(dimensions)} has {len(raw)} bytes")
        flat = np.frombuffer(raw, data_type.value)
        self.value = flat.reshape(dimensions[::-1]).T if fortran_order else flat.reshape(dimensions)


class _DataType:
    """Stands for `numpy.dtype` while unpickling: numbers only."""

    def __init__(self, name: str, *_flags: Any) -> None:
        if name not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            raise CheckpointError(f"refused: an array of type {name!r:.20}")
        self.value = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        byte_order = state[1]
        if byte_order in ("<", ">"):
            self.value = self.value.newbyteorder(byte_order)


def _new_array(*_arguments: Any) -> _Array:
    return _Array()


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which old pickles spell their bytes."""
    if encoding != "latin1":
        raise CheckpointError(f"refused: bytes spelled in {encoding!r:.20}")
    return text.encode("latin1")


def _short_tuple(items: Any) -> tuple[Any, ...]:
    """Stands for `tuple`, by which Paddle 2 spells (generated name, array)."""
    if not isinstance(items, tuple) or len(items) != 2:
        raise CheckpointError("refused: a tuple that is no pair")
    return items


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays, numbers, strings and containers of them; refuses every other name."""

    _ALLOWED: ClassVar = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DataType,
        ("numpy.core.multiarray", "_reconstruct"): _new_array,
        ("numpy._core.multiarray", "_reconstruct"): _new_array,
        ("collections", "OrderedDict"): dict,
        ("builtins", "tuple"): _short_tuple,
        ("_codecs", "encode"): _latin1_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise CheckpointError(
                f"refused: it asks for {module}.{name}, a state dict holds only arrays"
            ) from None


def _unwrap(content: Any, done: dict[int, Any]) -> Any:
    """Return `content` with NumPy arrays in place of the stand-ins; `done` visits a shared value once."""
    if id(content) not in done:
        done[id(content)] = _unwrap_new(content, done)
    return done[id(content)]


def _unwrap_new(content: Any, done: dict[int, Any]) -> Any:
    if isinstance(content, _Array):
        return content.value
    if isinstance(content, dict):
        return {key: _unwrap(value, done) for key, value in content.items()}
    if isinstance(content, list):
        return [_unwrap(value, done) for value in content]
    if isinstance(content, tuple):
        # Paddle 2 saved some tensors as (generated name, array).
        if len(content) == 2 and isinstance(content[0], str) and isinstance(content[1], _Array):
            return content[1].value
        return tuple(_unwrap(value, done) for value in content)
    if isinstance(content, (str, int, float, bytes, type(None))):
        return content
    raise CheckpointError(f"refused: it holds a {type(content).__name__.lstrip('_')}")
