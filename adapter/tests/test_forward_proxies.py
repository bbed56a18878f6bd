"""HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY: which proxy a request takes, and which headers it gets."""

import asyncio
from typing import Any

import pytest

from adapter.tests.driving import ask
from adapter.tests.forward_proxy import ForwardProxy
from adapter.tests.gateway import AUTHORITY, TlsGateway
from adapter.tests.upstream import Upstream, chunked, event
from triton_adapter import errors
from triton_adapter.call import Call
from triton_adapter.client import AsyncClient
from triton_adapter.target import Target
from triton_adapter.transport.forward import environment

# No machine has this name. Only a proxy that resolves it elsewhere can reach the server.
NAMED = "http://triton.invalid:8000"
SECURED = "https://triton.invalid:8443"


def told(api_base: str, *, times: int = 1, stream: bool = False, **settings: Any) -> list[Any]:
    """The answers of a model at `api_base` to `times` requests of one client: texts, or the chunks of a stream."""

    async def asking() -> list[Any]:
        target = Target.of("triton/vllm", api_base, settings=settings, api_key="the-key-of-triton", retries=0)
        found: list[Any] = []
        async with AsyncClient() as client:
            for _ in range(times):
                body = {"messages": ask("SAY one two"), "stream": stream}
                result: Any = await client.chat(target, body, Call())
                if stream:
                    found += [chunk async for chunks in result for chunk in chunks]
                else:
                    found.append(result["choices"][0]["message"]["content"])
        return found

    return asyncio.run(asking())


def failure(api_base: str, **settings: Any) -> errors.AdapterError:
    with pytest.raises(errors.AdapterError) as raised:
        told(api_base, **settings)
    return raised.value


def test_an_http_address_is_asked_through_its_proxy_on_a_kept_connection(
    triton: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForwardProxy(triton) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//office:s%40crets@"))
        assert told(NAMED, times=2) == ["one two", "one two"]
        chunks = told(NAMED, stream=True)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "one two"
    lines = [head.partition("\r\n")[0] for head in proxy.heads]
    assert f"POST {NAMED}/v2/models/vllm/generate_stream HTTP/1.1" in lines
    assert all("\r\nHost: triton.invalid:8000\r\n" in head for head in proxy.heads)
    assert all("\r\nProxy-Authorization: Basic b2ZmaWNlOnNAY3JldHM=\r\n" in head for head in proxy.heads)


def test_an_https_address_is_asked_through_a_tunnel_and_the_proxy_is_shown_its_name_alone(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.answer(*chunked(event(text_output="one two")))
    with TlsGateway(upstream.url) as gateway, ForwardProxy(gateway.url) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//office:secret@"))
        assert told(SECURED + "/v2/models/m", ssl_verify=False) == ["one two"]
    tunnel = (
        "CONNECT triton.invalid:8443 HTTP/1.1\r\nHost: triton.invalid:8443\r\n"
        "Proxy-Authorization: Basic b2ZmaWNlOnNlY3JldA==\r\n\r\n"
    )
    assert set(proxy.heads) == {tunnel}
    sent = upstream.received[-1].headers
    assert sent["Authorization"] == "Bearer the-key-of-triton"
    assert "Proxy-Authorization" not in sent


def test_a_server_reached_through_a_tunnel_must_have_a_certificate_for_its_name(
    triton: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TlsGateway(triton) as gateway, ForwardProxy(gateway.url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = failure(SECURED, ssl_verify=AUTHORITY)  # the certificate is for localhost
    assert (error.status_code, error.code) == (502, "upstream_certificate")


def test_this_machine_is_asked_directly(triton: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ForwardProxy(triton) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert told(triton) == ["one two"]
        assert told(triton.replace("127.0.0.1", "localhost")) == ["one two"]
    assert proxy.heads == []


@pytest.mark.parametrize(
    "said, direct",
    [
        ({"NO_PROXY": "triton.invalid"}, True),
        ({"NO_PROXY": "localhost, .invalid"}, True),
        ({"no_proxy": "invalid"}, True),
        ({"NO_PROXY": "triton.invalid:8000"}, True),
        ({"NO_PROXY": "*"}, True),
        ({"NO_PROXY": "triton.invalid:8001,on.invalid"}, False),
        ({"HTTP_PROXY": "", "HTTPS_PROXY": "http://office:1"}, True),
        ({"HTTP_PROXY": "", "ALL_PROXY": "http://office:1"}, False),
        ({"http_proxy": ""}, True),
        ({"HTTP_PROXY": "office:1"}, False),
    ],
    ids=lambda said: (
        "" if isinstance(said, bool) else " ".join(f"{name}={value}" for name, value in said.items())
    ),
)
def test_the_environment_is_read_as_urllib_and_httpx_read_it(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], direct: bool
) -> None:
    for name, value in {"HTTP_PROXY": "http://office:1", **said}.items():
        monkeypatch.setenv(name, value)
    routes = environment()
    assert routes is not None
    via = routes.via("http", "triton.invalid", 8000)
    assert (via is None) == direct
    assert via is None or (via.host, via.port, via.credentials) == ("office", 1, "")


@pytest.mark.parametrize(
    "url", ["socks5://office:1080", "https://office:3128", "http://office:many", "http://"]
)
def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", url)
    error = failure(NAMED)
    assert (error.status_code, error.code, error.retryable) == (502, "upstream_proxy", False)
    assert "office" not in error.message


@pytest.mark.parametrize(
    "answer, api_base, message",
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", SECURED, "the proxy on the way to Triton refuses to connect (403)"),
        (b"HTTP/1.1 407 Who?\r\n\r\n", SECURED, "the proxy on the way to Triton refuses to connect (407)"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", SECURED, "the proxy on the way to Triton does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nHello", SECURED, "the proxy on the way to Triton sends more than its answer"),
        (b"HTTP/1.1 200 OK\r\n", SECURED, "the proxy on the way to Triton broke the connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, SECURED, "the proxy on the way to Triton does not end its answer"),
        (
            b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n",
            NAMED,
            "the proxy on the way to Triton refuses the credentials that the environment names",
        ),
    ],
    ids=["403", "407", "no HTTP", "more than a head", "half a head", "an endless head", "407 in the open"],
)  # fmt: skip
def test_a_refusal_by_a_proxy_is_distinguished_from_tritons(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, api_base: str, message: str
) -> None:
    with ForwardProxy("http://nobody:9", answer=answer) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        error = failure(api_base)
    assert (error.status_code, error.code, error.message) == (502, "upstream_proxy", message)


@pytest.mark.parametrize(
    "answer, asked",
    [(b"HTTP/1.1 503 Later\r\n\r\n", 2), (b"", 2), (b"HTTP/1.1 403 Forbidden\r\n\r\n", 1)],
    ids=["it reaches no server", "it breaks off", "it is not allowed"],
)
def test_a_tunnel_that_may_be_had_later_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, asked: int
) -> None:
    with ForwardProxy("http://127.0.0.1:9", answer=answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = failure(SECURED)
    assert (error.status_code, error.code, error.retryable) == (502, "upstream_proxy", asked > 1)
    assert len(proxy.heads) == asked


@pytest.mark.parametrize("api_base", [NAMED, SECURED])
def test_an_unreachable_proxy_is_distinguished_from_triton(
    monkeypatch: pytest.MonkeyPatch, api_base: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    error = failure(api_base)
    assert (error.status_code, error.message) == (
        503,
        "the proxy on the way to Triton cannot be reached: connection refused",
    )
