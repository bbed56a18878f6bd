"""Plans and stubs that are given as data: in `emulator.yaml`, by `--fault`, over the control API.

How it works
------------
A plan is a mapping from the names of `inject`'s arguments to their values, with the fault as a text (`fault_text`). A
stub is one from the names of `when`'s, with the arguments of `respond` under that name. `plan_of` and `stub_of` check
each field by itself, so that a mistake is told with its field, and then all of them together. What only a model's
config tells is checked when a stub is armed. `given_files` adds a file and its line, `given_text` reads a flag.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from triton_emulator.harness.criteria import Criteria
from triton_emulator.harness.fault import Fault
from triton_emulator.harness.fault_text import fault_of
from triton_emulator.harness.near_miss import Expected
from triton_emulator.harness.plans import Plan, Plans, check_limits, check_plan
from triton_emulator.harness.stubs import Stub, Stubs
from triton_emulator.yaml_nodes import hint

#: the fields of a plan: which requests it is for, and how often
CRITERIA = ("operation", "model", "version", "protocol", "headers")
LIMITS = ("times", "after", "probability")
PLAN_FIELDS = ("fault", *CRITERIA, *LIMITS)
#: the fields of a stub, and of each of its answers
STUB_FIELDS = (*CRITERIA, "inputs", "parameters", "respond")
REPLY_FIELDS = ("outputs", "text", "tokens", "output", "parameters")


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
    check_names(given, PLAN_FIELDS, "plan")
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
        raise FieldError(
            "headers",
            f'headers are a mapping from names to texts, such as {{"x-tenant": "blue"}}, not {headers!r}',
        )
    for name, value in criteria.items():
        try:
            Criteria.of(**{name: value})
        except (TypeError, ValueError) as error:
            raise FieldError(name, str(error)) from None
    return criteria


@dataclass(frozen=True, slots=True)
class GivenStub:
    """A stub that has been read: the arguments of `when`, and those of `respond` and of each `then`."""

    criteria: Mapping[str, Any]
    inputs: Mapping[str, Any]
    parameters: Mapping[str, Any]
    replies: tuple[Mapping[str, Any], ...]

    def arm(self, stubs: Stubs, secrets: Collection[str], *, standing: bool = True) -> Stub:
        """Make the stub, `standing` as a plan is. Raises FieldError where the model's config has no such tensor."""
        criteria = Criteria.of(**self.criteria, secrets=secrets)
        try:
            stub = stubs.add(Expected(criteria, self.inputs, self.parameters), standing=standing)
        except (TypeError, ValueError) as error:
            raise FieldError("inputs" if self.inputs else "model", str(error)) from None
        try:
            for number, reply in enumerate(self.replies):
                (stub.then if number else stub.respond)(**reply)
        except (TypeError, ValueError) as error:
            stub.remove()
            raise FieldError("respond", str(error)) from None
        return stub


def stub_of(given: Mapping[str, Any]) -> GivenStub:
    """The stub that a mapping means. Raises FieldError."""
    check_names(given, STUB_FIELDS, "stub")
    criteria = criteria_of(given)
    if "model" not in given:
        raise FieldError("model", "a stub is for one model: name it")
    for name in ("inputs", "parameters"):
        if not _is_named(given.get(name, {})):
            raise FieldError(name, f"{name} are a mapping from names to values, not {given[name]!r}")
    replies: Any = given.get("respond")
    several: list[Any] = replies if isinstance(replies, list) else [replies]
    if not several or not all(map(_is_named, several)):
        raise FieldError(
            "respond",
            "respond is an answer, such as {text: pong} or {outputs: {SCORES: [0.9]}}, or a list of answers",
        )
    for reply in several:
        try:
            check_names(reply, REPLY_FIELDS, "reply")
        except FieldError as error:
            raise FieldError("respond", str(error)) from None
    return GivenStub(criteria, given.get("inputs", {}), given.get("parameters", {}), tuple(several))


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)
