"""What the repository is asked to serve, and in which order it gets there: polling, dependencies, one change at a time.

Changes to unrelated models run side by side; a change waits while a model that it touches is being changed. Models go
by their identifier (`PolledModel.id`); a request's name means every model of that name.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.repository import override, scanner
from triton_emulator.repository.config import ensemble_members
from triton_emulator.repository.config.ensemble_graph import steps_of
from triton_emulator.repository.config.pbtxt import ConfigError
from triton_emulator.repository.dependencies import (
    Graph,
    dependents,
    graph_errors,
    graph_of,
    is_of_graph,
    only_needed_by,
)
from triton_emulator.repository.folder_times import NEVER
from triton_emulator.repository.lifecycle import Lifecycle
from triton_emulator.repository.scanner import Found, PolledModel
from triton_emulator.repository.schema import new_config

_LOG = logging.getLogger(__name__)

#: requests may name any number of models that are not there
_PROBLEMS_KEPT = 1000

#: the error of each model that was to be loaded, None for one that is served
Results = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Change:
    """Models to load, being new or changed, and models to drop; `complete` is False if some could not be read.

    `unchanged` are models that were looked at as well: what is loaded may need them as they are.
    """

    loaded: Mapping[str, PolledModel] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    complete: bool = True


class Control:
    """The models that were polled and are, or should be, served."""

    def __init__(
        self,
        paths: list[Path],
        lifecycle: Lifecycle[Any],
        *,
        strict_config: bool,
        config_name: str,
        namespacing: bool,
    ) -> None:
        self._paths = paths
        self._lifecycle = lifecycle
        self._strict_config = strict_config
        self._config_name = config_name
        self._namespacing = namespacing
        self._free = threading.Condition()
        self._busy: set[str] = set()
        self._polled: dict[str, PolledModel] = {}
        self._invalid: dict[str, str] = {}
        #: by name, the identifiers of the models that have it; empty once all of them are gone
        self.identifiers: dict[str, frozenset[str]] = {}
        #: why a model could not be read or put together, by identifier; "" for a repository
        self.problems: dict[str, str] = {}

    @property
    def ids(self) -> list[str]:
        """The models that should be served."""
        return sorted(self._polled)

    def load_all(self) -> bool:
        """Follow the repositories: load what is new or changed, drop what is gone. Whether everything could be read."""
        complete, _ = self._carry_out(self._whole_repository)
        return complete

    def load(self, wanted: Mapping[str, override.Parameters]) -> tuple[bool, Results]:
        """Load models by name, and what they need. Whether all could be read, and the error of each that was loaded."""
        folders = {}
        unwritable = {}
        for name, parameters in wanted.items():
            if override.has_files(parameters):
                try:
                    folders[name] = override.write_files(parameters)
                except TritonError as error:
                    unwritable[name] = error
        return self._carry_out(lambda: self._named_models(wanted, folders, unwritable))

    def unload(self, name: str, *, unload_dependents: bool) -> None:
        """Drop a model, and with `unload_dependents` the members that only it needs and nobody asked for by name."""

        def change() -> _Change:
            removed = set(self.identifiers.get(name, ()))
            if unload_dependents:
                explicit = {model.id for model in self._polled.values() if model.explicit}
                removed = only_needed_by(removed, self._graph(), explicit) & self._polled.keys()
            return _Change(removed=frozenset(removed))

        self._carry_out(change)

    def _graph(self) -> Graph:
        return graph_of(self._polled.values())

    def _carry_out(self, decide: Callable[[], _Change]) -> tuple[bool, Results]:
        with self._free:
            while True:
                change = decide()
                touched = {*change.loaded, *change.removed}
                after = graph_of((self._polled | dict(change.loaded)).values())
                affected = dependents(touched, after) | dependents(touched, self._graph())
                held = affected | change.unchanged
                if not held & self._busy:
                    break
                self._free.wait()
            for key in change.removed:
                del self._polled[key]
            for key, model in change.loaded.items():
                before = self._polled[key].times if key in self._polled else NEVER
                self._polled[key] = replace(model, times_before=before)
            self._identify()
            self._busy |= held
        try:
            for key in sorted(change.removed):
                self._lifecycle.unload(key)
            results = self._load_in_order(affected - change.removed)
            for key in change.loaded:
                error = results.get(key)
                if error is not None and not is_of_graph(error):
                    # 2.51: what failed keeps the times of what was there before it, so that the next load tries again,
                    # but for a cycle or a member that is not there: it is not looked at until it changes
                    self._polled[key] = replace(self._polled[key], times=self._polled[key].times_before)
            return change.complete, results
        finally:
            with self._free:
                self._busy -= held
                self._free.notify_all()

    def _identify(self) -> None:
        found: dict[str, frozenset[str]] = dict.fromkeys(self.identifiers, frozenset())
        for model in self._polled.values():
            found[model.name] = found.get(model.name, frozenset()) | {model.id}
        self.identifiers = found

    def _load_in_order(self, ids: set[str]) -> Results:
        """Load the models, members before the ensembles over them."""
        results: dict[str, str | None] = {}
        graph = self._graph()
        broken = graph_errors(ids, graph)
        waiting = set(ids)
        for key in ids:
            self._invalid.pop(key, None)
        while waiting:
            wave = {key for key in waiting if key in broken or not any(m.id in waiting for m in graph[key])}
            loads = []
            for key in sorted(wave):
                try:
                    self._check(key, graph, broken.get(key), results)
                    loads.append(self._ensemble_completed(key, graph))
                except TritonError as error:
                    results[key] = self._invalid[key] = error.message
                    self._problem(key, f"{error.code.value}: {error.message}")
                    self._lifecycle.unload(key)
            results |= self._lifecycle.load(loads)
            waiting -= wave
        return results

    def _check(self, key: str, graph: Graph, broken: str | None, results: Results) -> None:
        if broken is not None:
            raise invalid_arg(broken)
        for member in graph[key]:
            depends = f"ensemble '{key}' depends on '{member.id}'"
            ready = self._lifecycle.ready_versions(member.id or "")
            if member.id in self._invalid:
                raise invalid_arg(
                    f"{depends} which is not valid. "
                    f"Model '{member.id}' failed with error: {self._invalid[member.id]}"
                )
            if not ready:
                failed = results.get(member.id or "")
                why = (
                    f" Model '{member.id}' loading failed with error: {failed}" if failed is not None else ""
                )
                raise invalid_arg(f"{depends} which has no loaded version.{why}")
            if member.version != -1 and member.version not in ready:
                raise invalid_arg(f"{depends} whose required version {member.version} is not loaded.")

    def _ensemble_completed(self, key: str, graph: Graph) -> PolledModel:
        model = self._polled[key]
        if not model.config.HasField("ensemble_scheduling"):
            return model
        ready = self._lifecycle.ready
        configs = {member.name: ready[member.id or "", ""].config.proto for member in graph[key]}
        config = new_config()
        config.CopyFrom(model.config)
        config.model_transaction_policy.decoupled = ensemble_members.check_members(config, configs)
        for step, member in zip(config.ensemble_scheduling.step, graph[key], strict=True):
            step.model_namespace = self._polled[member.id or ""].namespace
        return replace(model, config=config)

    # --- reading folders ---

    def _whole_repository(self) -> _Change:
        found, duplicates, unreadable = scanner.scan(self._paths, namespacing=self._namespacing)
        for path, error in unreadable.items():
            self._problem("", f"failed to poll model repository '{path}': {error.message}")
        for key in sorted(duplicates):
            self._problem(key, f"failed to poll model '{key}': not unique across all model repositories")
        read = [self._read(folder) for folder in found]
        loaded = {model.id: model for model in read if model is not None and self._differs(model)}
        removed = frozenset(self._polled.keys() - {folder.id for folder in found})
        return _Change(
            loaded,
            removed,
            unchanged=frozenset(self._polled.keys() - loaded.keys() - removed),
            complete=not (unreadable or duplicates or None in read),
        )

    def _named_models(
        self,
        wanted: Mapping[str, override.Parameters],
        folders: Mapping[str, override.TemporaryFolder],
        unwritable: Mapping[str, TritonError],
    ) -> _Change:
        loaded: dict[str, PolledModel] = {}
        unchanged: set[str] = set()
        complete = True
        seen: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in unwritable:
                self._problem(name, f"Poll failed for model directory '{name}': {unwritable[name].message}")
                complete = False
                continue
            models = list(self._read_named(name, wanted.get(name, {}), folders.get(name)))
            complete = complete and bool(models) and None not in models
            for model in models:
                if model is not None:
                    known = self._polled.get(model.id)
                    explicit = name in wanted or (known is not None and known.explicit)
                    if known is None or wanted.get(name) or self._differs(model):
                        loaded[model.id] = replace(model, explicit=explicit)
                        waiting += [step.model for step in steps_of(model.config)]
                    else:
                        unchanged.add(model.id)  # 2.51: its members are those that it was loaded with
                        waiting += [step.model for step in steps_of(known.config)]
        return _Change(loaded, unchanged=frozenset(unchanged), complete=complete)

    def _differs(self, model: PolledModel) -> bool:
        known = self._polled.get(model.id)
        return known is None or model.times.is_newer_than(known.times)

    def _read_named(
        self, name: str, parameters: override.Parameters, folder: override.TemporaryFolder | None
    ) -> Iterable[PolledModel | None]:
        """The models of a name, None for one that cannot be read; nothing where there is none."""
        if folder is not None:
            return [self._read(Found("", name, folder.path), parameters, folder)]
        # os.path.exists has an answer for every name, Path.exists raises for some
        places = [path for path in self._paths if os.path.exists(path / name)]  # noqa: PTH110
        if len(places) > 1 and not self._namespacing:
            self._problem(name, f"failed to poll model '{name}': not unique across all model repositories")
            places = []
        if not places:
            self._problem(name, f"failed to poll model '{name}': model not found in any model repository.")
        return [
            self._read(Found(str(path) if self._namespacing else "", name, path / name), parameters)
            for path in places
        ]

    def _read(
        self,
        found: Found,
        parameters: override.Parameters | None = None,
        folder: override.TemporaryFolder | None = None,
    ) -> PolledModel | None:
        try:
            config = override.config_override(parameters or {})
            model = scanner.read_model(
                found.name, found.directory, config, strict=self._strict_config, config_name=self._config_name
            )
        except (TritonError, ConfigError, OSError, UnicodeError) as error:
            self._problem(
                found.id, f"Poll failed for model directory '{found.id}': {scanner.poll_error(error)}"
            )
            return None
        self.problems.pop(found.id, None)
        model = replace(model, namespace=found.namespace)
        # 2.51: files from a request count as older than any, so a plain load afterwards goes back to the repository
        return replace(model, folder=folder, times=NEVER) if folder else model

    def _problem(self, key: str, text: str) -> None:
        # a folder's name may hold bytes that are no text, which a log could not take
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        self.problems[key] = text
        if len(self.problems) > _PROBLEMS_KEPT:
            self.problems.pop(next(iter(self.problems)), None)
        _LOG.error("%s", text)
