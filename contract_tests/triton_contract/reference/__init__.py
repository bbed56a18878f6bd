"""The real tritonserver, from the wheel that carries it: fetched once, run anywhere Linux x86-64 runs."""

from .server import TritonServer
from .wheel import DEFAULT_VERSION, ReferenceUnavailable

__all__ = ["DEFAULT_VERSION", "ReferenceUnavailable", "TritonServer"]
