"""The configuration of a training run, its presets, and its command-line options. Imports nothing heavy."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union, get_args, get_origin, get_type_hints

from app.errors import UsageError


def _option(default: Any, help_text: str, choices: Optional[tuple[str, ...]] = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": help_text, "choices": choices})


def _metadata(name: str) -> Mapping[str, Any]:
    return TrainConfig.__dataclass_fields__[name].metadata


_LOWEST = {
    "seed": 0,
    "extra_strokes": 0,
    "validation_size": 0,
    "kernel_size": 1,
    "columns": 1,
    "hidden": 0,
    "shift": 0,
    "batch_size": 1,
    "epochs": 1,
    "calm_epochs": 0,
    "workers": 1,
    "evaluation_batch_size": 1,
    "log_every": 0,
    "limit_train_batches": 1,
    "limit_validation_batches": 1,
}


DOWNSAMPLING = ("max-pool", "stride")
PADDING = ("same", "valid")
DATASETS = ("auto", "mnist", "strokes")

UNPADDED_KERNELS = (1, 5, 9)
"""Kernels that leave an even side to be halved, both times, where they move inside the picture only."""


def halved_side(side: int, kernel_size: int, padding: str) -> int:
    """Return the side of a picture after a convolution with this padding and the halving that follows."""
    return (side - (kernel_size - 1 if padding == "valid" else 0)) // 2


def option_name(field_name: str) -> str:
    """Return the command-line spelling of a field's name."""
    return "--" + field_name.replace("_", "-")


def _strip_optional(kind: Any) -> Any:
    if get_origin(kind) is Union:
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def _is_of_type(value: Any, kind: Any) -> bool:
    if value is None:
        return kind is not _strip_optional(kind)
    kind = _strip_optional(kind)
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_is_of_type, value, parts))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _describe(kind: Any) -> str:
    kind = _strip_optional(kind)
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} whole numbers"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}[kind]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on. The defaults are the tutorial's plain choices.

    Raises:
        UsageError: a value is impossible; the message names the option.
    """

    preset: str = _option("tutorial", "the preset that this configuration started from")
    seed: int = _option(0, "source of every random draw: same seed, same result")

    data_dir: Optional[str] = _option(None, "folder of the four MNIST files (gzip or plain)")
    data: Optional[str] = _option(None, "train on this file in the tutorial's format, mnist.json.gz, instead")
    dataset: str = _option(
        "auto",
        "MNIST, or synthetic handwriting (strokes); auto takes strokes where MNIST cannot be had",
        choices=DATASETS,
    )
    extra_strokes: int = _option(0, "images of synthetic handwriting to train on as well")
    validation_size: Optional[int] = _option(
        None, "last training images set apart for validation; 0 for none (auto: a sixth)"
    )

    rare_share: float = _option(
        1.0, "share of the training images of 0 to 4 that is kept: an imbalanced training set, for study"
    )

    network: str = _option(
        "two-conv",
        "two convolutions, or one linear layer (softmax regression)",
        choices=("two-conv", "softmax-regression"),
    )
    channels: tuple[int, int] = _option((20, 20), "output channels of the two convolutions")
    kernel_size: int = _option(5, "side of the convolution kernels, odd")
    downsampling: str = _option("max-pool", "how each convolution halves the picture", choices=DOWNSAMPLING)
    padding: str = _option(
        "same",
        "whether each convolution keeps the picture's size, but for the halving",
        choices=PADDING,
    )
    columns: int = _option(
        1,
        "networks side by side, whose outputs are averaged: the first sees the picture as it is, the others "
        "upright, upright and of even size, upright and narrow",
    )
    batch_norm: bool = _option(False, "normalise each convolution's output over the batch")
    hidden: int = _option(0, "units of a linear layer before the last one; 0 for none")
    dropout: float = _option(0.0, "share of the features dropped in training before the last layer")

    shift: int = _option(0, "move each training image by up to this many pixels in both directions")
    rotation: float = _option(0.0, "turn each training image by up to this many degrees")
    scale: float = _option(0.0, "stretch or shrink both its axes, each by up to this share")
    shear: float = _option(0.0, "slant it by up to so many pixels to the side per pixel of height")
    elastic: float = _option(0.0, "bend it by smoothed noise of this strength; Simard et al. (2003) take 34")
    elastic_sigma: float = _option(4.0, "pixels of the Gaussian that smooths the noise")
    stroke: float = _option(
        0.0, "thicken or thin its strokes, 1 being by a pixel on either side, by up to this"
    )
    blur: float = _option(
        0.0, "blur it up to this many times; once gives half of each pixel to its neighbours"
    )
    erase: float = _option(0.0, "share of the images of which a random rectangle is painted black")
    calm_epochs: int = _option(0, "last epochs, in which all but the shift is a third as strong")
    batch_size: int = _option(100, "images in a training step, over all workers")
    drop_last_batch: bool = _option(False, "leave out an epoch's last batch when it is not full")
    epochs: int = _option(10, "passes over the training images")
    learning_rate: float = _option(0.01, "step size of SGD; the peak of a schedule")
    momentum: float = _option(0.0, "momentum of SGD; 0 for plain SGD")
    nesterov: bool = _option(False, "look ahead along the momentum (Nesterov)")
    schedule: str = _option(
        "constant",
        "learning rate over the run: constant; one-cycle, up linearly and then down along a cosine to zero; "
        "or cosine, down from the start, but for a linear warm-up",
        choices=("constant", "one-cycle", "cosine"),
    )
    warmup: float = _option(0.25, "share of the run in which a schedule raises the learning rate")
    weight_decay: float = _option(
        0.0, "add so many times each weight to its gradient (L2); biases and norms aside"
    )
    clip_gradient: float = _option(0.0, "largest norm of the gradient of all parameters together; 0 for any")
    loss: str = _option(
        "cross-entropy",
        "what is made small; value: the squared error of one output that is to be the digit itself; "
        "double-softmax: a common mistake, for study",
        choices=(
            *("cross-entropy", "focal", "squared-error", "sigmoid-cross-entropy", "quadratic"),
            *("value", "double-softmax"),
        ),
    )
    focal_gamma: Optional[float] = _option(
        None, "how little the focal loss counts what is already recognised; 0 is the cross-entropy (2)"
    )
    class_weights: str = _option(
        "none",
        "balanced: an image counts for less, the more there are of its digit",
        choices=("none", "balanced"),
    )
    label_smoothing: float = _option(0.0, "share of each label that is spread evenly over all digits")
    average_decay: float = _option(
        0.0,
        "validate and keep the parameters' exponential moving average over the steps; 0 for the last ones",
    )

    workers: Optional[int] = _option(
        None, "threads that share each batch (auto: one per core, each with 40 images or more)"
    )
    evaluation_batch_size: int = _option(
        125, "images in an evaluation step; but for rounding, does not change the result"
    )
    log_every: int = _option(0, "print the loss every so many batches, as the tutorial does; 0 for never")
    limit_train_batches: Optional[int] = _option(None, "end each epoch after so many batches: a quick trial")
    limit_validation_batches: Optional[int] = _option(None, "validate on so many batches only")

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(TrainConfig).items():
            value = getattr(self, name)
            if not _is_of_type(value, kind):
                raise UsageError(f"{option_name(name)}: {value!r} is not {_describe(kind)}")
            choices = _metadata(name)["choices"]
            if choices and value not in choices:
                raise UsageError(f"{option_name(name)}: {value!r} is not one of {', '.join(choices)}")
        for name, lowest in _LOWEST.items():
            self._require(name, lambda value, lowest=lowest: value >= lowest, f"at least {lowest}")
        self._require("channels", lambda pair: min(pair) >= 1 and max(pair) <= 4096, "1 to 4096 each")
        self._require("kernel_size", lambda size: size % 2 == 1 and size <= 27, "odd and at most 27")
        if self.padding == "valid":
            self._require("kernel_size", UNPADDED_KERNELS.__contains__, "1, 5 or 9 with --padding valid")
        self._require("columns", lambda count: count <= 4, "at most 4")
        self._require("hidden", lambda units: units <= 1 << 16, "at most 65536")
        self._require("seed", lambda seed: seed < 1 << 32, "below 2**32")
        self._require("workers", lambda count: count <= self.batch_size, "at most --batch-size")
        self._require("extra_strokes", lambda count: count <= 1_000_000, "at most 1000000")
        self._require("shift", lambda pixels: pixels <= 27, "at most 27")
        self._require("rotation", lambda degrees: 0 <= degrees <= 180, "0 to 180")
        self._require("scale", lambda share: 0 <= share <= 0.9, "0 to 0.9")
        self._require("shear", lambda slant: 0 <= slant <= 2, "0 to 2")
        self._require("elastic", lambda strength: 0 <= strength <= 1000, "0 to 1000")
        self._require("elastic_sigma", lambda sigma: 0.5 <= sigma <= 100, "0.5 to 100")
        for name in ("stroke", "erase"):
            self._require(name, lambda share: 0 <= share <= 1, "0 to 1")
        self._require("blur", lambda times: 0 <= times <= 10, "0 to 10")
        self._require("dropout", lambda share: 0 <= share < 1, "at least 0 and below 1")
        self._require("momentum", lambda momentum: 0 <= momentum < 1, "at least 0 and below 1")
        self._require("warmup", lambda share: 0 <= share < 1, "at least 0 and below 1")
        self._require("weight_decay", lambda decay: 0 <= decay <= 1, "0 to 1")
        self._require("clip_gradient", lambda norm: norm >= 0, "at least 0")
        self._require("label_smoothing", lambda share: 0 <= share < 1, "at least 0 and below 1")
        self._require("focal_gamma", lambda gamma: 0 <= gamma <= 100, "0 to 100")
        self._require("rare_share", lambda share: 0 < share <= 1, "above 0 and at most 1")
        self._require("average_decay", lambda decay: 0 <= decay < 1, "at least 0 and below 1")
        self._require("learning_rate", lambda rate: rate > 0, "above 0")
        if self.data is not None and self.dataset == "strokes":
            raise UsageError("--dataset: strokes are made, they cannot be read from --data")
        if self.nesterov and self.momentum == 0:
            raise UsageError("--nesterov: needs a --momentum above 0")
        self._check_loss()

    def _check_loss(self) -> None:
        if self.focal_gamma is not None and self.loss != "focal":
            raise UsageError(f"--focal-gamma: belongs to --loss focal, the loss is {self.loss}")
        if self.loss == "value" and self.label_smoothing:
            raise UsageError("--label-smoothing: with --loss value the label is a number, not a distribution")
        if self.network == "softmax-regression":
            if self.loss == "value":
                raise UsageError("--loss: value needs a network of one output, softmax regression has ten")
            for name in (
                *("batch_norm", "hidden", "dropout", "columns"),
                *("channels", "kernel_size", "downsampling", "padding"),
            ):
                if getattr(self, name) != TrainConfig.__dataclass_fields__[name].default:
                    raise UsageError(
                        f"{option_name(name)}: softmax regression has a single layer; "
                        "start from --preset softmax-regression"
                    )

    @property
    def outputs(self) -> int:
        """How many outputs the network needs: one for the value of the digit, else one per digit."""
        return 1 if self.loss == "value" else 10

    @property
    def has_plain_loss(self) -> bool:
        """Whether the training loss is the cross-entropy that an evaluation gives, and comparable with it."""
        is_changed = self.label_smoothing > 0 or self.class_weights != "none"
        return self.loss == "cross-entropy" and not is_changed

    def _require(self, name: str, holds: Any, expected: str) -> None:
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise UsageError(f"{option_name(name)}: {value} is impossible, it must be {expected}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainConfig:
        """Return the configuration that `to_json` described.

        Raises:
            UsageError: an unknown name or an impossible value.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(content) - known)
        if unknown:
            raise UsageError(f"unknown configuration name: {unknown[0]}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return cls(**values)


# Strided convolutions with batch norm cost a third of the tutorial's network and learn faster; Nesterov
# momentum under a one-cycle schedule, random shifts by a pixel and weight decay give the accuracy in a few
# epochs.
_QUICK = TrainConfig(
    preset="default",
    channels=(16, 32),
    downsampling="stride",
    batch_norm=True,
    hidden=128,
    shift=1,
    batch_size=256,
    learning_rate=0.3,
    momentum=0.9,
    nesterov=True,
    schedule="one-cycle",
    weight_decay=5e-4,
)

PRESETS = {
    # The source tutorial, to the letter: its network, its optimiser, its log lines.
    "tutorial": TrainConfig(drop_last_batch=True, evaluation_batch_size=128, log_every=200),
    # The plainest network there is, with the choices of the comparison of losses that it is known from.
    "softmax-regression": TrainConfig(
        preset="softmax-regression", network="softmax-regression", batch_size=32, learning_rate=0.2
    ),
    # Mild distortions and an epoch more pay on validation; the last epoch does nearly without them.
    "default": dataclasses.replace(_QUICK, rotation=8.0, scale=0.08, shear=0.1, calm_epochs=1, epochs=6),
    # The quickest way to 99.0%: so short a run needs the smaller batch's larger number of steps, and no
    # weight decay.
    "fast": dataclasses.replace(
        _QUICK, preset="fast", epochs=2, batch_size=128, learning_rate=0.2, weight_decay=0.0
    ),
    # The most accurate, and the one for people's own pictures: four columns of pooled convolutions, each with
    # a view of its own of the picture, whose mistakes differ; digits that lean, bend, and are written with
    # thicker, thinner and softer pens than MNIST's, but for the last epochs; and a quarter of them in
    # shapes that MNIST's writers seldom used, such as ones with a flag or a foot.
    "best": dataclasses.replace(
        _QUICK,
        preset="best",
        validation_size=5000,
        extra_strokes=18000,
        columns=4,
        channels=(16, 64),
        downsampling="max-pool",
        padding="valid",
        hidden=128,
        shift=2,
        rotation=10.0,
        scale=0.15,
        shear=0.2,
        elastic=15.0,
        stroke=0.6,
        blur=2.0,
        calm_epochs=4,
        batch_size=128,
        epochs=24,
        learning_rate=0.2,
    ),
}


def add_config_arguments(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add `--preset` and an option for every other field of `TrainConfig`, but for those `without`."""
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default=argparse.SUPPRESS,
        help="set of choices to start from (default)",
    )
    group = parser.add_argument_group("choices of the preset that can be overridden")
    for name, kind in get_type_hints(TrainConfig).items():
        if name != "preset" and name not in without:
            # Options that were not given stay out of the namespace: the preset decides.
            arguments: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _metadata(name)["help"]}
            group.add_argument(option_name(name), **arguments, **_argument_type(name, kind))


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration fields that were given on the command line (the preset aside)."""
    names = {field.name for field in dataclasses.fields(TrainConfig)} - {"preset"}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(value)
        elif name in ("data", "data_dir"):
            if not value:
                raise UsageError(f"{option_name(name)}: expected a path, found an empty text")
            # A run may be resumed from another folder.
            given[name] = str(Path(value).expanduser().absolute())
    if "data" in given and "data_dir" in given:
        raise UsageError("--data-dir: not allowed with --data, which names the file")
    return given


def config_from_arguments(arguments: argparse.Namespace) -> TrainConfig:
    """Return the preset with the overrides of the command line.

    Raises:
        UsageError: an impossible value.
    """
    return dataclasses.replace(PRESETS[getattr(arguments, "preset", "default")], **given_options(arguments))


def _whole_number_or_auto(text: str) -> Optional[int]:
    try:
        return None if text == "auto" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number or auto, found {text!r}") from None


def _argument_type(name: str, kind: Any) -> dict[str, Any]:
    optional_number = kind == Optional[int]
    kind = _strip_optional(kind)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is tuple:
        return {"type": get_args(kind)[0], "nargs": len(get_args(kind)), "metavar": ("FIRST", "SECOND")}
    choices = _metadata(name)["choices"]
    return {
        "type": _whole_number_or_auto if optional_number else kind,
        "choices": choices,
        "metavar": None if choices else {int: "N", float: "X", str: "PATH"}[kind],
    }
