"""The HTTP server as one ASGI callable: path to route, route to handler.

Order of Triton's checks: route, restriction, method, size of the body, then the handler. The body is read whole before
any answer, as Triton does.
"""

from collections.abc import Mapping
from functools import lru_cache

from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http import bare, logging, models, repository, shared_memory, trace
from triton_emulator.frontends.http.access import Gate
from triton_emulator.frontends.http.errors import (
    METHOD_NOT_ALLOWED,
    METHOD_NOT_ALLOWED_UNTYPED,
    NOT_FOUND,
    too_large,
    untyped_error,
)
from triton_emulator.frontends.http.generate import generate, generate_stream
from triton_emulator.frontends.http.infer import infer
from triton_emulator.frontends.http.request import Handler, Request, replying
from triton_emulator.protocol import routes
from triton_emulator.session.state import SessionState

#: by the operation of a route
HANDLERS: dict[str, Handler] = {
    "infer": infer,
    "generate": generate,
    "generate_stream": generate_stream,
    "server_live": replying(models.server_live),
    "server_ready": replying(models.server_ready),
    "server_metadata": replying(models.server_metadata),
    "model_ready": replying(models.model_ready),
    "model_metadata": replying(models.model_metadata),
    "model_config": replying(models.model_config),
    "model_statistics": replying(models.model_statistics),
    "trace_setting": replying(trace.setting),
    "logging": replying(logging.settings),
    "system_shared_memory_status": replying(shared_memory.system_status),
    "system_shared_memory_register": replying(shared_memory.system_register),
    "system_shared_memory_unregister": replying(shared_memory.system_unregister),
    "cuda_shared_memory_status": replying(shared_memory.cuda_status),
    "cuda_shared_memory_register": replying(shared_memory.cuda_register),
    "cuda_shared_memory_unregister": replying(shared_memory.cuda_unregister),
    "repository_index": replying(repository.index, blocks=True),
    "repository_load": replying(repository.load, blocks=True),
    "repository_unload": replying(repository.unload, blocks=True),
}

_match = lru_cache(maxsize=4096)(routes.match)


class ClientGone(Exception):
    """The client left before its request was whole."""


class HttpApp:
    """Serves one session at the root and the others under `/s/<id>`."""

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._gate = Gate(root, sessions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        session, path = self._gate.find(scope["path"])
        if session is None:
            await send_reply(send, NOT_FOUND)
            return
        try:
            body = await _read_body(receive, session.settings.http_max_input_size)
        except ClientGone:
            return
        matched = _match(path) or bare.match(path, session)
        if matched is None:
            await send_reply(send, NOT_FOUND)
            return
        route, captures = matched
        headers, method = scope["headers"], scope["method"]
        if restricted := self._gate.admit(session, route.category, headers):
            await send_reply(send, restricted)
        elif method not in route.methods:
            await send_reply(send, METHOD_NOT_ALLOWED if route.typed else METHOD_NOT_ALLOWED_UNTYPED)
        elif body is None:
            await send_reply(send, untyped_error(too_large(session.settings.http_max_input_size)))
        else:
            request = Request(session, method, captures, headers, body, send, receive)
            await HANDLERS[route.operation](request)


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where it is larger than `limit` bytes (it is read to its end). Raises ClientGone."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message["body"]
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
        if not message.get("more_body"):
            break
    if size > limit:
        return None
    return parts[0] if len(parts) == 1 else b"".join(parts)
