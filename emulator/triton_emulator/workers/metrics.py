"""The metrics port of several workers: the parent answers with the sum of all."""

from collections.abc import Awaitable, Callable
from time import monotonic_ns

from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http.errors import NOT_FOUND, untyped_error
from triton_emulator.frontends.metrics.app import other_reply, text_reply
from triton_emulator.frontends.metrics.gpus import GpuReader, shown_gpus
from triton_emulator.frontends.metrics.machine import MachineReader
from triton_emulator.frontends.metrics.readings import Readings
from triton_emulator.frontends.metrics.text import MetricsConfig, render
from triton_emulator.frontends.request_log import log_request
from triton_emulator.frontends.session_path import is_of_a_session
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.personality import personality
from triton_emulator.settings import Settings


def _none_of_their_own(kind: str) -> list[str]:
    """Only Python models have families of their own, and several workers serve none."""
    return []


class WorkersMetrics:
    """As `frontends.metrics.app.MetricsApp`, without sessions. What simulated GPUs did is remembered here alone."""

    def __init__(self, settings: Settings, ask: Callable[[], Awaitable[Readings]]) -> None:
        """`ask` gives the sum of all workers. It raises TritonError where one of them does not answer."""
        self._settings = settings
        self._rules = personality(settings.triton_version, settings.triton_core_version)
        self._ask = ask
        self._config = MetricsConfig.of(
            settings.metrics_config, self._rules, processor=settings.allow_cpu_metrics
        )
        self._machine = MachineReader(settings.metrics_interval_ms, processor=settings.allow_cpu_metrics)
        self._gpus = GpuReader(settings.seed, monotonic_ns())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].decode("latin-1")
        if self._settings.log_verbose > 0:
            log_request(scope["method"], path)
        reply = other_reply(scope["method"], path, self._rules)
        if is_of_a_session(path):
            reply = NOT_FOUND
        elif reply is None:
            try:
                reply = text_reply(self._body(await self._ask()))
            except TritonError as error:
                reply = untyped_error(error, self._rules)
        await send_reply(send, reply)

    def _body(self, readings: Readings) -> bytes:
        gpus = self._gpus.read(shown_gpus(self._settings, readings.gpus), readings.busy_ns)
        machine = self._machine.read()
        return render(self._config, readings.rows, readings.failures, machine, None, _none_of_their_own, gpus)
