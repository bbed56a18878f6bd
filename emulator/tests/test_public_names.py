"""The names that `triton_emulator` exports: all that a program needs, imported on first use."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import triton_emulator

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMPORT = re.compile(r"\b(?:from|import) (triton_emulator[\w.]*)")


def test_the_names_are_few_and_sorted() -> None:
    names = triton_emulator.__all__
    assert names == sorted(names)
    assert len(names) <= 20


@pytest.mark.parametrize("name", triton_emulator.__all__)
def test_a_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(triton_emulator, name)
    assert value.__name__.rpartition(".")[2] == name
    assert value.__doc__
    assert name in dir(triton_emulator)


def test_another_name_is_none() -> None:
    with pytest.raises(AttributeError, match="module 'triton_emulator' has no attribute 'Emulater'"):
        triton_emulator.Emulater  # noqa: B018


def test_nothing_is_imported_before_it_is_used() -> None:
    program = (
        "import sys, triton_emulator; print(*(name for name in sys.modules if 'triton_emulator' in name))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["triton_emulator"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_a_document_imports_from_the_package_itself(document: Path) -> None:
    assert set(IMPORT.findall(document.read_text())) <= {"triton_emulator"}


@pytest.mark.parametrize("module", ["triton_emulator", "triton_emulator.cli"])
def test_the_package_is_the_command_too(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: triton-emulator [options]\n")
