"""How sure a reading is: a score that is low for what is no digit, or may be two.

`python -m app.doubt` computes the score below which a reading is doubted, from MNIST's validation images.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.console import CommandParser, run_command

# 99% of MNIST's validation images score more with the network that comes with the repository: the output of
# `python -m app.doubt`, rounded. To be computed again when that network changes.
LEAST_SCORE = 11.7

# What passes without a warning, as a share.
_PASSING = 0.99

# How much the looks of the ink count beside the logits, and the least that they can be.
_INK_WEIGHT, _WORST_INK = 2.0, -3.0


def score_of(logits: NDArray[np.float32], likelihood: float = 0.0) -> float:
    """Return how sure it is that a picture shows its likeliest digit: about -10 to 40, higher if surer.

    It is the sum of the first logit's lead over the second, small between two digits; of the log of the sum
    of the logits' exponentials, small for what is unlike all digits (the negative energy of W. Liu et al.,
    Energy-based Out-of-distribution Detection, 2020); and of how much the ink looks like strokes.

    Args:
        logits: float32 [10].
        likelihood: of the ink, as in `app.pictures.Guess`; 0 for an image of MNIST.
    """
    values = np.sort(logits.astype(np.float64))
    lead = values[-1] - values[-2]
    energy = values[-1] + np.log(np.exp(values - values[-1]).sum())
    return float(lead + energy + _INK_WEIGHT * max(likelihood, _WORST_INK))


def main() -> int:
    """Print the score that 99% of the validation images exceed."""
    arguments = _parse_arguments()
    from app.runtime import REPOSITORY, data_directories, prepare

    prepare()
    from app.checkpoint import load_checkpoint, resolve_checkpoint
    from app.datasets import split
    from app.datasets.mnist import load_mnist
    from app.models import compute_logits
    from app.report.findings import recorded_config

    path = arguments.checkpoint or REPOSITORY / "checkpoints" / "pretrained" / "best.pdparams"
    checkpoint = load_checkpoint(resolve_checkpoint(path))
    data = load_mnist(data_directories(arguments.data_dir))
    images = split(data, recorded_config(checkpoint).validation_size).validation.images
    scores = [score_of(row) for row in compute_logits(checkpoint.network, images)]
    threshold = np.quantile(scores, 1 - _PASSING)
    sys.stdout.write(f"{_PASSING:.0%} of {len(scores)} score more than {threshold:.2f}\n")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = CommandParser(prog="python -m app.doubt", description="Compute the score below which to doubt.")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="default: the pretrained network")
    parser.add_argument("--data-dir", metavar="DIR", help="where MNIST is")
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
