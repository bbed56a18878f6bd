"""`generate` and `generate_stream`: one JSON object in, one out, or one server-sent event per response.

2.51: an error before the model has the request is an ordinary JSON error; a first response with an error is a 400
whatever its code; an error later is an event in a 200 stream, which goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from triton_emulator.engine.call import Call
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.frontends.aside import LARGE, aside, is_large
from triton_emulator.frontends.http.errors import body as error_body
from triton_emulator.frontends.http.errors import typed_error
from triton_emulator.frontends.responses import Responses
from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.protocol.generate import map_generate, render_generate
from triton_emulator.protocol.json_access import parse_document
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.session.world import World
from triton_emulator.wire.reply import JSON_TYPE, Reply

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_EVENT_TYPE = b"text/event-stream; charset=utf-8"
_NOT_ONE = (
    b'{"error":"generate expects model to produce exactly 1 response, use generate stream for model that generates '
    b'various number of responses"}'
)


async def generate(
    world: World,
    name: str,
    version: str,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    send: Send,
    receive: Receive,
    *,
    stream: bool,
) -> Reply | None:
    """Answer through `send` as the responses come, or return the error that kept the request from the model."""
    responses = Responses()
    world.trace.sample(name)  # 2.51: here a request for an unknown model counts as well
    try:
        model = world.model(name, version)
        for key, value in headers:
            if len(key) == 16 and key.lower() == b"content-encoding" and value != b"identity":
                raise invalid_arg("Unsupported content-encoding, only 'identity' is supported.")
        if len(body) > LARGE:
            request = await aside(_read, body, name, model)
        else:
            request = _read(body, name, model)
        request.model_version = version
        call = world.submit(model, request, responses.deliver)
    except TritonError as error:
        return typed_error(error)
    try:
        if stream:
            await _stream(call, responses, send, receive)
        else:
            await _single(responses, send)
    finally:
        call.cancelled = True
        world.finish(call, model)
    return None


def _read(body: bytes, name: str, model: LoadedModel) -> InferRequest:
    return map_generate(parse_document(body), name, model.inputs)


def _render(response: InferResponse) -> tuple[int, bytes]:
    """The status and the JSON of one response."""
    error = response.error
    if error is None:
        try:
            return 200, render_generate(response)
        except TritonError as fault:
            error = fault
    return 400, error_body(error)


def _start(status: int, content_type: bytes) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": ((b"Content-Type", content_type),)}


async def _single(responses: Responses, send: Send) -> None:
    found: list[tuple[int, bytes]] = []
    final = False
    while not final:
        response, final = await responses.next()
        if response is not None:
            found.append(await aside(_render, response) if is_large(response) else _render(response))
    status, body = found[0] if found else (200, _NOT_ONE)
    await send(_start(status, JSON_TYPE))
    await send({"type": "http.response.body", "body": body if len(found) == 1 else _NOT_ONE})


async def _stream(call: Call, responses: Responses, send: Send, receive: Receive) -> None:
    watcher: asyncio.Task[None] | None = None
    started = final = False
    try:
        while not final:
            response, final = await responses.next()
            if response is None:
                continue
            status, body = await aside(_render, response) if is_large(response) else _render(response)
            if not started:
                started = True
                await send(_start(status, _EVENT_TYPE))
            await send({"type": "http.response.body", "body": b"data: %b\n\n" % body, "more_body": True})
            if watcher is None and not final:
                # 2.51 notices that a client has gone only once the first event is out
                watcher = asyncio.create_task(_cancel_on_disconnect(call, receive))
        if not started:
            await send(_start(200, _EVENT_TYPE))
        await send({"type": "http.response.body", "body": b""})
    finally:
        if watcher is not None:
            watcher.cancel()


async def _cancel_on_disconnect(call: Call, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call.cancelled = True
