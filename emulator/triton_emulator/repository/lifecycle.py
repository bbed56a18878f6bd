"""Loads and unloads the versions of models, in threads, and publishes those that are ready.

`version_life` explains the states. Everything that changes one holds the lock; a request never takes it: it reads
`ready`, a dict that is replaced, never changed.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic

from triton_emulator.protocol.errors import TritonError, invalid_arg, unavailable
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.raw_text import as_logged, to_text
from triton_emulator.repository.load_threads import run_all
from triton_emulator.repository.scanner import PolledModel
from triton_emulator.repository.schema import same_but_for_versions
from triton_emulator.repository.version_life import UNLOADED, Event, LoadedT, Served, Slot, State
from triton_emulator.repository.versions import versions_to_load

_LOG = logging.getLogger(__name__)

_STOPPING = "the server is stopping"


@dataclass(slots=True, eq=False)
class _Load(Generic[LoadedT]):
    """A load under way: the new slots of one model, those that stay, and how many of the new are still loading."""

    model: PolledModel
    slots: list[Slot[LoadedT]]
    kept: list[Slot[LoadedT]]
    pending: int
    error: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def one_done(self) -> bool:
        """Whether this was the last version."""
        with self._lock:
            self.pending -= 1
            return self.pending == 0


class Lifecycle(Generic[LoadedT]):
    """Loads and unloads versions. `load_version` makes a version (any exception's text is the reason of its failure);
    `unload_version` ends one and returns when its last request is done. Models go by their identifier.
    """

    def __init__(
        self,
        load_version: Callable[[PolledModel, int], Served[LoadedT]],
        unload_version: Callable[[Served[LoadedT]], object],
        threads: int,
        rules: Personality,
    ) -> None:
        self._load_version = load_version
        self._unload_version = unload_version
        self._threads = threads
        self._rules = rules
        self._changed = threading.Condition()
        self._unloading = 0
        self._loading = 0
        self._closed = False
        self._models: dict[str, dict[int, Slot[LoadedT]]] = {}
        #: by identifier and version as text, and by identifier and "" for the newest; replaced on every change
        self.ready: Mapping[tuple[str, str], Served[LoadedT]] = {}

    def states(self) -> dict[str, list[Slot[LoadedT]]]:
        """Every model that was ever loaded, with its versions ascending; no version for one that had none to load."""
        with self._changed:
            return {key: self._sorted(slots) for key, slots in sorted(self._models.items())}

    def slots(self, key: str) -> list[Slot[LoadedT]] | None:
        """The versions of one model, ascending; None for a model that was never loaded."""
        with self._changed:
            slots = self._models.get(key)
            return None if slots is None else self._sorted(slots)

    def ready_versions(self, key: str) -> list[int]:
        return [slot.version for slot in self.slots(key) or () if slot.state is State.READY]

    def load(self, models: Iterable[PolledModel]) -> dict[str, str | None]:
        """Load the models side by side and wait for all: the error of each, None where it is served.

        A version that is served stays served until its successor is ready, or for good if that fails.
        """
        with self._changed:
            self._loading += 1
        try:
            return self._load(models)
        finally:
            with self._changed:
                self._loading -= 1
                self._changed.notify_all()

    def _load(self, models: Iterable[PolledModel]) -> dict[str, str | None]:
        errors: dict[str, str | None] = {}
        loads: list[_Load[LoadedT]] = []
        for model in models:
            try:
                loads.append(self._begin(model))
            except TritonError as error:
                text = errors[model.id] = to_text(error.message)
                _LOG.error("failed to load model '%s': %s", as_logged(model.id), as_logged(text))
        for load in loads:
            if not load.slots:
                self._finish(load)
        run_all([self._task(load, slot) for load in loads for slot in load.slots], self._threads)
        return errors | {load.model.id: load.error for load in loads}

    def unload(self, key: str) -> None:
        """Stop serving a model; its versions are UNLOADING until their last request is done."""
        with self._changed:
            if key in self._models:
                self._release(slot for slot in self._models[key].values() if slot.state is State.READY)
                self._publish(key)

    def add(self, key: str, served: Served[LoadedT]) -> None:
        """Serve a version that is made already; it may have been added before, with another config."""
        with self._changed:
            if self._closed:
                return
            slot = Slot[LoadedT](key, served.version)
            slot.served = served
            slot.advance(Event.LOADED)
            self._models.setdefault(key, {})[served.version] = slot
            self._publish(key)

    def remove(self, key: str, versions: Iterable[Served[LoadedT]]) -> None:
        """Forget versions that were added; others of the model stay."""
        added = list(versions)
        with self._changed:
            slots = self._models.get(key, {})
            removed = [slot for slot in slots.values() if slot.served in added]
            if not removed:
                return
            self._release(removed)
            self._publish(key)
            for slot in removed:
                del slots[slot.version]
            if not slots:
                self._models.pop(key, None)

    @property
    def loading(self) -> bool:
        """Whether a load is under way."""
        return self._loading > 0

    def close(self) -> None:
        """Stop serving every model; nothing is loaded from now on."""
        with self._changed:
            self._closed = True
            for key in self._models:
                self.unload(key)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until nothing is unloading, nor, once closed, loading; False when `timeout` seconds did not suffice."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not (self._unloading or (self._closed and self._loading)), timeout
            )

    @staticmethod
    def _sorted(slots: Mapping[int, Slot[LoadedT]]) -> list[Slot[LoadedT]]:
        return [slots[version] for version in sorted(slots)]

    def _begin(self, model: PolledModel) -> _Load[LoadedT]:
        with self._changed:
            if self._closed:
                raise unavailable(_STOPPING)
            slots = self._models.setdefault(model.id, {})
        versions = versions_to_load(model.config, model.directory)
        if not versions:
            raise invalid_arg(
                f"at least one version must be available under the version policy of model '{model.id}'"
            )
        with self._changed:
            kept = [slots[version] for version in versions if self._may_stay(slots.get(version), model)]
            new = [Slot[LoadedT](model.id, v) for v in versions if all(v != slot.version for slot in kept)]
            for slot in new:
                _LOG.info("loading: %s:%d", model.id, slot.version)
                old = slots.get(slot.version)
                if old is None or old.state is not State.READY:
                    slots[slot.version] = slot
        return _Load(model, new, kept, len(new))

    def _task(self, load: _Load[LoadedT], slot: Slot[LoadedT]) -> Callable[[], None]:
        def task() -> None:
            try:
                slot.served = self._load_version(load.model, slot.version)
            except TritonError as error:
                self._fail(slot, f"{error.code.value}: {error.message}")
            except Exception as error:  # noqa: BLE001  a loader may fail in any way; what it says is the reason
                self._fail(slot, str(error) or type(error).__name__)
            if load.one_done():
                self._finish(load)

        return task

    def _fail(self, slot: Slot[LoadedT], reason: str) -> None:
        reason = to_text(reason)  # it may hold strings of the config
        with self._changed:
            slot.advance(Event.FAILED, reason)
        _LOG.error("failed to load '%s' version %d: %s", as_logged(slot.id), slot.version, as_logged(reason))

    def _finish(self, load: _Load[LoadedT]) -> None:
        failed = [slot for slot in load.slots if slot.served is None]
        with self._changed:
            if self._closed and not failed:
                load.error = _STOPPING
                self._release(load.slots)
            elif failed:
                # 2.51: one version that fails takes the versions loaded with it along
                load.error = "".join(
                    f"version {slot.version} is at {slot.state.value} state: {slot.reason};"
                    for slot in failed
                )
                self._release(slot for slot in load.slots if slot.served is not None)
            else:
                self._replace(load)
        _LOG.info("%s '%s'", "failed to load" if load.error else "successfully loaded", load.model.id)

    def _replace(self, load: _Load[LoadedT]) -> None:
        slots = self._models[load.model.id]
        replaced = [slot for slot in slots.values() if slot.state is State.READY and slot not in load.kept]
        for slot in replaced:
            slot.advance(Event.RELEASED)
        for slot in load.slots:
            slot.advance(Event.LOADED)
            slots[slot.version] = slot
        # requests find the new versions before the old ones refuse them
        self._publish(load.model.id)
        for slot in replaced:
            self._end_in_a_thread(slot)

    def _may_stay(self, slot: Slot[LoadedT] | None, model: PolledModel) -> bool:
        """Whether a served version stays served instead of being loaded again.

        2.51: only its files' times and the config decide. So files in a request with an unchanged config are ignored,
        and a served version still shows the version policy that it was loaded with. Until 2.48 a change of any file, or
        of the version policy, reloads all versions.
        """
        if slot is None or slot.state is not State.READY or slot.served is None:
            return False
        if not self._rules.versions_reload_alone:
            return (
                not model.config.HasField("ensemble_scheduling")
                and not model.times.files_are_newer_than(model.times_before)
                and bool(slot.served.source.config == model.config)
            )
        return (
            not model.config.HasField("ensemble_scheduling")
            and not model.times.version_is_newer_than(model.times_before, slot.version)
            and same_but_for_versions(slot.served.source.config, model.config)
        )

    def _release(self, slots: Iterable[Slot[LoadedT]]) -> None:
        for slot in slots:
            slot.advance(Event.RELEASED)
            self._end_in_a_thread(slot)

    def _end_in_a_thread(self, slot: Slot[LoadedT]) -> None:
        self._unloading += 1
        threading.Thread(target=self._end, args=(slot,), name=f"unload-{slot.id}", daemon=True).start()

    def _end(self, slot: Slot[LoadedT]) -> None:
        """Wait for the version's last request and free what it holds."""
        try:
            if slot.served is not None:
                self._unload_version(slot.served)
        except Exception:  # noqa: BLE001  a model that fails while it is finalized has ended all the same
            _LOG.exception("failed to finalize '%s' version %d", slot.id, slot.version)
        _LOG.info("successfully unloaded '%s' version %d", slot.id, slot.version)
        slot.served = None  # the last reference to the folder of a load with files
        with self._changed:
            slot.advance(Event.ENDED, UNLOADED)
            self._unloading -= 1
            self._changed.notify_all()

    def _publish(self, key: str) -> None:
        """Let requests find the ready versions of one model, and no others."""
        ready = dict(self.ready)
        ready.pop((key, ""), None)
        for slot in self._sorted(self._models[key]):
            if slot.state is State.READY and slot.served is not None:
                ready[key, str(slot.version)] = ready[key, ""] = slot.served
            else:
                ready.pop((key, str(slot.version)), None)
        self.ready = ready
