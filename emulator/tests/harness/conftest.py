"""The real server in front of which the harness stands."""

from collections.abc import Iterator

import pytest

from triton_contract.reference import TritonServer
from triton_contract.reference.pytest_support import RERUN, require_reference, telling_deaths
from triton_emulator.builtin import REPOSITORY

FLAGS = [
    "--model-control-mode=explicit",
    "--load-model=simple",
    "--load-model=simple_string",
    "--load-model=vllm",
    "--allow-cpu-metrics=false",
]


#: the real servers of a test
REAL = pytest.StashKey[tuple[TritonServer, ...]]()


@pytest.fixture(scope="session")
def real() -> Iterator[TritonServer]:
    """Triton 2.51 with some of the built-in models, which it runs as they are."""
    require_reference()
    with TritonServer(REPOSITORY, FLAGS) as triton:
        yield triton


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(RERUN)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Raise ReferenceDied for a failed test whose real server has died."""
    with telling_deaths(*item.stash.get(REAL, ())):
        return (yield)


@pytest.fixture(autouse=True)
def alive(request: pytest.FixtureRequest) -> None:
    """Restart the real server if it has died."""
    server = request.getfixturevalue("real") if "real" in request.fixturenames else None
    if isinstance(server, TritonServer):
        request.node.stash[REAL] = (server,)
        if server.death() is not None:
            server.restart()
