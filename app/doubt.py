"""How sure a reading is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_SCORE = 0.0


def score_of(logits: NDArray[np.float32], image: NDArray[np.uint8], likelihood: float) -> float:
    ordered = np.sort(logits)
    return float(ordered[-1] - ordered[-2])
