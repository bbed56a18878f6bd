"""What ends the waiting of a test: a hang, never a machine that is busy."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import httpx
import pytest


@pytest.mark.parametrize("client", [httpx.Client, httpx.AsyncClient])
def test_a_client_of_httpx_waits_as_long_as_only_a_hang_takes(client: Callable[[], Any]) -> None:
    assert client().timeout == httpx.Timeout(60)


@pytest.mark.parametrize("call", [httpx.get, httpx.post, httpx.request, httpx.stream])
def test_so_does_a_single_request(call: Callable[..., Any]) -> None:
    assert signature(call).parameters["timeout"].default == httpx.Timeout(60)
