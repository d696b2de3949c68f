"""Shadows are told from ink."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.pictures.layout import find_layout
from app.pictures.shade import shadow_on_ink, split_shade


def test_what_is_broad_may_be_a_shadow_and_strokes_are_none() -> None:
    ink = np.zeros((150, 200), bool)
    ink[:, :20] = True
    ink[60:140, 130:180] = True
    ink[40:50, 60:120] = True
    shade, strokes = split_shade(ink)
    assert shade[:, :20].all()
    assert shade[75:125, 130:180].all()
    assert strokes[40:50, 60:120].all()
    np.testing.assert_array_equal(shade ^ strokes, ink)
    shade, strokes = split_shade(ink & (np.arange(200) < 125) & (np.arange(200) >= 20))
    assert not shade.any()


@pytest.mark.parametrize(("darkness", "ink", "expected"), [(0.36, 1, 0.36), (1, 1.7, 1), (0, 1, 0)])
def test_a_broad_soft_shadow_is_told_from_the_ink_in_it(darkness: float, ink: float, expected: float) -> None:
    shadow = np.zeros((600, 600), np.float32)
    shadow[200:, 80:380] = darkness
    ring = cv2.ellipse(np.zeros((600, 600), np.float32), (240, 400), (80, 110), 0, 0, 360, ink, 14)
    density = np.maximum(cv2.GaussianBlur(shadow, (0, 0), 14), ring)
    layout = find_layout(density > 0.25, density, 0.15)
    assert shadow_on_ink(layout.labels, density, layout.main) == pytest.approx(expected, abs=0.03)


def test_a_blurred_digit_is_no_shadow_on_ink() -> None:
    stroke = cv2.line(np.zeros((300, 300), np.float32), (150, 60), (140, 240), 1, 30)
    density = cv2.GaussianBlur(stroke, (0, 0), 12)
    density /= density.max()
    layout = find_layout(density > 0.25, density, 0.15)
    assert shadow_on_ink(layout.labels, density, layout.main) == 0
