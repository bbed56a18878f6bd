"""Sessions in URLs: `/s/<id>` before any path means that session, which answers the rest of the path."""

from collections.abc import Mapping

from triton_emulator.session.state import SessionState

_PREFIX = "/s/"


def session_path(session: str) -> str:
    """The path before the paths of a session."""
    return f"{_PREFIX}{session}/"


def is_of_a_session(path: str) -> bool:
    """Whether a path begins with that of a session."""
    return path.startswith(_PREFIX)


def find_session(
    path: str, root: SessionState, sessions: Mapping[str, SessionState]
) -> tuple[SessionState | None, str]:
    """The session that answers a path (None where there is no such session), and the path within it."""
    if not is_of_a_session(path):
        return root, path
    session, slash, rest = path[len(_PREFIX) :].partition("/")
    return sessions.get(session), slash + rest
