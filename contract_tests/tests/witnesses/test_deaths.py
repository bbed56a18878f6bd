"""A test is run again only if its real server has died."""

import os
import signal

import pytest

from triton_contract.reference.pytest_support import ReferenceDied
from triton_contract.targets import TritonTarget

from .conftest import BUILTIN, serving


def fail(failure: BaseException, *, kill: bool) -> None:
    with serving("triton", BUILTIN) as target:
        assert isinstance(target, TritonTarget)
        if kill:
            os.kill(target.server.pid, signal.SIGABRT)
        raise failure


FAILURES = [
    pytest.param(ConnectionResetError("Socket closed"), id="an exception of the client"),
    pytest.param(pytest.fail.Exception("Socket closed"), id="a failure that pytest raises"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_while_the_server_lives_is_unchanged(failure: BaseException) -> None:
    with pytest.raises(type(failure), match="Socket closed"):
        fail(failure, kill=False)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_whose_server_has_died_becomes_reference_died(failure: BaseException) -> None:
    with pytest.raises(ReferenceDied, match="killed by SIGABRT"):
        fail(failure, kill=True)
