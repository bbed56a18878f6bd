"""A badge: an SVG picture, or the JSON that shields.io makes one from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from triton_contract.comparing.compare import Outcome
from triton_contract.comparing.results import RunResult

from .words import counts

_LABEL = "triton contract"
_COLOURS = {"brightgreen": "#34a853", "red": "#d93025", "lightgrey": "#6e7781"}
_CHARACTER = 6.0
"""The width (pixels) of a character of Verdana at 11 pixels, about."""


def message_of(runs: Sequence[RunResult]) -> tuple[str, str]:
    """What the badge says of all runs together, and the name of its colour."""
    total = sum(len(run.cases) for run in runs)
    different = sum(counts(run.cases)[Outcome.DIFFERENT] for run in runs)
    if any(run.stopped for run in runs):
        return f"incomplete, {different:,} differ" if different else "incomplete", "lightgrey"
    if different:
        return f"{different:,} of {total:,} differ", "red"
    if any(run.stale for run in runs):
        return "stale baseline", "red"
    return f"{total:,} {'case agrees' if total == 1 else 'cases agree'}", "brightgreen"


def render_endpoint(runs: Sequence[RunResult]) -> str:
    """The JSON of a shields.io endpoint badge (https://shields.io/badges/endpoint-badge)."""
    message, colour = message_of(runs)
    return json.dumps({"schemaVersion": 1, "label": _LABEL, "message": message, "color": colour}) + "\n"


def render_svg(runs: Sequence[RunResult]) -> str:
    """The picture."""
    message, colour = message_of(runs)
    left, right = (round(len(text) * _CHARACTER + 12) for text in (_LABEL, message))
    said = escape(f"{_LABEL}: {message}")
    texts = "".join(
        f'<text x="{start + width / 2:g}" y="14" textLength="{width - 12}">{escape(text)}</text>'
        for start, width, text in ((0, left, _LABEL), (left, right, message))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{said}">'
        f'<title>{said}</title><clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{_COLOURS[colour]}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{texts}</g>'
        "</svg>\n"
    )
