"""The HTTP server as one ASGI callable: path to route, route to handler, reply to the wire.

Order of Triton's checks: route, restriction, method, then the handler. The body is read whole before any answer, as
Triton does.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from triton_emulator.frontends.aside import LARGE, aside
from triton_emulator.frontends.http import bare, logging, models, repository, shared_memory, trace
from triton_emulator.frontends.http.errors import (
    METHOD_NOT_ALLOWED,
    METHOD_NOT_ALLOWED_UNTYPED,
    NOT_FOUND,
    typed_error,
    untyped_error,
)
from triton_emulator.frontends.http.generate import Receive, Send, generate
from triton_emulator.frontends.http.infer import infer, too_large
from triton_emulator.frontends.http.request import Handler, Request
from triton_emulator.frontends.session_path import find_world
from triton_emulator.protocol import routes
from triton_emulator.protocol.errors import TritonError, internal
from triton_emulator.protocol.json_dialect import JSONTypeError
from triton_emulator.session.world import World
from triton_emulator.wire.reply import Reply, untyped

_HANDLERS: dict[str, Handler] = {
    "server_live": models.server_live,
    "server_ready": models.server_ready,
    "server_metadata": models.server_metadata,
    "model_ready": models.model_ready,
    "model_metadata": models.model_metadata,
    "model_config": models.model_config,
    "model_statistics": models.model_statistics,
    "statistics": models.statistics,
    "trace_setting": trace.setting,
    "logging": logging.settings,
    "system_shared_memory_status": shared_memory.system_status,
    "system_shared_memory_register": shared_memory.system_register,
    "system_shared_memory_unregister": shared_memory.system_unregister,
    "cuda_shared_memory_status": shared_memory.cuda_status,
    "cuda_shared_memory_register": shared_memory.cuda_register,
    "cuda_shared_memory_unregister": shared_memory.cuda_unregister,
}
#: handlers that read folders, or wait for models to load or unload; they run in a thread
_BLOCKING: dict[str, Handler] = {
    "repository_index": repository.index,
    "repository_load": repository.load,
    "repository_unload": repository.unload,
}

_match = lru_cache(maxsize=4096)(routes.match)


class ClientGone(Exception):
    """The client left before its request was whole."""


class HttpApp:
    """Serves one world at the root and each session's world under `/s/<id>`."""

    def __init__(self, world: World, sessions: Mapping[str, World]) -> None:
        self._world = world
        self._sessions = sessions

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        world, path = find_world(scope["path"], self._world, self._sessions)
        try:
            reply = NOT_FOUND if world is None else await self._answer(world, path, scope, receive, send)
        except ClientGone:
            return
        if reply is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})

    async def _answer(
        self, world: World, path: str, scope: dict[str, Any], receive: Receive, send: Send
    ) -> Reply | None:
        message = await receive()
        if message["type"] == "http.disconnect" or message.get("more_body"):
            body = await _read_on(message, receive, world)
        else:
            body = message["body"] if len(message["body"]) <= world.settings.http_max_input_size else None
        matched = _match(path)
        if matched is None:
            return await self._unrouted(world, path, scope, body, receive, send)
        route, groups = matched
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if world.restricted and (missing := world.restriction(route.category, headers)):
            return _restricted(missing)
        if scope["method"] not in route.methods:
            return METHOD_NOT_ALLOWED if route.typed else METHOD_NOT_ALLOWED_UNTYPED
        if body is None:
            return untyped_error(too_large(world))
        operation = route.operation
        if operation == "infer":
            return await infer(world, groups[0] or "", groups[1] or "", headers, body)
        if operation in ("generate", "generate_stream"):
            stream = operation == "generate_stream"
            return await generate(
                world, groups[0] or "", groups[1] or "", headers, body, send, receive, stream=stream
            )
        request = Request(world, scope["method"], path, groups, headers, body)
        try:
            if (handler := _HANDLERS.get(operation)) is None:
                return await aside(_BLOCKING[operation], request)
            return handler(request) if len(body) <= LARGE else await aside(handler, request)
        except TritonError as error:
            return typed_error(error)
        except JSONTypeError as fault:
            return typed_error(internal(str(fault)))  # 2.51: these routes put no prefix before a wrong type

    async def _unrouted(
        self,
        world: World,
        path: str,
        scope: dict[str, Any],
        body: bytes | None,
        receive: Receive,
        send: Send,
    ) -> Reply | None:
        endpoint = None if world.settings.strict_routes else bare.match(path)
        if endpoint is None:
            return NOT_FOUND
        headers = scope["headers"]
        if world.restricted and (missing := world.restriction(bare.CATEGORY, headers)):
            return _restricted(missing)
        if scope["method"] != "POST":
            return METHOD_NOT_ALLOWED
        if body is None:
            return untyped_error(too_large(world))
        name = bare.choose(
            endpoint, world.settings, [served.config for served in world.repository.all_served()]
        )
        if endpoint in ("infer", "embeddings"):
            return await infer(world, name, "", headers, body)
        stream = endpoint == "generate_stream"
        return await generate(world, name, "", headers, body, send, receive, stream=stream)


def _restricted(header: str) -> Reply:
    return untyped(403, b'{"error":"This API is restricted, expecting header \'%b\'"}' % header.encode())


async def _read_on(message: dict[str, Any], receive: Receive, world: World) -> bytes | None:
    """The whole body, `message` being its start; None where it is larger than allowed (it is read to its end)."""
    limit = world.settings.http_max_input_size
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message["body"])
        if size <= limit:
            parts.append(message["body"])
        else:
            parts.clear()
        more = message.get("more_body", False)
        if more:
            message = await receive()
    return b"".join(parts) if size <= limit else None
