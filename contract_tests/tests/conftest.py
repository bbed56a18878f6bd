"""Marks of the contract's tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "proof: runs a case against the real server and the emulator side by side"
    )
    config.addinivalue_line("markers", "without_server: needs no real server")
