"""How sure a reading is: a score that is low for what is no digit, or may be two.

The score below which a reading is doubted is the network's own. Training finds it on the validation images
and writes it into the checkpoint's JSON, as `least_score`; `python -m app.doubt` computes it again.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from app.console import CommandParser, named, named_path, run_command
from app.errors import UsageError
from app.evaluation import softmax

# For checkpoints whose JSON does not say, such as the tutorial's own: about that of the network which comes
# with the repository, the output of `python -m app.doubt`.
LEAST_SCORE = 10.5

# A reading whose second candidate is at least this probable is in doubt.
LIKELY_PROBABILITY = 0.1

# What passes without a warning, as a share.
_PASSING = 0.99

# What falls short of the score in any case, as a share of the images that have one likely digit.
_SELDOM = 0.001

# How much the looks of the ink count beside the logits, and the least that they can be.
_INK_WEIGHT, _WORST_INK = 2.0, -8.0


def scores_of(logits: NDArray[np.float32], likelihood: float = 0.0) -> NDArray[np.float64]:
    """Return how sure it is that pictures show their likeliest digits: about -20 to 40, higher if surer.

    It is the sum of the first logit's lead over the second, small between two digits; of the log of the sum
    of the logits' exponentials, small for what is unlike all digits (the negative energy of W. Liu et al.,
    Energy-based Out-of-distribution Detection, 2020); and of how much the ink looks like strokes.

    Args:
        logits: float32 [N, 10].
        likelihood: of the ink, as in `app.pictures.Guess`; 0 for images of MNIST.

    Returns:
        float64 [N].
    """
    values = np.sort(logits.astype(np.float64), axis=1)
    largest = values[:, -1]
    lead = largest - values[:, -2]
    energy = largest + np.log(np.exp(values - largest[:, np.newaxis]).sum(axis=1))
    scores: NDArray[np.float64] = lead + energy + _INK_WEIGHT * max(likelihood, _WORST_INK)
    return scores


def find_least_score(logits: NDArray[np.float32]) -> float:
    """Return the score with which 99% of the images pass without a doubt, given their logits, [N, 10].

    Those that have a second likely digit do not pass, whatever they score. Where they are 1% or more by
    themselves, the score still is one that the rest seldom fall short of: fewer than 99% pass then.
    """
    scores = scores_of(logits)
    has_second = np.sort(softmax(logits), axis=1)[:, -2] >= LIKELY_PROBABILITY
    if has_second.all():
        return LEAST_SCORE
    least = np.quantile(np.where(has_second, -100.0, scores), 1 - _PASSING)
    return float(max(least, np.quantile(scores[~has_second], _SELDOM)))


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
    if not len(images):
        raise UsageError(f"{checkpoint.path}: no images were set apart for validation, to find it on")
    threshold = find_least_score(compute_logits(checkpoint.network, images))
    sys.stdout.write(f"{_PASSING:.0%} of {len(images)} score more than {threshold:.2f}\n")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = CommandParser(prog="python -m app.doubt", description="Compute the score below which to doubt.")
    parser.add_argument("--checkpoint", type=named_path, metavar="PATH", help="(the pretrained network)")
    parser.add_argument("--data-dir", type=named, metavar="DIR", help="where MNIST is")
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
