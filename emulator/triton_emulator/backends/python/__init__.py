"""The Python backend: runs a repository's own model.py in this process.

A model that ends its process (`os._exit`, a crash in native code) ends the server with it; in the real Triton it only
ends the process of that instance.
"""

from triton_emulator.backends.python.executor import PythonExecutor
from triton_emulator.backends.python.loading import Hooks, load
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.server import Server

__all__ = ["Hooks", "MetricRegistry", "PythonExecutor", "Server", "load"]
