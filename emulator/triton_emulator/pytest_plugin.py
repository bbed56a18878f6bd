"""Fixtures: a Triton for the whole test run, and one of its own for each test.

    def test_my_gateway(triton):
        gateway = Gateway(upstream=triton.url)

Which models they serve is an option or an ini setting (`triton_model_repository`); without it, the built-in ones.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from triton_emulator.emulator import Emulator, Session

_HELP = "model repository of the `triton` and `triton_emulator` fixtures; may be given several times"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("triton", "Triton emulator")
    group.addoption("--triton-model-repository", action="append", default=[], metavar="DIR", help=_HELP)
    parser.addini("triton_model_repository", _HELP.partition(";")[0], type="paths", default=[])


@pytest.fixture(scope="session")
def triton_emulator(request: pytest.FixtureRequest) -> Iterator["Emulator"]:
    """One emulator for the whole run; what one test changes in it the next one sees."""
    from triton_emulator.emulator import Emulator  # only a run that uses it pays

    config = request.config
    paths = config.getoption("--triton-model-repository") or config.getini("triton_model_repository")
    with Emulator(*paths) as emulator:
        yield emulator


@pytest.fixture
def triton(triton_emulator: "Emulator") -> Iterator["Session"]:
    """A session of this test alone: its own models, statistics and shared memory regions."""
    with triton_emulator.session() as session:
        yield session
