"""What the examples of a page need from pip, and what the page's `pip install` line gives.

A page needs a distribution for each import of its Python (blocks and files), pytest where it runs pytest, and an extra
of this project for each of its programs that the page runs. A line gives what it names, and what the named extras
depend on. An extra of another distribution counts as well: `tritonclient.http` needs `tritonclient[http]`.
"""

import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.console_examples import ROOT, parse

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS: str = PROJECT["name"]
BLOCK = re.compile(r'^```(\w+)(?: +title="([^"\n]+)")? *\n(.*?)^```', re.MULTILINE | re.DOTALL)
LINE = re.compile(r"`pip\s+install\s([^`]+)`")
# Modules that need an extra of their distribution; the longest name that fits counts.
EXTRAS = {
    "triton_adapter": (OURS, "adapter"),
    "triton_adapter.proxy": (OURS, "proxy"),
    "triton_contract": (OURS, "contract"),
    "tritonclient.grpc": ("tritonclient", "grpc"),
    "tritonclient.http": ("tritonclient", "http"),
}
# A server gives these to the models that it runs.
OF_MODELS = frozenset({"triton_python_backend_utils"})
PROGRAMS = {
    "triton-emulator": (OURS, ""),
    "triton-proxy": (OURS, "proxy"),
    "triton-contract": (OURS, "contract"),
    "pytest": ("pytest", ""),
}
Need = tuple[str, str]
"""A distribution and an extra of it, "" for none."""


def needs(page: str) -> set[Need]:
    """Return what the examples of a page need."""
    blocks = BLOCK.findall(page)
    own = {Path(title).stem for _, title, _ in blocks if title.endswith(".py")}
    found: set[Need] = set()
    for language, title, text in blocks:
        if language == "console":
            found |= {PROGRAMS[word] for word in _words(text) if word in PROGRAMS}
        elif language == "python" or title.endswith(".py"):
            found |= {need for module in _imports(text) if (need := _need(module, own)) is not None}
    return found


def gives(page: str) -> set[Need]:
    """Return what the `pip install` lines of a page give, without what other distributions depend on."""
    found: set[Need] = set()
    for line in LINE.findall(page):
        for word in shlex.split(line):
            found |= _closure(word)
    return found


def _words(console: str) -> Iterator[str]:
    for step in parse(console):
        # A program is a word of its own: not a part of a path, a flag or a text in quotes.
        yield from re.findall(r"(?<![^\s|(])[a-z-]+(?=\s|$)", re.sub(r"'[^']*'", "", step.command))


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from tritonclient import http` is `tritonclient.http`
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _need(module: str, own: set[str]) -> Need | None:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in own or top in OF_MODELS or top == "conftest":
        return None
    for name in sorted(EXTRAS, key=len, reverse=True):
        if module == name or module.startswith(f"{name}."):
            return EXTRAS[name]
    if top == "triton_emulator":
        return OURS, ""
    (distribution, *_) = packages_distributions()[top]
    return canonicalize_name(distribution), ""


def _closure(text: str) -> set[Need]:
    requirement = Requirement(text)
    name: str = canonicalize_name(requirement.name)
    found: set[Need] = {(name, ""), *((name, extra) for extra in requirement.extras)}
    if name == OURS:
        lists = [PROJECT["dependencies"]]
        lists += [PROJECT["optional-dependencies"][extra] for extra in requirement.extras]
        for listed in lists:
            found |= {need for each in listed if each != text for need in _closure(each)}
    return found
