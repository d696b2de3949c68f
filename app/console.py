"""What the commands have in common at the terminal: error lines, exit codes, progress bars."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional, TextIO

from tqdm import tqdm

from app.errors import BlasPathError, UsageError, UserError


class CommandParser(argparse.ArgumentParser):
    """Parses a command line; a fault in it is one line, and options must be spelled out."""

    def __init__(self, **texts: Any) -> None:
        super().__init__(allow_abbrev=False, **texts)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def run_command(main: Callable[[], int]) -> None:
    """Run `main` and leave the process with its exit code.

    A `UserError` becomes one line on standard error (a few if a download failed); Ctrl-C ends with 130; a
    reader that closes the pipe (`| head`) ends the program quietly. What the system refuses (a full disk,
    say, or memory) is one line, too. After a wrong guess at the BLAS path the program starts again without
    one. Any other exception is a bug and keeps its traceback.
    """
    # A stream that was closed before the start is None.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))
    try:
        code = main()
        sys.stdout.flush()
    except BlasPathError as error:
        from app.runtime import start_anew_without_blas_path

        say(f"note: {error}; starting again with that")
        start_anew_without_blas_path()
    except UserError as error:
        say("error: " + "\n".join(map(printable, error.lines)))
        code = error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        code = 130
    except BrokenPipeError:
        # The interpreter flushes standard output once more at exit; give it somewhere to go.
        _discard_output()
        code = 141
    except MemoryError:
        say("error: not enough memory; a smaller network, batch or picture needs less")
        code = 1
    except OSError as error:
        _discard_output()
        # Files that are written are named; what has no name is standard output.
        is_output = error.errno == errno.ENOSPC and error.filename is None
        reason = f"standard output cannot be written ({error.strerror})" if is_output else str(error)
        say(f"error: {printable(reason)}")
        code = 1
    sys.exit(code)


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def named(text: str) -> str:
    """Return an argument that names a file or a folder; an empty one names nothing, and not the usual one."""
    if not text:
        raise argparse.ArgumentTypeError("expected a file or a folder, found an empty name")
    return text


def named_path(text: str) -> Path:
    """Return the path that an argument names, as `named` does."""
    return Path(named(text))


def png_path(text: str) -> Path:
    """Return the path that an argument names for a PNG; a usage error if its name says something else."""
    path = named_path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{printable(text)}: expected a name that ends in .png")
    return path


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey instead of showing, such as a line feed, as `\\n`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def say(line: str) -> None:
    """Print one line for the person (not for the next program in a pipe) on standard error.

    Where that cannot be (on a full disk), it stops nothing.
    """
    with suppress(OSError):
        _print(line, sys.stderr)


def _print(line: str, file: TextIO) -> None:
    """Print a line above any progress bar, unless the terminal has gone, where nobody could read it."""
    try:
        tqdm.write(line, file=file)
        file.flush()
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def progress_bar(
    total: Optional[int], unit: str, description: str, *, scale: bool = False, initial: int = 0
) -> tqdm[None]:
    """Return a progress bar on standard error that is silent unless standard error is a terminal.

    `scale` shows the counts with k, M and G, as for bytes.
    """
    return tqdm(
        total=total,
        initial=initial,
        unit=unit,
        desc=description,
        unit_scale=scale,
        leave=False,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )


class TrainingDisplay:
    """Shows a training run: a line per epoch on standard output, and on a terminal a progress bar.

    Args:
        visible: whether to show anything at all.
    """

    # How often the bar reads the loss from the device, in seconds.
    _LOSS_INTERVAL = 0.2

    def __init__(self, *, visible: bool = True) -> None:
        self._visible = visible
        self._bar: Optional[tqdm[None]] = None
        self._loss_shown = 0.0

    def start(self, total_images: int, done_images: int) -> None:
        """Begin a run of so many training images over all epochs, some of them done before a resume."""
        if self._visible:
            self._bar = progress_bar(total_images, "image", "training", scale=True, initial=done_images)

    def step(self, images: int, loss: Any) -> None:
        """Note a step on so many images; `loss` is a scalar tensor, read only now and then."""
        if self._bar is None or self._bar.disable:
            return
        now = time.monotonic()
        if now - self._loss_shown > self._LOSS_INTERVAL:
            self._loss_shown = now
            self._bar.set_postfix(loss=f"{float(loss):.4f}", refresh=False)
        self._bar.update(images)

    def line(self, text: str) -> None:
        """Print a line on standard output, above the bar."""
        if self._visible:
            _print(text, sys.stdout)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
