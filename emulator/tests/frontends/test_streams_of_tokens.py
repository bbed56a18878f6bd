"""Streams of stand-ins over real connections: what many requests share, and clients that do not read."""

import json
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc

from triton_emulator import Emulator, Session, fault

CONFIG = """
backend: "tensorrtllm"
model_transaction_policy { decoupled: true }
input { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
output { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }
"""
PROMPT = {"text_input": "hi", "stream": True}
REPLY = "One two three one two three."
TOKENS = ["One", " two", " three", " one", " two", " three", "."]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    models = tmp_path_factory.mktemp("models")
    for name in ("llm", "echo"):
        (models / name / "1").mkdir(parents=True)
        (models / name / "config.pbtxt").write_text(CONFIG)
    (models / "emulator.yaml").write_text(
        f"models: {{llm: {{behaviour: text, reply: '{REPLY}'}}, echo: {{behaviour: text, echo: true}}}}"
    )
    with Emulator(models) as emulator:
        yield emulator


@pytest.fixture
def triton(emulator: Emulator) -> Iterator[Session]:
    with emulator.session() as session:
        yield session


def texts(session: Session, model: str = "llm", **document: object) -> list[Any]:
    url = f"{session.http_url}/v2/models/{model}/generate_stream"
    lines = httpx.post(url, json={**PROMPT, **document}, timeout=60).text.split("\n\n")
    return [json.loads(line.removeprefix("data: "))["text_output"] for line in lines if line]


def test_each_request_gets_all_tokens_whatever_others_have_got(triton: Session) -> None:
    assert [texts(triton) for _ in range(3)] == [TOKENS] * 3


def test_the_journal_has_each_event(triton: Session) -> None:
    texts(triton)
    entry = triton.requests.last
    assert [answer.outputs["text_output"].array.item().decode() for answer in entry.answers] == TOKENS


def test_an_id_is_that_of_the_request(triton: Session) -> None:
    texts(triton)
    url = f"{triton.http_url}/v2/models/llm/generate_stream"
    answer = httpx.post(url, json={**PROMPT, "id": "a7"})
    assert answer.text.count('"id":"a7"') == len(TOKENS)
    assert texts(triton) == TOKENS


def test_a_fault_changes_the_answer_to_one_request_alone(triton: Session) -> None:
    assert texts(triton) == TOKENS
    triton.inject(fault.wrong_output("text_output", values=["wrong"]), operation="generate_stream")
    assert texts(triton) == ["wrong"] * len(TOKENS)
    assert texts(triton) == TOKENS


def test_a_client_that_reads_late_gets_all_tokens_in_their_order(triton: Session) -> None:
    url = httpx.URL(triton.http_url)
    words = [f"{number:03000d}" for number in range(2000)]  # more than a connection holds
    body = json.dumps({"text_input": " ".join(words), "stream": True}).encode()
    head = f"POST {url.path}/v2/models/echo/generate_stream HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((url.host, url.port))
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
        assert texts(triton) == TOKENS  # others are served meanwhile
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    events = [part for part in answer.split(b"\r\n") if part.startswith(b"data: ")]
    got = [json.loads(event.removeprefix(b"data: "))["text_output"] for event in events]
    assert answer.endswith(b"0\r\n\r\n")
    assert [text.strip() for text in got] == words


def test_a_client_that_leaves_in_the_middle_ends_its_request(triton: Session) -> None:
    url = f"{triton.http_url}/v2/models/echo/generate_stream"
    with httpx.stream("POST", url, json={"text_input": "word " * 200_000, "stream": True}) as answer:
        next(answer.iter_lines())
    triton.requests.where("generate_stream").wait_for(1, timeout=60)
    assert texts(triton) == TOKENS


def test_messages_over_grpc_are_shared_but_for_the_last(triton: Session) -> None:
    for identifier in ("", "", "a7", ""):
        assert over_grpc(triton, identifier) == [
            (identifier, token, number == len(TOKENS)) for number, token in enumerate(TOKENS, 1)
        ]


def over_grpc(session: Session, identifier: str) -> list[tuple[str, str, bool]]:
    """The id, the text and the final flag of each response."""
    prompt = tritonclient.grpc.InferInput("text_input", [1], "BYTES")
    prompt.set_data_from_numpy(np.array([b"hi"], dtype=object))
    streamed = tritonclient.grpc.InferInput("stream", [1], "BOOL")
    streamed.set_data_from_numpy(np.array([True]))
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    found = []
    with tritonclient.grpc.InferenceServerClient(session.grpc_url) as client:
        client.start_stream(lambda result, error: answers.put(error or result))
        client.async_stream_infer("llm", [prompt, streamed], request_id=identifier)
        for _ in TOKENS:
            result = answers.get(timeout=60)
            response = result.get_response()
            final = response.parameters["triton_final_response"].bool_param
            found.append((response.id, result.as_numpy("text_output").item().decode(), final))
        client.stop_stream()
    return found


def test_many_streams_at_once_do_not_mix(triton: Session) -> None:
    results: list[list[Any]] = []
    threads = [
        threading.Thread(target=lambda: results.append(texts(triton, exclude_input_in_output=True)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [TOKENS] * 16
