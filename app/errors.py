"""The errors that a user can do something about: each is a line or a few, shown without a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class UserError(Exception):
    """A fault in what the program was given; the message names the file or option and the reason."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lines: tuple[str, ...] = (message,)


class UsageError(UserError):
    """A fault in the command line or in a configuration value."""

    exit_code = 2


class BlasPathError(UserError):
    """With the BLAS path that was chosen for this processor, Paddle multiplies wrongly."""


class FileError(UserError):
    """A file cannot be written."""


class TrainingDivergedError(UserError):
    """The loss or a parameter is no longer a finite number."""


class DataError(UserError):
    """A data file is missing, malformed or cannot be had."""


class DownloadError(DataError):
    """Data cannot be downloaded; the message lists what was tried.

    Args:
        message: in one line, or in several.
        reason: in a few words.
    """

    def __init__(self, message: Sequence[str], reason: str) -> None:
        super().__init__("\n".join(message))
        self.lines = tuple(message)
        self.reason = reason


class CheckpointError(UserError):
    """A checkpoint or a run folder is missing, damaged, hostile, or of another network."""


class PictureError(UserError):
    """A picture cannot be opened or is not usable.

    Args:
        path: the file or folder.
        reason: what is wrong with it, in a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
