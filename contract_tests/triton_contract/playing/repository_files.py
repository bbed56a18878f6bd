"""Copies of a model repository that a case changes while a server reads them.

Every `.py` file is compiled beforehand. Otherwise the real server's Python would write the bytecode itself, and a
server that polls the repository would take that file for a change of the model.
"""

from __future__ import annotations

import compileall
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triton_contract.cases.case import Edit


@contextmanager
def copied(repository: Path) -> Iterator[Path]:
    """A copy in a folder of the same name; it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="triton-contract-") as folder:
        copy = Path(folder) / repository.name
        shutil.copytree(repository, copy, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(copy, quiet=2)
        yield copy


def change(repository: Path | None, edit: Edit) -> None:
    """Carry out an edit. Files and folders of new models are moved into place, so a server never sees a part of one.

    Raises LookupError where there is no repository that the case may change.
    """
    if repository is None:
        raise LookupError("only a server that is started for the case has a repository to change")
    new = repository.parent / "new"  # outside the folder that the server reads
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
    """Move the content of `source` into `target`, merge folders that both have, and remove `source`."""
    for path in sorted(source.iterdir()):
        if path.is_dir() and (target / path.name).exists():
            _move_into(target / path.name, path)
        else:
            path.rename(target / path.name)
    source.rmdir()
