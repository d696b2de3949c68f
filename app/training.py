"""Train a network: `train(config, run_dir)` is the whole of it, and all it makes is in the run folder."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Optional, Union

import numpy as np
import paddle
from numpy.typing import NDArray

from app import checkpoint as checkpoints
from app import runtime
from app.averaging import MovingAverage
from app.config import TrainConfig
from app.console import TrainingDisplay
from app.datasets import CLASSES, DataSet, split, strokes
from app.datasets.dataset import (
    MnistDataset,
    TrainingBatches,
    batches_per_epoch,
    find_again,
    images_per_epoch,
    load_batches,
    load_data,
    share_of,
)
from app.distributed import Processes
from app.doubt import find_least_score
from app.errors import CheckpointError, TrainingDivergedError, UsageError, UserError
from app.evaluation import Evaluation, evaluate, format_accuracy
from app.fast_layers import accelerate
from app.files import locked, make_directory, write_atomically, write_json
from app.losses import loss_for
from app.models import Network, build_network, compute_logits
from app.optimizer import build_optimizer, build_schedule
from app.progress import Progress
from app.replicas import Replicas
from app.report import Report, write_report
from app.report.findings import Findings, examine


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    run_dir: Path
    qualification: str
    """What every accuracy has to say, ` on NAME` if the data are synthetic."""

    history: list[dict[str, Any]]
    """The records of metrics.jsonl, one per epoch."""

    validation: Optional[Evaluation]
    """Of the chosen parameters on the validation images; None without any, or on a later process."""

    test: Optional[Evaluation]
    """Of the same parameters on the test images; None on a later process."""

    is_new: bool
    """Whether this is the first look at the test images, and not that of a finished run once more."""


class TrainingStoppedError(Exception):
    """A signal ended the run after its state was saved; the message says how to continue."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


# What each thread gets of a batch at least, where the threads are not given: the default network is slower
# with two shares of 32 than with one of 64, and faster with two of 64 than with one of 128.
_LEAST_SHARE = 40


def new_run_dir(preset: str) -> Path:
    """Return a folder for a new run under `checkpoints/`, named by the time, in microseconds, and preset."""
    return runtime.REPOSITORY / "checkpoints" / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{preset}"


def train(
    config: TrainConfig,
    run_dir: Path,
    display: Optional[TrainingDisplay] = None,
    *,
    with_report: bool = True,
) -> TrainResult:
    """Train a network as `config` says, and evaluate and report it; everything is written to `run_dir`.

    Args:
        config: all choices.
        run_dir: a new or empty folder.
        display: what is told of the progress; nothing by default.
        with_report: whether to write `report.html` and its figures, too, which take longer than to train on a
            few hundred images.

    Raises:
        UsageError: `run_dir` already holds something, or the validation size leaves nothing to train on.
        DataError: the data cannot be had.
        TrainingStoppedError: Ctrl-C, SIGTERM or SIGHUP; the state is saved and `resume` continues from it.
        FileError: a file cannot be written, or another process is at work in the folder.
        TrainingDivergedError: the loss is no longer finite.
    """
    processes = Processes()
    processes.on_first(lambda: _refuse_unless_new(run_dir))
    run = _Run(_with_workers(config), run_dir, display, processes)
    processes.on_first(lambda: make_directory(run_dir))
    with run.alone():
        run.processes.on_first(lambda: _begin_run(run_dir, run.config))
        return run.finish(with_report)


def resume(
    run_dir: Path,
    overrides: Optional[dict[str, Any]] = None,
    display: Optional[TrainingDisplay] = None,
    *,
    with_report: bool = True,
) -> TrainResult:
    """Continue the run in `run_dir` to the very parameters that it would have reached uninterrupted.

    `overrides` may say where the data are now (`data`, `data_dir`); everything else is as it was. The other
    arguments are those of `train`.

    Raises:
        CheckpointError: `run_dir` holds no run, or a damaged one, or the data are not those of the run.
        The errors of `train`.
    """
    state_path = run_dir / "last.pdopt"
    if run_dir.is_file():
        raise CheckpointError(f"{run_dir}: expected the folder of a run, found a file")
    if not state_path.is_file():
        raise CheckpointError(
            f"{run_dir}: no run to resume, there is no last.pdopt; start anew in another folder"
        )
    try:
        config = TrainConfig.from_json(checkpoints.read_json(run_dir / "config.json"))
    except UsageError as error:
        raise CheckpointError(f"{run_dir / 'config.json'}: {error}") from error
    if overrides:
        # The place that is named takes that of the other kind, too.
        config = dataclasses.replace(config, **{"data": None, "data_dir": None, **overrides})
    try:
        run = _Run(config if overrides else find_again(config), run_dir, display, Processes())
    except UsageError as error:
        raise CheckpointError(f"{run_dir}: cannot be continued with these data: {error}") from error
    with run.alone():
        run.processes.on_first(lambda: _tidy(run_dir))
        run.restore(state_path)
        return run.finish(with_report, is_new=not _is_finished(run_dir))


def _tidy(run_dir: Path) -> None:
    """Delete what a killed process had begun to write."""
    for left_over in run_dir.glob(".*.part"):
        left_over.unlink(missing_ok=True)


def _is_finished(run_dir: Path) -> bool:
    """Whether a run has been evaluated at its end."""
    try:
        return checkpoints.read_json(run_dir / "last.json").get("finished") is True
    except CheckpointError:
        return False


def _with_workers(config: TrainConfig) -> TrainConfig:
    """Return `config` with the number of threads settled, so that a resumed run has as many.

    Sharing a batch pays where each thread gets enough of it (`python -m benchmarks.scaling`).
    """
    if config.workers is not None:
        return config
    is_shared = paddle.distributed.get_world_size() > 1
    most = 1 if is_shared else runtime.thread_count()
    return dataclasses.replace(config, workers=max(1, min(most, config.batch_size // _LEAST_SHARE)))


def _with_dataset(config: TrainConfig, data: DataSet) -> TrainConfig:
    """Return `config` with the data set settled, so that a resumed run has the same one."""
    if config.data is not None or config.dataset != "auto":
        return config
    return dataclasses.replace(config, dataset="strokes" if data.is_synthetic else "mnist")


def _begin_run(run_dir: Path, config: TrainConfig) -> None:
    """Write the configuration, unless another process was faster since the folder was found new."""
    _refuse_unless_new(run_dir)
    write_json(run_dir / "config.json", config.to_json())


def _refuse_unless_new(run_dir: Path) -> None:
    """Raise a UserError if there is something else at `run_dir` than nothing or an empty folder."""
    try:
        is_new = not run_dir.exists() or not any(run_dir.iterdir())
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be used as a run folder: {error.strerror}") from error
    if not is_new:
        raise UsageError(f"{run_dir}: already holds files; resume that run or name another folder")


class _Run:
    """One run: its data, network and optimiser, and how far it has come."""

    def __init__(
        self, config: TrainConfig, run_dir: Path, display: Optional[TrainingDisplay], processes: Processes
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.processes = processes
        visible = display is not None and self.processes.is_first
        self.display = display if display and visible else TrainingDisplay(visible=False)
        self.data: DataSet = load_data(config)
        self.config = config = _with_dataset(config, self.data)
        self.checksum = self.data.checksum()
        self.processes.check_data(self.checksum)
        self.dataset = MnistDataset(self.data, "train", config.validation_size, config.rare_share)
        self.validation = split(self.data, config.validation_size).validation
        self.batches = batches_per_epoch(len(self.dataset), config)
        if self.batches == 0:
            raise UsageError(
                f"--batch-size: {config.batch_size} is more than the {len(self.dataset)} training images"
            )
        self.network, self.optimizer, self.schedule = self._build()
        self.average = MovingAverage(self.network, config.average_decay) if config.average_decay else None
        self.result = self.average.network if self.average else self.network
        """What is validated and kept: the trained network, or its moving average."""

        self.progress = Progress()

    def _build(self) -> tuple[Network, paddle.optimizer.Optimizer, paddle.optimizer.lr.LRScheduler]:
        config = self.config
        schedule = build_schedule(config, config.epochs * self.batches)
        paddle.seed(runtime.derive_seed(config.seed, "parameters"))
        # The optimiser's state is keyed by generated names; the guard makes them the same in every process.
        with paddle.utils.unique_name.guard():
            network = build_network(config)
            accelerate(network)
            optimizer = build_optimizer(config, network, schedule)
        return network, optimizer, schedule

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs out of the folder while the first process of this one writes to it.

        Raises:
            UserError: in every process, if one of another run is in there.
        """
        with ExitStack() as stack:
            self.processes.on_first(lambda: stack.enter_context(locked(self.run_dir)))
            yield

    def restore(self, path: Path) -> None:
        """Take up the state that `save_last` wrote.

        Raises:
            CheckpointError: it is damaged, or of other data.
        """
        content = checkpoints.deserialize(path)
        try:
            # Earlier versions noted none.
            digest = content.pop("digest", None)
            if digest is not None and digest != checkpoints.digest_of(content):
                raise CheckpointError(f"{path}: damaged, its content has another SHA-256 than was noted")
            optimizer, states = content["optimizer"], [(self.network, content["parameters"])]
            if self.average:
                states.append((self.average.network, content["average"]))
            recorded = json.loads(content["progress"])
            if recorded.pop("checksum") != self.checksum:
                raise CheckpointError(f"{self.run_dir}: it was trained on other data than {self.data.source}")
            if recorded.pop("config") != self._settled_choices():
                raise CheckpointError(f"{self.run_dir / 'config.json'}: changed since the run began")
            self.progress = Progress(**recorded)
            self.progress.check(self.config.epochs, self.batches)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: not the state of a training run, or damaged") from error
        for network, state in states:
            checkpoints.set_state(network, state, path)
        try:
            self.optimizer.set_state_dict(
                {name: paddle.to_tensor(np.ascontiguousarray(array)) for name, array in optimizer.items()}
            )
        except (AssertionError, AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not the state of this run's optimiser") from error
        self.schedule.step(self.progress.epoch * self.batches + self.progress.batch)

    def finish(self, with_report: bool, is_new: bool = True) -> TrainResult:
        """Train the epochs that are left, then evaluate the chosen parameters, and write a report of them.

        `is_new` tells whether they have not been evaluated before.
        """
        # A run killed from here on can be resumed, and files of different ages that a kill left agree again.
        self.processes.on_first(self.save_last)
        per_epoch = images_per_epoch(len(self.dataset), self.config)
        done = self.progress.epoch * per_epoch + self.progress.batch * self.config.batch_size
        if self.data.note is not None:
            self.display.line(self.data.note)
        extra = f" ({self.config.extra_strokes:,} of them strokes)" if self.config.extra_strokes else ""
        self.display.line(
            f"data: {self.data.name} from {self.data.source}: {len(self.dataset):,} training{extra}, "
            f"{len(self.validation.images):,} validation, {len(self.data.test.images):,} test images"
        )
        if not is_new:
            self.display.line("nothing is left to train, the run is evaluated again")
        self.display.start(self.config.epochs * per_epoch, done)
        loss = loss_for(self.config, self.dataset.digits.labels)
        self.replicas = Replicas(self.network, self.config.workers or 1, loss)
        try:
            with runtime.StopRequest() as stop:
                while self.progress.epoch < self.config.epochs:
                    self._train_epoch(stop)
        finally:
            self.display.close()
        self.processes.check_equal(self.network)
        if not self.processes.is_first:
            return TrainResult(
                self.run_dir, self.data.qualification, self.progress.history, None, None, is_new
            )
        try:
            return self._evaluate(with_report, is_new)
        except KeyboardInterrupt:
            self._say_how_to_continue("while the report was made", signal.SIGINT)

    def _train_epoch(self, stop: runtime.StopRequest) -> None:
        progress = self.progress
        started = time.perf_counter()
        losses: list[tuple[paddle.Tensor, int]] = []
        stopped = False
        self.replicas.train()
        for images, labels in self._load_batches():
            count = self._batch_count(progress.batch)
            learning_rate = self.optimizer.get_lr()
            loss, stopped = self._step(images, labels, count, stop.signal_number is not None)
            losses.append((loss, count))
            self._log_batch(loss, count)
            progress.batch += 1
            if stopped:
                break
        for loss, count in losses:
            progress.loss_total += float(loss) * count
        trained = progress.seconds + time.perf_counter() - started
        if stopped and progress.batch < self.batches:
            progress.seconds = trained
            self.processes.on_first(self.save_last)
            self._stop(stop)
        self._end_epoch(learning_rate, trained, started)
        if self.processes.any(stopped or stop.signal_number is not None):
            self._stop(stop)

    def _load_batches(self) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        return load_batches(
            TrainingBatches(
                self.dataset,
                self.config,
                self.progress.epoch,
                self.processes.rank,
                self.processes.size,
                self.progress.batch,
            )
        )

    def _batch_count(self, batch: int) -> int:
        """Return the number of images in a batch, over all processes."""
        return min(self.config.batch_size, len(self.dataset) - batch * self.config.batch_size)

    def _step(
        self, images: paddle.Tensor, labels: paddle.Tensor, count: int, wants_stop: bool
    ) -> tuple[paddle.Tensor, bool]:
        """Train on this process's share of a batch of `count`; return the whole batch's mean loss."""
        epoch, batch = self.progress.epoch, self.progress.batch
        dropout_seed = runtime.derive_seed(self.config.seed, "dropout", epoch, batch)
        first_image = share_of(count, self.processes.rank, self.processes.size).start
        loss = self.replicas.backward(images, labels, count, dropout_seed, first_image)
        loss, stopped = self.processes.combine(self.network, loss, wants_stop)
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        if self.average:
            self.average.update(epoch * self.batches + batch + 1)
        return loss, stopped

    def _log_batch(self, loss: paddle.Tensor, count: int) -> None:
        progress = self.progress
        self.display.step(count, loss)
        if self.config.log_every and progress.batch % self.config.log_every == 0:
            self.display.line(f"epoch: {progress.epoch}, batch: {progress.batch}, loss is: {float(loss):.4f}")

    def _end_epoch(self, learning_rate: float, trained: float, started: float) -> None:
        progress = self.progress
        images = images_per_epoch(len(self.dataset), self.config)
        train_loss = progress.loss_total / images
        if not (math.isfinite(train_loss) and _is_finite(self.network)):
            raise TrainingDivergedError(
                f"{self.run_dir}: training diverged in epoch {progress.epoch + 1}, the loss is "
                f"{train_loss:g}; start anew with a lower --learning-rate than {self.config.learning_rate:g}"
            )
        logits = self._validation_logits()
        validation = None
        if logits is not None:
            validation = evaluate(logits, self.validation.labels[: len(logits)])
        record = {
            "epoch": progress.epoch + 1,
            "train_loss": train_loss,
            "validation_loss": validation.loss if validation else None,
            "validation_accuracy": validation.accuracy if validation else None,
            "least_score": None if logits is None else find_least_score(logits),
            "learning_rate": learning_rate,
            "seconds": progress.seconds + time.perf_counter() - started,
            "images_per_second": images / trained,
        }
        self.progress = Progress(
            epoch=progress.epoch + 1, best=progress.best, history=[*progress.history, record]
        )
        if validation and _is_better(record, progress.best):
            self.progress.best = record
        self.processes.on_first(lambda: self._save_epoch(record))
        self._log_epoch(record, validation)

    def _save_epoch(self, record: dict[str, Any]) -> None:
        if self.progress.best is record:
            self._save("best", record)
        self.save_last()

    def _validation_logits(self) -> Optional[NDArray[np.float32]]:
        """Return the logits of the validation images, float32 [N, 10], None without any."""
        limit = self.config.limit_validation_batches
        count = len(self.validation.images)
        if limit is not None:
            count = min(count, limit * self.config.evaluation_batch_size)
        if count == 0:
            return None
        share = share_of(count, self.processes.rank, self.processes.size)
        part = compute_logits(
            self.result, self.validation.images[:count][share], self.config.evaluation_batch_size
        )
        return self.processes.gather(part, share, count)

    def _log_epoch(self, record: dict[str, Any], validation: Optional[Evaluation]) -> None:
        parts = [
            f"epoch {record['epoch']}/{self.config.epochs}",
            f"train loss {record['train_loss']:.4f}",
            f"{record['seconds']:.1f} s",
            f"{record['images_per_second']:,.0f} images/s",
        ]
        if validation:
            accuracy = format_accuracy(validation.correct, validation.count)
            parts.insert(2, f"validation accuracy {accuracy}, loss {validation.loss:.4f}")
        self.display.line("  ".join(parts))

    def _save(self, name: str, record: Optional[dict[str, Any]], **more: Any) -> None:
        checkpoints.save_checkpoint(
            self.run_dir / f"{name}.pdparams",
            checkpoints.get_state(self.result),
            {
                "network": self.network.architecture,
                "classes": CLASSES,
                "config": self.config.to_json(),
                "epoch": self.progress.epoch,
                "metrics": record,
                "data": self._describe_data(),
                "environment": {**runtime.describe_environment(), "processes": self.processes.size},
                **more,
            },
        )

    def _settled_choices(self) -> dict[str, Any]:
        """Return the configuration without what a resume may change: where the data are."""
        choices = self.config.to_json()
        return {name: value for name, value in choices.items() if name not in ("data", "data_dir")}

    def _describe_data(self) -> dict[str, Any]:
        return {
            "name": self.data.name,
            "source": self.data.source,
            "checksum": self.checksum,
            "train_count": len(self.dataset),
            "validation_count": len(self.validation.images),
            "test_count": len(self.data.test.images),
            "trained_on": self._trained_on(),
            "is_synthetic": self.data.is_synthetic,
            "note": self.data.note,
        }

    def _trained_on(self) -> str:
        extra = self.config.extra_strokes
        return f"{self.data.name} and {extra:,} images of {strokes.NAME}" if extra else self.data.name

    def save_last(self, *, finished: bool = False) -> None:
        """Write the state of the run; `last.pdopt` alone is what a resume reads."""
        progress = {
            **dataclasses.asdict(self.progress),
            "checksum": self.checksum,
            "config": self._settled_choices(),
        }
        optimizer = {
            name: tensor.numpy()
            for name, tensor in self.optimizer.state_dict().items()
            if isinstance(tensor, paddle.Tensor)
        }
        content = {
            "parameters": checkpoints.get_state(self.network),
            "optimizer": optimizer,
            "progress": json.dumps(progress),
        }
        if self.average:
            content["average"] = checkpoints.get_state(self.average.network)
        content["digest"] = checkpoints.digest_of(content)
        write_atomically(self.run_dir / "last.pdopt", checkpoints.serialize(content))
        history = self.progress.history
        self._save("last", history[-1] if history else None, finished=finished)
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in history)
        write_atomically(self.run_dir / "metrics.jsonl", lines.encode())

    def _stop(self, stop: runtime.StopRequest) -> None:
        where = f"after {self.progress.epoch} epochs"
        if self.progress.batch:
            where = f"in epoch {self.progress.epoch + 1} after {self.progress.batch} batches"
        self._say_how_to_continue(where, stop.signal_number or signal.SIGINT)

    def _say_how_to_continue(self, where: str, signal_number: int) -> NoReturn:
        raise TrainingStoppedError(
            signal_number,
            f"interrupted {where}; the state is saved, "
            f"continue with: python train.py --resume {shlex.quote(str(self.run_dir))}",
        )

    def _evaluate(self, with_report: bool, is_new: bool) -> TrainResult:
        checkpoint = checkpoints.load_checkpoint(checkpoints.resolve_checkpoint(self.run_dir))
        history = self.progress.history
        found: Union[Report, Findings]
        if with_report:
            found = write_report(checkpoint, self.data, self.run_dir, history)
        else:
            found = examine(checkpoint, self.data, history)
        self.save_last(finished=True)
        return TrainResult(
            self.run_dir, self.data.qualification, history, found.validation, found.test, is_new
        )


def _is_finite(network: paddle.nn.Layer) -> bool:
    return all(bool(paddle.isfinite(tensor).all()) for tensor in network.state_dict().values())


def _is_better(record: dict[str, Any], best: Optional[dict[str, Any]]) -> bool:
    if best is None:
        return True

    def merit(one: dict[str, Any]) -> tuple[float, float]:
        return one["validation_accuracy"], -one["validation_loss"]

    return merit(record) > merit(best)
