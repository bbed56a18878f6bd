"""A proxy in front of each server that the adapter's tests call."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.tests.conftest import MODELS
from adapter.tests.proxy.serving import MASTER, entry, serve
from triton_adapter.proxy import ProxyServer
from triton_adapter.proxy.keys.store import KeyStore

NAMES = sorted(path.name for path in MODELS.iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def proxy(triton: str) -> Iterator[ProxyServer]:
    """A proxy that serves every model of `models` under its own name. `wild/*` is a wildcard, `gpt-4` an alias."""
    with serve(
        *(entry(name, triton, name) for name in NAMES),
        entry("wild/*", triton, "*"),
        entry("ns/flat", triton, "flat"),
        router_settings={"model_group_alias": {"gpt-4": "flat"}},
        general_settings={"master_key": MASTER, "completion_model": "flat"},
    ) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file of keys may be."""
    return tmp_path / "keys.db"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    """A key store over that file."""
    made = KeyStore(str(path))
    yield made
    made.close()
