"""What the repository is asked to serve, and in which order it gets there: polling, dependencies, one change at a time.

Changes to unrelated models run side by side; a change waits while a model that it touches is being changed.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.repository import ensemble, override, poll
from triton_emulator.repository.dependencies import dependents, graph_errors, members, only_needed_by
from triton_emulator.repository.lifecycle import Lifecycle
from triton_emulator.repository.pbtxt import ConfigError
from triton_emulator.repository.poll import PolledModel
from triton_emulator.repository.schema import Proto, new_config

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Change:
    """Models to load, being new or changed, and models to drop; `complete` is False if some could not be read."""

    loaded: Mapping[str, PolledModel] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    complete: bool = True


class Control:
    """The models that were polled and are, or should be, served."""

    def __init__(
        self, paths: list[Path], lifecycle: Lifecycle[Any], *, strict_config: bool, config_name: str
    ) -> None:
        self._paths = paths
        self._lifecycle = lifecycle
        self._strict_config = strict_config
        self._config_name = config_name
        self._free = threading.Condition()
        self._busy: set[str] = set()
        self._polled: dict[str, PolledModel] = {}
        self._invalid: dict[str, str] = {}
        #: why a model could not be read or put together, by name; "" for a repository
        self.problems: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """The models that should be served."""
        return sorted(self._polled)

    def load_all(self) -> bool:
        """Follow the repositories: load what is new or changed, drop what is gone. Whether everything could be read."""
        complete, _ = self._carry_out(self._whole_repository)
        return complete

    def load(self, wanted: Mapping[str, override.Parameters]) -> tuple[bool, dict[str, str | None]]:
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
            removed = {name} & self._polled.keys()
            if unload_dependents:
                explicit = {n for n, model in self._polled.items() if model.explicit}
                removed = only_needed_by(removed, self._configs(), explicit) & self._polled.keys()
            return _Change(removed=frozenset(removed))

        self._carry_out(change)

    def _configs(self) -> dict[str, Proto]:
        return {name: model.config for name, model in self._polled.items()}

    def _carry_out(self, decide: Callable[[], _Change]) -> tuple[bool, dict[str, str | None]]:
        with self._free:
            while True:
                change = decide()
                touched = {*change.loaded, *change.removed}
                after = self._configs() | {name: model.config for name, model in change.loaded.items()}
                affected = dependents(touched, after) | dependents(touched, self._configs())
                if not affected & self._busy:
                    break
                self._free.wait()
            before = {name: self._polled[name].modified_ns for name in change.loaded if name in self._polled}
            for name in change.removed:
                del self._polled[name]
            self._polled.update(change.loaded)
            self._busy |= affected
        try:
            for name in sorted(change.removed):
                self._lifecycle.unload(name)
            results = self._load_in_order(affected - change.removed)
            for name in change.loaded:
                if results.get(name) is not None:
                    # 2.51: what failed keeps the time of what was there before it, so that the next load tries again
                    self._polled[name] = replace(self._polled[name], modified_ns=before.get(name, 0))
            return change.complete, results
        finally:
            with self._free:
                self._busy -= affected
                self._free.notify_all()

    def _load_in_order(self, names: set[str]) -> dict[str, str | None]:
        """Load the models, members before the ensembles over them; the error of each, None for one that is served."""
        results: dict[str, str | None] = {}
        broken = graph_errors(names, self._configs())
        waiting = set(names)
        for name in names:
            self._invalid.pop(name, None)
        while waiting:
            wave = {n for n in waiting if n in broken or not waiting & self._members(n)}
            loads = []
            for name in sorted(wave):
                try:
                    self._check(name, broken.get(name), results)
                    loads.append(self._ensemble_completed(name))
                except TritonError as error:
                    results[name] = self._invalid[name] = error.message
                    self._problem(name, f"{error.code.value}: {error.message}")
                    self._lifecycle.unload(name)
            results |= self._lifecycle.load(loads)
            waiting -= wave
        return results

    def _members(self, name: str) -> set[str]:
        return {member for member, _ in members(self._polled[name].config)}

    def _check(self, name: str, broken: str | None, results: Mapping[str, str | None]) -> None:
        if broken is not None:
            raise invalid_arg(broken)
        for member, version in members(self._polled[name].config):
            depends = f"ensemble '{name}' depends on '{member}'"
            ready = self._lifecycle.ready_versions(member)
            if member in self._invalid:
                raise invalid_arg(
                    f"{depends} which is not valid. Model '{member}' failed with error: {self._invalid[member]}"
                )
            if not ready:
                failed = results.get(member)
                why = f" Model '{member}' loading failed with error: {failed}" if failed is not None else ""
                raise invalid_arg(f"{depends} which has no loaded version.{why}")
            if version != -1 and version not in ready:
                raise invalid_arg(f"{depends} whose required version {version} is not loaded.")

    def _ensemble_completed(self, name: str) -> PolledModel:
        model = self._polled[name]
        if not model.config.HasField("ensemble_scheduling"):
            return model
        served = self._lifecycle.ready
        configs = {member: served[member, ""].config.proto for member in self._members(name)}
        config = new_config()
        config.CopyFrom(model.config)
        config.model_transaction_policy.decoupled = ensemble.check_members(config, configs)
        return replace(model, config=config)

    # --- reading folders ---

    def _whole_repository(self) -> _Change:
        found, duplicates, unreadable = poll.scan(self._paths)
        for path, error in unreadable.items():
            self._problem("", f"failed to poll model repository '{path}': {error.message}")
        for name in sorted(duplicates):
            self._problem(name, f"failed to poll model '{name}': not unique across all model repositories")
        read = {name: self._read(name, path) for name, path in found.items()}
        return _Change(
            loaded={
                name: model for name, model in read.items() if model is not None and self._differs(model)
            },
            removed=frozenset(self._polled.keys() - found.keys()),
            complete=not (unreadable or duplicates or None in read.values()),
        )

    def _named_models(
        self,
        wanted: Mapping[str, override.Parameters],
        folders: Mapping[str, override.TemporaryFolder],
        unwritable: Mapping[str, TritonError],
    ) -> _Change:
        loaded: dict[str, PolledModel] = {}
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
            model = self._read_named(name, wanted.get(name), folders.get(name))
            if model is None:
                complete = False
                continue
            known = self._polled.get(name)
            explicit = name in wanted or (known is not None and known.explicit)
            if wanted.get(name) or self._differs(model):
                loaded[name] = replace(model, explicit=explicit)
            waiting += [member for member, _ in members(model.config)]
        return _Change(loaded=loaded, complete=complete)

    def _differs(self, model: PolledModel) -> bool:
        known = self._polled.get(model.name)
        return known is None or model.modified_ns > known.modified_ns

    def _read_named(
        self, name: str, parameters: override.Parameters | None, folder: override.TemporaryFolder | None
    ) -> PolledModel | None:
        if folder is not None:
            return self._read(name, folder.path, parameters, folder)
        # os.path.exists has an answer for every name, Path.exists raises for some
        places = [path / name for path in self._paths if os.path.exists(path / name)]  # noqa: PTH110
        if len(places) > 1:
            self._problem(name, f"failed to poll model '{name}': not unique across all model repositories")
        if len(places) != 1:
            self._problem(name, f"failed to poll model '{name}': model not found in any model repository.")
            return None
        return self._read(name, places[0], parameters)

    def _read(
        self,
        name: str,
        directory: Path,
        parameters: override.Parameters | None = None,
        folder: override.TemporaryFolder | None = None,
    ) -> PolledModel | None:
        try:
            config = override.config_override(parameters or {})
            model = poll.read_model(
                name, directory, config, strict=self._strict_config, config_name=self._config_name
            )
        except (TritonError, ConfigError, OSError, UnicodeError) as error:
            self._problem(name, f"Poll failed for model directory '{name}': {poll.poll_error(error)}")
            return None
        self.problems.pop(name, None)
        # 2.51: files from a request count as older than any, so a plain load afterwards goes back to the repository
        return replace(model, folder=folder, modified_ns=0) if folder else model

    def _problem(self, name: str, text: str) -> None:
        self.problems[name] = text
        _LOG.error("%s", text)
