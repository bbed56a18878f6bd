"""Sessions in URLs: `/s/<id>` before any path means the session, whose world answers what follows."""

from collections.abc import Mapping

from triton_emulator.session.world import World


def find_world(path: str, world: World, sessions: Mapping[str, World]) -> tuple[World | None, str]:
    """Who answers a path, and the path as they see it; None where there is no such session."""
    if not path.startswith("/s/"):
        return world, path
    session, slash, rest = path[3:].partition("/")
    return sessions.get(session), slash + rest
