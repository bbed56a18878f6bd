"""ASGI's edges: reading a body within bounds, writing answers and OpenAI errors."""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from math import ceil
from secrets import token_hex
from typing import Any

import orjson

from triton_adapter.errors import AdapterError, BadRequestError, RequestTooLargeError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# The headers that mean something here.
READ = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-request-id", b"content-length", b"expect"})
_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# How much of a body that is too large is read to its end, so that the client gets to read why it was refused.
DISCARDED = 16


class ClientLeft(Exception):
    """The client has closed the connection."""


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers that mean something here."""
    return {name: value for name, value in scope["headers"] if name in READ}


def request_id(headers: MutableMapping[bytes, bytes]) -> bytes:
    """Return the client's request id, if it has a decent one, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _ID.fullmatch(given):
        return given
    return b"req_" + token_hex(16).encode()


async def read_body(receive: Receive, headers: MutableMapping[bytes, bytes], limit: int) -> bytes:
    """Return a request's body. RequestTooLargeError if it is larger than `limit` bytes; ClientLeft."""
    declared = headers.get(b"content-length", b"0")
    if b"expect" in headers and int(declared) > limit:
        raise _too_large(limit)  # the client asks before it sends
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            part = message.get("body", b"")
            size += len(part)
            if size <= limit:
                parts.append(part)
            elif size > limit * DISCARDED:
                break
            else:
                parts.clear()
        if size > limit:
            raise _too_large(limit)
        return b"".join(parts)
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> RequestTooLargeError:
    return RequestTooLargeError(f"The request is larger than {limit} bytes")


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object a body holds. BadRequestError if it holds none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = "it is empty" if not body else str(error)
        raise BadRequestError(f"The request body is not valid JSON: {reason}", code="invalid_json") from error
    if not isinstance(document, dict):
        raise BadRequestError("The request body must be a JSON object", code="invalid_json")
    return document


def error_headers(error: AdapterError) -> Headers:
    """Return the headers that belong to an error."""
    found = []
    if error.status_code == 401:
        found.append((b"www-authenticate", b"Bearer"))
    if error.status_code == 413:
        found.append((b"connection", b"close"))
    if error.retry_after is not None:
        found.append((b"retry-after", b"%d" % max(0, ceil(error.retry_after))))
    elif error.status_code == 503:
        found.append((b"retry-after", b"1"))
    if error.status_code == 429 and not error.retryable:
        found.append((b"x-should-retry", b"false"))  # the openai client's own sign
    return found


async def respond(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send a whole JSON answer."""
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
