"""triton-contract diff: two servers side by side."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from triton_contract.cases.load import MODELS
from triton_contract.process import ServerFailed
from triton_contract.reporting.terminal import Progress
from triton_contract.running.run import MakeTarget, live_reference
from triton_contract.targets import (
    EmulatorTarget,
    TargetUnavailable,
    emulator_command,
    is_emulator,
    is_triton,
    target_of,
    version_of,
)

from .comparison import compare_and_print, known_failures, write
from .options import ComparisonOptions, Selection, diff_options, nearest, runnable, selection_options


@click.command()
@click.option(
    "--target",
    "names",
    multiple=True,
    help="Twice: the two servers to compare. Once: this one against triton. Each is triton or emulator, maybe with a "
    "version (triton==2.72.0), or a URL. A triton beside another kind of server is the reference.",
)
@selection_options
@diff_options
def diff(names: tuple[str, ...], selection: Selection, options: ComparisonOptions) -> None:
    r"""Run the cases against two servers side by side and compare every answer.

    The exit code is 1 when something differs, unless it is a known divergence. With --repository and a folder of your
    own models, both servers serve that folder, and requests made from the models' metadata show what the two versions
    do differently, by the rows of the table in docs/upgrades.md.

    \b
      triton-contract diff --target emulator
      triton-contract diff --target triton --target emulator --only 'infer/*' --json results.json
      triton-contract diff --target triton --target triton        (does the real server agree with itself?)
      triton-contract diff --target triton==2.48.0 --target triton==2.72.0      (what does an upgrade change?)
      triton-contract diff --target triton==2.72.0 --target emulator==2.72.0
      triton-contract diff --target triton==2.48.0 --target triton==2.51.0 --repository models
    """
    expected, actual = reference_and_target(names)
    if options.repository is not None and (folder := model_folder(options.repository)) is not None:
        if options.reports or options.json_file or options.baseline or options.shard:
            raise click.UsageError(
                "--report, --json, --baseline and --shard are for the contract's cases, not for a folder of models"
            )
        if not compare_models(expected, actual, folder, options):
            sys.exit(1)
        return
    chosen = selection.cases()
    known = known_failures(options, selection)
    if options.repository is not None:
        check_repository(options.repository, {case.repository for case in chosen})
    cases = runnable(chosen, (expected, actual), options.repository)
    options = replace(options, version=version_of(expected) or options.version)
    reference = live_reference(partial(target_of, expected, version=options.version))
    target = partial(target_of, actual, version=options.version)
    outcome, code = compare_and_print(reference, target, cases, options, known)
    write(options, [outcome])
    sys.exit(code)


def reference_and_target(names: tuple[str, ...]) -> tuple[str, str]:
    """Which of the named servers is the reference and which the target (default: triton and emulator)."""
    match names:
        case (actual,):
            return "triton", actual
        case (expected, actual) if is_triton(actual) and not is_triton(expected):
            return actual, expected  # the real server is the reference, in whatever order the two are named
        case (expected, actual):
            return expected, actual
        case _:
            return "triton", "emulator"


def model_folder(repository: str) -> Path | None:
    """The folder of somebody's models that --repository names; None for one of the contract's repositories."""
    path = Path(repository)
    return path.resolve() if repository not in our_repositories() and path.is_dir() else None


def our_repositories() -> set[str]:
    """The names of the contract's repositories."""
    return {folder.name for folder in MODELS.iterdir()}


def check_repository(repository: str, chosen: set[str]) -> None:
    """Raise UsageError for a name that is no repository, neither of the contract nor of the `chosen` cases."""
    known = our_repositories() | chosen
    if repository not in known:
        advice = nearest(repository, known, "the contract's repositories are")
        raise click.UsageError(
            f"there is no folder '{repository}', and no repository of the contract has that name: {advice}"
        )


def upgrade_targets(names: tuple[str, str], versions: tuple[str, str]) -> tuple[MakeTarget, MakeTarget]:
    """What makes the two servers that are compared over somebody's models.

    Two emulators are started as users start them: they load models that need a GPU or a backend that is not there. Next
    to another server, an emulator is the machine of the reference.
    """
    as_users_do = all(map(is_emulator, names))

    def maker(name: str, version: str) -> MakeTarget:
        if as_users_do:
            return lambda: EmulatorTarget([*emulator_command(flags=()), f"--triton-version={version}"])
        return partial(target_of, name, version=version)

    return maker(names[0], versions[0]), maker(names[1], versions[1])


def compare_models(expected: str, actual: str, folder: Path, options: ComparisonOptions) -> bool:
    """Compare two servers over the models in `folder` and print what differs. Returns whether nothing does."""
    # Hypothesis takes long to import, and only this form of the command needs it.
    from triton_contract.upgrades.changes import load_history
    from triton_contract.upgrades.compare import compare_upgrade
    from triton_contract.upgrades.page import render_upgrade

    history = load_history()
    names = (expected, actual)
    old, new = versions = version_of(expected) or options.version, version_of(actual) or options.version
    for version in versions:
        if version not in history.releases:
            raise click.UsageError(f"no release {version!r} of Triton: {', '.join(history.releases)}")
    with Progress(None) as progress:
        try:
            upgrade = compare_upgrade(
                *upgrade_targets(names, versions),
                folder,
                history=history,
                versions=versions,
                on_result=progress.result,
            )
        except ServerFailed as failure:
            if all(map(is_emulator, names)):
                raise
            raise ServerFailed(
                f"{failure}\n  If the models need a GPU or a backend that is not there, compare two emulators: "
                f"--target emulator=={old} --target emulator=={new}"
            ) from None
    click.echo(render_upgrade(upgrade), nl=False)
    if upgrade.stopped:
        raise TargetUnavailable(upgrade.stopped)
    return not upgrade.different
