"""A call with an argument that there is not: the error names the right ones and the nearest."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from triton_emulator import Session, fault
from triton_emulator.harness.fault_text import FAULTS
from triton_emulator.harness.requests import Requests
from triton_emulator.harness.stubs import Stub
from triton_emulator.harness.watched import Watched

CRITERIA = "operation, model, version, protocol, headers, where"
INJECT = f"its arguments are fault, {CRITERIA}, times, after, probability"
WHEN = f"its arguments are {CRITERIA}, inputs, parameters"
RESPOND = "its arguments are outputs, text, tokens, output, parameters"
Call = Callable[[Any], object]
#: the functions that make faults, without their types
LOOSE: Any = fault


@pytest.mark.parametrize(
    "call, text",
    [
        (
            lambda triton: triton.inject(fault.reset(), opration="infer"),
            f"inject has no argument 'opration'; {INJECT}; did you mean 'operation'?",
        ),
        (
            lambda triton: triton.inject(fault.reset(), "infer"),
            f"inject takes only fault without a name; write operation=..., for example; {INJECT}",
        ),
        (lambda triton: triton.inject(operation="infer"), f"inject needs the argument 'fault'; {INJECT}"),
        (
            lambda triton: triton.inject(fault.reset(), fault=fault.reset()),
            "inject: multiple values for argument 'fault'",
        ),
        (
            lambda triton: triton.when("infer", modle="simple"),
            f"when has no argument 'modle'; {WHEN}; did you mean 'model'?",
        ),
        (lambda triton: triton.when("infer"), f"when needs the argument 'model'; {WHEN}"),
        (
            lambda triton: triton.when("infer", "simple"),
            f"when takes only operation without a name; write model=..., for example; {WHEN}",
        ),
        (
            lambda triton: triton.when(model="simple").respond(txt="hi"),
            f"respond has no argument 'txt'; {RESPOND}; did you mean 'text'?",
        ),
        (
            lambda triton: triton.when(model="vllm").respond(text="hi").then(token=["a"]),
            f"then has no argument 'token'; {RESPOND}; did you mean 'tokens'?",
        ),
        (
            lambda triton: triton.assert_requested("infer", count=1),
            f"assert_requested has no argument 'count'; {WHEN}, times",
        ),
        (
            lambda triton: triton.requests.where(model_name="simple"),
            f"where has no argument 'model_name'; its arguments are {CRITERIA}; did you mean 'model'?",
        ),
        (
            lambda triton: triton.requests.wait_for(1, timeout_s=1),
            "wait_for has no argument 'timeout_s'; its arguments are count, timeout; did you mean 'timeout'?",
        ),
        (
            lambda triton: triton.verdict(ignored=["no_deadline"]),
            "verdict has no argument 'ignored'; its arguments are ignore; did you mean 'ignore'?",
        ),
        (
            lambda _: LOOSE.error(503, mesage="busy"),
            (
                "error has no argument 'mesage'; its arguments are status_or_code, message, retry_after; "
                "did you mean 'message'?"
            ),
        ),
        (
            lambda _: LOOSE.cut(3),
            (
                "cut takes nothing without a name; write after_events=..., for example; "
                "its arguments are after_events, after_bytes"
            ),
        ),
        (lambda _: LOOSE.reset(1), "reset takes nothing without a name; it has no arguments"),
        (lambda _: LOOSE.delay(), "delay needs the argument 'seconds'; its arguments are seconds"),
    ],
    ids=lambda value: value.partition(";")[0] if isinstance(value, str) else "",
)
def test_a_wrong_argument_is_told_with_the_right_ones(triton: Session, call: Call, text: str) -> None:
    triton.allow("unused")
    with pytest.raises(TypeError) as refused:
        call(triton)
    assert str(refused.value) == text
    assert list(triton.plans) == []


def test_what_the_function_itself_raises_is_not_changed(triton: Session) -> None:
    with pytest.raises(TypeError, match=r"^model is a str, not 3$"):
        triton.requests.where(model=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "function",
    [
        *(pytest.param(make, id=f"fault.{name}") for name, make in FAULTS.items()),
        *(
            pytest.param(getattr(owner, name), id=f"{owner.__name__}.{name}")
            for owner in (Watched, Requests, Stub)
            for name, value in vars(owner).items()
            if inspect.isfunction(value) and not name.startswith("_")
            if any(
                each.kind is each.KEYWORD_ONLY or each.default is not each.empty
                for each in inspect.signature(value).parameters.values()
            )
            if name not in ("differences", "fits", "take", "problems")  # not for tests
        ),
    ],
)
def test_every_function_of_a_test_with_arguments_tells_them(function: Callable[..., object]) -> None:
    nothing = [None] * (next(iter(inspect.signature(function).parameters), "") == "self")
    with pytest.raises(TypeError, match=rf"^{function.__name__} has no argument 'nonsense'; it"):
        function(*nothing, nonsense=1)
