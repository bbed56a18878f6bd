"""Build a container image of the real server and print its tag; no base image and no network is needed.

    python ci/server_image.py

The server is that of the PyPI wheel, in the folders where NVIDIA's image has it (`/opt/tritonserver`). The Python of
its models, its numpy, `bash` (the Python backend starts each model with it) and shared libraries are this machine's.
So the image is for tests on this machine, and for nobody else.
"""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from triton_contract.reference.installation import Installation, install
from triton_contract.reference.pythons import find

TAG = "triton-emulator-tests/tritonserver"
SERVER, LOCAL = PurePosixPath("/opt/tritonserver"), PurePosixPath("/usr/local")
ENVIRONMENT = {
    "PATH": f"{SERVER}/bin:{LOCAL}/bin:/usr/bin:/bin",
    "LD_LIBRARY_PATH": f"{SERVER}/lib:{LOCAL}/lib",
    "PYTHONHOME": f"{LOCAL}",
}
PORTS = (8000, 8001, 8002)
#: parts of the standard library that no model needs
LEFT_OUT = frozenset(
    {"__pycache__", "ensurepip", "idlelib", "site-packages", "test", "tkinter", "turtledemo"}
)
#: `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00..)`, and the loader: `/lib64/ld-linux-x86-64.so.2 (0x00..)`
LIBRARY = re.compile(r"^\s(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


def files(installation: Installation) -> dict[PurePosixPath, Path]:
    """The files of the image and where they are on this machine."""
    python = find((installation.python,))
    assert python is not None
    (program,) = map(Path, installation.program)
    libraries = Path(installation.environment["LD_LIBRARY_PATH"].split(os.pathsep)[1])
    # the virtual environment with the numpy of the models comes first
    environment = Path(installation.environment["PATH"].split(os.pathsep)[0]).parent
    (packages,) = environment.glob("lib/python*/site-packages")
    modules = LOCAL / "lib" / f"python{python.version}"
    bash = shutil.which("bash")
    assert bash is not None
    found = {
        **_below(program.parent, SERVER / "bin"),
        **_below(libraries, SERVER / "lib"),
        **_below(installation.backends, SERVER / "backends"),
        **_below(installation.caches, SERVER / "caches"),
        **_below(_standard_library(python.program), modules, LEFT_OUT),
        # beside the standard library, as distributions have other names for the folder of packages
        **_below(packages, modules),
        **{LOCAL / "lib" / path.name: path for path in python.libdir.glob(f"libpython{python.version}*.so*")},
        LOCAL / "bin" / "python3": python.program.resolve(),
        PurePosixPath("/bin/bash"): Path(bash),
        PurePosixPath("/bin/sh"): Path(bash),
    }
    return {**_libraries(found.values(), installation.environment), **found}


def _standard_library(python: Path) -> Path:
    question = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    answer = subprocess.run([python, "-I", "-c", question], stdout=subprocess.PIPE, text=True, check=True)
    return Path(answer.stdout.strip())


def _below(
    folder: Path, place: PurePosixPath, left_out: frozenset[str] = frozenset()
) -> dict[PurePosixPath, Path]:
    return {
        place / path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and left_out.isdisjoint(path.relative_to(folder).parts)
    }


def _libraries(programs: Collection[Path], environment: Mapping[str, str]) -> dict[PurePosixPath, Path]:
    """The shared libraries that the programs load and that are not among them."""
    dynamic = [str(path) for path in programs if _is_elf(path)]
    told = subprocess.run(
        ["ldd", *dynamic], capture_output=True, text=True, env=dict(environment), check=False
    )
    known = {path.resolve() for path in programs}
    paths = {Path(found) for found in LIBRARY.findall(told.stdout)}
    return {PurePosixPath(path): path for path in paths if path.resolve() not in known}


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def changes() -> Iterator[str]:
    """What a Dockerfile would say of the image."""
    yield from (f"ENV {name}={value}" for name, value in ENVIRONMENT.items())
    yield from (f"EXPOSE {port}" for port in PORTS)
    yield f"WORKDIR {SERVER}"


def _by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def build(tag: str, contents: Mapping[PurePosixPath, Path]) -> None:
    """Import an image of these files. Raises CalledProcessError, with what the engine says on standard error."""
    command = ["docker", "import", *(f"--change={line}" for line in changes()), "-", tag]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as engine:
        assert engine.stdin is not None
        with tarfile.open(fileobj=engine.stdin, mode="w|", dereference=True) as archive:
            folder = tarfile.TarInfo("tmp")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(folder)
            for place, path in contents.items():
                archive.add(path, place.relative_to("/").as_posix(), filter=_by_root)
        engine.stdin.close()
    if engine.returncode:
        raise subprocess.CalledProcessError(engine.returncode, command)


def main() -> None:
    """Build the image of the server that tests compare with."""
    installation = install()
    tag = f"{TAG}:{installation.version}"
    build(tag, files(installation))
    print(tag)


if __name__ == "__main__":
    main()
