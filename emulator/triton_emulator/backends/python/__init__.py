"""The Python backend: runs the model.py files of a repository in this process.

`load` makes an executor of a model version. Each instance imports model.py into modules of its own (`modules`), on a
thread of its own (`executor`), with a copy of our `triton_python_backend_utils` of its own (`members`).

Triton gives every instance a process. One process for all instances differs from that:

- A crash in native code ends the server. `os._exit`, `abort`, `exec*` and `kill` of its own process in a model's code
  end only the instance, as in Triton.
- While one model is imported, others execute, but no other is imported.
- What belongs to a process is shared: the working directory, environment variables, `builtins`, the recursion limit,
  random generators, and modules from site-packages with their state.
- Model code does not run on the main thread, so it cannot call `signal.signal`.
- Threads that a model has started continue after `finalize`.
- `sys.path` holds the model's folders while modules are imported, not while requests are executed.
"""

from triton_emulator.backends.python.executor import PythonExecutor
from triton_emulator.backends.python.loading import Hooks, load
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.server import Server

__all__ = ["Hooks", "MetricRegistry", "PythonExecutor", "Server", "load"]
