"""The metrics port as one ASGI callable."""

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http import passing
from triton_emulator.frontends.http.errors import METHOD_NOT_ALLOWED_UNTYPED, NOT_FOUND
from triton_emulator.frontends.metrics.families import Cache
from triton_emulator.frontends.metrics.gpus import GpuReader, shown_gpus
from triton_emulator.frontends.metrics.machine import MachineReader
from triton_emulator.frontends.metrics.readings import read
from triton_emulator.frontends.metrics.text import MetricsConfig, render
from triton_emulator.frontends.request_log import log_request
from triton_emulator.frontends.session_path import find_session
from triton_emulator.protocol.personality import Personality
from triton_emulator.session.state import SessionState
from triton_emulator.wire.reply import Reply, typed

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
        else:
            other = other_reply(scope["method"], path, session.personality)
            reply = text_reply(self._body(session)) if other is None else other
        await send_reply(send, reply)

    def _body(self, session: SessionState) -> bytes:
        settings, readings = session.settings, read(session)
        config = MetricsConfig.of(
            settings.metrics_config, session.personality, processor=settings.allow_cpu_metrics
        )
        counts, stored = session.counts, session.response_cache
        cache = None if stored is None else Cache(stored.utilization, len(stored), counts.cache)
        numbers = shown_gpus(settings, readings.gpus)
        gpus = self._gpus_of(session).read(numbers, readings.busy_ns)
        own = session.model_metrics.lines
        return render(config, readings.rows, readings.failures, self._machine.read(), cache, own, gpus)

    def _gpus_of(self, session: SessionState) -> GpuReader:
        """The GPUs of a session. Each session has its own, so its work does not show in another's utilisation."""
        reader = self._gpus.get(session)
        if reader is None:
            reader = self._gpus[session] = GpuReader(session.settings.seed, session.made_ns)
        return reader


def other_reply(method: str, path: str, rules: Personality) -> Reply | None:
    """The answer to a request that asks for no metrics; None for one that does."""
    if method != "GET":
        return METHOD_NOT_ALLOWED_UNTYPED
    if path in ("/metrics", "/metrics/"):
        return None
    return typed(rules.other_metrics_paths, _TEXT, b"")


def text_reply(body: bytes) -> Reply:
    """The answer to one that does."""
    return typed(200, _TEXT, body)
