"""Rewrite the performance tables from the JSON files of benchmarks/results; README.md has targets only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.config import PRESETS
from app.console import CommandParser, run_command
from app.errors import UserError
from app.files import write_atomically
from benchmarks.common import MACHINE, REPOSITORY, RESULTS

BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
ALL = "all.md"
"""The page of all findings, in the folder of the results."""

NAMES = (
    *("speed", "time_to_accuracy", *(f"accuracy_{preset}" for preset in PRESETS)),
    *("step", "startup", "scaling", "strokes", "pictures"),
)


def load(path: Path) -> dict[str, Any]:
    """Return the document of a benchmark.

    Raises:
        UserError: it is damaged.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        document["findings"], document["command"], document["environment"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the results of a benchmark ({error})") from error
    return document


def load_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the documents that are there, in the order of the table.

    Raises:
        UserError: there is none, or one is damaged.
    """
    paths = {name: folder / f"{name}.json" for name in NAMES}
    documents = {name: load(path) for name, path in paths.items() if path.exists()}
    if not documents:
        raise UserError(f"{folder}: holds none of {', '.join(path.name for path in paths.values())}")
    return documents


def with_targets(documents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the documents without the findings that have no target."""
    return {
        name: {**document, "findings": [finding for finding in document["findings"] if finding["target"]]}
        for name, document in documents.items()
    }


def format_markdown(documents: dict[str, dict[str, Any]]) -> str:
    """Return the table, a row for each finding with its command, and below it where it was measured."""
    marks = {None: "", True: "", False: " (missed)"}
    lines = ["| what | measured | target | command |", "|---|---|---|---|"]
    for document in documents.values():
        for finding in document["findings"]:
            target = finding["target"] + marks[finding["reached"]]
            lines.append(
                f"| {finding['what']} | {finding['measured']} | {target} | `{document['command']}` |"
            )
    machines: dict[tuple[Any, ...], list[str]] = {}
    for name, document in documents.items():
        machines.setdefault(tuple(document["environment"][key] for key in MACHINE), []).append(name)
    for (processor, cores, paddle, torch), names in machines.items():
        versions = f"Paddle {paddle}" + (f", PyTorch {torch}" if torch else "")
        lines += ["", f"Measured on {processor}, {cores} cores, {versions}: {', '.join(names)}."]
    return "\n".join(lines)


def format_all(documents: dict[str, dict[str, Any]]) -> str:
    """Return the page of all findings, those without a target, too."""
    return f"# All that was measured\n\n{format_markdown(documents)}\n"


def replace_between(text: str, content: str, path: Path) -> str:
    """Return `text` with `content` between the two markers.

    Raises:
        UserError: a marker is missing or there are several; the message names `path`.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError(f"{path}: expected one line {BEGIN} and after it one line {END}")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def main() -> int:
    """Rewrite both tables."""
    parser = CommandParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument(
        "--readme",
        type=Path,
        default=REPOSITORY / "README.md",
        metavar="PATH",
        help="file with the two markers (README.md)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="folder of the JSON files, and of the page of all that they say (benchmarks/results)",
    )
    arguments = parser.parse_args()
    path: Path = arguments.readme
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    documents = load_results(arguments.results)
    changed = replace_between(text, format_markdown(with_targets(documents)), path)
    write_atomically(path, changed.encode())
    write_atomically(arguments.results / ALL, format_all(documents).encode())
    return 0


if __name__ == "__main__":
    run_command(main)
