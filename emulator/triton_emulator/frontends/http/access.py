"""Reads a request's headers: the access that they give, and the request parameters for the model."""

from collections.abc import Iterable

from triton_emulator.protocol.forwarding import reserved
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.session.state import SessionState
from triton_emulator.wire.reply import Reply, untyped

Headers = Iterable[tuple[bytes, bytes]]


def admit(session: SessionState, category: str, headers: Headers) -> Reply | None:
    """The refusal of a request without the header that `--http-restricted-api` requires; None if it is allowed."""
    for rule in session.settings.http_restricted_apis:
        if category in rule.apis:
            wanted = rule.header.lower().encode()
            given = next((value for key, value in headers if key.lower() == wanted), None)
            if given != rule.value.encode():
                text = b"This API is restricted, expecting header '%b'" % rule.header.encode()
                return untyped(403, b'{"error":"%b"}' % text)
    return None


def forward(session: SessionState, headers: Headers, request: InferRequest) -> None:
    """Copy the headers that `--http-header-forward-pattern` matches anywhere in their name into request parameters.

    Raises INVALID_ARG for one whose name the version reserves.
    """
    pattern = session.http_forwarded
    if pattern is None:
        return
    for key, value in headers:
        name = key.decode("latin-1")
        if pattern.search(name):
            if refusal := reserved(name, session.personality):
                raise refusal
            request.parameters.append((name, value.decode("utf-8", "surrogateescape")))
