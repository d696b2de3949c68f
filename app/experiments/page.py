"""A study as a page: its Markdown, its JSON and its figure, and all pages together as `lessons.md`."""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import matplotlib.style

from app import runtime
from app.experiments import STUDIES
from app.experiments.study import Findings, Laboratory, Statement, Study, Table
from app.files import write_atomically, write_json
from app.report.figures import FIGURE_STYLE

_STYLE = {
    **FIGURE_STYLE,
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
}

_INTRODUCTION = """# Lessons

Five articles about cross-entropy, and what is left of their claims when everything is run again here, in
Paddle. Each section says what is claimed, what was done, what was measured, and whether the claim holds; each
statement links to the code that computes it. All of it is written by `python -m app.experiments all`:
figures, measurements and verdicts are computed, only claims and theory (why) are not.

A statement holds (yes) or does not (no) where all runs agree, whatever the size of the difference; where they
do not, it is undecided.

"""


def write_study(study: Study, laboratory: Laboratory, out_dir: Path) -> Findings:
    """Run a study and write `NAME.png`, `NAME.json` and, last, `NAME.md` to `out_dir`.

    Raises:
        FileError: a file or the folder cannot be written.
        The errors of `train`.
    """
    findings = study.run(laboratory)
    write_atomically(out_dir / f"{study.name}.png", _draw(findings))
    write_json(
        out_dir / f"{study.name}.json",
        {
            "study": study.name,
            "quick": laboratory.is_quick,
            "claim": study.claim,
            "verdict": summarise(findings.statements),
            "statements": [
                {"text": each.text, "measured": each.measured, "holds": each.holds}
                for each in findings.statements
            ],
            "data": findings.data,
            "environment": runtime.describe_environment(),
        },
    )
    page = render(study, findings, out_dir, is_quick=laboratory.is_quick)
    write_atomically(out_dir / f"{study.name}.md", page.encode())
    return findings


def write_lessons(out_dir: Path) -> Path:
    """Gather the pages of all studies in `out_dir` as `lessons.md` there, and return its path."""
    pages = [(out_dir / f"{name}.md").read_text(encoding="utf-8") for name in STUDIES]
    # A page's title is a section's heading here.
    sections = ["\n".join(_deeper(line) for line in page.splitlines()) + "\n" for page in pages]
    path = out_dir / "lessons.md"
    write_atomically(path, (_INTRODUCTION + "\n".join(sections)).encode())
    return path


def _deeper(line: str) -> str:
    return f"#{line}" if line.startswith("#") else line


def summarise(statements: Sequence[Statement]) -> str:
    """Return the verdict on a claim from those on its statements."""
    held = sum(statement.holds is True for statement in statements)
    if held == len(statements):
        return "The claim holds."
    if all(statement.holds is None for statement in statements):
        return "The claim is undecided here."
    if held == 0:
        return "The claim does not hold here."
    return f"The claim holds in part: {held} of {len(statements)} statements."


def render(study: Study, findings: Findings, out_dir: Path, *, is_quick: bool = False) -> str:
    """Return the page of a study as Markdown, with links that are relative to `out_dir`."""
    answers = {True: "yes", False: "no", None: "undecided"}
    rows = [
        (
            statement.text,
            statement.measured,
            answers[statement.holds],
            ", ".join(_link(function, out_dir) for function in statement.code),
        )
        for statement in findings.statements
    ]
    verdicts = Table("", ("statement", "measured", "holds", "computed by"), rows)
    parts = [
        f"# {study.title}",
        f"**Claim** ({study.source}): {study.claim}",
        f"**Method**: {findings.method}",
        f"![{findings.caption}]({study.name}.png)",
        *(_render_table(table) for table in findings.tables),
        _render_table(verdicts),
        f"**Verdict**: {summarise(findings.statements)}",
        f"**Why**: {findings.explanation}",
        f"`python -m app.experiments {study.name}` repeats it; the figures are in "
        f"[{study.name}.json]({study.name}.json).",
    ]
    if is_quick:
        parts.insert(1, "*A quick run, which shows that the study works. Its figures are no evidence.*")
    return "\n\n".join(parts) + "\n"


def _render_table(table: Table) -> str:
    lines = [table.headings, ["---"] * len(table.headings), *table.rows]
    # A bar would end the cell.
    rendered = "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )
    return f"{table.caption}\n\n{rendered}" if table.caption else rendered


def _link(function: Callable[..., Any], out_dir: Path) -> str:
    """Return a link to the file that defines `function`."""
    path = Path(inspect.getsourcefile(function) or "").resolve()
    relative = Path(os.path.relpath(path, out_dir.resolve())).as_posix()
    return f"[`{path.stem}.{function.__qualname__}`]({relative})"


def _draw(findings: Findings) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.style.context(["default", _STYLE]):
        # No version of the library inside: the same study gives the same file.
        findings.draw().savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
