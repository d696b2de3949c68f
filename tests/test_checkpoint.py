import io
import json
import os
import pickle
import struct

import numpy as np
import paddle
import pytest
from PIL import Image

from app.checkpoint import (
    digest_of,
    get_state,
    load_checkpoint,
    load_state,
    resolve_checkpoint,
    save_checkpoint,
    set_state,
)
from app.errors import CheckpointError
from app.models import MultiColumnNet, SoftmaxRegression, TwoConvNet, compute_logits

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    network = TwoConvNet((4, 6), 3, "stride", batch_norm=True, hidden=8, dropout=0.2)
    path = tmp_path / "net.pdparams"
    save_checkpoint(path, get_state(network), {"network": network.architecture})
    return network, path


class Bomb:
    """Unpickled the usual way, this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_round_trip_gives_the_same_network(saved):
    network, path = saved
    loaded = load_checkpoint(path)
    for name, array in get_state(network).items():
        np.testing.assert_array_equal(get_state(loaded.network)[name], array)
    expected = compute_logits(network, IMAGES)
    np.testing.assert_allclose(compute_logits(loaded.network, IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert loaded.network.architecture == {**network.architecture, "dropout": 0.0}
    assert not loaded.network.training


def test_a_network_of_columns_comes_back(tmp_path):
    network = MultiColumnNet(2, channels=(4, 6), kernel_size=3, downsampling="stride", batch_norm=True)
    path = tmp_path / "net.pdparams"
    save_checkpoint(path, get_state(network), {"network": network.architecture})
    loaded = load_checkpoint(path).network
    assert loaded.architecture == network.architecture
    expected = compute_logits(network, IMAGES)
    np.testing.assert_allclose(compute_logits(loaded, IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_parameters_are_a_plain_paddle_state_dict(saved):
    network, path = saved
    state = paddle.load(str(path))
    assert network.set_state_dict(state) == ([], [])


def test_what_the_tutorial_saves_loads_without_a_description(tutorial_checkpoint):
    loaded = load_checkpoint(tutorial_checkpoint)
    assert loaded.metadata == {}
    assert loaded.network.architecture == TwoConvNet().architecture
    state = paddle.load(str(tutorial_checkpoint))
    np.testing.assert_array_equal(loaded.network.conv2.weight.numpy(), state["conv2.weight"].numpy())


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_pickle_protocol_of_paddle_is_read(tmp_path, protocol):
    network = TwoConvNet((2, 2))
    paddle.save(network.state_dict(), str(tmp_path / "old.pdparams"), protocol=protocol)
    loaded = load_state(tmp_path / "old.pdparams")
    np.testing.assert_array_equal(loaded["fc.weight"], network.fc.weight.numpy())


def test_pickles_of_older_numpy_and_fortran_order_are_read(tmp_path):
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    data = pickle.dumps({"a": array}, protocol=2).replace(b"numpy._core", b"numpy.core")
    (tmp_path / "old.pdparams").write_bytes(data)
    np.testing.assert_array_equal(load_state(tmp_path / "old.pdparams")["a"], array)


def test_paddle_2_spellings_are_read(tmp_path):
    content = {"a": ("conv2d_0.w_0", np.ones(3, np.float32)), "StructuredToParameterName@@": {"a": "b"}}
    (tmp_path / "old.pdparams").write_bytes(pickle.dumps(content, protocol=4))
    loaded = load_state(tmp_path / "old.pdparams")
    assert list(loaded) == ["a"]
    np.testing.assert_array_equal(loaded["a"], np.ones(3))


def test_hostile_pickle_executes_nothing(tmp_path):
    path, trace = tmp_path / "bad.pdparams", tmp_path / "trace"
    for protocol in (0, 1, 2, 3, 4, 5):
        path.write_bytes(pickle.dumps({"conv1.weight": Bomb(trace)}, protocol=protocol))
        with pytest.raises(CheckpointError, match=r"bad\.pdparams: .*mkdir"):
            load_checkpoint(path)
        assert not trace.exists()


def nested_tuples(depth):
    return b"\x80\x04}" + b")" + b"\x85" * depth + b"K\x01s."


def doubling_lists(depth):
    body = b"".join(
        b"]q" + bytes([i]) + b"(h" + bytes([i - 1]) + b"h" + bytes([i - 1]) + b"e" for i in range(1, depth)
    )
    return b"\x80\x02}X\x01\x00\x00\x00a]q\x00" + body + b"s."


def array_pickle(state):
    class Fake:
        def __reduce__(self):
            return np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state

    return pickle.dumps({"a": Fake()}, protocol=4)


def arrays(**shapes):
    """A pickle of empty or small arrays of these shapes, which costs nothing to write."""
    return pickle.dumps(
        {name.replace("_", "."): np.zeros(shape, np.float32) for name, shape in shapes.items()}
    )


def tutorial_with(**changes):
    state = get_state(TwoConvNet())
    return pickle.dumps({**state, **{name.replace("__", "."): value for name, value in changes.items()}})


HOSTILE = {
    "a scalar for a matrix": tutorial_with(hidden__weight=np.float32(1).reshape(())),
    "billions of channels": arrays(
        conv1_weight=(300_000_000, 0, 5, 5), conv2_weight=(1, 1, 5, 5), fc_weight=(1, 1)
    ),
    "an endless kernel": arrays(
        conv1_weight=(20, 1, 0, 1 << 40), conv2_weight=(20, 20, 5, 5), fc_weight=(980, 10)
    ),
    "no channels": arrays(conv1_weight=(0, 1, 5, 5), conv2_weight=(0, 0, 5, 5), fc_weight=(0, 10)),
    "an even kernel": arrays(
        conv1_weight=(2, 1, 4, 4),
        conv1_bias=2,
        conv2_weight=(2, 2, 4, 4),
        conv2_bias=2,
        fc_weight=(98, 10),
        fc_bias=10,
    ),
    "beyond float32": tutorial_with(fc__bias=np.full(10, 1e300)),
    "forged lines": pickle.dumps({"\x1b[31m\nerror: forged": np.zeros(3, np.float32)}),
    "bytes by tuple": b"\x80\x04cbuiltins\ntuple\n(C\x03abctR.",
    "empty": b"",
    "text": b"hello, I am not a pickle\n",
    "not a dict": pickle.dumps([1, 2]),
    "empty dict": pickle.dumps({}),
    "a number for an array": pickle.dumps({"conv1.weight": 3}),
    "a name that is no text": pickle.dumps({3: np.zeros(3)}),
    "an array of objects": pickle.dumps({"a": np.array([{}], dtype=object)}),
    "an array of text": pickle.dumps({"a": np.array(["x"])}),
    "a set": pickle.dumps({"a": {1, 2}}),
    "too few bytes": array_pickle((1, (1000, 1000), np.dtype("f4"), False, b"1234")),
    "negative shape": array_pickle((1, (-1, -1), np.dtype("f4"), False, b"1234")),
    "huge shape": array_pickle((1, (1 << 62, 4), np.dtype("f4"), False, b"")),
    "nested tuples": nested_tuples(200_000),
    "less nested tuples": nested_tuples(9_000),
    "doubling lists": doubling_lists(200),
    "huge allocation": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "extension": b"\x80\x04\x82\x01.",
    "persistent": b"Phello\n.",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_whatever_else_the_file_holds_is_one_clear_error(tmp_path, name):
    path = tmp_path / "bad.pdparams"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(CheckpointError, match=r"bad\.pdparams: ") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_picture_is_no_state_dict(tmp_path):
    path = tmp_path / "seven.png"
    Image.new("L", (28, 28)).save(path)
    with pytest.raises(CheckpointError, match=r"seven\.png: not a Paddle state dict"):
        load_checkpoint(path)


def test_a_pipe_is_not_waited_for(tmp_path, make_pipe):
    make_pipe(tmp_path / "pipe.pdparams")
    with pytest.raises(CheckpointError, match="a device or a pipe"):
        load_checkpoint(tmp_path / "pipe.pdparams")


def test_refusals_do_not_pass_on_control_characters(tmp_path):
    path = tmp_path / "bad.pdparams"
    for content in ({"\x1b[31mred": 3}, {"conv1.weight": Bomb("x\x1b")}, {"\x1b": np.zeros(2, np.float32)}):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(path)
        assert str(caught.value).isprintable()


def test_a_network_that_its_shapes_do_not_tell_is_refused_without_its_description(saved):
    _, path = saved
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="it needs the JSON file that was saved beside it"):
        load_checkpoint(path)


def test_it_is_said_that_a_network_without_description_is_taken_to_pool(tmp_path):
    network = TwoConvNet((2, 2), 3, "stride")
    path = tmp_path / "net.pdparams"
    save_checkpoint(path, get_state(network), {"network": network.architecture})
    assert load_checkpoint(path).assumption == ""
    path.with_suffix(".json").unlink()
    checkpoint = load_checkpoint(path)
    assert checkpoint.network.architecture["downsampling"] == "max-pool"
    assert "taken to pool" in checkpoint.assumption


def test_a_description_of_other_parameters_is_refused(saved, tutorial_checkpoint):
    _, path = saved
    path.write_bytes(tutorial_checkpoint.read_bytes())
    with pytest.raises(CheckpointError, match="describes other parameters"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": [4, 5]}, r"the JSON file beside it has \[4, 5\] for channels, the parameters \[4, 6\]"),
        ({"hidden": "x"}, "has 'x' for hidden, the parameters 8"),
        ({"hidden": None}, "has None for hidden, the parameters 8"),
        ({"layers": None}, "has 'layers', which such a network has not"),
        (None, "it needs the JSON file that was saved beside it"),
    ],
)
def test_a_description_of_another_network_is_refused(saved, change, message):
    _, path = saved
    metadata = json.loads(path.with_suffix(".json").read_text())
    if change is None:
        del metadata["network"]
    else:
        metadata["network"].update(change)
    path.with_suffix(".json").write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize("is_plain", [True, False], ids=["softmax regression", "two convolutions"])
def test_a_description_of_the_other_kind_of_network_is_refused(tmp_path, is_plain):
    network, other = (SoftmaxRegression(), TwoConvNet()) if is_plain else (TwoConvNet(), SoftmaxRegression())
    path = tmp_path / "net.pdparams"
    save_checkpoint(path, get_state(network), {"network": network.architecture})
    assert type(load_checkpoint(path).network) is type(network)
    save_checkpoint(path, get_state(network), {"network": other.architecture})
    with pytest.raises(CheckpointError, match="which such a network has not"):
        load_checkpoint(path)


@pytest.mark.parametrize("described", ["TwoConvNet", None, []])
def test_a_description_that_is_no_object_is_refused(tmp_path, described):
    path = tmp_path / "net.pdparams"
    save_checkpoint(path, get_state(TwoConvNet()), {"network": described})
    with pytest.raises(CheckpointError, match="expected an object for `network`"):
        load_checkpoint(path)


def test_a_pipe_beside_the_parameters_is_not_waited_for(saved, make_pipe):
    _, path = saved
    path.with_suffix(".json").unlink()
    make_pipe(path.with_suffix(".json"))
    with pytest.raises(CheckpointError, match=r"net\.json: expected a file, found a device or a pipe"):
        load_checkpoint(path)


def test_the_tutorials_data_beside_its_parameters_are_not_taken_for_a_description(
    tmp_path, tutorial_checkpoint
):
    path = tmp_path / "mnist.pdparams"
    path.write_bytes(tutorial_checkpoint.read_bytes())
    path.with_suffix(".json").write_text("[" + "0.0, " * 300_000 + "0.0]")
    assert load_checkpoint(path).metadata == {}


def test_every_truncation_is_one_clear_error(saved):
    _, path = saved
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("conv2.bias"), "conv2.bias is missing"),
        (lambda state: state.update(extra=np.zeros(3, np.float32)), "unexpected parameter 'extra'"),
        (
            lambda state: state.update({"fc.bias": np.zeros(9, np.float32)}),
            r"fc.bias has shape \[9\], expected \[10\]",
        ),
        (lambda state: state.update({"fc.bias": np.full(10, np.nan, np.float32)}), "fc.bias holds values"),
        (lambda state: state.update({"fc.weight": np.zeros((980, 7), np.float32)}), "fc.weight has shape"),
    ],
)
def test_names_and_shapes_are_checked_strictly(tmp_path, change, reason):
    state = get_state(TwoConvNet())
    change(state)
    paddle.save(state, str(tmp_path / "odd.pdparams"))
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(tmp_path / "odd.pdparams")


def test_a_refused_state_leaves_the_network_as_it_was():
    network = TwoConvNet()
    before = get_state(network)
    state = {**get_state(TwoConvNet()), "fc.bias": np.zeros(9, np.float32)}
    with pytest.raises(CheckpointError):
        set_state(network, state, "memory")
    after = get_state(network)
    assert all((after[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"network": {"downsampling": 7}}'])
def test_a_damaged_description_is_one_clear_error(saved, text):
    _, path = saved
    path.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match=r"net\."):
        load_checkpoint(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.pdparams"):
        load_checkpoint(tmp_path / "gone.pdparams")
    for name in ("gone.pdparams", "long" * 100):
        with pytest.raises(CheckpointError, match=f"{name}: cannot be read"):
            resolve_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="neither"):
        resolve_checkpoint(tmp_path)


def test_a_run_folder_means_its_best_else_its_last(tmp_path):
    (tmp_path / "last.pdparams").touch()
    assert resolve_checkpoint(tmp_path).name == "last.pdparams"
    (tmp_path / "best.pdparams").touch()
    assert resolve_checkpoint(tmp_path).name == "best.pdparams"


def test_description_holds_the_checksum_of_the_parameters(saved):
    import hashlib

    _, path = saved
    content = json.loads(path.with_suffix(".json").read_text())
    assert content["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_state_can_be_saved_to_memory_and_is_what_paddle_reads():
    from app.checkpoint import serialize

    loaded = paddle.load(io.BytesIO(serialize({"a": np.ones(2, np.float32)})))
    np.testing.assert_array_equal(loaded["a"].numpy(), [1, 1])


def test_a_digest_tells_any_change_and_no_order():
    content = {"a": np.arange(4, dtype=np.float32), "b": {"c": "text", "d": np.zeros(2)}}
    turned = {"b": dict(reversed(content["b"].items())), "a": content["a"].copy()}
    assert digest_of(turned) == digest_of(content)
    others = [
        {**content, "a": content["a"].reshape(2, 2)},
        {**content, "a": content["a"].view(np.int32)},
        {**content, "b": {"c": "text", "e": np.zeros(2)}},
        {"a": content["a"], "b": str(content["b"])},
    ]
    assert len({digest_of(one) for one in [content, *others]}) == 5
