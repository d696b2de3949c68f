"""How far a training run has come, and the record of each epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

METRICS = (
    "epoch",
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "least_score",
    "learning_rate",
    "seconds",
    "images_per_second",
)
"""What is recorded of each epoch, in `metrics.jsonl`."""


@dataclass
class Progress:
    """How far a run has come: with the parameters and the optimiser's state, all that a resume needs."""

    epoch: int = 0
    """Epochs completed."""

    batch: int = 0
    """Batches done of the epoch under way."""

    loss_total: float = 0.0
    """Sum of the loss over the images of the epoch under way."""

    seconds: float = 0.0
    """Time spent on the epoch under way."""

    best: Optional[dict[str, Any]] = None
    """The record of the best epoch so far by validation accuracy, then validation loss."""

    history: list[dict[str, Any]] = field(default_factory=list)

    def check(self, epochs: int, batches: int) -> None:
        """Raise ValueError or TypeError unless a run of so many epochs and batches can have come so far."""
        whole_numbers = type(self.epoch) is int and type(self.batch) is int
        records = [*self.history, *([] if self.best is None else [self.best])]
        if not (whole_numbers and 0 <= self.epoch <= epochs and 0 <= self.batch < batches):
            raise ValueError("no such epoch or batch")
        if [record["epoch"] for record in self.history] != list(range(1, self.epoch + 1)):
            raise ValueError("not a record for each epoch")
        if not all(set(record) == set(METRICS) for record in records):
            raise ValueError("other metrics")
        if not all(isinstance(number, (int, float)) for number in (self.loss_total, self.seconds)):
            raise TypeError("not numbers")
