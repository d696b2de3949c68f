"""The process: warnings, seeds, signals and the environment. `prepare` runs before Paddle is imported."""

from __future__ import annotations

import os
import platform
import signal
import threading
import warnings
import zlib
from pathlib import Path
from types import FrameType
from typing import Any, Optional

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent


def prepare() -> None:
    """Set up the process; call it before anything imports Paddle."""
    # Paddle looks for a C++ compiler cache at every import, and batch norm speaks of an old default: a user
    # of this program can do nothing about either.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")


def data_directories(data_dir: Optional[str]) -> list[Path]:
    """Return the folders to look for MNIST in: `data_dir`, `MNIST_DATA_DIR`, the repository's `data`."""
    candidates = [data_dir, os.environ.get("MNIST_DATA_DIR"), str(REPOSITORY / "data")]
    return list(dict.fromkeys(Path(candidate).expanduser() for candidate in candidates if candidate))


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a seed, 0 to 2**32 - 1, of its own for each purpose and each epoch, batch or rank."""
    entropy = [seed, zlib.crc32(purpose.encode()), *counters]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


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
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM) into a request that the work reads when it is in a sound state.

    Use it as a context manager; `signal_number` is None until a signal arrives. A second signal acts at
    once, as usual. Outside the main thread, where Python allows no handlers, it never sees a signal.
    """

    def __init__(self) -> None:
        self.signal_number: Optional[int] = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._restore()

    def _note(self, number: int, _frame: Optional[FrameType]) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
