"""The page of a report: one HTML file without scripts or references to anything outside it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from app.evaluation import Evaluation, format_accuracy
from app.report.figures import MOST_FILTERS
from app.report.findings import Findings, name_training_data, percent, reading, series

STYLE_SHEET = """
:root { color-scheme: light dark; --text: #1d2329; --quiet: #5b6570; --page: #f5f6f8; --card: #fff;
  --line: #dfe3e8; --accent: #0062a0; --warn: #fff3df; --warn-line: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7eb; --quiet: #a3acb6; --page: #14171b;
  --card: #1e2329; --line: #353c45; --accent: #6cbaf0; --warn: #35270f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 66rem; background: var(--page);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 0 0 .5rem; font-size: 1.15rem; }
p { margin: .4rem 0; }
.quiet, figcaption { color: var(--quiet); font-size: .875rem; }
.card { margin-top: 1rem; padding: 1.1rem 1.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
.warning { background: var(--warn); border-color: var(--warn-line); }
.columns { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.columns > .card { margin-top: 0; }
.columns { margin-top: 1rem; }
.main-figure { margin: 0; color: var(--accent); font-size: 2.6rem; font-weight: 650; line-height: 1.15; }
.main-figure small { color: var(--quiet); font-size: 1.1rem; font-weight: 400; }
figure { margin: 0; }
figure img { display: block; width: 100%; max-width: 36rem; margin: .5rem auto; background: #fff;
  border-radius: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem 1rem .25rem 0; border-top: 1px solid var(--line); text-align: left;
  vertical-align: top; white-space: nowrap; }
thead th { border-top: 0; }
.numbers th, .numbers td { text-align: right; }
th:last-child, td:last-child { padding-right: 0; }
.names table { width: 100%; table-layout: fixed; overflow-wrap: anywhere; }
.names th, .names td { white-space: normal; }
.names th { font-weight: 500; color: var(--quiet); width: 45%; }
.settings { columns: 22rem 2; column-gap: 1rem; margin-top: 1rem; }
.settings > .card { break-inside: avoid; margin: 0 0 1rem; }
.tiles { display: grid; gap: .9rem .75rem; grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr));
  margin: 1rem 0 0; padding: 0; list-style: none; text-align: center; line-height: 1.3; }
.tiles img { display: block; width: 100%; height: auto; margin-bottom: .3rem; border-radius: .3rem;
  image-rendering: pixelated; }
summary { cursor: pointer; color: var(--accent); }
details > .scroll { margin-top: .75rem; }
@media (max-width: 30rem) { .card { padding: 1rem; }
  .numbers { font-size: .875rem; } th, td { padding-right: .7rem; } }
"""


def render_page(findings: Findings, figures: Mapping[str, bytes]) -> str:
    """Return `report.html`: one file, without scripts or references to anything outside it."""
    name = f"{findings.checkpoint.path.resolve().parent.name}/{findings.checkpoint.path.name}"
    when = f"{findings.created:%Y-%m-%d %H:%M} UTC"
    sections = [
        _render_warning(findings),
        f'<div class="columns">{_render_validation(findings)}{_render_test(findings)}</div>',
        f'<div class="columns">{_render_summary(findings)}{_render_classes(findings)}</div>',
        _render_curves(findings, figures),
        _render_details(findings, figures),
        _render_mistakes(findings),
        _render_filters(findings, figures),
        _render_settings(findings),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Report of {escape(name)}</title>
<style>{STYLE_SHEET}</style>
</head>
<body>
<header>
<h1>Digit recogniser {escape(name)}</h1>
<p class="quiet">Evaluated on {escape(findings.data.name)}, {when}.</p>
</header>
<main>
{"".join(sections)}
</main>
</body>
</html>
"""


def _render_warning(findings: Findings) -> str:
    if findings.is_training_data:
        return ""
    if findings.is_training_data is None:
        title = "Unknown training data."
        text = (
            "Nothing is recorded about the data that this checkpoint was trained on. Whether it has seen "
            "the digits of this report before is not known."
        )
        if findings.checkpoint.assumption:
            text += f" As {findings.checkpoint.assumption}, its figures may be those of another network."
    else:
        title, trained_on = "Other data.", findings.section("data")
        text = (
            f"This checkpoint was trained on other data: {name_training_data(findings.checkpoint)} "
            f"(SHA-256 {trained_on.get('checksum')}), while this report is of {findings.data.name} "
            f"(SHA-256 {findings.data_checksum}). Whether the two share digits is not known."
        )
    return f'<p class="card warning" role="note"><strong>{title}</strong> {escape(text)}</p>'


def _render_validation(findings: Findings) -> str:
    if findings.validation is None:
        return _card("Validation", "<p>No digits are set apart for validation.</p>")
    note = (
        "These digits were held out of training and serve to choose the best epoch, which flatters this "
        "figure a little."
        if findings.is_training_data
        else "The digits that training on this data would hold out."
    )
    return _card(
        f"Validation accuracy{findings.data.qualification}", _render_scores(findings.validation, note)
    )


def _render_test(findings: Findings) -> str:
    note = (
        "The test digits played no part in training or in choosing this checkpoint. They stay of use only as "
        "long as nothing is chosen by them."
        if findings.is_training_data
        else "Whether these digits played a part in training or in choosing this checkpoint is not known."
    )
    return _card(f"Test accuracy{findings.data.qualification}", _render_scores(findings.test, note))


def _render_scores(scores: Evaluation, note: str) -> str:
    share, _, counts = format_accuracy(scores.correct, scores.count).partition(" ")
    lower, upper = scores.accuracy_interval
    rows = [
        ("95% interval (Wilson)", f"{100 * lower:.2f}% to {100 * upper:.2f}%"),
        ("Top-2 accuracy", f"{100 * scores.top_2_accuracy:.2f}%"),
        ("Mean cross-entropy", f"{scores.loss:.4f}"),
        ("Calibration error", f"{100 * scores.expected_calibration_error:.2f}%"),
    ]
    explanation = f'<p class="quiet">{note}</p>'
    return f'<p class="main-figure">{share} <small>{counts}</small></p>{explanation}{_names_table(rows)}'


def _render_summary(findings: Findings) -> str:
    metadata, trained_on = findings.checkpoint.metadata, findings.section("data")
    counts = [trained_on.get(f"{part}_count") for part in ("train", "validation", "test")]
    seconds = sum(value for _epoch, value in series(findings.history, "seconds"))
    parameters = [p for p in findings.checkpoint.network.parameters() if not p.stop_gradient]
    rows = {
        "Checkpoint": findings.checkpoint.path,
        "Epoch": metadata.get("epoch"),
        "Parameters": f"{sum(math.prod(p.shape) for p in parameters):,}",
        "Trained on": trained_on.get("trained_on", trained_on.get("name")),
        "Training, validation, test digits": None if None in counts else ", ".join(map(_counted, counts)),
        "Epochs trained": len(findings.history) or None,
        "Training time": f"{seconds:.1f} s" if seconds else None,
    }
    return _card("Summary", _names_table((name, row) for name, row in rows.items() if row is not None))


def _render_curves(findings: Findings, figures: Mapping[str, bytes]) -> str:
    captions = {
        "loss": "Loss: of training the mean over each epoch, of its distorted images if it distorts them; "
        "of validation that after the epoch.",
        "accuracy": "Validation accuracy after each epoch.",
    }
    drawn = [_figure(figures[name], text, text) for name, text in captions.items() if name in figures]
    if not drawn:
        return _card("Learning curves", "<p>No history of the training is recorded.</p>")
    names = list(dict.fromkeys(name for row in findings.history for name in row))
    rows = [[_short(row.get(name)) for name in names] for row in findings.history]
    table = _table([name.replace("_", " ") for name in names], rows)
    details = f"<details><summary>Every epoch</summary>{table}</details>"
    return _card("Learning curves", f'<div class="columns">{"".join(drawn)}</div>{details}')


def _render_details(findings: Findings, figures: Mapping[str, bytes]) -> str:
    matrix = findings.examined.confusion_matrix
    pairs = sorted(((int(n), t, p) for (t, p), n in np.ndenumerate(matrix) if n and t != p), reverse=True)
    most_frequent = ", ".join(f"{true} read as {predicted} ({count})" for count, true, predicted in pairs[:5])
    confusion = _figure(
        figures["confusion_matrix"],
        f"Confusion matrix of the {findings.examined_part} digits.",
        f"Most frequent mistakes: {most_frequent}." if pairs else "There are no mistakes.",
    )
    error = 100 * findings.examined.expected_calibration_error
    reliability = _figure(
        figures["reliability"],
        f"Reliability diagram of the {findings.examined_part} digits.",
        f"Accuracy, with its 95% interval, in bins of equal width. Below the dashed line the network is "
        f"surer than it is right. The expected calibration error over {len(findings.examined.reliability)} "
        f"bins is {error:.2f}%.",
    )
    return (
        f'<div class="columns">{_card(f"Confusion matrix, {findings.examined_part}", confusion)}'
        f"{_card(f'Reliability, {findings.examined_part}', reliability)}</div>"
    )


def _render_classes(findings: Findings) -> str:
    rows = [
        [row["class"], *(f"{100 * row[name]:.2f}%" for name in ("precision", "recall", "f1")), row["support"]]
        for row in findings.examined.to_json()["per_class"]
    ]
    table = _table(["digit", "precision", "recall", "F1", "digits"], rows)
    return _card(f"Scores of each digit, {findings.examined_part}", table)


def _render_mistakes(findings: Findings) -> str:
    total = findings.examined.count - findings.examined.correct
    tiles = []
    for mistake in findings.mistakes:
        buffer = io.BytesIO()
        Image.fromarray(255 - findings.examined_images[mistake.index]).save(buffer, format="PNG")
        description = (
            f"{findings.examined_part} digit {mistake.index}: a {mistake.true} with probability "
            f"{percent(mistake.true_probability)}, read as {mistake.predicted}"
        )
        tiles.append(
            f'<li><img src="{_data_uri(buffer.getvalue())}" width="28" height="28" alt="{description}" '
            f'title="{description}">{reading(mistake)}<br>'
            f'<span class="quiet">{percent(mistake.probability)}</span></li>'
        )
    shown = f"The {len(tiles)} worst of {total}" if len(tiles) < total else f"All {total}"
    text = f"{shown}, least probable true digit first: true digit → what was read, and how sure it was."
    body = f'<p>{text}</p><ul class="tiles">{"".join(tiles)}</ul>' if tiles else "<p>There are none.</p>"
    return _card(f"Mistakes, {findings.examined_part}", body)


def _render_filters(findings: Findings, figures: Mapping[str, bytes]) -> str:
    total, side, _ = findings.checkpoint.network.filters.shape
    which = f"All {total}" if total <= MOST_FILTERS else f"The first {MOST_FILTERS} of {total}"
    text = (
        f"{which} filters of {side} by {side} pixels. Ink under red raises the output, under blue lowers it."
    )
    return _card("First layer", _figure(figures["filters"], "Filters of the first layer.", text))


def _render_settings(findings: Findings) -> str:
    titles = {
        "config": "Configuration",
        "network": "Network",
        "data": "Training data",
        "environment": "Environment",
    }
    cards = []
    for name, title in titles.items():
        rows = findings.section(name).items()
        cards.append(_card(title, _names_table(rows) if rows else "<p>Not recorded.</p>"))
    report_rows = {"checksum": findings.data_checksum, "source": findings.data.source}
    checkpoint_rows = {"path": findings.checkpoint.path, "sha256": findings.checkpoint_sha256}
    cards.append(_card("Evaluated data", _names_table(report_rows.items())))
    cards.append(_card("Checkpoint", _names_table(checkpoint_rows.items())))
    return f'<div class="settings">{"".join(cards)}</div>'


def _card(title: str, body: str) -> str:
    return f'<section class="card"><h2>{escape(title)}</h2>{body}</section>\n'


def _figure(png: bytes, alternative: str, caption: str) -> str:
    return (
        f'<figure><img src="{_data_uri(png)}" alt="{escape(alternative)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll numbers">{table}</div>'


def _names_table(rows: Iterable[tuple[str, Any]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(_short(value))}</td></tr>'
        for name, value in rows
    )
    return f'<div class="scroll names"><table><tbody>{body}</tbody></table></div>'


def _counted(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _short(value: Any) -> str:
    """Return a setting or a metric as people write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    return str(value)
