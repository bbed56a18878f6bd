"""Broken upstreams: the proxy answers 502, 503 or 504, and shows nothing of the upstream's reply."""

import socket
from collections.abc import Callable

import httpx
import pytest

from adapter.tests.proxy.serving import chat, entry, error_of, events, post, serve
from adapter.tests.upstream import Upstream, chunked, event, http

ONE = {"num_retries": 0}
HTML = b"<html><body>10.1.2.3 nginx internal.example</body></html>"


def asked(upstream: Upstream, *, stream: bool = False) -> tuple[httpx.Response, tuple[int, object, object]]:
    with serve(entry("m", upstream.url, timeout=30), router_settings=ONE) as proxy:
        reply = chat(proxy, stream=stream)
    return reply, error_of(reply)


BROKEN: dict[str, tuple[Callable[[Upstream], None], int, str | None]] = {
    "a page of HTML": (lambda u: u.answer(http(HTML, kind="text/html")), 502, "bad_upstream_reply"),
    "a gateway's 502 page": (
        lambda u: u.answer(http(HTML, status="502 Bad Gateway", kind="text/html")),
        502,
        "bad_upstream_reply",
    ),
    "a gateway's 503 page": (
        lambda u: u.answer(http(HTML, status="503 Service Unavailable", kind="text/html")),
        503,
        "upstream_unavailable",
    ),
    "a gateway's 504 page": (
        lambda u: u.answer(http(HTML, status="504 Gateway Timeout", kind="text/html")),
        504,
        "upstream_timeout",
    ),
    "a redirect": (
        lambda u: u.answer(http(b"", status="302 Found", extra="Location: http://internal.example/\r\n")),
        502,
        "bad_upstream_reply",
    ),
    "JSON of another shape": (lambda u: u.answer(http(b'{"a":1}')), 502, "bad_upstream_reply"),
    "brackets without end": (lambda u: u.answer(http(b"[" * 200_000)), 502, "bad_upstream_reply"),
    "an array": (lambda u: u.answer(http(b"[]")), 502, "bad_upstream_reply"),
    "nothing at all": (lambda u: u.answer(http(b"")), 502, "bad_upstream_reply"),
    "an answer that is cut": (
        lambda u: u.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"),
        502,
        "upstream_connection_lost",
    ),
    "a status line that is none": (lambda u: u.answer(b"GARBAGE\r\n\r\n"), 502, None),
    "200 with an error": (
        lambda u: u.answer(http(b'{"error":"generate expects model to produce exactly 1 response"}')),
        502,
        "bad_upstream_reply",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_a_gateways_error(whole_upstream: Upstream, name: str) -> None:
    prepare, status, code = BROKEN[name]
    for _ in range(4):  # refreshing the model's metadata may send one more request
        prepare(whole_upstream)
    reply, told = asked(whole_upstream)
    assert told[0] == status
    assert code is None or told[2] == code
    assert "internal" not in reply.text
    assert str(whole_upstream.url).rpartition(":")[2] not in reply.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_connection_that_is_reset_is_502(upstream: Upstream, stream: bool) -> None:
    for _ in range(4):
        upstream.answer(then="reset")
    _, told = asked(upstream, stream=stream)
    assert told == (502, None, "upstream_connection_lost")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_address_where_nothing_listens_is_503_with_retry_after(stream: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serve(entry("m", f"http://127.0.0.1:{port}"), router_settings=ONE) as proxy:
        reply = chat(proxy, stream=stream)
    assert error_of(reply) == (503, None, "upstream_unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    assert str(port) not in reply.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_upstream_that_never_answers_is_504(upstream: Upstream, stream: bool) -> None:
    upstream.answer(then="hang")
    with serve(entry("m", upstream.url, timeout=3, stream_timeout=3), router_settings=ONE) as proxy:
        assert error_of(chat(proxy, stream=stream)) == (504, None, "upstream_timeout")
        assert upstream.left.wait(60)


def test_an_answer_that_never_ends_is_504(whole_upstream: Upstream) -> None:
    whole_upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", then="trickle")
    with serve(entry("m", whole_upstream.url, timeout=0.3), router_settings=ONE) as proxy:
        assert error_of(chat(proxy)) == (504, None, "upstream_timeout")
    whole_upstream.left.set()


@pytest.mark.parametrize("status", [429, 503])
def test_the_upstreams_retry_after_reaches_the_client(whole_upstream: Upstream, status: int) -> None:
    refusal = http(b'{"error":"too busy"}', status=f"{status} Busy", extra="Retry-After: 7\r\n")
    whole_upstream.answer(refusal)
    reply, told = asked(whole_upstream)
    assert told[0] == status
    assert reply.headers["retry-after"] == "7"
    assert reply.json()["error"]["message"] == "too busy"


@pytest.mark.parametrize(
    ("status", "code"), [(400, None), (404, "model_not_found"), (500, None), (401, "invalid_api_key")]
)
def test_tritons_own_words_are_given_once_and_unwrapped(
    whole_upstream: Upstream, status: int, code: str | None
) -> None:
    whole_upstream.answer(http(b'{"error":"in Triton\'s \\"own\\" words"}', status=f"{status} No"))
    reply, told = asked(whole_upstream)
    assert (told[0], told[2]) == (status, code)
    assert reply.json()["error"]["message"] == 'in Triton\'s "own" words'


def test_a_stream_that_fails_at_its_first_event_has_a_proper_status(upstream: Upstream) -> None:
    upstream.answer(*chunked(b'data: {"error":"no more memory"}\n\n'))
    reply, told = asked(upstream, stream=True)
    assert told == (500, None, None)
    assert reply.json()["error"]["message"] == "no more memory"


@pytest.mark.parametrize(
    ("parts", "then"),
    [
        pytest.param(chunked(event(text_output="a"), b'data: {"error":"gone"}\n\n'), "close", id="an error"),
        pytest.param(chunked(event(text_output="a"), end=False), "close", id="no end"),
        pytest.param(chunked(event(text_output="a"), end=False), "reset", id="a reset"),
        pytest.param(
            chunked(event(text_output="a"), b"data: {oops\n\n"), "close", id="an event that is no JSON"
        ),
        pytest.param(chunked(event(text_output="a"), HTML), "close", id="HTML"),
    ],
)
def test_a_stream_that_breaks_says_so_and_never_says_that_it_is_done(
    upstream: Upstream, parts: list[bytes], then: str
) -> None:
    upstream.answer(*parts, then=then)
    with serve(entry("m", upstream.url), router_settings=ONE) as proxy:
        reply = chat(proxy, stream=True)
    assert reply.status_code == 200
    told = events(reply.text)
    assert told[1]["choices"][0]["delta"] == {"content": "a"}
    assert list(told[-1]) == ["error"]
    assert "[DONE]" not in told
    assert not any(choice["finish_reason"] for one in told[:-1] for choice in one["choices"])


def test_a_stream_that_falls_silent_says_so(upstream: Upstream) -> None:
    upstream.answer(*chunked(event(text_output="a"), end=False), then="hang")
    with serve(entry("m", upstream.url, stream_timeout=3), router_settings=ONE) as proxy:
        told = events(chat(proxy, stream=True).text)
    assert told[-1]["error"]["code"] == "upstream_timeout"
    assert upstream.left.wait(60)


def test_separators_that_only_unicode_knows_stay_in_the_text(upstream: Upstream) -> None:
    upstream.answer(*chunked(event(text_output="a\u2028b"), event(text_output="\u0085c")))
    with serve(entry("m", upstream.url)) as proxy:
        told = events(chat(proxy, stream=True).text)
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in told[:-1]) == "a\u2028b\u0085c"
    assert told[-1] == "[DONE]"


@pytest.mark.parametrize("size", [1, 7])
def test_a_stream_may_come_in_pieces_of_any_size(upstream: Upstream, size: int) -> None:
    whole = event(text_output="h\u00e9llo \u4f60") + event(text_output=" \U0001f600!")
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    upstream.answer(*chunked(*pieces))
    with serve(entry("m", upstream.url)) as proxy:
        told = events(chat(proxy, stream=True).text)
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in told[:-1])
    assert text == "h\u00e9llo \u4f60 \U0001f600!"


def test_an_embedding_that_is_no_numbers_is_502(whole_upstream: Upstream) -> None:
    whole_upstream.metadata = {
        "name": "m",
        "inputs": [{"name": "input_text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 4]}],
    }
    for _ in range(4):
        whole_upstream.answer(
            http(b'{"outputs":[{"name":"embedding","datatype":"FP32","shape":[1],"data":["x"]}]}')
        )
    with serve(entry("m", whole_upstream.url), router_settings=ONE) as proxy:
        reply = post(proxy, "/v1/embeddings", {"model": "m", "input": "a"})
    assert error_of(reply)[0] == 502
