"""Reads a call's metadata: the session, the access that it gives, and the request parameters for the model."""

from collections.abc import Iterable, Mapping
from typing import Any

from triton_emulator.protocol.errors import not_found, unavailable
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.session.state import SessionState

SESSION_KEY = "triton-session"
_RESTRICTED_PREFIX = "triton-grpc-protocol-"
Metadata = Iterable[tuple[str, str | bytes]]


class Gate:
    """Finds the session of a call, and refuses calls that `--grpc-restricted-protocol` restricts.

    Every call is checked, because a call that names a closed session must not reach another one.
    """

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._root = root
        self._sessions = sessions

    def find(self, metadata: Metadata) -> SessionState:
        """The session that a call's metadata names. Raises NOT_FOUND if there is no such session."""
        name = _first(metadata, SESSION_KEY)
        if name is None:
            return self._root
        session = self._sessions.get(name)
        if session is None:
            raise not_found(f"session '{name}' is not found")
        return session

    def admit(self, category: str, context: Any) -> SessionState:
        """The session of an allowed call. Raises as `find` does, and UNAVAILABLE if a required header is missing."""
        metadata = context.invocation_metadata() or ()
        session = self.find(metadata)
        for rule in session.settings.grpc_restricted_protocols:
            if category in rule.apis:
                header = _RESTRICTED_PREFIX + rule.header
                if _first(metadata, header) != rule.value:
                    raise unavailable(f"This protocol is restricted, expecting header '{header}'")
        return session


def forward(session: SessionState, context: Any, request: InferRequest) -> None:
    """Copy the metadata that `--grpc-header-forward-pattern` matches anywhere in its name into request parameters."""
    pattern = session.grpc_forwarded
    if pattern is None:
        return
    for key, value in context.invocation_metadata() or ():
        if pattern.search(key):
            text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
            request.parameters[key] = text


def _first(metadata: Metadata, key: str) -> str | None:
    value = next((value for name, value in metadata if name == key), None)
    return value if value is None or isinstance(value, str) else value.decode("latin-1")
