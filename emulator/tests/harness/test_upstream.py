"""In front of a real Triton 2.51: what passes is byte for byte what the server itself answers."""

import contextlib
import gzip
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2

from triton_contract.reference import TritonServer
from triton_emulator import Emulator, Fault, fault

VALUES = list(range(16))
DATA = struct.pack("<16i", *VALUES)
JSON_INPUTS = [
    {"name": name, "datatype": "INT32", "shape": [1, 16], "data": VALUES} for name in ("INPUT0", "INPUT1")
]
JSON_BODY = json.dumps({"id": "a", "inputs": JSON_INPUTS}).encode()
BINARY_HEAD = json.dumps(
    {
        "inputs": [
            {
                "name": name,
                "datatype": "INT32",
                "shape": [1, 16],
                "parameters": {"binary_data_size": len(DATA)},
            }
            for name in ("INPUT0", "INPUT1")
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()
BINARY_BODY = BINARY_HEAD + DATA + DATA
LENGTH = f"Inference-Header-Content-Length: {len(BINARY_HEAD)}"
PROMPT = {"text_input": "hi", "stream": True, "sampling_parameters": '{"max_tokens": 4}'}


@pytest.fixture
def front(real: TritonServer) -> Iterator[Emulator]:
    """In front of the real server, whose ports are others after it has died."""
    with Emulator(
        upstream=real.http_url,
        upstream_grpc=real.grpc_url,
        upstream_metrics=real.metrics_url,
    ) as emulator:
        yield emulator


def raw(method: str, path: str, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: t", *headers]
    if body and not any(each.startswith("Transfer-Encoding") for each in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def chunks(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def answer(url: str, request: bytes) -> bytes:
    """All bytes that a server sends until it closes the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


HTTP = {
    "server live": raw("GET", "/v2/health/live"),
    "server ready": raw("GET", "/v2/health/ready"),
    "server metadata": raw("GET", "/v2"),
    "model ready": raw("GET", "/v2/models/simple/ready"),
    "a model that is not ready": raw("GET", "/v2/models/simple_int8/ready"),
    "model metadata": raw("GET", "/v2/models/simple"),
    "model config": raw("GET", "/v2/models/simple/versions/1/config"),
    "statistics of a model that is idle": raw("GET", "/v2/models/simple_string/stats"),
    "repository index": raw("POST", "/v2/repository/index", b'{"ready":true}'),
    # not "load" of a model: 2.51 now and then needs a minute for it on a busy machine
    "unload": raw("POST", "/v2/repository/models/simple_identity/unload"),
    "load what is not there": raw("POST", "/v2/repository/models/nope/load"),
    "trace setting": raw("GET", "/v2/trace/setting"),
    "logging": raw("GET", "/v2/logging"),
    "system shared memory status": raw("GET", "/v2/systemsharedmemory/status"),
    "system shared memory register": raw(
        "POST",
        "/v2/systemsharedmemory/region/r/register",
        b'{"key":"/nothing_is_there","offset":0,"byte_size":64}',
    ),
    "system shared memory unregister": raw("POST", "/v2/systemsharedmemory/unregister"),
    "cuda shared memory status": raw("GET", "/v2/cudasharedmemory/status"),
    "cuda shared memory register": raw("POST", "/v2/cudasharedmemory/region/r/register", b"{}"),
    "cuda shared memory unregister": raw("POST", "/v2/cudasharedmemory/unregister"),
    "infer": raw("POST", "/v2/models/simple/infer", JSON_BODY),
    "infer with binary data": raw("POST", "/v2/models/simple/infer", BINARY_BODY, LENGTH),
    "infer in chunks": raw(
        "POST", "/v2/models/simple/infer", chunks(BINARY_BODY, 100), LENGTH, "Transfer-Encoding: chunked"
    ),
    "infer with a compressed request": raw(
        "POST", "/v2/models/simple/infer", gzip.compress(JSON_BODY, mtime=0), "Content-Encoding: gzip"
    ),
    "infer with a compressed answer": raw(
        "POST", "/v2/models/simple/infer", JSON_BODY, "Accept-Encoding: deflate"
    ),
    "infer with another compressed answer": raw(
        "POST", "/v2/models/simple/infer", BINARY_BODY, LENGTH, "Accept-Encoding: gzip"
    ),
    "infer by an unknown model": raw("POST", "/v2/models/nope/infer", JSON_BODY),
    "infer with what is no JSON": raw("POST", "/v2/models/simple/infer", b"{"),
    "infer after Expect": raw("POST", "/v2/models/simple/infer", JSON_BODY, "Expect: 100-continue"),
    "generate": raw("POST", "/v2/models/vllm/generate", json.dumps(PROMPT | {"stream": False}).encode()),
    "generate_stream": raw("POST", "/v2/models/vllm/generate_stream", json.dumps(PROMPT).encode()),
    "generate_stream with an error": raw("POST", "/v2/models/vllm/generate_stream", b"{}"),
    "a path that is not there": raw("GET", "/nope?a=%20b"),
    "a method that is not allowed": raw("PATCH", "/v2"),
    "a HEAD": raw("HEAD", "/v2/models/simple"),
    "HTTP 1.0": raw("GET", "/v2/models/simple", version="1.0"),
    "a stream over HTTP 1.0": raw(
        "POST", "/v2/models/vllm/generate_stream", json.dumps(PROMPT).encode(), version="1.0"
    ),
    "an unescaped path": raw("GET", "/v2/models/é"),
}


@pytest.mark.parametrize("name", HTTP)
def test_an_answer_over_http_is_that_of_the_server_byte_for_byte(
    name: str, real: TritonServer, front: Emulator
) -> None:
    assert answer(front.http_url, HTTP[name]) == answer(real.http_url, HTTP[name])


def test_the_metrics_are_those_of_the_server(real: TritonServer, front: Emulator) -> None:
    scrape = raw("GET", "/metrics")
    assert answer(front.metrics_url, scrape) == answer(real.metrics_url, scrape)


def test_one_connection_serves_many_requests(front: Emulator) -> None:
    with httpx.Client() as client:
        statuses = [client.get(f"{front.http_url}/v2/health/live").status_code for _ in range(20)]
        streams = [
            client.post(f"{front.http_url}/v2/models/vllm/generate_stream", json=PROMPT) for _ in range(3)
        ]
    assert statuses == [200] * 20
    assert len({stream.content for stream in streams}) == 1
    assert streams[0].content.count(b"data: ") == 4


def infer_message(**fields: Any) -> Any:
    message = service_pb2.ModelInferRequest(model_name="simple", id="a", **fields)
    for name in ("INPUT0", "INPUT1"):
        message.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        message.raw_input_contents.append(DATA)
    return message


def prompt_message(identifier: str) -> Any:
    message = service_pb2.ModelInferRequest(model_name="vllm", id=identifier)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    message.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    message.inputs.add(name="stream", datatype="BOOL", shape=[1])
    message.inputs.add(name="sampling_parameters", datatype="BYTES", shape=[1])
    options = b'{"max_tokens": 4}'
    message.raw_input_contents.extend([b"\x02\0\0\0hi", b"\x01", struct.pack("<I", len(options)) + options])
    return message


GRPC: dict[str, tuple[str, bytes]] = {
    name: (method, request.SerializeToString())
    for name, method, request in (
        ("ServerLive", "ServerLive", service_pb2.ServerLiveRequest()),
        ("ServerReady", "ServerReady", service_pb2.ServerReadyRequest()),
        ("ServerMetadata", "ServerMetadata", service_pb2.ServerMetadataRequest()),
        ("ModelReady", "ModelReady", service_pb2.ModelReadyRequest(name="simple")),
        ("ModelMetadata", "ModelMetadata", service_pb2.ModelMetadataRequest(name="simple")),
        ("ModelMetadata of nothing", "ModelMetadata", service_pb2.ModelMetadataRequest(name="nope")),
        ("ModelConfig", "ModelConfig", service_pb2.ModelConfigRequest(name="simple")),
        ("ModelStatistics", "ModelStatistics", service_pb2.ModelStatisticsRequest(name="simple_string")),
        ("RepositoryIndex", "RepositoryIndex", service_pb2.RepositoryIndexRequest()),
        (
            "RepositoryModelLoad",
            "RepositoryModelLoad",
            service_pb2.RepositoryModelLoadRequest(model_name="nope"),
        ),
        (
            "RepositoryModelUnload",
            "RepositoryModelUnload",
            service_pb2.RepositoryModelUnloadRequest(model_name="nope"),
        ),
        ("TraceSetting", "TraceSetting", service_pb2.TraceSettingRequest()),
        ("LogSettings", "LogSettings", service_pb2.LogSettingsRequest()),
        *(
            (f"{kind}SharedMemory{action}", f"{kind}SharedMemory{action}", request())
            for kind in ("System", "Cuda")
            for action in ("Status", "Register", "Unregister")
            for request in (getattr(service_pb2, f"{kind}SharedMemory{action}Request"),)
        ),
        ("ModelInfer", "ModelInfer", infer_message()),
        ("ModelInfer of nothing", "ModelInfer", service_pb2.ModelInferRequest(model_name="nope")),
    )
} | {"bytes that are no message": ("ModelInfer", b"\xff\xff"), "a method that is not there": ("Nope", b"")}


#: methods whose answers have maps
MAPS = ("TraceSetting", "LogSettings")


def called(
    address: str, method: str, *messages: bytes, service: str = "inference.GRPCInferenceService"
) -> Any:
    """What a call gives, as bytes: messages, status, details, initial and trailing metadata."""
    with grpc.insecure_channel(address) as channel:
        call = channel.stream_stream(f"/{service}/{method}")(iter(messages), timeout=60)
        received = []
        with contextlib.suppress(grpc.RpcError):
            received += call
        metadata = [(each.key, each.value) for each in (*call.initial_metadata(), *call.trailing_metadata())]
        return received, call.code(), call.details(), metadata


@pytest.mark.parametrize("name", GRPC)
def test_an_answer_over_grpc_is_that_of_the_server_byte_for_byte(
    name: str, real: TritonServer, front: Emulator
) -> None:
    passed, given = (called(url, *GRPC[name]) for url in (front.grpc_url, real.grpc_url))
    if name in MAPS:  # the server writes a map in another order at each call
        passed, given = ((list(map(sorted, each[0])), *each[1:]) for each in (passed, given))
    assert passed == given


def test_grpc_s_health_check_passes(real: TritonServer, front: Emulator) -> None:
    service = "grpc.health.v1.Health"
    given = called(front.grpc_url, "Check", b"", service=service)
    assert given == called(real.grpc_url, "Check", b"", service=service)
    assert len(given[0]) == 1


def test_a_stream_over_grpc_passes_and_each_request_has_its_entry(
    real: TritonServer, front: Emulator
) -> None:
    requests = [prompt_message("one").SerializeToString(), prompt_message("two").SerializeToString()]
    unknown = service_pb2.ModelInferRequest(model_name="nope", id="three").SerializeToString()
    before = front.requests.where("stream_infer").count
    passed = [
        called(address, "ModelStreamInfer", *requests, unknown) for address in (front.grpc_url, real.grpc_url)
    ]
    # responses of a decoupled model to different requests come in any order
    assert [sorted(each[0]) for each in passed[:1]] == [sorted(each[0]) for each in passed[1:]]
    assert passed[0][1:] == passed[1][1:]
    entries = front.requests.where("stream_infer")[before:]
    assert [(entry.id, entry.status, len(entry.events)) for entry in entries] == [
        ("one", "OK", 4),
        ("two", "OK", 4),
        ("three", "OK", 1),
    ]
    assert [entry.error for entry in entries] == [
        None,
        None,
        "Request for unknown model: 'nope' is not found",
    ]


def test_the_journal_decodes_what_has_passed(front: Emulator) -> None:
    answer(front.http_url, HTTP["infer with binary data"])
    entry = front.requests.last
    assert (entry.operation, entry.model, entry.status) == ("infer", "simple", 200)
    assert entry.inputs["INPUT0"].tolist() == [VALUES]
    assert entry.outputs["OUTPUT0"].tolist() == [[2 * value for value in VALUES]]
    client = tritonclient.grpc.InferenceServerClient(front.grpc_url)
    text = tritonclient.grpc.InferInput("INPUT0", [1, 16], "INT32")
    text.set_data_from_numpy(np.array([VALUES], dtype=np.int32))
    other = tritonclient.grpc.InferInput("INPUT1", [1, 16], "INT32")
    other.set_data_from_numpy(np.array([VALUES], dtype=np.int32))
    assert client.infer("simple", [text, other]).as_numpy("OUTPUT0").tolist() == [
        [2 * each for each in VALUES]
    ]
    client.close()
    entry = front.requests.last
    assert (entry.protocol, entry.operation, entry.model, entry.status) == ("grpc", "infer", "simple", "OK")
    assert entry.outputs["OUTPUT1"].tolist() == [[0] * 16]


def test_a_stream_comes_as_the_server_sends_it(front: Emulator) -> None:
    answer(front.http_url, HTTP["generate_stream"])
    entry = front.requests.last
    assert [event.data[:6] for event in entry.events] == [b"data: "] * 4
    assert [each.outputs["text_output"].array.tolist() for each in entry.answers] == [
        [text] for text in (b"A", b" large", b" token", b" sends")
    ]


@pytest.mark.parametrize(
    "wrong, status, text",
    [
        (fault.error(503, "overloaded"), 503, "overloaded"),
        (fault.unloaded(), 404, "Request for unknown model: 'simple' has no available versions"),
        (fault.queue_full(), 503, "[request id: a] Exceeds maximum queue size"),
        (fault.timeout_in_queue(), 503, "Request timeout expired"),
        (fault.not_ready(requests=1), 503, "Server not ready"),
    ],
    ids=repr,
)
def test_a_fault_answers_in_front_of_the_server(
    front: Emulator, wrong: Fault, status: int, text: str
) -> None:
    plan = front.inject(
        wrong, operation="infer", where=lambda entry: entry.inputs["INPUT0"].sum() == sum(VALUES)
    )
    given = httpx.post(f"{front.http_url}/v2/models/simple/infer", content=JSON_BODY)
    assert (given.status_code, given.json()) == (status, {"error": text})
    assert (plan.fired, plan.completed) == (1, 1)
    assert httpx.post(f"{front.http_url}/v2/models/simple/infer", content=JSON_BODY).status_code == 200
    plan = front.inject(wrong, operation="infer", protocol="grpc")
    _, _, details, _ = called(front.grpc_url, "ModelInfer", infer_message().SerializeToString())
    assert details == text
    assert (plan.fired, plan.completed) == (1, 1)
    plan.remove()


def test_a_stream_of_the_server_can_be_cut(front: Emulator) -> None:
    plan = front.inject(fault.cut(after_events=2), operation="generate_stream")
    assert answer(front.http_url, HTTP["generate_stream"]).count(b"data: ") == 2
    assert (plan.fired, plan.completed) == (1, 1)
    plan = front.inject(fault.cut(after_events=2), operation="stream_infer")
    received, code, details, _ = called(
        front.grpc_url, "ModelStreamInfer", prompt_message("a").SerializeToString()
    )
    assert (len(received), code, details) == (2, grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert (plan.fired, plan.completed) == (1, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        fault.wrong_output("OUTPUT0", drop=True),
        fault.error_event("broken"),
        fault.missing_final(),
        fault.truncated_binary("OUTPUT0"),
    ],
    ids=repr,
)
def test_a_fault_that_changes_a_model_s_answer_is_refused(front: Emulator, wrong: Fault) -> None:
    with pytest.raises(
        ValueError, match=r"changes what a model answers; the answers of an upstream pass as they are"
    ):
        front.inject(wrong)


def test_a_stub_is_refused(front: Emulator) -> None:
    with pytest.raises(
        ValueError, match="a stub answers in place of a model; the answers of an upstream pass"
    ):
        front.when("infer", model="simple")


def test_a_session_of_the_front_has_its_own_journal_and_plans(front: Emulator) -> None:
    with front.session() as session:
        session.inject(fault.error(500, "mine"), operation="server_live")
        assert httpx.get(f"{front.http_url}/v2/health/live").status_code == 200
        assert httpx.get(f"{session.http_url}/v2/health/live").status_code == 500
        assert httpx.get(f"{session.http_url}/v2/health/live").status_code == 200
        client = tritonclient.grpc.InferenceServerClient(session.grpc_url)
        assert client.is_server_live()
        client.close()
        assert [entry.operation for entry in session.requests] == ["server_live"] * 3


def test_tritonclient_works_through_it(front: Emulator) -> None:
    client = tritonclient.http.InferenceServerClient(front.http_url.removeprefix("http://"))
    inputs = [tritonclient.http.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for each in inputs:
        each.set_data_from_numpy(np.array([VALUES], dtype=np.int32))
    result = client.infer("simple", inputs, request_compression_algorithm="gzip")
    client.close()
    assert result.as_numpy("OUTPUT0").tolist() == [[2 * value for value in VALUES]]


def test_the_server_stops_when_the_client_leaves(real: TritonServer, front: Emulator) -> None:
    """A stream of many tokens ends at the server soon after its client has left: it does not run to its end."""
    body = json.dumps(PROMPT | {"sampling_parameters": '{"max_tokens": 3}'}).encode()
    address = urlsplit(front.http_url)
    with front.session() as session:
        path = urlsplit(session.http_url).path
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(raw("POST", f"{path}/v2/models/vllm/generate_stream", body))
            connection.recv(10)
        entry = session.requests.wait_for(1).last
    assert entry.complete
