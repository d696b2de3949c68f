import dataclasses
import math

import numpy as np

from app.config import PRESETS
from app.optimizer import learning_rate_factor


def test_cosine_falls_from_the_start_but_for_the_warm_up():
    config = dataclasses.replace(PRESETS["tutorial"], schedule="cosine", warmup=0.0)
    factors = [learning_rate_factor(config, step, 1000) for step in range(1000)]
    assert factors[0] == 1
    assert all(np.diff(factors) < 0)
    assert math.isclose(factors[500], 0.5)
    assert factors[-1] < 1e-4
    warm = dataclasses.replace(config, warmup=0.1)
    warmed = [learning_rate_factor(warm, step, 1000) for step in range(1000)]
    assert warmed[100:] == factors[100:]
    np.testing.assert_allclose(np.divide(warmed[:100], factors[:100]), np.arange(1, 101) / 101)


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    config = dataclasses.replace(PRESETS["tutorial"], schedule="one-cycle", warmup=0.25)
    factors = [learning_rate_factor(config, step, 1000) for step in range(1000)]
    peak = int(np.argmax(factors))
    assert peak == 250
    assert factors[peak] == 1
    assert all(np.diff(factors[: peak + 1]) > 0)
    assert all(np.diff(factors[peak:]) < 0)
    assert factors[-1] < 1e-4
    assert math.isclose(factors[0], 1 / 251)


def test_one_cycle_of_one_step_is_finite():
    config = dataclasses.replace(PRESETS["tutorial"], schedule="one-cycle")
    assert 0 < learning_rate_factor(config, 0, 1) <= 1


def test_constant_schedule_is_constant():
    assert {learning_rate_factor(PRESETS["tutorial"], step, 10) for step in range(10)} == {1.0}
