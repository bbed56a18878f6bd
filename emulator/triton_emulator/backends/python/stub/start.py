"""The program of a stub process: `python start.py JOBS EVENTS`, the descriptors of two connected Unix sockets.

It may be run by the interpreter of another environment, which need not have this package: the package is found by this
file's own folder, and nothing is added to `sys.path`. That interpreter needs numpy only.

`multiprocessing` runs this file once more, under another name, in each process that a model spawns. Such a process can
then import what a model imports.
"""

import importlib.machinery
import importlib.util
import pickle
import socket
import struct
import sys
import types
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[3]
_UTILS = "triton_python_backend_utils"


def _provide_package() -> None:
    name = _PACKAGE.name
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [str(_PACKAGE)]
        sys.modules[name] = package


class _UtilsFinder:
    """Finds `triton_python_backend_utils`: what a model can use of it while it is imported, as in Triton."""

    @staticmethod
    def find_spec(name: str, *_: object) -> object:
        """Called by the import system."""
        if name != _UTILS:
            return None
        return importlib.util.spec_from_file_location(name, _PACKAGE / "backends" / "python" / f"{_UTILS}.py")


def _run(jobs: int, events: int) -> None:
    sys.dont_write_bytecode = (
        True  # a model repository may be changed at any time, and is not ours to write to
    )
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder of this file
    try:
        from triton_emulator.backends.python.stub.process import serve
    except BaseException as error:  # noqa: BLE001
        reason = (
            f"{sys.executable} (Python {sys.version.split()[0]}) cannot run a model for this emulator: "
            f"{type(error).__name__}: {error}; it needs Python 3.11 or newer with numpy"
        )
        pickled = pickle.dumps(reason)
        with socket.socket(fileno=jobs) as sock:
            sock.sendall(struct.pack("=II", len(pickled), 0) + pickled)
        sys.exit(1)
    serve(jobs, events)


_provide_package()
sys.meta_path.append(_UtilsFinder)  # type: ignore[arg-type]
if __name__ == "__main__":
    _run(int(sys.argv[1]), int(sys.argv[2]))
