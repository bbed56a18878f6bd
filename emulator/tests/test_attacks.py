"""Short attacks on a real process, which must be unharmed. `python -m benchmarks.attacks` makes the long ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attacks import connections, hostile, streams

Attack = Callable[[Path, int], dict[str, Any]]


#: gRPC makes a few descriptors and threads of its own when it needs them; a leak is one for each of 50 clients or more
MORE = 10


def assert_unharmed(before: dict[str, Any], after: dict[str, Any], ended: dict[str, Any]) -> None:
    assert after["descriptors"] <= before["descriptors"] + MORE
    assert after["threads"] <= before["threads"] + MORE
    assert (ended["code"], ended["tracebacks"]) == (0, 0)


def test_hostile_requests_of_every_kind_are_answered_or_closed(tmp_path: Path) -> None:
    """A request without an answer, and a valid one that fails, raise Unanswered."""
    result = hostile.hostile(tmp_path, 1000)
    first, *_, last = [step["held"] for step in result["steps"]]
    assert_unharmed(first, last, result["ended"])


@pytest.mark.parametrize("attack", [connections.leavers, streams.cancels, streams.deadlines])
def test_others_are_answered_while_clients_leave(tmp_path: Path, attack: Attack) -> None:
    result = attack(tmp_path, 50)
    assert [beside["failed"] for beside in result["beside"].values()] == [0, 0, 0]
    assert_unharmed(result["before"], result["after"], result["ended"])
