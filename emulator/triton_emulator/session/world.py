"""Every mutable thing of one session: models, shared memory, the settings that clients change, statistics.

`reset` is to make a new one. It ties the repository to the engine and the backends by giving it a loader.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns

from triton_emulator import builtin
from triton_emulator.backends import python as python_backend
from triton_emulator.backends.ensemble.executor import EnsembleExecutor
from triton_emulator.backends.python.completion import auto_complete
from triton_emulator.backends.standins import choice as standin
from triton_emulator.backends.standins.inline import Hooks as StandinHooks
from triton_emulator.backends.standins.settings import FILE_NAME, SettingsError
from triton_emulator.backends.standins.settings import Settings as ModelSettings
from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.executor import Executor, ModelDefinition
from triton_emulator.engine.loaded_model import LoadedModel, metric_labels
from triton_emulator.engine.mailbox import Mailbox
from triton_emulator.engine.reshape import reshape_inputs, reshaping
from triton_emulator.engine.response_cache import ResponseCache
from triton_emulator.engine.statistics import CacheCounts, FailureCounts, RequestEvent
from triton_emulator.engine.validation import validate
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.repository.config.backend_update import update_config
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.labels import Labels
from triton_emulator.repository.repository import Options, Repository
from triton_emulator.repository.schema import Proto
from triton_emulator.repository.versions import LATEST, parse_version
from triton_emulator.session.log_settings import LogSettings
from triton_emulator.session.model_server import ModelServer
from triton_emulator.session.shared_memory import CudaSharedMemory, SystemSharedMemory
from triton_emulator.session.trace import TraceSettings
from triton_emulator.settings import Settings

#: seconds after which a decoupled model that is still at work behind its last response is looked at again
_AGAIN_S = 0.01


class World:
    """One session. Make it on the event loop that will serve it, then `start()` it in a thread."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self.made_ns = monotonic_ns()
        self._thread = threading.get_ident()
        self.mailbox = Mailbox(loop)
        self.system_shared_memory = SystemSharedMemory()
        self.cuda_shared_memory = CudaSharedMemory(self.system_shared_memory)
        self.trace = TraceSettings.of(settings)
        self.log_settings = LogSettings.of(settings)
        self.response_cache = ResponseCache.of(settings.cache_config)
        self.cache_counts = CacheCounts()
        self.failures = FailureCounts()
        self.summarizes = ("summary_latencies", "true") in settings.metrics_config
        self._started = False
        self._standin_hooks = StandinHooks(schedule=loop.call_later)
        #: what Python models count; shown on the metrics port
        self.model_metrics = python_backend.MetricRegistry()
        self._python_hooks = python_backend.Hooks(ModelServer(self), self.model_metrics)
        # absolute, but with links kept: a model may find its files by the link that it was reached through
        paths = [Path(path).absolute() for path in settings.model_repositories] or [builtin.REPOSITORY]
        self._model_settings = _RepositorySettings(settings, paths)
        self._forward = _pattern("http", settings.http_header_forward_pattern)
        _pattern("grpc", settings.grpc_header_forward_pattern)
        self.restricted = bool(settings.http_restricted_apis)
        self.repository: Repository[LoadedModel] = Repository(
            _options(settings, paths),
            self._load_version,
            unload_version=LoadedModel.stop,
            complete_config=self._complete,
            has_backend=self._has_backend,
            has_gpu=lambda config: config.backend != "python",
        )

    # --- models ---

    def _definition(self, name: str, version: int, config: ModelConfig, directory: Path) -> ModelDefinition:
        return ModelDefinition(name, version, config, directory, self._model_settings.of(name, directory))

    def _has_backend(self, name: str, config: Proto, directory: Path) -> bool:
        definition = self._definition(name, 0, ModelConfig.of(config), directory)
        return config.backend == "python" or standin.stands_in(definition)

    def _load_version(
        self, name: str, version: int, config: ModelConfig, directory: Path, labels: Labels
    ) -> LoadedModel:
        definition = self._definition(name, version, config, directory)
        self.failures.open(metric_labels(definition))
        executor: Executor
        if standin.stands_in(definition):
            executor = standin.load(definition, self._standin_hooks)
        elif config.is_ensemble:
            executor = EnsembleExecutor(definition, self)
        else:
            executor = python_backend.load(definition, self._python_hooks)
        return LoadedModel(definition, executor, labels, self)

    def _complete(self, config: Proto, directory: Path, version: int) -> None:
        """What the model's backend adds to its configuration, as Triton's backends do when they load it."""
        definition = self._definition(config.name, version, ModelConfig.of(config), directory)
        if standin.stands_in(definition):
            standin.complete(config)
        elif config.backend == "python" and (completed := auto_complete(definition)) is not None:
            update_config(config, completed)

    def model(self, name: str, version: str, namespace: str = "") -> LoadedModel:
        """The loaded version that a request means ("" for the newest). Raises TritonError."""
        return self.repository.get(name, version, namespace)

    @property
    def ready(self) -> bool:
        return self._started and self.repository.ready()

    def start(self) -> Exception | None:
        """Load the models; returns what `--exit-on-error` would end the server for. Blocks: not on the event loop."""
        error = self.repository.start()
        self._started = True
        return error

    def close(self, timeout: float | None = None) -> bool:
        """Unload everything and let go of what the session holds; False where `timeout` seconds did not suffice.

        Blocks: not on the event loop.
        """
        ended = self.repository.close(timeout)
        self.system_shared_memory.clear()
        return ended

    # --- requests ---

    def prepare(self, model: LoadedModel, request: InferRequest, deliver: Deliver) -> Call:
        """A validated call for `model.scheduler`; `deliver` gets the responses on the event loop. Raises TritonError.

        May be called on any thread.
        """
        batch = validate(request, model.config)
        if model.reshapes_inputs:
            reshape_inputs(request, model.config)
        if model.reshapes_outputs:
            deliver = reshaping(deliver, model.config)
        call = Call(request, model.version, deliver, self.mailbox.post)
        call.thread = self._thread
        call.batch_size = batch
        return call

    def submit(self, model: LoadedModel, request: InferRequest, deliver: Deliver) -> Call:
        """Validate a client's request and send it on its way; who asked calls `finish` when the last byte has gone.

        Raises TritonError. To be called on the event loop.
        """
        call = self.prepare(model, request, deliver)
        model.submit(call)
        return call

    def infer(self, name: str, version: str, request: InferRequest, deliver: Deliver) -> Call:
        """Send a request that comes from a model, not from a client, and count it when its last response is there.

        Raises TritonError. May be called on any thread; `deliver` is called on the event loop.
        """
        model = self.model(name, version)
        call = self.prepare_inner(model, request, deliver)
        if model.scheduler.any_thread or threading.get_ident() == self._thread:
            model.submit(call)
        else:
            self._submit_from_outside(model, call)
        return call

    def _submit_from_outside(self, model: LoadedModel, call: Call) -> None:
        """Submit on the event loop, and raise here what it is refused for."""
        submitted: Future[None] = Future()

        def submit() -> None:
            try:
                model.submit(call)
            except Exception as fault:  # noqa: BLE001  (raised again where it belongs)
                submitted.set_exception(fault)
            else:
                submitted.set_result(None)

        self.loop.call_soon_threadsafe(submit)
        submitted.result()

    def prepare_inner(self, model: LoadedModel, request: InferRequest, deliver: Deliver) -> Call:
        """A validated call that counts itself when its last response is there. Raises TritonError."""

        def count(response: InferResponse | None, final: bool) -> None:
            deliver(response, final)
            if final:
                self.finish(call, model)

        call = self.prepare(model, request, count)
        return call

    def later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Call a function on the event loop after a delay; may be called on any thread. A closed loop calls nothing."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.call_later, delay_s, function)

    def count(self, call: Call, model: LoadedModel) -> None:
        """Count a request that no client waits for; may be called on any thread."""
        event = RequestEvent.of(call)
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._record, event, model)

    def finish(self, call: Call, model: LoadedModel) -> None:
        """Count a request whose last byte has gone, once its model is done with it."""
        if call.executing:
            # 2.51: a decoupled model that raises after its last response has failed
            self.loop.call_later(_AGAIN_S, self.finish, call, model)
            return
        self._record(RequestEvent.of(call), model)

    def _record(self, event: RequestEvent, model: LoadedModel) -> None:
        model.statistics.fold(event)
        if event.failures:
            self.failures.fold(model.metric_labels, event.failures)
        if model.summaries is not None:
            model.summaries.fold(event)
        if event.cache is not None:
            self.cache_counts.fold(event.cache)

    def statistics(self, name: str, version: str) -> list[js.Value]:
        """The entries of `model_stats`: of one version, of a model's ready versions, or with "" of every ready model.

        Raises INVALID_ARG where nothing of that name or version is ready.
        """
        number = parse_version(version)
        served = self.repository.all_served()
        if name:  # 2.51: a version without a name is not looked at
            served = [entry for entry in served if entry.name == name]
            if len({entry.source.id for entry in served}) != 1:  # 2.51: two of one name are none here
                raise invalid_arg(f"requested model '{name}' is not available")
            if number != LATEST:
                served = [entry for entry in served if entry.version == number]
                if not served:
                    raise invalid_arg(f"requested model version is not available for model '{name}'")
        return [entry.loaded.statistics.value(entry.name, entry.version) for entry in served]

    # --- HTTP's flags ---

    def restriction(self, category: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The header that a request to an API of this category lacks, "" where it may pass."""
        for rule in self.settings.http_restricted_apis:
            if category in rule.apis:
                wanted = rule.header.lower().encode()
                given = next((value for key, value in headers if key.lower() == wanted), None)
                if given != rule.value.encode():
                    return rule.header
        return ""

    def forward_headers(self, headers: Iterable[tuple[bytes, bytes]], request: InferRequest) -> None:
        """Make request parameters of the headers that `--http-header-forward-pattern` matches anywhere."""
        if self._forward is None:
            return
        for key, value in headers:
            name = key.decode("latin-1")
            if self._forward.search(name):
                request.parameters[name] = value.decode("utf-8", "surrogateescape")


def _pattern(protocol: str, text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.IGNORECASE) if text else None
    except re.error as fault:
        # 2.51 starts, forwards nothing and complains at every request
        raise invalid_arg(f"--{protocol}-header-forward-pattern is no regular expression: {fault}") from None


def _options(settings: Settings, paths: list[Path]) -> Options:
    mode = settings.model_control_mode
    if mode not in ("none", "poll", "explicit"):
        raise ValueError(f"model_control_mode is none, poll or explicit, not {mode!r}")
    return Options(
        paths=paths,
        mode=mode,  # type: ignore[arg-type]
        load_models=settings.load_models,
        strict_readiness=settings.strict_readiness,
        strict_config=settings.disable_auto_complete_config,
        config_name=settings.model_config_name,
        load_threads=settings.model_load_thread_count,
        load_retries=settings.model_load_retry_count,
        namespacing=settings.model_namespacing,
        poll_seconds=settings.repository_poll_secs,
    )


class _RepositorySettings:
    """A model's entry of the `emulator.yaml` of its repository, or of the file that `--emulator-config` names."""

    def __init__(self, settings: Settings, paths: list[Path]) -> None:
        self._one = _named_file(Path(settings.emulator_config)) if settings.emulator_config else None
        self._by_path = {path: ModelSettings.read(path / FILE_NAME) for path in paths}

    def of(self, name: str, directory: Path) -> dict[str, object]:
        source = self._one or self._by_path.get(directory.parent)
        return source.for_model(name) if source is not None else {}


def _named_file(path: Path) -> ModelSettings:
    if not path.exists():
        raise SettingsError(path, 1, "there is no such file")
    return ModelSettings.read(path)
