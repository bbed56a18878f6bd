"""Hostile upstreams: heads that do not end, lengths that lie, certificates of others, answers cut anywhere."""

from collections.abc import Iterator
from itertools import repeat

import httpx
import pytest

from adapter.tests.gateway import AUTHORITY, EXPIRED, MISNAMED, SERVER, TlsGateway
from adapter.tests.proxy.serving import BEARER, HELLO, chat, entry, error_of, events, serve
from adapter.tests.upstream import Answer, Upstream, chunked, event, http

ONE = {"num_retries": 0}
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
ANSWER = b'{"outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["hi"]}]}'
PLENTY = 1 << 20


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "endless",
    [
        repeat(EARLY),
        repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
        [b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * PLENTY],
    ],
    ids=["early hints", "100 Continue", "headers"],
)
def test_a_head_without_end_is_502(upstream: Upstream, endless: Iterator[bytes], stream: bool) -> None:
    upstream.answers.append(Answer(endless))
    with serve(entry("m", upstream.url, timeout=60), router_settings=ONE) as proxy:
        assert error_of(chat(proxy, stream=stream)) == (502, None, "bad_upstream_reply")
        assert upstream.left.wait(60)


def test_an_answer_after_a_few_informational_ones_is_read(whole_upstream: Upstream) -> None:
    whole_upstream.answer(EARLY * 3, http(ANSWER))
    with serve(entry("m", whole_upstream.url), router_settings=ONE) as proxy:
        assert chat(proxy).json()["choices"][0]["message"]["content"] == "hi"


def test_a_stream_of_nothing_but_comments_ends_with_its_client(upstream: Upstream) -> None:
    head, first = chunked(event(text_output="a"), end=False)
    comment = b": still there\n\n" * 100
    upstream.answers.append(Answer(iter_parts(head, first, b"%x\r\n" % len(comment) + comment + b"\r\n")))
    with serve(entry("m", upstream.url, timeout=60), router_settings=ONE) as proxy:
        body = {"model": "m", "messages": HELLO, "stream": True}
        with httpx.stream("POST", f"{proxy.url}/v1/chat/completions", json=body, headers=BEARER) as reply:
            assert next(reply.iter_lines()).startswith("data: ")
        assert upstream.left.wait(60)


def iter_parts(*parts: bytes) -> Iterator[bytes]:
    """These parts, and the last one without end."""
    yield from parts
    yield from repeat(parts[-1])


CUTS = {
    "in the status line": ([b"HTTP/1.1 2"], False),
    "in the head": ([b"HTTP/1.1 200 OK\r\nContent-Ty"], False),
    "after the head": (chunked(end=False), False),
    "in the size of a chunk": ([*chunked(event(text_output="a"), end=False), b"5"], True),
    "in a chunk": ([*chunked(event(text_output="a"), end=False), b"50\r\ndata: {"], True),
    "in an event": (chunked(event(text_output="a"), b'data: {"text_ou'), True),
    "after the fields of an event": (chunked(event(text_output="a"), b'data: {"text_output":"b"}\n'), True),
    "in a character": (chunked(event(text_output="a"), b'data: {"text_output":"\xc3'), True),
}


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("cut", CUTS)
def test_an_answer_cut_anywhere_is_an_error_and_never_done(upstream: Upstream, cut: str, then: str) -> None:
    parts, begun = CUTS[cut]
    upstream.answer(*parts, then=then)
    upstream.answer(*parts, then=then)  # a reset before the first byte is tried again
    with serve(entry("m", upstream.url), router_settings=ONE) as proxy:
        reply = chat(proxy, stream=True)
    assert reply.status_code == (200 if begun else 502)
    told = events(reply.text) if begun else [reply.json()]
    assert told[-1]["error"]["code"] in ("upstream_connection_lost", "bad_upstream_reply")
    assert "[DONE]" not in told


@pytest.mark.parametrize(
    ("certificate", "trusted", "told"),
    [
        pytest.param(
            MISNAMED,
            MISNAMED,
            "(Hostname mismatch): the name in api_base must be one of the certificate's",
            id="for another name",
        ),
        pytest.param(
            EXPIRED,
            EXPIRED,
            "(certificate has expired): it must be renewed",
            id="expired",
        ),
        pytest.param(
            EXPIRED,
            AUTHORITY,
            "set ssl_verify to the file of its authority",
            id="self-signed",
        ),
        pytest.param(
            SERVER,
            True,
            "set ssl_verify to the file of its authority",
            id="of an authority that nobody knows",
        ),
    ],
)
def test_a_wrong_certificate_is_told_with_its_fix_and_without_an_address(
    whole_upstream: Upstream, certificate: str, trusted: str | bool, told: str
) -> None:
    with (
        TlsGateway(whole_upstream.url, certificate=certificate) as gateway,
        serve(entry("m", gateway.url, ssl_verify=trusted), router_settings=ONE) as proxy,
    ):
        reply = chat(proxy)
    assert error_of(reply) == (502, None, "upstream_certificate")
    message = reply.json()["error"]["message"]
    assert message.startswith("Triton's certificate is not trusted (")
    assert message.endswith(told)  # the reason of an authority differs between versions of OpenSSL
    assert not any(address in message for address in ("localhost", "127.0.0.1", "internal.example"))
    assert whole_upstream.received == []
