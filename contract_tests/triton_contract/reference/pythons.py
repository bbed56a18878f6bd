"""The Pythons of this machine that a reference can use: each with the shared libpython that the server's stub loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: prints the interpreter's version, and the folder and name of its libpython
_QUESTION = (
    "import sys, sysconfig\n"
    "print('{}.{}'.format(*sys.version_info[:2]))\n"
    "print(sysconfig.get_config_var('LIBDIR') or '')\n"
    "print(sysconfig.get_config_var('INSTSONAME') or '')\n"
)
_ANSWER_SECONDS = 30
#: where pyenv and uv keep the Pythons that they install, and where a person compiles one to
_HOMES = ("~/.pyenv/versions/*/bin", "~/.local/share/uv/python/*/bin", "/usr/local/bin", "/usr/bin")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython with a shared libpython in the folder `libdir`. `version` is its major and minor, such as `3.11`."""

    program: Path
    version: str
    libdir: Path


def find(wanted: Sequence[str]) -> Interpreter | None:
    """A Python of one of these versions (`3.12`): the running one if it fits, else the first that fits, as wanted.

    They are looked for on PATH and where pyenv and uv keep theirs. None if there is none with a shared libpython.
    """
    here = ask(Path(sys.executable))
    if here is not None and here.version in wanted:
        return here
    for version in wanted:
        for program in _programs(version):
            found = ask(program)
            if found is not None and found.version == version:
                return found
    return None


@cache
def ask(program: Path) -> Interpreter | None:
    """What an interpreter says about itself; None if it cannot be run or has no shared libpython."""
    try:
        answer = subprocess.run(
            [str(program), "-I", "-c", _QUESTION],
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=True,
        ).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return None
    version, libdir, name = answer[:3]
    if ".so" not in name or not (Path(libdir) / name).exists():
        return None
    return Interpreter(program, version, Path(libdir))


def _programs(version: str) -> Iterator[Path]:
    name = f"python{version}"
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = Path(folder or ".") / name
        if program.is_file():
            yield program
    # The Pythons beside this one: pyenv and uv keep each in a folder of its own, all in one folder.
    yield from sorted(Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))
    for pattern in _HOMES:
        home = Path(pattern).expanduser()
        yield from sorted(Path(home.anchor).glob(f"{home.relative_to(home.anchor)}/{name}"))
