"""OpenAI's own client for JavaScript, through the proxy, in front of an emulator that its tests control."""

from pathlib import Path

import pytest

from emulator.tests.control.node import assert_passes, unavailable
from triton_adapter.proxy import ProxyServer, read_config
from triton_emulator import Emulator

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "javascript"


@pytest.fixture
def packages() -> None:
    """What the tests import. Where it is not installed the test is skipped, or fails if CI=true."""
    if not (FOLDER / "node_modules" / "openai").exists():
        unavailable("the npm package openai is not installed: run ci/javascript, which needs npm")


@pytest.mark.usefixtures("packages")
def test_the_tests_of_a_gateway_with_the_client_of_openai_pass() -> None:
    with Emulator(control=True) as emulator:
        config = read_config((FOLDER / "config.yaml").read_text(), {"TRITON_URL": emulator.http_url})
        with ProxyServer(config) as gateway:
            file = FOLDER / "openai.test.mjs"
            assert_passes(file, 7, CONTROL=emulator.control_url, GATEWAY=gateway.url)


def test_the_cookbook_shows_the_files_that_run() -> None:
    page = (ROOT / "docs" / "cookbook.md").read_text()
    for language, name in (("javascript", "openai.test.mjs"), ("yaml", "config.yaml")):
        text = (FOLDER / name).read_text()
        assert f'```{language} title="{name}"\n{text}```\n' in page
