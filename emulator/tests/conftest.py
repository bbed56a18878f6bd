"""The fixtures that the emulator's tests share."""

from collections.abc import Iterator

import pytest

from triton_emulator import Emulator


@pytest.fixture(scope="session")
def triton_built_in() -> Iterator[str]:
    """The URL of an emulator with the built-in models."""
    with Emulator() as triton:
        yield triton.url
