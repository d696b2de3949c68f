import json
import subprocess
import sys

import pytest

from app.datasets import strokes
from app.errors import FileError
from app.files import write_atomically, write_figure, write_json


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    code = (
        "import resource, sys; from pathlib import Path; from app.files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "write_atomically(Path(sys.argv[1]), bytes(5000))\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "FileError" in result.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_permissions_of_new_files(tmp_path):
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "usual").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_figure_takes_the_place_of_another_and_of_nothing_else(tmp_path):
    figure = strokes.draw_contact_sheet(strokes.make_strokes(10, seed=0), columns=1)
    path = tmp_path / "sheet.png"
    for _ in range(2):
        write_figure(path, figure)
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"a person's own")
    for other in (photo, tmp_path):
        with pytest.raises(FileError, match=str(other)):
            write_figure(other, figure)
    assert photo.read_bytes() == b"a person's own"


def test_a_pipe_in_the_place_of_a_figure_is_not_waited_for(tmp_path, make_pipe):
    make_pipe(tmp_path / "pipe.png")
    with pytest.raises(FileError, match="a device or a pipe"):
        write_figure(tmp_path / "pipe.png", b"")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileError, match="gone"):
        write_atomically(tmp_path / "gone" / "file", b"")


def test_json_is_written_strictly(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5, None]}
