"""The metrics port as one ASGI callable."""

from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.engine.reporters import Reporter
from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http import passing
from triton_emulator.frontends.http.errors import METHOD_NOT_ALLOWED_UNTYPED, NOT_FOUND
from triton_emulator.frontends.metrics.families import Cache, ModelRow
from triton_emulator.frontends.metrics.gpus import GpuReader
from triton_emulator.frontends.metrics.machine import MachineReader
from triton_emulator.frontends.metrics.text import MetricsConfig, render
from triton_emulator.frontends.request_log import log_request
from triton_emulator.frontends.session_path import find_session
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings
from triton_emulator.wire.reply import typed

_TEXT = b"text/plain; charset=utf-8"


class MetricsApp:
    """`GET /metrics`, of a session under `/s/<id>/metrics`; any other path has an empty answer."""

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._root = root
        self._sessions = sessions
        settings = root.settings
        self._machine = MachineReader(settings.metrics_interval_ms, processor=settings.allow_cpu_metrics)
        self._gpus: WeakKeyDictionary[SessionState, GpuReader] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session, path = find_session(scope["raw_path"].decode("latin-1"), self._root, self._sessions)
        if session is not None and session.log_settings.verbose_level:
            log_request(scope["method"], path)
        if session is not None and session.upstream is not None:
            await passing.scrape(session.upstream, path, scope, receive, send)
            return
        if session is None:
            reply = NOT_FOUND
        elif scope["method"] != "GET":
            reply = METHOD_NOT_ALLOWED_UNTYPED
        elif path in ("/metrics", "/metrics/"):
            reply = typed(200, _TEXT, self._body(session))
        else:
            reply = typed(session.personality.other_metrics_paths, _TEXT, b"")
        await send_reply(send, reply)

    def _body(self, session: SessionState) -> bytes:
        settings = session.settings
        config = MetricsConfig.of(
            settings.metrics_config, session.personality, processor=settings.allow_cpu_metrics
        )
        loaded = [served.loaded for served in session.repository.all_served()]
        shows_load = session.personality.has_load_duration
        rows = [
            ModelRow(
                reporter.labels,
                reporter.statistics(),
                sum(model.pending for model in models),
                reporter.caches,
                reporter.summaries,
                models[-1].load_seconds if shows_load else None,
                reporter.first_responses,
            )
            for reporter, models in _by_reporter(loaded).items()
        ]
        counts, stored = session.counts, session.response_cache
        cache = None if stored is None else Cache(stored.utilization, len(stored), counts.cache)
        busy_ns = sum(model.statistics.compute.infer_ns for model in loaded if model.stands_in)
        numbers = _gpu_numbers(settings, [model.config for model in loaded])
        gpus = self._gpus_of(session).read(numbers, busy_ns)
        return render(
            config, rows, counts.failures, self._machine.read(), cache, session.model_metrics.lines, gpus
        )

    def _gpus_of(self, session: SessionState) -> GpuReader:
        """The GPUs of a session. Each session has its own, so its work does not show in another's utilisation."""
        reader = self._gpus.get(session)
        if reader is None:
            reader = self._gpus[session] = GpuReader(session.settings.seed, session.made_ns)
        return reader


def _by_reporter(loaded: Iterable[LoadedModel]) -> dict[Reporter, list[LoadedModel]]:
    found: dict[Reporter, list[LoadedModel]] = {}
    for model in loaded:
        found.setdefault(model.reporter, []).append(model)
    return found


def _gpu_numbers(settings: Settings, configs: Iterable[ModelConfig]) -> Sequence[int]:
    """The GPUs that the machine pretends to have: those of the setting, else those that the loaded models use."""
    if not settings.allow_gpu_metrics:
        return ()
    if settings.simulated_gpus is not None:
        return range(settings.simulated_gpus)
    return sorted(
        {number for config in configs for group in config.proto.instance_group for number in group.gpus}
    )
