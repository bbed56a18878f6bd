"""The Python backend: runs the model.py files of a repository, in this process or each instance in one of its own.

`loading.load` makes an executor of a model version. Each instance has a thread of its own (`executor`). By default it
imports model.py into modules of its own (`modules`), with a copy of our `triton_python_backend_utils` of its own
(`members`). With `--python-process-per-model` the thread hands its work to a process (`stub`).

This file imports nothing: a stub process imports from this package, and needs few of its modules.

Triton gives every instance a process. One process for all instances differs from that:

- A crash in native code ends the server. `os._exit`, `abort`, `exec*` and `kill` of its own process in a model's code
  end only the instance, as in Triton.
- While one model is imported, others execute, but no other is imported.
- What belongs to a process is shared: the working directory, environment variables, the recursion limit, random
  generators, and modules from site-packages with their state. `sys.path`, `sys.modules` and `builtins` are an
  instance's own (`interpreter`).
- Model code does not run on the main thread, so `signal.signal` raises.
- Threads that a model has started continue after `finalize`.
"""
