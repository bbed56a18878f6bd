"""Why a server at a URL cannot be asked cases, told from its answer to `GET /v2/health/live`. Pure.

Each text says what was seen and what to do.
"""

from __future__ import annotations

import socket

from triton_contract.clients.exchange import Exchange, Response

TLS = "it speaks TLS, and the cases are sent over plain HTTP: give the server's plain HTTP port (8000 by default)"
_GRPC = "it is a gRPC port: give the server's HTTP port (8000 by default)"
_TLS_RECORD = b"\x15\x03"
_HTTP2_FRAMES = (4, 7)
"""The types SETTINGS and GOAWAY, the first frames that a server of HTTP/2 sends. The type is a frame's fourth byte."""
_SHOWN = 40


def no_connection(error: OSError) -> str:
    """Why no connection could be made."""
    if isinstance(error, TimeoutError):
        return "no connection in time: check the address, and the firewalls on the way"
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}: check the host's name"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: start the server, or give the port that it listens on"
    return error.strerror or str(error)


def fault_of(seen: Exchange) -> str:
    """Why a server that gave this answer cannot be asked cases; "" where it can."""
    if seen.response is None:
        return _without_answer(seen)
    if not seen.response.version.startswith("HTTP/"):
        return _no_http(seen.response.version.encode("latin-1"))
    return _of_answer(seen.response)


def _without_answer(seen: Exchange) -> str:
    first = seen.extra
    if first.startswith(_TLS_RECORD):
        return TLS
    if len(first) > 3 and first[0] == 0 and first[3] in _HTTP2_FRAMES:
        return _GRPC
    if first:
        return _no_http(first)
    if seen.ending == "silent":
        return "it accepts connections and does not answer: wait until GET /v2/health/live answers, or start it anew"
    return (
        f"the connection was {seen.ending} without an answer: "
        "give the server's plain HTTP port (8000 by default), not that of TLS or gRPC"
    )


def _no_http(first: bytes) -> str:
    return f"it does not speak HTTP (its first bytes: {first[:_SHOWN]!r}): give a Triton server's HTTP port"


def _of_answer(response: Response) -> str:
    said = f"{response.status} {response.reason}".strip()
    if response.status // 100 == 3:
        where = response.header("location") or "an address that it does not name"
        return f"it redirects ({said}) to {where}, and no redirect is followed: give the server's own address"
    if response.status in (401, 403, 407):
        return f"it wants a key ({said}), and the cases send none: give the address of the server behind the gateway"
    if response.status == 400 and b"HTTPS" in response.body:
        return TLS
    if response.status == 404:
        return (
            f"it answers GET /v2/health/live with {said}, so it is no Triton server: "
            "give its HTTP port, and the path before /v2 where there is one"
        )
    if response.status >= 500:
        return f"it answers GET /v2/health/live with {said}: wait until the server, or the one behind it, is ready"
    return ""
