"""Faults as texts, written as in Python: `error(503, "overloaded")`, `delay(1) + cut(after_events=3)`.

The names are those of `triton_emulator.fault`, the arguments are literals. A text is read, never run.
"""

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import reduce
from operator import add
from typing import Any

from triton_emulator.harness import fault
from triton_emulator.harness.fault import Fault
from triton_emulator.yaml_nodes import hint

#: the functions that make faults, by their names
FAULTS: Mapping[str, Callable[..., Fault]] = {
    name: getattr(fault, name) for name in fault.__all__ if name != "Fault"
}
#: characters of a text; a longer one would be read slowly
_LONGEST = 10_000
#: as JSON and YAML write them
_CONSTANTS = {"true": True, "false": False, "null": None}


def fault_of(text: str) -> Fault:
    """The fault that a text means. Raises ValueError, with what would be right, where it means none."""
    if len(text) > _LONGEST:
        raise ValueError(f"a fault has at most {_LONGEST} characters, not {len(text)}")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{_short(text)} is no fault; {_EXAMPLE}") from None
    calls: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        calls.append(node.right)
        node = node.left
    return reduce(add, map(_called, (node, *reversed(calls))))


_EXAMPLE = 'write it as in Python, for example error(503, "overloaded") or delay(1) + reset()'


def _called(node: ast.expr) -> Fault:
    """One call of a function that makes faults."""
    name = _name(node.func if isinstance(node, ast.Call) else node)
    if name is None:
        raise ValueError(f"{_short(_source(node))} is no fault; {_EXAMPLE}")
    if name not in FAULTS:
        advice = hint(name, FAULTS) or f"; there are {', '.join(FAULTS)}"
        raise ValueError(f"there is no fault {name!r}{advice}")
    if not isinstance(node, ast.Call):
        raise ValueError(f"{name} needs its arguments: {_usage(name)}")
    values = [_literal(name, each) for each in node.args]
    named = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError(f"{name}: write each argument; it is {_usage(name)}")
        named[keyword.arg] = _literal(name, keyword.value)
    make = FAULTS[name]
    try:
        inspect.signature(make).bind(*values, **named)
    except TypeError as error:
        raise ValueError(f"{name}: {error}; it is {_usage(name)}") from None
    try:
        return make(*values, **named)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from None


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fault":
        return node.attr  # as it is written in a test
    return node.id if isinstance(node, ast.Name) else None


def _literal(name: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(
            f"{name}: {_short(_source(node))} is no number, text or list; quote a text"
        ) from None


def _usage(name: str) -> str:
    """A function as it is called: `delay(seconds)`."""
    signature = inspect.signature(FAULTS[name])
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()
    ]
    return f"{name}{signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)}"


def _source(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except RecursionError:
        return "it"


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
