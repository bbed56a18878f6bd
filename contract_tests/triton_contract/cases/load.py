"""Reads case files: YAML to cases, with defaults and tables. Every error names file, line, case and field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import yaml
from pydantic import ValidationError

from .case import Case, Step
from .rpc import GrpcCase, Rpc

CASES = Path(__file__).resolve().parent
MODELS = CASES.parent / "models"
"""The folder of all model repositories that cases name."""
PROTOCOLS = ("http", "grpc")
_FILE_FIELDS = {"repository", "flags", "defaults", "cases", "tables"}
_CASE_FIELDS = set(Case.model_fields) - {"topic", "folder"}
_STEP_FIELDS = {field.alias or name for kind in (Step, Rpc) for name, field in kind.model_fields.items()}
_TABLE_FIELDS = {"rows", "columns"}
_WHOLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))\Z")

Node = dict[str, Any]


class CaseError(Exception):
    """A case file breaks the format. The text is one line that names the file and the place."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe YAML loader that refuses a key that is written twice; the plain one would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise CaseError(f"{key.start_mark.line + 1}: key {key.value!r} is written twice")
            seen.add(key.value)
        result: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return result


def load_cases(*places: Path) -> list[Case]:
    """All cases of these files and folders (default: the package's own), in the order of the files.

    Raises CaseError for a broken file, and for an id that two cases have.
    """
    cases: list[Case] = []
    for path in _files(places or [CASES / protocol for protocol in PROTOCOLS]):
        cases.extend(load_file(path))
    seen: dict[str, str] = {}
    for case in cases:
        if case.id in seen:
            raise CaseError(f"{case.topic}.yaml: case {case.id}: id is already used in {seen[case.id]}.yaml")
        seen[case.id] = case.topic
    return cases


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from sorted(place.glob("*.yaml"))
        else:
            yield place


def load_file(path: Path) -> list[Case]:
    """The cases of one file. Raises CaseError."""
    try:
        document = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506 - a safe loader
    except CaseError as error:
        raise CaseError(f"{path.name}:{error}") from None
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise CaseError(f"{path.name}:{line}: not YAML: {error.problem}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CaseError(f"{path.name}: {error}") from error
    if not isinstance(document, dict) or not set(document) <= _FILE_FIELDS:
        raise CaseError(f"{path.name}: a case file is a mapping of {', '.join(sorted(_FILE_FIELDS))}")
    shared = {name: document[name] for name in ("repository", "flags") if name in document}
    shared |= document.get("defaults") or {}
    cases = []
    for node in document.get("cases") or []:
        with _placed(path, node):
            cases.append(_case(path, shared, _mapping(path, node)))
    for table in document.get("tables") or []:
        with _placed(path, table):
            cases.extend(_case(path, shared, node) for node in _expand(path, _mapping(path, table)))
    return cases


@contextmanager
def _placed(path: Path, node: Any) -> Iterator[None]:
    """Put the line of a case or a table into the errors about it."""
    try:
        yield
    except CaseError as error:
        name = node.get("id") if isinstance(node, dict) else None
        line = _lines(path).get(name if isinstance(name, str) else None)
        place = path.name if line is None else f"{path.name}:{line}"
        raise CaseError(str(error).replace(path.name, place, 1)) from None


def _lines(path: Path) -> dict[str | None, int]:
    """The lines of the cases and tables by their ids, that of the first one without an id under None.

    Only errors need them, so the file is read once more for them.
    """
    lines: dict[str | None, int] = {}
    root = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        listed = key.value in ("cases", "tables") and isinstance(value, yaml.SequenceNode)
        for item in value.value if listed else ():
            is_mapping = isinstance(item, yaml.MappingNode)
            fields = {name.value: each.value for name, each in item.value} if is_mapping else {}
            name = fields.get("id")
            lines.setdefault(name if isinstance(name, str) else None, item.start_mark.line + 1)
    return lines


def _folder(repository: str, path: Path, where: str) -> str:
    """The folder of a repository that is none of the contract's; "" for those that are. Raises CaseError."""
    if repository in repository_names():
        return ""
    folder = (path.parent / repository).resolve()
    if not folder.is_dir():
        raise CaseError(
            f"{where}: repository {repository}: there is no folder {folder}, and the contract's repositories are "
            f"{', '.join(repository_names())}"
        )
    return str(folder)


@cache
def repository_names() -> tuple[str, ...]:
    """The names of the contract's own repositories."""
    return tuple(sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir()))


def _mapping(path: Path, node: Any) -> Node:
    if not isinstance(node, dict) or not isinstance(node.get("id"), str):
        raise CaseError(
            f"{path.name}: every case and table is a mapping with an id; found {str(node)[:60]!r}"
        )
    return node


def _expand(path: Path, table: Node) -> Iterator[Node]:
    """One case per row: `$name` in the template becomes the row's value.

    A text that is only `$name` takes the value with its type, so numbers stay numbers and lists stay lists.
    """
    where = f"{path.name}: table {table['id']}"
    columns = table.get("columns")
    template = {name: value for name, value in table.items() if name not in _TABLE_FIELDS}
    for number, given in enumerate(table.get("rows") or [], start=1):
        row = dict(zip(columns, given, strict=False)) if columns else given
        if not isinstance(row, dict) or (columns and len(given) != len(columns)):
            raise CaseError(f"{where}: row {number} does not fit its columns")
        used: set[str] = set()
        try:
            node = _fill(template, row, used)
        except (KeyError, ValueError) as error:
            raise CaseError(f"{where}: row {number}: unknown or broken placeholder {error}") from None
        if unused := set(row) - used:
            raise CaseError(f"{where}: row {number}: no placeholder for {', '.join(sorted(unused))}")
        yield node


def _fill(value: Any, row: Mapping[str, Any], used: set[str]) -> Any:
    if isinstance(value, dict):
        return {_fill(name, row, used): _fill(item, row, used) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, row, used) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    if whole := _WHOLE.match(value):
        name = whole.group(1) or whole.group(2)
        used.add(name)
        return row[name]
    template = Template(value)
    used.update(template.get_identifiers())
    return template.substitute(row)


def _case(path: Path, shared: Node, node: Node) -> Case:
    where = f"{path.name}: case {node['id']}"
    merged = {**shared, **node}
    if unknown := set(merged) - _CASE_FIELDS - _STEP_FIELDS:
        names = sorted(map(str, unknown))
        near = get_close_matches(names[0], sorted(_CASE_FIELDS | _STEP_FIELDS), n=1)
        advice = f": did you mean {near[0]}?" if near else ""
        raise CaseError(f"{where}: unknown field {', '.join(names)}{advice}")
    step_part = {name: value for name, value in merged.items() if name in _STEP_FIELDS}
    case_part = {name: value for name, value in merged.items() if name in _CASE_FIELDS}
    if "steps" in case_part:
        if inline := {name for name in node if name in _STEP_FIELDS}:
            raise CaseError(f"{where}: {', '.join(sorted(inline))} next to steps; put it into a step")
        if not isinstance(case_part["steps"], list) or not all(
            isinstance(s, dict) for s in case_part["steps"]
        ):
            raise CaseError(f"{where}: steps is a list of mappings")
    else:
        case_part["steps"] = [step_part]
    if isinstance(case_part.get("repository"), str):
        case_part["folder"] = _folder(case_part["repository"], path, where)
    is_grpc = path.parent.name == "grpc"
    kind: type[Case] = GrpcCase if is_grpc else Case
    try:
        return kind(**case_part, topic=f"grpc/{path.stem}" if is_grpc else path.stem)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "case"
        raise CaseError(f"{where}: field {field}: {first['msg']}") from None
