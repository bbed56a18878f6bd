"""Makes the unpacked wheel ready to run with this Python: the backend folder with its stub, and the environment."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from .wheel import DEFAULT_VERSION, ReferenceUnavailable, fetch_numpy, fetch_server, prepare

STUB = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class Installation:
    """What is needed to start one server version: the binary, folders of backends and caches, the environment."""

    version: str
    binary: Path
    backends: Path
    caches: Path
    environment: dict[str, str]


def install(version: str = DEFAULT_VERSION) -> Installation:
    """Download that server version and prepare its Python backend for the running Python.

    Raises ReferenceUnavailable when a wheel cannot be downloaded, when it has no stub for this Python, or when this
    Python has no shared library for the stub to load.
    """
    home = fetch_server(version)
    server = home / "pytriton" / "tritonserver"
    return Installation(
        version=version,
        binary=server / "bin" / "tritonserver",
        backends=_backends(server, home),
        caches=server / "caches",
        environment=_environment(home / "nvidia_pytriton.libs"),
    )


def _backends(server: Path, home: Path) -> Path:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / python / STUB
    if not stub.is_file():
        known = ", ".join(sorted(path.name for path in (server / "python_backend_stubs").glob("*.*")))
        raise ReferenceUnavailable(
            f"this wheel has no Python backend stub for Python {python} (it has: {known})"
        )

    def make(draft: Path) -> None:
        shutil.copytree(server / "backends", draft)
        shutil.copy2(stub, draft / "python" / STUB)

    return prepare(home / f"backends-{python}", make)


def _python_home() -> Path:
    """A virtual environment for the stub.

    The stub embeds libpython, ignores PYTHONPATH and uses the packages of the first python3 on PATH. That one must
    have a numpy that the stub can work with.
    """
    numpy = fetch_numpy()

    def make(draft: Path) -> None:
        venv.EnvBuilder(symlinks=True).create(draft)
        (packages,) = draft.glob("lib/python*/site-packages")
        shutil.copytree(numpy, packages, dirs_exist_ok=True)

    return prepare(numpy.with_name(f"python-with-{numpy.name}"), make)


def _environment(libraries: Path) -> dict[str, str]:
    libdir = sysconfig.get_config_var("LIBDIR") or ""
    soname = sysconfig.get_config_var("INSTSONAME") or ""
    if ".so" not in soname or not (Path(libdir) / soname).exists():
        raise ReferenceUnavailable(f"the Python backend needs a shared libpython; {libdir or '?'} has none")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))},
        "PATH": os.pathsep.join((str(_python_home() / "bin"), os.environ.get("PATH", os.defpath))),
        "LD_LIBRARY_PATH": os.pathsep.join((libdir, str(libraries))),
    }
