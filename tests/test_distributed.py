"""Real data-parallel runs: several processes, started as a user starts them."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.checkpoint import load_state, read_json
from app.config import TrainConfig
from app.console import TrainingDisplay
from app.training import train

REPOSITORY = Path(__file__).resolve().parent.parent

# 501 training images in batches of 50: the last batch holds one image, so a process's share of it is empty.
OPTIONS = {
    "channels": (4, 4),
    "kernel_size": 3,
    "hidden": 16,
    "dropout": 0.1,
    "shift": 1,
    "rotation": 2.0,
    "validation_size": 99,
    "batch_size": 50,
    "epochs": 2,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.001,
    "clip_gradient": 1.0,
    "label_smoothing": 0.01,
    "average_decay": 0.5,
}


def command_line(options: dict) -> list[str]:
    words = ["--preset", "tutorial", "--no-drop-last-batch", "--log-every", "0"]
    for name, value in options.items():
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words += [str(part) for part in (value if isinstance(value, tuple) else (value,))]
    return words


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder: Path, launcher: list[str], script: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "paddle.distributed.launch", "--log_dir", str(folder / "log"), *launcher]
    return subprocess.Popen(
        [*command, *script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait(processes: list[subprocess.Popen]) -> str:
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
    return "".join(outputs)


def assert_like_one_process(run_dir: Path, alone: Path) -> None:
    together, single = (load_state(folder / "last.pdparams") for folder in (run_dir, alone))
    for name, array in single.items():
        np.testing.assert_allclose(together[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    records = [read_json(folder / "last.json")["metrics"] for folder in (run_dir, alone)]
    assert records[0]["train_loss"] == pytest.approx(records[1]["train_loss"], rel=1e-4)
    assert records[0]["validation_loss"] == pytest.approx(records[1]["validation_loss"], rel=1e-3)
    assert read_json(run_dir / "report.json")["validation"]["count"] == 99


@pytest.fixture(scope="module")
def alone(tmp_path_factory, digits_directory) -> Path:
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    # Two threads, which share a batch as two processes do.
    train(TrainConfig(**OPTIONS, workers=2, data_dir=str(digits_directory)), run_dir)
    return run_dir


def test_two_processes_train_as_one(tmp_path, digits_directory, alone):
    script = [str(REPOSITORY / "train.py"), *command_line(OPTIONS)]
    script += ["--data-dir", str(digits_directory), "--run-dir", str(tmp_path / "run")]
    output = wait([start(tmp_path, ["--nproc_per_node", "2"], script)])
    assert output.count("epoch 2/2") == 1
    assert_like_one_process(tmp_path / "run", alone)


def assert_each_ends_with_one_line(folder: Path, arguments: list[str], status: int, reason: str) -> None:
    process = start(folder, ["--nproc_per_node", "2"], [str(REPOSITORY / "train.py"), *arguments])
    process.communicate(timeout=120)
    assert process.returncode == status
    said = [(folder / "log" / f"workerlog.{rank}").read_text() for rank in (0, 1)]
    assert not any("Traceback" in text for text in said)
    assert said[0].endswith(f"error: {reason}\n")
    assert said[1].endswith("error: the first of the processes cannot go on; its own message says why\n")


def test_all_processes_end_with_one_line_each_where_the_first_cannot_begin(tmp_path, digits_directory):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    arguments = ["--data-dir", str(digits_directory), "--run-dir", "run"]
    reason = "run: already holds files; resume that run or name another folder"
    assert_each_ends_with_one_line(tmp_path, arguments, 2, reason)


def test_all_processes_end_with_one_line_each_where_the_first_cannot_save(tmp_path, digits_directory):
    class Killed(TrainingDisplay):
        def step(self, *_what):
            raise SystemExit

    config = TrainConfig(**OPTIONS, workers=1, data_dir=str(digits_directory))
    with pytest.raises(SystemExit):
        train(config, tmp_path / "run", Killed(visible=False))
    (tmp_path / "run" / "best.pdparams").mkdir()
    reason = "run/best.pdparams: cannot be written (Is a directory)"
    assert_each_ends_with_one_line(tmp_path, ["--resume", "run"], 1, reason)


@pytest.mark.slow
def test_two_nodes_train_as_one(tmp_path, digits_directory, alone):
    script = [str(REPOSITORY / "train.py"), *command_line(OPTIONS)]
    script += ["--data-dir", str(digits_directory), "--run-dir", str(tmp_path / "run")]
    master = f"127.0.0.1:{free_port()}"
    nodes = []
    for rank in (0, 1):
        folder = tmp_path / f"node{rank}"
        folder.mkdir()
        launcher = ["--nnodes", "2", "--master", master, "--rank", str(rank), "--nproc_per_node", "1"]
        nodes.append(start(folder, launcher, script))
    wait(nodes)
    assert_like_one_process(tmp_path / "run", alone)


WORKER = """
import signal
import sys
from pathlib import Path

from app import runtime
runtime.prepare()
import numpy as np
import paddle
from app.distributed import Processes
from app.errors import UserError
from app.models import TwoConvNet

processes = Processes()
paddle.seed(0)
network = TwoConvNet((2, 2), batch_norm=True)
processes.check_equal(network)

# The running statistics are averaged, the gradients and losses added up, and one wish to stop reaches all.
network.norm1._mean.set_value(paddle.full([2], float(processes.rank)))
network.eval()
if processes.rank == 0:
    network(paddle.ones([1, 1, 28, 28])).sum().backward()
loss, stop = processes.combine(network, paddle.to_tensor(1.5), wants_stop=processes.rank == 1)
assert float(loss) == 3.0 and stop
np.testing.assert_array_equal(network.norm1._mean.numpy(), [0.5, 0.5])
np.testing.assert_array_equal(network.fc.bias.grad.numpy(), np.ones(10))

own_rows = slice(0, 1) if processes.rank == 0 else slice(1, 3)
part = np.full((own_rows.stop - own_rows.start, 2), processes.rank + 1, np.float32)
rows = processes.gather(part, own_rows, 3)
np.testing.assert_array_equal(rows[:, 0], [1, 2, 2])

done = []
processes.on_first(lambda: done.append(processes.rank))
assert done == [0] * (processes.rank == 0)

def fail():
    raise UserError("the folder is full")

try:
    processes.on_first(fail)
except UserError as error:
    is_its_own = str(error) == "the folder is full"
    assert is_its_own == (processes.rank == 0)
    # The launcher ends those that are left when one has gone.
    signal.raise_signal(signal.SIGTERM)
    Path(sys.argv[1], f"refused-{processes.rank}").touch()

network.fc.bias.set_value(paddle.full([10], float(processes.rank)))
try:
    processes.check_equal(network)
except RuntimeError:
    Path(sys.argv[1], f"noticed-{processes.rank}").touch()
"""


def test_workers_agree_and_notice_when_they_do_not(tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    wait([start(tmp_path, ["--nproc_per_node", "2"], ["worker.py", str(tmp_path)])])
    touched = {path.name for path in tmp_path.glob("*-[01]")}
    assert touched == {"refused-0", "refused-1", "noticed-0", "noticed-1"}
