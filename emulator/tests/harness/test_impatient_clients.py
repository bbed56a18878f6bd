"""A plan is complete when its fault has taken place, though the client gives up and the answer does not end."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import httpx
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from triton_emulator import Fault, Session, fault
from triton_emulator.harness.parts import Script
from triton_emulator.wire.operations import Body, End, Hang, Head, Operation, Pause

STREAM = {"text_input": "hi", "stream": True, "max_tokens": 3}


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit
        threading.Event().wait(0.01)


def ask_http(triton: Session) -> None:
    with suppress(httpx.TransportError):
        httpx.get(f"{triton.http_url}/v2/health/live")


def ask_grpc(triton: Session) -> None:
    with (
        suppress(InferenceServerException),
        tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client,
    ):
        client.is_server_live()


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(fault.stall(after_events=2), id="for ever"),
        pytest.param(fault.stall(after_events=2, seconds=600), id="for a time"),
        pytest.param(fault.delay(0) + fault.stall(after_events=2), id="after a delay"),
    ],
)
def test_a_client_that_leaves_a_stalled_stream_has_met_all_of_the_fault(
    triton: Session, given: Fault
) -> None:
    plan = triton.inject(given, operation="generate_stream")
    with httpx.stream("POST", f"{triton.http_url}/v2/models/vllm/generate_stream", json=STREAM) as answer:
        events = (line for line in answer.iter_lines() if line)
        assert ["data: ", "data: "] == [next(events)[:6] for _ in range(2)]
        assert not triton.requests.last.complete
        assert triton.problems() == []
    assert plan.completed == 1


@pytest.mark.parametrize("ask", [ask_http, ask_grpc])
def test_a_delay_has_taken_place_when_it_begins(triton: Session, ask: Callable[[Session], None]) -> None:
    plan = triton.inject(fault.delay(600), operation="server_live")
    asking = threading.Thread(target=ask, args=(triton,))
    asking.start()
    until(lambda: plan.completed == 1)
    assert not triton.requests.last.complete
    assert triton.problems() == []
    triton.close()
    asking.join()


def test_a_fault_of_which_a_part_is_still_to_come_is_not_complete(triton: Session) -> None:
    plan = triton.inject(fault.delay(600) + fault.reset(), operation="server_live")
    asking = threading.Thread(target=ask_http, args=(triton,))
    asking.start()
    until(lambda: plan.fired == 1)
    assert plan.completed == 0
    assert ["fired 1 times and completed 0 times" in text for text in triton.problems()] == [True]
    triton.allow("unfired")
    triton.close()
    asking.join()


HEAD, ONE, TWO, END = Head(200, ()), Body(b"1"), Body(b"2"), End()


@pytest.mark.parametrize(
    "given,operations",
    [
        pytest.param(fault.stall(after_events=0), [HEAD, Hang(), ONE, TWO, END], id="before the first"),
        pytest.param(
            fault.stall(after_events=1, seconds=2), [HEAD, ONE, Pause(2.0), TWO, END], id="at once after it"
        ),
        pytest.param(fault.stall(after_events=2), [HEAD, ONE, TWO, Hang(), END], id="after the last"),
        pytest.param(fault.stall(after_events=3), [HEAD, ONE, TWO, END], id="a stream that is too short"),
    ],
)
def test_a_stall_follows_its_event(given: Fault, operations: Sequence[Operation]) -> None:
    script = Script(given.parts)
    assert operations == [after for before in (HEAD, ONE, TWO, END) for after in script.shaped(before)]
    assert script.complete == (len(operations) == 5)


def test_a_stream_that_begins_with_an_error_has_its_text_in_the_journal(triton: Session) -> None:
    triton.inject(fault.error_event("out of memory", after_events=0), operation="generate_stream")
    answer = httpx.post(f"{triton.http_url}/v2/models/vllm/generate_stream", json=STREAM)
    assert (answer.status_code, answer.text) == (400, 'data: {"error":"out of memory"}\n\n')
    assert triton.requests.last.error == "out of memory"
