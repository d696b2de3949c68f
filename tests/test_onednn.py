import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from app import onednn
from app.onednn import Buffer, Layout, Memory, UnsupportedError, reorder

REPOSITORY = Path(__file__).resolve().parent.parent

try:
    onednn.version()
except UnsupportedError as error:
    pytest.skip(str(error), allow_module_level=True)


def test_a_reorder_turns_channels_to_the_end_and_back():
    values = paddle.arange(2 * 3 * 4 * 5, dtype="float32").reshape([2, 3, 4, 5])
    plain = Layout.of(values.shape, onednn.PLAIN)
    entry, turned, result = (
        Memory(plain),
        Buffer(Layout.of(values.shape, onednn.CHANNELS_LAST)),
        Buffer(plain),
    )
    entry.place(values.data_ptr())
    reorder(entry, turned).run()
    reorder(turned, result).run()
    np.testing.assert_array_equal(turned.values, values.numpy().transpose(0, 2, 3, 1).ravel())
    np.testing.assert_array_equal(result.values, values.numpy().ravel())


def test_blocks_of_channels_have_room_for_those_that_do_not_exist():
    shape = [2, 3, 4, 4]
    assert Layout.of(shape, onednn.PLAIN).size == 4 * 2 * 3 * 16
    assert Layout.of(shape, onednn.CHANNELS_BY_8).size == 4 * 2 * 8 * 16
    assert Layout.of(shape, onednn.CHANNELS_BY_16).size == 4 * 2 * 16 * 16


def test_shapes_that_do_not_fit_are_unsupported():
    pictures, weights = Layout.of([1, 3, 8, 8], onednn.ANY), Layout.of([4, 2, 3, 3], onednn.ANY)
    result = Layout.of([1, 4, 6, 6], onednn.ANY)
    with pytest.raises(UnsupportedError, match="convolution_forward_primitive_desc_create answers"):
        onednn.convolution((pictures, weights, None, result), 1, (0, 0), training=False)


def test_reference_code_is_not_taken():
    # Nothing but the reference code reads one layout and writes the other.
    shape = [2, 16, 8, 8]
    source, result = Layout.of(shape, onednn.PLAIN), Layout.of(shape, onednn.CHANNELS_BY_16)
    weights = Layout.of([16, 16, 3, 3], onednn.ANY)
    with pytest.raises(UnsupportedError, match="reference code for convolution_forward"):
        onednn.convolution((source, weights, None, result), 1, (1, 1), training=False)


@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "DEFAULT"])
def test_other_processors_get_the_same_results(instructions):
    code = """
from app.runtime import prepare
prepare()
import paddle
from app.fast_layers import agrees, make_plan, stages_of
from app.models import TwoConvNet
from app.onednn import UnsupportedError

paddle.seed(0)
for choices in ({}, {"channels": (16, 32), "downsampling": "stride", "batch_norm": True}):
    network = TwoConvNet(**choices)
    for training in (True, False):
        network.train() if training else network.eval()
        try:
            plan = make_plan(stages_of(network), 8, training)
        except UnsupportedError:
            print("unsupported")
        else:
            print("right" if agrees(plan, network, paddle.rand([8, 1, 28, 28])) else "wrong")
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = result.stdout.split()
    assert len(answers) == 4
    assert set(answers) <= {"right", "unsupported"}
    if instructions != "SSE41":
        assert set(answers) == {"right"}
