"""A test is run again only if its real server has died."""

import os
import signal

import pytest

from triton_contract.targets import TritonTarget

from .conftest import BUILTIN, ReferenceDied, serving


def fail(*, kill: bool) -> None:
    with serving("triton", BUILTIN) as target:
        assert isinstance(target, TritonTarget)
        if kill:
            os.kill(target.server.pid, signal.SIGABRT)
        raise ConnectionResetError("Socket closed")


def test_a_failure_while_the_server_lives_is_unchanged() -> None:
    with pytest.raises(ConnectionResetError, match="Socket closed"):
        fail(kill=False)


def test_a_failure_whose_server_has_died_becomes_reference_died() -> None:
    with pytest.raises(ReferenceDied, match="killed by SIGABRT"):
        fail(kill=True)
