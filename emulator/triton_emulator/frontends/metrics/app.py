"""The metrics port as one ASGI callable."""

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http.errors import METHOD_NOT_ALLOWED_UNTYPED, NOT_FOUND
from triton_emulator.frontends.metrics.families import Cache, ModelRow
from triton_emulator.frontends.metrics.gpus import GpuReader
from triton_emulator.frontends.metrics.machine import MachineReader
from triton_emulator.frontends.metrics.text import MetricsConfig, render
from triton_emulator.frontends.session_path import find_session
from triton_emulator.session.state import SessionState
from triton_emulator.wire.reply import typed

_TEXT = b"text/plain; charset=utf-8"


class MetricsApp:
    """`GET /metrics`, of a session under `/s/<id>/metrics`; 2.51 answers any other path with an empty 200."""

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._root = root
        self._sessions = sessions
        settings = root.settings
        self._machine = MachineReader(settings.metrics_interval_ms, processor=settings.allow_cpu_metrics)
        self._gpus: WeakKeyDictionary[SessionState, GpuReader] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session, path = find_session(scope["raw_path"].decode("latin-1"), self._root, self._sessions)
        if session is None:
            reply = NOT_FOUND
        elif scope["method"] != "GET":
            reply = METHOD_NOT_ALLOWED_UNTYPED
        elif path in ("/metrics", "/metrics/"):
            reply = typed(200, _TEXT, self._body(session))
        else:
            reply = typed(200, _TEXT, b"")
        await send_reply(send, reply)

    def _body(self, session: SessionState) -> bytes:
        settings = session.settings
        config = MetricsConfig.of(settings.metrics_config, processor=settings.allow_cpu_metrics)
        loaded = [served.loaded for served in session.repository.all_served()]
        rows = [
            ModelRow(
                model.metric_labels,
                model.statistics,
                model.pending,
                model.config.proto.response_cache.enable,
                model.summaries,
            )
            for model in loaded
        ]
        counts, stored = session.counts, session.response_cache
        cache = None if stored is None else Cache(stored.utilization, len(stored), counts.cache)
        busy_ns = sum(model.statistics.compute.infer_ns for model in loaded if model.stands_in)
        gpus = self._gpus_of(session).read(busy_ns)
        return render(
            config, rows, counts.failures, self._machine.read(), cache, session.model_metrics.lines, gpus
        )

    def _gpus_of(self, session: SessionState) -> GpuReader:
        """The GPUs of a session. Each session has its own, so its work does not show in another's utilisation."""
        reader = self._gpus.get(session)
        if reader is None:
            settings = session.settings
            count = settings.simulated_gpus if settings.allow_gpu_metrics else 0
            reader = self._gpus[session] = GpuReader(count, settings.seed, session.made_ns)
        return reader
