"""What a process that a model spawns imports under this name: the Python half, as in a real server's process."""

from triton_emulator.backends.python.triton_python_backend_utils import *  # noqa: F403
