"""The wheels that the reference is made of: which ones, where they are kept, and how they are downloaded.

NVIDIA publishes the server's binary in the PyPI package `nvidia-pytriton`, up to 2.51.0, and the frontends of newer
servers in the package `tritonfrontend`. pip downloads them, so the user's index, proxy and certificates are used, and
checks their hashes. Only the parts that the server needs are unpacked, into a folder of the user's cache where
later runs find them.
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
    """One release of a package: the hashes of its wheels, and the parts of them to unpack (none: all).

    `python` is the version that the wheel is for, such as `3.12`, where it is not for every Python.
    """

    package: str
    version: str
    sha256: tuple[str, ...]
    parts: tuple[str, ...] = ()
    python: str = ""


@dataclass(frozen=True, slots=True)
class Frontends:
    """Frontends of a newer server, which run on the core of the whole server `core`, in the Python of their wheel."""

    pin: Pin
    core: str


def _whole(package_version: str, sha256: str) -> Pin:
    parts = ("pytriton/tritonserver/", "nvidia_pytriton.libs/", "nvidia_pytriton-")
    return Pin("nvidia-pytriton", package_version, (sha256,), parts)


#: Whole servers by version: the binary with its core, frontends and Python backend. The package of 2.39.0 and older
#: ones work as well, but have not been asked.
SERVERS = {
    "2.41.0": _whole("0.5.0", "f46a3c03fb0893948f57c1d5470998a6f403f2c8036d7af944c817a8fba31a46"),
    "2.42.0": _whole("0.5.1", "e02a98893f3c2503f542fa8273c3a63762e59b82858b5254738fc51a4f95a430"),
    "2.43.0": _whole("0.5.3", "2530bbd0ce56b86cb59efa64493d62f3a0f4f203d1b94179759a55955fd5b5c8"),
    "2.44.0": _whole("0.5.6", "6403e65c2bbab0ab2fe2b737ad612e2b88f3edf20d41aadd1d544ffb309a701c"),
    "2.45.0": _whole("0.5.7", "c0ad9e355fcd9e1ccf70e8c21db3e4f765bbc41d7be448b88b53526b4a639a16"),
    "2.46.0": _whole("0.5.8", "cd3cdfb704db3a01f857adc97fea77d5413c9f9e89f9b7add91c9d16a0bec7f8"),
    "2.47.0": _whole("0.5.9", "3c51133d428dc0b8eebe69c40c5de1d702d98f05ffb04b591d13e227bdb0f0a5"),
    "2.48.0": _whole("0.5.10", "0c08d905d25ad71e887864625ec9e2692e6cb4a746c32c93e332e5c8476bc669"),
    "2.49.0": _whole("0.5.11", "4f3e20b0e10e1f3dc9190a15be51fe308b796c11d1f018cb34b9915ca2cb54c9"),
    "2.50.0": _whole("0.5.12", "a44e099c6c4a77bdef94632591077f8217f6996571daeab77430c0aa5dca515c"),
    "2.51.0": _whole("0.7.0", "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"),
}
FRONTENDS = {
    "2.72.0": Frontends(
        Pin(
            "tritonfrontend",
            "2.72.0",
            ("1b36fcdf9c98d6b99b495f8cfca156aa5bb149bcbe8d7a62f070e42eb0eff020",),
            ("tritonfrontend/_c/", "tritonfrontend.libs/", "tritonfrontend-"),
            python="3.12",
        ),
        core="2.51.0",
    ),
}
#: every version that a reference can be had of, oldest first
VERSIONS = (*SERVERS, *FRONTENDS)

# The stub was built against numpy 1. With numpy 2 it reads a tensor's size from the wrong address, and every
# model answers "output tensor shape does not match size of output".
NUMPY = {
    python: Pin("numpy", "1.26.4", (sha256,), python=python)
    for python, sha256 in {
        "3.9": "f870204a840a60da0b12273ef34f7051e98c3b5961b61b0c2c1be6dfd64fbcd3",
        "3.10": "ffa75af20b44f8dba823498024771d5ac50620e6915abac414251bd971b4529f",
        "3.11": "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
        "3.12": "675d61ffbfa78604709862923189bad94014bef562cc35cf61d3a07bba02a7ed",
    }.items()
}


def cache_folder() -> Path:
    """Where unpacked wheels are kept: $TRITON_CONTRACT_CACHE, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("triton-contract"))


def fetch_server(version: str = DEFAULT_VERSION) -> Path:
    """The folder with the unpacked whole server of that version. It is downloaded on first use.

    Raises ReferenceUnavailable for an unknown version, an unsupported platform or a failed download.
    """
    pin = SERVERS.get(version)
    if pin is None:
        raise ReferenceUnavailable(
            f"no wheel is known for tritonserver {version} (known: {', '.join(VERSIONS)})"
        )
    _check_platform(version)
    return fetch(pin, f"tritonserver-{version}-{pin.sha256[0][:12]}")


def fetch_frontends(version: str) -> Path:
    """The folder with the unpacked frontends of that version. Raises as `fetch_server` does."""
    _check_platform(version)
    pin = FRONTENDS[version].pin
    return fetch(pin, f"tritonfrontend-{version}-{pin.sha256[0][:12]}")


def fetch_numpy(python: str) -> Path:
    """The folder with a numpy for that Python that the server's backend can work with. Raises ReferenceUnavailable."""
    pin = NUMPY[python]
    return fetch(pin, f"numpy-{pin.version}-cpython-{python.replace('.', '')}")


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


def _check_platform(version: str) -> None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise ReferenceUnavailable(f"tritonserver {version} is for Linux x86_64; this is {system} {machine}")
    libc, version = platform.libc_ver()
    found = tuple(int(part) for part in version.split(".")[:2]) if libc == "glibc" and version else (0, 0)
    if found < _GLIBC_NEEDED:
        needed = ".".join(map(str, _GLIBC_NEEDED))
        here = f"{libc or 'no glibc'} {version}".strip()
        raise ReferenceUnavailable(f"tritonserver {version} needs glibc {needed}; found {here}")


def _download(pin: Pin, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in pin.sha256)
    requirements.write_text(f"{pin.package}=={pin.version} {hashes}\n")
    target = folder / "download"
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(target)),
        *(("--python-version", pin.python) if pin.python else ()),
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
