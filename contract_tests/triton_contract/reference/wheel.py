"""The wheels that the reference is made of: which ones, where they are kept, and how they are downloaded.

NVIDIA publishes the server's binary in the PyPI package `nvidia-pytriton`. pip downloads it, so the user's index, proxy
and certificates are used, and checks its hash. Only the parts that the server needs are unpacked, into a folder of the
user's cache where later runs find them.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

DEFAULT_VERSION = "2.51.0"
CACHE_VARIABLE = "TRITON_CONTRACT_CACHE"
_GLIBC_NEEDED = (2, 35)


class ReferenceUnavailable(Exception):
    """The real server cannot be downloaded or run on this machine. The text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One release of a package: the hashes of its wheels, and the parts of them to unpack (none: all)."""

    package: str
    version: str
    sha256: tuple[str, ...]
    parts: tuple[str, ...] = ()


_SERVER_PARTS = ("pytriton/tritonserver/", "nvidia_pytriton.libs/", "nvidia_pytriton-")

SERVERS = {
    "2.51.0": Pin(
        "nvidia-pytriton",
        "0.7.0",
        ("21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",),
        _SERVER_PARTS,
    ),
}

# The stub was built against numpy 1. With numpy 2 it reads a tensor's size from the wrong address, and every
# model answers "output tensor shape does not match size of output". Wheels for CPython 3.11 and 3.12.
NUMPY = Pin(
    "numpy",
    "1.26.4",
    (
        "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
        "675d61ffbfa78604709862923189bad94014bef562cc35cf61d3a07bba02a7ed",
    ),
)


def cache_folder() -> Path:
    """Where unpacked wheels are kept: $TRITON_CONTRACT_CACHE, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("triton-contract"))


def fetch_server(version: str = DEFAULT_VERSION) -> Path:
    """The folder with the unpacked server of that version. It is downloaded on first use.

    Raises ReferenceUnavailable for an unknown version, an unsupported platform or a failed download.
    """
    pin = SERVERS.get(version)
    if pin is None:
        raise ReferenceUnavailable(
            f"no wheel is known for tritonserver {version} (known: {', '.join(SERVERS)})"
        )
    _check_platform()
    return fetch(pin, f"tritonserver-{version}-{pin.sha256[0][:12]}")


def fetch_numpy() -> Path:
    """The folder with a numpy that the server's Python backend can work with. Raises ReferenceUnavailable."""
    return fetch(NUMPY, f"numpy-{NUMPY.version}-{sys.implementation.cache_tag}")


def prepare(home: Path, make: Callable[[Path], None]) -> Path:
    """The folder `home`. If it does not exist, `make` fills a draft folder, which is then renamed."""
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix="draft-") as folder:
            draft = Path(folder) / home.name
            make(draft)
            try:
                draft.rename(home)
            except OSError:
                # Another process was faster. Its copy is equally good.
                if not home.is_dir():
                    raise
    return home


def fetch(pin: Pin, name: str) -> Path:
    """The folder of that name in the cache, with the content of a wheel. Raises ReferenceUnavailable."""

    def make(draft: Path) -> None:
        with tempfile.TemporaryDirectory(dir=draft.parent) as folder:
            _unpack(_download(pin, Path(folder)), draft, pin.parts)

    return prepare(cache_folder() / name, make)


def _check_platform() -> None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise ReferenceUnavailable(
            f"the wheel's tritonserver is for Linux x86_64; this is {system} {machine}"
        )
    libc, version = platform.libc_ver()
    found = tuple(int(part) for part in version.split(".")[:2]) if libc == "glibc" and version else (0, 0)
    if found < _GLIBC_NEEDED:
        needed = ".".join(map(str, _GLIBC_NEEDED))
        here = f"{libc or 'no glibc'} {version}".strip()
        raise ReferenceUnavailable(f"the wheel's tritonserver needs glibc {needed}; found {here}")


def _download(pin: Pin, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in pin.sha256)
    requirements.write_text(f"{pin.package}=={pin.version} {hashes}\n")
    target = folder / "download"
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(target)),
        *("--requirement", str(requirements)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(target.glob("*.whl")) if target.is_dir() else []
    if done.returncode != 0 or not archives:
        errors = [
            line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line
        ]
        why = errors[-1] if errors else f"pip ended with code {done.returncode}"
        raise ReferenceUnavailable(f"could not download {pin.package}=={pin.version}: {why}")
    return archives[0]


def _unpack(archive: Path, target: Path, parts: tuple[str, ...]) -> None:
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            if not parts or name.startswith(parts):
                wheel.extract(name, target)
    for program in (
        *target.glob("pytriton/tritonserver/bin/*"),
        *target.glob("**/triton_python_backend_stub"),
    ):
        program.chmod(0o755)
