"""The lessons of the source articles, each a study that runs: `python -m app.experiments NAME`."""

from __future__ import annotations

STUDIES = {
    "value-or-class": "app.experiments.value_or_class",
    "softmax-regression": "app.experiments.softmax_regression",
    "softmax-calls": "app.experiments.softmax_calls",
    "variants": "app.experiments.variants",
    "slow-neuron": "app.experiments.slow_neuron",
    "double-softmax": "app.experiments.double_softmax",
}
"""The module of each study, in the order of the lessons; each has a `STUDY`."""
