"""The Python backend: runs a repository's own model.py in this process.

`load` makes an executor of a model version: its model.py is imported once per instance, each time into modules of its
own, on a thread of the instance's own, and gets our `triton_python_backend_utils`.

What one process for all cannot give that Triton's process per instance does:

- a crash in native code ends the server; `os._exit`, `abort`, `exec*`, `kill` of itself in the model's own code end the
  instance alone, as they do there;
- while a model imports, others execute, but none is imported beside it;
- what belongs to a process is shared: the working directory, environment variables, `builtins`, the recursion limit,
  random generators, and modules from site-packages with their state;
- model code does not run on the main thread, so `signal.signal` is refused to it;
- threads that a model has started run on after `finalize`;
- `sys.path` holds the model's folders while modules are imported, not while requests are executed.
"""

from triton_emulator.backends.python.executor import PythonExecutor
from triton_emulator.backends.python.loading import Hooks, load
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.server import Server

__all__ = ["Hooks", "MetricRegistry", "PythonExecutor", "Server", "load"]
