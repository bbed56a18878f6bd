"""Calls of a test with an argument that there is not: the error names the right ones and the nearest."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from triton_emulator.yaml_nodes import hint

P = ParamSpec("P")
R = TypeVar("R")
_signature = cache(inspect.signature)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def named(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function raise a TypeError that says what to write, where it is called with other arguments than its own.

    Editors and type checkers see the function's own signature.
    """

    @wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> R:
        __tracebackhide__ = True  # pytest shows the call of the test
        try:
            _signature(function).bind(*given, **named)
        except TypeError as error:
            text = _mistake(function.__name__, _signature(function), given, named)
            raise TypeError(text or f"{function.__name__}: {error}") from None
        return function(*given, **named)

    return call


def _mistake(name: str, signature: inspect.Signature, given: Sequence[Any], named: Mapping[str, Any]) -> str:
    """What is wrong with a call; "" where only Python knows."""
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    names = [each.name for each in parameters]
    before = len(given) - ("self" in signature.parameters)
    positional = [each.name for each in parameters if each.kind in _BY_POSITION]
    for word in named:
        if word not in names:
            return f"{name} has no argument {word!r}; {_listed(names)}{hint(word, names)}"
    if before > len(positional):
        by_position = f"only {' and '.join(positional)}" if positional else "nothing"
        example = next((each for each in names if each not in positional), "")
        written = f"; write {example}=..., for example" if example else ""
        return f"{name} takes {by_position} without a name{written}; {_listed(names)}"
    for each in parameters[before:]:
        if each.default is each.empty and each.name not in named:
            return f"{name} needs the argument {each.name!r}; {_listed(names)}"
    return ""


def _listed(names: Sequence[str]) -> str:
    return f"its arguments are {', '.join(names)}" if names else "it has no arguments"
