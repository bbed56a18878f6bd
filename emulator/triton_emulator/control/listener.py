"""The port of the control API, and who may ask: uvicorn's protocol on our own socket, on the server's event loop."""

import asyncio
import hmac
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from triton_emulator.control.app import control_app
from triton_emulator.control.page import console_files
from triton_emulator.server import Server
from triton_emulator.settings import is_loopback

#: bytes of a body
_LARGEST = 64 << 20
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class ControlListener:
    """Serves the control API on a bound socket."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        token = server.settings.control_token
        self._app = Guard(control_app(server, token=bool(token)), token)
        self._socket = sock
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<ControlListener, connections: {len(self._state.connections)}>"

    async def start(self) -> None:
        """Listen from now on."""
        loop = asyncio.get_running_loop()
        config = Config(
            self._app,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        config.load()
        connect = partial(
            HttpToolsProtocol, config=config, server_state=self._state, app_state={}, _loop=loop
        )
        self._server = await loop.create_server(connect, sock=self._socket)

    def cut(self, session: str) -> None:
        """Requests about a session that is closed are answered."""

    async def close(self, grace: float) -> None:
        """Accept no new connection, and close all after their requests, at most `grace` seconds later."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=grace)
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()


class Guard:
    """Refuses who may not ask, and what is too large.

    With a token, a request has to have it. Without one, the API listens on this machine's own interface. A page of the
    web, in a browser here, could still ask: it does so by another name of this machine, or with its origin.
    """

    def __init__(self, app: Application, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._page = frozenset(console_files())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        headers = {name.lower(): value for name, value in scope["headers"]}
        # the page's own files are the same for everybody; what it asks for needs the token
        is_page = scope["method"] == "GET" and scope["path"] in self._page
        if refusal := self._refusal(headers, needs_token=not is_page):
            await _refuse(send, *refusal)
            return
        body, size = [], 0
        more = True
        while more:  # the whole body is read, as each answer needs it
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if size > _LARGEST:
                await _refuse(send, 413, f"a body has at most {_LARGEST} bytes")
                return
            body.append(message.get("body", b""))
            more = message.get("more_body", False)
        whole: list[Message] = [{"type": "http.request", "body": b"".join(body), "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        with suppress(
            asyncio.CancelledError
        ):  # of `close`, which has closed the connection: there is nobody to tell
            await self._app(scope, again, send)

    def _refusal(self, headers: dict[bytes, bytes], *, needs_token: bool) -> tuple[int, str] | None:
        """The status and the text of a refusal; None for who may ask."""
        if self._token:
            if not needs_token:
                return None
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
                return None
            return 401, "the control API needs its token: Authorization: Bearer <token>"
        host = headers.get(b"host", b"").decode("latin-1")
        if not _is_here(f"//{host}"):
            return 403, f"the control API is asked as 127.0.0.1 or localhost, not as {host!r}"
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin.decode("latin-1")).netloc != host:
            return 403, "the control API answers no page of another origin; give it a token"
        return None


def _is_here(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
