"""ASGI helpers: read a body within its limits, write answers and OpenAI errors."""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from math import ceil
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import orjson

from triton_adapter.errors import AdapterError, BadRequestError, RequestTooLargeError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# The headers that the proxy reads.
READ = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-request-id", b"content-length", b"expect"})
_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# Bytes of a too large body that are still read and dropped, so that the client gets to read the refusal.
DISCARDED = 16
# Set in a request's scope if its body did not come in time.
LATE = "triton_proxy.late"
# The most characters of a client's name, of a message and of a header in an answer.
LONGEST_NAME, LONGEST_MESSAGE, LONGEST_HEADER = 200, 4000, 2000


class ClientLeft(Exception):
    """The client has closed the connection."""


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers that the proxy reads."""
    return {name: value for name, value in scope["headers"] if name in READ}


def request_id(headers: MutableMapping[bytes, bytes]) -> bytes:
    """Return the client's request id, if it has a valid one, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _ID.fullmatch(given):
        return given
    return new_request_id()


def new_request_id() -> bytes:
    """Return an id that no other request has."""
    return b"req_" + token_hex(16).encode()


async def read_body(
    scope: Scope, receive: Receive, headers: MutableMapping[bytes, bytes], limit: int
) -> bytes:
    """Return a request's body. RequestTooLargeError if it is larger than `limit` bytes; ClientLeft.

    BadRequestError (408) if the body does not come in time.
    """
    body = await _read_body(receive, headers, limit)
    if LATE in scope:
        raise BadRequestError(
            "The request's body did not come in time", status_code=408, code="request_timeout"
        )
    return body


async def _read_body(receive: Receive, headers: MutableMapping[bytes, bytes], limit: int) -> bytes:
    declared = headers.get(b"content-length", b"0")
    if b"expect" in headers and int(declared) > limit:
        raise _too_large(limit)  # the client waits for 100 Continue
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


def error_body(error: AdapterError) -> bytes:
    """Return OpenAI's error object; long texts, which may hold what the client sent, are cut."""
    document = error.to_dict()
    told = document["error"]
    told["message"] = clipped(told["message"], LONGEST_MESSAGE)
    if told["param"] is not None:
        told["param"] = clipped(told["param"], LONGEST_NAME)
    return orjson.dumps(document)


def clipped(text: str, most: int) -> str:
    """Return a text, cut off if it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def names_header(names: Iterable[str]) -> bytes:
    """Return names from a client as a header's value: percent-encoded, and cut if there are many."""
    return clipped(",".join(quote(name, safe="[]") for name in names), LONGEST_HEADER).encode()


def error_headers(error: AdapterError) -> Headers:
    """Return the headers that belong to an error."""
    found = []
    if error.status_code == 401:
        found.append((b"www-authenticate", b"Bearer"))
    if error.status_code in (408, 413):
        found.append((b"connection", b"close"))
    if error.retry_after is not None:
        found.append((b"retry-after", b"%d" % max(0, ceil(error.retry_after))))
    elif error.status_code == 503:
        found.append((b"retry-after", b"1"))
    if error.status_code == 429 and not error.retryable:
        found.append((b"x-should-retry", b"false"))  # a header that the openai client obeys
    return found


async def respond(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send a whole JSON answer."""
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
