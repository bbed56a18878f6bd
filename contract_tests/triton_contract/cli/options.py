"""The options that several commands share, each set of them as one value.

A decorator adds the options to a command and hands the command one frozen dataclass instead of a parameter for each:

    @click.command()
    @selection_options
    @comparison_options
    def diff(selection: Selection, options: ComparisonOptions) -> None: ...
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from triton_contract.cases.case import Case
from triton_contract.cases.load import load_cases
from triton_contract.reference import DEFAULT_VERSION
from triton_contract.reporting.reports import FORMATS, Report
from triton_contract.running.groups import cases_for, groups_of, parts_of
from triton_contract.targets import is_url

SHARD_GROUP = 40
"""The most cases that share a server in a run of a shard, so that shards can be about equal."""
Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def as_one_value(parameter: str, kind: type[Any], *options: Decorator) -> Decorator:
    """A decorator that adds `options` to a command and passes them as `parameter`, an instance of `kind`.

    `kind` is a dataclass whose fields have the names of the options.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gather(**given: Any) -> Any:
            value = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            return command(**{parameter: value}, **given)

        # click shows the options in the reverse of the order in which they are added
        decorated: Command = gather
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases a command works on: all of the files that match a glob or an id; without those, all."""

    paths: tuple[Path, ...]
    globs: tuple[str, ...]
    ids: tuple[str, ...]

    def cases(self) -> list[Case]:
        """The selected cases. Raises CaseError for a broken file and UsageError when no case is selected."""
        cases = self.whole()
        if self.globs or self.ids:
            cases = [case for case in cases if self._has(case.id)]
        if not cases:
            raise click.UsageError("no case matches: `triton-contract cases` lists them")
        return cases

    def whole(self) -> list[Case]:
        """All cases of the files. Raises CaseError for a broken file."""
        return load_cases(*self.paths)

    def _has(self, case_id: str) -> bool:
        return case_id in self.ids or any(fnmatchcase(case_id, glob) for glob in self.globs)


selection_options = as_one_value(
    "selection",
    Selection,
    click.option(
        "--cases",
        "paths",
        multiple=True,
        metavar="PATH",
        type=click.Path(exists=True, path_type=Path),
        help="Case files or folders to use instead of the package's own.",
    ),
    click.option("--http-case", "ids", multiple=True, metavar="ID", help="Only the case with this id."),
    click.option(
        "--only", "globs", multiple=True, metavar="GLOB", help="Only cases whose id matches: 'infer/*'."
    ),
)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `total` of the cases, counted from 1."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def of(self, cases: list[Case]) -> list[Case]:
        """Its cases. Each part takes about as long, and the same cases give the same parts."""
        groups = parts_of(groups_of(cases, SHARD_GROUP), self.total)[self.number - 1]
        members = {case.id for _, group in groups for case in group}
        return [case for case in cases if case.id in members]


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """How a command compares servers, and where its results go."""

    repository: str | None
    version: str
    details: bool
    json_file: Path | None
    reports: tuple[Report, ...]
    baseline: Path | None
    shard: Shard | None
    jobs: int


version_option = click.option(
    "--version", default=DEFAULT_VERSION, show_default=True, help="Version of the real server."
)


class ReportType(click.ParamType[Report]):
    """`html=FILE`, or `html` alone for the format's own file name."""

    name = "report"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Report:
        if isinstance(value, Report):
            return value
        kind, equals, file = str(value).partition("=")
        if kind not in FORMATS:
            self.fail(
                f"{kind!r} is no format of a report: {nearest(kind, set(FORMATS), 'they are')}", param, ctx
            )
        if equals and not file:
            self.fail(f"no file after {value}: write {kind}=FILE", param, ctx)
        path = Path(file or FORMATS[kind][0])
        if path.is_dir():
            self.fail(f"{path} is a folder: name a file in it, {kind}={path / FORMATS[kind][0]}", param, ctx)
        above = next(folder for folder in path.resolve().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            self.fail(
                f"{path} cannot be written: {above} is no folder, or you may not write in it", param, ctx
            )
        return Report(kind, path)


class ShardType(click.ParamType[Shard]):
    """`2/3`: the second of three parts."""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        if isinstance(value, Shard):
            return value
        number, slash, total = str(value).partition("/")
        if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
            self.fail(f"{value!r} is no shard: write 1/3 for the first of three parts", param, ctx)
        return Shard(int(number), int(total))


baseline_option = click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of known failures with reasons. Only other failures count, and entries that no longer fail.",
)
report_option = click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FORMAT[=FILE]",
    type=ReportType(),
    help="Write a report; may be repeated. FORMAT is html, junit, json, markdown or badge.",
)
jobs_option = click.option(
    "--jobs", default=2, show_default=True, help="How many groups of cases to run at a time."
)
_REPOSITORY = "One of the contract's repositories: only its cases are run. A server at a URL must serve it."
repository_option = click.option("--repository", help=_REPOSITORY)
folder_option = click.option(
    "--repository",
    help=f"{_REPOSITORY} Or a folder of your own models: both servers serve it, and are asked what their versions do "
    "differently.",
)


def _comparison_options(repository: Decorator) -> Decorator:
    return as_one_value(
        "options",
        ComparisonOptions,
        repository,
        version_option,
        click.option(
            "--details/--no-details", default=True, help="Show the first difference of every failing case."
        ),
        click.option(
            "--json", "json_file", type=click.Path(path_type=Path), help="Write the results to this file."
        ),
        report_option,
        baseline_option,
        click.option(
            "--shard",
            metavar="I/N",
            type=ShardType(),
            help="Only part I of N of the cases; `triton-contract report` merges the results of all parts.",
        ),
        jobs_option,
    )


comparison_options = _comparison_options(repository_option)
diff_options = _comparison_options(folder_option)


def runnable(cases: list[Case], targets: Iterable[str], repository: str | None) -> list[Case]:
    """The cases that all of these targets can run; says on stderr how many are left out for a target at a URL."""
    targets = list(targets)
    try:
        kept = cases_for(cases, targets, repository)
    except ValueError:
        raise click.UsageError(
            "a target at a URL needs --repository: which of the contract's repositories it serves"
        ) from None
    if not kept and repository is not None and repository not in {case.repository for case in cases}:
        advice = nearest(repository, {case.repository for case in cases}, "they are of")
        raise click.UsageError(f"no selected case is of the repository '{repository}': {advice}")
    left = len(cases) - len(kept)
    if not kept:
        raise click.UsageError(
            "no selected case can be run against this target: all need a server of their own"
        )
    if left and any(map(is_url, targets)):
        click.echo(f"{left} cases need another repository or a server of their own: left out", err=True)
    return kept


def nearest(name: str, names: set[str], begin: str) -> str:
    """Advice for a name that is not one of `names`: the one that is like it, else all of them after `begin`."""
    near = get_close_matches(name, sorted(names), n=1)
    return f"did you mean {near[0]}?" if near else f"{begin} {', '.join(sorted(names))}"
