"""The reports that a command writes, by the names of their formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from triton_contract.comparing import results
from triton_contract.comparing.results import RunResult

from .badge import render_endpoint, render_svg
from .junit import render_junit
from .markdown import render_markdown
from .page import render_page

Render = Callable[[Sequence[RunResult]], str]

FORMATS: dict[str, tuple[str, Render]] = {
    "html": ("triton-contract.html", render_page),
    "junit": ("triton-contract.xml", render_junit),
    "json": ("triton-contract.json", results.to_text),
    "markdown": ("triton-contract.md", render_markdown),
    "badge": ("triton-contract.svg", render_svg),
}
"""The file that a format is written to where none is named, and what makes its text."""


@dataclass(frozen=True, slots=True)
class Report:
    """A file to write, in a format of FORMATS."""

    format: str
    path: Path

    def render(self, runs: Sequence[RunResult]) -> str:
        """The text. A badge in a file that ends in .json is the JSON of a shields.io endpoint."""
        if self.format == "badge" and self.path.suffix == ".json":
            return render_endpoint(runs)
        return FORMATS[self.format][1](runs)


def write_reports(reports: Iterable[Report], runs: Sequence[RunResult]) -> None:
    """Write the files; their folders are made. Raises OSError."""
    for report in reports:
        report.path.parent.mkdir(parents=True, exist_ok=True)
        report.path.write_text(report.render(runs), encoding="utf-8")
