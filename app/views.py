"""Views of a digit in which hands differ less: upright, of even size, narrow.

They are seen through an affine map that follows from the moments of the ink, as in the moment normalisation
of Casey, "Moment normalization of handprinted characters" (IBM Journal of Research and Development, 1970).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.nn import functional

from app.datasets import SIDE

VIEWS = ("plain", "upright", "moments", "narrow")
"""`plain`: the picture as it is. The others have the centre of mass in the middle and no slant: `upright` is
of its own size, `moments` of even height and of a width that is the root of its share of the height, `narrow`
of its own height and even width."""

_MIDDLE = (SIDE - 1) / 2

# Standard deviations of the ink, in pixels: of the height and width in `moments`, of the width in `narrow`.
_EVEN_SIZE = 5.5
_NARROW = 2.8

# Below them a stroke is a dot, or its width that of the pen: it is not spread any further.
_LEAST_HEIGHT = 2.0
_LEAST_WIDTH = 0.55
_LEAST_NARROWING = 0.8


def see(images: paddle.Tensor, view: str) -> paddle.Tensor:
    """Return float32 [N, 1, 28, 28] pictures as one of the `VIEWS` shows them, bilinearly sampled.

    Gradients pass through the sampling, not through the moments.

    Raises:
        ValueError: there is no such view.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS}, not {view!r}")
    if view == "plain":
        return images
    with paddle.no_grad():
        # What `affine_grid` computes, as one product, which is faster.
        grid = (_places() @ _find_map(images, view)).reshape([-1, SIDE, SIDE, 2])
    seen: paddle.Tensor = functional.grid_sample(images, grid)
    return seen


def _find_map(images: paddle.Tensor, view: str) -> paddle.Tensor:
    """Return float32 [N, 3, 2]: from x, y and 1 of a place in the view to x and y in the picture, -1 to 1."""
    mass, x, y, xx, xy, yy = (paddle.flatten(images, 1) @ _powers()).unbind(1)
    # Of a picture without ink, too, all this is a number.
    mass = paddle.clip(mass, min=1e-3)
    x, y = x / mass, y / mass
    height = paddle.clip(yy / mass - y * y, min=_LEAST_HEIGHT**2)
    slant = paddle.clip((xy / mass - x * y) / height, -1, 1)
    width = paddle.clip(xx / mass - x * x - slant * slant * height, min=_LEAST_WIDTH**2).sqrt()
    height = height.sqrt()
    one = paddle.ones_like(mass)
    if view == "upright":
        across, down = one, one
    elif view == "moments":
        down = height / _EVEN_SIZE
        across = width / (_EVEN_SIZE * paddle.clip(width / height, max=1).sqrt())
    else:
        across, down = paddle.clip(width / _NARROW, min=_LEAST_NARROWING), one
    columns = ([across, paddle.zeros_like(mass)], [slant * down, down], [x / _MIDDLE, y / _MIDDLE])
    return paddle.stack([paddle.stack(column, 1) for column in columns], 1)


@cache
def _powers() -> paddle.Tensor:
    """Return float32 [784, 6]: 1, x, y, x^2, xy and y^2 of each pixel, from the middle of the picture."""
    y, x = np.indices((SIDE, SIDE)) - _MIDDLE
    return _as_rows(np.ones_like(x), x, y, x * x, x * y, y * y)


@cache
def _places() -> paddle.Tensor:
    """Return float32 [784, 3]: x and y of each pixel, -1 to 1, and 1."""
    y, x = np.indices((SIDE, SIDE)) / _MIDDLE - 1
    return _as_rows(x, y, np.ones_like(x))


def _as_rows(*planes: NDArray[np.float64]) -> paddle.Tensor:
    """Return float32 [784, K]: what each of the K planes has at a pixel."""
    return paddle.to_tensor(np.stack([plane.ravel() for plane in planes], 1).astype(np.float32))
