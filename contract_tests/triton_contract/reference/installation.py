"""Makes unpacked wheels ready to run: the command, the folder of backends with its stub, and the environment.

The Python backend starts a stub process for each model. The stub embeds a Python of one minor version: that of the
running interpreter where the wheel has a stub for it, else another one of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import pythons
from .pythons import Interpreter
from .wheel import (
    DEFAULT_VERSION,
    FRONTENDS,
    NUMPY,
    ReferenceUnavailable,
    fetch_frontends,
    fetch_numpy,
    fetch_server,
    prepare,
)

STUB = "triton_python_backend_stub"
_FRONTENDS_PROGRAM = Path(__file__).with_name("frontends.py")


@dataclass(frozen=True, slots=True)
class Installation:
    """What is needed to start one server version: the program, folders of backends and caches, the environment.

    `program` takes tritonserver's flags. `python` is the version of the models' Python, such as `3.11`, and `core` the
    version of the core where it is another than that of the frontends.
    """

    version: str
    program: tuple[str, ...]
    backends: Path
    caches: Path
    environment: dict[str, str]
    python: str
    core: str = ""

    def how(self) -> str:
        """One line that says which server this is."""
        if self.core:
            return (
                f"the frontends of tritonserver {self.version} on the core of {self.core}, from their PyPI wheels, "
                f"CPU, backend for Python {self.python}"
            )
        return f"tritonserver {self.version} from its PyPI wheel, CPU, backend for Python {self.python}"


def install(version: str = DEFAULT_VERSION) -> Installation:
    """Download that server version and prepare its Python backend.

    Raises ReferenceUnavailable when a wheel cannot be downloaded or used here, or when this machine has no Python that
    it works with: one line that says which.
    """
    frontends = FRONTENDS.get(version)
    if frontends is not None:
        return _with_frontends(version, install(frontends.core))
    home = fetch_server(version)
    server = home / "pytriton" / "tritonserver"
    python = _models_python(version, server)
    return Installation(
        version=version,
        program=(str(server / "bin" / "tritonserver"),),
        backends=_backends(server, home, python.version),
        caches=server / "caches",
        environment={
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))},
            "PATH": os.pathsep.join((str(_python_home(python) / "bin"), os.environ.get("PATH", os.defpath))),
            "LD_LIBRARY_PATH": os.pathsep.join((str(python.libdir), str(home / "nvidia_pytriton.libs"))),
        },
        python=python.version,
    )


def _with_frontends(version: str, core: Installation) -> Installation:
    pin = FRONTENDS[version].pin
    python = pythons.find((pin.python,))
    if python is None:
        raise ReferenceUnavailable(
            f"the frontends of tritonserver {version} need CPython {pin.python} with a shared libpython; {_searched()}"
        )
    home = fetch_frontends(version)
    (bindings,) = home.glob("tritonfrontend/_c/*.so")
    (library,) = (fetch_server(core.version) / "nvidia_pytriton.libs").glob("libtritonserver-*.so")

    def link(draft: Path) -> None:
        draft.mkdir()
        (draft / "libtritonserver.so").symlink_to(library)

    # The module asks for the core by its plain name.
    links = prepare(home / f"core-{core.version}", link)
    folders = (links, *core.environment["LD_LIBRARY_PATH"].split(os.pathsep), python.libdir)
    return Installation(
        version=version,
        program=(
            *(str(python.program), "-I", str(_FRONTENDS_PROGRAM)),
            *(f"--core={library}", f"--bindings={bindings}"),
        ),
        backends=core.backends,
        caches=core.caches,
        environment={
            **core.environment,
            "LD_PRELOAD": str(library),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, (*folders, home / "tritonfrontend.libs"))),
        },
        python=core.python,
        core=core.version,
    )


def _models_python(version: str, server: Path) -> Interpreter:
    """The Python for the models: one that the server has a stub for and that numpy 1 exists for."""
    stubs = {path.parent.name for path in (server / "python_backend_stubs").glob(f"*/{STUB}")}
    usable = _newest_first(stubs & set(NUMPY))
    python = pythons.find(usable)
    if python is None:
        raise ReferenceUnavailable(
            f"the Python backend of tritonserver {version} needs CPython {' or '.join(usable)} with a shared "
            f"libpython; {_searched()}"
        )
    return python


def _newest_first(versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=lambda version: tuple(map(int, version.split("."))), reverse=True)


def _searched() -> str:
    here = "{}.{}".format(*sys.version_info[:2])
    return f"this is Python {here}, and there is no other on PATH or where pyenv and uv keep theirs"


def _backends(server: Path, home: Path, python: str) -> Path:
    def make(draft: Path) -> None:
        shutil.copytree(server / "backends", draft)
        shutil.copy2(server / "python_backend_stubs" / python / STUB, draft / "python" / STUB)

    return prepare(home / f"backends-{python}", make)


def _python_home(python: Interpreter) -> Path:
    """A virtual environment for the stub.

    The stub embeds libpython, ignores PYTHONPATH and uses the packages of the first python3 on PATH. That one must
    have a numpy that the stub can work with.
    """
    numpy = fetch_numpy(python.version)

    def make(draft: Path) -> None:
        made = subprocess.run(
            [str(python.program), "-I", "-m", "venv", "--without-pip", "--symlinks", str(draft)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            why = (made.stderr or made.stdout).strip().splitlines()
            raise ReferenceUnavailable(
                f"{python.program} cannot make a virtual environment: {why[-1] if why else made.returncode}"
            )
        (packages,) = draft.glob("lib/python*/site-packages")
        shutil.copytree(numpy, packages, dirs_exist_ok=True)

    return prepare(numpy.with_name(f"python-with-{numpy.name}"), make)
