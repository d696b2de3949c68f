"""The process: threads, BLAS path, allocator, seeds, signals. `prepare` runs before Paddle is imported."""

from __future__ import annotations

import ctypes
import importlib
import logging
import math
import os
import platform
import signal
import sys
import threading
import warnings
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn, Optional

import numpy as np

from app.errors import BlasPathError, UserError

REPOSITORY = Path(__file__).resolve().parent.parent

# mallopt's parameters, from glibc's malloc.h, and the values to try: freed memory stays in the process
# instead of going back to the system and being faulted in again after every operation, and all threads share
# what is kept. Older versions take no more than half of a heap, 32 MiB, for the first.
_KEEP_MEMORY = {
    "M_MMAP_THRESHOLD": (-3, (1 << 30, 32 << 20)),
    "M_TRIM_THRESHOLD": (-1, ((1 << 31) - 1,)),
    "M_TOP_PAD": (-2, (64 << 20,)),
    "M_ARENA_MAX": (-8, (1,)),
}
_ALLOCATOR_VARIABLES = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_ARENA_MAX",
    "GLIBC_TUNABLES",
)

# What Intel's MKL calls its code paths, and the instructions that each of them uses without asking.
_BLAS_PATH = "MKL_DEBUG_CPU_TYPE"
_AVX512_PATH, _AVX2_PATH, _OWN_PATH = "7", "5", "0"
_AVX512_FLAGS = {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "avx2", "fma"}
_AVX2_FLAGS = {"avx2", "fma"}


class Setting(NamedTuple):
    """One thing that `prepare` decided."""

    name: str
    value: str
    reason: str


@cache
def prepare() -> tuple[Setting, ...]:
    """Set up the process for Paddle, import it, and return what was done.

    Call it before anything else imports Paddle. What the user has set in the environment stays as it is.

    Raises:
        KeyboardInterrupt: Ctrl-C during the import; in the midst of it, it would look like a fault of Paddle.
        BlasPathError: with the BLAS path that was chosen here, Paddle multiplies wrongly.
        UserError: it does so with the path that the environment gave.
    """
    is_path_given = _BLAS_PATH in os.environ
    # Paddle looks for a C++ compiler cache at every import, and batch norm speaks of an old default: a user
    # of this program can do nothing about either.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    # Paddle lets every library's notes through to the terminal; this one's are of its list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    settings = (
        _set_variable(
            "OMP_NUM_THREADS", "1", f"{available_cores()} cores are used by as many threads of the program"
        ),
        _set_blas_path(),
        _keep_memory(),
        _set_variable("GLOG_minloglevel", "2", "no log lines of Paddle's internals below errors"),
    )
    with StopRequest() as stop:
        importlib.import_module("paddle")
    if stop.signal_number is not None:
        raise KeyboardInterrupt
    if _BLAS_PATH in os.environ:
        try:
            check_products()
        except UserError as error:
            raise error if is_path_given else BlasPathError(str(error)) from None
    return settings


def start_anew_without_blas_path() -> NoReturn:
    """Run the same command with MKL's own choice of a path, in the place of this process. Linux only."""
    arguments = Path("/proc/self/cmdline").read_text().split("\0")[1:-1]
    os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, _BLAS_PATH: _OWN_PATH})


def _set_variable(name: str, value: str, reason: str) -> Setting:
    if name in os.environ:
        return Setting(name, os.environ[name], "set in the environment")
    os.environ[name] = value
    return Setting(name, value, reason)


def available_cores() -> int:
    """Return how many physical cores this process may use: its affinity and its control group's quota count.

    Where the system does not tell physical cores from logical ones, the logical ones count.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
        cores = len({_siblings(processor) for processor in processors})
    else:
        cores = _sysctl_cores() or os.cpu_count() or 1
    quotas = [quota for group in _control_groups() if (quota := quota_of(group)) is not None]
    return max(1, math.floor(min([cores, *quotas])))


def thread_count() -> int:
    """Return how many threads of this program keep the cores busy, if Paddle has OMP_NUM_THREADS in each."""
    paddles = os.environ.get("OMP_NUM_THREADS", "1")
    return max(1, available_cores() // int(paddles)) if paddles.isdecimal() and int(paddles) else 1


def _control_groups() -> list[Path]:
    """Return the folders of this process's control groups, where Linux shows them, up to the root."""
    root = Path("/sys/fs/cgroup")
    groups = [root, root / "cpu"]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return groups
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            base = root / "cpu" if controllers else root
            group = base / name.strip("/")
            groups += [folder for folder in (group, *group.parents) if base in (folder, *folder.parents)]
    return groups


def _siblings(processor: int) -> str:
    """Return a text that the logical processors of one physical core have in common."""
    topology = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    try:
        return topology.read_text().strip()
    except OSError:
        return str(processor)


def _sysctl_cores() -> Optional[int]:
    """Return macOS's count of physical cores, None elsewhere."""
    if platform.system() != "Darwin":
        return None
    count, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    library = ctypes.CDLL(None)
    failed = library.sysctlbyname(b"hw.physicalcpu", ctypes.byref(count), ctypes.byref(size), None, 0)
    return None if failed else count.value


def quota_of(group: Path) -> Optional[float]:
    """Return how many processors a control group grants, from the files in its folder; None without limit."""
    try:
        if (group / "cpu.max").exists():
            granted, period = (group / "cpu.max").read_text().split()
        else:
            granted = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        quota = int(granted) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        # No such files, or `max`, which is no number: no limit.
        return None
    return quota if quota > 0 else None


def _set_blas_path() -> Setting:
    cpuinfo = _read_cpuinfo()
    path = choose_blas_path(cpuinfo)
    if _BLAS_PATH in os.environ or path is not None:
        return _set_variable(_BLAS_PATH, path or "", "AMD's processor would get MKL's slowest path")
    if cpuinfo.get("vendor_id") == "AuthenticAMD":
        return Setting(_BLAS_PATH, "not set", "the processor lacks AVX2")
    processor = cpuinfo.get("vendor_id", "a processor that the system does not name")
    return Setting(_BLAS_PATH, "not set", f"not needed on {processor}")


def choose_blas_path(cpuinfo: Mapping[str, str]) -> Optional[str]:
    """Return the code path that MKL should take on this processor, None where its own choice is right.

    Paddle's wheel has Intel's MKL of 2019, which gives the processors of others its slowest path unless told.

    Args:
        cpuinfo: the first processor's fields of /proc/cpuinfo; `vendor_id` and `flags` are used.
    """
    if cpuinfo.get("vendor_id") != "AuthenticAMD":
        return None
    flags = set(cpuinfo.get("flags", "").split())
    if flags >= _AVX512_FLAGS:
        return _AVX512_PATH
    return _AVX2_PATH if flags >= _AVX2_FLAGS else None


def _read_cpuinfo() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _keep_memory() -> Setting:
    name = "allocator"
    given = [variable for variable in _ALLOCATOR_VARIABLES if variable in os.environ]
    if given:
        return Setting(name, f"{given[0]}={os.environ[given[0]]}", "set in the environment")
    # Other C libraries have no mallopt, or one that means something else.
    if platform.libc_ver()[0] != "glibc":
        return Setting(name, "not set", "only glibc's is known")
    library = ctypes.CDLL(None)
    accepted = [
        parameter
        for parameter, (number, values) in _KEEP_MEMORY.items()
        if any(library.mallopt(number, value) for value in values)
    ]
    if not accepted:
        return Setting(name, "not set", "glibc refused")
    return Setting(name, ", ".join(accepted), "large temporaries stay in the process")


def check_products() -> float:
    """Return the largest relative error of a matrix product of Paddle against NumPy in float64.

    Raises:
        UserError: it is not what float32 allows: the BLAS path does not suit this processor.
    """
    import paddle

    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((67, 67)) for _ in range(2))
    product = paddle.matmul(paddle.to_tensor(a, "float32"), paddle.to_tensor(b, "float32")).numpy()
    error = float(np.abs(product - a @ b).max() / np.abs(a @ b).max())
    if not error < 1e-5:
        raise UserError(
            f"Paddle's matrix products are wrong by {error:.2g} on this processor with "
            f"{_BLAS_PATH}={os.environ.get(_BLAS_PATH, '')}; set it to {_OWN_PATH} in the environment"
        )
    return error


def data_directories(data_dir: Optional[str]) -> list[Path]:
    """Return the folders to look for MNIST in: `data_dir`, or else `MNIST_DATA_DIR`, the repository's `data`.

    Who names a folder means that one: MNIST from elsewhere in its place would hide a slip of the pen.
    """
    candidates = [data_dir] if data_dir else [os.environ.get("MNIST_DATA_DIR"), str(REPOSITORY / "data")]
    return list(dict.fromkeys(Path(candidate).expanduser() for candidate in candidates if candidate))


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a seed, 0 to 2**32 - 1, of its own for each purpose and each epoch, batch or rank."""
    key = (zlib.crc32(purpose.encode()), *counters)
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def random_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return NumPy's generator for `derive_seed(seed, purpose, *counters)`."""
    return np.random.default_rng(derive_seed(seed, purpose, *counters))


def describe_environment() -> dict[str, Any]:
    """Return the versions and the machine that a result depends on."""
    import paddle

    return {
        "python": platform.python_version(),
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": _processor_name(),
        "cores": available_cores(),
    }


def _processor_name() -> str:
    return _read_cpuinfo().get("model name") or platform.processor() or platform.machine()


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM, or the end of the terminal) into a request.

    The work reads it when it is in a sound state.

    Use it as a context manager; `signal_number` is None until a signal arrives. A second signal acts at
    once, as usual, but for the end of the terminal, which is ignored from then on. Outside the main thread,
    where Python allows no handlers, it never sees a signal.
    """

    def __init__(self) -> None:
        self.signal_number: Optional[int] = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            # Windows has no SIGHUP. What is ignored stays so: `nohup` wants it, and the shell of `command &`.
            numbers = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
            for number in numbers:
                if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._restore()

    def _note(self, number: int, _frame: Optional[FrameType]) -> None:
        self.signal_number = number
        if number == getattr(signal, "SIGHUP", None):
            # The end of a terminal is told twice, by the shell and by the system, and means the same.
            signal.signal(number, signal.SIG_IGN)
        self._restore()

    def _restore(self) -> None:
        # Another signal may come in the midst of this.
        previous, self._previous = self._previous, {}
        for number, handler in previous.items():
            # What was decided about a signal meanwhile stays so.
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)
