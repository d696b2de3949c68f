import subprocess
import sys

import pytest


def end_of(main: str) -> "subprocess.CompletedProcess[str]":
    program = f"from app.console import run_command\nrun_command(lambda: {main})"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("main", "code", "said"),
    [
        ("0", 0, ""),
        ("1", 1, ""),
        (
            "bytearray(1 << 62)",
            1,
            "error: not enough memory; a smaller network, batch or picture needs less\n",
        ),
        ("open('gone')", 1, "error: [Errno 2] No such file or directory: 'gone'\n"),
    ],
)
def test_the_exit_code_and_what_is_said(main: str, code: int, said: str) -> None:
    ended = end_of(main)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", said)


def test_a_bug_keeps_its_traceback() -> None:
    ended = end_of("1 // 0")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
