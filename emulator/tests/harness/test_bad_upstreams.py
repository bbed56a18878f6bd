"""In front of a server that is down, half-dead, no Triton, or speaks what it should not: a clear answer of ours."""

import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from emulator.tests.harness.test_upstream import answer, called, infer_message, raw
from triton_emulator import Emulator
from triton_emulator.cli.command_line import UsageError, parse

CERTIFICATES = Path(__file__).parents[1] / "frontends" / "certificates"
METADATA = json.dumps({"name": "triton", "version": "2.51.0", "extensions": []}).encode()
TOLD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(METADATA),
    METADATA,
)
RESET = struct.pack("ii", 1, 0)

#: What a server does with a request after it has read its head; returns whether it keeps the connection.
Behaviour = Callable[[socket.socket], object]


@contextmanager
def serving(behave: Behaviour, *, tls: bool = False, is_triton: bool = True) -> Iterator[str]:
    """A server on a free port; `GET /v2` it answers as a Triton, the rest as `behave` does."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
    open_connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if tls:
                connection = context.wrap_socket(connection, server_side=True)
            while head := read_head(connection):
                if is_triton and head.startswith(b"GET /v2 "):
                    connection.sendall(TOLD)
                elif not behave(connection):
                    return

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (piece := connection.recv(1)):
        head += piece
    return head


def says(data: bytes) -> Behaviour:
    """Send bytes and close. Where a request has a body, it is of one byte, which is read: else the end is a reset."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.settimeout(0.2)
        with suppress(TimeoutError):
            connection.recv(1)

    return behave


def resets(data: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.recv(1)  # the client has it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    return behave


def silent(connection: socket.socket) -> None:
    connection.recv(1)  # until the other side gives up


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def bad_gateway(emulator: Emulator) -> str:
    """The text with which a request is refused; the journal has it, too."""
    given = httpx.get(f"{emulator.http_url}/v2/models/simple")
    assert given.status_code == 502
    assert given.headers["content-type"] == "application/json"
    text: str = given.json()["error"]
    entry = emulator.requests.wait_for(1).last
    assert (entry.status, entry.upstream_error) == (502, text.removeprefix("triton-emulator: "))
    return text


def test_a_server_that_is_down_is_told_as_a_502() -> None:
    port = closed_port()
    with Emulator(upstream=f"http://127.0.0.1:{port}") as emulator:
        text = f"triton-emulator: the upstream http://127.0.0.1:{port} cannot be reached: Connection refused"
        assert bad_gateway(emulator) == text


def test_a_server_that_comes_up_later_answers() -> None:
    port = closed_port()
    with Emulator(upstream=f"http://127.0.0.1:{port}", upstream_grpc=f"127.0.0.1:{closed_port()}") as front:
        assert "Connection refused" in bad_gateway(front)
        with Emulator(http_port=port):
            assert httpx.get(f"{front.http_url}/v2/models/simple").status_code == 200
        assert "Connection refused" in bad_gateway(front)


@pytest.mark.parametrize(
    "behave, text",
    [
        (says(b""), "has closed the connection before it has answered"),
        (says(b"HTTP/1.1 200 OK\r\nContent-"), "has closed the connection before it has answered"),
        (resets(b""), "has reset the connection before it has answered"),
        (says(b"220 mail ready\r\n"), "does not speak HTTP; its answer begins with b'220 mail ready\\r\\n'"),
        (says(b"\x15\x03\x01\0\x02\x02\x46"), "speaks TLS; write https:// in place of http://"),
    ],
    ids=["closes", "closes in its head", "resets", "another protocol", "an alert of TLS"],
)
def test_a_server_that_does_not_answer_is_told_as_a_502(behave: Behaviour, text: str) -> None:
    with serving(behave) as url, Emulator(upstream=url) as emulator:
        given = httpx.post(f"{emulator.http_url}/v2/models/simple/infer", content=b"{")
        assert (given.status_code, given.json()["error"]) == (
            502,
            f"triton-emulator: the upstream {url} {text}",
        )
        assert emulator.requests.wait_for(1).last.upstream_error == f"the upstream {url} {text}"


@pytest.mark.parametrize(
    "behave, received",
    [
        (
            says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        ),
        (
            says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ),
    ],
    ids=["a body with a length", "chunks"],
)
def test_a_server_that_closes_in_the_middle_of_an_answer_closes_it_for_the_client(
    behave: Behaviour, received: bytes
) -> None:
    with serving(behave) as url, Emulator(upstream=url) as emulator:
        assert answer(emulator.http_url, raw("GET", "/v2/models/simple")) == received
        entry = emulator.requests.wait_for(1).last
        assert (entry.status, entry.answer) == (200, b"abc")
        assert (
            entry.upstream_error
            == f"the upstream {url} has closed the connection in the middle of its answer"
        )


def test_a_server_that_resets_in_the_middle_of_an_answer_resets_it_for_the_client() -> None:
    behave = resets(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    with serving(behave) as url, Emulator(upstream=url) as emulator, pytest.raises(ConnectionResetError):
        answer(emulator.http_url, raw("POST", "/v2/models/simple/infer", b"{"))


def test_a_body_that_ends_with_the_connection_passes() -> None:
    said = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nabc"
    with serving(says(said)) as url, Emulator(upstream=url) as emulator:
        assert answer(emulator.http_url, raw("GET", "/v2/models/simple")) == said
        assert emulator.requests.wait_for(1).last.upstream_error is None


def test_a_second_answer_is_not_taken_as_that_to_the_next_request() -> None:
    """It passes as it came, and the connection ends, so the client asks on another one."""
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    two = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\ntwo"
    with serving(says(one + two)) as url, Emulator(upstream=url) as emulator:
        host, port = emulator.http_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"GET /v2/models/simple HTTP/1.1\r\nHost: m\r\n\r\n")
            assert b"".join(iter(lambda: connection.recv(1 << 16), b"")) == one + two
        entry = emulator.requests.wait_for(1).last
        assert (entry.status, entry.answer) == (200, b"one")


def test_the_answer_to_a_head_may_have_no_body() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"

    def behave(connection: socket.socket) -> None:
        connection.sendall(said)
        silent(connection)

    with serving(behave) as url, Emulator(upstream=url) as emulator:
        assert answer(emulator.http_url, raw("HEAD", "/v2/models/simple")) == said
        assert emulator.requests.wait_for(1).last.upstream_error is None


def test_a_server_that_is_silent_is_told_as_a_502() -> None:
    with serving(silent) as url, Emulator(upstream=url, upstream_timeout=1) as emulator:
        assert bad_gateway(emulator) == f"triton-emulator: the upstream {url} has sent nothing for 1 s"


def test_a_server_that_falls_silent_in_a_stream_ends_it() -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"

    def behave(connection: socket.socket) -> None:
        connection.sendall(said)
        silent(connection)

    with serving(behave) as url, Emulator(upstream=url, upstream_timeout=1) as emulator:
        assert answer(emulator.http_url, raw("GET", "/v2/models/simple")) == said
        assert emulator.requests.last.upstream_error == f"the upstream {url} has sent nothing for 1 s"


@pytest.mark.parametrize(
    "said, told",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nWelcome!\n", "200 and 'Welcome!\\n'"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404 and ''"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}', "200 and '{\"a\": 1}'"),
    ],
    ids=["a page", "nothing there", "other JSON"],
)
def test_a_server_that_is_no_triton_is_told_as_a_502(said: bytes, told: str) -> None:
    with serving(says(said), is_triton=False) as url, Emulator(upstream=url) as emulator:
        assert bad_gateway(emulator) == (
            f"triton-emulator: the upstream {url} is no Triton: it answers GET /v2 with {told}, not with its metadata"
        )


def test_a_server_that_keeps_its_metadata_to_itself_is_asked_all_the_same() -> None:
    said = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"

    def behave(connection: socket.socket) -> bool:
        connection.sendall(said)
        return True

    with serving(behave, is_triton=False) as url, Emulator(upstream=url) as emulator:
        assert answer(emulator.http_url, raw("GET", "/v2/models/simple")) == said


def test_a_server_that_speaks_tls_is_told_as_a_502() -> None:
    with serving(silent, tls=True) as url, Emulator(upstream=url) as emulator:
        assert bad_gateway(emulator).startswith(f"triton-emulator: the upstream {url} ")


def test_tls_to_a_server_that_does_not_speak_it_is_told_as_a_502() -> None:
    with Emulator() as triton:
        secure = triton.http_url.replace("http:", "https:")
        with Emulator(upstream=secure) as emulator:
            text = f"triton-emulator: the upstream {secure} does not speak TLS; write http:// in place of https://"
            assert bad_gateway(emulator) == text


def test_a_certificate_that_is_not_trusted_is_told_as_a_502() -> None:
    with serving(silent, tls=True) as url:
        secure = url.replace("http:", "https:")
        with Emulator(upstream=secure) as emulator:
            assert f"the upstream {secure} has a certificate that is not trusted: " in bad_gateway(emulator)


def test_the_port_of_grpc_in_place_of_http_is_told_as_a_502() -> None:
    with Emulator() as triton, Emulator(upstream=f"http://{triton.grpc_url}") as front:
        assert "speaks HTTP/2, as a gRPC port does; it is no HTTP port of a Triton" in bad_gateway(front)


INFER = infer_message().SerializeToString()


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_grpc_port_that_is_down_or_is_none_is_unavailable_with_the_cause(method: str) -> None:
    with Emulator() as triton:
        http_port = triton.http_url.removeprefix("http://")
        for address, cause in (
            (f"127.0.0.1:{closed_port()}", "Connection refused"),
            (http_port, "Socket closed"),
        ):
            with Emulator(upstream=triton.http_url, upstream_grpc=address) as front:
                received, code, details, _ = called(front.grpc_url, method, INFER)
                entry = front.requests.wait_for(1).last
            assert (received, code) == ([], grpc.StatusCode.UNAVAILABLE)
            assert details.startswith(f"triton-emulator: the upstream {address} does not answer over gRPC: ")
            assert cause in details
            assert (entry.status, entry.error) == ("UNAVAILABLE", details)
            assert entry.upstream_error == details.removeprefix("triton-emulator: ")


def test_what_the_upstream_has_no_address_for_is_told() -> None:
    with Emulator() as triton:
        with Emulator(upstream=triton.http_url) as front:
            for method in ("ModelInfer", "ModelStreamInfer"):
                _, code, details, _ = called(front.grpc_url, method, INFER)
                assert (code, details) == (
                    grpc.StatusCode.UNAVAILABLE,
                    "triton-emulator: the upstream has no address for gRPC; give one with --upstream-grpc",
                )
            scraped = httpx.get(front.metrics_url)
            assert (scraped.status_code, scraped.json()["error"]) == (
                502,
                "triton-emulator: the upstream has no address for metrics; give one with --upstream-metrics",
            )
        with Emulator(upstream_grpc=triton.grpc_url) as front:
            text = "triton-emulator: the upstream has no address for HTTP; give one with --upstream"
            assert bad_gateway(front) == text
            assert called(front.grpc_url, "ServerLive", b"")[1] is grpc.StatusCode.OK


def refuses_to_read(connection: socket.socket) -> None:
    threading.Event().wait(30)


def test_a_server_that_does_not_read_stops_its_client() -> None:
    """The client's bytes wait in buffers of the system and of a bounded size here."""
    with serving(refuses_to_read) as url, Emulator(upstream=url, journal_bytes=1 << 20) as emulator:
        host, port = emulator.http_url.removeprefix("http://").split(":")
        size = 1 << 30
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
            assert sent_until_blocked(connection) < 64 << 20


TOO_LARGE = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 9\r\n\r\ntoo large"


def test_an_answer_comes_before_the_rest_of_its_request_and_the_connection_serves_no_other() -> None:
    """The server still waits for the rest of the body: it would take the next request as that."""
    peers: list[object] = []

    def behave(connection: socket.socket) -> bool:
        peers.append(connection.getpeername())
        connection.sendall(TOO_LARGE)
        return True

    with serving(behave) as url, Emulator(upstream=url) as emulator:
        host, port = emulator.http_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: m\r\nContent-Length: 64\r\n\r\n{")
            assert read_head(connection).startswith(b"HTTP/1.1 413 ")
            assert httpx.get(f"{emulator.http_url}/v2/models/simple").text == "too large"
    assert len(set(peers)) == 2


def sent_until_blocked(connection: socket.socket) -> int:
    connection.settimeout(1)
    sent = 0
    with suppress(TimeoutError):
        while sent < 1 << 30:
            sent += connection.send(bytes(1 << 20))
    return sent


def test_a_client_that_does_not_read_stops_the_server() -> None:
    sent: list[int] = []
    blocked = threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        sent.append(sent_until_blocked(connection))
        blocked.set()

    with serving(behave) as url, Emulator(upstream=url, journal_bytes=1 << 20) as emulator:
        host, port = emulator.http_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /v2/models/m HTTP/1.1\r\n\r\n")
            assert blocked.wait(60)
            assert sent[0] < 64 << 20
            assert emulator.requests.last.truncated


def test_a_body_that_is_larger_than_the_journal_passes() -> None:
    with Emulator() as triton, Emulator(upstream=triton.http_url, journal_bytes=1 << 16) as front:
        body = json.dumps(
            {
                "inputs": [
                    {"name": "INPUT0", "datatype": "FP32", "shape": [1 << 17], "data": [0.5] * (1 << 17)}
                ]
            }
        )
        given = [
            httpx.post(f"{each.http_url}/v2/models/identity_fp32/infer", content=body)
            for each in (front, triton)
        ]
        assert given[0].content == given[1].content
        assert given[0].status_code == 200
        assert front.requests.last.truncated


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"upstream": "host:8000"},
            "upstream: 'host:8000' is no URL of an HTTP server; write http://host:port",
        ),
        (
            {"upstream": "http://host:port"},
            "upstream: 'http://host:port' is no URL: Port could not be cast to integer",
        ),
        (
            {"upstream": "http://u:p@host:1"},
            "upstream: 'http://u:p@host:1' has more than a host, a port and a path; write http://host:port",
        ),
        (
            {"upstream_grpc": "http://host:8001"},
            "upstream_grpc: 'http://host:8001' is no address; write host:port, or https://host:port for TLS",
        ),
        ({"upstream_metrics": "http://host:8002"}, "upstream_metrics needs upstream or upstream_grpc"),
        ({"upstream": "http://host", "upstream_timeout": 0}, "upstream_timeout is at least 1 second, not 0"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ", ".join(value),
)
def test_an_address_that_is_none_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        Emulator(**options)


def test_models_before_an_upstream_are_refused() -> None:
    text = "upstream answers in place of models, so no model_repository is read; leave it out"
    with pytest.raises(ValueError, match=f"^{text}$"):
        Emulator("models", upstream="http://host")


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"upstream": "http://host", "model_control_mode": "explicit", "load_models": ("simple",)},
            "upstream answers in place of models, so model_control_mode and load_models set nothing; leave them out",
        ),
        (
            {"upstream_grpc": "host:8001", "strict_routes": True},
            "upstream answers in place of models, so strict_routes sets nothing; leave it out",
        ),
        (
            {"replay": "c", "rate_limit": "off"},
            "replay answers in place of models, so rate_limit sets nothing; leave it out",
        ),
    ],
    ids=["in front of a server", "in front of a server over gRPC", "a replay"],
)
def test_options_of_models_are_refused_where_no_models_answer(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        Emulator(**options)


def test_options_of_models_are_refused_by_a_session_and_not_by_what_it_has_from_its_emulator() -> None:
    with Emulator(model_control_mode="explicit") as emulator:
        with emulator.session(upstream=emulator.http_url) as session:
            assert httpx.get(f"{session.http_url}/v2/health/live").status_code == 200
        with pytest.raises(ValueError, match=r"^upstream answers .* so load_models sets nothing"):
            emulator.session(upstream=emulator.http_url, load_models=("simple",))


def test_the_command_line_names_the_flags_that_set_nothing() -> None:
    with pytest.raises(UsageError) as refused:
        parse(["--upstream=http://host", "--model-control-mode=explicit", "--load-model=simple"])
    assert str(refused.value) == (
        "Error: --upstream answers in place of models, so --model-control-mode and --load-model set nothing; "
        "leave them out"
    )


def test_the_command_line_refuses_the_same() -> None:
    with pytest.raises(UsageError) as refused:
        parse(["--upstream=host:8000"])
    assert str(refused.value) == (
        "Error: --upstream: 'host:8000' is no URL of an HTTP server; write http://host:port"
    )
    settings = parse(["--upstream=http://host", "--upstream-grpc=host:8001", "--upstream-timeout=5"]).settings
    assert (settings.upstream, settings.upstream_grpc, settings.upstream_timeout) == (
        "http://host",
        "host:8001",
        5,
    )
