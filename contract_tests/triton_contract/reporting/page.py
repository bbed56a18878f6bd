"""One HTML page of a comparison: tables, every difference with its requests and answers, and filters.

The page needs nothing but itself: its style and its script are in it, and its policy forbids it to load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from triton_contract.comparing.compare import AXES, Outcome
from triton_contract.comparing.evidence import Evidence
from triton_contract.comparing.results import CaseResult, RunResult

from .words import ORDER, counts, difference_of, headline, operations_of, reason_of, repeat, told

_FOLDER = Path(__file__).parent
_CLASS = {
    Outcome.EQUAL: "equal",
    Outcome.NORMALISED: "normalised",
    Outcome.DIVERGENCE: "divergence",
    Outcome.UNPROVEN: "unproven",
    Outcome.DIFFERENT: "different",
}


def render_page(runs: Sequence[RunResult]) -> str:
    """The page, of one run or of several side by side."""
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; form-action 'none'"
    )
    title = "; ".join(headline(run) for run in runs)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Triton contract: {escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>",
            *_heads(runs),
            *([_side_by_side(runs)] if len(runs) > 1 else []),
            *(_by_axis(run, f", {_name(runs, run)}" if len(runs) > 1 else "") for run in runs if run.cases),
            _filters(runs),
            *_cases(runs),
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _name(runs: Sequence[RunResult], run: RunResult) -> str:
    """A short name of a run among all: its version where that tells them apart, else its target."""
    if len({each.version for each in runs}) == len(runs):
        return run.version
    return f"{run.actual} ({run.version})"


def _heads(runs: Sequence[RunResult]) -> Iterable[str]:
    for number, run in enumerate(runs):
        level = "h1" if number == 0 else "h2"
        yield f"<{level}>Triton contract: {escape(headline(run))}</{level}>"
        yield f"<p>Expected: {escape(run.expected)}</p><p>Actual: {escape(run.actual)}</p>"
        yield f'<p class="dim">{escape(run.date)}</p>'
        if run.stopped:
            yield f'<p class="notice">The run ended early: {escape(told(run))}.</p>'
        yield from (f'<p class="notice">{escape(line)}</p>' for line in run.stale)


def _side_by_side(runs: Sequence[RunResult]) -> str:
    head = "".join(f'<th scope="col">{escape(_name(runs, run))}</th>' for run in runs)
    rows = []
    for operation in operations_of(*runs):
        cells = "".join(
            _cell(result.outcome for result in run.cases if result.operation == operation) for run in runs
        )
        rows.append(f'<tr><th scope="row">{escape(operation)}</th>{cells}</tr>')
    return (
        "<h2>Side by side</h2>\n<p class='dim'>Cases that agree, of all.</p>\n"
        f'<div class="scroll"><table id="side-by-side"><thead><tr><th scope="col">operation</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _by_axis(run: RunResult, name: str) -> str:
    """Operation by axis: a cell has how many cases agree on that axis, of how many that have it."""
    head = "".join(f'<th scope="col">{axis}</th>' for axis in ("cases", *AXES))
    rows = []
    for operation in operations_of(run):
        members = [result for result in run.cases if result.operation == operation]
        cells = "".join(
            _cell(result.verdicts[axis].outcome for result in members if axis in result.verdicts)
            for axis in AXES
        )
        rows.append(f'<tr><th scope="row">{escape(operation)}</th><td>{len(members)}</td>{cells}</tr>')
    found = counts(run.cases)
    total = ", ".join(f"{found[outcome]:,} {outcome.value}" for outcome in ORDER if found[outcome])
    return (
        f"<h2>Operation by axis{escape(name)}</h2>\n<p class='dim'>{total}. A cell: cases that agree, of all; then "
        "k known divergences, u unproven, d different.</p>\n"
        f'<div class="scroll"><table class="axes"><thead><tr><th scope="col">operation</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(outcomes: Iterable[Outcome]) -> str:
    found = Counter(outcomes)
    if not found:
        return "<td></td>"
    agree = found[Outcome.EQUAL] + found[Outcome.NORMALISED]
    letters = ((Outcome.DIVERGENCE, "k"), (Outcome.UNPROVEN, "u"), (Outcome.DIFFERENT, "d"))
    rest = "".join(f" {found[outcome]}{letter}" for outcome, letter in letters if found[outcome])
    worst = next((outcome for outcome in reversed(ORDER) if found[outcome]), Outcome.EQUAL)
    return f'<td class="{_CLASS[worst]}">{agree}/{found.total()}{rest}</td>'


def _filters(runs: Sequence[RunResult]) -> str:
    different = any(result.failed for run in runs for result in run.cases)
    chosen = "different" if different else "not-equal"
    outcomes = [
        ("", "all"),
        ("not-equal", "not equal"),
        *((_CLASS[each], each.value) for each in reversed(ORDER)),
    ]
    options = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{text}</option>'
        for value, text in outcomes
    )
    operations = "".join(f"<option>{escape(name)}</option>" for name in operations_of(*runs))
    return (
        f'<h2>Cases</h2>\n<form id="filters" hidden><label>outcome<select name="outcome">{options}</select></label>'
        f'<label>operation<select name="operation"><option value="">all</option>{operations}</select></label>'
        '<label>text<input name="text" type="search" placeholder="in the id or the answers"></label>'
        '<span id="shown" role="status"></span></form>'
    )


def _cases(runs: Sequence[RunResult]) -> Iterable[str]:
    """Every case once, with its result in each run."""
    results: dict[str, list[tuple[RunResult, CaseResult]]] = {}
    for run in runs:
        for result in run.cases:
            results.setdefault(result.case, []).append((run, result))
    for case, found in results.items():
        outcomes = [result.outcome for _, result in found]
        tags = " ".join(
            f'<span class="{_CLASS[result.outcome]}">'
            f"{escape(_name(runs, run)) + ': ' if len(runs) > 1 else ''}{result.outcome.value}</span>"
            for run, result in found
        )
        head = f'<span class="tags">{tags}</span><code>{escape(case)}</code>'
        attributes = (
            f'class="case" data-outcomes="{" ".join(_CLASS[outcome] for outcome in outcomes)}" '
            f'data-operation="{escape(found[0][1].operation)}"'
        )
        if set(outcomes) <= {Outcome.EQUAL, Outcome.NORMALISED}:
            yield f"<div {attributes}>{head}</div>"
        else:
            shown = "".join(_result(runs, run, result) for run, result in found)
            yield f"<details {attributes}><summary>{head}</summary>{shown}</details>"


def _result(runs: Sequence[RunResult], run: RunResult, result: CaseResult) -> str:
    if result.outcome in (Outcome.EQUAL, Outcome.NORMALISED):
        return ""
    title = f"<h3>{escape(_name(runs, run))}</h3>" if len(runs) > 1 else ""
    if result.outcome is Outcome.DIFFERENT:
        said = f"<pre>{escape(difference_of(result))}</pre>"
    else:
        said = f"<p>{result.outcome.value}: {escape(reason_of(result))}</p>"
    steps = [
        _step(number, step, len(result.evidence)) for number, step in enumerate(result.evidence, start=1)
    ]
    show = f'<h4>The real server\'s answer</h4><pre class="command" tabindex="0">{escape(repeat(result.case))}</pre>'
    return "".join([title, said, *steps, show])


def _step(number: int, step: Evidence, total: int) -> str:
    title = f"Step {number}: request" if total > 1 else "Request"
    command = (
        f'<h4>To repeat it</h4><pre class="command" tabindex="0">{escape(step.command)}</pre>'
        if step.command
        else ""
    )
    return (
        f'<h4>{title}</h4><pre tabindex="0">{escape(step.request)}</pre><div class="pair">'
        f'<div><h4>Expected</h4><pre tabindex="0">{escape(step.expected)}</pre></div>'
        f'<div><h4>Actual</h4><pre tabindex="0">{escape(step.actual)}</pre></div></div>{command}'
    )
