"""The raw client reports the bytes on the wire: status line, spelling, framing, chunks, and the connection's end."""

import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from triton_contract.cases.case import Case
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.clients.http import Address
from triton_contract.playing.play import play

from .literal_server import CLOSE, RESET, SILENCE, literal_server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def exchange_over(*answers: bytes, **fields: object) -> Exchange:
    step = {"path": "/p", **fields}
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [step]})
    with literal_server(*answers) as address:
        (exchange,) = play(case, address).exchanges
    return exchange


def response_over(*answers: bytes, **fields: object) -> Response:
    response = exchange_over(*answers, **fields).response
    assert response is not None
    return response


def test_status_line_and_headers_keep_their_spelling() -> None:
    response = response_over(
        b"HTTP/1.1 405 Not Allowed\r\ncontent-LENGTH: 2\r\nX-A:b\r\nX-A: c\r\n\r\nhi", OK
    )
    assert (response.version, response.status, response.reason) == ("HTTP/1.1", 405, "Not Allowed")
    assert response.headers == (("content-LENGTH", "2"), ("X-A", "b"), ("X-A", "c"))
    assert (response.body, response.framing, response.complete) == (b"hi", "content-length", True)


def test_chunks_are_kept_apart() -> None:
    response = response_over(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", OK
    )
    assert (response.body, response.framing, response.chunks) == (b"abcde", "chunked", (3, 2))


def test_interim_responses_are_noted() -> None:
    exchange = exchange_over(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", OK)
    assert (exchange.interim, exchange.ending) == ((100,), "open")


def test_a_connection_that_answers_again_is_open() -> None:
    assert exchange_over(OK, OK).ending == "open"


# Only what never comes has a short limit: what comes may come late on a busy machine.
@pytest.mark.parametrize(
    ("answers", "limit", "ending"),
    [
        ((OK, CLOSE), None, "closed"),
        ((OK, RESET), None, "reset"),
        ((OK, SILENCE), "PROBE_SECONDS", "silent"),
        (
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", CLOSE),
            "CLOSE_SECONDS",
            "open",
        ),
    ],
    ids=["closes without an answer", "resets", "answers no more", "promises to close and does not"],
)
def test_how_a_connection_ends_after_an_answer(
    answers: tuple[bytes, ...], limit: str | None, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit is not None:
        monkeypatch.setattr(f"triton_contract.clients.http.{limit}", 0.1)
    assert exchange_over(*answers).ending == ending


@pytest.mark.parametrize(
    ("answer", "fields", "ending"),
    [(CLOSE, {}, "closed"), (RESET, {}, "reset"), (SILENCE, {"timeout": 0.1}, "silent")],
    ids=["close", "reset", "silence"],
)
def test_no_answer_is_an_observation(answer: bytes, fields: dict[str, float], ending: str) -> None:
    exchange = exchange_over(answer, **fields)
    assert (exchange.response, exchange.ending) == (None, ending)


def test_a_server_that_does_not_read_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton_contract.clients.http.PROBE_SECONDS", 0.1)
    step = {"path": "/p", "text": "more than two sockets hold " * 1_000_000, "timeout": 0.1}
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [step]})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (exchange,) = play(case, Address("127.0.0.1", listener.getsockname()[1])).exchanges
    assert (exchange.response, exchange.ending) == (None, "silent")


def test_a_body_that_falls_short_is_incomplete() -> None:
    response = response_over(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" + CLOSE)
    assert (response.body, response.complete) == (b"half", False)


def test_a_stream_that_breaks_off_is_incomplete() -> None:
    response = response_over(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nde" + CLOSE
    )
    assert (response.body, response.chunks, response.complete) == (b"abc", (3,), False)


def test_bytes_after_an_answer_are_kept() -> None:
    exchange = exchange_over(OK + b"HTTP/1.1 200 OK\r\n\r\n", OK)
    assert exchange.extra == b"HTTP/1.1 200 OK\r\n\r\n"


def test_literal_bytes_are_followed_by_listening() -> None:
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [{"raw": "x\r\n\r\n"}]})
    with literal_server(OK) as address:
        (exchange,) = play(case, address).exchanges
    assert (exchange.ending, exchange.extra) == ("open", b"")


def test_leaving_after_a_chunk_keeps_what_came() -> None:
    stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    exchange = exchange_over(stream, disconnect_after_chunks=1)
    assert exchange.response is not None
    assert (exchange.response.chunks, exchange.ending) == ((1,), "left")


def test_an_address_where_nothing_listens_is_an_observation() -> None:
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [{"path": "/p"}]})
    with literal_server() as address:
        pass
    (exchange,) = play(case, address).exchanges
    assert exchange.ending == "no connection (ConnectionRefusedError)"


def test_steps_share_a_connection_unless_a_new_one_is_requested() -> None:
    first = b"HTTP/1.1 200 First\r\nContent-Length: 0\r\n\r\n"
    second = b"HTTP/1.1 200 Second\r\nContent-Length: 0\r\n\r\n"
    steps = [{"path": "/a"}, {"path": "/b"}, {"path": "/c", "new_connection": True}]
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": steps})
    with literal_server(first, OK, second, OK) as address:
        exchanges = play(case, address).exchanges
    assert [each.response.reason for each in exchanges if each.response] == ["First", "Second", "First"]


def test_an_answer_can_be_fetched_later() -> None:
    steps = [{"path": "/slow", "in_background": "slow"}, {"path": "/b"}, {"answer_of": "slow"}]
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": steps})
    with literal_server(OK, OK, OK, OK) as address:
        assert len(play(case, address).exchanges) == 2


def test_until_asks_again_and_keeps_the_last_answer() -> None:
    ready = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
    case = Case.model_validate(
        {"id": "a/b", "repository": "r", "steps": [{"path": "/p", "until": {"contains": "ready"}}]}
    )
    with literal_server(OK, OK, ready, OK) as address:
        (exchange,) = play(case, address).exchanges
    assert exchange.response is not None
    assert exchange.response.body == b"ready"


def test_until_asks_over_another_connection_if_one_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton_contract.playing.play.UNTIL_PATIENCE", 0.1)
    case = Case.model_validate(
        {"id": "a/b", "repository": "r", "steps": [{"path": "/p", "until": {"contains": "ready"}}]}
    )
    ready = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as connections:

        def converse(connection: socket.socket) -> None:
            with suppress(OSError):
                while connection.recv(65536):
                    connection.sendall(ready)

        def serve() -> None:
            with suppress(OSError):
                connections.enter_context(server.accept()[0])  # it is not answered
                while True:
                    connection = connections.enter_context(server.accept()[0])
                    threading.Thread(target=converse, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        (exchange,) = play(case, Address("127.0.0.1", server.getsockname()[1])).exchanges
    assert exchange.response is not None
    assert exchange.response.body == b"ready"


def test_until_may_wait_for_several_texts() -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nb a"
    step = {"path": "/p", "until": {"contains": ["a", "b"]}}
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [step]})
    with literal_server(one, OK, one, OK, both, OK) as address:
        (exchange,) = play(case, address).exchanges
    assert exchange.response is not None
    assert exchange.response.body == b"b a"


def test_until_may_name_what_each_of_several_versions_says_in_the_end() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
    early, newer, older = (body % (len(text), text) for text in (b"count 1", b"count 2 why", b"count 1 end"))
    until = [{"contains": ["count 2", "why"]}, {"contains": "end", "lacks": "why"}]
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [{"path": "/p", "until": until}]})
    for last in (newer, older):
        with literal_server(early, OK, last, OK) as address:
            (exchange,) = play(case, address).exchanges
        assert exchange.response is not None
        assert last.endswith(exchange.response.body)


def test_until_may_wait_for_a_text_to_go() -> None:
    there = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    step = {"path": "/p", "until": {"lacks": "a"}}
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [step]})
    gone = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"
    with literal_server(there, OK, gone, OK) as address:
        (exchange,) = play(case, address).exchanges
    assert exchange.response is not None
    assert exchange.response.body == b"b"


QUEUED = b"""nv_inference_request_success{model="m",version="1"} 2
nv_inference_pending_request_count{model="m",version="1"} 1
nv_inference_pending_request_count{model="m",version="2"} 1
nv_inference_pending_request_count{model="n",version="1"} 0
"""
METRICS = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(QUEUED), QUEUED)


def pending(**models: int) -> Case:
    return Case.model_validate(
        {"id": "a/b", "repository": "r", "operation": "metrics", "steps": [{"pending": models}]}
    )


def test_waiting_for_queued_requests_is_no_exchange() -> None:
    with literal_server(METRICS) as metrics:
        assert play(pending(m=2, n=0, unknown=0), metrics, metrics).exchanges == ()


def test_requests_that_are_never_queued_are_an_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton_contract.playing.play.UNTIL_SECONDS", 0.0)
    with literal_server(METRICS) as metrics:
        (exchange,) = play(pending(m=1), metrics, metrics).exchanges
    assert exchange == Exchange(None, ending="waited in vain: {'m': 1} were to be queued, {'m': 2} are")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:8000", Address("h", 8000)),
        ("http://h", Address("h", 80)),
        ("h:8000", Address("h", 8000)),
        ("http://h:1/s/one/", Address("h", 1, "/s/one")),
    ],
)
def test_a_url_becomes_an_address(url: str, address: Address) -> None:
    assert Address.of(url) == address


def test_only_plain_http_is_understood() -> None:
    with pytest.raises(ValueError, match="not a plain http:// address"):
        Address.of("https://h")


HALF = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n4\r\nfg"


def arrival(answer: bytes, *wanted: object) -> tuple[Exchange, ...]:
    """What a case shows that waits for parts of an answer of which no more comes than `answer`."""
    steps = [
        {"path": "/p", "in_background": "asked", "timeout": 0.2},
        *({"arrived": {"asked": each}} for each in wanted),
        {"answer_of": "asked"},
    ]
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": steps})
    with literal_server(answer, SILENCE) as address:
        return play(case, address).exchanges


@pytest.mark.parametrize(("answer", "wanted"), [(HALF, "head"), (HALF, 1), (HALF, 2), (SILENCE, "nothing")])
def test_a_part_of_an_answer_can_be_awaited(answer: bytes, wanted: object) -> None:
    (asked,) = arrival(answer, wanted)
    assert asked.ending == "silent"
    assert answer is SILENCE or (asked.response is not None and asked.response.chunks == (3, 2))


@pytest.mark.parametrize(
    ("answer", "wanted", "text"),
    [
        (HALF + CLOSE, [3], "3 was to come, a head and 2 chunks had, then it was closed"),
        (HALF[:50] + CLOSE, [1], "1 was to come, a head and 0 chunks had, then it was closed"),
        (b"HTTP/1.1 200" + CLOSE, ["head"], "head was to come, 12 bytes of a head had, then it was closed"),
        (HALF, [2, "nothing"], "nothing was to come, a head and 2 chunks had, then it was silent"),
    ],
)
def test_what_came_instead_is_an_observation(answer: bytes, wanted: list[object], text: str) -> None:
    missed, _ = arrival(answer, *wanted)
    assert missed.ending == f"waited in vain: asked: {text}"
