"""The routes that call models: chat completions, completions, embeddings. The hot path, without a framework."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, perf_counter, time
from typing import Any

import orjson

from triton_adapter.call import Call
from triton_adapter.client import AsyncChunks, AsyncClient
from triton_adapter.errors import (
    AdapterError,
    BadRequestError,
    InternalServerError,
    MissingParameterError,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
)
from triton_adapter.proxy.config.values import Config
from triton_adapter.proxy.deployments import Catalog, Deployment, Group, shortened
from triton_adapter.proxy.http import (
    ClientLeft,
    Headers,
    Receive,
    Scope,
    Send,
    error_body,
    error_headers,
    names_header,
    parse_object,
    read_body,
    read_headers,
    request_id,
    respond,
)
from triton_adapter.proxy.keys.auth import Authenticator, Principal, check_budget
from triton_adapter.proxy.keys.key import Key
from triton_adapter.proxy.metrics import Metrics
from triton_adapter.proxy.router import Outcome, Router
from triton_adapter.proxy.watch import Watch

Json = dict[str, Any]
log = logging.getLogger("triton_proxy")
STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Operation:
    """One of the three calls: its name in metrics, and the method of `AsyncClient` that performs it."""

    route: str
    perform: Callable[[AsyncClient], Any]


CHAT = Operation("chat/completions", lambda client: client.chat)
TEXT = Operation("completions", lambda client: client.completion)
EMBED = Operation("embeddings", lambda client: client.embedding)


@dataclass(slots=True)
class Opened:
    """What a deployment answers: a whole `reply`, or a stream of which the first `batch` of chunks has come."""

    call: Call
    reply: Json = field(default_factory=dict)
    chunks: AsyncChunks | None = None
    batch: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as far as they have come."""

    operation: Operation
    id: bytes
    began: float
    principal: Principal | None = None
    label: str = ""
    model: str = ""
    # The last call of a deployment.
    call: Call | None = None
    outcome: Outcome[Opened] | None = None
    started: bool = False
    left: bool = False
    status: int = 200
    tokens: int = 0
    # The key whose limits and budget this request counts against, after it was admitted.
    metered: Key | None = None

    def leave(self) -> None:
        """Note that the client has left."""
        self.left = True


class Inference:
    """Answers the three calls. One per proxy; lives on one event loop."""

    def __init__(
        self, config: Config, client: AsyncClient, catalog: Catalog, router: Router, auth: Authenticator
    ) -> None:
        self.config = config
        self.client = client
        self.catalog = catalog
        self.router = router
        self.auth = auth
        self.metrics: Metrics = router.metrics
        self._methods = {one.route: one.perform(client) for one in (CHAT, TEXT, EMBED)}
        self.running = 0

    async def answer(
        self, operation: Operation, named: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request; `named` is the model that the path names."""
        began = perf_counter()
        headers = read_headers(scope)
        exchange = Exchange(operation, request_id(headers), began)
        self.running += 1
        watch: Watch | None = None
        try:
            exchange.principal = await self.auth.principal(headers)
            body = parse_object(await read_body(scope, receive, headers, self.config.max_body))
            group = self._admit(exchange, body, named)
            watch = Watch(exchange.leave, receive)
            await self._respond(exchange, group, body, send)
        except AdapterError as error:
            await self._refuse(exchange, error, send)
        except ClientLeft:
            exchange.left = True
        except asyncio.CancelledError:
            # Either the client has left, or the proxy is shutting down and its drain time is over.
            if not exchange.left:
                await self._refuse(
                    exchange, ServiceUnavailableError("The proxy is shutting down", retry_after=1), send
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an OpenAI error
            log_surprise(error, exchange.id)
            await self._refuse(exchange, InternalServerError("The proxy failed to answer"), send)
        finally:
            if watch is not None:
                watch.end()
            self.running -= 1
            self._count(exchange)

    def _admit(self, exchange: Exchange, body: Json, named: str | None) -> Group:
        """Return the group a request is for, after checking that the request may be sent now."""
        limit = self.config.max_parallel_requests
        if limit is not None and self.running > limit:
            raise ServiceUnavailableError("The proxy is busy; try again later", retry_after=1)
        model = named if named is not None else body.get("model", self.config.completion_model)
        if model is None:
            raise MissingParameterError("You must provide a model parameter", param="model")
        if not isinstance(model, str):
            raise BadRequestError("'model' must be a string", param="model", code="invalid_type")
        exchange.model = model
        key = exchange.principal.key if exchange.principal is not None else None
        if key is None:
            group = self.catalog.find(model)
            exchange.label = group.label
            return group
        group = self.catalog.find(model, key.aliases)
        if not key.allows(model, group.name, group.label):
            raise PermissionDeniedError(
                f"This API key may not use the model '{shortened(model)}'",
                param="model",
                code="model_not_allowed",
            )
        exchange.label = group.label
        check_budget(key, self.auth.store)
        now = monotonic()
        if refusal := key.meter.refusal(now):
            raise RateLimitError(f"This API key is at its limit of {refusal[0]}", retry_after=refusal[1])
        key.meter.begin(now)
        self.auth.store.use(key, 1, 0)
        exchange.metered = key
        return group

    async def _respond(self, exchange: Exchange, group: Group, body: Json, send: Send) -> None:
        """Open an answer at one of the group's deployments and send it."""
        drop, allowed = (
            _flags(body) if "drop_params" in body or "allowed_openai_params" in body else (False, ())
        )
        outcome = await self.router.open(group, partial(self._open, exchange, body, drop, allowed))
        exchange.outcome = outcome
        opened = outcome.result
        if opened.chunks is not None:
            await self._send_stream(exchange, opened.chunks, opened.batch, send)
            return
        exchange.tokens = self._count_tokens(exchange, opened.reply.get("usage"))
        await respond(send, 200, orjson.dumps(opened.reply), self._headers(exchange))

    async def _open(
        self, exchange: Exchange, body: Json, drop: bool, allowed: tuple[str, ...], deployment: Deployment
    ) -> Opened:
        """Ask one deployment. A stream's first chunks are awaited, as another one can answer until then."""
        entry = deployment.entry
        call = exchange.call = Call(
            exchange.model,
            exchange.id.decode(),
            drop or entry.drop_params,
            (*entry.allowed_params, *allowed),
        )
        asked = {**entry.defaults, **body} if entry.defaults else body
        result = await self._methods[exchange.operation.route](deployment.target, asked, call)
        if not isinstance(result, AsyncChunks):
            return Opened(call, reply=result)
        try:
            return Opened(call, chunks=result, batch=await anext(result, []))
        except BaseException:
            await result.aclose()
            raise

    async def _send_stream(
        self, exchange: Exchange, chunks: AsyncChunks, batch: list[Json], send: Send
    ) -> None:
        first = last = perf_counter()
        dumps = orjson.dumps
        try:
            headers = [*STREAM, *self._headers(exchange)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            exchange.started = True
            while batch:
                last = perf_counter()
                data = b"".join([b"data: %b\n\n" % dumps(chunk) for chunk in batch])
                await send({"type": "http.response.body", "body": data, "more_body": True})
                batch = await anext(chunks, [])
            await send({"type": "http.response.body", "body": DONE})
        finally:
            await chunks.aclose()
            usage = chunks.usage()  # a tokenizer that cannot read the text raises here
            written = usage["completion_tokens"]
            exchange.tokens = self._count_tokens(exchange, usage)
            self.metrics.first.observe((exchange.label,), first - exchange.began)
            if written > 1:
                self.metrics.each.observe((exchange.label,), (last - first) / (written - 1))

    def _headers(self, exchange: Exchange) -> Headers:
        spent = int((perf_counter() - exchange.began) * 1000)
        found = [(b"x-request-id", exchange.id), (b"openai-processing-ms", b"%d" % spent)]
        if outcome := exchange.outcome:
            found += [
                (b"x-litellm-call-id", exchange.id),
                (b"x-litellm-model-id", outcome.deployment.entry.id.encode()),
                (b"x-litellm-attempted-retries", b"%d" % outcome.retries),
                (b"x-litellm-attempted-fallbacks", b"%d" % outcome.fallbacks),
            ]
            if dropped := outcome.result.call.dropped:
                found.append((b"x-litellm-dropped-params", names_header(dropped)))
        if exchange.principal is not None and exchange.principal.key is not None:
            found += exchange.principal.key.meter.headers(monotonic())
        return found

    async def _refuse(self, exchange: Exchange, error: AdapterError, send: Send) -> None:
        exchange.status = error.status_code
        if error.status_code >= 500:
            log.warning(
                "%s %s for model %s: %s",
                error.status_code,
                error.code or error.type,
                exchange.label or "?",
                exchange.id.decode(),
            )
        body = error_body(error)
        if exchange.started:
            await send({"type": "http.response.body", "body": b"data: %b\n\n" % body})
            return
        await respond(send, error.status_code, body, [*error_headers(error), *self._headers(exchange)])

    def _count_tokens(self, exchange: Exchange, usage: Json | None) -> int:
        if usage is None:
            return 0
        values, label = self.metrics.tokens.values, exchange.label
        prompt, written = usage["prompt_tokens"], usage.get("completion_tokens", 0)
        values[label, "prompt"] += prompt
        if written:
            values[label, "completion"] += written
        total: int = prompt + written
        return total

    def _left_asked(self, exchange: Exchange) -> bool:
        """Tell whether the client left after Triton was asked and before its answer; count the tokens until then."""
        if exchange.outcome is not None or exchange.status != 200 or exchange.call is None:
            return False
        if exchange.call.usage is None:
            return False
        exchange.tokens = self._count_tokens(exchange, exchange.call.usage())
        return True

    def _count(self, exchange: Exchange) -> None:
        metrics, route = self.metrics, exchange.operation.route
        status = "499" if exchange.left else str(exchange.status)
        metrics.requests.values[route, exchange.label, status] += 1
        spent = perf_counter() - exchange.began
        metrics.duration.observe((route, exchange.label), spent)
        if log.isEnabledFor(logging.INFO):
            model, identifier = exchange.label or "?", exchange.id.decode()
            log.info("%s %s %s in %.1f ms: %s", status, route, model, 1000 * spent, identifier)
        used = exchange.outcome is not None or self._left_asked(exchange)
        if exchange.outcome is not None:
            self.router.done(exchange.outcome, exchange.tokens)
        if (key := exchange.metered) is not None:
            key.meter.end(exchange.tokens)
            # A request that failed does not count against the budget. One whose client left made Triton work.
            self.auth.store.use(key, 0 if used else -1, exchange.tokens)


def _flags(body: Json) -> tuple[bool, tuple[str, ...]]:
    """Take LiteLLM's two flags out of a body: whether to drop parameters, and which to send on."""
    drop, allowed = body.pop("drop_params", None) or False, body.pop("allowed_openai_params", None) or []
    if not isinstance(drop, bool):
        raise BadRequestError("'drop_params' must be a boolean", param="drop_params", code="invalid_type")
    if not isinstance(allowed, list) or not all(isinstance(name, str) for name in allowed):
        raise BadRequestError(
            "'allowed_openai_params' must be a list of strings",
            param="allowed_openai_params",
            code="invalid_type",
        )
    return drop, tuple(allowed)


def log_surprise(error: BaseException, identifier: bytes) -> None:
    """Log an unexpected failure of a request."""
    log.error("%s: %s", place_of(error), identifier.decode())


def place_of(error: BaseException) -> str:
    """Return an unexpected error's type and line, never its text, which may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {place}"


def now_seconds() -> int:
    """Return the seconds since 1970, as OpenAI's `created` counts them."""
    return int(time())
