"""What the repository is asked to serve, and in which order it gets there: polling, dependencies, one change at a time.

Theory of operation
===================

Models go by their identifier (`PolledModel.id`); a request's name means every model of that name. `_polled` has the
models that should be served, as they were last read. Every request (a poll, a load, an unload) goes through
`_carry_out` in four steps:

1. Decide. Folders are read, and compared with `_polled`: which models are new or changed, which are to be dropped.
2. Wait. A change touches its models, the ensembles over them, and the models that it found unchanged. While one of
   these is being changed by another request, this one waits, and then decides anew: the folders, and what is polled,
   may be different by then. So changes to unrelated models run side by side.
3. Note. `_polled` is brought up to date, and the touched models are marked busy. Steps 1 to 3 hold the lock.
4. Load and unload, without the lock. Members come before the ensembles over them: the models are loaded in waves, each
   of those whose members are not waiting any more. An ensemble is checked against its members just before it is loaded,
   because their configs are complete only then; a cycle, a missing member or one that failed makes it fail as well.
   A model that failed keeps the file times of its predecessor, so that the next request tries it again.

The lock is held while folders are read; requests for inference never take it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.repository import override
from triton_emulator.repository.config import ensemble_members
from triton_emulator.repository.config.ensemble_graph import steps_of
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.dependencies import (
    Graph,
    dependents,
    graph_errors,
    graph_of,
    is_of_graph,
    only_needed_by,
)
from triton_emulator.repository.folder_reader import Files, FolderReader, write_files
from triton_emulator.repository.folder_times import NEVER
from triton_emulator.repository.lifecycle import Lifecycle
from triton_emulator.repository.scanner import PolledModel
from triton_emulator.repository.schema import copied

#: the error of each model that was to be loaded, None for one that is served
Results = Mapping[str, str | None]


@dataclass(slots=True)
class _Change:
    """Models to load, being new or changed, and models to drop; `complete` is False if some could not be read.

    `unchanged` are models that were looked at as well: what is loaded may need them as they are.
    """

    loaded: dict[str, PolledModel] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    unchanged: set[str] = field(default_factory=set)
    complete: bool = True


class Control:
    """The models that were polled and are, or should be, served."""

    def __init__(self, reader: FolderReader, lifecycle: Lifecycle[Any]) -> None:
        self._reader = reader
        self._lifecycle = lifecycle
        self._free = threading.Condition()
        self._busy: set[str] = set()
        self._polled: dict[str, PolledModel] = {}
        self._invalid: dict[str, str] = {}
        #: by name, the identifiers of the models that have it; empty once all of them are gone
        self.identifiers: dict[str, frozenset[str]] = {}

    @property
    def ids(self) -> list[str]:
        """The models that should be served."""
        return sorted(self._polled)

    def folder(self, key: str) -> Path | None:
        """The folder of a model that should be served."""
        model = self._polled.get(key)
        return None if model is None else model.directory

    # --- requests ---

    def load_all(self) -> bool:
        """Follow the repositories: load what is new or changed, drop what is gone. Whether everything could be read."""
        complete, _ = self._carry_out(self._whole_repository)
        return complete

    def load(self, wanted: Mapping[str, override.Parameters]) -> tuple[bool, Results]:
        """Load models by name, and what they need. Whether all could be read, and the error of each that was loaded."""
        files = write_files(wanted)
        return self._carry_out(lambda: self._named_models(wanted, files))

    def unload(self, name: str, *, unload_dependents: bool) -> None:
        """Drop a model, and with `unload_dependents` the members that only it needs and no request named."""

        def change() -> _Change:
            removed = set(self.identifiers.get(name, ()))
            if unload_dependents:
                explicit = {model.id for model in self._polled.values() if model.explicit}
                removed = only_needed_by(removed, self._graph(), explicit) & self._polled.keys()
            return _Change(removed=frozenset(removed))

        self._carry_out(change)

    # --- decide: which models change ---

    def _whole_repository(self) -> _Change:
        scan = self._reader.scan()
        loaded = {model.id: model for model in scan.models if self._differs(model)}
        removed = self._polled.keys() - scan.ids
        unchanged = self._polled.keys() - loaded.keys() - removed
        return _Change(loaded, frozenset(removed), set(unchanged), scan.complete)

    def _named_models(self, wanted: Mapping[str, override.Parameters], files: Mapping[str, Files]) -> _Change:
        """The models of the wanted names, the members of those that are ensembles, the members' members and so on."""
        change = _Change()
        seen: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += self._named_model(name, wanted, files.get(name), change)
        return change

    def _named_model(
        self, name: str, wanted: Mapping[str, override.Parameters], files: Files | None, change: _Change
    ) -> list[str]:
        """Add the models of one name to the change; the names of their members."""
        if isinstance(files, TritonError):
            self._reader.report(name, f"Poll failed for model directory '{name}': {files.message}")
            change.complete = False
            return []
        models = self._reader.read_named(name, wanted.get(name, {}), files)
        change.complete = change.complete and bool(models) and None not in models
        members: list[str] = []
        for model in models:
            if model is None:
                continue
            known = self._polled.get(model.id)
            if known is None or wanted.get(name) or self._differs(model):
                explicit = name in wanted or (known is not None and known.explicit)
                change.loaded[model.id] = replace(model, explicit=explicit)
                members += [step.model for step in steps_of(model.config)]
            else:
                change.unchanged.add(model.id)  # 2.51: its members are those that it was loaded with
                members += [step.model for step in steps_of(known.config)]
        return members

    def _differs(self, model: PolledModel) -> bool:
        known = self._polled.get(model.id)
        return known is None or model.times.is_newer_than(known.times)

    # --- wait, note, load and unload ---

    def _carry_out(self, decide: Callable[[], _Change]) -> tuple[bool, Results]:
        with self._free:
            while True:
                change = decide()
                affected = self._affected(change)
                held = affected | change.unchanged
                if not held & self._busy:
                    break
                self._free.wait()
            self._note(change)
            self._busy |= held
        try:
            for key in sorted(change.removed):
                self._lifecycle.unload(key)
            results = self._load_in_order(affected - change.removed)
            self._forget_failed(change, results)
            return change.complete, results
        finally:
            with self._free:
                self._busy -= held
                self._free.notify_all()

    def _affected(self, change: _Change) -> set[str]:
        """The models of a change and the ensembles over them, as they are and as they will be."""
        touched = {*change.loaded, *change.removed}
        after = graph_of((self._polled | change.loaded).values())
        return dependents(touched, after) | dependents(touched, self._graph())

    def _note(self, change: _Change) -> None:
        for key in change.removed:
            del self._polled[key]
        for key, model in change.loaded.items():
            before = self._polled[key].times if key in self._polled else NEVER
            self._polled[key] = replace(model, times_before=before)
        found: dict[str, frozenset[str]] = dict.fromkeys(self.identifiers, frozenset())
        for model in self._polled.values():
            found[model.name] = found.get(model.name, frozenset()) | {model.id}
        self.identifiers = found

    def _forget_failed(self, change: _Change, results: Results) -> None:
        for key in change.loaded:
            error = results.get(key)
            if error is not None and not is_of_graph(error):
                # 2.51: what failed keeps the times of what was there before it, so that the next load tries again,
                # but for a cycle or a member that is not there: it is not looked at until it changes
                self._polled[key] = replace(self._polled[key], times=self._polled[key].times_before)

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
                    results[key] = self._invalid[key] = to_text(error.message)
                    self._reader.report(key, f"{error.code.value}: {error.message}")
                    self._lifecycle.unload(key)
            results |= self._lifecycle.load(loads)
            waiting -= wave
        return results

    def _graph(self) -> Graph:
        return graph_of(self._polled.values())

    def _check(self, key: str, graph: Graph, broken: str | None, results: Results) -> None:
        """Check that the members of an ensemble are served."""
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
        """The model; an ensemble checked against its members' configs, and completed by what they say."""
        model = self._polled[key]
        if not model.config.HasField("ensemble_scheduling"):
            return model
        ready = self._lifecycle.ready
        configs = {member.name: ready[member.id or "", ""].config.proto for member in graph[key]}
        config = copied(model.config)
        config.model_transaction_policy.decoupled = ensemble_members.check_members(config, configs)
        for step, member in zip(config.ensemble_scheduling.step, graph[key], strict=True):
            step.model_namespace = self._polled[member.id or ""].namespace
        return replace(model, config=config)
