"""Markdown for the comment of a pull request: a table, and the first differences, folded."""

from __future__ import annotations

import re
from collections.abc import Sequence

from triton_contract.comparing.results import CaseResult, RunResult

from .words import ORDER, counts, difference_of, headline, operations_of, repeat, told

LIMIT = 60_000
"""The most characters. GitHub refuses a comment of more than 65,536."""
_DIFFERENCES = 20
_DETAIL = 1_500
_LAST_LINES = 500
"""Characters that are kept for the last lines."""


def render_markdown(runs: Sequence[RunResult]) -> str:
    """The comment. It has at most LIMIT characters, so some differences may be left out, and says how many."""
    text = "\n".join(_summary(run) for run in runs)[: LIMIT // 2]
    shown, different = 0, [(run, result) for run in runs for result in run.cases if result.failed]
    for run, result in different[:_DIFFERENCES]:
        block = _difference(result, run if len(runs) > 1 else None)
        if len(text) + len(block) > LIMIT - _LAST_LINES:
            break
        text += block
        shown += 1
    if left := len(different) - shown:
        text += f"\n{left:,} more {'differs' if left == 1 else 'differ'}. The HTML and JSON reports have all of them.\n"
    return text


def _summary(run: RunResult) -> str:
    mark = "❌" if run.failed else "✅"
    lines = [
        f"### {mark} Triton contract: {headline(run)}",
        "",
        f"Expected: {_cell(run.expected)}. Actual: {_cell(run.actual)}.",
    ]
    if run.stopped:
        lines += ["", f"**The run ended early:** {_cell(told(run))}."]
    lines += [f"- {_cell(line)}" for line in ("", *run.stale)][1:]
    if run.cases:
        names = operations_of(run)
        lines += [
            "",
            f"| operation | cases | {' | '.join(outcome.value for outcome in ORDER)} |",
            f"|---|--:|{'--:|' * len(ORDER)}",
            *(_row(name, [result for result in run.cases if result.operation == name]) for name in names),
            _row("**all**", list(run.cases)),
        ]
    return "\n".join(lines) + "\n"


def _row(name: str, members: list[CaseResult]) -> str:
    found = counts(members)
    return f"| {name} | {len(members)} | {' | '.join(str(found[outcome] or '') for outcome in ORDER)} |"


def _difference(result: CaseResult, run: RunResult | None) -> str:
    where = f" ({run.actual} against {run.version})" if run is not None else ""
    commands = [step.command for step in result.evidence if step.command and len(step.command) < _DETAIL]
    return (
        f"\n<details><summary><code>{_html(result.case)}</code>{_html(where)}</summary>\n\n"
        f"{_fenced(_cut(difference_of(result)), 'text')}\n"
        f"{_fenced(chr(10).join([*commands[:3], repeat(result.case)]), 'sh')}\n</details>\n"
    )


def _cut(text: str) -> str:
    return text if len(text) <= _DETAIL else f"{text[:_DETAIL]}\n..."


def _fenced(text: str, language: str) -> str:
    """The text in a fence that is longer than any row of backticks in it."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def _cell(text: str) -> str:
    """A text on one line, whose characters are not taken for markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#@])", r"\\\1", " ".join(text.split()))


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
