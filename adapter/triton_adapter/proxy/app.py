"""The ASGI application: one callable that answers the three calls itself, and FastAPI for everything else."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Annotated, Any
from urllib.parse import unquote

import orjson
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from triton_adapter.client import AsyncClient
from triton_adapter.errors import AdapterError, BadRequestError, InternalServerError
from triton_adapter.proxy import health, models
from triton_adapter.proxy.auth import Authenticator, Principal, require_admin
from triton_adapter.proxy.config import Config
from triton_adapter.proxy.deployments import Catalog
from triton_adapter.proxy.http import READ, Receive, Scope, Send, error_headers, request_id, respond
from triton_adapter.proxy.inference import CHAT, EMBED, TEXT, Inference, Operation, log_surprise, now_seconds
from triton_adapter.proxy.key_routes import key_routes
from triton_adapter.proxy.keys import KeyStore, StoreError
from triton_adapter.proxy.metrics import Metrics
from triton_adapter.proxy.router import Router

log = logging.getLogger("triton_proxy")
OPERATIONS = {operation.route: operation for operation in (CHAT, TEXT, EMBED)}
HOT = {f"{prefix}/{route}": operation for prefix in ("", "/v1") for route, operation in OPERATIONS.items()}
_NAMED = re.compile(
    r"(?:/v1)?/(?:engines|openai/deployments)/(?P<model>.+?)/(?P<route>chat/completions|completions|embeddings)"
)
# How often what keys used is written down, in seconds.
SYNC = 1.0
SHOWN_HEADERS = ("x-request-id", "openai-processing-ms", "retry-after", "x-litellm-dropped-params")


class Proxy:
    """The whole proxy as one ASGI application. Give it to any ASGI server; the lifespan opens what it needs."""

    def __init__(self, config: Config, store: KeyStore | None = None) -> None:
        self.config = config
        self.store = store or KeyStore(config.database)
        self.metrics = Metrics()
        self.catalog = Catalog(config)
        self.auth = Authenticator(config.master_key, self.store)
        self.router = Router(config.router, self.catalog, self.metrics)
        self.created = now_seconds()
        self.inference: Inference | None = None
        self.health: health.HealthCheck | None = None
        self._control = _control(self)
        self._cors = CORSMiddleware(
            self._answered,
            allow_origins=config.cors_allow_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=SHOWN_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for name, _ in scope["headers"]:
                if name == b"origin":
                    return await self._cors(scope, receive, send)
            return await self._answered(scope, receive, send)
        return await self._control(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation, named = HOT.get(scope["path"]), None
        if operation is None:
            operation, named = route_of(scope)
        if operation is None or self.inference is None:
            await self._controlled(scope, receive, send)
        elif scope["method"] == "POST":
            await self.inference.answer(operation, named, scope, receive, send)
        else:
            await _refuse(scope, send, not_allowed(), [(b"allow", b"POST")])

    async def _controlled(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value for name, value in scope["headers"] if name in READ}
        identifier = request_id(headers)
        began = monotonic()
        started = False

        async def labelled(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                spent = int((monotonic() - began) * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", identifier),
                    (b"openai-processing-ms", b"%d" % spent),
                ]
            await send(message)

        scope["path"] = tidy(scope["path"])
        try:
            await self._control(scope, receive, labelled)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an OpenAI error
            log_surprise(error, identifier)
            if not started:
                await _refuse(scope, labelled, InternalServerError("The proxy failed to answer"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the connections to Triton, and keep the key store in step, while the context lasts."""
        async with AsyncClient() as client:
            self.inference = Inference(self.config, client, self.catalog, self.router, self.auth)
            self.health = health.HealthCheck(client, self.catalog)
            syncing = asyncio.create_task(self._sync())
            try:
                yield
            finally:
                syncing.cancel()
                await asyncio.gather(syncing, return_exceptions=True)
                await self.health.close()
                with suppress(StoreError):
                    self.store.close()

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC)
            try:
                self.store.sync()
            except StoreError as error:
                log.error("%s", error)

    def metrics_text(self) -> bytes:
        """Return the metrics, with those that are read off rather than counted."""
        now = monotonic()
        for one in self.catalog.entries():
            self.metrics.cooling.values[one.entry.name, one.id] = float(one.cooled_until > now)
        if self.inference is not None:
            self.metrics.in_flight.values[()] = self.inference.running
        return self.metrics.text()


def tidy(path: str) -> str:
    """Return a path without the doubled and trailing slashes that base URLs give rise to."""
    return re.sub("/{2,}", "/", path).rstrip("/") or "/"


def route_of(scope: Scope) -> tuple[Operation | None, str | None]:
    """Return the call that an unusual path stands for, and the model it names."""
    path = tidy(scope["path"])
    if path in HOT:
        return HOT[path], None
    raw = scope.get("raw_path")
    if raw is not None and (found := _NAMED.fullmatch(tidy(raw.decode("latin-1").partition("?")[0]))):
        return OPERATIONS[found["route"]], unquote(found["model"])
    if found := _NAMED.fullmatch(path):
        return OPERATIONS[found["route"]], found["model"]
    return None, None


def not_allowed() -> AdapterError:
    return BadRequestError("This method is not allowed here", status_code=405, code="method_not_allowed")


async def _refuse(
    scope: Scope, send: Send, error: AdapterError, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    await respond(
        send, error.status_code, orjson.dumps(error.to_dict()), [*error_headers(error), *(more or [])]
    )


def _control(proxy: Proxy) -> FastAPI:
    """Return FastAPI's part: models, keys, health, metrics."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with proxy.running():
            yield

    app = FastAPI(title="triton-proxy", lifespan=lifespan, docs_url=None, redoc_url=None)
    _errors(app)

    def principal(request: Request) -> Principal:
        return proxy.auth.principal({name: value for name, value in request.scope["headers"] if name in READ})

    who = Annotated[Principal, Depends(principal)]

    @app.get("/v1/models")
    @app.get("/models")
    async def list_models(asking: who) -> Any:
        return models.list_models(proxy.catalog, asking, proxy.created)

    @app.get("/v1/models/{name:path}")
    @app.get("/models/{name:path}")
    async def find_model(asking: who, name: str) -> Any:
        return models.find_model(proxy.catalog, asking, name, proxy.created)

    @app.get("/v1/model/info")
    @app.get("/model/info")
    async def model_info(asking: who) -> Any:
        return models.model_info(proxy.catalog, asking)

    @app.get("/health/liveliness")
    @app.get("/health/liveness")
    async def alive() -> Any:
        return JSONResponse("I'm alive!")

    @app.get("/health/readiness")
    async def ready() -> Any:
        assert proxy.health is not None  # noqa: S101 - set for as long as requests come
        found = health.readiness(await proxy.health.deployments(), keys=proxy.store.connected)
        if found["status"] == "unhealthy":
            return JSONResponse(found, 503, {"retry-after": "1"})
        return found

    @app.get("/health")
    async def all_health(asking: who, model: str | None = None) -> Any:
        if not proxy.auth.open:
            require_admin(asking)
        assert proxy.health is not None  # noqa: S101
        return health.report(await proxy.health.deployments(), model)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        if not proxy.config.open_metrics and not proxy.auth.open:
            require_admin(principal(request))
        return Response(proxy.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.include_router(key_routes(proxy.store, principal))
    return app


def _errors(app: FastAPI) -> None:
    """Answer every failure of a control route with OpenAI's error object."""

    def shown(error: AdapterError) -> Response:
        headers = {name.decode(): value.decode() for name, value in error_headers(error)}
        return JSONResponse(error.to_dict(), error.status_code, headers)

    @app.exception_handler(AdapterError)
    async def refused(request: Request, error: AdapterError) -> Response:
        return shown(error)

    @app.exception_handler(HTTPException)
    async def missing(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            answer = shown(not_allowed())
            answer.headers.update(error.headers or {})
            return answer
        if error.status_code == 404:
            return shown(BadRequestError("There is no such route", status_code=404, code="unknown_url"))
        return shown(BadRequestError("The request cannot be read", code="invalid_json"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        kind, where = first["type"], [str(part) for part in first["loc"][1:]]
        if kind in ("json_invalid", "model_attributes_type") or not where:
            return shown(BadRequestError("The request body must be a JSON object", code="invalid_json"))
        name = ".".join(where)
        code = {"extra_forbidden": "unsupported_parameter", "missing": "missing_required_parameter"}.get(
            kind, "invalid_value"
        )
        message = {
            "unsupported_parameter": f"'{name[:100]}' is not supported here",
            "missing_required_parameter": f"Missing required parameter: '{name}'",
        }.get(code, f"'{name[:100]}': {first['msg']}")
        return shown(BadRequestError(message, param=name[:100], code=code))
