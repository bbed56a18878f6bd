"""The wheel that carries tritonserver: which one, where it is kept, and how it gets there.

NVIDIA publishes the server's binary inside the PyPI package `nvidia-pytriton`. pip fetches it (so the
user's index, proxy and certificates are honoured) and checks its hash; only the parts that the server
needs are unpacked, into a folder of the user's cache that later runs find again.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

DEFAULT_VERSION = "2.51.0"
CACHE_VARIABLE = "TRITON_CONTRACT_CACHE"
PACKAGE = "nvidia-pytriton"
_WANTED = ("pytriton/tritonserver/", "nvidia_pytriton.libs/")
_LICENCES = ".dist-info/"
_GLIBC_NEEDED = (2, 35)


class ReferenceUnavailable(Exception):
    """The real server cannot be had here; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One pinned release of the package, and the server version inside."""

    server: str
    package: str
    sha256: str


WHEELS = {
    wheel.server: wheel
    for wheel in (
        Wheel("2.51.0", "0.7.0", "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"),
    )
}


def cache_folder() -> Path:
    """Where unpacked servers are kept: $TRITON_CONTRACT_CACHE, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("triton-contract"))


def fetch(version: str = DEFAULT_VERSION) -> Path:
    """The unpacked wheel of that server version, downloaded on first use.

    Raises ReferenceUnavailable on an unknown version, an unsupported platform or a failed download.
    """
    wheel = WHEELS.get(version)
    if wheel is None:
        known = ", ".join(sorted(WHEELS))
        raise ReferenceUnavailable(f"no wheel is known for tritonserver {version} (known: {known})")
    _check_platform()
    home = cache_folder() / f"tritonserver-{wheel.server}-{wheel.sha256[:12]}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="fetch-") as folder:
        archive = _download(wheel, Path(folder))
        unpacked = Path(folder) / "unpacked"
        _unpack(archive, unpacked)
        try:
            unpacked.rename(home)
        except OSError:
            # Another process has put it there in the meantime; both hold the same hash.
            if not home.is_dir():
                raise
    return home


def _check_platform() -> None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise ReferenceUnavailable(f"the wheel's tritonserver is for Linux x86_64; this is {system} {machine}")
    libc, version = platform.libc_ver()
    found = tuple(int(part) for part in version.split(".")[:2]) if libc == "glibc" and version else (0, 0)
    if found < _GLIBC_NEEDED:
        needed = ".".join(map(str, _GLIBC_NEEDED))
        raise ReferenceUnavailable(f"the wheel's tritonserver needs glibc {needed}; found {libc or 'another libc'} {version}")


def _download(wheel: Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE}=={wheel.package} --hash=sha256:{wheel.sha256}\n")
    target = folder / "download"
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(target)),
        *("--requirement", str(requirements)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(target.glob("*.whl")) if target.is_dir() else []
    if done.returncode != 0 or not archives:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
        why = errors[-1] if errors else f"pip ended with code {done.returncode}"
        raise ReferenceUnavailable(f"could not download {PACKAGE}=={wheel.package}: {why}")
    return archives[0]


def _unpack(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            if name.startswith(_WANTED) or _LICENCES in name:
                wheel.extract(name, target)
    for program in (*target.glob("pytriton/tritonserver/bin/*"), *target.glob("**/triton_python_backend_stub")):
        program.chmod(0o755)
    if not (target / "pytriton/tritonserver/bin/tritonserver").is_file():
        shutil.rmtree(target)
        raise ReferenceUnavailable(f"{archive.name} holds no tritonserver")
