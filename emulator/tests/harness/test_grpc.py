"""Faults and the journal over gRPC, with real clients."""

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from triton_emulator import Emulator, Fault, Session, Undecodable, fault

pytestmark = pytest.mark.triton(
    model_control_mode="explicit", load_models=("simple", "vllm"), allow=("unfired", "unknown")
)

VALUES = [list(range(16))]
SUMS = [[2 * value for value in range(16)]]


@pytest.fixture
def client(triton: Session) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    client = tritonclient.grpc.InferenceServerClient(triton.grpc_url)
    yield client
    client.close()


def ask(client: tritonclient.grpc.InferenceServerClient, **options: Any) -> Any:
    """Ask `simple` for sums."""
    inputs = [tritonclient.grpc.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for each in inputs:
        each.set_data_from_numpy(np.array(VALUES, dtype=np.int32))
    return client.infer("simple", inputs, **options)


def streamed(
    client: tritonclient.grpc.InferenceServerClient, count: int = 1, requests: int | None = None
) -> list[object]:
    """Ask `vllm` for streams, and read until so many final flags or an error have come: texts, "final", errors."""
    answers: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    text = tritonclient.grpc.InferInput("text_input", [1], "BYTES")
    text.set_data_from_numpy(np.array([b"hi"], dtype=np.object_))
    stream = tritonclient.grpc.InferInput("stream", [1], "BOOL")
    stream.set_data_from_numpy(np.array([True]))
    limit = tritonclient.grpc.InferInput("sampling_parameters", [1], "BYTES")
    limit.set_data_from_numpy(np.array([b'{"max_tokens": 4}'], dtype=np.object_))
    for _ in range(requests or count):
        client.async_stream_infer("vllm", [text, stream, limit], enable_empty_final_response=True)
    seen: list[object] = []
    while count:
        result, error = answers.get(timeout=60)
        if error is not None:
            seen.append((error.status(), error.message()))
            break
        if (texts := result.as_numpy("text_output")) is not None:
            seen.append(texts[0])
        if result.get_response().parameters["triton_final_response"].bool_param:
            seen.append("final")
            count -= 1
    client.stop_stream()
    return seen


@pytest.mark.parametrize(
    "wrong, status, message",
    [
        (fault.error(503, "overloaded"), "StatusCode.UNAVAILABLE", "overloaded"),
        (fault.error(429, "slow down"), "StatusCode.RESOURCE_EXHAUSTED", "slow down"),
        (fault.error("DATA_LOSS", "gone"), "StatusCode.DATA_LOSS", "gone"),
        (fault.reset(), "StatusCode.UNAVAILABLE", "Connection reset by peer"),
        (fault.garbage(), "StatusCode.INTERNAL", "Exception deserializing response!"),
        (
            fault.queue_full(),
            "StatusCode.UNAVAILABLE",
            "[request id: <id_unknown>] Exceeds maximum queue size",
        ),
        (fault.timeout_in_queue(), "StatusCode.UNAVAILABLE", "Request timeout expired"),
        (
            fault.unloaded(),
            "StatusCode.NOT_FOUND",
            "Request for unknown model: 'simple' has no available versions",
        ),
        (fault.not_ready(requests=1), "StatusCode.UNAVAILABLE", "Server not ready"),
    ],
    ids=lambda value: repr(value) if isinstance(value, Fault) else "",
)
def test_the_next_call_meets_the_fault_and_the_one_after_it_does_not(
    triton: Session,
    client: tritonclient.grpc.InferenceServerClient,
    wrong: Fault,
    status: str,
    message: str,
) -> None:
    plan = triton.inject(wrong, operation="infer")
    with pytest.raises(InferenceServerException) as failed:
        ask(client)
    assert (failed.value.status(), failed.value.message()) == (status, message)
    assert (plan.fired, plan.completed) == (1, 1)
    assert ask(client).as_numpy("OUTPUT0").tolist() == SUMS


def test_a_delay_outlasts_a_deadline(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    plan = triton.inject(fault.delay(3600), operation="infer")
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        ask(client, client_timeout=0.2)
    entry = triton.requests.wait_for(1, timeout=60).last
    assert entry.status == "CANCELLED"
    assert (plan.fired, plan.completed) == (1, 1)


def test_raw_contents_can_lack_bytes(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    triton.inject(fault.truncated_binary("OUTPUT0", bytes=4))
    response = ask(client).get_response()
    assert [len(data) for data in response.raw_output_contents] == [60, 64]
    assert list(response.outputs[0].shape) == [1, 16]


def test_readiness_and_inference_are_off_together(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    plan = triton.inject(fault.not_ready(requests=3))
    assert client.is_server_live()
    assert not client.is_server_ready()
    assert not client.is_model_ready("simple")
    with grpc.insecure_channel(triton.grpc_url) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"") == b"\x08\x02"
        assert check(b"") == b"\x08\x01"
    assert client.is_server_ready()
    assert plan.completed == 3


def test_an_unloaded_model_is_unloaded_for_all_that_asks_about_it(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    triton.inject(fault.unloaded(), model="simple", times=None)
    assert not client.is_model_ready("simple")
    for call in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match="'simple' has no available versions"):
            call("simple")


@pytest.mark.parametrize(
    "wrong, events, last",
    [
        (fault.cut(after_events=2), 2, ("StatusCode.UNAVAILABLE", "Socket closed")),
        (fault.cut(after_events=0), 0, ("StatusCode.UNAVAILABLE", "Socket closed")),
        (fault.reset(), 0, ("StatusCode.UNAVAILABLE", "Connection reset by peer")),
        (fault.error_event("boom", after_events=2), 2, (None, "boom")),
        (fault.error(503, "overloaded"), 0, (None, "overloaded")),
        (fault.queue_full(), 0, (None, "[request id: <id_unknown>] Exceeds maximum queue size")),
        (fault.timeout_in_queue(), 0, (None, "Request timeout expired")),
        (fault.unloaded(), 0, (None, "Request for unknown model: 'vllm' has no available versions")),
        (fault.not_ready(requests=1), 0, (None, "Server not ready")),
    ],
    ids=lambda value: repr(value) if isinstance(value, Fault) else "",
)
def test_a_stream_breaks(
    triton: Session,
    client: tritonclient.grpc.InferenceServerClient,
    wrong: Fault,
    events: int,
    last: tuple[str | None, str],
) -> None:
    whole = streamed(client)
    plan = triton.inject(wrong, operation="stream_infer")
    assert streamed(client) == [*whole[:events], last]
    assert (plan.fired, plan.completed) == (1, 1)
    assert triton.requests.last.fault == repr(wrong)
    assert streamed(client) == whole


def test_a_stream_stalls_and_goes_on(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    whole = streamed(client)
    plan = triton.inject(fault.stall(after_events=2, seconds=0.05))
    assert streamed(client) == whole
    assert plan.completed == 1


def test_the_final_flag_can_be_missing(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    plan = triton.inject(fault.missing_final())
    # the flag that comes is that of the second request
    seen = streamed(client, count=1, requests=2)
    assert seen.count("final") == 1
    assert seen[-1] == "final"
    assert plan.completed == 1


def test_garbage_in_a_stream_ends_it(triton: Session) -> None:
    plan = triton.inject(fault.garbage(), operation="stream_infer")
    with grpc.insecure_channel(triton.grpc_url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer(iter([service_pb2.ModelInferRequest(model_name="vllm")]))
        with pytest.raises(grpc.RpcError) as failed:
            list(call)
    assert (failed.value.code(), failed.value.details()) == (
        grpc.StatusCode.INTERNAL,
        "Exception deserializing response!",
    )
    assert plan.completed == 1


# --- the journal ---


def test_an_entry_has_the_call_and_the_answer_as_arrays(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    ask(
        client,
        outputs=[tritonclient.grpc.InferRequestedOutput("OUTPUT0")],
        request_id="mine",
        priority=1,
        parameters={"own": 5},
        headers={"x-team": "a", "authorization": "Bearer s3cret"},
    )
    entry = triton.requests.last
    assert repr(entry) == "<JournalEntry 1: grpc infer simple: OK>"
    assert entry.inputs["INPUT0"].tolist() == VALUES
    assert {name: array.tolist() for name, array in entry.outputs.items()} == {"OUTPUT0": SUMS}
    assert (entry.id, entry.requested_outputs) == ("mine", ["OUTPUT0"])
    assert entry.parameters == {"own": 5, "priority": 1}
    assert (entry.headers["x-team"], entry.headers["authorization"]) == ("a", "[redacted]")
    assert 0 <= entry.queue_seconds <= entry.seconds  # type: ignore[operator]
    assert 0 <= entry.compute_seconds <= entry.seconds  # type: ignore[operator]


def test_each_request_of_a_stream_is_an_entry(
    triton: Session, client: tritonclient.grpc.InferenceServerClient
) -> None:
    seen = streamed(client, count=2)
    entries = list(triton.requests.where("stream_infer", model="vllm", protocol="grpc"))
    assert [entry.status for entry in entries] == ["OK", "OK"]
    for entry in entries:
        assert entry.inputs["text_input"].tolist() == [b"hi"]
    events = [
        answer.outputs["text_output"].array[0]
        for entry in entries
        for answer in entry.answers
        if answer.outputs
    ]
    assert sorted(events) == sorted(text for text in seen if text != "final")  # type: ignore[type-var]
    assert [entry.answers[-1].parameters["triton_final_response"] for entry in entries] == [True, True]


def test_an_error_has_its_text(triton: Session, client: tritonclient.grpc.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException):
        client.get_model_metadata("none")
    entry = triton.requests.last
    assert (entry.operation, entry.model, entry.status) == ("model_metadata", "none", "NOT_FOUND")
    assert entry.error == "Request for unknown model: 'none' is not found"
    with pytest.raises(Undecodable, match=r"^request 1 has no inputs: model_metadata has none$"):
        _ = entry.inputs


def test_a_session_that_metadata_names_has_the_entry(triton: Session) -> None:
    emulator = triton._emulator
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ServerLive(service_pb2.ServerLiveRequest(), metadata=tuple(triton.grpc_headers.items()))
    assert triton.requests.last.operation == "server_live"


def test_the_oldest_fall_out_by_the_bytes_of_their_messages(triton_emulator: Emulator) -> None:
    with (
        triton_emulator.session(
            model_control_mode="explicit", load_models=("simple",), journal_bytes=100_000
        ) as triton,
        grpc.insecure_channel(triton.grpc_url) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(4):
            request = service_pb2.ModelInferRequest(model_name="simple", raw_input_contents=[b" " * 40_000])
            with pytest.raises(grpc.RpcError):
                stub.ModelInfer(request)
        assert [entry.number for entry in triton.requests] == [3, 4]
