"""triton-contract: run the real server, compare servers, record answers, write the ledger.

click, because the options repeat (`--only A --only B`), the words after `--` belong to another program,
and every command must teach through its `--help`.
"""

from __future__ import annotations

import datetime as dt
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from . import ledger, output, recordings, results
from .divergences import DivergenceError, load_divergences
from .http.case import Case
from .http.load import CaseError, load_cases
from .http.operations import operation_of
from .http.statistics import SETTLE_PAUSE
from .output import Progress, print_run
from .process import Ports, ServerFailed
from .recordings import Provenance
from .reference import DEFAULT_VERSION, ReferenceUnavailable
from .runner import RECORD_PAUSE, LiveSide, Pair, RecordedSide, fits_url, run_pairs
from .runner import record as record_cases
from .targets import EmulatorTarget, Target, TargetUnavailable, TritonTarget, target_of

Command = Callable[..., None]


def case_options(command: Command) -> Command:
    """The options that choose cases."""
    for option in (
        click.option(
            "--only", "globs", multiple=True, metavar="GLOB", help="Only cases whose id fits: 'infer/*'."
        ),
        click.option("--http-case", "ids", multiple=True, metavar="ID", help="Only this case."),
        click.option(
            "--cases",
            "places",
            multiple=True,
            metavar="PATH",
            type=click.Path(exists=True, path_type=Path),
            help="Case files or folders instead of the package's own.",
        ),
    ):
        command = option(command)
    return command


def run_options(command: Command) -> Command:
    """The options of commands that compare."""
    for option in (
        click.option("--jobs", default=2, show_default=True, help="Groups of cases to run at a time."),
        click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results here."),
        click.option(
            "--details/--no-details", default=True, help="Show the first difference of failing cases."
        ),
        click.option(
            "--version", default=DEFAULT_VERSION, show_default=True, help="Version of the real server."
        ),
        click.option("--repository", help="Repository that a server at a URL serves; its cases are run."),
    ):
        command = option(command)
    return command


def chosen_cases(places: tuple[Path, ...], globs: tuple[str, ...], ids: tuple[str, ...]) -> list[Case]:
    """The cases that the options name; all of them when they name none."""
    cases = load_cases(*places)
    if globs or ids:
        cases = [c for c in cases if c.id in ids or any(fnmatchcase(c.id, glob) for glob in globs)]
    if not cases:
        raise click.ClickException("no case fits")
    return cases


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    r"""Hold a Triton server to the truth: the real one.

    \b
    Try these:
      triton-contract serve --target triton -- --model-repository=models
      triton-contract diff --target emulator
      triton-contract diff --target emulator --only 'infer/*'
      triton-contract run --target http://host:8000 --repository http
      triton-contract cases --only 'generate/*'
    """


@main.command()
@click.option(
    "--target", "name", default="triton", show_default=True, type=click.Choice(["triton", "emulator"])
)
@click.option("--version", default=DEFAULT_VERSION, show_default=True)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def serve(name: str, version: str, flags: tuple[str, ...]) -> None:
    r"""Run a server in the foreground, until Ctrl-C or SIGTERM.

    FLAGS, after `--`, are tritonserver's own. Ports that they do not name are free ones.

    \b
      triton-contract serve --target triton -- --model-repository=models --http-port=8000
      triton-contract serve --target triton -- --model-repository=models --model-control-mode=explicit
    """
    options, rest = split_flags(flags)
    repository = options.get("--model-repository")
    if repository is None:
        raise click.UsageError("give --model-repository=DIR after `--`")
    free = Ports.free()
    ports = Ports(
        http=int(options.get("--http-port", free.http)),
        grpc=int(options.get("--grpc-port", free.grpc)),
        metrics=int(options.get("--metrics-port", free.metrics)),
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server: Target = TritonTarget(version, ports) if name == "triton" else EmulatorTarget(ports=ports)
    try:
        server.start(Path(repository).resolve(), rest)
        click.echo(f"{name} is ready: http 127.0.0.1:{ports.http}, grpc 127.0.0.1:{ports.grpc}, ", nl=False)
        click.echo(f"metrics http://127.0.0.1:{ports.metrics}/metrics")
        sys.stdout.flush()
        while not stopped.wait(0.2):
            if death := server.death():
                raise click.ClickException(f"{name} ended: {death}")
    finally:
        server.stop()


def split_flags(flags: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The flags that we must know (with their values), and all others as they are."""
    known = ("--model-repository", "--http-port", "--grpc-port", "--metrics-port")
    aliases = {"--model-store": "--model-repository"}
    found: dict[str, str] = {}
    rest: list[str] = []
    words = iter(flags)
    for word in words:
        name, equals, value = word.partition("=")
        name = aliases.get(name, name)
        if name in known:
            found[name] = value if equals else next(words, "")
        else:
            rest.append(word)
    return found, rest


@main.command()
@click.option(
    "--target",
    "names",
    multiple=True,
    help="Twice: the two to compare; triton is always the truth. Once: that one, against triton.",
)
@case_options
@run_options
def diff(
    names: tuple[str, ...],
    places: tuple[Path, ...],
    globs: tuple[str, ...],
    ids: tuple[str, ...],
    jobs: int,
    json_file: Path | None,
    details: bool,
    version: str,
    repository: str | None,
) -> None:
    r"""Run the cases against two servers side by side and compare every answer.

    Exit code 1 when anything differs that is not a known divergence.

    \b
      triton-contract diff --target emulator
      triton-contract diff --target triton --target emulator --only 'infer/*' --json results.json
      triton-contract diff --target triton --target triton        (is the judge of one mind?)
    """
    expected, actual = (
        ("triton", *names) if len(names) == 1 else (names if len(names) == 2 else ("triton", "emulator"))
    )
    if actual == "triton":
        # The real server is the truth, in whatever order the two are named.
        expected, actual = actual, expected
    cases = for_targets(chosen_cases(places, globs, ids), (expected, actual), repository)

    def pair() -> Pair:
        # A server compared with its like has no excuse.
        rows = load_divergences() if actual != expected else ()
        left, right = (LiveSide(target_of(name, version=version)) for name in (expected, actual))
        return Pair(left, right, rows, alike=expected == actual)

    how = (target_of(expected, version=version).how(), target_of(actual, version=version).how())
    finish(cases, pair, jobs, version, how, json_file, details)


@main.command()
@click.option(
    "--target", "names", multiple=True, required=True, help="triton, emulator or a URL; may be repeated."
)
@click.option(
    "--recordings",
    "folder",
    default=recordings.FOLDER,
    type=click.Path(path_type=Path),
    help="Where the recorded answers are.",
)
@case_options
@run_options
def run(
    names: tuple[str, ...],
    folder: Path,
    places: tuple[Path, ...],
    globs: tuple[str, ...],
    ids: tuple[str, ...],
    jobs: int,
    json_file: Path | None,
    details: bool,
    version: str,
    repository: str | None,
) -> None:
    r"""Run the cases against a target and compare with the recorded answers of the real server.

    Needs no real server. Exit code 1 when anything differs that is not a known divergence.

    \b
      triton-contract run --target emulator
      triton-contract run --target http://localhost:8000 --repository http
    """
    chosen = chosen_cases(places, globs, ids)
    recorded = recordings.read(version, chosen, folder)
    missing = [case.id for case in chosen if case.id not in recorded]
    if missing:
        click.echo(f"{len(missing)} cases have no recorded answer, left out (first: {missing[0]})", err=True)
    failed = False
    for name in names:
        cases = [case for case in for_targets(chosen, (name,), repository) if case.id in recorded]

        def pair(name: str = name) -> Pair:
            rows = () if name == "triton" else load_divergences()
            pause = SETTLE_PAUSE if name == "emulator" else RECORD_PAUSE
            live = LiveSide(target_of(name, version=version), settle_pause=pause)
            return Pair(RecordedSide(recorded), live, rows, alike=name == "triton")

        how = (f"recorded answers of tritonserver {version}", target_of(name, version=version).how())
        failed |= not finish(cases, pair, jobs, version, how, json_file, details, leave=False)
    if failed or missing:
        sys.exit(1)


def for_targets(cases: list[Case], names: Iterable[str], repository: str | None) -> list[Case]:
    """The cases that all of these targets can run; a URL serves one repository without flags of ours."""
    if not any("://" in name for name in names):
        return cases if repository is None else [case for case in cases if case.repository == repository]
    if repository is None:
        raise click.UsageError(
            "a target at a URL needs --repository: which of the contract's repositories it serves"
        )
    kept = [case for case in cases if case.repository == repository and fits_url(case)]
    if len(kept) < len(cases):
        left = len(cases) - len(kept)
        click.echo(f"{left} cases need another repository or a server of their own: left out", err=True)
    return kept


def finish(
    cases: list[Case],
    pair: Callable[[], Pair],
    jobs: int,
    version: str,
    how: tuple[str, str],
    json_file: Path | None,
    details: bool,
    leave: bool = True,
) -> bool:
    """Run, print, save; exits 1 on a difference when `leave`. Returns whether nothing differed."""
    with Progress(len(cases)) as progress:
        found = run_pairs(cases, pair, jobs=jobs, on_result=progress.result)
    outcome = results.RunResult(version, *how, today(), tuple(found))
    print_run(outcome, details=details)
    if json_file is not None:
        results.save(json_file, outcome)
    if outcome.failed and leave:
        sys.exit(1)
    return not outcome.failed


def today() -> str:
    return dt.datetime.now(dt.UTC).date().isoformat()


@main.command()
@click.option("--version", default=DEFAULT_VERSION, show_default=True)
@click.option("--jobs", default=2, show_default=True)
@click.option(
    "--out", "folder", default=recordings.FOLDER, type=click.Path(path_type=Path), help="Folder to write to."
)
@case_options
def record(
    version: str,
    jobs: int,
    folder: Path,
    places: tuple[Path, ...],
    globs: tuple[str, ...],
    ids: tuple[str, ...],
) -> None:
    """Record the answers of the real server, for `run` to compare with. Whole topics only.

    There is no other way to write a recording, and nobody edits one.
    """
    touched = {case.topic for case in chosen_cases(places, globs, ids)}
    cases = [case for case in load_cases(*places) if case.topic in touched]
    with Progress(len(cases)) as progress:
        seen = list(
            record_cases(
                cases, lambda: target_of("triton", version=version), jobs=jobs, on_case=progress.case
            )
        )
    origin = Provenance("triton", version, today(), target_of("triton", version=version).how())
    for topic, group in groupby(seen, key=lambda pair: pair[0].topic):
        path = recordings.topic_file(version, topic, folder)
        recordings.write(path, origin, group)
        click.echo(path)


@main.command("cases")
@case_options
def cases_command(places: tuple[Path, ...], globs: tuple[str, ...], ids: tuple[str, ...]) -> None:
    """List the cases: id, operation, file, repository and flags. Checks every case file on the way."""
    output.list_cases([(case, operation_of(case)) for case in chosen_cases(places, globs, ids)])


@main.command()
@click.option("--target", "name", default="triton", show_default=True, help="triton, emulator or a URL.")
@click.option("--version", default=DEFAULT_VERSION, show_default=True)
@click.option("--repository", help="Repository that a server at a URL serves.")
@case_options
def show(
    name: str,
    version: str,
    repository: str | None,
    places: tuple[Path, ...],
    globs: tuple[str, ...],
    ids: tuple[str, ...],
) -> None:
    r"""Show what a target answers to the cases, byte for byte: for whoever writes a case.

    \b
      triton-contract show --http-case infer/json/adds-and-subtracts
      triton-contract show --only 'wire/*' --target emulator
    """
    cases = for_targets(chosen_cases(places, globs, ids), (name,), repository)
    for case, seen in record_cases(cases, lambda: target_of(name, version=version)):
        output.show(case, seen)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", default="FIDELITY.md", show_default=True, type=click.Path(path_type=Path))
def report(files: tuple[Path, ...], out: Path) -> None:
    r"""Write the ledger from the result FILES of `diff --json` or `run --json`.

    \b
      triton-contract diff --target emulator --json results.json
      triton-contract report results.json --out FIDELITY.md
    """
    out.write_text(ledger.render(results.load(files), load_divergences()), encoding="utf-8")
    click.echo(out)


main.add_command(report, "ledger")


@main.command()
@click.option("--target", default="emulator", show_default=True, help="triton, emulator or a URL.")
@click.option("--reference", default="triton", show_default=True, help="The truth: triton, or a URL.")
@click.option("--version", default=DEFAULT_VERSION, show_default=True, help="Version of the real server.")
@click.option(
    "--repository", default="http", show_default=True, help="One of the contract's repositories, or a folder."
)
@click.option(
    "--operation",
    "operations",
    multiple=True,
    type=click.Choice(["infer", "generate", "generate_stream", "routes"]),
    help="Only this one; may be repeated.",
)
@click.option("--schemathesis", is_flag=True, help="Let Schemathesis make the requests, from openapi.yaml.")
@click.option("--examples", default=2000, show_default=True, help="Requests in all.")
@click.option("--seed", default=0, show_default=True, help="The same seed makes the same requests.")
@click.option(
    "--leave-out",
    multiple=True,
    default=("slow",),
    show_default=True,
    help="A model that is not asked; may be repeated.",
)
def fuzz(**chosen: Any) -> None:
    r"""Send the same generated requests to two servers, whose answers must be equal.

    Every disagreement is made as small as can be and printed as a case to paste; exit code 1 when there is one.

    \b
      triton-contract fuzz --target emulator --examples 20000
      triton-contract fuzz --operation infer --repository datatypes --seed 7
      triton-contract fuzz --schemathesis
    """
    # Hypothesis is heavy, and no other command needs it.
    from .fuzz.command import run_campaign

    run_campaign(**chosen)


for _command in (main, *main.commands.values()):
    # A raw docstring spells click's mark for "do not wrap" (a backspace) in two characters.
    _command.help = (_command.help or "").replace("\\b\n", "\b\n")


def entry() -> None:
    """The console script: known failures are one line, not a traceback."""
    try:
        main(standalone_mode=True)
    except (CaseError, DivergenceError, ReferenceUnavailable, TargetUnavailable, ServerFailed) as error:
        click.echo(f"triton-contract: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    entry()
