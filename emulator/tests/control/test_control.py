"""The control API over HTTP: sessions, plans, stubs, the journal, and who may ask."""

import base64
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc

from emulator.tests.test_cli_start import FREE_PORTS, Running, command, run
from triton_emulator import Emulator

INTEGERS = list(range(16))
BODY = {
    "inputs": [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": INTEGERS}
        for name in ("INPUT0", "INPUT1")
    ]
}
SMALL: dict[str, Any] = {"model_control_mode": "explicit", "load_models": ["simple", "custom_llm"]}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(model_control_mode="explicit", control=True) as emulator:
        yield emulator


@pytest.fixture
def api(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client of the control API, with a path that begins at a session of the test's own."""
    with httpx.Client(base_url=emulator.control_url) as client:
        session = client.post("/sessions", json=SMALL).json()
        client.base_url = httpx.URL(f"{emulator.control_url}/sessions/{session['id']}/")
        yield client
        client.delete(here(client))


def here(api: httpx.Client) -> str:
    """The session itself."""
    return str(api.base_url).rstrip("/")


@pytest.fixture
def url(api: httpx.Client) -> str:
    """The session's HTTP address."""
    return str(api.get(here(api)).json()["http_url"])


def generate(url: str, model: str = "custom_llm", text: str = "hi") -> httpx.Response:
    return httpx.post(f"{url}/v2/models/{model}/generate", json={"text_input": text})


# --- sessions ---


def test_a_session_has_models_plans_and_a_journal_of_its_own(emulator: Emulator) -> None:
    with httpx.Client(base_url=emulator.control_url) as api:
        made = api.post("/sessions", json=SMALL)
        assert made.status_code == 201
        session = made.json()
        assert session == {
            "id": session["id"],
            "http_url": f"{emulator.http_url}/s/{session['id']}",
            "grpc_url": emulator.grpc_url,
            "grpc_headers": {"triton-session": session["id"]},
            "metrics_url": f"{emulator.metrics_url.removesuffix('/metrics')}/s/{session['id']}/metrics",
            "models": 2,
            "requests": 0,
            "plans": 0,
            "stubs": 0,
        }
        assert generate(session["http_url"]).status_code == 200
        with tritonclient.grpc.InferenceServerClient(session["grpc_url"]) as client:
            assert client.is_model_ready("simple", headers=session["grpc_headers"])
        assert api.get(f"/sessions/{session['id']}").json()["requests"] == 2
        assert [each["id"] for each in api.get("/sessions").json()] == ["root", session["id"]]
        assert api.delete(f"/sessions/{session['id']}").status_code == 204
        assert api.get(f"/sessions/{session['id']}").json() == {
            "error": f"there is no session '{session['id']}'; it may be closed",
            "field": None,
        }
        assert httpx.get(f"{session['http_url']}/v2").status_code == 404


@pytest.mark.parametrize(
    "body, text",
    [
        ({"load_models": ["simple"], "model_control_mode": "none"}, "load_models needs model_control_mode="),
        ({"model_control_mode": "all"}, "model_control_mode: Input should be 'none', 'poll' or 'explicit'"),
        ({"log_file": "x.log"}, "log_file: there is no such field"),
        ({"model_repositories": ["models"]}, "model_repositories: there is no such field"),
        ({"faults": ["eror(503)"]}, "faults: 'eror(503)': there is no fault 'eror'; did you mean 'error'?"),
        ({"model_control_mode": "explicit", "load_models": ["nobody"]}, "model 'nobody'"),
        ({"seed": "7"}, "seed: Input should be a valid integer"),
        ([], "it has to be a JSON object"),
    ],
)
def test_a_session_that_cannot_be_is_refused(emulator: Emulator, body: Any, text: str) -> None:
    answer = httpx.post(f"{emulator.control_url}/sessions", json=body)
    assert answer.status_code == 422
    assert text in answer.json()["error"]


def test_the_emulator_itself_is_the_session_root(emulator: Emulator) -> None:
    api = f"{emulator.control_url}/sessions/root"
    httpx.post(
        f"{api}/plans", json={"fault": "error(429)", "operation": "server_metadata"}
    ).raise_for_status()
    assert httpx.get(f"{emulator.http_url}/v2").status_code == 429
    assert httpx.delete(api).json()["error"] == "the emulator itself is no session that can be closed"
    assert httpx.post(f"{api}/reset").status_code == 204
    assert (httpx.get(f"{api}/plans").json(), emulator.plans, emulator.requests.count) == ([], [], 0)


# --- plans ---


def test_a_plan_is_armed_listed_and_removed(api: httpx.Client, url: str) -> None:
    plan = {
        "fault": 'delay(0) + error(503, "overloaded")',
        "operation": "generate",
        "model": "custom_llm",
        "headers": {"authorization": "secret"},
        "times": 2,
        "after": 1,
    }
    made = api.post("plans", json=plan)
    assert made.status_code == 201
    number = made.json()["number"]
    headers = {"authorization": "secret"}
    ask = f"{url}/v2/models/custom_llm/generate"
    statuses = [httpx.post(ask, json={"text_input": "hi"}, headers=headers).status_code for _ in range(2)]
    assert statuses == [200, 503]
    shown = api.get(f"plans/{number}").json()
    assert shown == {
        "number": number,
        "fault": "fault.delay(0) + fault.error(503, 'overloaded')",
        "operation": "generate",
        "model": "custom_llm",
        "version": None,
        "protocol": None,
        "headers": {"authorization": "[redacted]"},
        "times": 2,
        "after": 1,
        "probability": None,
        "standing": False,
        "fired": 1,
        "completed": 1,
        "problems": [shown["problems"][0]],
    }
    assert "fired 1 of 2 times" in shown["problems"][0]
    assert api.get("problems").json()["problems"] == shown["problems"]
    assert api.delete(f"plans/{number}").status_code == 204
    assert api.get("plans").json() == []
    assert api.get(f"plans/{number}").status_code == 404


def test_times_null_is_for_ever(api: httpx.Client, url: str) -> None:
    api.post("plans", json={"fault": "error(503)", "operation": "server_metadata", "times": None})
    assert [httpx.get(f"{url}/v2").status_code for _ in range(3)] == [503, 503, 503]


@pytest.mark.parametrize(
    "body, field, text",
    [
        ({"fault": "eror(503)"}, "fault", "there is no fault 'eror'; did you mean 'error'?"),
        ({"fault": "__import__('os').abort()"}, "fault", "is no fault; write it as in Python"),
        ({"fault": "error(503)", "operation": "infers"}, "operation", "did you mean 'infer'?"),
        ({"fault": "cut(after_events=1)", "operation": "infer"}, "fault", "makes no sense for infer"),
        ({"fault": "error(503)", "times": 0}, "times", "greater than or equal to 1"),
        ({"fault": "error(503)", "where": "lambda entry: True"}, "where", "there is no such field"),
        ({"fault": 5}, "fault", "Input should be a valid string"),
        ({}, "fault", "Field required"),
    ],
)
def test_a_plan_that_means_nothing_is_refused_with_its_field(
    api: httpx.Client, body: Any, field: str, text: str
) -> None:
    answer = api.post("plans", json=body)
    assert answer.status_code == 422
    assert (answer.json()["field"], text in answer.json()["error"]) == (field, True)
    assert api.get("plans").json() == []


def test_a_body_that_is_no_json_is_refused(api: httpx.Client) -> None:
    answer = api.post("plans", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "the body is no JSON: Expecting property name enclosed in double quotes",
    )
    answer = api.post("plans", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()) == (
        422,
        {"error": "the body has to have the header Content-Type: application/json", "field": None},
    )


# --- stubs ---


def test_a_stub_answers_and_its_scenario_goes_on(api: httpx.Client, url: str) -> None:
    stub = {
        "model": "custom_llm",
        "inputs": {"text_input": "hi"},
        "respond": [{"text": "one"}, {"tokens": ["t", "wo"]}],
    }
    number = api.post("stubs", json=stub).json()["number"]
    assert [generate(url).json()["text_output"] for _ in range(3)] == ["one", "two", "two"]
    shown = api.get(f"stubs/{number}").json()
    assert (shown["used"], shown["replies"], shown["problems"]) == (3, 2, [])
    assert shown["text"] == "model='custom_llm', inputs={text_input: 'hi'}"
    assert api.get("requests").json()["requests"][0]["stub"] == number
    assert api.delete(f"stubs/{number}").status_code == 204
    assert generate(url).json()["text_output"] != "two"


def test_a_stub_for_a_model_that_is_in_no_repository(api: httpx.Client, url: str) -> None:
    stub = {
        "model": "classifier",
        "inputs": {"IMAGE": {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}},
        "respond": {"outputs": {"SCORES": {"datatype": "FP16", "shape": [2], "data": [0.25, 0.75]}}},
    }
    api.post("stubs", json=stub).raise_for_status()
    body = {"inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    answer = httpx.post(
        f"{url}/v2/models/classifier/infer",
        json=body | {"outputs": [{"name": "SCORES", "parameters": {"binary_data": True}}]},
    )
    assert answer.content.endswith(np.array([0.25, 0.75], np.float16).tobytes())
    (request,) = api.get("requests", params={"operation": "infer"}).json()["requests"]
    assert request["answers"][0]["outputs"] == [
        {"name": "SCORES", "datatype": "FP16", "shape": [2], "data": [0.25, 0.75]}
    ]


@pytest.mark.parametrize(
    "body, field, text",
    [
        ({"model": "simple", "respond": {}}, "respond", "a stub answers outputs, or text, or tokens"),
        ({"model": "simple", "respond": []}, "respond", "respond is an answer, such as"),
        ({"model": "simple", "respond": {"outputs": {"A": [1]}}}, "respond", "has no output 'A'"),
        ({"model": "simple", "inputs": {"A": [1]}, "respond": {"text": "a"}}, "inputs", "has no input 'A'"),
        (
            {"model": "a", "respond": {"outputs": {"A": [1, "b"]}}},
            "respond",
            "no datatype fits these elements",
        ),
        (
            {"model": "a", "respond": {"outputs": {"A": {"data": 1}}}},
            "respond",
            "a tensor is {datatype: FP32",
        ),
        ({"model": "a", "operation": "model_ready", "respond": {"text": "a"}}, "model", "answers inference"),
        ({"respond": {"text": "a"}}, "model", "Field required"),
    ],
)
def test_a_stub_that_means_nothing_is_refused_with_its_field(
    api: httpx.Client, body: Any, field: str, text: str
) -> None:
    answer = api.post("stubs", json=body)
    assert answer.status_code == 422
    assert (answer.json()["field"], text in answer.json()["error"]) == (field, True)
    assert api.get("stubs").json() == []


def test_a_field_of_several_types_is_told_by_its_name_alone(api: httpx.Client) -> None:
    for respond, field, text in (
        ("hi", "respond", "it has to be a JSON object"),
        ({"text": 5}, "respond.text", "Input should be a valid string"),
        ([{"text": "hi"}, 5], "respond.1", "it has to be a JSON object"),
    ):
        answer = api.post("stubs", json={"model": "a", "respond": respond})
        assert answer.json() == {"error": f"{field}: {text}", "field": field}


@pytest.mark.parametrize("depth", [33, 900, 100_000])
def test_lists_in_lists_without_end_are_refused(api: httpx.Client, depth: int) -> None:
    nested = "[" * depth + "1" + "]" * depth
    for body in (
        f'{{"model": "a", "respond": {{"outputs": {{"X": {nested}}}}}}}',
        f'{{"model": "a", "inputs": {{"X": {nested}}}, "respond": {{"text": "a"}}}}',
    ):
        answer = api.post("stubs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
    assert api.get("stubs").json() == []


# --- the journal ---


def test_a_request_is_shown_with_its_tensors_as_data_or_base64(api: httpx.Client, url: str) -> None:
    body = BODY | {"id": "a", "parameters": {"k": 1.5}}
    plain = {"Accept-Encoding": "identity"}
    answer = httpx.post(f"{url}/v2/models/simple/infer", json=body, headers=plain)
    shown = api.get("requests", params={"bodies": True}).json()
    assert (shown["count"], shown["dropped"]) == (1, 0)
    (request,) = shown["requests"]
    assert {name: request[name] for name in ("number", "protocol", "operation", "model", "id", "status")} == {
        "number": 1,
        "protocol": "http",
        "operation": "infer",
        "model": "simple",
        "id": "a",
        "status": 200,
    }
    assert request["parameters"] == {"k": 1.5}
    assert request["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": INTEGERS}
    assert request["answers"][0]["outputs"][1]["data"] == [0] * 16
    assert json.loads(base64.b64decode(request["answer"])) == answer.json()
    coded = api.get("requests/1", params={"tensors": "base64"}).json()["inputs"][0]
    assert base64.b64decode(coded["base64"]) == np.arange(16, dtype=np.int32).tobytes()
    assert "body" not in api.get("requests/1").json()
    assert api.get("requests/1", params={"tensors": "none"}).json()["inputs"][0] == {
        "name": "INPUT0",
        "datatype": "INT32",
        "shape": [1, 16],
    }
    assert api.get("requests/2").json() == {"error": "there is no request 2", "field": None}


def test_what_json_cannot_hold_is_shown_otherwise(api: httpx.Client, url: str) -> None:
    outputs = {"X": {"datatype": "FP64", "data": [1.5]}}
    api.post("stubs", json={"model": "any", "respond": {"outputs": outputs}}).raise_for_status()
    numbers = np.array([np.nan, np.inf, -np.inf], np.float32).tobytes()
    texts = b"\x02\x00\x00\x00\xff\xfe"
    header = json.dumps(
        {
            "inputs": [
                {"name": "N", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": 12}},
                {"name": "T", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
                {"name": "B", "datatype": "BF16", "shape": [1], "parameters": {"binary_data_size": 2}},
            ]
        }
    ).encode()
    httpx.post(
        f"{url}/v2/models/any/infer",
        content=header + numbers + texts + b"\x20\xc0",
        headers=[(b"Inference-Header-Content-Length", b"%d" % len(header)), (b"x-odd", b"\xff")],
    ).raise_for_status()
    (request,) = api.get("requests", params={"operation": "infer"}).json()["requests"]
    assert [tensor.get("data", tensor.get("base64")) for tensor in request["inputs"]] == [
        ["NaN", "Infinity", "-Infinity"],
        base64.b64encode(texts).decode(),
        [-2.5],
    ]


def test_a_request_that_is_none_of_its_operation_says_why(api: httpx.Client, url: str) -> None:
    httpx.post(f"{url}/v2/models/simple/infer", content=b"\xff{")
    httpx.get(f"{url}/\ud7ff%ff")
    first, second = api.get("requests").json()["requests"]
    assert (first["inputs"], "has no inputs" in first["undecodable"]) == (None, True)
    assert (second["operation"], second["inputs"], second["undecodable"]) == ("", None, None)


def test_a_stream_is_shown_event_by_event(api: httpx.Client, url: str) -> None:
    api.post("stubs", json={"model": "llama", "respond": {"tokens": ["a", "b"]}}).raise_for_status()
    httpx.post(f"{url}/v2/models/llama/generate_stream", json={"text_input": "hi"})
    (request,) = api.get("requests").json()["requests"]
    assert [answer["outputs"][0]["data"] for answer in request["answers"]] == [["a"], ["b"]]
    assert [event["bytes"] > 0 for event in request["events"]] == [True, True]


def test_requests_are_filtered(api: httpx.Client, url: str) -> None:
    httpx.post(f"{url}/v2/models/simple/infer", json=BODY, headers={"x-tenant": "blue", "cookie": "secret"})
    generate(url)
    httpx.get(f"{url}/v2")

    def numbers(**params: Any) -> list[int]:
        return [each["number"] for each in api.get("requests", params=params).json()["requests"]]

    assert numbers() == [1, 2, 3]
    assert numbers(operation="infer") == [1]
    assert numbers(model="custom_llm", protocol="http") == [2]
    assert numbers(header=["x-tenant: blue", "cookie"]) == [1]
    assert numbers(header="x-tenant: red") == []
    assert numbers(after=1) == [2, 3]
    assert numbers(limit=1) == [3]
    assert "secret" not in api.get("requests").text
    assert (
        api.get("requests", params={"operation": "infers"}).json()["error"].endswith("did you mean 'infer'?")
    )
    assert api.get("requests", params={"limt": 1}).status_code == 422


def test_a_request_waits_for_others(api: httpx.Client, url: str) -> None:
    late = threading.Thread(target=generate, args=(url,))
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(api.get("requests", params={"count": 2, "timeout": 60}))
    )
    waiting.start()
    generate(url)
    late.start()
    late.join()
    waiting.join()
    assert answers[0].json()["count"] == 2


def test_a_wait_that_ends_in_vain_is_told(api: httpx.Client, url: str) -> None:
    answer = api.get("requests", params={"count": 1, "timeout": 0, "operation": "infer"})
    assert (answer.status_code, answer.json()["error"]) == (408, "0 of 1 requests came within 0.0 s")


def asks_to_wait(emulator: Emulator, session: str) -> socket.socket:
    """A connection on which a request waits for five minutes."""
    host, port = emulator.control_url.removeprefix("http://").split(":")
    waiting = socket.create_connection((host, int(port)), timeout=60)
    path = f"/sessions/{session}/requests?count=1&timeout=300"
    waiting.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    return waiting


def test_a_wait_ends_with_its_session(emulator: Emulator) -> None:
    with httpx.Client(base_url=emulator.control_url) as api:
        session = api.post("/sessions", json=SMALL).json()["id"]
        waiting = asks_to_wait(emulator, session)
        api.delete(f"/sessions/{session}").raise_for_status()
        with waiting:
            assert waiting.recv(1 << 16).startswith(b"HTTP/1.1 404 ")


def test_a_client_that_leaves_waits_no_more() -> None:
    with Emulator(model_control_mode="explicit", control=True) as emulator:
        for _ in range(100):
            asks_to_wait(emulator, "root").close()
        url = f"{emulator.control_url}/sessions/root/requests?count=1&timeout=0"
        end = time.monotonic() + 60
        while httpx.get(url).status_code != 408:  # 409 is that as many wait as may
            assert time.monotonic() < end


def test_the_end_of_the_emulator_waits_for_no_request_that_waits(caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(model_control_mode="explicit", control=True) as emulator:
        waiting = asks_to_wait(emulator, "root")
        assert httpx.get(f"{emulator.control_url}/sessions").status_code == 200
    assert waiting.recv(1) == b""
    assert "CancelledError" not in caplog.text
    waiting.close()


def test_an_expectation_is_verified_with_the_nearest_requests(api: httpx.Client, url: str) -> None:
    generate(url, text="hi")
    met = api.post(
        "requests/verify", json={"operation": "generate", "inputs": {"text_input": "hi"}, "times": 1}
    )
    assert met.json() == {"met": True, "text": ""}
    missed = api.post(
        "requests/verify", json={"operation": "generate", "inputs": {"text_input": "bye"}}
    ).json()
    assert missed["met"] is False
    assert (
        "text_input: 1 of 1 elements differ; the first is number 0: expected b'bye', got b'hi'"
        in missed["text"]
    )
    wrong = api.post("requests/verify", json={"inputs": {"X": {"datatype": "FP3", "data": [1]}}})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "inputs")


# --- problems, reset, time ---


def test_problems_are_listed_and_allowed(api: httpx.Client, url: str) -> None:
    httpx.get(f"{url}/v2/models/nobody")
    (problem,) = api.get("problems").json()["problems"]
    assert problem.startswith("a request for what is not there")
    assert api.post("allow", json={"problems": ["unknown"]}).status_code == 204
    assert api.get("problems").json() == {"problems": []}
    wrong = api.post("allow", json={"problems": ["unkown"]})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "problems")


def test_the_verdict_on_the_client(api: httpx.Client, url: str) -> None:
    api.post("plans", json={"fault": "error(503)", "operation": "infer"}).raise_for_status()
    for _ in range(2):
        httpx.post(f"{url}/v2/models/simple/infer", json=BODY | {"parameters": {"sequence_id": 5}})
    verdict = api.get("verdict", params={"ignore": ["connections_not_reused", "retry_without_pause"]}).json()
    assert [(each["rule"], each["requests"]) for each in verdict["findings"]] == [
        ("sequence_retried", [1, 2])
    ]
    assert verdict["ignored"] == ["retry_without_pause", "connections_not_reused"]
    wrong = api.get("verdict", params={"ignore": "sequence_retry"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "ignore")


def test_a_reset_forgets_requests_plans_and_stubs(api: httpx.Client, url: str) -> None:
    api.post("plans", json={"fault": "reset()"})
    api.post("stubs", json={"model": "llama", "respond": {"text": "a"}})
    api.post("reset").raise_for_status()
    shown = api.get(here(api)).json()
    assert (shown["requests"], shown["plans"], shown["stubs"]) == (0, 0, 0)
    assert httpx.get(f"{url}/v2/models/llama/ready").status_code == 400


def test_a_virtual_clock_is_moved(emulator: Emulator) -> None:
    with httpx.Client(base_url=emulator.control_url) as api:
        session = api.post("/sessions", json=SMALL | {"clock": "virtual"}).json()["id"]
        before = api.get(f"/sessions/{session}/clock").json()
        after = api.post(f"/sessions/{session}/clock/advance", json={"seconds": 3}).json()
        assert (before["setting"], round(after["seconds"] - before["seconds"], 3)) == ("virtual", 3.0)
        refused = api.post("/sessions/root/clock/advance", json={"seconds": 3})
        assert (refused.status_code, "only a virtual one" in refused.json()["error"]) == (409, True)
        api.delete(f"/sessions/{session}")


# --- who may ask ---


def test_another_name_of_the_machine_and_another_origin_are_refused(emulator: Emulator) -> None:
    url = f"{emulator.control_url}/sessions"
    assert httpx.get(url, headers={"Host": "evil.example"}).json() == {
        "error": "the control API is asked as 127.0.0.1 or localhost, not as 'evil.example'"
    }
    answer = httpx.post(url, json={}, headers={"Origin": "http://evil.example"})
    assert (answer.status_code, answer.json()["error"]) == (
        403,
        "the control API answers no page of another origin; give it a token",
    )
    own = httpx.get(url, headers={"Origin": emulator.control_url})
    assert own.status_code == 200


def test_with_a_token_each_request_needs_it() -> None:
    with Emulator(model_control_mode="explicit", control=True, control_token="s3cret") as emulator:
        url = f"{emulator.control_url}/sessions"
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}):
            answer = httpx.get(url, headers=headers)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert httpx.get(url, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        document = httpx.get(
            f"{emulator.control_url}/openapi.json", headers={"Authorization": "bearer s3cret"}
        ).json()
        assert document["components"]["securitySchemes"] == {
            "HTTPBearer": {"type": "http", "scheme": "bearer"}
        }


def test_no_other_address_without_a_token() -> None:
    with pytest.raises(
        ValueError, match=r"the control API at 0\.0\.0\.0 could be reached from other machines"
    ):
        Emulator(control=True, control_address="0.0.0.0")
    Emulator(control=True, control_address="0.0.0.0", control_token="s3cret")
    Emulator(control=True, control_address="::1")


def test_without_the_option_there_is_none() -> None:
    with (
        Emulator(model_control_mode="explicit") as emulator,
        pytest.raises(RuntimeError, match=r"the control API is off: write Emulator\(control=True\)"),
    ):
        emulator.control_url  # noqa: B018


def test_a_body_that_is_too_large_is_refused(emulator: Emulator) -> None:
    answer = httpx.post(f"{emulator.control_url}/sessions", content=b" " * ((64 << 20) + 1))
    assert (answer.status_code, answer.json()) == (413, {"error": "a body has at most 67108864 bytes"})


# --- models, and requests to them ---


def test_models_are_listed_with_their_states_and_tensors(api: httpx.Client) -> None:
    models = {model["name"]: model for model in api.get("models").json()}
    assert models["simple"] == {
        "name": "simple",
        "version": 1,
        "state": "READY",
        "reason": "",
        "platform": "python",
        "decoupled": False,
        "inputs": [
            {"name": name, "datatype": "INT32", "shape": [-1, 16], "optional": False}
            for name in ("INPUT0", "INPUT1")
        ],
        "outputs": [
            {"name": name, "datatype": "INT32", "shape": [-1, 16], "optional": False}
            for name in ("OUTPUT0", "OUTPUT1")
        ],
    }
    never_loaded = models["embedding"]
    assert (never_loaded["version"], never_loaded["state"], never_loaded["inputs"]) == (None, None, None)
    assert api.get("requests").json()["count"] == 0


def send(api: httpx.Client, **given: Any) -> Any:
    sent = {"model": "custom_llm", "operation": "generate", "body": '{"text_input": "hi"}', **given}
    answer = api.post("send", json=sent)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_request_is_sent_to_the_sessions_own_port(api: httpx.Client) -> None:
    answer = send(api, model="simple", version="1", operation="infer", body=json.dumps(BODY))
    assert (answer["status"], answer["error"], answer["base64"]) == (200, None, None)
    assert json.loads(answer["body"])["outputs"][0]["data"] == [2 * each for each in INTEGERS]
    assert answer["headers"]["Content-Type"] == "application/json"
    (request,) = api.get("requests").json()["requests"]
    assert (request["operation"], request["model"], request["version"]) == ("infer", "simple", "1")
    assert request["target"].endswith("/v2/models/simple/versions/1/infer")


@pytest.mark.parametrize(
    "model, target",
    [
        pytest.param("<script>alert(1)</script>", "<script>alert(1)<%2Fscript>", id="as HTML"),
        pytest.param("../../v2/repository", "..%2F..%2Fv2%2Frepository", id="as another path"),
        pytest.param("a b?c#d", "a%20b%3Fc%23d", id="with a query"),
        pytest.param("x HTTP/1.1\r\nA: b", "x%20HTTP%2F1.1%0D%0AA:%20b", id="as further headers"),
        pytest.param("größe", "gr%C3%B6%C3%9Fe", id="beyond ASCII"),
    ],
)
def test_a_models_name_is_one_part_of_the_path(api: httpx.Client, model: str, target: str) -> None:
    answer = send(api, model=model)
    assert answer["status"] == 404
    assert "unknown model" in answer["body"]
    (request,) = api.get("requests").json()["requests"]
    assert request["target"].endswith(f"/v2/models/{target}/generate")


@pytest.mark.parametrize(
    "fault, status, body, error",
    [
        pytest.param("reset()", None, "", "Connection", id="no answer"),
        pytest.param("garbage()", None, None, "BadStatusLine", id="no HTTP"),
        pytest.param(
            "cut(after_bytes=5)", 200, None, "the connection was closed before the answer's end", id="a part"
        ),
        pytest.param(
            "delay(60)",
            None,
            "",
            "no whole answer came within 0.5 s",
            id="too late",
        ),
        pytest.param('error(503, "overloaded")', 503, '{"error":"overloaded"}', None, id="an error"),
    ],
)
def test_what_comes_of_a_request_that_a_fault_meets(
    api: httpx.Client, fault: str, status: int | None, body: str | None, error: str | None
) -> None:
    assert api.post("plans", json={"fault": fault, "operation": "generate"}).status_code == 201
    answer = send(api, timeout=0.5 if "delay" in fault else 30)
    assert answer["status"] == status
    if body is not None:
        assert answer["body"] == body
    assert answer["error"] is None if error is None else error in answer["error"]


def test_a_stream_of_a_model_is_read_to_its_end(api: httpx.Client) -> None:
    answer = send(api, operation="generate_stream")
    assert answer["headers"]["Content-Type"].startswith("text/event-stream")
    assert answer["body"].startswith("data: {")
    assert answer["error"] is None


def test_tensors_may_follow_the_text_as_bytes(api: httpx.Client) -> None:
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}}
        for name in ("INPUT0", "INPUT1")
    ]
    binary = base64.b64encode(np.arange(32, dtype="<i4").tobytes()).decode()
    answer = send(api, model="simple", operation="infer", body=json.dumps({"inputs": inputs}), binary=binary)
    assert json.loads(answer["body"])["outputs"][1]["data"] == [-16] * 16


def test_bytes_that_are_no_base64_are_refused(api: httpx.Client) -> None:
    sent = {"model": "simple", "operation": "infer", "body": "{}", "binary": "?"}
    answer = api.post("send", json=sent)
    assert (answer.status_code, answer.json()["field"]) == (422, "binary")


def test_no_request_is_sent_where_there_is_no_http() -> None:
    with Emulator(allow_http=False, model_control_mode="explicit", control=True) as emulator:
        sent = {"model": "simple", "operation": "infer", "body": "{}"}
        answer = httpx.post(f"{emulator.control_url}/sessions/root/send", json=sent)
    assert (answer.status_code, answer.json()["error"]) == (409, "the emulator serves no HTTP (allow_http)")


# --- the page ---


def test_the_page_may_run_its_own_files_only_and_asks_no_other_host(emulator: Emulator) -> None:
    page = httpx.get(emulator.control_url)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    named = re.findall(r'(?:src|href)="([^#"]+)"', page.text)
    assert sorted(named) == ["/console/console.css", "/console/console.js", "/console/icon.svg"]
    for path in named:
        file = httpx.get(emulator.control_url + path)
        assert (file.status_code, file.headers["content-security-policy"]) == (200, policy)
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", file.text)


def test_the_page_comes_without_the_token_and_what_it_shows_does_not() -> None:
    with Emulator(model_control_mode="explicit", control=True, control_token="s3cret") as emulator:
        assert httpx.get(emulator.control_url).status_code == 200
        assert httpx.get(f"{emulator.control_url}/console/console.js").status_code == 200
        assert httpx.post(emulator.control_url).status_code == 401
        for path in ("/sessions", "/openapi.json", "/console/", "/console/../sessions", "//"):
            assert httpx.get(emulator.control_url + path).status_code == 401


def test_the_page_is_not_for_another_name_of_the_machine(emulator: Emulator) -> None:
    assert httpx.get(emulator.control_url, headers={"Host": "evil.example"}).status_code == 403


# --- the command ---


def test_the_command_serves_it_where_it_is_asked_to(tmp_path: Any) -> None:
    flags = (f"--model-repository={tmp_path}", "--control-port=0", *FREE_PORTS)
    process = subprocess.Popen(
        command(*flags),
        stderr=subprocess.PIPE,
        text=True,
        env={"TRITON_EMULATOR_CONTROL_TOKEN": "of the environment", **os.environ},
    )
    try:
        running = Running(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        address = line.rpartition(" at ")[2].strip().strip('"')
        assert "Started Control Service" in line
        url = f"http://{address}/sessions/root/requests"
        assert httpx.get(url).status_code == 401
        httpx.get(f"{running.url}/v2")
        shown = httpx.get(url, headers={"Authorization": "Bearer of the environment"}).json()
        assert [request["operation"] for request in shown["requests"]] == ["server_metadata"]
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "flags, text",
    [
        (
            ("--control-port=0", "--control-address=0.0.0.0"),
            "could be reached from other machines; give it a token",
        ),
        (("--control-address=0.0.0.0",), "--control-address is for --control-port"),
        (("--control-port=x",), "Invalid option value. Got x"),
        (("--control-port=8000",), "The server cannot listen to HTTP requests and control requests"),
    ],
)
def test_the_command_refuses_what_means_nothing(flags: tuple[str, ...], text: str) -> None:
    code, printed = run(*flags)
    assert code == 1
    assert text in printed


def test_a_port_in_use_is_told(emulator: Emulator) -> None:
    port = emulator.control_url.rpartition(":")[2]
    code, printed = run(f"--control-port={port}", *FREE_PORTS)
    assert code == 1
    assert (
        f"failed to start Control service: Unavailable - Socket '127.0.0.1:{port}' already in use" in printed
    )
    assert "--control-port" in printed
