"""Faults and the journal over HTTP, with real clients."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.http

from triton_emulator import Emulator, Fault, JournalEntry, Session, Undecodable, fault

ALLOWED = ("unfired", "unknown")
pytestmark = pytest.mark.triton(model_control_mode="explicit", load_models=("simple", "vllm"), allow=ALLOWED)

VALUES = list(range(16))
BODY = {
    "inputs": [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": VALUES} for name in ("INPUT0", "INPUT1")
    ]
}
SUMS = (
    b'{"model_name":"simple","model_version":"1","outputs":[{"name":"OUTPUT0","datatype":"INT32","shape":[1,16],'
    b'"data":[0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30]},{"name":"OUTPUT1","datatype":"INT32","shape":[1,16],'
    b'"data":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}]}'
)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Accept-Encoding": "identity"}) as client:
        yield client


@pytest.fixture
def infer(triton: Session, client: httpx.Client) -> Callable[[], httpx.Response]:
    """Asks `simple` for sums."""
    return lambda: client.post(f"{triton.http_url}/v2/models/simple/infer", json=BODY)


@pytest.fixture
def stream(triton: Session, client: httpx.Client) -> Callable[[], tuple[int, list[str]]]:
    """Asks `vllm` for a stream; returns the status and the lines that came, and "cut" where the connection was cut."""

    def ask() -> tuple[int, list[str]]:
        lines: list[str] = []
        body = {"text_input": "hi", "stream": True, "sampling_parameters": '{"max_tokens": 4}'}
        with client.stream("POST", f"{triton.http_url}/v2/models/vllm/generate_stream", json=body) as answer:
            try:
                for line in answer.iter_lines():
                    lines += [line] if line else []
            except httpx.RemoteProtocolError:
                lines.append("cut")
            return answer.status_code, lines

    return ask


def exchanged(triton: Session, request: bytes) -> bytes:
    """All bytes that a server sends until it closes the connection."""
    address = urlsplit(triton.http_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def raw_infer(triton: Session) -> bytes:
    body = json.dumps(BODY).encode()
    path = urlsplit(triton.http_url).path
    return b"POST %b/v2/models/simple/infer HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        len(body),
        body,
    )


@pytest.mark.parametrize(
    "wrong, status, body",
    [
        (fault.error(503, "overloaded"), 503, b'{"error":"overloaded"}'),
        (fault.error("RESOURCE_EXHAUSTED", 'say "please"'), 429, b'{"error":"say \\"please\\""}'),
        (fault.queue_full(), 503, b'{"error":"[request id: <id_unknown>] Exceeds maximum queue size"}'),
        (fault.timeout_in_queue(), 503, b'{"error":"Request timeout expired"}'),
        (
            fault.unloaded(),
            404,
            b'{"error":"Request for unknown model: \'simple\' has no available versions"}',
        ),
        (fault.not_ready(requests=1), 503, b'{"error":"Server not ready"}'),
        (fault.delay(0.01), 200, SUMS),
        (fault.drip(20_000), 200, SUMS),
        (
            fault.wrong_output("OUTPUT0", drop=True) + fault.delay(0),
            200,
            (
                b'{"model_name":"simple","model_version":"1","outputs":[{"name":"OUTPUT1","datatype":"INT32",'
                b'"shape":[1,16],"data":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}]}'
            ),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Fault) else "",
)
def test_the_next_request_meets_the_fault_and_the_one_after_it_does_not(
    triton: Session, infer: Callable[[], httpx.Response], wrong: Fault, status: int, body: bytes
) -> None:
    plan = triton.inject(wrong, operation="infer", model="simple")
    answer = infer()
    assert (answer.status_code, answer.content) == (status, body)
    assert (plan.fired, plan.completed) == (1, 1)
    assert infer().content == SUMS
    assert [entry.fault for entry in triton.requests] == [repr(wrong), None]
    assert triton.problems() == []


def test_a_reset_is_a_reset_and_not_a_close(triton: Session) -> None:
    triton.inject(fault.reset(), operation="infer")
    with pytest.raises(ConnectionResetError):
        exchanged(triton, raw_infer(triton))
    assert triton.requests.last.status is None


@pytest.mark.parametrize(
    "wrong, received",
    [
        (fault.empty(), b""),
        (fault.garbage(), b"\x16\x03\x01\x00\xff\x00garbage, not an answer\xff\xfe"),
        (
            fault.cut(after_bytes=13),
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 254\r\n\r\n{"model_name"',
        ),
        (
            fault.cut(after_bytes=0),
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 254\r\n\r\n",
        ),
    ],
    ids=repr,
)
def test_a_connection_is_closed_after_these_bytes(triton: Session, wrong: Fault, received: bytes) -> None:
    plan = triton.inject(wrong, operation="infer")
    assert exchanged(triton, raw_infer(triton)) == received
    assert plan.completed == 1


def test_binary_data_can_lack_bytes_that_its_size_promises(triton: Session, client: httpx.Client) -> None:
    triton.inject(fault.truncated_binary("OUTPUT0", bytes=4))
    body = {**BODY, "parameters": {"binary_data_output": True}}
    answer = client.post(f"{triton.http_url}/v2/models/simple/infer", json=body)
    length = int(answer.headers["Inference-Header-Content-Length"])
    sizes = [
        each["parameters"]["binary_data_size"] for each in json.loads(answer.content[:length])["outputs"]
    ]
    assert sizes == [64, 64]
    assert len(answer.content) - length == 124
    assert answer.content[length : length + 60] == np.arange(0, 30, 2, dtype=np.int32).tobytes()


@pytest.mark.parametrize(
    "wrong, status, count, last",
    [
        (fault.cut(after_events=2), 200, 3, "cut"),
        (fault.cut(after_events=0), 200, 1, "cut"),
        (fault.error_event("boom", after_events=2), 200, 3, 'data: {"error":"boom"}'),
        (fault.error_event("boom", after_events=0), 400, 1, 'data: {"error":"boom"}'),
        (fault.timeout_in_queue(), 400, 1, 'data: {"error":"Request timeout expired"}'),
        (fault.error(503, "no"), 503, 1, '{"error":"no"}'),
    ],
    ids=lambda value: repr(value) if isinstance(value, Fault) else "",
)
def test_a_stream_breaks(
    triton: Session,
    stream: Callable[[], tuple[int, list[str]]],
    wrong: Fault,
    status: int,
    count: int,
    last: str,
) -> None:
    plan = triton.inject(wrong, operation="generate_stream")
    answered, lines = stream()
    assert (answered, len(lines), lines[-1]) == (status, count, last)
    assert (plan.fired, plan.completed) == (1, 1)


def test_a_stream_stalls_and_goes_on(triton: Session, stream: Callable[[], tuple[int, list[str]]]) -> None:
    whole = stream()
    triton.inject(fault.stall(after_events=2, seconds=0.05))
    assert stream() == whole
    events = triton.requests.last.events
    assert events[2].seconds - events[1].seconds >= 0.05


def test_a_stream_that_hangs_ends_when_its_client_leaves(triton: Session) -> None:
    triton.inject(fault.stall(after_events=1))
    body = b'{"text_input":"hi","stream":true}'
    address = urlsplit(triton.http_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"POST {address.path}/v2/models/vllm/generate_stream HTTP/1.1\r\nHost: t\r\n"
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        received = b""
        while b"data: " not in received:
            received += connection.recv(65536)
    entry = triton.requests.where("generate_stream").wait_for(1, timeout=60).last
    assert (entry.status, len(entry.events)) == (200, 1)


def test_a_plan_lets_requests_pass_and_then_fires_as_often_as_it_says(
    triton: Session, infer: Callable[[], httpx.Response]
) -> None:
    plan = triton.inject(fault.error(503), operation="infer", after=2, times=2)
    assert [infer().status_code for _ in range(6)] == [200, 200, 503, 503, 200, 200]
    assert (plan.seen, plan.fired, plan.completed) == (4, 2, 2)


def test_a_plan_for_ever_ends_when_it_is_removed(
    triton: Session, infer: Callable[[], httpx.Response]
) -> None:
    plan = triton.inject(fault.error(500), operation="infer", times=None)
    assert [infer().status_code for _ in range(3)] == [500, 500, 500]
    plan.remove()
    assert infer().status_code == 200
    assert triton.plans == []


def test_plans_are_tried_in_the_order_in_which_they_were_made(
    triton: Session, infer: Callable[[], httpx.Response]
) -> None:
    triton.inject(fault.error(500), operation="infer")
    triton.inject(fault.error(503), times=2)
    assert [infer().status_code for _ in range(4)] == [500, 503, 503, 200]


def test_chance_is_seeded(triton_emulator: Emulator, client: httpx.Client) -> None:
    def answers(seed: int) -> list[int]:
        options = {"model_control_mode": "explicit", "load_models": ("simple",), "seed": seed}
        with triton_emulator.session(**options) as triton:  # type: ignore[arg-type]
            triton.inject(fault.error(503), operation="server_live", times=None, probability=0.5)
            return [client.get(f"{triton.http_url}/v2/health/live").status_code for _ in range(32)]

    first = answers(1)
    assert set(first) == {200, 503}
    assert answers(1) == first
    assert answers(2) != first


@pytest.mark.parametrize(
    "criteria",
    [
        {"model": "other"},
        {"version": 2},
        {"protocol": "grpc"},
        {"headers": {"X-Team": "b"}},
        {"headers": {"X-Missing": None}},
        {"where": lambda entry: entry.inputs["INPUT0"].sum() == 0},
    ],
    ids=lambda criteria: next(iter(criteria)),
)
def test_a_request_that_does_not_fit_passes(
    triton: Session, client: httpx.Client, criteria: dict[str, object]
) -> None:
    plan = triton.inject(fault.error(503), operation="infer", **criteria)  # type: ignore[arg-type]
    url = f"{triton.http_url}/v2/models/simple/versions/1/infer"
    assert client.post(url, json=BODY, headers={"X-Team": "a"}).status_code == 200
    assert plan.fired == 0


def test_a_request_that_fits_in_all_respects_meets_the_fault(triton: Session, client: httpx.Client) -> None:
    triton.inject(
        fault.error(503),
        operation="infer",
        model="simple",
        version=1,
        protocol="http",
        headers={"X-Team": "a"},
        where=lambda entry: entry.inputs["INPUT0"].sum() == sum(VALUES),
    )
    url = f"{triton.http_url}/v2/models/simple/versions/1/infer"
    assert client.post(url, json=BODY, headers={"X-Team": "a"}).status_code == 503


def test_a_predicate_that_raises_is_told_and_lets_the_request_pass(
    triton: Session, infer: Callable[[], httpx.Response]
) -> None:
    triton.allow("exceptions")
    plan = triton.inject(
        fault.error(503), operation="infer", where=lambda entry: entry.inputs["NONE"] is None
    )
    assert infer().status_code == 200
    assert list(plan.problems()) == [
        f"the plan {plan.fault} for {plan.criteria}: its `where` raised KeyError: 'NONE'"
    ]
    plan.remove()


def test_readiness_and_inference_are_off_together(triton: Session, client: httpx.Client) -> None:
    plan = triton.inject(fault.not_ready(requests=3))
    paths = ("/v2/health/ready", "/v2/models/simple/ready", "/v2/health/live", "/v2/models/simple")
    assert [client.get(triton.http_url + path).status_code for path in paths] == [400, 400, 200, 200]
    url = f"{triton.http_url}/v2/models/simple/infer"
    assert [client.post(url, json=BODY).status_code for _ in range(2)] == [503, 200]
    assert client.get(triton.http_url + paths[0]).status_code == 200
    assert plan.completed == 3


def test_a_plan_can_be_over_by_time(triton: Session, client: httpx.Client) -> None:
    triton.inject(fault.not_ready(seconds=0))
    assert client.get(f"{triton.http_url}/v2/health/ready").status_code == 200
    triton.inject(fault.not_ready(seconds=3600))
    assert client.get(f"{triton.http_url}/v2/health/ready").status_code == 400


def test_an_unloaded_model_is_unloaded_for_all_that_asks_about_it(
    triton: Session, client: httpx.Client
) -> None:
    triton.inject(fault.unloaded(), model="simple", times=None)
    url = f"{triton.http_url}/v2/models/simple"
    answers = [client.get(url + path) for path in ("", "/config", "/stats", "/ready", "/versions/1")]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 400, 503]
    gone = '{"error":"Request for unknown model: \'simple\' has no available versions"}'
    assert [answer.text for answer in answers] == [
        gone,
        gone,
        gone,
        '{"error":"Model version not ready"}',
        '{"error":"Request for unknown model: \'simple\' version 1 is not at ready state"}',
    ]


def test_a_refusal_by_the_queue_counts_as_one_of_the_model(
    triton: Session, infer: Callable[[], httpx.Response], client: httpx.Client
) -> None:
    triton.inject(fault.timeout_in_queue(), operation="infer")
    infer()
    rejected = 'nv_inference_request_failure{model="simple",reason="REJECTED",version="1"} 1'
    assert rejected in client.get(triton.metrics_url).text


# --- the journal ---


def test_an_entry_has_the_request_and_the_answer_as_arrays(
    triton: Session, infer: Callable[[], httpx.Response]
) -> None:
    infer()
    entry = triton.requests.last
    assert repr(entry) == "<JournalEntry 1: http infer simple: 200>"
    assert (entry.protocol, entry.operation, entry.model, entry.version) == ("http", "infer", "simple", "")
    assert entry.inputs["INPUT0"].dtype == np.int32
    assert entry.inputs["INPUT0"].tolist() == [VALUES]
    assert entry.outputs["OUTPUT0"].tolist() == [[2 * value for value in VALUES]]
    assert (entry.status, entry.complete, entry.error) == (200, True, None)
    assert entry.answer == SUMS
    assert 0 <= entry.queue_seconds <= entry.seconds  # type: ignore[operator]
    assert 0 <= entry.compute_seconds <= entry.seconds  # type: ignore[operator]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_a_client_of_triton_leaves_the_same_arrays_whatever_the_wire_form_was(
    triton: Session, binary: bool
) -> None:
    client = tritonclient.http.InferenceServerClient(triton.http_url.removeprefix("http://"))
    inputs = [tritonclient.http.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for each in inputs:
        each.set_data_from_numpy(np.array([VALUES], dtype=np.int32), binary_data=binary)
    outputs = [tritonclient.http.InferRequestedOutput("OUTPUT1", binary_data=binary)]
    client.infer(
        "simple",
        inputs,
        outputs=outputs,
        request_id="mine",
        sequence_id=7,
        priority=1,
        parameters={"own": "x"},
        request_compression_algorithm="gzip",
        response_compression_algorithm="deflate",
    )
    client.close()
    entry = triton.requests.where("infer").last
    assert {name: array.tolist() for name, array in entry.inputs.items()} == {
        "INPUT0": [VALUES],
        "INPUT1": [VALUES],
    }
    assert {name: array.tolist() for name, array in entry.outputs.items()} == {"OUTPUT1": [[0] * 16]}
    assert entry.requested_outputs == ["OUTPUT1"]
    assert entry.id == "mine"
    assert entry.parameters == {"own": "x", "sequence_id": 7, "priority": 1}


def test_a_stream_has_its_events(triton: Session, stream: Callable[[], tuple[int, list[str]]]) -> None:
    _, lines = stream()
    entry = triton.requests.last
    assert entry.inputs["text_input"].tolist() == [b"hi"]
    assert [event.data for event in entry.events] == [f"{line}\n\n".encode() for line in lines]
    texts = [answer.outputs["text_output"].array.tolist() for answer in entry.answers]
    assert texts == [[json.loads(line[6:])["text_output"].encode()] for line in lines]
    seconds = [event.seconds for event in entry.events]
    assert seconds == sorted(seconds)


def test_an_error_has_its_text(triton: Session, client: httpx.Client) -> None:
    client.post(f"{triton.http_url}/v2/models/simple/infer", json={"inputs": []})
    entry = triton.requests.last
    assert (entry.status, entry.outputs) == (400, {})
    assert entry.error == (
        "[request id: <id_unknown>] expected 2 inputs but got 0 inputs for model 'simple'. "
        "Got input(s) [], but missing required input(s) ['INPUT0','INPUT1']. "
        "Please provide all required input(s)."
    )


def test_a_body_that_is_no_request_has_no_inputs_and_says_why(triton: Session, client: httpx.Client) -> None:
    client.post(f"{triton.http_url}/v2/models/simple/infer", content=b"{")
    with pytest.raises(
        Undecodable, match=r"^request 1 has no inputs: failed to parse the request JSON buffer"
    ):
        _ = triton.requests.last.inputs
    client.get(f"{triton.http_url}/v2/health/live")
    with pytest.raises(Undecodable, match=r"^request 2 has no inputs: server_live has none$"):
        _ = triton.requests.last.inputs


def test_secrets_are_redacted(triton_emulator: Emulator, client: httpx.Client) -> None:
    from triton_emulator import RestrictedApis

    restricted = (RestrictedApis(frozenset({"metadata"}), "Admin-Key", "s3cret"),)
    options = {"model_control_mode": "explicit", "http_restricted_apis": restricted}
    with triton_emulator.session(**options) as triton:  # type: ignore[arg-type]
        sent = {"Authorization": "Bearer s3cret", "admin-key": "s3cret", "X-Team": "a"}
        assert client.get(f"{triton.http_url}/v2", headers=sent).status_code == 200
        headers = triton.requests.last.headers
        assert {name: headers[name] for name in ("authorization", "admin-key", "x-team")} == {
            "authorization": "[redacted]",
            "admin-key": "[redacted]",
            "x-team": "a",
        }


def test_the_oldest_fall_out_by_number(triton_emulator: Emulator, client: httpx.Client) -> None:
    with triton_emulator.session(model_control_mode="explicit", journal_requests=3) as triton:
        for _ in range(5):
            client.get(f"{triton.http_url}/v2/health/live")
        assert [entry.number for entry in triton.requests] == [3, 4, 5]
        assert (triton.requests.count, triton.requests.dropped) == (3, 2)


def test_the_oldest_fall_out_by_bytes(triton_emulator: Emulator, client: httpx.Client) -> None:
    with triton_emulator.session(
        model_control_mode="explicit", load_models=("simple",), journal_bytes=100_000
    ) as triton:
        for _ in range(4):
            client.post(f"{triton.http_url}/v2/models/simple/infer", content=b" " * 40_000)
        assert [entry.number for entry in triton.requests] == [3, 4]


def test_one_request_that_is_more_than_the_journal_may_keep_is_kept_without_its_bytes(
    triton_emulator: Emulator, client: httpx.Client
) -> None:
    with triton_emulator.session(
        model_control_mode="explicit", load_models=("simple",), journal_bytes=10_000
    ) as triton:
        client.post(f"{triton.http_url}/v2/models/simple/infer", content=b" " * 40_000)
        entry = triton.requests.last
        assert (entry.status, entry.body, entry.truncated) == (500, b"", True)


def test_a_stream_that_is_more_than_the_journal_may_keep_is_kept_up_to_there(
    triton_emulator: Emulator, client: httpx.Client
) -> None:
    with triton_emulator.session(
        model_control_mode="explicit", load_models=("vllm",), journal_bytes=2000
    ) as triton:
        body = {"text_input": "hi", "stream": True}
        client.post(f"{triton.http_url}/v2/models/vllm/generate_stream", json=body)
        entry = triton.requests.last
        assert entry.truncated
        assert 0 < len(entry.events) < 16


def test_without_a_journal_there_are_no_plans_and_no_requests(triton_emulator: Emulator) -> None:
    with triton_emulator.session(model_control_mode="explicit", journal_requests=0) as triton:
        assert httpx.get(f"{triton.http_url}/v2/health/live").status_code == 200
        for ask in (lambda: triton.requests, lambda: triton.inject(fault.reset())):
            with pytest.raises(RuntimeError, match=r"^the journal is off \(journal_requests=0\)"):
                ask()


def test_sessions_do_not_see_each_other(triton_emulator: Emulator, client: httpx.Client) -> None:
    with (
        triton_emulator.session(model_control_mode="explicit") as one,
        triton_emulator.session(model_control_mode="explicit") as other,
    ):
        one.inject(fault.error(503), times=None)
        codes = [client.get(f"{triton.http_url}/v2/health/live").status_code for triton in (one, other)]
        assert codes == [503, 200]
        assert (one.requests.count, other.requests.count) == (1, 1)


def test_an_emulator_has_plans_and_requests_of_its_own(client: httpx.Client) -> None:
    with Emulator(model_control_mode="explicit") as triton:
        triton.inject(fault.error(503), operation="server_live")
        assert client.get(f"{triton.http_url}/v2/health/live").status_code == 503
        triton.check()
    assert triton.requests.count == 1


def test_requests_that_come_later_can_be_waited_for(triton: Session, client: httpx.Client) -> None:
    url = f"{triton.http_url}/v2/health/live"
    with pytest.raises(TimeoutError, match=r"^0 of 1 requests came within 0.01 s"):
        triton.requests.wait_for(1, timeout=0.01)
    thread = threading.Thread(target=lambda: [httpx.get(url) for _ in range(3)])
    thread.start()
    assert triton.requests.where("server_live").wait_for(3, timeout=60).count == 3
    thread.join()


def test_none_is_last_where_none_came(triton: Session) -> None:
    with pytest.raises(LookupError) as none:
        _ = triton.requests.where("infer", model="simple").last
    assert str(none.value) == (
        "no request for operation='infer', model='simple' has come; the journal has 0 requests"
    )


def test_an_open_request_is_in_the_journal_and_has_no_end(triton: Session) -> None:
    came = threading.Event()

    def comes(_: JournalEntry) -> bool:
        came.set()
        return True

    triton.inject(fault.delay(60), operation="server_live", where=comes)
    address = urlsplit(triton.http_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"GET {address.path}/v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        assert came.wait(60)
        entry: JournalEntry = triton.requests.last
        assert (entry.status, entry.complete) == (None, False)
    triton.requests.wait_for(1, timeout=60)


def test_what_is_not_there_is_told_at_the_end(triton_emulator: Emulator, client: httpx.Client) -> None:
    with triton_emulator.session(model_control_mode="explicit") as triton:
        client.get(f"{triton.http_url}/v3/health")
        client.post(f"{triton.http_url}/v2/models/none/infer", json=BODY)
        client.get(f"{triton.http_url}/v2/models/none")
        client.get(f"{triton.http_url}/v2/models/none/ready")
        assert triton.problems() == [
            f"a request for what is not there: <JournalEntry 1: http {urlsplit(triton.http_url).path}/v3/health: 404>",
            "a request for what is not there: <JournalEntry 2: http infer none: 404>",
            "a request for what is not there: <JournalEntry 3: http model_metadata none: 404>",
        ]
        triton.allow("unknown")
        assert triton.problems() == []
