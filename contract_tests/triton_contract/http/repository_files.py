"""A model repository that a case changes while a server reads it: a copy, and the changes.

Every `.py` comes with its bytecode: else the real server's Python would write it, and a server that polls would take
that for a change of the model.
"""

from __future__ import annotations

import compileall
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .case import Edit


@contextmanager
def copied(repository: Path) -> Iterator[Path]:
    """A copy under the same name, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="triton-contract-") as folder:
        copy = Path(folder) / repository.name
        shutil.copytree(repository, copy, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(copy, quiet=2)
        yield copy


def change(repository: Path | None, edit: Edit) -> None:
    """Carry out an edit. A file, or the folder of a new model, is there as a whole whenever a server looks."""
    if repository is None:
        raise LookupError("only a server that is started for the case has a repository to change")
    new = repository.parent / "new"  # outside of what a server looks at
    for name, text in edit.write.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_text(text)
    if new.exists():
        compileall.compile_dir(new, quiet=2)
        _move_into(repository, new)
    for name in edit.remove:
        path = repository / name
        if path.is_dir():
            path.rename(repository.parent / "old")
            shutil.rmtree(repository.parent / "old")
        else:
            path.unlink()


def _move_into(target: Path, source: Path) -> None:
    """Move what is in a folder to another one, which may have some of its folders, and remove it."""
    for path in sorted(source.iterdir()):
        if path.is_dir() and (target / path.name).exists():
            _move_into(target / path.name, path)
        else:
            path.rename(target / path.name)
    source.rmdir()
