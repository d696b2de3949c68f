"""Write the report of a checkpoint: its figures as PNG, `report.html` in one file, and `report.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from app import runtime
from app.datasets import DataSet
from app.errors import CheckpointError
from app.evaluation import Evaluation
from app.files import expect_file, make_directory, write_atomically, write_json
from app.report.findings import Findings, describe_doubt, examine

if TYPE_CHECKING:
    from app.checkpoint import Checkpoint

FORMAT = 1


@dataclass(frozen=True)
class Report:
    """What `write_report` found, and where it wrote the page."""

    validation: Optional[Evaluation]
    test: Evaluation
    doubt: str
    """Why the validation digits may be known to the network; empty if they are not."""

    html: Path


def write_report(
    checkpoint: Checkpoint, data: DataSet, out_dir: Path, history: Sequence[Mapping[str, Any]]
) -> Report:
    """Evaluate `checkpoint` and write `report.html`, `figures/*.png` and, last, `report.json` to `out_dir`.

    Each file is written whole or not at all, and none before everything is computed. Figures and mistakes
    are of the validation digits, so that looking at them gives nothing of the test digits away; only where
    nothing is set apart for validation are they of the test digits.

    Args:
        checkpoint: the network and what is recorded about it.
        data: what to evaluate on; it need not be what the network was trained on.
        out_dir: made if it is missing.
        history: the metrics of each epoch, as in a run's `metrics.jsonl`; may be empty.

    Raises:
        CheckpointError: the recorded configuration is not usable, or the network's outputs are not finite.
        FileError: a file or the folder cannot be written.
        UsageError: the recorded validation size does not fit the data.
    """
    # Matplotlib takes long to import; `--help` does without it.
    from app.report.figures import draw_figures
    from app.report.page import render_page

    findings = examine(checkpoint, data, history)
    figures = draw_figures(findings)
    # A path may hold what is no text.
    page = render_page(findings, figures).encode(errors="backslashreplace")
    content = _plain(_describe(findings))
    make_directory(out_dir)
    make_directory(out_dir / "figures")
    for name, png in figures.items():
        write_atomically(out_dir / "figures" / f"{name}.png", png)
    write_atomically(out_dir / "report.html", page)
    write_json(out_dir / "report.json", content)
    doubt = describe_doubt(checkpoint, findings.is_training_data) if findings.validation else ""
    return Report(findings.validation, findings.test, doubt, out_dir / "report.html")


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of each epoch from a run's `metrics.jsonl`; none when there is no such file.

    Raises:
        CheckpointError: the file cannot be read, or a line is not a JSON object.
    """
    history = []
    try:
        if not path.exists():
            return []
        expect_file(path, CheckpointError)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: line {number} is not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise CheckpointError(f"{path}: line {number}: expected an object, found {type(row).__name__}")
        history.append(row)
    return history


def _describe(findings: Findings) -> dict[str, Any]:
    """Return the content of `report.json`."""
    metadata = findings.checkpoint.metadata
    return {
        "format": FORMAT,
        "created": findings.created.isoformat(timespec="seconds"),
        "checkpoint": {
            "path": str(findings.checkpoint.path),
            "sha256": findings.checkpoint_sha256,
            "epoch": metadata.get("epoch"),
            "created": metadata.get("created"),
        },
        "validation": findings.validation.to_json() if findings.validation else None,
        "test": findings.test.to_json(),
        "mistakes_of": findings.examined_part,
        "mistakes": [asdict(mistake) for mistake in findings.mistakes],
        "data": {
            "name": findings.data.name,
            "source": findings.data.source,
            "checksum": findings.data_checksum,
            "is_training_data": findings.is_training_data,
        },
        "trained_on": findings.section("data"),
        "network": findings.section("network"),
        "config": findings.section("config"),
        "environment": findings.section("environment"),
        "evaluated_with": runtime.describe_environment(),
        "history": findings.history,
    }


def _plain(content: Any) -> Any:
    """Return JSON content with null for every NaN and infinity, which JSON cannot hold."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
