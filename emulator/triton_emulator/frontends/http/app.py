"""The HTTP server as one ASGI callable: path to route, route to handler.

Order of Triton's checks: route, restriction, method, size of the body, then the handler. The body is read whole before
any answer, as Triton does.
"""

from collections.abc import Coroutine, Iterable, Mapping
from functools import lru_cache
from typing import Any

from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http import (
    bare,
    faults,
    logging,
    models,
    passing,
    repository,
    shared_memory,
    trace,
)
from triton_emulator.frontends.http.access import admit
from triton_emulator.frontends.http.entries import HttpEntry
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
from triton_emulator.frontends.request_log import log_request
from triton_emulator.frontends.session_path import find_session
from triton_emulator.harness.harness import Harness
from triton_emulator.protocol import routes
from triton_emulator.protocol.personality import NO_LIMIT
from triton_emulator.session.state import SessionState

#: operation of a route -> its handler
HANDLERS: dict[str, Handler] = {
    "infer": infer,
    "generate": generate,
    "generate_stream": generate_stream,
    "server_live": replying(models.server_live),
    "server_ready": replying(models.server_ready, asks_models=True),
    "server_metadata": replying(models.server_metadata),
    "model_ready": replying(models.model_ready, asks_models=True),
    "model_metadata": replying(models.model_metadata),
    "model_config": replying(models.model_config),
    "model_statistics": replying(models.model_statistics, asks_workers=True),
    "trace_setting": replying(trace.setting, asks_models=True),
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

#: the same while a server stops that takes connections until its end (2.44)
STOPPING = HANDLERS | {
    "server_live": replying(models.exiting),
    "server_ready": replying(models.exiting),
    "model_ready": replying(models.model_not_ready),
    "model_statistics": replying(models.not_ready),
    "repository_index": replying(models.not_ready),
    "repository_load": replying(models.not_ready),
    "repository_unload": replying(models.not_ready),
}

#: the status of an answer where a handler failed before it had begun one
_FAILED = 500
#: more digits than any limit has
_DIGITS = 20
_match = lru_cache(maxsize=4096)(routes.match)


class ClientGone(Exception):
    """The client disconnected before it had sent its whole request."""


class HttpApp:
    """Serves one session at the root and the others under `/s/<id>`."""

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._root = root
        self._sessions = sessions
        self._handlers = HANDLERS

    def stop(self) -> None:
        """Say from now on that the server exits."""
        self._handlers = STOPPING

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        session, path = find_session(scope["path"], self._root, self._sessions)
        if session is None:
            return _not_found(send)
        if session.harness is None:
            return self._serve(session, path, scope, receive, send)
        return self._watched(session, session.harness, path, scope, receive, send)

    async def _watched(
        self, session: SessionState, harness: Harness, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request of which the journal gets an entry."""
        entry = HttpEntry(harness, scope, send, session.personality)
        harness.journal.add(entry)
        try:
            if session.passes:
                await passing.serve(session, path, scope, receive, entry, self._serve)
            else:
                await self._serve(session, path, scope, receive, entry.send, entry)
        except Exception as fault:
            if entry.code is None:
                entry.code = _FAILED  # what the connection answers
            harness.failed(entry, fault)
            raise
        finally:
            entry.leave()

    async def _serve(
        self,
        session: SessionState,
        path: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        entry: HttpEntry | None = None,
    ) -> None:
        if session.log_settings.verbose_level:
            log_request(scope["method"], path)
        limit, dropped = session.http_max_body, 0
        message = await receive()
        if message["type"] == "http.disconnect" or message.get("more_body"):
            try:
                body, dropped = await _read_on(message, receive, limit or _kept(session, scope["headers"]))
            except ClientGone:
                return
        else:
            body = message["body"]
        if entry is not None:
            entry.has(body)
        too_long = limit and (dropped or len(body)) > limit
        matched = _match(path) or bare.match(path, session)
        if matched is None:
            if session.log_settings.verbose_level:
                log_request(scope["method"], path, status=404)
            await send_reply(send, NOT_FOUND)
            return
        route, captures = matched
        headers, method = scope["headers"], scope["method"]
        if entry is not None and method in route.methods:
            entry.asks(route.operation, captures, session)
            if entry.script is not None and await faults.answers(entry, session, send):
                return
            send = faults.shaping(entry.script, send, session.clock)
        if restricted := admit(session, route.category, headers):
            await send_reply(send, restricted)
        elif method not in route.methods:
            await send_reply(send, METHOD_NOT_ALLOWED if route.typed else METHOD_NOT_ALLOWED_UNTYPED)
        elif too_long:
            await send_reply(send, untyped_error(too_large(limit), session.personality))
        else:
            request = Request(session, method, captures, headers, body, send, receive, dropped, entry)
            await self._handlers[route.operation](request)


async def _not_found(send: Send) -> None:
    await send_reply(send, NOT_FOUND)


def _kept(session: SessionState, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The size of the largest body that is not refused for its size alone; 0 if there is none.

    A version that limits the JSON of a request limits raw binary bodies, too. Only a body of which a header says that
    it is more than one of these may be larger.
    """
    rules = session.personality
    limit = rules.http_max_input_size
    if not rules.json_too_large or limit == NO_LIMIT:
        return 0
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-encoding" and value != b"identity":
            return 0
        if lowered == b"inference-header-content-length":
            number = value.decode("latin-1")
            if not number.isdecimal() or 0 < int(number[:_DIGITS]) <= limit:
                return 0
    return limit


async def _read_on(message: dict[str, Any], receive: Receive, limit: int) -> tuple[bytes, int]:
    """The whole body, and 0; `message` is its start. Of a body that is larger than the limit nothing, and its size.

    It is read to its end all the same. A limit of 0 is none. Raises ClientGone.
    """
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message["body"])
        if not limit or size <= limit:
            parts.append(message["body"])
        else:
            parts.clear()
        more = message.get("more_body", False)
        if more:
            message = await receive()
    return (b"".join(parts), 0) if not limit or size <= limit else (b"", size)
