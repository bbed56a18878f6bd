"""What a call's metadata says: which session it is for, whether it may pass, and which of it the model is to see."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from triton_emulator.protocol.errors import not_found, unavailable
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.session.world import World
from triton_emulator.settings import Settings

SESSION_KEY = "triton-session"
_RESTRICTED_PREFIX = "triton-grpc-protocol-"
Metadata = Iterable[tuple[str, str | bytes]]


class Gate:
    """Finds the world of a call. Every call is looked at: one that names a closed session must not reach another."""

    def __init__(self, world: World, sessions: Mapping[str, World]) -> None:
        self._world = world
        self._sessions = sessions

    def admit(self, category: str, context: Any) -> World:
        """The world that a call is for. Raises NOT_FOUND for an unknown session, UNAVAILABLE for a restricted API."""
        metadata = context.invocation_metadata() or ()
        world = self._world
        session = _first(metadata, SESSION_KEY)
        if session is not None:
            found = self._sessions.get(session)
            if found is None:
                raise not_found(f"session '{session}' is not found")
            world = found
        _check_restricted(world.settings, category, metadata)
        return world

    def forward(self, world: World, context: Any, request: InferRequest) -> None:
        """Make request parameters of the metadata that `--grpc-header-forward-pattern` matches anywhere."""
        pattern = world.settings.grpc_header_forward_pattern
        if not pattern:
            return
        for key, value in context.invocation_metadata() or ():
            if _compiled(pattern).search(key):
                text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
                request.parameters[key] = text


def _first(metadata: Metadata, key: str) -> str | None:
    value = next((value for name, value in metadata if name == key), None)
    return value if value is None or isinstance(value, str) else value.decode("latin-1")


def _check_restricted(settings: Settings, category: str, metadata: Metadata) -> None:
    for rule in settings.grpc_restricted_protocols:
        if category in rule.apis:
            header = _RESTRICTED_PREFIX + rule.header
            if _first(metadata, header) != rule.value:
                raise unavailable(f"This protocol is restricted, expecting header '{header}'")


@lru_cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
