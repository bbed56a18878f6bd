"""The metrics port as one ASGI callable."""

from typing import Any

from triton_emulator.frontends.http.errors import METHOD_NOT_ALLOWED_UNTYPED
from triton_emulator.frontends.http.generate import Receive, Send
from triton_emulator.frontends.metrics.machine import MachineReader
from triton_emulator.frontends.metrics.text import ModelRow, render
from triton_emulator.wire.reply import typed
from triton_emulator.world import World

_TEXT = b"text/plain; charset=utf-8"


class MetricsApp:
    """`GET /metrics`; 2.51 answers any other path with an empty 200."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._machine = MachineReader(world.settings.metrics_interval_ms)

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
        rows = [
            ModelRow(served.name, served.version, served.loaded.statistics, served.loaded.pending)
            for served in self._world.repository.all_served()
        ]
        return render(rows, self._machine.read(), self._world.model_metrics.lines)
