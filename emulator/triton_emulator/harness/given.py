"""Plans that are given as data: in `emulator.yaml` (`faults:`), by `--fault`, over the control API.

How it works
------------
A plan is a mapping from the names of `inject`'s arguments to their values, with the fault as a text (`fault_text`).
`plan_of` checks each field by itself, so that a mistake is told with its field, and then all of them together. A file
adds its path and its line, a flag its name.

What is given stands for every session that reads it. It is armed when a session starts and when it is reset.
"""

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from triton_emulator.harness.criteria import Criteria
from triton_emulator.harness.fault import Fault
from triton_emulator.harness.fault_text import fault_of
from triton_emulator.harness.plans import Plan, Plans, check_limits, check_plan
from triton_emulator.yaml_nodes import YamlFile, hint, plain

#: the fields of a plan: which requests it is for, and how often
CRITERIA = ("operation", "model", "version", "protocol", "headers")
LIMITS = ("times", "after", "probability")
FIELDS = ("fault", *CRITERIA, *LIMITS)
#: the fields whose values are texts, which a flag need not quote
_TEXTS = frozenset(("operation", "model", "version", "protocol"))


class FieldError(ValueError):
    """A field of a plan or a stub that means nothing. The text says what would be right."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class GivenPlan:
    """A plan that has been read: its fault, and the arguments of `inject`."""

    fault: Fault
    criteria: Mapping[str, Any]
    limits: Mapping[str, Any]

    def arm(self, plans: Plans, secrets: Collection[str], *, standing: bool = True) -> Plan:
        """Make the plan. One that is `standing` is for no single test, so no test is told that it has not fired."""
        criteria = Criteria.of(**self.criteria, secrets=secrets)
        return plans.add(self.fault, criteria, **self.limits, standing=standing)


def plan_of(given: Mapping[str, Any]) -> GivenPlan:
    """The plan that a mapping means. Raises FieldError."""
    check_names(given, FIELDS, "plan")
    if not isinstance(given.get("fault"), str):
        raise FieldError("fault", 'fault is a text, for example error(503, "overloaded")')
    try:
        fault = fault_of(given["fault"])
    except ValueError as error:
        raise FieldError("fault", str(error)) from None
    criteria = criteria_of(given)
    limits = {name: given[name] for name in LIMITS if name in given}
    for name, value in limits.items():
        try:
            check_limits(**{name: value})
        except ValueError as error:
            raise FieldError(name, str(error)) from None
    try:
        check_plan(fault, Criteria.of(**criteria), **limits)
    except ValueError as error:
        raise FieldError("fault", str(error)) from None
    return GivenPlan(fault, criteria, limits)


def check_names(given: Mapping[str, Any], known: Collection[str], what: str) -> None:
    """Raise FieldError for a field that there is not."""
    for name in given:
        if name == "where":
            raise FieldError(name, "`where` is a function, which only a test in Python can give")
        if name not in known:
            advice = hint(name, known) or f"; the fields are {', '.join(known)}"
            raise FieldError(name, f"a {what} has no field {name!r}{advice}")


def criteria_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Criteria.of` among the fields. Raises FieldError."""
    criteria = {name: given[name] for name in CRITERIA if name in given}
    headers = criteria.get("headers")
    if headers is not None and not (
        isinstance(headers, dict) and all(isinstance(name, str) for name in headers)
    ):
        raise FieldError("headers", f"headers are a mapping from names to texts, not {headers!r}")
    for name, value in criteria.items():
        try:
            Criteria.of(**{name: value})
        except (TypeError, ValueError) as error:
            raise FieldError(name, str(error)) from None
    return criteria


# --- a flag ---


def plan_of_text(text: str) -> GivenPlan:
    """The plan that a text means: a fault, and fields after it, as `error(503) operation=generate times=2`.

    Raises ValueError.
    """
    words = list(_words(text))
    start = next((at for at, word in enumerate(words) if _FIELD.match(word)), len(words))
    if not start:
        raise ValueError("a plan begins with its fault, for example: error(503) operation=generate times=2")
    given: dict[str, Any] = {"fault": " ".join(words[:start])}
    for word in words[start:]:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(
                f"{word!r} is no field of a plan; write it as name=value, and quote a text with spaces"
            )
        if name in given:
            raise ValueError(f"{name} is given twice")
        given[name] = _value(name, value)
    return plan_of(given)


_FIELD = re.compile(r"[A-Za-z_]+=(?!=)")


def _words(text: str) -> Iterator[str]:
    """The words of a text: white space within brackets or quotes does not end one."""
    word: list[str] = []
    depth, quote, escaped = 0, "", False
    for character in text:
        if quote:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character.isspace() and depth <= 0:
            if word:
                yield "".join(word)
            word = []
            continue
        word.append(character)
    if word:
        yield "".join(word)


def _value(name: str, text: str) -> Any:
    """The value of a field: a literal; of a field that is a text, the text itself unless it is quoted."""
    if name in _TEXTS and text[:1] not in ("'", '"'):
        return text
    try:
        return None if text == "null" else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text  # which the field refuses


# --- a file ---


def plans_of_node(node: yaml.Node, file: YamlFile) -> Iterator[GivenPlan]:
    """The plans of the section `faults`. Raises SettingsError."""
    for number, item in enumerate(file.items(node, "'faults'"), start=1):
        yield plan_of_item(item, file, f"fault {number}")


def plan_of_item(item: yaml.Node, file: YamlFile, where: str) -> GivenPlan:
    """One plan of a file. Raises SettingsError with the line of the field."""
    nodes: dict[str, yaml.Node] = {}
    given: dict[str, Any] = {}
    for name, key, value in file.pairs(item, where):
        nodes[name] = key
        try:
            given[name] = plain(value)
        except ValueError as error:
            raise file.error(value, f"'{name}' of {where} {error}") from None
    try:
        return plan_of(given)
    except FieldError as error:
        raise file.error(nodes.get(error.field, item), f"'{error.field}' of {where}: {error}") from None


@dataclass(frozen=True, slots=True)
class Given:
    """What is given to a session, by its flags and by its `emulator.yaml` files."""

    plans: tuple[GivenPlan, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.plans)


def given_by(flags: Iterable[str], sections: Iterable[tuple[YamlFile, Mapping[str, yaml.Node]]]) -> Given:
    """What the texts of `--fault` and the sections of files give. Raises SettingsError and ValueError."""
    plans = [plan_of_text(text) for text in flags]
    for file, nodes in sections:
        if "faults" in nodes:
            plans += plans_of_node(nodes["faults"], file)
    return Given(tuple(plans))
