"""What the studies have in common: what one is made of, and the laboratory in which it trains networks."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from app.config import TrainConfig
from app.console import say
from app.errors import TrainingDivergedError, UsageError
from app.evaluation import Evaluation
from app.training import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Statement:
    """A part of a claim that can be true or false, and what was measured of it."""

    text: str
    measured: str
    holds: Optional[bool]
    """None where the runs disagree."""

    code: tuple[Callable[..., Any], ...]
    """The functions that compute it."""


@dataclass(frozen=True)
class Table:
    """Figures as rows of texts below their headings."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(f"expected {len(self.headings)} cells, found {list(row)}")


@dataclass(frozen=True)
class Findings:
    """What a study came to."""

    method: str
    """What was done, with its numbers."""

    statements: Sequence[Statement]
    explanation: str
    """The theory behind it, whatever was measured."""

    draw: Callable[[], Figure]
    """Draws the figure; called with the common style in force."""

    caption: str
    data: dict[str, Any]
    """Everything measured, as plain JSON values."""

    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Study:
    """A claim of one of the source articles, and the way to test it."""

    name: str
    title: str
    source: str
    claim: str
    run: Callable[[Laboratory], Findings]


@dataclass(frozen=True)
class Run:
    """A network that was trained for a study."""

    config: TrainConfig
    history: list[dict[str, Any]]
    test: Evaluation
    """Of the epoch that validated best. Nothing is chosen by it."""

    @property
    def accuracies(self) -> list[float]:
        """On the validation digits, epoch by epoch, 0 to 1."""
        return [record["validation_accuracy"] for record in self.history]

    @property
    def best_accuracy(self) -> float:
        """The highest of `accuracies`, by which a study chooses."""
        return max(self.accuracies)

    @property
    def worst_recall(self) -> float:
        """The recall of the test digit that is recognised least, 0 to 1."""
        return float(self.test.recall.min())

    def to_json(self) -> dict[str, Any]:
        """Return the choices that are not the usual ones, the history, and the scores on the test digits."""
        usual = TrainConfig().to_json()
        kept = ("epoch", "train_loss", "validation_loss", "validation_accuracy", "seconds")
        return {
            "choices": {
                name: value
                for name, value in self.config.to_json().items()
                if value != usual[name] and name not in ("data", "data_dir", "dataset")
            },
            "history": [{name: record[name] for name in kept} for record in self.history],
            "test": {
                "accuracy": self.test.accuracy,
                "count": self.test.count,
                "cross_entropy": self.test.loss,
                "expected_calibration_error": self.test.expected_calibration_error,
                "recall": self.test.recall.tolist(),
            },
        }


class Laboratory:
    """Trains networks for a study, each in a folder that is removed afterwards.

    Args:
        data_dir: where MNIST is; None for the usual places.
        is_quick: whether only to show that everything runs.
    """

    def __init__(self, data_dir: Optional[str] = None, *, is_quick: bool = False) -> None:
        self.is_quick = is_quick
        self._data_dir = data_dir
        self._runs: dict[TrainConfig, Run] = {}

    def choose(self, full: Choice, quick: Choice) -> Choice:
        """Return the budget of a full or of a quick study."""
        return quick if self.is_quick else full

    @property
    def seeds(self) -> range:
        """The seeds of every comparison."""
        return range(self.choose(3, 1))

    def train(self, config: TrainConfig, **choices: Any) -> Run:
        """Train as `config` with `choices` says; what was trained before is not trained again.

        Raises:
            TrainingDivergedError: the loss did not stay finite.
            The other errors of `train`.
        """
        # What the pages say is said of MNIST: without it, a study fails.
        settled = dataclasses.replace(config, data_dir=self._data_dir, dataset="mnist", **choices)
        if settled not in self._runs:
            self._runs[settled] = _train(settled)
        return self._runs[settled]

    def try_rates(self, config: TrainConfig, rates: Sequence[float], **choices: Any) -> list[Run]:
        """Return a run for each learning rate with which training does not diverge."""
        runs = []
        for rate in rates:
            try:
                runs.append(self.train(config, learning_rate=rate, **choices))
            except TrainingDivergedError:
                say(f"  learning rate {rate:g}: diverged")
        return runs


def _train(config: TrainConfig) -> Run:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Path(folder) / "run", with_report=False)
    if result.test is None:
        raise UsageError("studies run in one process, without a launcher")
    choices = f"{config.loss}, learning rate {config.learning_rate:g}, seed {config.seed}"
    if config.class_weights != "none":
        choices += f", {config.class_weights} weights"
    if config.label_smoothing:
        choices += f", smoothed by {config.label_smoothing:g}"
    if config.rare_share < 1:
        choices += f", {config.rare_share:.0%} of 0 to 4"
    say(f"  {choices}: test accuracy {result.test.accuracy:.2%}, {time.perf_counter() - started:.1f} s")
    return Run(config, result.history, result.test)


def best_of(runs: Sequence[Run]) -> Run:
    """Return the run that validated best."""
    return max(runs, key=lambda run: run.best_accuracy)


def verdict(differences: Iterable[float]) -> Optional[bool]:
    """Return whether all differences are positive; None where some are and some are not."""
    signs = {difference > 0 for difference in differences}
    return signs.pop() if len(signs) == 1 else None


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean of one value or more."""
    values = list(values)
    return sum(values) / len(values)


def percent(values: Iterable[float]) -> str:
    """Return shares as text: their mean, and where there are several, the least and the largest."""
    values = list(values)
    text = f"{mean(values):.2%}"
    return text if len(values) == 1 else f"{text} ({min(values):.2%} to {max(values):.2%})"


def points(differences: Iterable[float]) -> str:
    """Return differences of shares as text, in percentage points, like `percent`."""
    values = [100 * difference for difference in differences]
    text = f"{mean(values):+.2f} points"
    return text if len(values) == 1 else f"{text} ({min(values):+.2f} to {max(values):+.2f})"
