"""The verdict on the client: what real clients do wrong is found, and what they do right is not."""

import json
import queue
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from triton_emulator import Emulator, Session, fault
from triton_emulator.harness.journal import Journal, JournalEntry
from triton_emulator.harness.verdict import RULES, judge
from triton_emulator.protocol.messages import InferRequest

pytestmark = pytest.mark.triton(allow=("unfired", "unknown"))


def found(session: Session) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(each.rule, each.level, each.requests) for each in session.verdict().findings]


def generate(client: httpx.Client, session: Session, **document: object) -> httpx.Response:
    return client.post(f"{session.http_url}/v2/models/vllm/generate", json={"text_input": "hi", **document})


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, headers={"Accept-Encoding": "identity"}) as client:
        yield client


# --- retries ---


def test_a_naive_client_asks_again_without_a_pause(triton: Session, client: httpx.Client) -> None:
    triton.inject(fault.error(503, "overloaded"), model="vllm", times=20)
    while generate(client, triton).status_code == 503:
        pass
    verdict = triton.verdict()
    assert verdict.rules == ("retry_without_pause",)
    finding = verdict.findings[0]
    assert finding.client.startswith("python-httpx/")
    first, second = finding.requests
    assert second == first + 1
    assert finding.text.startswith("generate of vllm was answered 503 and asked again after ")
    assert finding.text.endswith(" ms; wait before each retry, longer each time")


def test_a_client_that_waits_and_waits_as_long_as_it_is_told_does_nothing_wrong(
    triton: Session, client: httpx.Client
) -> None:
    triton.inject(fault.error(503, "overloaded", retry_after=1), model="vllm")
    answer = generate(client, triton)
    assert answer.headers["retry-after"] == "1"
    with pytest.raises(TimeoutError):  # one second and a bit passes
        triton.requests.where("server_live").wait_for(1, timeout=1.1)
    assert generate(client, triton).status_code == 200
    assert found(triton) == []


def test_the_same_request_with_another_id_is_a_retry(triton: Session, client: httpx.Client) -> None:
    triton.inject(fault.error(503, "overloaded", retry_after=60), model="vllm")
    assert [generate(client, triton, id=each).status_code for each in ("first", "second")] == [503, 200]
    assert ("retry_after_ignored", "wrong", (1, 2)) in found(triton)


def test_tritonclient_over_grpc_is_judged_by_the_same_rules(triton: Session) -> None:
    triton.inject(fault.error("UNAVAILABLE"), operation="infer", times=20)
    tensor = tritonclient.grpc.InferInput("INPUT0", [4], "FP32")
    tensor.set_data_from_numpy(np.ones(4, np.float32))
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as grpc:
        for attempt in range(21):
            try:
                grpc.infer("identity_fp32", [tensor], request_id=str(attempt), client_timeout=60)
            except tritonclient.grpc.InferenceServerException:
                continue
    assert triton.verdict().rules == ("retry_without_pause",)


def test_a_request_of_a_sequence_that_is_asked_again_is_found(triton: Session, client: httpx.Client) -> None:
    triton.inject(fault.error(503), operation="infer")
    tensor = tritonclient.http.InferInput("INPUT0", [4], "FP32")
    tensor.set_data_from_numpy(np.ones(4, np.float32))
    with tritonclient.http.InferenceServerClient(triton.http_url.removeprefix("http://")) as http:
        for _ in range(2):
            with suppress(tritonclient.http.InferenceServerException):
                http.infer("identity_fp32", [tensor], sequence_id=7, sequence_start=True)
    assert ("sequence_retried", "wrong", (1, 2)) in found(triton)


# --- streams ---


def stream(client: httpx.Client, session: Session) -> int:
    """Read a stream as far as it comes, as a program does that takes each end for the end; returns its events."""
    lines: list[str] = []
    url, document = f"{session.http_url}/v2/models/vllm/generate_stream", {"text_input": "hi", "stream": True}
    with suppress(httpx.RemoteProtocolError), client.stream("POST", url, json=document) as answer:
        lines += filter(None, answer.iter_lines())
    return len(lines)


def test_a_cut_stream_that_is_not_asked_for_again_is_to_be_checked(
    triton: Session, client: httpx.Client
) -> None:
    triton.inject(fault.cut(after_events=2), operation="generate_stream")
    stream(client, triton)
    assert found(triton) == [("cut_stream_taken_as_whole", "check", (1,))]


def test_one_that_is_asked_for_again_is_not(triton: Session, client: httpx.Client) -> None:
    triton.inject(fault.cut(after_events=2), operation="generate_stream")
    stream(client, triton)
    assert stream(client, triton) > 2
    assert found(triton) == []


def test_an_error_event_that_is_not_asked_for_again_is_to_be_checked(
    triton: Session, client: httpx.Client
) -> None:
    triton.inject(fault.error_event("out of memory", after_events=2), operation="generate_stream")
    assert stream(client, triton) == 3
    verdict = triton.verdict()
    assert verdict.rules == ("error_event_ignored",)
    assert "had an error after its first event ('out of memory')" in verdict.findings[0].text


def test_a_reply_that_speaks_of_an_error_is_none(triton_emulator: Emulator, tmp_path: Path) -> None:
    settings = tmp_path / "emulator.yaml"
    settings.write_text("""models: {vllm: {behaviour: text, reply: 'the key "error" of JSON'}}""")
    with triton_emulator.session(emulator_config=settings) as session, httpx.Client() as client:
        assert stream(client, session) > 2
        assert found(session) == []


def test_an_error_in_a_grpc_stream_is_found_too(triton: Session) -> None:
    triton.inject(fault.error_event("out of memory", after_events=2), operation="stream_infer")
    prompt = tritonclient.grpc.InferInput("text_input", [1], "BYTES")
    prompt.set_data_from_numpy(np.array([b"hi"], dtype=object))
    streamed = tritonclient.grpc.InferInput("stream", [1], "BOOL")
    streamed.set_data_from_numpy(np.array([True]))
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as grpc:
        grpc.start_stream(lambda result, error: answers.put(error or result), stream_timeout=60)
        grpc.async_stream_infer("vllm", [prompt, streamed])
        for _ in range(3):
            answers.get(timeout=60)
        grpc.stop_stream()
    assert found(triton) == [("error_event_ignored", "check", (1,))]


# --- connections, forms and deadlines ---


def test_a_program_that_makes_a_client_for_each_request_is_found(triton: Session) -> None:
    for _ in range(3):
        httpx.get(f"{triton.http_url}/v2/health/ready")
    (finding,) = triton.verdict().findings
    assert (finding.rule, finding.requests) == ("connections_not_reused", (1, 2, 3))
    assert finding.text.startswith("3 requests came over 3 connections; keep one client for all")


def test_channels_of_grpc_for_each_request_are_found_and_so_is_that_they_have_no_deadline(
    triton: Session,
) -> None:
    # channels of one process may share connections, which those of a program that starts each time do not
    alone = [("grpc.use_local_subchannel_pool", 1)]
    for _ in range(3):
        with tritonclient.grpc.InferenceServerClient(triton.grpc_url, channel_args=alone) as grpc:
            grpc.is_server_ready()
    assert found(triton) == [
        ("connections_not_reused", "wrong", (1, 2, 3)),
        ("no_deadline", "wrong", (1, 2, 3)),
    ]


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient_with_one_client_and_a_deadline_does_nothing_wrong(triton: Session, kind: str) -> None:
    module: Any = tritonclient.http if kind == "http" else tritonclient.grpc
    url = triton.http_url.removeprefix("http://") if kind == "http" else triton.grpc_url
    deadline = {"client_timeout": 60} if kind == "grpc" else {}
    image = module.InferInput("INPUT0", [100_000], "FP32")
    image.set_data_from_numpy(np.ones(100_000, np.float32))
    with module.InferenceServerClient(url) as client:
        for _ in range(3):
            client.infer("identity_fp32", [image], **deadline)
    assert found(triton) == []


def test_large_tensors_as_json_are_found_with_what_binary_data_would_have_saved(
    triton: Session, client: httpx.Client
) -> None:
    values = [0.1234567] * 100_000
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [100_000], "data": values}
    small = {"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1.5]}
    for each in (tensor, small):
        client.post(f"{triton.http_url}/v2/models/identity_fp32/infer", json={"inputs": [each]})
    (finding,) = triton.verdict().findings
    assert (finding.rule, finding.requests) == ("large_tensors_as_json", (1,))
    request, answer = len(triton.requests.first.body), len(triton.requests.first.answer)
    assert f"would have been {(request + answer - 800_000) / 1e6:.1f} MB smaller" in finding.text


def test_fp16_as_json_is_found(triton_emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "half" / "config.pbtxt").write_text(
        """
        backend: "onnxruntime"
        input { name: "X" data_type: TYPE_FP16 dims: [ -1 ] }
        output { name: "Y" data_type: TYPE_FP16 dims: [ -1 ] }
        """
    )
    with triton_emulator.session(tmp_path) as session:
        tensor = tritonclient.http.InferInput("X", [2], "FP16")
        tensor.set_data_from_numpy(np.ones(2, np.float16))
        asked = tritonclient.http.InferRequestedOutput("Y", binary_data=False)
        url = session.http_url.removeprefix("http://")
        with (
            tritonclient.http.InferenceServerClient(url) as client,
            pytest.raises(tritonclient.http.InferenceServerException),
        ):
            client.infer("half", [tensor], outputs=[asked])
        assert found(session) == [("fp16_as_json", "wrong", (1,))]


# --- what is not wanted, and what cannot be judged ---


def test_a_rule_can_be_turned_off(triton: Session) -> None:
    for _ in range(3):
        httpx.get(f"{triton.http_url}/v2/health/ready")
    verdict = triton.verdict(ignore=["connections_not_reused"])
    assert (verdict.findings, verdict.ignored) == ((), ("connections_not_reused",))
    assert str(verdict) == "no findings on the client"


def test_a_name_that_is_no_rule_is_refused_with_the_nearest(triton: Session) -> None:
    with pytest.raises(ValueError, match=r"^'no_deadlines' is no rule; did you mean 'no_deadline'\?$"):
        triton.verdict(ignore=["no_deadlines"])
    with pytest.raises(ValueError, match=r"^'x' is no rule; the rules are retry_without_pause, "):
        triton.verdict(ignore=["x"])


@pytest.mark.triton(clock="virtual", allow=("unfired", "unknown"))
def test_a_virtual_clock_does_not_show_how_long_a_client_waits(triton: Session) -> None:
    for _ in range(3):
        httpx.get(f"{triton.http_url}/v2/health/ready")
    verdict = triton.verdict()
    assert verdict.findings == ()
    why = "it compares real times, which a virtual clock does not have"
    assert verdict.not_judged == (
        ("retry_without_pause", why),
        ("retry_after_ignored", why),
        ("connections_not_reused", why),
    )
    assert f"  retry_without_pause was not judged: {why}" in str(verdict)


def test_a_verdict_is_json_too(triton: Session) -> None:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as grpc:
        grpc.is_server_live()
    document = json.loads(triton.verdict(ignore=["fp16_as_json"]).json())
    (finding,) = document.pop("findings")
    client = finding.pop("client")
    assert client.startswith("grpc-python/")
    assert finding == {
        "rule": "no_deadline",
        "level": "wrong",
        "requests": [1],
        "text": "no deadline: a server that does not answer is waited for without end (client_timeout)",
    }
    assert document == {"ignored": ["fp16_as_json"], "not_judged": {}}
    assert str(triton.verdict()) == (
        f"1 finding on the client\n  no_deadline (wrong): {client}, request 1: "
        "no deadline: a server that does not answer is waited for without end (client_timeout)"
    )


# --- rules over entries with literal times ---


class Entry(JournalEntry):
    """A request of one client, with what a rule looks at."""

    protocol, operation, model, target, is_error = "http", "server_ready", "", "/", False

    def _headers(self) -> Iterator[tuple[str, str]]:
        yield "User-Agent", "gateway/1"

    def _read_request(self) -> InferRequest:
        raise ValueError("it has none")


def entries(*times: tuple[int, int, int], **given: Any) -> list[JournalEntry]:
    """Requests by (began, ended, status), in milliseconds."""
    journal, numbers = Journal(100, 1 << 20), count(1)
    made: list[JournalEntry] = []
    for began, ended, code in times:
        entry = Entry(journal, next(numbers))
        entry.began_ns, entry.ended_ns, entry.code = began * 1_000_000, ended * 1_000_000, code
        for name, value in given.items():
            setattr(entry, name, value)
        made.append(entry)
    return made


@pytest.mark.parametrize(("began", "rules"), [(149, ("retry_without_pause",)), (151, ())])
def test_fifty_milliseconds_are_a_pause(began: int, rules: tuple[str, ...]) -> None:
    assert judge(entries((50, 100, 503), (began, 200, 200)), float).rules == rules


def test_the_same_request_at_the_same_time_is_no_retry() -> None:
    assert judge(entries((50, 100, 503), (60, 110, 200)), float).rules == ()


def test_a_scaled_clock_counts_the_real_time() -> None:
    asked = entries((50, 100, 503), (9_000, 9_001, 200))
    assert judge(asked, lambda seconds: seconds * 0.001).rules == ("retry_without_pause",)


@pytest.mark.parametrize(
    ("header", "rules"),
    [
        (b"2", ("retry_after_ignored",)),
        (b"1", ()),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", ()),
        (b"9" * 5000, ()),
    ],
)
def test_a_client_that_comes_before_its_time_ignores_it(header: bytes, rules: tuple[str, ...]) -> None:
    asked = entries((0, 100, 503), (1_200, 1_300, 200), answer_headers=((b"retry-after", header),))
    assert judge(asked, float).rules == rules


def test_requests_at_the_same_time_need_their_own_connections() -> None:
    asked = entries((10, 100, 200), (20, 110, 200), (30, 120, 200), (40, 130, 200))
    for number, entry in enumerate(asked):
        entry.peer = f"127.0.0.1:{number}"
    assert judge(asked, float).rules == ()


def test_every_rule_is_shown_to_find_something() -> None:
    folder = Path(__file__).parents[3]
    files = (Path(__file__), folder / "adapter" / "tests" / "proxy" / "test_verdict.py")
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    assert [rule for rule in RULES if f'"{rule}"' not in text] == []
