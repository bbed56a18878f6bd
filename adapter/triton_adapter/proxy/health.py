"""Health: alive, ready, and how each deployment is. Triton is asked whether it is ready; nothing is ever generated."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from triton_adapter.client import AsyncClient
from triton_adapter.errors import AdapterError
from triton_adapter.proxy.config.values import ModelEntry
from triton_adapter.proxy.deployments import Catalog
from triton_adapter.steps import HttpReply
from triton_adapter.target import Target
from triton_adapter.triton.discovery import model_path, read_document

Json = dict[str, Any]
# Seconds to wait for Triton's answer.
PATIENCE = 2.0
# Seconds for which Triton's answer is kept: readiness is public, and may be asked for at any rate.
KEPT = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """How one deployment is; `reason` says why not, without an address."""

    entry: ModelEntry
    reason: str | None = None

    @property
    def ready(self) -> bool:
        return self.reason is None


class HealthCheck:
    """Asks every deployment's Triton whether the model is ready."""

    def __init__(self, client: AsyncClient, catalog: Catalog) -> None:
        self._client = client
        self._catalog = catalog
        self._asking: asyncio.Task[list[Health]] | None = None
        self._asked = float("-inf")

    async def deployments(self) -> list[Health]:
        """Return how every deployment is. Callers at the same time share one answer."""
        now = monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked > KEPT):
            self._asked = now
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask_all(self) -> list[Health]:
        pairs = [(one.entry, one.target) for one in self._catalog.entries()]
        # A pattern names no model, so its server is asked whether it is ready.
        servers = [
            (entry, entry.make_target(entry.model.replace("*", "x"))) for entry in self._catalog.wildcards()
        ]
        return await asyncio.gather(
            *(self._ask(entry, target, self._model) for entry, target in pairs),
            *(self._ask(entry, target, self._server) for entry, target in servers),
        )

    async def _ask(
        self, entry: ModelEntry, target: Target, ask: Callable[[Target], Awaitable[str | None]]
    ) -> Health:
        try:
            return Health(entry, await ask(target))
        except AdapterError as error:
            return Health(entry, target.hide(error.message))

    async def _model(self, target: Target) -> str | None:
        path = model_path(target.model, target.version)
        status = (await self._fetch(target, f"{path}/ready")).status
        if status == 200:
            return None
        # With a bare /generate the model may have another name on the server, or there is no /v2.
        if target.api_base.bare is not None:
            status = (await self._fetch(target, "/v2/health/ready")).status
            return None if status in (404, 405) else _reason(status)
        if status not in (401, 403):
            # Raises what a call would raise.
            read_document(await self._fetch(target, path), target.api_base.server)
        return _reason(status)

    async def _server(self, target: Target) -> str | None:
        status = (await self._fetch(target, "/v2/health/ready")).status
        if status in (404, 405):
            bare = target.api_base.bare is not None
            return None if bare else "no /v2/health is served there: is the path of api_base right?"
        return _reason(status)

    async def _fetch(self, target: Target, path: str) -> HttpReply:
        return await self._client.fetch(replace(target.get(path), timeout=PATIENCE))


def _reason(status: int) -> str | None:
    """Return why what answers a question for readiness with this status is not ready, or None if it is."""
    if status == 200:
        return None
    if status in (401, 403):
        return "Triton refuses the credentials"
    return "Triton says that it is not ready"


def readiness(health: list[Health], *, keys: bool) -> Json:
    """Return the readiness report, which is public: numbers without names. Ready: at least one model can be used."""
    ready = sum(one.ready for one in health)
    status = "healthy" if ready == len(health) else "degraded" if ready else "unhealthy"
    return {
        "status": status,
        "db": "connected" if keys else "Not connected",
        "deployments": {"ready": ready, "not_ready": len(health) - ready},
    }


def report(health: list[Health], model: str | None = None) -> Json:
    """Return LiteLLM's `/health`: every deployment by name, addresses left out."""
    chosen = [one for one in health if model is None or one.entry.name == model]
    shown = {
        state: [
            {"model_name": one.entry.name, "model": one.entry.model, "model_id": one.entry.id}
            | ({"error": one.reason} if one.reason else {})
            for one in chosen
            if one.ready is ready
        ]
        for state, ready in (("healthy_endpoints", True), ("unhealthy_endpoints", False))
    }
    return {
        **shown,
        "healthy_count": len(shown["healthy_endpoints"]),
        "unhealthy_count": len(shown["unhealthy_endpoints"]),
    }
