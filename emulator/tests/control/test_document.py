"""The OpenAPI document of the control API, and Schemathesis, which sends what it allows and what it does not."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from triton_emulator import Emulator
from triton_emulator.control.shapes import LONGEST_WAIT

ROUTES = {
    ("get", "/sessions", "list_sessions"),
    ("post", "/sessions", "open_session"),
    ("get", "/sessions/{session}", "get_session"),
    ("delete", "/sessions/{session}", "close_session"),
    ("post", "/sessions/{session}/reset", "reset_session"),
    ("get", "/sessions/{session}/plans", "list_plans"),
    ("post", "/sessions/{session}/plans", "add_plan"),
    ("get", "/sessions/{session}/plans/{number}", "get_plan"),
    ("delete", "/sessions/{session}/plans/{number}", "remove_plan"),
    ("get", "/sessions/{session}/stubs", "list_stubs"),
    ("post", "/sessions/{session}/stubs", "add_stub"),
    ("get", "/sessions/{session}/stubs/{number}", "get_stub"),
    ("delete", "/sessions/{session}/stubs/{number}", "remove_stub"),
    ("get", "/sessions/{session}/requests", "list_requests"),
    ("post", "/sessions/{session}/requests/verify", "verify_requests"),
    ("get", "/sessions/{session}/requests/{number}", "get_request"),
    ("get", "/sessions/{session}/models", "list_models"),
    ("get", "/sessions/{session}/latencies", "list_latencies"),
    ("post", "/sessions/{session}/latencies", "set_latencies"),
    ("post", "/sessions/{session}/send", "send_request"),
    ("get", "/sessions/{session}/problems", "list_problems"),
    ("post", "/sessions/{session}/allow", "allow_problems"),
    ("get", "/sessions/{session}/verdict", "get_verdict"),
    ("get", "/sessions/{session}/clock", "get_clock"),
    ("post", "/sessions/{session}/clock/advance", "advance_clock"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(model_control_mode="explicit", load_models=("simple",), control=True) as emulator:
        yield emulator


@pytest.fixture
def document(emulator: Emulator) -> Any:
    return httpx.get(f"{emulator.control_url}/openapi.json").json()


def test_the_document_has_each_route(document: Any) -> None:
    found = {
        (method, path, route["operationId"])
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    }
    assert found == ROUTES


def test_each_route_says_what_it_does_and_how_it_refuses(document: Any) -> None:
    for methods in document["paths"].values():
        for route in methods.values():
            assert route["description"]
            refusals = {status: body for status, body in route["responses"].items() if status >= "400"}
            assert "422" in refusals
            for body in refusals.values():
                schema = body["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def test_nothing_that_schemathesis_sends_breaks_it(emulator: Emulator) -> None:
    schema = schemathesis.openapi.from_url(f"{emulator.control_url}/openapi.json")
    asked = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(
            max_examples=15,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def ask(case: Any) -> None:
            if "session" in case.path_parameters:
                case.path_parameters["session"] = "root"
            query = case.query or {}
            timeout = query.get("timeout", 0)
            # a lawful wait is cut short; an unlawful one stays, as it is to be refused
            if query.get("count") and type(timeout) in (int, float) and 0 <= timeout <= LONGEST_WAIT:
                case.query = {**query, "timeout": 0}
            case.call_and_validate(checks=CHECKS)

        ask()
        asked += 1
    assert asked == len(ROUTES)
