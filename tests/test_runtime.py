import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
import pytest

from app.errors import UserError
from app.runtime import (
    REPOSITORY,
    StopRequest,
    available_cores,
    check_products,
    choose_blas_path,
    data_directories,
    derive_seed,
    quota_of,
    random_generator,
)

AVX2 = "fpu sse2 avx avx2 fma"
AVX512 = AVX2 + " avx512f avx512dq avx512cd avx512bw avx512vl"


def run_module(
    environment: dict[str, str], *, code: str = "", arguments: Sequence[str] = (), note: str = ""
) -> str:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMP_", "MALLOC_", "MKL_", "GLOG_"))
    }
    command = ["-c", code] if code else ["-m", "app.environment"]
    result = subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=REPOSITORY,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr.startswith(note) if note else result.stderr == ""
    return result.stdout


def test_the_module_reports_what_it_found_and_did():
    lines = run_module({}).splitlines()
    shown = {line.split(maxsplit=1)[0]: line for line in lines}
    assert shown["cores"].split()[1] == str(available_cores())
    assert shown["OMP_NUM_THREADS"].split()[1] == "1"
    assert "rightly" in shown["oneDNN"] or "Paddle's own layers compute" in shown["oneDNN"]
    assert "wrong" not in shown["oneDNN"]
    assert "matrix product" in lines[-1]


def test_what_the_user_has_set_stays():
    user = {
        "OMP_NUM_THREADS": "1",
        "MALLOC_TOP_PAD_": "65536",
        "MKL_DEBUG_CPU_TYPE": "5",
        "GLOG_minloglevel": "1",
    }
    lines = run_module(user).splitlines()
    given = [line for line in lines if line.endswith("(set in the environment)")]
    assert len(given) == 4


def test_preparing_twice_is_preparing_once():
    code = "from app.runtime import prepare; print(prepare() == prepare())"
    assert run_module({}, code=code) == "True\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_the_affinity_of_the_process_counts():
    code = "import os; os.sched_setaffinity(0, {0}); "
    code += "from app.runtime import available_cores; print(available_cores())"
    assert run_module({}, code=code) == "1\n"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "0\n"}, None),
    ],
)
def test_the_quota_of_both_kinds_of_control_groups_is_read(tmp_path, files, quota):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert quota_of(tmp_path) == quota


@pytest.mark.parametrize(
    ("vendor", "flags", "path"),
    [
        ("AuthenticAMD", AVX512, "7"),
        ("AuthenticAMD", AVX2, "5"),
        ("AuthenticAMD", AVX512.replace("avx512bw", ""), "5"),
        ("AuthenticAMD", "fpu sse2 avx", None),
        ("GenuineIntel", AVX512, None),
        ("", "", None),
    ],
)
def test_only_amd_gets_a_path_and_only_one_its_instructions_allow(vendor, flags, path):
    assert choose_blas_path({"vendor_id": vendor, "flags": flags}) == path


def test_matrix_products_are_right_on_this_machine():
    assert check_products() < 1e-5


def test_wrong_products_of_a_blas_path_end_the_program(monkeypatch):
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "9")
    monkeypatch.setattr(paddle, "matmul", lambda a, _b: a)
    with pytest.raises(UserError, match=r"wrong by .* with MKL_DEBUG_CPU_TYPE=9; set it to 0"):
        check_products()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="only where a path is ever chosen")
def test_a_wrong_choice_of_a_blas_path_is_taken_back_in_a_new_process():
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
import paddle
from app import console, runtime
product = paddle.matmul
paddle.matmul = lambda a, b: a if os.environ["MKL_DEBUG_CPU_TYPE"] == "5" else product(a, b)
runtime.choose_blas_path = lambda _cpuinfo: "5"

def main():
    runtime.prepare()
    print(os.environ["MKL_DEBUG_CPU_TYPE"], sys.argv)
    return 0

console.run_command(main)
"""
    note = "note: Paddle's matrix products are wrong by "
    assert run_module({}, code=code, arguments=["one", ""], note=note) == "0 ['-c', 'one', '']\n"


def test_data_directories_are_in_the_stated_order(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "second"))
    assert data_directories(str(tmp_path / "first")) == [tmp_path / "first"]
    assert data_directories(None) == [tmp_path / "second", REPOSITORY / "data"]
    monkeypatch.delenv("MNIST_DATA_DIR")
    assert data_directories(None) == [REPOSITORY / "data"]


def test_seeds_differ_by_purpose_and_counters_and_are_always_the_same():
    keys = [
        (0, "shuffle"),
        (1, "shuffle"),
        (0, "augment"),
        (0, "augment", 0),
        (0, "augment", 1),
        (0, "augment", 0, 1),
    ]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    # The stream of a seed is part of the promise that a run can be repeated.
    assert derive_seed(0, "shuffle", 3) == 2911220107
    np.testing.assert_array_equal(
        random_generator(1, "shuffle", 2).permutation(9), random_generator(1, "shuffle", 2).permutation(9)
    )


def test_the_first_signal_is_a_request_and_the_handler_is_put_back():
    with StopRequest() as stop:
        assert stop.signal_number is None
        signal.raise_signal(signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_end_of_a_terminal_may_be_told_twice():
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal_number == signal.SIGHUP
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_what_is_decided_about_a_signal_meanwhile_stays_so():
    previous = signal.getsignal(signal.SIGTERM)
    try:
        with StopRequest():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, previous)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_so(number):
    previous = signal.signal(number, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(number)
            assert stop.signal_number is None
    finally:
        signal.signal(number, previous)


def test_paths_start_at_the_repository():
    assert (REPOSITORY / "train.py").is_file()
    assert isinstance(REPOSITORY, Path)
