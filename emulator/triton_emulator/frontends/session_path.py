"""Sessions in URLs: `/s/<id>` before any path means that session, which answers the rest of the path."""

from collections.abc import Mapping

from triton_emulator.session.state import SessionState


def find_session(
    path: str, root: SessionState, sessions: Mapping[str, SessionState]
) -> tuple[SessionState | None, str]:
    """The session that answers a path (None where there is no such session), and the path within it."""
    if not path.startswith("/s/"):
        return root, path
    session, slash, rest = path[3:].partition("/")
    return sessions.get(session), slash + rest
