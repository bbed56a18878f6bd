"""The servers that the adapter's tests call: the emulator and the real Triton, over one model repository."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from adapter.tests.driving import Sdk
from adapter.tests.upstream import Upstream
from triton_adapter.sdk import arguments
from triton_contract.reference import TritonServer
from triton_contract.reference.pytest_support import require_reference

# The servers forward these headers to the model, so that a test sees what was sent.
FORWARDED = "(Authorization|X-Team)"
MODELS = Path(__file__).resolve().parent / "models"
# How long one example takes depends on the load of the machine, so none has a deadline.
hypothesis.settings.register_profile("adapter", deadline=None)
hypothesis.settings.load_profile("adapter")


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The URL of an emulator that serves `models`."""
    from triton_emulator.emulator import Emulator

    with Emulator(MODELS, http_header_forward_pattern=FORWARDED) as running:
        yield running.url


@pytest.fixture(scope="session")
def real_triton() -> Iterator[str]:
    """The URL of a real server that serves `models`. It starts once, whatever the order of the tests."""
    require_reference()
    with TritonServer(MODELS, [f"--http-header-forward-pattern={FORWARDED}"]) as server:
        yield server.http_url


@pytest.fixture(scope="session", params=["emulator", "triton"])
def triton(request: pytest.FixtureRequest) -> str:
    """The URL of a Triton that serves `models`: the emulator, then the real server."""
    url: str = request.getfixturevalue("emulator" if request.param == "emulator" else "real_triton")
    return url


@pytest.fixture(autouse=True)
def no_forward_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's own proxy settings from the environment."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(params=["blocking", "awaiting"])
def sdk(request: pytest.FixtureRequest) -> Sdk:
    """The SDK: first its blocking functions, then its async ones."""
    return Sdk(awaiting=request.param == "awaiting")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream that sends the answers that the test gives it. Its model `m` is decoupled."""
    forget_targets()
    with Upstream() as server:
        yield server


@pytest.fixture
def whole_upstream() -> Iterator[Upstream]:
    """Like `upstream`, but its model `m` is not decoupled: it sends one response."""
    forget_targets()
    with Upstream(decoupled=False) as server:
        yield server


def forget_targets() -> None:
    """Clear the cached metadata of models: another test's upstream may have had the same port."""
    arguments.forget_targets()
