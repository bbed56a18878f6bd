"""Reads Triton's refusals: the error for an HTTP reply that is not a success.

2.51 labels errors text/plain on some routes and sends them as an event on generate_stream, so the body
decides, never the Content-Type. The status is Triton's; a model's failure is 400 on generate whatever its code.
"""

from math import isfinite

from triton_adapter.errors import (
    BY_STATUS,
    AdapterError,
    APIConnectionError,
    BadGatewayError,
    BadRequestError,
    InternalServerError,
)
from triton_adapter.jsontext import loads
from triton_adapter.steps import HttpReply

JSON = {"Content-Type": "application/json"}
# A Retry-After is cut to this many seconds.
LONGEST_PAUSE = 1e9


def triton_message(body: bytes) -> str | None:
    """Return the `error` text of a Triton reply, JSON or one event; None if the body is something else."""
    text = body.strip()
    if text.startswith(b"data:"):
        text = text[5:].split(b"\n", 1)[0].strip()
    try:
        document = loads(text)
    except ValueError:
        return None
    message = document.get("error") if isinstance(document, dict) else None
    return message if isinstance(message, str) else None


def refuse_error(reply: HttpReply) -> None:
    """Raise BadGatewayError with Triton's words if a 200 holds an error instead of an answer.

    2.51: generate on a decoupled model that gives other than one response is 200 with an error.
    """
    if reply.body[:1] == b"{" and b'"error"' in reply.body[:32]:
        message = triton_message(reply.body)
        if message is not None:
            raise BadGatewayError(message)


def read_error(
    reply: HttpReply, *, request_id: str | None = None, upstream: str | None = None
) -> AdapterError:
    """Return the error a non-2xx reply stands for. Bodies that are not Triton's are never quoted."""
    message = triton_message(reply.body)
    status = reply.status
    kind = BY_STATUS.get(status) or (BadRequestError if 400 <= status < 500 else InternalServerError)
    if status < 400:
        kind, status = BadGatewayError, 502
        message = f"the upstream answered {reply.status}, which Triton never does"
    if status == 407:  # from a forward proxy, as Triton never sends it; the caller need not authenticate
        return APIConnectionError(
            "the proxy on the way to Triton refuses the credentials that the environment names",
            code="upstream_proxy",
            request_id=request_id,
            upstream=upstream,
        )
    if status == 408:
        status = 504
    return kind(
        message or f"the upstream answered {reply.status} without an error from Triton",
        status_code=status,
        param="model" if status == 404 else None,
        request_id=request_id,
        retry_after=_seconds(reply.headers.get("Retry-After")),
        upstream=upstream,
    )


def _seconds(text: str | None) -> float | None:
    if not text:
        return None
    try:
        found = float(text)
        return min(max(0.0, found), LONGEST_PAUSE) if isfinite(found) else None
    except ValueError:
        pass
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        return min(max(0.0, seconds), LONGEST_PAUSE)
    except (ValueError, TypeError, OverflowError):
        return None
