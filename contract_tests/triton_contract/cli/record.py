"""triton-contract record: the answers of the real server, written to the recordings."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path

import click

from triton_contract import recordings
from triton_contract.cases.load import load_cases
from triton_contract.recordings import Provenance
from triton_contract.reporting.terminal import Progress
from triton_contract.running.record import record as record_cases
from triton_contract.running.record import split
from triton_contract.running.run import today
from triton_contract.targets import target_of

from .options import Selection, jobs_option, selection_options, version_option


@click.command()
@version_option
@jobs_option
@click.option(
    "--out",
    "folder",
    default=recordings.FOLDER,
    type=click.Path(path_type=Path),
    help="The folder to write to.",
)
@selection_options
def record(version: str, jobs: int, folder: Path, selection: Selection) -> None:
    """Record the answers of the real server, for `run` to compare with. Whole topics only.

    This command is the only way to write a recording. Recordings are never edited.
    """
    touched = {case.topic for case in selection.cases()}
    cases = [case for case in load_cases(*selection.paths) if case.topic in touched]
    triton = partial(target_of, "triton", version=version)
    with Progress(len(cases)) as progress:
        seen = list(record_cases(cases, triton, jobs=jobs, on_case=progress.case))
    origin = Provenance("triton", version, today(), triton().how())
    known = (
        recordings.read(recordings.NEIGHBOURS[version], cases, folder)
        if version in recordings.NEIGHBOURS
        else {}
    )
    for topic, group in groupby(seen, key=lambda pair: pair[0].topic):
        path = recordings.topic_file(version, topic, folder)
        different, equal = split(group, known)
        recordings.write(path, origin, different, equal)
        click.echo(f"{path}: {len(different)} cases" + (f", {len(equal)} as the neighbour" if known else ""))
