"""`generate` and `generate_stream`: one JSON object in, one out, or one server-sent event per response.

2.51: an error before the model has the request is a JSON error like any other. A first response with an error is a 400,
whatever its code. A later error is an event in a 200 stream, which continues.

2.51: the head leaves with the first response. The body of `generate` waits for the final flag all the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from triton_emulator.frontends.asgi import writer_of
from triton_emulator.frontends.http.errors import body as error_body
from triton_emulator.frontends.http.errors import typed_error
from triton_emulator.frontends.http.leaving import watch, while_connected
from triton_emulator.frontends.http.load_metrics import ASKED, load_metrics
from triton_emulator.frontends.http.request import Handler, Request
from triton_emulator.frontends.threads import LARGE, is_large, run_in_thread
from triton_emulator.inference import HTTP_GENERATE, HTTP_GENERATE_STREAM, Exchange, Operation
from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.protocol.generate import map_generate, render_generate
from triton_emulator.protocol.messages import InferRequest, InferResponse, SharedResponse
from triton_emulator.protocol.personality import Personality
from triton_emulator.session.state import SessionState
from triton_emulator.wire.http_cycle import finish
from triton_emulator.wire.reply import JSON_TYPE, Headers, Reply

#: no Content-Length: 2.51 sends these answers in chunks
_JSON: Headers = ((b"Content-Type", JSON_TYPE),)
_EVENTS: Headers = ((b"Content-Type", b"text/event-stream; charset=utf-8"),)
#: the lengths of the headers' names that are read here: comparing the length first avoids a lower() for others
_LENGTHS = frozenset({len(b"content-encoding"), len(ASKED)})
_NOT_ONE = (
    b'{"error":"generate expects model to produce exactly 1 response, use generate stream for model that generates '
    b'various number of responses"}'
)


def _read(asked: Request, exchange: Exchange) -> InferRequest:
    rules = asked.session.personality
    return map_generate(asked.document(), exchange.name, exchange.model.inputs, rules)


def _render(response: InferResponse, rules: Personality) -> tuple[int, bytes]:
    """The status and the JSON of one response."""
    error = response.error
    if error is None:
        try:
            return 200, render_generate(response, rules)
        except TritonError as fault:
            error = fault
    return 400, error_body(error)


async def _rendered(response: InferResponse, rules: Personality) -> tuple[int, bytes]:
    """The same; a large response is rendered in a thread."""
    return await run_in_thread(_render, response, rules) if is_large(response) else _render(response, rules)


def _start(status: int, headers: Headers) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _headers(session: SessionState, form: bytes | None, content_type: Headers) -> Headers:
    """The headers of an answer. `form` is the form in which the client asks for the load, None where it does not."""
    before = session.personality.generate_head
    if form is not None:
        before = (*before, *load_metrics(session, form))
    return (*before, *content_type) if before else content_type


async def _single(exchange: Exchange, request: Request, form: bytes | None) -> None:
    response, final = await while_connected(exchange, request, exchange.next())
    rules = request.session.personality
    status, body = (200, _NOT_ONE) if response is None else await _rendered(response, rules)
    headers = _headers(request.session, form, _JSON)
    if final:
        await request.reply(Reply(status, headers, body))
    else:
        await _single_in_parts(exchange, request, _start(status, headers), body)


async def _single_in_parts(exchange: Exchange, request: Request, head: dict[str, Any], body: bytes) -> None:
    """Send the head now, and the body when the last response has come."""
    await request.send(head)
    await request.send({"type": "http.response.body", "body": b"", "more_body": True})
    watcher = watch(exchange, request)
    try:
        final = False
        while not final:
            another, final = await exchange.next()
            if another is not None:
                body = _NOT_ONE
        await request.send({"type": "http.response.body", "body": body})
    finally:
        watcher.cancel()


def _changed_on_its_way(request: Request) -> bool:
    """Whether a fault may do anything to a piece of the answer, such as to wait before it."""
    return request.entry is not None and request.entry.script is not None


class _Events:
    """The events of a stream after its first one, each written in the turn of the event loop in which it is made.

    To wake a coroutine for each would cost as much as all the rest. What cannot be written at once waits, with all that
    comes after it, for the coroutine: while the client does not read, and while a large event is rendered in a thread.
    An event that many streams have is rendered once, and written by `PieceWriter.write`, without any coroutine.
    """

    __slots__ = ("_busy", "_ended", "_fault", "_piece", "_rules", "_send", "_waiting", "_wake", "_written")

    def __init__(self, request: Request) -> None:
        self._send = request.send
        self._piece = writer_of(request.send)
        self._rules = request.session.personality
        self._waiting: deque[tuple[InferResponse | None, bool]] = deque()
        #: a piece that is being written, as a coroutine that waits, and what it waits for
        self._written: tuple[Any, Any] | None = None
        self._busy = False
        self._ended = False
        self._fault: Exception | None = None
        self._wake: asyncio.Future[None] | None = None

    async def pour(self, exchange: Exchange) -> None:
        """Write until the last response."""
        exchange.pour(self._deliver)
        while True:
            if self._fault is not None:
                raise self._fault
            if self._written is not None:
                written, self._written = self._written, None
                await finish(*written)
                continue
            if self._waiting:
                response, self._ended = self._waiting.popleft()
                if response is not None:
                    _, body = await _rendered(response, self._rules)
                    await self._send(_event(body))
                continue
            if self._ended:
                return
            self._busy = False
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def _deliver(self, response: InferResponse | None, final: bool) -> None:
        if type(response) is SharedResponse and not (self._busy or final) and self._piece is not None:
            event = response.event
            if not event:
                response.event = event = b"data: %b\n\n" % _render(response, self._rules)[1]
            if self._piece(event):
                return
        if self._busy or (
            response is not None and type(response) is not SharedResponse and is_large(response)
        ):
            self._waiting.append((response, final))
            self._rouse()
            return
        if response is not None:
            self._write(response)
        if final:
            self._ended = True
            self._rouse()

    def _write(self, response: InferResponse) -> None:
        """Write an event, as far as that is possible without a wait."""
        try:
            event = b"data: %b\n\n" % _render(response, self._rules)[1]
            work: Any = self._send({"type": "http.response.body", "body": event, "more_body": True})
            awaited = work.send(None)
        except StopIteration:
            return
        except Exception as fault:  # noqa: BLE001  (raised again by `pour`)
            self._fault = fault
        else:
            self._written = work, awaited
        self._rouse()

    def _rouse(self) -> None:
        self._busy = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def _event(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"data: %b\n\n" % body, "more_body": True}


async def _stream(exchange: Exchange, request: Request, form: bytes | None) -> None:
    send, rules = request.send, request.session.personality
    watcher: asyncio.Task[None] | None = None
    started = False
    response, final = await while_connected(exchange, request, exchange.next())
    headers = _headers(request.session, form, _EVENTS)
    try:
        while True:
            if response is not None:
                status, body = await _rendered(response, rules)
                if not started:
                    started = True
                    await send(_start(status, headers))
                await send(_event(body))
                if watcher is None and not final:
                    watcher = watch(exchange, request)
            if final:
                break
            if started and not _changed_on_its_way(request):
                await _Events(request).pour(exchange)
                break
            response, final = await exchange.next()
        if not started:
            await send(_start(200, headers))
        await send({"type": "http.response.body", "body": b""})
    finally:
        if watcher is not None:
            watcher.cancel()


def _handler(
    operation: Operation, answer: Callable[[Exchange, Request, bytes | None], Coroutine[Any, Any, None]]
) -> Handler:
    """A handler that submits the request to its model; `answer` sends the model's responses.

    An error before the model has the request is answered here.
    """

    async def handle(asked: Request) -> None:
        captures = asked.captures
        form = None
        with Exchange(operation, asked.session, captures.name, captures.version, asked.entry) as exchange:
            head: Headers = ()
            try:
                exchange.find()
                for key, value in asked.headers:
                    if len(key) in _LENGTHS:
                        name = key.lower()
                        if name == b"content-encoding" and value != b"identity":
                            raise invalid_arg("Unsupported content-encoding, only 'identity' is supported.")
                        if name == ASKED and form is None and asked.session.personality.load_metrics_header:
                            form = value
                head = asked.session.personality.generate_head
                large = len(asked.body) > LARGE
                request = await run_in_thread(_read, asked, exchange) if large else _read(asked, exchange)
                request.model_version = exchange.version
                exchange.submit(request)
            except TritonError as error:
                await asked.reply(typed_error(error, asked.session.personality, head))
                return
            await answer(exchange, asked, form)

    return handle


#: answers with the model's one response
generate = _handler(HTTP_GENERATE, _single)
#: answers with one event for each response
generate_stream = _handler(HTTP_GENERATE_STREAM, _stream)
