"""The control routes, on FastAPI: models, health, metrics and keys. Every failure is OpenAI's error object."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from triton_adapter.errors import AdapterError, BadRequestError, InternalServerError
from triton_adapter.proxy import health, models
from triton_adapter.proxy.config.values import Config
from triton_adapter.proxy.deployments import Catalog
from triton_adapter.proxy.http import error_headers, read_headers
from triton_adapter.proxy.keys.auth import Authenticator, Principal, require_admin
from triton_adapter.proxy.keys.routes import INSTEAD, KeyRoutes
from triton_adapter.proxy.keys.store import KeyStore


class Served(Protocol):
    """The parts of the proxy that the routes show."""

    config: Config
    catalog: Catalog
    auth: Authenticator
    store: KeyStore
    created: int

    @property
    def health(self) -> health.HealthCheck: ...
    def running(self) -> AbstractAsyncContextManager[None]: ...
    def metrics_text(self) -> bytes: ...


class ControlRoutes:
    """The handlers; `PATHS` says where they stand."""

    def __init__(self, proxy: Served) -> None:
        self._proxy = proxy

    async def principal(self, request: Request) -> Principal:
        """Return who is asking."""
        return await self._proxy.auth.principal(read_headers(request.scope))

    async def require_admin(self, request: Request) -> None:
        """Let the master key's holder pass, and anyone if there is no master key."""
        if not self._proxy.auth.open:
            require_admin(await self.principal(request))

    async def models(self, request: Request) -> Any:
        return models.list_models(self._proxy.catalog, await self.principal(request), self._proxy.created)

    async def model(self, request: Request, name: str) -> Any:
        who = await self.principal(request)
        return models.find_model(self._proxy.catalog, who, name, self._proxy.created)

    async def model_info(self, request: Request) -> Any:
        return models.model_info(self._proxy.catalog, await self.principal(request))

    async def alive(self) -> Any:
        return JSONResponse("I'm alive!")

    async def ready(self) -> Any:
        found = health.readiness(await self._proxy.health.deployments(), keys=self._proxy.store.connected)
        if found["status"] == "unhealthy":
            return JSONResponse(found, 503, {"retry-after": "1"})
        return found

    async def health(self, request: Request, model: str | None = None) -> Any:
        await self.require_admin(request)
        return health.report(await self._proxy.health.deployments(), model)

    async def metrics(self, request: Request) -> Response:
        if not self._proxy.config.open_metrics:
            await self.require_admin(request)
        return Response(self._proxy.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")


PATHS: Mapping[str, tuple[str, ...]] = {
    "models": ("/v1/models", "/models"),
    "model_info": ("/v1/model/info", "/model/info"),
    "model": ("/v1/models/{name:path}", "/models/{name:path}"),
    "alive": ("/health/liveliness", "/health/liveness"),
    "ready": ("/health/readiness",),
    "health": ("/health",),
    "metrics": ("/metrics",),
}


def control_app(proxy: Served) -> FastAPI:
    """Return FastAPI's part of the proxy; its lifespan runs the proxy."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with proxy.running():
            yield

    app = FastAPI(title="triton-proxy", lifespan=lifespan, openapi_url=None)
    routes = ControlRoutes(proxy)
    for name, paths in PATHS.items():
        for path in paths:
            app.add_api_route(path, getattr(routes, name), methods=["GET", "HEAD"])
    KeyRoutes(proxy.store, routes.principal).add_to(app)
    app.add_exception_handler(AdapterError, _refused)
    app.add_exception_handler(HTTPException, _missing)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(
        Exception, _failed
    )  # Starlette raises it again after this answer, and it is logged
    return app


def not_allowed() -> AdapterError:
    """Return the error for a method that a route does not have."""
    return BadRequestError("This method is not allowed here", status_code=405, code="method_not_allowed")


def _shown(error: AdapterError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return JSONResponse(error.to_dict(), error.status_code, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AdapterError)  # noqa: S101 - FastAPI's handlers are typed by the root
    return _shown(error)


async def _missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 405:
        answer = _shown(not_allowed())
        allowed = (error.headers or {}).get("Allow", "")
        answer.headers["allow"] = ", ".join(sorted(allowed.split(", ")))
        return answer
    if error.status_code == 404:
        return _shown(BadRequestError("There is no such route", status_code=404, code="unknown_url"))
    return _shown(BadRequestError("The request cannot be read", code="invalid_json"))


async def _failed(request: Request, error: Exception) -> Response:
    return _shown(InternalServerError("The proxy failed to answer"))


_CODES = {"extra_forbidden": "unsupported_parameter", "missing": "missing_required_parameter"}


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    kind, where = first["type"], [str(part) for part in first["loc"][1:]]
    if kind == "json_invalid" or not where:
        return _shown(BadRequestError("The request body must be a JSON object", code="invalid_json"))
    name = ".".join(where)[:100]
    code = _CODES.get(kind, "invalid_value")
    message = {
        "unsupported_parameter": f"'{name}' is not supported here{INSTEAD.get(name, '')}",
        "missing_required_parameter": f"Missing required parameter: '{name}'",
    }.get(code, f"'{name}': {first['msg'].removeprefix('Value error, ')}")
    return _shown(BadRequestError(message, param=name, code=code))
