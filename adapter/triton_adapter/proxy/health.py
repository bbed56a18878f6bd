"""Health: alive, ready, and how each deployment is. Triton is asked whether it is ready; nothing is ever generated."""

import asyncio
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from triton_adapter.client import AsyncClient
from triton_adapter.errors import AdapterError
from triton_adapter.proxy.config.values import ModelEntry
from triton_adapter.proxy.deployments import Catalog
from triton_adapter.target import Target

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
            *(self._ask(entry, target, f"/v2/models/{target.model}/ready") for entry, target in pairs),
            *(self._ask(entry, target, "/v2/health/ready") for entry, target in servers),
        )

    async def _ask(self, entry: ModelEntry, target: Target, path: str) -> Health:
        try:
            status = await self._status(target, path)
            # With a bare /generate the model may have another name on the server, or there is no /v2.
            if status != 200 and target.api_base.bare is not None:
                status = await self._status(target, "/v2/health/ready")
                status = 200 if status in (404, 405) else status
        except AdapterError as error:
            return Health(entry, error.message)
        if status == 200:
            return Health(entry)
        if status in (401, 403):
            return Health(entry, "Triton refuses the credentials")
        return Health(entry, "Triton says that it is not ready")

    async def _status(self, target: Target, path: str) -> int:
        return (await self._client.fetch(replace(target.get(path), timeout=PATIENCE))).status


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
