"""Version numbers: the folders of a model, those that a version policy selects, and the version in a request."""

import logging
from collections.abc import Iterable
from pathlib import Path

from triton_emulator.cxx.numbers import INT64_MAX, INT64_MIN, stoi
from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.repository.schema import Proto

_LOG = logging.getLogger(__name__)

#: folders of a model that are not versions
OTHER_FOLDERS = frozenset({"warmup", "initial_state", "configs"})

#: the version of a request that names none
LATEST = -1


def subdirectories(directory: Path) -> list[str]:
    """The names of the folders in `directory`, links to folders too, in byte order. Raises INTERNAL."""
    try:
        names = [entry.name for entry in directory.iterdir() if entry.is_dir()]
    except OSError:
        raise internal(f"failed to open directory {directory}") from None
    return sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))


def version_folders(model: str, directory: Path) -> list[int]:
    """The versions that a model's folder holds, the newest first."""
    versions = set()
    for name in subdirectories(directory):
        if name in OTHER_FOLDERS:
            continue
        if len(name) > 1 and name.startswith("0"):
            _LOG.warning(
                "ignore version directory '%s' which contains leading zeros in its directory name", name
            )
            continue
        try:
            versions.add(stoi(name, -INT64_MAX, INT64_MAX))
        except (ValueError, OverflowError):
            _LOG.warning("ignore version directory '%s' which fails to convert to integral number", name)
    return sorted(versions, reverse=True)


def versions_to_load(config: Proto, directory: Path) -> list[int]:
    """The versions of a model that its policy selects, ascending."""
    existing = version_folders(config.name, directory)
    policy = config.version_policy
    if policy.HasField("specific"):
        return sorted(_present(config.name, policy.specific.versions, set(existing)))
    if policy.HasField("latest"):
        existing = existing[: policy.latest.num_versions]
    return sorted(existing)


def parse_version(text: str) -> int:
    """The version a request names, LATEST for an empty string. Raises INVALID_ARG as 2.51 words it."""
    if not text:
        return LATEST
    try:
        version = stoi(text, INT64_MIN, INT64_MAX)
    except (ValueError, OverflowError):
        raise invalid_arg(
            f"failed to get model version from specified version string '{text}' (details: stol), "
            "version should be an integral value > 0"
        ) from None
    if version < 0:
        raise invalid_arg(
            f"invalid model version specified '{text}' , version should be an integral value > 0"
        )
    return version


def _present(model: str, wanted: Iterable[int], existing: set[int]) -> set[int]:
    picked = set()
    for version in wanted:
        if version in existing:
            picked.add(version)
        else:
            _LOG.error(
                "version %d is specified for model '%s', but the version directory is not present",
                version,
                model,
            )
            existing.add(version)  # 2.51: a version that is specified twice counts as present the second time
    return picked
