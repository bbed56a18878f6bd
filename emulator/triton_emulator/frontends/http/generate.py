"""`generate` and `generate_stream`: one JSON object in, one out, or one server-sent event per response.

2.51: an error before the model has the request is a JSON error like any other. A first response with an error is a 400,
whatever its code. A later error is an event in a 200 stream, which continues.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from triton_emulator.frontends.asgi import Receive
from triton_emulator.frontends.http.errors import body as error_body
from triton_emulator.frontends.http.errors import typed_error
from triton_emulator.frontends.http.request import Handler, Request
from triton_emulator.frontends.threads import LARGE, is_large, run_in_thread
from triton_emulator.inference import HTTP_GENERATE, HTTP_GENERATE_STREAM, Exchange, Operation
from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.protocol.generate import map_generate, render_generate
from triton_emulator.protocol.json_access import parse_document
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.wire.reply import JSON_TYPE, Headers, Reply

#: no Content-Length: 2.51 sends these answers in chunks
_JSON: Headers = ((b"Content-Type", JSON_TYPE),)
_EVENTS: Headers = ((b"Content-Type", b"text/event-stream; charset=utf-8"),)
_NOT_ONE = (
    b'{"error":"generate expects model to produce exactly 1 response, use generate stream for model that generates '
    b'various number of responses"}'
)


def _read(body: bytes, exchange: Exchange) -> InferRequest:
    return map_generate(parse_document(body), exchange.name, exchange.model.inputs)


def _render(response: InferResponse) -> tuple[int, bytes]:
    """The status and the JSON of one response."""
    error = response.error
    if error is None:
        try:
            return 200, render_generate(response)
        except TritonError as fault:
            error = fault
    return 400, error_body(error)


def _start_events(status: int) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": _EVENTS}


async def _single(exchange: Exchange, request: Request) -> None:
    found: list[tuple[int, bytes]] = []
    final = False
    while not final:
        response, final = await exchange.next()
        if response is not None:
            found.append(await run_in_thread(_render, response) if is_large(response) else _render(response))
    status, body = found[0] if found else (200, _NOT_ONE)
    await request.reply(Reply(status, _JSON, body if len(found) == 1 else _NOT_ONE))


async def _stream(exchange: Exchange, request: Request) -> None:
    send = request.send
    watcher: asyncio.Task[None] | None = None
    started = final = False
    try:
        while not final:
            response, final = await exchange.next()
            if response is None:
                continue
            status, body = await run_in_thread(_render, response) if is_large(response) else _render(response)
            if not started:
                started = True
                await send(_start_events(status))
            await send({"type": "http.response.body", "body": b"data: %b\n\n" % body, "more_body": True})
            if watcher is None and not final:
                # 2.51 notices that a client has disconnected only after it has sent the first event
                watcher = asyncio.create_task(_cancel_on_disconnect(exchange, request.receive))
        if not started:
            await send(_start_events(200))
        await send({"type": "http.response.body", "body": b""})
    finally:
        if watcher is not None:
            watcher.cancel()


async def _cancel_on_disconnect(exchange: Exchange, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.cancel()


def _handler(
    operation: Operation, answer: Callable[[Exchange, Request], Coroutine[Any, Any, None]]
) -> Handler:
    """A handler that submits the request to its model; `answer` sends the model's responses.

    An error before the model has the request is answered here.
    """

    async def handle(asked: Request) -> None:
        captures, body = asked.captures, asked.body
        with Exchange(operation, asked.session, captures.name, captures.version) as exchange:
            try:
                exchange.find()
                for key, value in asked.headers:
                    if len(key) == 16 and key.lower() == b"content-encoding" and value != b"identity":
                        raise invalid_arg("Unsupported content-encoding, only 'identity' is supported.")
                large = len(body) > LARGE
                request = await run_in_thread(_read, body, exchange) if large else _read(body, exchange)
                request.model_version = exchange.version
                exchange.submit(request)
            except TritonError as error:
                await asked.reply(typed_error(error))
                return
            await answer(exchange, asked)

    return handle


#: answers with the model's one response
generate = _handler(HTTP_GENERATE, _single)
#: answers with one event for each response
generate_stream = _handler(HTTP_GENERATE_STREAM, _stream)
