"""The model repository: which models are served, how they are looked up, loaded, unloaded and listed.

Loading and unloading block and are safe to call from any thread; lookups take no lock.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal

from triton_emulator.protocol.errors import TritonError, internal, invalid_arg, not_found, unavailable
from triton_emulator.protocol.personality import DEFAULT_VERSION, Personality, personality
from triton_emulator.repository import override
from triton_emulator.repository.config.stages import Backends
from triton_emulator.repository.console_table import render_table
from triton_emulator.repository.control import Control
from triton_emulator.repository.folder_reader import FolderReader
from triton_emulator.repository.index import IndexRow, index_rows
from triton_emulator.repository.lifecycle import Lifecycle
from triton_emulator.repository.metadata import metadata_json
from triton_emulator.repository.poll_thread import Poller
from triton_emulator.repository.scanner import Found, identifier, misplaced, scan
from triton_emulator.repository.version_life import UNLOADED, LoadedT, Served, State
from triton_emulator.repository.version_loader import LoadVersion, VersionLoader
from triton_emulator.repository.versions import LATEST, parse_version


@dataclass(frozen=True, slots=True)
class Options:
    """The repository's flags of tritonserver, with tritonserver's defaults."""

    paths: Sequence[Path]
    mode: Literal["none", "poll", "explicit"] = "none"
    #: `--load-model`; `("*",)` loads all
    load_models: Sequence[str] = ()
    strict_readiness: bool = True
    #: `--disable-auto-complete-config`
    strict_config: bool = False
    #: `--model-config-name`
    config_name: str = ""
    #: `--model-load-thread-count`
    load_threads: int = 4
    #: `--model-load-retry-count`
    load_retries: int = 0
    #: `--model-namespacing`: every repository may then have a model of the same name
    namespacing: bool = False
    #: `--repository-poll-secs`, for mode poll; 0 and less leave polling to the caller
    poll_seconds: float = 0
    #: what the emulated version does
    rules: Personality = personality(DEFAULT_VERSION)  # noqa: RUF009  (a frozen value)


_TAKEN_ALONG = "it is not served, as another version of the model does not load"


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """A model, or one version of it, that could not be loaded.

    `model` is its identifier, "" where a repository could not be read. `version` is None where the config could not be
    used or there is no version. `path` is the config file that cannot be used, else the folder of the version, of the
    model or of the repository; None where there is none.
    """

    model: str
    version: int | None
    reason: str
    path: Path | None

    def __str__(self) -> str:
        name = f"model '{self.model}'" if self.model else "model repository"
        version = "" if self.version is None else f" version {self.version}"
        where = "" if self.path is None else f" ({self.path})"
        return f"{name}{version}{where}: {self.reason}"


def unloaded(name: str, version: str = "") -> TritonError:
    """The refusal of a request for a model that was loaded once, or for a version of it."""
    if version:
        return unavailable(f"Request for unknown model: '{name}' version {version} is not at ready state")
    return not_found(f"Request for unknown model: '{name}' has no available versions")


class Repository(Generic[LoadedT]):
    """The models of one session. `start()` reads and loads them."""

    def __init__(
        self,
        options: Options,
        load_version: LoadVersion[LoadedT],
        *,
        unload_version: Callable[[LoadedT], object] = id,
        is_healthy: Callable[[LoadedT], bool] | None = None,
        backends: Backends = Backends(),  # noqa: B008  (a frozen value)
    ) -> None:
        """Nothing is called before `start()`. `unload_version` is called in a thread of its own, all else by a loader.

        `unload_version` returns when the version's last request is done and what it held is released. `is_healthy` says
        whether a loaded version is ready; without it, all are.
        """
        self._options = options
        self._is_healthy = is_healthy
        self._paths = sorted({Path(path) for path in options.paths})
        self._poller: Poller | None = None
        loader = VersionLoader(
            load_version,
            backends,
            lambda key: self._lifecycle.ready[key, ""].labels,
            strict_config=options.strict_config,
            retries=options.load_retries,
            rules=options.rules,
        )
        self._lifecycle: Lifecycle[LoadedT] = Lifecycle(
            loader.load,
            lambda served: unload_version(served.loaded),
            options.load_threads,
            options.rules,
        )
        self._reader = FolderReader(
            self._paths,
            strict_config=options.strict_config,
            config_name=options.config_name,
            namespacing=options.namespacing,
            rules=options.rules,
        )
        self._control = Control(self._reader, self._lifecycle)
        #: versions of models that are in no repository, by their names
        self._added: dict[str, list[Served[LoadedT]]] = {}

    def __repr__(self) -> str:
        paths = ", ".join(map(str, self._paths))
        counts = Counter(slot.state for slots in self._lifecycle.states().values() for slot in slots)
        versions = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
        return f"<{type(self).__name__} {paths}: {versions or 'nothing loaded'}>"

    # --- lookups: no lock ---

    def get(self, name: str, version: str = "", namespace: str = "") -> LoadedT:
        """The newest ready version of a model, or the one named; `namespace` tells those of one name apart.

        Raises NOT_FOUND, UNAVAILABLE or INVALID_ARG with 2.51's text.
        """
        try:
            return self._lifecycle.ready[identifier(namespace, name) if namespace else name, version].loaded
        except KeyError:
            return self._find(name, version, namespace).loaded

    def served(self, name: str, version: str = "") -> Served[LoadedT]:
        """As `get`, with the version's number and its completed config."""
        return self._lifecycle.ready.get((name, version)) or self._find(name, version)

    def all_served(self) -> list[Served[LoadedT]]:
        """Every ready version, by name, then version."""
        ready = self._lifecycle.ready
        return [ready[key] for key in sorted(ready, key=lambda key: (key[0], ready[key].version)) if key[1]]

    def config_json(self, name: str, version: str = "") -> bytes:
        """The body of `GET .../config`. Raises as `get` does."""
        return self.served(name, version).config_json

    def metadata_json(self, name: str, version: str = "") -> bytes:
        """The body of `GET /v2/models/<name>`. Raises as `get` does."""
        served = self.served(name, version)
        return metadata_json(served.config, [served.version] if version else self.ready_versions(name))

    def ready_versions(self, name: str) -> list[int]:
        """The ready versions of a model, ascending; none for an unknown model."""
        try:
            return self._lifecycle.ready_versions(self._identifier(name))
        except TritonError:
            return []

    def is_ready(self, name: str, version: str = "") -> bool:
        """Whether a model's version answers requests. Raises INVALID_ARG for a version that is none.

        Versions since 2.71 raise as `get` does.
        """
        served = self._lifecycle.ready.get((name, version))
        if served is not None:
            return self._is_healthy is None or self._is_healthy(served.loaded)
        parse_version(version)
        try:
            served = self._find(name, version)
        except TritonError:
            if self._options.rules.tells_why_no_model_is_ready:
                raise
            return False
        return self._is_healthy is None or self._is_healthy(served.loaded)

    def ready(self) -> bool:
        """Whether the server is ready: with strict readiness, whether every model that it should serve is ready.

        2.51: models that were unloaded on request do not count, nor do models that could not be polled.
        """
        if not self._options.strict_readiness:
            return True
        rules, healthy = self._options.rules, self._is_healthy
        return all(
            slots and all(slot.state is State.READY or slot.reason == UNLOADED for slot in slots)
            for slots in self._lifecycle.states().values()
        ) and not (
            rules.server_asks_models
            and healthy is not None
            and not all(healthy(served.loaded) for served in self.all_served())
        )

    def _find(self, name: str, version: str, namespace: str = "") -> Served[LoadedT]:
        wanted = parse_version(version)
        key = identifier(namespace, name) if namespace else self._identifier(name)
        slots = self._lifecycle.slots(key)
        unknown = f"Request for unknown model: '{key}'"
        if slots is None:
            raise not_found(f"{unknown} is not found")
        served = self._lifecycle.ready.get((key, "" if wanted == LATEST else str(wanted)))
        if served is not None:
            return served
        if wanted != LATEST and all(slot.version != wanted for slot in slots):
            raise not_found(f"{unknown} version {wanted} is not found")
        raise unloaded(key, "" if wanted == LATEST else str(wanted))

    def _identifier(self, name: str) -> str:
        """The identifier of the one model of a name. Raises where namespacing makes it none or several."""
        if not self._options.namespacing or name in self._added:
            return name
        ids = self._control.identifiers.get(name)
        if ids is None:
            raise invalid_arg(f"Request for unknown model: '{name}' is not found")
        if not ids:
            raise not_found(f"Identifier of model '{name}' is not found in global map")
        if len(ids) > 1:
            raise invalid_arg(
                f"There are {len(ids)} identifiers of model '{name}' in global map, "
                "model namespace must be provided to resolve ambiguity."
            )
        return next(iter(ids))

    # --- what there is ---

    def index(self, *, ready: bool = False) -> list[IndexRow]:
        """The repository index; with `ready` only what answers requests. Raises INTERNAL if a repository has gone."""
        found, duplicates, unreadable = scan(self._paths, namespacing=self._options.namespacing)
        for error in unreadable.values():
            raise error
        there = {folder.id for folder in found}
        found += [Found("", name, Path()) for name in self._added if name not in there]
        return index_rows(found, duplicates, self._lifecycle.states(), ready=ready)

    def status_rows(self) -> list[tuple[str, str, str]]:
        """(model, version, status) as tritonserver's start-up table lists them."""
        rows = []
        for name, slots in self._lifecycle.states().items():
            if not slots:
                rows.append((name, "-", "Not loaded: No model version was found"))
            for slot in slots:
                status = f"{slot.state.value}: {slot.reason}" if slot.reason else slot.state.value
                rows.append((name, str(slot.version), status))
        return rows

    def status_table(self) -> str:
        """Tritonserver's start-up table of models."""
        return render_table(("Model", "Version", "Status"), self.status_rows())

    def failures(self) -> list[ModelFailure]:
        """The models that were to be loaded and are not served, by their identifiers."""
        failures = [
            ModelFailure(problem.model, None, problem.text.strip(), problem.path or self._control.folder(key))
            for key, problem in self._reader.problems.items()
        ]
        states = self._lifecycle.states()
        for key in self._control.ids:
            folder = self._control.folder(key)
            slots = states.get(key)
            if slots is not None and not slots:
                failures.append(ModelFailure(key, None, "it has no version folder, such as 1", folder))
            for slot in slots or ():
                if slot.state is not State.READY:
                    # 2.51: one version that fails takes the versions loaded with it along
                    released = slot.state is State.UNLOADING or slot.reason == UNLOADED
                    reason = _TAKEN_ALONG if released else slot.reason.strip()
                    at = folder and folder / str(slot.version)
                    failures.append(ModelFailure(key, slot.version, reason, at))
        return sorted(failures, key=lambda failure: (failure.model, failure.version or 0))

    @property
    def problems(self) -> Mapping[str, str]:
        """Why a model could not be read or checked, by its identifier ("" for a repository). Such a model has no status
        row.
        """
        return {problem.model: problem.text for problem in self._reader.problems.values()}

    def has_folder(self, name: str) -> bool:
        """Whether a repository has a folder of that name, whatever has become of it."""
        found, duplicates, _ = scan(self._paths, namespacing=self._options.namespacing)
        return any(folder.name == name for folder in (*found, *duplicates.values()))

    # --- what changes it ---

    def add(self, served: Served[LoadedT]) -> None:
        """Serve a version of a model that is in no repository."""
        others = [each for each in self._added.get(served.name, ()) if each.version != served.version]
        self._added = {**self._added, served.name: [*others, served]}
        self._lifecycle.add(served.name, served)

    def remove(self, name: str) -> Sequence[Served[LoadedT]]:
        """Serve a model no longer that was added. Returns its versions."""
        added = dict(self._added)
        versions = added.pop(name, [])
        self._added = added
        self._lifecycle.remove(name, versions)
        return versions

    def start(self) -> TritonError | None:
        """Load what the control mode asks for; the error that stops a server with `--exit-on-error`, or None.

        Raises TritonError for options that contradict each other or a repository that is no folder.
        """
        for path in self._paths:
            if not path.exists():
                raise internal(f"failed to stat file {path}")
            if not path.is_dir():
                raise invalid_arg("repository path is not a valid directory")
            if text := misplaced(path):
                self._reader.report_repository(path, text)
        wanted = set(self._options.load_models)
        if self._options.mode != "explicit" or wanted == {"*"}:
            complete = self._control.load_all()
        elif "*" in wanted:
            raise invalid_arg("Wildcard model name '*' must be the ONLY startup model if specified at all.")
        else:
            complete, _ = self._control.load({name: {} for name in wanted})
        states = self._lifecycle.states()
        if self._options.mode == "poll" and self._options.poll_seconds > 0:
            self._poller = Poller(self.poll, self._options.poll_seconds)
            self._poller.start()
        served = all(
            states.get(name) and all(slot.state is State.READY for slot in states[name])
            for name in self._control.ids
        )
        return None if complete and served else internal("failed to load all models")

    def poll(self) -> None:
        """Load models that are new or changed, unload those that are gone. Raises UNAVAILABLE in another mode."""
        if self._options.mode != "poll":
            raise unavailable("polling is disabled")
        self._control.load_all()

    def load(self, name: str, parameters: override.Parameters | None = None) -> None:
        """Load a model and the members of an ensemble, or load it again if it has changed; returns when it is served.

        `parameters` are `config` (a JSON string) and `file:<version>/<path>` (the file's bytes).
        Raises TritonError; a version that was served before is still served then.
        """
        self._require_explicit()
        override.check_model_name(name, self._options.rules)
        complete, errors = self._control.load({name: parameters or {}})
        wanted = self._control.identifiers.get(name, frozenset())
        if failed := [
            f"load failed for model '{key}': {errors[key]}\n" for key in sorted(wanted) if errors.get(key)
        ]:
            raise invalid_arg("".join(failed))
        if not complete:
            raise internal(f"failed to load '{name}', failed to poll from model repository")
        if not any(self._lifecycle.ready_versions(key) for key in wanted):
            raise internal(f"failed to load '{name}', no version is available")

    def unload(self, name: str, *, unload_dependents: bool = False) -> None:
        """Stop serving a model, with `unload_dependents` the members that came with it too; no error if it is unknown.

        Returns at once: the versions are UNLOADING until their last request is done.
        """
        self._require_explicit()
        self._control.unload(name, unload_dependents=unload_dependents)

    @property
    def loading(self) -> bool:
        """Whether a load is under way."""
        return self._lifecycle.loading

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until every version asked to unload has gone; False when `timeout` seconds did not suffice."""
        return self._lifecycle.wait_idle(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Unload everything and wait; False when `timeout` seconds did not suffice.

        Nothing is loaded after that. A version that is still loading is dropped when its loading ends.
        """
        self._lifecycle.close()
        idle = self.wait_idle(timeout)
        if self._poller is not None:
            self._poller.stop(None if idle else 0)
        return idle

    def _require_explicit(self) -> None:
        if self._options.mode != "explicit":
            # 2.51: the same words in mode none
            raise unavailable("explicit model load / unload is not allowed if polling is enabled")
