"""Tests that do what they should not: the emulator goes on, keeps nothing for ever and tells them."""

import gc
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import shared_memory

from triton_emulator import Emulator, Fault, JournalEntry, Session, Undecodable, fault
from triton_emulator.frontends.http.app import HANDLERS
from triton_emulator.harness.journal import REDACTED, Journal
from triton_emulator.options import SessionOptions
from triton_emulator.settings import RestrictedApis
from triton_emulator.wire.http_cycle import TritonCycle

pytestmark = pytest.mark.triton(model_control_mode="explicit", load_models=("simple", "identity_fp32"))

BODY = {
    "inputs": [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": list(range(16))}
        for name in ("INPUT0", "INPUT1")
    ]
}


def infer(triton: Session) -> httpx.Response:
    return httpx.post(f"{triton.http_url}/v2/models/simple/infer", json=BODY)


class Stream:
    """A gRPC stream with its answers."""

    def __init__(self, triton: Session, metadata: dict[str, str] | None = None) -> None:
        self.answers: queue.Queue[Any] = queue.Queue()
        self.client = tritonclient.grpc.InferenceServerClient(triton.grpc_url)
        self.client.start_stream(lambda result, error: self.answers.put(error or result), headers=metadata)

    def ask(self, model: str = "identity_fp32") -> None:
        tensor = tritonclient.grpc.InferInput("INPUT0", [1], "FP32")
        tensor.set_data_from_numpy(np.zeros(1, np.float32))
        self.client.async_stream_infer(model, [tensor])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_stream(cancel_requests=True)
        self.client.close()


# --- functions and values of a test that fail ---


def exits(_: JournalEntry) -> bool:
    sys.exit(3)


def fails(_: JournalEntry) -> bool:
    pytest.fail("no")


@pytest.mark.parametrize("where,name", [(exits, "SystemExit: 3"), (fails, "Failed: no")])
def test_a_where_may_raise_anything(
    triton: Session, where: Callable[[JournalEntry], bool], name: str
) -> None:
    triton.allow("unfired")
    plan = triton.inject(fault.error(503), operation="infer", where=where)
    assert infer(triton).status_code == 200
    assert list(plan.problems()) == [f"the plan {plan.fault} for {plan.criteria}: its `where` raised {name}"]


def test_a_where_that_reads_inputs_does_not_fit_a_request_without_any(triton: Session) -> None:
    def with_inputs(entry: JournalEntry) -> bool:
        return "INPUT0" in entry.inputs

    plan = triton.inject(fault.error(503), where=with_inputs)
    assert httpx.get(f"{triton.http_url}/v2/health/live").status_code == 200
    broken = httpx.post(f"{triton.http_url}/v2/models/simple/infer", content=b'{"inputs": 5}')
    assert broken.status_code == 500
    assert infer(triton).status_code == 503
    assert (plan.seen, plan.mistake) == (1, None)
    assert triton.requests.where(where=with_inputs).count == 1
    triton.assert_requested(where=with_inputs, times=1)


@pytest.mark.triton(model_control_mode="explicit", load_models=("custom_llm",))
def test_a_where_reads_the_inputs_of_generate_and_so_does_a_test_of_what_a_fault_answered(
    triton: Session,
) -> None:
    plan = triton.inject(fault.error(503), where=lambda entry: entry.inputs["max_tokens"].item() == 5)
    url = f"{triton.http_url}/v2/models/custom_llm/generate"
    for limit in (4, 5):
        httpx.post(url, json={"text_input": "hi", "max_tokens": limit})
    assert (plan.fired, plan.mistake) == (1, None)
    refused = triton.requests.last
    assert (refused.status, refused.inputs["text_input"].tolist()) == (503, [b"hi"])


def test_a_where_that_waits_for_the_emulator_is_refused(triton: Session) -> None:
    triton.allow("unfired")
    plan = triton.inject(fault.error(503), operation="server_live", where=lambda _: bool(triton.grpc_url))
    assert httpx.get(f"{triton.http_url}/v2/health/live").status_code == 200
    assert str(plan.mistake) == "the emulator's own thread cannot wait for the emulator"


def test_a_function_that_wait_for_asks_may_ask_the_server(triton: Session) -> None:
    asked = threading.Event()

    def asks(_: JournalEntry) -> bool:
        asked.set()
        return httpx.get(f"{triton.http_url}/v2/health/live").status_code == 200

    def asks_later() -> None:
        assert asked.wait(60)
        httpx.get(f"{triton.http_url}/v2")

    httpx.get(f"{triton.http_url}/v2")
    later = threading.Thread(target=asks_later)
    later.start()
    assert triton.requests.where("server_metadata", where=asks).wait_for(2, timeout=60).count == 2
    later.join()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_output_that_cannot_be_made_is_an_error(triton: Session, protocol: str) -> None:
    triton.allow("exceptions")
    triton.inject(fault.wrong_output("OUTPUT0", datatype="INT32", values=[10**30]))
    if protocol == "http":
        answer = infer(triton)
        assert answer.status_code == 500
        text = answer.json()["error"]
    else:
        with Stream(triton) as stream:
            stream.ask()
            text = str(stream.answers.get(timeout=60))
    assert text.startswith("fault.wrong_output('OUTPUT0', datatype='INT32', values=[1000000")
    assert "OverflowError" in text
    raised = triton.requests.last.exception
    assert raised is not None
    assert raised.exc_type is OverflowError


def test_an_exception_of_the_journal_keeps_no_frames(triton: Session) -> None:
    triton.allow("exceptions")
    triton.inject(fault.wrong_output("OUTPUT0", datatype="INT32", values=[10**30]))
    infer(triton)
    raised = triton.requests.last.exception
    assert raised is not None
    assert "OverflowError" in "".join(raised.format())
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, OverflowError)]


@pytest.mark.parametrize("values", [[None], [[1, 2], [3]], [object()], np.zeros((2, 2))])
def test_values_that_no_tensor_has_are_refused(values: Any) -> None:
    with pytest.raises(TypeError, match="values are numbers, texts or bytes in one dimension"):
        fault.wrong_output("OUTPUT0", values=values)


@pytest.mark.filterwarnings("error")
def test_a_number_that_the_datatype_does_not_have_is_no_warning(triton: Session) -> None:
    triton.inject(fault.wrong_output("OUTPUT0", values=[float("nan")] * 16))
    assert infer(triton).json()["outputs"][0]["shape"] == [1, 16]


# --- what the journal keeps ---


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("bytes_", range(0, 140, 10))
def test_an_answer_that_is_cut_anywhere_has_no_outputs_and_says_why(
    triton: Session, bytes_: int, coding: str
) -> None:
    triton.inject(fault.cut(after_bytes=bytes_), operation="infer")
    url = f"{triton.http_url}/v2/models/simple/infer"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(url, json=BODY, headers={"Accept-Encoding": coding})
    entry = triton.requests.last
    assert len(entry.answer) == bytes_
    with pytest.raises(Undecodable, match="the answer to request 1 has no outputs"):
        entry.answers  # noqa: B018
    assert entry.error is None


def test_an_answer_of_another_form_has_no_outputs_and_says_why(triton: Session) -> None:
    triton.inject(fault.garbage(), operation="infer", protocol="http")
    with pytest.raises(httpx.RemoteProtocolError):
        infer(triton)
    with pytest.raises(Undecodable, match="the answer to request 1 has no outputs"):
        triton.requests.last.outputs  # noqa: B018


class Entry(JournalEntry):
    protocol, operation, target, is_error = "http", "infer", "/", False


def test_an_entry_that_falls_out_before_its_end_is_no_longer_counted() -> None:
    journal = Journal(2, 100_000)
    entries = [Entry(journal) for _ in range(6)]
    for entry in entries:
        entry.has(b"body")
        journal.add(entry)
        entry.wrote(b"first")
    for entry in entries:
        entry.wrote(b"second")
        entry.end()
    assert journal.bytes == sum(entry.size for entry in journal.entries)
    assert [entry.answer for entry in entries] == [b"first"] * 4 + [b"firstsecond"] * 2
    assert [entry.truncated for entry in entries] == [True] * 4 + [False] * 2


def test_entries_that_do_not_end_are_bounded_by_their_bytes() -> None:
    journal = Journal(100, 100_000)
    for _ in range(10):
        entry = Entry(journal)
        journal.add(entry)
        for _ in range(10):
            entry.wrote(b"a" * 5000)
    assert sum(len(entry.answer) for entry in journal.entries) <= 100_000
    assert journal.dropped == 9


@pytest.mark.triton(model_control_mode="explicit", journal_bytes=100_000)
def test_large_heads_are_bounded_by_their_bytes(triton: Session) -> None:
    for number in range(10):
        httpx.get(f"{triton.http_url}/v2", headers={"large": "a" * 5000, "number": str(number)})
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        for _ in range(20):
            client.is_server_live(headers={"large": "a" * 5000})
    assert triton.requests.dropped > 10
    assert sum(len(entry.headers["large"]) for entry in triton.requests) < 100_000


def test_an_output_in_shared_memory_does_not_hide_the_others(triton: Session) -> None:
    inputs = [tritonclient.grpc.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for each in inputs:
        each.set_data_from_numpy(np.ones((1, 16), np.int32))
    outputs = [tritonclient.grpc.InferRequestedOutput(name) for name in ("OUTPUT0", "OUTPUT1")]
    outputs[0].set_shared_memory("region", 64)
    region = shared_memory.create_shared_memory_region("region", f"/hidden_{triton.id}", 64)
    try:
        with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
            client.register_system_shared_memory("region", f"/hidden_{triton.id}", 64)
            client.infer("simple", inputs, outputs=outputs)
            client.unregister_system_shared_memory("region")
    finally:
        shared_memory.destroy_shared_memory_region(region)
    found = triton.requests.where("infer").last.outputs
    assert {name: values.tolist() for name, values in found.items()} == {"OUTPUT1": [[0] * 16]}


def test_a_client_that_leaves_before_its_request_is_complete_takes_its_connection_along(
    triton: Session,
) -> None:
    address = urlsplit(triton.http_url)
    with socket.create_connection((address.hostname, address.port)) as client:
        path = f"{address.path}/v2/models/simple/infer"
        client.sendall(b"POST %b HTTP/1.1\r\nHost: it\r\nContent-Length: 9\r\n\r\n{" % path.encode())
        while not triton.requests.count:
            threading.Event().wait(0.01)
    triton.requests.wait_for(1, timeout=60)
    # the next request is answered after the work on the last one has ended
    httpx.get(f"{triton.http_url}/v2")
    gc.collect()
    assert triton.problems() == []
    left = [cycle for cycle in gc.get_objects() if isinstance(cycle, TritonCycle)]
    assert not [cycle for cycle in left if cycle.scope["path"] == path]


# --- streams over gRPC ---


@pytest.mark.parametrize("ends", ["the client leaves", "the session closes"])
def test_a_stream_that_ends_in_a_delay_ends_the_entry(triton: Session, ends: str) -> None:
    plan = triton.inject(fault.delay(600), operation="stream_infer")
    with Stream(triton) as stream:
        stream.ask()
        while not plan.completed:
            threading.Event().wait(0.01)
        if ends == "the session closes":
            triton.close()
    assert triton.requests.wait_for(1, timeout=60).last.status == "CANCELLED"


@pytest.mark.parametrize(
    "given,status,text",
    [
        (fault.not_ready(requests=1), "UNAVAILABLE", "Server not ready"),
        (fault.error_event("lost", after_events=0), "INTERNAL", "lost"),
    ],
)
def test_the_error_that_ends_a_strict_stream_is_in_the_journal(
    triton: Session, given: Fault, status: str, text: str
) -> None:
    triton.inject(given, operation="stream_infer")
    with Stream(triton, {"triton_grpc_error": "true"}) as stream:
        stream.ask()
        error = stream.answers.get(timeout=60)
        assert (error.status(), error.message()) == (f"StatusCode.{status}", text)
    assert (triton.requests.last.status, triton.requests.last.error) == (status, text)


SLOW = """
backend: "onnxruntime"
max_batch_size: 0
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Session]:
    """A session with a model that answers in its time."""
    (tmp_path / "slow" / "1").mkdir(parents=True)
    (tmp_path / "slow" / "config.pbtxt").write_text(SLOW)
    (tmp_path / "emulator.yaml").write_text("models:\n  slow: {behaviour: identity, delay_ms: 500}\n")
    with Emulator(tmp_path) as emulator, emulator.session() as session:
        yield session


def test_an_error_by_a_fault_keeps_its_turn(slow: Session) -> None:
    slow.inject(fault.delay(0), operation="stream_infer")
    slow.inject(fault.error(503, "second"), operation="stream_infer")
    with Stream(slow) as stream:
        stream.ask("slow")
        stream.ask("slow")
        answers = [stream.answers.get(timeout=60) for _ in range(2)]
    assert [type(answer).__name__ for answer in answers] == ["InferResult", "InferenceServerException"]


# --- secrets ---


def test_no_text_shows_a_secret_that_was_asked_for(triton: Session) -> None:
    triton.allow("unfired")
    headers = {"authorization": "Bearer s3cret"}
    httpx.get(f"{triton.http_url}/v2", headers={"authorization": "Bearer other s3cret"})
    plan = triton.inject(fault.error(503), headers=headers)
    with pytest.raises(LookupError) as lookup:
        _ = triton.requests.where(headers=headers).first
    with pytest.raises(AssertionError) as missing:
        triton.assert_requested(headers=headers)
    texts = [
        repr(plan),
        *plan.problems(),
        repr(triton.requests.where(headers=headers)),
        str(lookup.value),
        str(missing.value),
    ]
    assert [(REDACTED in text, "s3cret" in text) for text in texts] == [(True, False)] * 5


def test_no_text_shows_the_value_of_a_header_that_restricts(triton_emulator: Emulator) -> None:
    restricted = (RestrictedApis(frozenset({"health"}), "my-key", "s3cret"),)
    options: SessionOptions = {"model_control_mode": "explicit", "grpc_restricted_protocols": restricted}
    headers = {"triton-grpc-protocol-my-key": "s3cret"}
    with triton_emulator.session(**options) as session:
        text = repr(session.inject(fault.error(503), operation="server_live", headers=headers))
    assert (REDACTED in text, "s3cret" in text) == (True, False)


# --- the end of a request of a stream ---


def test_a_stream_is_not_parsed_to_learn_whether_its_model_is_unknown(triton: Session) -> None:
    with Stream(triton) as stream:
        stream.ask("nobody")
        assert "unknown model" in str(stream.answers.get(timeout=60))
    entry = triton.requests.last
    assert entry.asks_for_nothing()
    entry._read_answers = lambda: pytest.fail("it was parsed")  # type: ignore[method-assign]
    assert entry.asks_for_nothing()
    triton.allow("unknown")


def test_a_handler_that_failed_has_the_status_that_its_client_got(
    triton: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton.allow("exceptions")

    async def fail(_: object) -> None:
        raise LookupError("a mistake")

    monkeypatch.setitem(HANDLERS, "server_metadata", fail)
    assert httpx.get(f"{triton.http_url}/v2").status_code == 500
    assert (triton.requests.last.status, triton.requests.last.is_error) == (500, True)
