"""Clients that leave while a stand-in waits, for its first token or for its whole answer: the wait ends at once."""

import asyncio
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from triton_emulator.emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class

CONFIG = """
backend: "tensorrtllm"
input [{ name: "text_input" data_type: TYPE_STRING dims: [ 1 ] },
       { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true }]
output [{ name: "text_output" data_type: TYPE_STRING dims: [ 1 ] }]
model_transaction_policy { decoupled: %s }
"""
ENSEMBLE = """
platform: "ensemble"
input [{ name: "PROMPT" data_type: TYPE_STRING dims: [ 1 ] }]
output [{ name: "ANSWER" data_type: TYPE_STRING dims: [ 1 ] }]
ensemble_scheduling {
  step [{ model_name: "%s" model_version: -1
          input_map { key: "%s" value: "PROMPT" } output_map { key: "%s" value: "ANSWER" } }]
}
"""
#: so long that a wait that is not ended makes the test fail
SETTINGS = "models: {whole: {time_to_first_token_ms: 3600000}, streaming: {time_to_first_token_ms: 3600000}}"
TEXT = {"name": "text_input", "datatype": "BYTES", "shape": [1]}
STREAM = {"name": "stream", "datatype": "BOOL", "shape": [1]}


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    for name, decoupled in (("whole", "false"), ("streaming", "true")):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(CONFIG % decoupled)
    for name, member in (
        ("around", ("whole", "text_input", "text_output")),
        ("outer", ("around", "PROMPT", "ANSWER")),
    ):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(ENSEMBLE % member)
    (tmp_path / "emulator.yaml").write_text(SETTINGS)
    with Emulator(tmp_path) as running:
        yield running


def failures(emulator: Emulator, model: str) -> int:
    """How many requests have failed."""
    with urllib.request.urlopen(f"{emulator.http_url}/v2/models/{model}/stats") as answer:
        count: int = json.load(answer)["model_stats"][0]["inference_stats"]["fail"]["count"]
    return count


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("whole/generate", {"text_input": "a"}),
        ("whole/generate_stream", {"text_input": "a"}),
        ("whole/infer", {"inputs": [{**TEXT, "data": ["a"]}]}),
        ("around/generate", {"PROMPT": "a"}),
        ("around/generate_stream", {"PROMPT": "a"}),
        ("around/infer", {"inputs": [{**TEXT, "name": "PROMPT", "data": ["a"]}]}),
        ("outer/generate", {"PROMPT": "a"}),
        ("streaming/generate", {"text_input": "a", "stream": True}),
        ("streaming/generate_stream", {"text_input": "a", "stream": True}),
    ],
)
def test_a_wait_ends_when_the_client_closes_its_connection(
    emulator: Emulator, path: str, body: dict[str, Any]
) -> None:
    data = json.dumps(body).encode()
    host, port = emulator.http_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /v2/models/{path} HTTP/1.1\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
        )
    member = "streaming" if path.startswith("streaming") else "whole"
    while failures(emulator, member) != 1:  # the test's timeout ends this
        pass


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("whole", "ModelInfer"),
        ("streaming", "ModelStreamInfer"),
        ("around", "ModelInfer"),
        ("outer", "ModelStreamInfer"),
    ],
)
async def test_a_wait_ends_when_a_call_is_cancelled(emulator: Emulator, model: str, method: str) -> None:
    request = message_class("ModelInferRequest")(model_name=model)
    in_ensemble = model in ("around", "outer")
    text = {**TEXT, "name": "PROMPT"} if in_ensemble else TEXT
    request.inputs.add(**text).contents.bytes_contents.append(b"a")
    if not in_ensemble:
        request.inputs.add(**STREAM).contents.bool_contents.append(model == "streaming")
    service = "/inference.GRPCInferenceService/"
    async with grpc.aio.insecure_channel(emulator.grpc_url) as channel:
        while not await asyncio.to_thread(failures, emulator, "whole" if in_ensemble else model):
            if method == "ModelInfer":
                call = channel.unary_unary(service + method)(request.SerializeToString())
            else:
                call = channel.stream_stream(service + method)()
                await call.write(request.SerializeToString())
            # whether the server has the call then is likely, but not sure: hence the loop
            await channel.unary_unary(service + "ServerLive")(b"")
            call.cancel()
