"""The metrics port as one ASGI callable."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from triton_emulator.frontends.http.errors import METHOD_NOT_ALLOWED_UNTYPED, NOT_FOUND
from triton_emulator.frontends.http.generate import Receive, Send
from triton_emulator.frontends.metrics.families import Cache, ModelRow
from triton_emulator.frontends.metrics.gpus import GpuReader
from triton_emulator.frontends.metrics.machine import MachineReader
from triton_emulator.frontends.metrics.text import MetricsConfig, render
from triton_emulator.frontends.session_path import find_world
from triton_emulator.session.world import World
from triton_emulator.wire.reply import typed

_TEXT = b"text/plain; charset=utf-8"


class MetricsApp:
    """`GET /metrics`, of a session under `/s/<id>/metrics`; 2.51 answers any other path with an empty 200."""

    def __init__(self, world: World, sessions: Mapping[str, World]) -> None:
        self._world = world
        self._sessions = sessions
        settings = world.settings
        self._machine = MachineReader(settings.metrics_interval_ms, processor=settings.allow_cpu_metrics)
        self._gpus: WeakKeyDictionary[World, GpuReader] = WeakKeyDictionary()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        world, path = find_world(scope["raw_path"].decode("latin-1"), self._world, self._sessions)
        if world is None:
            reply = NOT_FOUND
        elif scope["method"] != "GET":
            reply = METHOD_NOT_ALLOWED_UNTYPED
        elif path in ("/metrics", "/metrics/"):
            reply = typed(200, _TEXT, self._body(world))
        else:
            reply = typed(200, _TEXT, b"")
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _body(self, world: World) -> bytes:
        settings = world.settings
        config = MetricsConfig.of(settings.metrics_config, processor=settings.allow_cpu_metrics)
        loaded = [served.loaded for served in world.repository.all_served()]
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
        stored = world.response_cache
        cache = None if stored is None else Cache(stored.utilization, len(stored), world.cache_counts)
        busy_ns = sum(model.statistics.compute.infer_ns for model in loaded if model.stands_in)
        gpus = self._gpus_of(world).read(busy_ns)
        return render(
            config, rows, world.failures, self._machine.read(), cache, world.model_metrics.lines, gpus
        )

    def _gpus_of(self, world: World) -> GpuReader:
        """Each session has GPUs of its own: the work of one says nothing of another's."""
        reader = self._gpus.get(world)
        if reader is None:
            settings = world.settings
            count = settings.simulated_gpus if settings.allow_gpu_metrics else 0
            reader = self._gpus[world] = GpuReader(count, settings.seed, world.made_ns)
        return reader
