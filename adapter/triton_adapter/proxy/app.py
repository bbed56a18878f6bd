"""The proxy's ASGI application. Completions and embeddings are answered without a framework, the rest by FastAPI."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from urllib.parse import unquote

from starlette.middleware.cors import CORSMiddleware

from triton_adapter.client import AsyncClient
from triton_adapter.errors import AdapterError, InternalServerError
from triton_adapter.proxy.config.values import Config
from triton_adapter.proxy.control import control_app, not_allowed
from triton_adapter.proxy.deployments import Catalog
from triton_adapter.proxy.health import HealthCheck
from triton_adapter.proxy.http import (
    ClientLeft,
    Message,
    Receive,
    Scope,
    Send,
    error_body,
    error_headers,
    parse_object,
    read_body,
    read_headers,
    request_id,
    respond,
)
from triton_adapter.proxy.inference import (
    CHAT,
    EMBED,
    TEXT,
    Inference,
    Operation,
    log_surprise,
    now_seconds,
    place_of,
)
from triton_adapter.proxy.keys.auth import Authenticator
from triton_adapter.proxy.keys.file import StoreError
from triton_adapter.proxy.keys.store import KeyStore
from triton_adapter.proxy.metrics import Metrics
from triton_adapter.proxy.router import Router

log = logging.getLogger("triton_proxy")
OPERATIONS = {operation.route: operation for operation in (CHAT, TEXT, EMBED)}
HOT = {f"{prefix}/{route}": operation for prefix in ("", "/v1") for route, operation in OPERATIONS.items()}
_NAMED = re.compile(
    r"(?:/v1)?/(?:engines|openai/deployments)/(?P<model>.+?)/(?P<route>chat/completions|completions|embeddings)"
)
# Seconds between two writes of what the keys have used.
SYNC = 1.0
# The largest body of a control route, in bytes: it holds a key, not a prompt.
LARGEST_CONTROL = 1 << 20
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
        self._health: HealthCheck | None = None
        self._control = control_app(self)
        self._cors = CORSMiddleware(
            self._dispatch,
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
            return await self._dispatch(scope, receive, send)
        return await self._control(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation, named = HOT.get(scope["path"]), None
        if operation is None:
            operation, named = route_of(scope)
        if operation is None or self.inference is None:
            await self._serve_control(scope, receive, send)
        elif scope["method"] == "POST":
            await self.inference.answer(operation, named, scope, receive, send)
        else:
            await self._refuse_method(scope, send)

    async def _refuse_method(self, scope: Scope, send: Send) -> None:
        identifier = request_id(read_headers(scope))
        more = ((b"allow", b"POST"), (b"x-request-id", identifier), (b"openai-processing-ms", b"0"))
        await _refuse(send, not_allowed(), *more)

    async def _serve_control(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        identifier = request_id(headers)
        began = monotonic()
        started = False

        async def send_labelled(message: Any) -> None:
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
            if scope["method"] not in ("GET", "HEAD"):
                await self.auth.principal(headers)  # before the body is read
                receive = await _buffered(scope, receive, headers)
            await self._control(scope, receive, send_labelled)
        except ClientLeft:
            pass
        except AdapterError as error:
            await _refuse(send_labelled, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an OpenAI error
            log_surprise(error, identifier)
            if not started:
                await _refuse(send_labelled, InternalServerError("The proxy failed to answer"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the connections to Triton, and keep the key store in step, while the context lasts."""
        async with AsyncClient() as client:
            self.inference = Inference(self.config, client, self.catalog, self.router, self.auth)
            self._health = HealthCheck(client, self.catalog)
            syncing = asyncio.create_task(self._sync())
            try:
                yield
            finally:
                syncing.cancel()
                await asyncio.gather(syncing, return_exceptions=True)
                await self._health.close()
                try:
                    await self.store.aclose()
                except Exception as error:  # noqa: BLE001 - the proxy stops, whatever it is
                    log.warning("the last uses of keys were not saved: %s", _reason(error))

    @property
    def health(self) -> HealthCheck:
        """The health check of the deployments. RuntimeError unless the proxy runs."""
        if self._health is None:
            raise RuntimeError("the proxy does not run: its lifespan has not begun")
        return self._health

    async def _sync(self) -> None:
        told = ""
        while True:
            await self.store.due(SYNC)
            try:
                await self.store.perform(self.store.syncing())
            except Exception as error:  # noqa: BLE001 - the next sync may succeed
                if _reason(error) != told:  # a disk may be full for days
                    told = _reason(error)
                    log.warning("%s", told)
                await asyncio.sleep(SYNC)
            else:
                if told:
                    log.warning("the key store can be used again")
                told = ""

    def metrics_text(self) -> bytes:
        """Return the metrics in Prometheus' text format; the gauges are set first."""
        now = monotonic()
        for one in self.catalog.entries():
            self.metrics.cooling.values[one.entry.name, one.id] = float(one.cooled_until > now)
        if self.inference is not None:
            self.metrics.in_flight.values[()] = self.inference.running
        return self.metrics.text()


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else f"the key store failed: {place_of(error)}"


def tidy(path: str) -> str:
    """Return a path without doubled or trailing slashes, which come from base URLs that end in a slash."""
    return re.sub("/{2,}", "/", path).rstrip("/") or "/"


def route_of(scope: Scope) -> tuple[Operation | None, str | None]:
    """Return the operation of a path that is not in HOT, and the model that the path names."""
    path = tidy(scope["path"])
    if path in HOT:
        return HOT[path], None
    raw = scope.get("raw_path")
    if raw is not None and (found := _NAMED.fullmatch(tidy(raw.decode("latin-1").partition("?")[0]))):
        return OPERATIONS[found["route"]], unquote(found["model"])
    if found := _NAMED.fullmatch(path):
        return OPERATIONS[found["route"]], found["model"]
    return None, None


async def _buffered(scope: Scope, receive: Receive, headers: dict[bytes, bytes]) -> Receive:
    """Read a control request's body, which has a limit; return a `receive` that gives it again."""
    body = await read_body(scope, receive, headers, LARGEST_CONTROL)
    if scope["path"].startswith("/key/"):
        parse_object(body)  # FastAPI also accepts what is not JSON: NaN, half of a surrogate pair
    # The body is read as JSON whatever its content type: curl's default is a form.
    scope["headers"] = [
        *((name, value) for name, value in scope["headers"] if name != b"content-type"),
        (b"content-type", b"application/json"),
    ]
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, error: AdapterError, *more: tuple[bytes, bytes]) -> None:
    await respond(send, error.status_code, error_body(error), [*error_headers(error), *more])
