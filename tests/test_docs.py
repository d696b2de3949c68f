import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("document", "printed"),
    [
        ("docs/plain-loop.md", r"test accuracy after one epoch: \d+\.\d\d%\n"),
        ("checkpoints/README.md", ""),
    ],
)
def test_the_python_of_a_document_runs(
    document: str, printed: str, tmp_path: Path, digits_directory: Path, tutorial_checkpoint: Path
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / document).read_text(), re.DOTALL)
    (tmp_path / "best.pdparams").write_bytes(tutorial_checkpoint.read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MNIST_DATA_DIR": str(digits_directory)}
    ended = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:__main__", "-c", block],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(printed, ended.stdout)


def test_the_links_of_the_documents_lead_to_files() -> None:
    folders = ("", "docs/", "data/", "benchmarks/", "checkpoints/", "checkpoints/pretrained/")
    links = [
        document.parent / link
        for folder in folders
        for document in REPOSITORY.glob(f"{folder}*.md")
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    ]
    assert len(links) > 20
    assert [link for link in links if not link.exists()] == []
