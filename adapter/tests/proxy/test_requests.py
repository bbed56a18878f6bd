"""Requests that the proxy refuses: each gets OpenAI's error object with its `param` and `code`."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapter.tests.proxy.serving import BEARER, HELLO, MASTER, chat, entry, error_of, get, post, serve
from triton_adapter.proxy import ProxyServer


@pytest.fixture(scope="module")
def refusing() -> Iterator[ProxyServer]:
    """A proxy that takes bodies of up to 4 kB. Its requests are refused before its upstream is contacted."""
    with serve(
        entry("m", "http://127.0.0.1:9"),
        general_settings={"master_key": MASTER, "max_request_size_mb": 4096 / (1 << 20)},
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        pytest.param(b"", None, "invalid_json", id="an empty body"),
        pytest.param(b'{"model":"m"', None, "invalid_json", id="JSON that breaks off"),
        pytest.param(b"\xff\xfe", None, "invalid_json", id="bytes that are no UTF-8"),
        pytest.param(b'{"model":"m","n":NaN}', None, "invalid_json", id="NaN, which JSON has not"),
        pytest.param(b'{"model":"\\ud800"}', None, "invalid_json", id="half a surrogate pair"),
        pytest.param(b"[1]", None, "invalid_json", id="an array"),
        pytest.param(b'"m"', None, "invalid_json", id="a string"),
        pytest.param(b"null", None, "invalid_json", id="null"),
        pytest.param(b"[" * 2000, None, "invalid_json", id="nesting without end"),
        pytest.param({"messages": HELLO}, "model", "missing_required_parameter", id="no model"),
        pytest.param({"model": 5, "messages": HELLO}, "model", "invalid_type", id="a model that is a number"),
        pytest.param({"model": "m"}, "messages", "missing_required_parameter", id="no messages"),
        pytest.param({"model": "m", "messages": []}, "messages", "invalid_value", id="empty messages"),
        pytest.param(
            {"model": "m", "messages": "hi"}, "messages", "invalid_value", id="messages that are a string"
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "wizard", "content": "hi"}]},
            "messages[0].role",
            "invalid_value",
            id="an unknown role",
        ),
        pytest.param({"model": "m", "messages": HELLO, "n": 0}, "n", "invalid_value", id="no choices at all"),
        pytest.param(
            {"model": "m", "messages": HELLO, "stream": "yes"},
            "stream",
            "invalid_value",
            id="a stream that is a string",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "stream_options": {"include_usage": True}},
            "stream_options",
            "invalid_value",
            id="stream_options without a stream",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "allowed_openai_params": 5},
            "allowed_openai_params",
            "invalid_type",
            id="allowed_openai_params that is a number",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "drop_params": "yes"},
            "drop_params",
            "invalid_type",
            id="drop_params that is a string",
        ),
    ],
)
def test_a_chat_that_makes_no_sense_is_a_bad_request(
    refusing: ProxyServer, body: Any, param: str | None, code: str
) -> None:
    assert error_of(post(refusing, "/v1/chat/completions", body)) == (400, param, code)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_the_other_calls_name_what_they_miss(refusing: ProxyServer, path: str) -> None:
    missing = {"/v1/completions": "prompt", "/v1/embeddings": "input"}[path]
    assert error_of(post(refusing, path, {"model": "m"})) == (400, missing, "missing_required_parameter")


@pytest.mark.parametrize("given", [[], "", [""], [[]], 5, {"a": 1}, [1, "a"]], ids=repr)
def test_an_embedding_of_nothing_is_a_bad_request(refusing: ProxyServer, given: Any) -> None:
    status, param, _ = error_of(post(refusing, "/v1/embeddings", {"model": "m", "input": given}))
    assert (status, param) == (400, "input")


def test_an_unknown_model_is_404_with_its_name(refusing: ProxyServer) -> None:
    reply = chat(refusing, "nobody")
    assert error_of(reply) == (404, "model", "model_not_found")
    assert "nobody" in reply.json()["error"]["message"]


def test_a_long_unknown_name_is_not_given_back_whole(refusing: ProxyServer) -> None:
    reply = chat(refusing, "x" * 3000)
    assert error_of(reply) == (404, "model", "model_not_found")
    assert len(reply.content) < 400


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_that_is_too_large_is_413(refusing: ProxyServer, chunked: bool) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 20000}]}).encode()
    content: Any = iter([body[:9000], body[9000:]]) if chunked else body
    reply = httpx.post(f"{refusing.url}/v1/chat/completions", content=content, headers=BEARER)
    assert error_of(reply) == (413, None, "request_too_large")
    assert reply.headers["connection"] == "close"


def test_a_client_that_expects_100_is_refused_before_it_sends_its_body(refusing: ProxyServer) -> None:
    host, port = refusing.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\n"
            "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/", "/chat", "/v1/chat/completions/extra", "/key", "/openai/deployments/chat"]
)
def test_an_unknown_route_is_404(refusing: ProxyServer, path: str) -> None:
    assert error_of(post(refusing, path, {})) == (404, None, "unknown_url")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/embeddings", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
        ("GET", "/key/generate", "POST"),
    ],
)
def test_a_wrong_method_is_405_with_an_allow_header(
    refusing: ProxyServer, method: str, path: str, allowed: str
) -> None:
    reply = httpx.request(method, refusing.url + path, headers=BEARER)
    assert error_of(reply) == (405, None, "method_not_allowed")
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"hello\r\n\r\n", id="a word"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", id="a tunnel"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", id="a path that is not ASCII"),
        pytest.param(b"GET / HTTP/1.1\r\nHost x\r\n\r\n", id="a header without a colon"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: ten\r\n\r\n", id="a length that is no number"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="a length below 0"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", id="a length of 20 digits"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two lengths"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a length and chunks",
        ),
        pytest.param(
            b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
            id="a chunk without a size",
        ),
    ],
)
def test_what_is_not_http_is_400(refusing: ProxyServer, sent: bytes) -> None:
    host, port = refusing.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(sent)
        reply = b"".join(iter(lambda: connection.recv(4096), b""))
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nx-request-id: req_" in reply
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_names_of_dropped_parameters_make_no_header_lines(proxy: ProxyServer) -> None:
    evil: dict[str, Any] = {"a\r\nx-evil: 1": 1, "\u043a,\u043b": 1}
    reply = chat(proxy, "flat", drop_params=True, **evil)
    assert reply.status_code == 200
    assert reply.headers["x-litellm-dropped-params"] == "a%0D%0Ax-evil%3A%201,%D0%BA%2C%D0%BB"
    assert "x-evil" not in reply.headers
    parameters: dict[str, Any] = {f"parameter-{number}": 1 for number in range(2000)}
    many = chat(proxy, "flat", drop_params=True, **parameters)
    assert many.status_code == 200
    assert len(many.headers["x-litellm-dropped-params"]) < 2100


def test_a_name_without_end_is_not_given_back_whole(proxy: ProxyServer) -> None:
    endless: dict[str, Any] = {"x" * 100_000: 1}
    reply = chat(proxy, "flat", **endless)
    assert error_of(reply) == (400, "x" * 200 + "...", "unsupported_parameter")
    assert len(reply.content) < 5000


def test_every_reply_has_the_clients_request_id_or_a_new_one(refusing: ProxyServer) -> None:
    named = post(refusing, "/v1/chat/completions", {}, x_request_id="my-id-1")
    assert named.headers["x-request-id"] == "my-id-1"
    assert get(refusing, "/v1/models", **{"x-request-id": "my-id-2"}).headers["x-request-id"] == "my-id-2"
    new = [chat(refusing, "nobody").headers["x-request-id"] for _ in range(2)]
    assert len(set(new)) == 2
    assert all(identifier.startswith("req_") for identifier in new)


@pytest.mark.parametrize("given", ["a b", "x" * 200, ""], ids=["a blank in it", "too long", "empty"])
def test_a_request_id_that_is_none_is_replaced(refusing: ProxyServer, given: str) -> None:
    reply = post(refusing, "/v1/chat/completions", {}, x_request_id=given)
    assert reply.headers["x-request-id"].startswith("req_")


def test_every_reply_says_how_long_it_took(refusing: ProxyServer) -> None:
    for reply in (chat(refusing, "nobody"), get(refusing, "/v1/models"), get(refusing, "/nothing")):
        assert int(reply.headers["openai-processing-ms"]) >= 0


def test_a_browser_may_ask_from_anywhere(refusing: ProxyServer) -> None:
    page = {"Origin": "https://page.example"}
    preflight = httpx.options(
        f"{refusing.url}/v1/chat/completions",
        headers={
            **page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    for reply in (
        httpx.post(f"{refusing.url}/v1/chat/completions", headers={**page, **BEARER}, content=b"{}"),
        httpx.get(f"{refusing.url}/v1/models", headers=page),
    ):
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_a_browser_may_be_held_to_some_pages() -> None:
    general = {"master_key": MASTER, "cors_allow_origins": ["https://ours.example"]}
    with serve(entry("m", "http://127.0.0.1:9"), general_settings=general) as proxy:
        for origin, allowed in (
            ("https://ours.example", "https://ours.example"),
            ("https://x.example", None),
        ):
            reply = httpx.get(f"{proxy.url}/v1/models", headers={"Origin": origin})
            assert reply.headers.get("access-control-allow-origin") == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "//v1//chat/completions",
        "/engines/ns/flat/chat/completions",
        "/v1/engines/flat/chat/completions",
        "/openai/deployments/flat/chat/completions",
        "/openai/deployments/ns%2Fflat/chat/completions?api-version=2024-02-01",
    ],
)
def test_the_call_has_many_addresses(proxy: ProxyServer, path: str) -> None:
    reply = post(proxy, path, {"messages": [{"role": "user", "content": "SAY hello"}]})
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "hello"
    assert reply.json()["model"] in ("flat", "ns/flat")


def test_the_model_of_the_path_wins_over_the_bodys(proxy: ProxyServer) -> None:
    reply = post(proxy, "/engines/vllm/chat/completions", {"model": "nobody", "messages": HELLO})
    assert (reply.status_code, reply.json()["model"]) == (200, "vllm")


def test_a_body_needs_no_content_type_and_may_have_curls(proxy: ProxyServer) -> None:
    body = {"model": "flat", "messages": [{"role": "user", "content": "SAY hello"}]}
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        assert post(proxy, "/chat/completions", body, content_type=kind).status_code == 200


def test_a_request_may_come_byte_by_byte(proxy: ProxyServer) -> None:
    host, port = proxy.url.removeprefix("http://").split(":")
    body = json.dumps({"model": "flat", "messages": [{"role": "user", "content": "SAY hello"}]})
    text = (
        f"POST /chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: {MASTER}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in text.encode():
            connection.sendall(bytes([byte]))
        reply = b"".join(iter(lambda: connection.recv(4096), b""))
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"content":"hello"' in reply


@pytest.mark.parametrize("name", ["Upgrade", "UPGRADE"])
def test_a_cut_upgrade_header_is_answered_in_http_too(proxy: ProxyServer, name: str) -> None:
    host, port = proxy.url.removeprefix("http://").split(":")
    body = json.dumps({"model": "flat", "messages": HELLO}).encode()
    begin = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}"
    header = f"\r\nConnection: Upgrade\r\n{name}: h2c\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for parts in (header, [header[:35], header[35:]]):
            connection.sendall(begin.encode())
            for part in parts:
                connection.sendall(part.encode())
            connection.sendall(body)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_client_that_asks_for_an_upgrade_is_answered_in_http(proxy: ProxyServer, protocol: str) -> None:
    host, port = proxy.url.removeprefix("http://").split(":")
    body = json.dumps({"model": "flat", "messages": HELLO}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\n"
        f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for _ in range(2):
            connection.sendall(head.encode() + body)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
