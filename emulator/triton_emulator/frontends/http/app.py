"""The HTTP server as one ASGI callable: path to route, route to handler.

Order of Triton's checks: route, restriction, method, size of the body, then the handler. The body is read whole before
any answer, as Triton does.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http import bare, logging, models, repository, shared_memory, trace
from triton_emulator.frontends.http.access import admit
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
from triton_emulator.frontends.session_path import find_session
from triton_emulator.protocol import routes
from triton_emulator.session.state import SessionState

#: operation of a route -> its handler
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
    """The client disconnected before it had sent its whole request."""


class HttpApp:
    """Serves one session at the root and the others under `/s/<id>`."""

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._root = root
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        session, path = find_session(scope["path"], self._root, self._sessions)
        if session is None:
            await send_reply(send, NOT_FOUND)
            return
        limit = session.settings.http_max_input_size
        message = await receive()
        if message["type"] == "http.disconnect" or message.get("more_body"):
            try:
                body = await _read_on(message, receive, limit)
            except ClientGone:
                return
        else:
            body = message["body"] if len(message["body"]) <= limit else None
        matched = _match(path) or bare.match(path, session)
        if matched is None:
            await send_reply(send, NOT_FOUND)
            return
        route, captures = matched
        headers, method = scope["headers"], scope["method"]
        if restricted := admit(session, route.category, headers):
            await send_reply(send, restricted)
        elif method not in route.methods:
            await send_reply(send, METHOD_NOT_ALLOWED if route.typed else METHOD_NOT_ALLOWED_UNTYPED)
        elif body is None:
            await send_reply(send, untyped_error(too_large(limit)))
        else:
            request = Request(session, method, captures, headers, body, send, receive)
            await HANDLERS[route.operation](request)


async def _read_on(message: dict[str, Any], receive: Receive, limit: int) -> bytes | None:
    """The whole body; `message` is its start. None if it is larger than allowed; it is read to its end all the same.

    Raises ClientGone.
    """
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
