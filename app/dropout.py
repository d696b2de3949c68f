"""Dropout whose draws do not depend on how a batch is shared out."""

from __future__ import annotations

from typing import Optional

import numpy as np
import paddle
from paddle import nn

# A feature is kept if 16 random bits are not below the threshold; the generator gives 64 bits at a time.
_LEVELS = 1 << 16
_FEATURES_PER_DRAW = 4


class SeededDropout(nn.Dropout):
    """`nn.Dropout` for [N, F] features that can be told which images of which batch it sees.

    Paddle's own draws come from one generator of the process, in the order in which threads happen to ask.
    Here each image of a batch has its own stretch of the batch's stream of random numbers (the generator can
    jump): any thread or process that has the image draws the same.
    """

    _seed: Optional[int] = None
    _first_image = 0

    def place(self, seed: int, first_image: int) -> None:
        """Say that the next batch is the one of `seed`, from its image number `first_image` on."""
        self._seed, self._first_image = seed, first_image

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return x with a share of p of its values zero and the others divided by 1 - p; in eval mode, x."""
        if not self.training or self._seed is None:
            result: paddle.Tensor = super().forward(x)
            return result
        count, features = x.shape
        draws = -(-features // _FEATURES_PER_DRAW)
        generator = np.random.PCG64(self._seed)
        generator.advance(self._first_image * draws)
        bits = generator.random_raw((count, draws)).view(np.uint16)[:, :features]
        threshold = min(round(self.p * _LEVELS), _LEVELS - 1)
        factors = np.multiply(bits >= threshold, _LEVELS / (_LEVELS - threshold), dtype=np.float32)
        return x * paddle.to_tensor(factors)
