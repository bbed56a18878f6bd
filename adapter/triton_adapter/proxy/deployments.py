"""Deployments, and the groups of them that clients ask for by name."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from triton_adapter.errors import AdapterError, NotFoundError
from triton_adapter.proxy.config.values import Config, ModelEntry
from triton_adapter.proxy.limits import Meter
from triton_adapter.target import Target

# Groups kept for names that matched a wildcard. Clients choose these names, so their number is limited.
KEPT_NAMES = 1024


@dataclass(slots=True)
class Deployment:
    """One model on one server, and how it has answered lately.

    `fails` counts failures in a row. `cooled_until` is a time of the monotonic clock. `latency` is a running mean of
    the time until an answer begins. Times are seconds.
    """

    entry: ModelEntry
    target: Target
    meter: Meter
    fails: int = 0
    cooled_until: float = float("-inf")
    latency: float | None = None

    def __repr__(self) -> str:
        # Without the target, whose headers hold the key for Triton, and without the address.
        state = "COOLING DOWN" if self.cooling(monotonic()) else "UP"
        latency = "" if self.latency is None else f", {self.latency * 1000:.0f} ms"
        used = f"{self.meter.running} running, {self.fails} failed in a row{latency}"
        return f"<Deployment {self.id} of {self.entry.name} [{state}, {used}]>"

    @property
    def id(self) -> str:
        return self.entry.id

    def cooling(self, now: float) -> bool:
        """Return whether the deployment is left out for a while, because it failed or asked for a pause."""
        return self.cooled_until > now


@dataclass(slots=True)
class Group:
    """The deployments of one name. `label` is the configured name, which clients cannot choose."""

    name: str
    label: str
    deployments: list[Deployment] = field(default_factory=list)


class Catalog:
    """Every name that is served: those of the config, their aliases, and those that wildcards match."""

    def __init__(self, config: Config) -> None:
        self.groups: dict[str, Group] = {}
        self._wildcards: dict[str, list[tuple[ModelEntry, Meter]]] = {}
        self._matched: OrderedDict[str, Group] = OrderedDict()
        self.aliases = config.router.aliases
        self.hidden = config.router.hidden_aliases
        for entry in config.models:
            meter = Meter(entry.rpm, entry.tpm, entry.max_parallel)
            if entry.wildcard:
                self._wildcards.setdefault(entry.name, []).append((entry, meter))
                continue
            group = self.groups.setdefault(entry.name, Group(entry.name, entry.name))
            group.deployments.append(Deployment(entry, entry.make_target(entry.model), meter))
        # The longest pattern is the most specific one.
        self._patterns = sorted(self._wildcards, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"<Catalog of {', '.join(self.names())}>"

    def names(self) -> list[str]:
        """Return the names to show to clients: models, patterns, and aliases that are not hidden."""
        shown = [name for name in self.aliases if name not in self.hidden]
        return list(dict.fromkeys([*self.groups, *self._wildcards, *shown]))

    def entries(self) -> Iterator[Deployment]:
        """Return every deployment that has a name of its own."""
        for group in self.groups.values():
            yield from group.deployments

    def wildcards(self) -> Iterator[ModelEntry]:
        """Return the entries that are patterns."""
        for pairs in self._wildcards.values():
            yield from (entry for entry, _ in pairs)

    def find(self, name: str, aliases: Mapping[str, str] | None = None) -> Group:
        """Return the group of a name. NotFoundError if there is none."""
        if aliases:
            name = aliases.get(name, name)
        group = self.groups.get(name) or self._matched.get(name)
        if group is not None:
            return group
        target = self.aliases.get(name)
        if target is not None:
            return self.groups.get(target) or self._match(target)
        return self._match(name)

    def _match(self, name: str) -> Group:
        for pattern in self._patterns:
            before, _, after = pattern.partition("*")
            if not (
                name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
            ):
                continue
            middle = name[len(before) : len(name) - len(after)]
            group = Group(name, pattern)
            try:
                for entry, meter in self._wildcards[pattern]:
                    target = entry.make_target(entry.model.replace("*", middle))
                    group.deployments.append(Deployment(entry, target, meter))
            except AdapterError:
                break
            self._matched[name] = group
            if len(self._matched) > KEPT_NAMES:
                self._matched.popitem(last=False)
            return group
        raise NotFoundError(f"The model '{shortened(name)}' does not exist", param="model")


def shortened(name: Any) -> str:
    """Return a name that a client sent, short enough to be shown."""
    text = str(name)
    return text if len(text) <= 100 else f"{text[:100]}..."
