"""Bodies that take long to read and to write: the server answers other clients meanwhile."""

import http.client
import json
import select
from collections.abc import Iterator

import pytest

from emulator.tests.hostile_server import Process, parse, read_to_end, request, running

COUNT = 300_000
NUMBERS = [number / 4 for number in range(COUNT)]
INFER = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [COUNT], "data": NUMBERS}]}


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with running() as process:
        yield process


def answered_meanwhile(server: Process, sent: bytes) -> tuple[int, bytes, int]:
    """Status and body of the answer to `sent`, and how often the server said meanwhile that it is ready."""
    others = http.client.HTTPConnection("127.0.0.1", server.port)

    def ask() -> None:
        others.request("GET", "/v2/health/ready")
        answer = others.getresponse()
        assert (answer.status, answer.read()) == (200, b"")

    count = 0
    with server.connect() as connection:
        connection.sendall(sent[:-1])
        # The server reads a piece of the body between two requests, so it has the whole body after these.
        for _ in range(200):
            ask()
        connection.sendall(sent[-1:])
        while not select.select([connection], [], [], 0)[0]:
            ask()
            count += 1
        status, body = parse(read_to_end(connection))
    others.close()
    return status, body, count


def test_a_body_has_no_limit_by_default(server: Process) -> None:
    document = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"data":[0.5]}]}'
    body = document + b" " * (70 << 20)
    status, answer = server.post("/v2/models/identity_fp32/infer", body)
    assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [0.5])


def test_others_are_answered_while_a_large_infer_is_read_and_written(server: Process) -> None:
    sent = request("/v2/models/identity_fp32/infer", INFER, "Connection: close")
    status, body, count = answered_meanwhile(server, sent)
    assert status == 200
    assert json.loads(body)["outputs"][0]["data"] == NUMBERS
    assert count >= 5  # it would be 1 if the event loop did the work


def test_others_are_answered_while_a_large_generate_is_read(server: Process) -> None:
    document = {"text_input": "a", "max_tokens": 1, "parameters": {"ignored": NUMBERS}}
    status, _, count = answered_meanwhile(
        server, request("/v2/models/custom_llm/generate", document, "Connection: close")
    )
    assert status in {200, 400}
    assert count >= 5  # it would be 1 if the event loop did the work


def test_others_are_answered_while_a_large_document_for_another_route_is_read(server: Process) -> None:
    document = {"log_verbose_level": 0, "ignored": NUMBERS}
    status, _, count = answered_meanwhile(server, request("/v2/logging", document, "Connection: close"))
    assert status == 200
    assert count >= 5  # it would be 1 if the event loop did the work
