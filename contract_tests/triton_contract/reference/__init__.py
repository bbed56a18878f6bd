"""The real tritonserver, from a wheel on PyPI: downloaded once, it runs on any Linux x86-64 with a recent glibc."""

from .server import TritonServer
from .wheel import DEFAULT_VERSION, ReferenceUnavailable

__all__ = ["DEFAULT_VERSION", "ReferenceUnavailable", "TritonServer"]
