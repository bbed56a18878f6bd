"""The pytest plugin: the fixtures `triton_emulator` (one for the whole run) and `triton` (a session for each test).

    def test_my_gateway(triton):
        gateway = Gateway(upstream=triton.http_url)

The option `--triton-model-repository` or the ini setting `triton_model_repository` names the models that they serve;
without it, they serve the built-in ones.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from triton_emulator.emulator import Emulator, Session

_HELP = "model repository of the `triton` and `triton_emulator` fixtures; may be given several times"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("triton", "Triton emulator")
    group.addoption("--triton-model-repository", action="append", default=[], metavar="DIR", help=_HELP)
    parser.addini("triton_model_repository", _HELP.partition(";")[0], type="paths", default=[])


def _repositories(config: pytest.Config) -> Sequence[str | Path]:
    """The folders of the option, else of the ini setting. Fails the test if one is no folder."""
    for name, paths in (
        ("--triton-model-repository", config.getoption("--triton-model-repository")),
        ("the ini setting triton_model_repository", config.getini("triton_model_repository")),
    ):
        for path in paths:
            if not Path(path).is_dir():
                pytest.fail(f"{name} names '{path}', which is no folder", pytrace=False)
        if paths:
            return list(paths)
    return []


@pytest.fixture(scope="session")
def triton_emulator(request: pytest.FixtureRequest) -> Iterator["Emulator"]:
    """One emulator for the whole run. All tests share it, so what one test changes the next one sees."""
    # imported here, so that a run that does not use it does not pay
    from triton_emulator.emulator import Emulator

    with Emulator(*_repositories(request.config)) as emulator:
        yield emulator


@pytest.fixture
def triton(triton_emulator: "Emulator") -> Iterator["Session"]:
    """A session of this test alone: its own models, statistics and shared memory regions."""
    with triton_emulator.session() as session:
        yield session
