"""When the parts of a model's folder last changed, and what Triton concludes from that (core 2.51 ModelTimestamp)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: under this name the time of the model's folder itself
_FOLDER = ""


@dataclass(frozen=True, slots=True)
class Times:
    """By the name of each entry of a model's folder, the newest modification time in it, in nanoseconds.

    `config` is the name of the entry that is or holds the config, empty where there is none.
    """

    entries: Mapping[str, int] = field(default_factory=dict)
    config: str = ""

    def is_newer_than(self, before: "Times") -> bool:
        """Whether the model may have to be loaded again."""
        return max(self.entries.values(), default=0) > max(before.entries.values(), default=0)

    def version_is_newer_than(self, before: "Times", version: int) -> bool:
        """Whether a version has to be loaded again even if the config is the same.

        Its own folder counts, and so do entries that are neither a version nor the config.
        """
        return self.version_time(version) > before.version_time(version)

    def files_are_newer_than(self, before: "Times") -> bool:
        """Whether anything but the config has changed; the model's folder itself counts."""
        return self.files_time() > before.files_time()

    def files_time(self) -> int:
        return max((time for name, time in self.entries.items() if name != self.config), default=0)

    def with_config_at(self, now: int) -> "Times":
        """The times with `now` for the config; the same times where there is no config."""
        if not self.config:
            return self
        return Times({**self.entries, self.config: now}, self.config)

    def version_time(self, version: int) -> int:
        others = (
            time
            for name, time in self.entries.items()
            if name != self.config and not all(character in "0123456789" for character in name)
        )
        return max(self.entries.get(str(version), 0), *others, 0)


#: the times of a model that was never read, or whose files came with a request
NEVER = Times()


def config_at(now: int) -> Times:
    """The times of a model of which nothing but the config has a time."""
    return Times({"config": now}, "config")


def read_times(folder: Path, config: Path) -> Times:
    """The times of a model's folder, as far as they can be read; `config` is the path of its config."""
    entries = {_FOLDER: folder.stat().st_mtime_ns}
    holder = ""
    for entry in folder.iterdir():
        entries[entry.name] = _newest(entry)
        if config.is_relative_to(entry):
            holder = entry.name
    return Times(entries, holder)


def _newest(path: Path) -> int:
    newest = 0
    seen: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            found = here.stat()
            newest = max(newest, found.st_mtime_ns)
            # a link may lead back up: no folder is entered twice
            if here.is_dir() and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                waiting.extend(here.iterdir())
        except OSError:
            continue
    return newest
