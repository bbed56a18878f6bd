"""What a request over HTTP is answered by the last version before a change, and by the first version that has it."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import get_args

import pytest

from triton_emulator import Emulator
from triton_emulator.settings import TritonVersion

IDENTITY = "/v2/models/identity_fp32/infer"
STRINGS = "/v2/models/simple_identity/infer"
GENERATE = "/v2/models/identity_fp32/generate"
ORDER: tuple[TritonVersion, ...] = get_args(TritonVersion)
OK = (200, "")
MISMATCH = "Unable to parse 'data': Shape does not match true shape of 'data' field"
NOT_EXPLICIT = (503, "explicit model load / unload is not allowed if polling is enabled")
BAD_JSON = "failed to parse the request JSON buffer: "


class Versions:
    """An emulator of each version that has been asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[TritonVersion, Emulator] = {}

    def ask(self, version: TritonVersion, path: str, body: str, **headers: str) -> tuple[int, str]:
        """The status, and the error's text or ""."""
        if version not in self._running:
            self._running[version] = self._stack.enter_context(
                Emulator(triton_version=version, http_header_forward_pattern="^[a-z_]+$", allow_grpc=False)
            )
        connection = http.client.HTTPConnection(self._running[version].http_url.removeprefix("http://"))
        try:
            connection.request("POST", path, body.encode(), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content)["error"] if answer.status != 200 else ""


@pytest.fixture(scope="module")
def versions() -> Iterator[Versions]:
    with ExitStack() as stack:
        yield Versions(stack)


def infer(shape: str, data: str, datatype: str = "FP32", outputs: str = "") -> str:
    entry = f'{{"name":"INPUT0","datatype":"{datatype}","shape":{shape},"data":{data}}}'
    return f'{{"inputs":[{entry}]{outputs}}}'


def refused(text: str) -> tuple[int, str]:
    return 400, text


def deep(leaf: str, depth: int) -> str:
    return "[" * depth + leaf + "]" * depth


@pytest.mark.parametrize(
    "first, path, body, before, after",
    [
        pytest.param(
            "2.58.0",
            IDENTITY,
            infer("[4611686018427387904,2]", "[]"),
            (500, MISMATCH),
            refused(
                "invalid shape for input 'INPUT0': shape [4611686018427387904,2] causes total element count to exceed "
                "maximum size of 9223372036854775807"
            ),
            id="a product of 64 bits",
        ),
        pytest.param(
            "2.58.0",
            IDENTITY,
            infer("[18446744073709551614,0]", "[]"),
            refused(
                "[request id: <id_unknown>] unexpected shape for input 'INPUT0' for model 'identity_fp32'. "
                "Expected [-1], got [-2,0]. "
            ),
            refused("invalid shape for input 'INPUT0': shape [-2,0] contains one or more invalid dimensions"),
            id="a negative dim",
        ),
        pytest.param(
            "2.58.0",
            IDENTITY,
            infer("[4611686018427387904]", "[]"),
            (500, MISMATCH),
            refused(
                "byte size overflow for input 'INPUT0': element count (4611686018427387904) * data type size (4) "
                "exceeds maximum allowed size (9223372036854775807)"
            ),
            id="bytes of 64 bits",
        ),
        pytest.param(
            "2.58.0",
            IDENTITY,
            infer("[1]", deep("1", 100)),
            OK,
            (400, "Unable to parse 'data': JSON nesting depth exceeds maximum allowed limit (100)"),
            id="numbers 100 lists deep",
        ),
        pytest.param("2.58.0", IDENTITY, infer("[1]", deep("1", 99)), OK, OK, id="numbers 99 lists deep"),
        pytest.param(
            "2.58.0",
            STRINGS,
            infer("[1,1]", deep('"a"', 100), "BYTES"),
            OK,
            (400, "JSON nesting depth exceeds maximum allowed limit (100)"),
            id="strings 100 lists deep",
        ),
        pytest.param(
            "2.59.1",
            "/v2/repository/models/simple/unload",
            "{",
            NOT_EXPLICIT,
            (500, BAD_JSON + "Missing a name for object member. at 1"),
            id="an unload with no JSON",
        ),
        pytest.param(
            "2.59.1",
            "/v2/repository/models/simple/unload",
            "",
            NOT_EXPLICIT,
            NOT_EXPLICIT,
            id="an unload with nothing",
        ),
        pytest.param(
            "2.68.0",
            IDENTITY,
            infer("[2]", "[[1],[]]"),
            (500, MISMATCH),
            (500, "Failed to parse 'data' field: shape does not match true shape"),
            id="too few elements",
        ),
        pytest.param(
            "2.68.0",
            IDENTITY,
            infer("[1]", "[1,2]"),
            (500, MISMATCH),
            (500, MISMATCH),
            id="too many elements",
        ),
        pytest.param(
            "2.68.0",
            STRINGS,
            infer("[1,1]", "[]", "BYTES"),
            refused(
                "[request id: <id_unknown>] expected 1 string elements for inference input 'INPUT0' for model "
                "'simple_identity', got 0"
            ),
            (500, "Failed to parse 'data' field: output buffer unavailable"),
            id="no strings",
        ),
        pytest.param(
            "2.68.0",
            GENERATE,
            '{"INPUT0":[]}',
            OK,
            refused(
                "[request id: <id_unknown>] unexpected shape for input 'INPUT0' for model 'identity_fp32'. "
                "Expected [-1], got []. "
            ),
            id="an empty list of generate",
        ),
        pytest.param(
            "2.69.0",
            "/v2/repository/index",
            '{"ready":1}',
            (500, "attempt to access JSON non-boolean as boolean"),
            (400, "Invalid value for 'ready': expected a boolean"),
            id="ready is no boolean",
        ),
        pytest.param(
            "2.69.0",
            IDENTITY,
            infer("[1]", "[1]", outputs=',"id":"a","outputs":[{"name":"OUTPUT0"},{"name":"OUTPUT0"}]'),
            OK,
            (400, "[request id: a] output 'OUTPUT0' already exists in request"),
            id="an output twice",
        ),
        pytest.param(
            "2.69.0",
            GENERATE,
            "  }",
            (500, BAD_JSON + "Invalid value. at 2"),
            (500, BAD_JSON + "The document is empty. at 2"),
            id="JSON that begins with a brace",
        ),
        pytest.param(
            "2.69.0",
            GENERATE,
            f'{{"INPUT0":1,"x":{deep("", 100_001)}}}',
            (500, BAD_JSON + "Terminate parsing due to Handler error. at 100015"),
            refused("parameter 'x' has invalid type. It should be either 'int', 'bool', or 'string'."),
            id="JSON that nests very deep",
        ),
    ],
)
def test_a_change_comes_with_its_first_version(
    versions: Versions,
    first: TritonVersion,
    path: str,
    body: str,
    before: tuple[int, str],
    after: tuple[int, str],
) -> None:
    assert versions.ask(ORDER[ORDER.index(first) - 1], path, body) == before
    assert versions.ask(first, path, body) == after


def test_a_reserved_header_is_not_forwarded_from_2_69_on(versions: Versions) -> None:
    body = infer("[1]", "[1]")
    assert versions.ask("2.68.0", IDENTITY, body, timeout="1") == OK
    text = "Header 'timeout' is reserved for Triton usage and cannot be forwarded."
    assert versions.ask("2.69.0", IDENTITY, body, timeout="1") == (400, text)
    assert versions.ask("2.69.0", IDENTITY, body, Timeout="1") == OK


def test_a_header_length_is_a_number_from_2_70_on(versions: Versions) -> None:
    length = {"Inference-Header-Content-Length": "abc"}
    body = infer("[1]", "[1]")
    size = len(body)
    status, text = versions.ask("2.69.0", IDENTITY, body, **length)
    assert (status, text.partition(". Expected")[0]) == refused(
        "[request id: <id_unknown>] input byte size mismatch for input 'raw_input' for model 'identity_fp32'"
    )
    unparsed = refused("Unable to parse Inference-Header-Content-Length, got: abc")
    assert versions.ask("2.70.0", IDENTITY, body, **length) == unparsed
    assert versions.ask("2.70.0", IDENTITY, body, **{"Inference-Header-Content-Length": str(size)}) == OK


def chunked(version: TritonVersion, chunks: int, last: bytes) -> bytes:
    """All that the server sends on a connection to a request with so many chunks of one blank, and then `last`."""
    head = b"POST /v2/models/identity_fp32/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with Emulator(triton_version=version, allow_grpc=False) as triton:
        host, _, port = triton.http_url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + b"1\r\n \r\n" * chunks + last)
            received = b""
            while more := connection.recv(65536):
                received += more
    return received


@pytest.mark.parametrize("version, chunks", [("2.68.0", 65537), ("2.69.0", 65536)])
def test_a_body_of_many_chunks_is_read(version: TritonVersion, chunks: int) -> None:
    text = b'{"error":"failed to parse the request JSON buffer: The document is empty. at %d"}' % chunks
    assert chunked(version, chunks, b"0\r\n\r\n").endswith(b"\r\n\r\n" + text)


def test_from_2_69_on_the_answer_to_more_than_65536_chunks_comes_before_their_end() -> None:
    assert chunked("2.69.0", 65537, b"") == (
        b"HTTP/1.1 400 Bad Request\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 109\r\n"
        b"Connection: close\r\n\r\n"
        b'{"error":"Chunked request body exceeds maximum of 65536 non-empty chunks. '
        b'Send fewer or larger HTTP chunks."}'
    )
