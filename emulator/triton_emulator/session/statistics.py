"""The statistics extension's answer: which model versions it lists."""

from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.repository.repository import Repository
from triton_emulator.repository.versions import LATEST, parse_version


def model_stats(
    repository: Repository[LoadedModel], name: str, version: str, *, responses: bool = False
) -> list[js.Value]:
    """The entries of `model_stats`: of one version, of a model's ready versions, or with "" of every ready model.

    `responses` is whether an entry has statistics of responses, which are empty: no Python model reports any. Raises
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
    return [entry.loaded.statistics.value(entry.name, entry.version, responses=responses) for entry in served]
