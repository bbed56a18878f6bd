"""The OpenAI-compatible proxy: an ASGI application and its server, configured by LiteLLM's `config.yaml`.

    with ProxyServer(read_file("config.yaml")) as proxy:
        OpenAI(base_url=proxy.http_url, api_key=...)

`Proxy(config)` is the application itself, for any ASGI server. `read_file` and `read_config` raise ConfigError, which
has every mistake in the config; `Proxy` and `ProxyServer` raise StoreError if the file of virtual keys cannot be used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triton_adapter.proxy.app import Proxy
    from triton_adapter.proxy.config.reader import read_config, read_file
    from triton_adapter.proxy.config.values import Config, ConfigError, Mistake
    from triton_adapter.proxy.keys.file import StoreError
    from triton_adapter.proxy.server import ProxyServer

# Name -> its module, imported when the name is first used: reading a config needs neither FastAPI nor uvicorn.
_HOMES = {
    "Config": "triton_adapter.proxy.config.values",
    "ConfigError": "triton_adapter.proxy.config.values",
    "Mistake": "triton_adapter.proxy.config.values",
    "Proxy": "triton_adapter.proxy.app",
    "ProxyServer": "triton_adapter.proxy.server",
    "StoreError": "triton_adapter.proxy.keys.file",
    "read_config": "triton_adapter.proxy.config.reader",
    "read_file": "triton_adapter.proxy.config.reader",
}

__all__ = [
    "Config",
    "ConfigError",
    "Mistake",
    "Proxy",
    "ProxyServer",
    "StoreError",
    "read_config",
    "read_file",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        from triton_adapter.extras import needing

        with needing("proxy", "triton_adapter.proxy"):
            return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
