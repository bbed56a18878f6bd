"""The metrics port as one ASGI callable."""

from typing import Any

from triton_emulator.frontends.http.errors import METHOD_NOT_ALLOWED_UNTYPED
from triton_emulator.frontends.http.generate import Receive, Send
from triton_emulator.frontends.metrics.families import ModelRow
from triton_emulator.frontends.metrics.machine import MachineReader
from triton_emulator.frontends.metrics.text import MetricsConfig, render
from triton_emulator.wire.reply import typed
from triton_emulator.world import World

_TEXT = b"text/plain; charset=utf-8"


class MetricsApp:
    """`GET /metrics`; 2.51 answers any other path with an empty 200."""

    def __init__(self, world: World) -> None:
        self._world = world
        settings = world.settings
        self._config = MetricsConfig.of(settings.metrics_config, processor=settings.allow_cpu_metrics)
        self._machine = MachineReader(settings.metrics_interval_ms, processor=settings.allow_cpu_metrics)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path = scope["raw_path"]
        if scope["method"] != "GET":
            reply = METHOD_NOT_ALLOWED_UNTYPED
        elif path in (b"/metrics", b"/metrics/"):
            reply = typed(200, _TEXT, self._body())
        else:
            reply = typed(200, _TEXT, b"")
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _body(self) -> bytes:
        world = self._world
        rows = [
            ModelRow(
                model.metric_labels,
                model.statistics,
                model.pending,
                model.config.proto.response_cache.enable,
                model.summaries,
            )
            for model in (served.loaded for served in world.repository.all_served())
        ]
        cache = world.response_cache.statistics() if world.response_cache is not None else None
        return render(
            self._config, rows, world.failures, self._machine.read(), cache, world.model_metrics.lines
        )
