"""No request may crash or hang the server, or make it leak: hostile input to a real emulator process.

After every test the same process answers as before, with no more descriptors and threads than it had, and without
having grown.
"""

import gzip
import json
import os
import resource
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from emulator.tests.hostile_server import Process, parse, read_to_end, request, running

MIB = 1 << 20
#: the process with its models, plus room for what one request of the largest size needs
RESIDENT_LIMIT = 400 * MIB
INFER = "/v2/models/plain/infer"

MODEL = """
import os
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        array = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        BODY
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])
"""
STREAMING = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            count = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()[0])
            sender = request.get_response_sender()
            for at in range(count):
                if request.is_cancelled():
                    break
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([at], dtype=np.float32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
CONFIG = """
backend: "python"
input [{name: "IN" data_type: TYPE_%s dims: [-1]}]
output [{name: "OUT" data_type: TYPE_%s dims: [-1]}]
"""
BODIES = {
    "plain": "pass",
    "raising": "raise RuntimeError('no')",
    "leaving": "raise SystemExit(3)",
    "recursing": "self.answer(request)",
    # ends when the file (a FIFO) is opened for writing, or the file is created
    "blocking": "open(array[0]).close()",
    "looping": "while sum(range(300_000)) and not os.path.exists(array[0]): pass",
}
STRINGS = ("blocking", "looping")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a thousand streams have two thousand sockets
    folder = tmp_path_factory.mktemp("models")
    for name, body in BODIES.items():
        kind = "STRING" if name in STRINGS else "FP32"
        add_model(folder, name, MODEL.replace("BODY", body), CONFIG % (kind, kind))
    add_model(
        folder,
        "streaming",
        STREAMING,
        CONFIG % ("FP32", "FP32") + "model_transaction_policy {decoupled: true}",
    )
    with running(f"--model-repository={folder}", f"--http-max-input-size={64 * MIB}") as process:
        yield process


def add_model(folder: Path, name: str, model: str, config: str) -> None:
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(config)
    (folder / name / "1" / "model.py").write_text(model)


@pytest.fixture(autouse=True)
def unharmed(server: Process) -> Iterator[None]:
    """After each test the server answers, and it frees the test's descriptors and threads within a few requests."""
    assert answers(server)
    descriptors, threads = server.descriptors, server.threads
    yield
    assert answers(server)
    while server.descriptors > descriptors or server.threads > threads:
        assert answers(server)  # the test's timeout ends this
    assert server.resident_bytes < RESIDENT_LIMIT


def numbers(values: list[float], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [len(values)], "data": values}], **more}


def strings(*values: str) -> dict[str, Any]:
    return {"inputs": [{"name": "IN", "datatype": "BYTES", "shape": [len(values)], "data": list(values)}]}


def answers(server: Process) -> bool:
    status, body = server.post(INFER, numbers([1, 2]))
    return status == 200 and json.loads(body)["outputs"][0]["data"] == [1.0, 2.0]


def error_of(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["error"]


# --- bodies --------------------------------------------------------------------------------------------------------


def test_a_body_beyond_the_limit_is_read_and_refused(server: Process) -> None:
    with server.connect() as connection:
        size = 65 * MIB
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(65):
            connection.sendall(bytes(MIB))
        status, message = error_of(parse(connection.recv(65536)))
    assert status == 400
    assert message == (
        "request size exceeds the maximum allowed input size of 67108864 bytes. "
        "Use --http-max-input-size to increase the limit."
    )


def test_shapes_of_a_hundred_thousand_dims_are_refused_and_forgotten(server: Process) -> None:
    count = 100_000
    before = server.resident_bytes
    for first in range(100, 130):  # kept, each would hold 4 MB; their exact product has a megabyte
        dims = list(range(first * count, (first + 1) * count))
        entry = {"name": "IN", "datatype": "FP32", "shape": dims, "parameters": {"binary_data_size": 0}}
        status, message = error_of(server.post(INFER, {"inputs": [entry]}))
        assert status == 400
        assert "unexpected shape for input 'IN' for model 'plain'. Expected [-1], got [" in message
    assert server.resident_bytes < before + 60 * MIB
    entry = {"name": "IN", "datatype": "FP32", "shape": dims * 10, "data": [1]}
    assert server.post(INFER, {"inputs": [entry]})[0] in {400, 500}  # exact arithmetic would take minutes


def test_a_length_that_no_memory_could_hold_costs_nothing(server: Process) -> None:
    before = server.resident_bytes
    with server.connect() as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nContent-Length: {2**60}\r\n\r\n{{".encode())
        assert answers(server)
        assert server.resident_bytes < before + 16 * MIB


def test_endless_chunks_are_dropped_beyond_the_limit(server: Process) -> None:
    before = server.resident_bytes
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    with server.connect() as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(200):
            connection.sendall(chunk)
        assert server.resident_bytes < before + 160 * MIB
        connection.sendall(b"0\r\n\r\n")
        assert parse(connection.recv(65536))[0] == 400


@pytest.mark.parametrize("sent", [0, 1, 17, 60])
def test_a_half_sent_body_delays_no_other_request(server: Process, sent: int) -> None:
    whole = request(INFER, numbers([1, 2, 3]))
    body = whole.index(b"\r\n\r\n") + 4
    with server.connect() as connection:
        connection.sendall(whole[: body + sent])
        assert answers(server)
        connection.sendall(whole[body + sent :])
        assert parse(connection.recv(65536))[0] == 200


@pytest.mark.parametrize("sent", [10, 200, 1000])
def test_a_client_that_leaves_in_the_middle_of_its_body(server: Process, sent: int) -> None:
    whole = request(INFER, numbers([0.5] * 200))
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(whole[:sent])


def test_a_client_that_resets_in_the_middle_of_its_body(server: Process) -> None:
    whole = request(INFER, numbers([0.5] * 200))
    for _ in range(50):
        connection = server.connect()
        connection.sendall(whole[:500])
        reset(connection)


def reset(connection: socket.socket) -> None:
    """Close with an RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"fffffffffffffffffffffffff\r\n{}\r\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"\r\n\r\n\r\n",
    ],
    ids=["no number", "a negative", "an enormous one", "no line end", "a long extension", "nothing"],
)
def test_bad_chunks_end_the_connection_or_are_answered(server: Process, chunks: bytes) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with server.connect() as connection:
        connection.sendall(head + chunks)
        connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)
    assert answer == b"" or parse(answer)[0] >= 400


@pytest.mark.parametrize("length", ["abc", "-1", "99999999999999999999999", "1e3", "5, 5", ""])
def test_lengths_that_are_none_end_the_connection(server: Process, length: str) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)
    assert answer == b"" or parse(answer)[0] >= 400


@pytest.mark.parametrize(
    "length", ["-5", "7", "999", "99999999999999999999", "2147483648", "4294967297", "x"]
)
def test_header_lengths_that_do_not_fit_are_refused(server: Process, length: str) -> None:
    status, _ = server.post(INFER, numbers([1, 2]), f"Inference-Header-Content-Length: {length}")
    assert status in (400, 500)


# --- JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "left open"])
def test_deep_nesting_is_an_error_and_no_crash(
    server: Process, opening: bytes, closing: bytes, depth: int, closed: bool
) -> None:
    body = opening * depth + (b"1" + closing * depth if closed else b"")
    assert server.post(INFER, body)[0] == 500
    assert server.post("/v2/models/streaming/generate", body)[0] in (400, 500)


def test_deeply_nested_data_is_read(server: Process) -> None:
    depth = 50_000
    body = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[1],"data":%b5%b}]}' % (
        b"[" * depth,
        b"]" * depth,
    )
    status, answer = server.post(INFER, body)
    assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [5.0])


@pytest.mark.parametrize(
    "shape",
    [
        [10**12],
        [2**62],
        [2**63],
        [2**64 - 1],
        [10**9, 10**9],
        [2**32, 2**32],
        [1] * 10_000,
        [0] * 10_000,
        [-1],
        [10**30],
        [1.5],
        ["1"],
        [[1]],
        [],
    ],
    ids=lambda shape: str(shape)[:30],
)
@pytest.mark.parametrize("datatype", ["FP32", "BYTES", "BOOL"])
def test_absurd_shapes_are_refused_before_anything_is_made(
    server: Process, shape: Any, datatype: str
) -> None:
    before = server.resident_bytes
    entry = {"name": "IN", "datatype": datatype, "shape": shape}
    for body in (
        {"inputs": [{**entry, "data": [1]}]},
        {"inputs": [{**entry, "parameters": {"binary_data_size": 0}}]},
        {"inputs": [{**entry, "parameters": {"binary_data_size": 2**63}}]},
    ):
        status, _ = server.post(INFER, body)
        assert status in (400, 500), body
    assert server.resident_bytes < before + 16 * MIB


@pytest.mark.parametrize("digits", ["1" * 100_000, "1e" + "9" * 1000, "0." + "1" * 100_000, "-" * 1000])
def test_numbers_of_any_length_are_read_or_refused(server: Process, digits: str) -> None:
    body = f'{{"inputs":[{{"name":"IN","datatype":"FP32","shape":[1],"data":[{digits}]}}]}}'
    assert server.post(INFER, body.encode())[0] in (200, 500)


BAD_UTF8 = b"\xff\xfe\xc0\x80\xed\xa0\x80"


@pytest.mark.parametrize(
    "body",
    [
        BAD_UTF8,
        b'{"inputs": "' + BAD_UTF8 + b'"}',
        b'{"id": "'
        + BAD_UTF8
        + b'", "inputs": [{"name": "IN", "datatype": "FP32", "shape": [1], "data": []}]}',
        b'{"inputs": [{"name": "' + BAD_UTF8 + b'", "datatype": "FP32", "shape": [1], "data": [1]}]}',
        b'{"inputs": [{"name": "IN", "datatype": "' + BAD_UTF8 + b'", "shape": [1], "data": [1]}]}',
    ],
    ids=["alone", "for a list", "in the id", "in a name", "in a datatype"],
)
def test_bytes_that_are_not_utf8_are_an_error_like_any_other(server: Process, body: bytes) -> None:
    status, answer = server.post(INFER, body)
    assert status in (400, 500)
    assert answer.startswith(b'{"error":"')


def test_bytes_that_are_not_utf8_in_path_header_and_id(server: Process) -> None:
    status, answer = parse(
        server.send(
            b"GET /v2/models/" + BAD_UTF8 + b" HTTP/1.1\r\nConnection: close\r\nX: " + BAD_UTF8 + b"\r\n\r\n"
        )
    )
    assert status == 404
    assert BAD_UTF8 in answer
    body = json.dumps(numbers([1, 2], id="ID")).encode().replace(b"ID", BAD_UTF8)
    status, answer = server.post(INFER, body)
    assert status == 200
    assert BAD_UTF8 in answer


@pytest.mark.parametrize("value", [[], {}, None, 7, "text", True, [[]], [None], [7], [{}]])
@pytest.mark.parametrize(
    "key", ["inputs", "outputs", "parameters", "id", "name", "datatype", "shape", "data"]
)
def test_every_member_of_every_wrong_type(server: Process, key: str, value: Any) -> None:
    body = numbers([1, 2])
    (body if key in ("inputs", "outputs", "parameters", "id") else body["inputs"][0])[key] = value
    status, answer = server.post(INFER, body)
    assert status in (200, 400, 500)
    assert "error" in json.loads(answer) or status == 200


# --- compression ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_counts_by_what_it_inflates_to(server: Process, coding: str) -> None:
    before = server.resident_bytes
    packer = zlib.compressobj(1, wbits=31 if coding == "gzip" else 15)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(512)) + packer.flush()
    assert len(bomb) < 4 * MIB
    status, message = error_of(server.post(INFER, bomb, f"Content-Encoding: {coding}"))
    assert (status, message.partition(" of ")[0]) == (
        400,
        "request size exceeds the maximum allowed input size",
    )
    assert server.resident_bytes < before + 200 * MIB


@pytest.mark.parametrize(
    "body",
    [b"", b"\x1f\x8b", b"garbage", gzip.compress(json.dumps(numbers([1])).encode())[:-12], bytes(1000)],
    ids=["nothing", "a beginning", "no such thing", "cut short", "zeros"],
)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "GZIP", "x" * 5000])
def test_a_body_that_does_not_inflate_is_answered(server: Process, body: bytes, coding: str) -> None:
    assert server.post(INFER, body, f"Content-Encoding: {coding}")[0] in (200, 400, 500, 501)


# --- heads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/../../../etc/passwd",
        "/v2/models/%2e%2e/config",
        "/v2/models/..%2f..%2fetc%2fpasswd/config",
        "/v2/models/plain/versions/../../plain",
        "//v2//models//plain",
        "/v2/models/plain/",
        "/v2/models/" + "a" * 7000,
        "/" * 5000,
        "/%",
        "/%zz%00",
        "/v2/models/plain/versions/" + "9" * 500,
        "/s/../v2",
        "/s/nobody/v2",
        "/s/" + "a" * 5000,
    ],
    ids=lambda path: path[:40],
)
def test_paths_reach_no_other_file(server: Process, path: str) -> None:
    status, answer = server.get(path)
    assert status in (400, 404)
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/models/../load",
        "/v2/repository/models/..%2f..%2fetc/load",
        "/v2/repository/models/%2e%2e/unload",
    ],
)
def test_models_outside_of_the_repository_are_not_loaded(server: Process, path: str) -> None:
    assert server.post(path, b"")[0] in (400, 404, 500, 503)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v2\0/etc HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"GET /v2 HTTP/1.1\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\n" + b"y" * 1_000_000 + b": x\r\n\r\n",
        b"\0" * 100_000,
        b"\r\n" * 100_000,
        bytes(range(256)) * 100,
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"POST /v2/models/plain/infer HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v2/models/plain/infer HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    ],
    ids=[
        "NUL in the path",
        "a long path",
        "a flood of headers",
        "a long value",
        "a long name",
        "NULs",
        "empty lines",
        "every byte",
        "a version from the future",
        "two lengths",
        "a length and chunks",
        "HTTP/2",
        "TLS",
    ],
)
def test_heads_that_no_client_sends(server: Process, head: bytes) -> None:
    with server.connect() as connection:
        try:
            connection.sendall(head)
            connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            return  # the server has closed the connection
        answer = read_to_end(connection)
    assert answer == b"" or answer.startswith(b"HTTP/")


def test_five_hundred_slow_clients_delay_no_other_client(server: Process) -> None:
    connections = [server.connect() for _ in range(500)]
    for at, connection in enumerate(connections):
        connection.sendall(request(INFER, numbers([1, 2]))[: 1 + at % 60])
    assert answers(server)
    for connection in connections:
        connection.close()


# --- streams -------------------------------------------------------------------------------------------------------


def stream(count: float) -> bytes:
    return request("/v2/models/streaming/generate_stream", {"IN": count})


def test_a_thousand_streams_at_once_all_end(server: Process) -> None:
    connections = [server.connect() for _ in range(1000)]
    for connection in connections:
        connection.sendall(stream(20))
    for connection in connections:
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            part = connection.recv(65536)
            assert part
            received += part
        assert received.count(b"data: ") == 20
        connection.close()


def test_clients_that_reset_in_the_middle_of_a_stream(server: Process) -> None:
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(stream(1_000_000))
            assert b"data: " in connection.recv(4096)
            reset(connection)


def test_a_client_that_reads_nothing_of_its_stream_costs_little(server: Process) -> None:
    before = server.resident_bytes
    with server.connect() as connection:
        connection.sendall(stream(20_000))
        for _ in range(50):
            assert answers(server)
        assert server.resident_bytes < before + 100 * MIB


# --- large and many ------------------------------------------------------------------------------------------------


def test_a_binary_tensor_of_64_mb_comes_back(server: Process) -> None:
    data = bytes(range(250)) * (64_000_000 // 250)
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "IN",
                    "datatype": "FP32",
                    "shape": [len(data) // 4],
                    "parameters": {"binary_data_size": len(data)},
                }
            ],
            "outputs": [{"name": "OUT", "parameters": {"binary_data": True}}],
        }
    ).encode()
    status, answer = server.post(INFER, header + data, f"Inference-Header-Content-Length: {len(header)}")
    assert status == 200
    assert answer[-len(data) :] == data


def test_a_thousand_requests_on_connections_that_come_and_go(server: Process) -> None:
    before = server.resident_bytes
    for _ in range(1000):
        assert answers(server)
    assert server.resident_bytes < before + 16 * MIB


# --- models --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["raising", "leaving", "recursing"])
def test_a_model_that_fails_fails_alone(server: Process, name: str) -> None:
    for _ in range(3):
        status, message = error_of(server.post(f"/v2/models/{name}/infer", numbers([1])))
        assert status == 500
        assert message.startswith(f"Failed to process the request(s) for model '{name}_0', message: ")


def test_a_model_that_blocks_delays_no_other(server: Process, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with server.connect() as connection:
        connection.sendall(request("/v2/models/blocking/infer", strings(str(fifo)), "Connection: close"))
        for _ in range(20):
            assert answers(server)
        with fifo.open("w"):
            assert parse(read_to_end(connection))[0] == 200


def test_a_model_that_loops_delays_no_other(server: Process, tmp_path: Path) -> None:
    there = tmp_path / "there"
    with server.connect() as connection:
        connection.sendall(request("/v2/models/looping/infer", strings(str(there)), "Connection: close"))
        for _ in range(5):
            assert answers(server)
        there.touch()
        assert parse(read_to_end(connection))[0] == 200


def test_a_client_of_a_blocked_model_that_leaves_is_forgotten(server: Process, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with server.connect() as connection:
        connection.sendall(request("/v2/models/blocking/infer", strings(str(fifo))))
        assert answers(server)
    with fifo.open("w"):
        assert answers(server)


def test_headers_without_end_are_cut_off_at_a_mebibyte(server: Process) -> None:
    line = b"X: " + b"a" * 8000 + b"\r\n"
    with server.connect() as connection, suppress(ConnectionError):
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\n" + line * 200)
        assert connection.recv(1) == b""
    assert answers(server)
