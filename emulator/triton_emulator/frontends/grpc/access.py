"""Reads a call's metadata: the session, the access that it gives, and the request parameters for the model."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from triton_emulator.protocol.errors import TritonError, not_found, unavailable
from triton_emulator.protocol.forwarding import reserved
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.session.state import SessionState
from triton_emulator.settings import GRPC_RESTRICTED_PREFIX

SESSION_KEY = "triton-session"
Metadata = Iterable[tuple[str, str | bytes]]


class Gate:
    """Finds the session of a call, and refuses calls that `--grpc-restricted-protocol` restricts.

    Every call is checked, because a call that names a closed session must not reach another one.
    """

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._root = root
        self._sessions = sessions
        #: by session, the calls that named it and are not answered
        self._calls: dict[str, set[asyncio.Task[Any]]] = {}
        self._cut: set[asyncio.Task[Any]] = set()

    def cut(self, session: str) -> None:
        """Cancel the calls to a session. `was_cut` tells them from those that their clients have cancelled."""
        for call in self._calls.get(session, ()):
            self._cut.add(call)
            call.add_done_callback(self._cut.discard)
            call.cancel()

    def was_cut(self) -> bool:
        """Whether the current call is one that `cut` has cancelled."""
        return asyncio.current_task() in self._cut

    def find(self, context: Any) -> SessionState:
        """The session that a call's metadata names. Raises NOT_FOUND if there is no such session."""
        name = _first(context.invocation_metadata() or (), SESSION_KEY)
        if name is None:
            return self._root
        session = self._sessions.get(name)
        if session is None:
            raise not_found(f"session '{name}' is not found")
        self._note(name)
        return session

    def _note(self, session: str) -> None:
        call = asyncio.current_task()
        if call is not None:
            calls = self._calls.setdefault(session, set())
            calls.add(call)
            call.add_done_callback(partial(self._forget, session))

    def _forget(self, session: str, call: asyncio.Task[Any]) -> None:
        calls = self._calls.get(session)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._calls[session]

    def admit(self, category: str, session: SessionState, context: Any) -> None:
        """Raise UNAVAILABLE if a call to a session does not have a header that is required."""
        metadata = context.invocation_metadata() or ()
        for rule in session.settings.grpc_restricted_protocols:
            if category in rule.apis:
                header = GRPC_RESTRICTED_PREFIX + rule.header
                if _first(metadata, header) != rule.value:
                    raise unavailable(f"This protocol is restricted, expecting header '{header}'")


def not_to_forward(session: SessionState, context: Any) -> TritonError | None:
    """The refusal of metadata that would be forwarded under a reserved name; None where there is none.

    gRPC's C++ interface has the metadata in the order of their names, so the first of these is refused.
    """
    pattern, rules = session.grpc_forwarded, session.personality
    if pattern is None or not rules.reserved_headers:
        return None
    names = sorted(key for key, _ in context.invocation_metadata() or ())
    refusals = (reserved(name, rules) for name in names if pattern.search(name))
    return next(filter(None, refusals), None)


def forward(session: SessionState, context: Any, request: InferRequest) -> None:
    """Copy the metadata that `--grpc-header-forward-pattern` matches anywhere in its name into request parameters."""
    pattern = session.grpc_forwarded
    if pattern is None:
        return
    for key, value in context.invocation_metadata() or ():
        if pattern.search(key):
            text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
            request.parameters.append((key, text))


def _first(metadata: Metadata, key: str) -> str | None:
    value = next((value for name, value in metadata if name == key), None)
    return value if value is None or isinstance(value, str) else value.decode("latin-1")
