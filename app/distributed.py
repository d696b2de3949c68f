"""Data-parallel training: what the processes of `python -m paddle.distributed.launch` tell each other."""

from __future__ import annotations

import signal
import threading
import zlib
from collections.abc import Callable
from typing import Optional

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import distributed, nn

from app.errors import DataError, UserError


class Processes:
    """The processes that train one network together; a single process when there was no launcher.

    Every process holds the whole network and takes its share of each batch. The gradients of the shares are
    added up, so a step equals the step of one process on the whole batch, up to float32 rounding. Batch
    norm is the exception: each process normalises by the statistics of its own share, and the running
    statistics are the mean over the processes.
    """

    def __init__(self) -> None:
        self.size: int = distributed.get_world_size()
        self.rank: int = distributed.get_rank()
        if self.size > 1:
            distributed.init_parallel_env()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and speaks to the person."""
        return self.rank == 0

    def combine(self, network: nn.Layer, loss: paddle.Tensor, wants_stop: bool) -> tuple[paddle.Tensor, bool]:
        """Add up gradients and losses over the processes and average the running statistics, in one message.

        A parameter without a gradient counts as zero. Returns the sum of the losses, and whether any process
        wants to stop: all of them learn it after the same step.
        """
        if self.size == 1:
            return loss, wants_stop
        # Paddle lists batch norm's running statistics among the parameters, without gradients.
        parameters = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
        statistics = [parameter for parameter in network.parameters() if parameter.stop_gradient]
        pieces = [
            paddle.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in parameters
        ]
        pieces += [statistic / self.size for statistic in statistics]
        pieces += [loss, paddle.to_tensor([float(wants_stop)])]
        message = paddle.concat([piece.flatten() for piece in pieces])
        distributed.all_reduce(message)
        sums = paddle.split(message, [piece.size for piece in pieces])
        for parameter, total in zip(parameters, sums):
            parameter.grad = total.reshape(parameter.shape)
        for statistic, total in zip(statistics, sums[len(parameters) :]):
            statistic.set_value(total.reshape(statistic.shape))
        return sums[-2].reshape([]), bool(sums[-1].item())

    def any(self, wish: bool) -> bool:
        """Return whether any process wishes it."""
        if self.size == 1:
            return wish
        message = paddle.to_tensor([float(wish)])
        distributed.all_reduce(message)
        return bool(message.item())

    def on_first(self, action: Callable[[], object]) -> None:
        """Do something on the first process alone, which must succeed before any process goes on.

        If it fails, every process is about to end, with its own message and exit code; from then on they
        ignore SIGTERM, with which the launcher ends those that are left as soon as one has gone.

        Raises:
            Exception: on the first process, what the action raised.
            UserError: on the others, which would end in a timeout, if it raised anything.
        """
        error: Optional[Exception] = None
        try:
            if self.is_first:
                action()
        except Exception as caught:
            error = caught
        if self.any(error is not None):
            _end_by_itself()
            raise error or UserError("the first of the processes cannot go on; its own message says why")

    def gather(self, part: NDArray[np.float32], where: slice, count: int) -> NDArray[np.float32]:
        """Return [count, ...] rows of which each process computed those at `where`."""
        if self.size == 1:
            return part
        rows = np.zeros((count, *part.shape[1:]), np.float32)
        rows[where] = part
        message = paddle.to_tensor(rows)
        distributed.all_reduce(message)
        return np.asarray(message.numpy())

    def check_equal(self, network: nn.Layer) -> None:
        """Raise RuntimeError unless all processes hold the very same parameters."""
        if self.size == 1:
            return
        digest = 0
        for tensor in network.state_dict().values():
            digest = zlib.crc32(tensor.numpy().tobytes(), digest)
        if not self._all_equal(digest):
            raise RuntimeError(f"process {self.rank} holds other parameters than another process")

    def check_data(self, checksum: str) -> None:
        """Raise DataError unless all processes hold the data of this checksum (hex).

        A mirror may answer one process and fail another, which then takes synthetic handwriting.
        """
        if self.size > 1 and not self._all_equal(zlib.crc32(checksum.encode())):
            raise DataError("the processes hold different data; choose them with --dataset or --data-dir")

    def _all_equal(self, digest: int) -> bool:
        digests = paddle.to_tensor([digest, -digest], "int64")
        distributed.all_reduce(digests, distributed.ReduceOp.MAX)
        return bool(digests.numpy()[0] == -digests.numpy()[1])


def _end_by_itself() -> None:
    # Only the main thread may.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
