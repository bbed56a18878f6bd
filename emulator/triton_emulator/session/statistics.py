"""The statistics extension's answer: which model versions it lists."""

from collections.abc import Mapping

from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.engine.statistics import ModelStatistics
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.repository.repository import Repository
from triton_emulator.repository.versions import LATEST, parse_version

#: statistics by the identifier of their model and its version
Statistics = Mapping[tuple[str, int], ModelStatistics]


def by_version(repository: Repository[LoadedModel]) -> dict[tuple[str, int], ModelStatistics]:
    """The statistics of every ready model."""
    return {
        (served.source.id, served.version): served.loaded.statistics for served in repository.all_served()
    }


def model_stats(
    repository: Repository[LoadedModel],
    name: str,
    version: str,
    *,
    responses: bool = False,
    totals: Statistics | None = None,
) -> list[js.Value]:
    """The entries of `model_stats`: of one version, of a model's ready versions, or with "" of every ready model.

    `responses` is whether an entry has statistics of responses, which are empty: no Python model reports any. `totals`
    are the statistics of all processes where others serve the same models; None where there are no others. Raises
    INVALID_ARG where nothing of that name or version is ready.
    """
    number = parse_version(version)
    served = repository.all_served()
    if name:  # 2.51: a version without a name is not looked at
        served = [entry for entry in served if entry.name == name]
        if len({entry.source.id for entry in served}) != 1:  # 2.51: two models of one name count as none here
            raise invalid_arg(f"requested model '{name}' is not available")
        if number != LATEST:
            served = [entry for entry in served if entry.version == number]
            if not served:
                raise invalid_arg(f"requested model version is not available for model '{name}'")
    found = by_version(repository) if totals is None else totals
    return [
        found[entry.source.id, entry.version].value(entry.name, entry.version, responses=responses)
        for entry in served
    ]
