"""Broken or slow upstreams, and ones that are no Triton: the error names the fault, and nothing leaks."""

import asyncio
import json
import threading
from typing import Any

import pytest

import triton_adapter
from adapter.tests.driving import Sdk, ask, ends_of, failure, text_of
from adapter.tests.upstream import Upstream, chunked, event, http
from triton_adapter import errors

ONE, TWO = event(text_output="one"), event(text_output=" two")


def test_a_stream_sent_byte_by_byte_is_the_same_stream(sdk: Sdk, upstream: Upstream) -> None:
    said = "Grüße \u2028 🙂"
    bytewise = [bytes([byte]) for part in chunked(event(text_output=said), TWO) for byte in part]
    upstream.answer(*bytewise)
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url)
    assert error is None
    assert text_of(chunks) == f"{said} two"
    assert ends_of(chunks) == ["stop"]


def test_a_stream_without_its_last_chunk_is_cut_off_not_finished(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False))
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url)
    assert text_of(chunks) == "one"
    assert ends_of(chunks) == []
    assert isinstance(error, errors.APIConnectionError)
    assert (error.status_code, error.message) == (502, "Triton's answer broke off")
    assert len(upstream.posts) == 1


def test_a_stream_that_is_reset_is_cut_off_not_finished(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="reset")
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url)
    assert ends_of(chunks) == []
    assert isinstance(error, errors.APIConnectionError)


def test_a_stream_that_ends_inside_an_event_is_cut_off_not_finished(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, TWO[:12]))
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url)
    assert text_of(chunks) == "one"
    assert ends_of(chunks) == []
    assert isinstance(error, errors.BadGatewayError)


def test_a_stream_that_falls_silent_times_out(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url, stream_timeout=3)
    assert text_of(chunks) == "one"
    assert isinstance(error, errors.APITimeoutError)


def test_what_came_before_an_error_in_the_same_packet_is_shown(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE + event(error="out of memory") + TWO))
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url)
    assert text_of(chunks) == "one"
    assert isinstance(error, errors.InternalServerError)
    assert error.message == "out of memory"


def test_a_stream_of_html_is_a_bad_gateway(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(b"<html>\n<body>Welcome</body>\n", kind="text/html"))
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url)
    assert chunks == []
    assert isinstance(error, errors.BadGatewayError)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b'{"model_name":"m"}', b'{"outputs":[]}', b"\xff\xfe"],
    ids=["nothing", "null", "a list", "a string", "no outputs", "empty outputs", "no text"],
)
def test_a_reply_of_a_wrong_shape_is_a_bad_gateway(sdk: Sdk, whole_upstream: Upstream, body: bytes) -> None:
    whole_upstream.answer(http(body))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url))
    assert isinstance(error, errors.BadGatewayError)
    assert error.status_code == 502


@pytest.mark.parametrize("where", ["/v2/models/m/generate", ""], ids=["generate", "infer"])
def test_200_with_an_error_is_a_bad_gateway_with_tritons_words(
    sdk: Sdk, whole_upstream: Upstream, where: str
) -> None:
    whole_upstream.answer(http(b'{"error":"the model is broken"}'))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url + where))
    assert (error.status_code, error.message) == (502, "the model is broken")


def test_200_with_an_error_instead_of_a_stream_is_reported_in_its_words(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(http(b'{ "error": "the model is broken" }'))
    upstream.answer(http(b'{ "error": "the model is broken" }'))
    _, error = sdk.collect("m", ask("x"), api_base=upstream.url)
    assert isinstance(error, errors.BadGatewayError)
    assert error.message == "the model is broken"
    assert (
        failure(lambda: sdk.completion("m", ask("x"), api_base=upstream.url)).message == "the model is broken"
    )


def test_a_reply_that_is_cut_off_is_an_error_and_not_retried(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b'{"outputs":[]}')[:-4])
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url))
    assert (error.status_code, error.message) == (502, "Triton's answer broke off")
    assert len(whole_upstream.posts) == 1


def test_a_reply_that_is_no_http_is_a_bad_gateway(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(b"220 smtp.example.com ESMTP\r\n\r\n")
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, num_retries=0))
    assert (type(error), error.status_code) == (errors.BadGatewayError, 502)


def test_a_connection_reset_before_a_byte_came_is_tried_again(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(then="reset")
    whole_upstream.answer(
        http(b'{"outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["hi"]}]}')
    )
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url, num_retries=0)
    assert reply.choices[0].message.content == "hi"


def test_connections_that_are_always_reset_are_an_error(sdk: Sdk, whole_upstream: Upstream) -> None:
    for _ in range(4):
        whole_upstream.answer(then="reset")
    error = failure(
        lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, num_retries=1, retry_delay=0)
    )
    assert isinstance(error, errors.APIConnectionError)
    assert len(whole_upstream.posts) == 3


@pytest.mark.parametrize(
    "status, kind",
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (408, errors.APITimeoutError),
        (413, errors.RequestTooLargeError),
        (418, errors.BadRequestError),
        (429, errors.RateLimitError),
        (500, errors.InternalServerError),
        (501, errors.InternalServerError),
        (502, errors.BadGatewayError),
        (503, errors.ServiceUnavailableError),
        (504, errors.APITimeoutError),
        (302, errors.BadGatewayError),
        (204, errors.BadGatewayError),
    ],
)
def test_a_refusal_keeps_its_status_and_its_words(
    sdk: Sdk, whole_upstream: Upstream, status: int, kind: type[errors.AdapterError]
) -> None:
    body = b"" if status == 204 else b'{"error":"no \\"way\\""}'
    whole_upstream.answer(
        http(body, status=f"{status} Whatever", kind="text/plain", extra="Retry-After: 7\r\n")
    )
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, num_retries=0))
    assert type(error) is kind
    assert error.status_code == {408: 504, 302: 502, 204: 502}.get(status, status)
    if 400 <= status:
        assert error.message == 'no "way"'
        assert error.retry_after == 7


def test_a_refusal_by_a_gateway_is_not_quoted(sdk: Sdk, whole_upstream: Upstream) -> None:
    page = b"<html>nginx at http://10.0.0.7:8000/secret</html>"
    whole_upstream.answer(http(page, status="502 Bad Gateway", kind="text/html"))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url))
    assert error.message == "the upstream answered 502 without an error from Triton"


def test_an_error_names_no_url_and_no_key(sdk: Sdk) -> None:
    error = failure(
        lambda: sdk.completion(
            "m", ask("x"), api_base="http://127.0.0.1:9/s3cret", api_key="k3y", num_retries=0
        )
    )
    shown = f"{error} {error!r} {error.to_dict()}"
    assert not any(word in shown for word in ("127.0.0.1", "s3cret", "k3y", "Traceback"))
    assert error.upstream == "http://127.0.0.1:9/s3cret"


def test_an_error_carries_the_request_id_that_triton_was_sent(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b'{"error":"no"}', status="400 Bad Request"))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, request_id="req-7"))
    assert error.request_id == "req-7"
    assert whole_upstream.posts[0].json()["id"] == "req-7"


def test_a_retry_after_of_minutes_is_the_callers_to_wait(sdk: Sdk, whole_upstream: Upstream) -> None:
    busy = http(b'{"error":"busy"}', status="429 Too Many Requests", extra="Retry-After: 600\r\n")
    whole_upstream.answer(busy)
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, num_retries=5))
    assert isinstance(error, errors.RateLimitError)
    assert error.retry_after == 600
    assert len(whole_upstream.posts) == 1


def test_a_500_is_not_repeated(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b'{"error":"boom"}', status="500 Internal Server Error"))
    failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, num_retries=5))
    assert len(whole_upstream.posts) == 1


def test_a_server_that_trickles_a_reply_for_ever_times_out(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", then="trickle")
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, timeout=0.3))
    assert isinstance(error, errors.APITimeoutError)


def test_a_server_that_trickles_the_head_of_a_stream_for_ever_times_out(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(b"HTTP/1.1 200 OK\r\nX: ", then="trickle")
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url, timeout=0.3, stream_timeout=0.2)
    assert chunks == []
    assert isinstance(error, errors.APITimeoutError)


def test_a_server_that_trickles_the_trailers_of_a_stream_for_ever_times_out(
    sdk: Sdk, upstream: Upstream
) -> None:
    upstream.answer(*chunked(ONE, end=False), b"0\r\nX: ", then="trickle")
    _, error = sdk.collect("m", ask("x"), api_base=upstream.url, timeout=0.3, stream_timeout=0.2)
    assert isinstance(error, errors.APITimeoutError)


def test_an_error_inside_a_stream_carries_the_request_id(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, event(error="boom")))
    _, error = sdk.collect("m", ask("x"), api_base=upstream.url, request_id="req-8")
    assert error is not None
    assert (error.request_id, error.upstream) == ("req-8", upstream.url)


def test_leaving_a_stream_closes_the_upstream_connection(upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    stream: Any = triton_adapter.completion("triton/m", ask("x"), api_base=upstream.url, stream=True)
    with stream:
        next(stream)
    assert upstream.left.wait(60)


def test_closing_a_stream_that_nobody_read_closes_the_upstream_connection(upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    stream: Any = triton_adapter.completion("triton/m", ask("x"), api_base=upstream.url, stream=True)
    stream.close()
    assert upstream.left.wait(60)


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
def test_leaving_an_awaited_stream_closes_the_upstream_connection(upstream: Upstream, begun: bool) -> None:
    async def leave() -> None:
        stream: Any = await triton_adapter.acompletion(
            "triton/m", ask("x"), api_base=upstream.url, stream=True
        )
        async with stream:
            if begun:
                await anext(stream)
        assert await asyncio.to_thread(upstream.left.wait, 5)

    upstream.answer(*chunked(ONE, end=False), then="hang")
    asyncio.run(leave())


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
def test_an_awaited_stream_without_a_reference_is_closed(upstream: Upstream, begun: bool) -> None:
    async def let_go() -> None:
        stream: Any = await triton_adapter.acompletion(
            "triton/m", ask("x"), api_base=upstream.url, stream=True
        )
        if begun:
            await anext(stream)
        del stream
        assert await asyncio.to_thread(upstream.left.wait, 5)

    upstream.answer(*chunked(ONE, end=False), then="hang")
    asyncio.run(let_go())


def test_cancelling_an_awaited_call_closes_the_upstream_connection(upstream: Upstream) -> None:
    async def cancel() -> None:
        call = triton_adapter.acompletion("triton/m", ask("x"), api_base=upstream.url)
        task = asyncio.ensure_future(call)
        await asyncio.to_thread(arrived.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(upstream.left.wait, 5)

    arrived = threading.Event()
    upstream.on_post = arrived.set
    upstream.answer(*chunked(ONE, end=False), then="hang")
    asyncio.run(cancel())


def test_an_error_in_one_of_several_streams_ends_them_all(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, event(error="boom")))
    upstream.answer(*chunked(ONE, event(error="boom")))
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url, n=2)
    assert text_of(chunks, 0) in ("", "one")
    assert isinstance(error, errors.InternalServerError)


def test_one_of_several_streams_that_cannot_begin_ends_them_all(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE))
    upstream.answer(http(b'{"error":"too many"}', status="400 Bad Request"))
    _, error = sdk.collect("m", ask("x"), api_base=upstream.url, n=2)
    assert isinstance(error, errors.BadRequestError)
    assert error.message == "too many"


def test_each_of_several_streams_ends_at_its_own_stop_sequence(sdk: Sdk, upstream: Upstream) -> None:
    for _ in range(2):
        upstream.answer(*chunked(event(text_output="one STOP"), end=False), then="hang")
    chunks, error = sdk.collect("m", ask("x"), api_base=upstream.url, n=2, stop="STOP")
    assert error is None
    assert [text_of(chunks, index) for index in range(2)] == ["one ", "one "]
    assert ends_of(chunks) == ["stop", "stop"]


def test_a_retry_after_may_be_a_date(sdk: Sdk, whole_upstream: Upstream) -> None:
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    busy = http(b'{"error":"busy"}', status="503 Service Unavailable", extra=f"Retry-After: {past}\r\n")
    whole_upstream.answer(busy)
    whole_upstream.answer(http(b'{"error":"no"}', status="400 Bad Request", extra="Retry-After: soon\r\n"))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url, num_retries=1))
    assert (error.message, error.retry_after) == ("no", None)


def test_leaving_a_stream_of_several_choices_closes_every_connection(upstream: Upstream) -> None:
    async def leave() -> None:
        stream: Any = await triton_adapter.acompletion(
            "triton/m", ask("x"), api_base=upstream.url, stream=True, n=3
        )
        seen: set[int] = set()
        async with stream:
            while len(seen) < 3:
                seen.add((await anext(stream)).choices[0].index)
        for _ in range(3):
            assert await asyncio.to_thread(upstream.leavers.acquire, timeout=60)

    for _ in range(3):
        upstream.answer(*chunked(ONE, end=False), then="hang")
    asyncio.run(leave())


WRONG: dict[str, dict[str, Any]] = {
    "a count that is a word": {"num_output_tokens": "many"},
    "a count that is no number": {"num_output_tokens": float("nan")},
    "a count below zero": {"num_output_tokens": -1},
    "a count without bound": {"num_input_tokens": float("inf")},
    "a count that is a list of lists": {"num_input_tokens": [[1]]},
    "a choice below the first": {"sequence_index": -1},
    "a choice above the last": {"sequence_index": 128},
    "half of a surrogate pair": {"text_output": "\ud83d"},
    "a token without candidates": {"logprobs": "[{}]"},
    "a token whose text is a number": {"logprobs": '[{"1":{"logprob":-1,"decoded_token":5}}]'},
    "a token whose probability is out of bounds": {"logprobs": '[{"1":{"logprob":%s}}]' % ("1" * 400)},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_an_event_with_a_wrong_value_is_a_bad_gateway(
    sdk: Sdk, upstream: Upstream, wrong: dict[str, Any], stream: bool
) -> None:
    assert upstream.metadata is not None
    given = ("sampling_parameters", "return_logprobs", "return_num_input_tokens", "return_num_output_tokens")
    for name in given:
        upstream.metadata["inputs"].append(
            {"name": name, "datatype": "BYTES" if name == given[0] else "BOOL", "shape": [1]}
        )
        upstream.config["input"].append({"name": name, "optional": True})
    upstream.metadata["outputs"] += [
        {"name": name, "datatype": "BYTES", "shape": [1]}
        for name in ("logprobs", "num_input_tokens", "num_output_tokens")
    ]
    upstream.answer(*chunked(b"data: " + json.dumps({"text_output": "x", **wrong}).encode() + b"\n\n"))
    asked: dict[str, Any] = {"api_base": upstream.url, "logprobs": True, "profile": "vllm"}
    if stream:
        _, error = sdk.collect("m", ask("x"), **asked)
    else:
        error = failure(lambda: sdk.completion("m", ask("x"), **asked))
    assert isinstance(error, errors.BadGatewayError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch_size": float("inf")},
        {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [float("inf")]}]},
        {"inputs": [{"name": "x", "datatype": ["BYTES"], "shape": [1]}]},
        {"inputs": [{"name": 5, "datatype": "BYTES", "shape": [1]}]},
    ],
    ids=[
        "a batch without bound",
        "a length without bound",
        "a datatype in a list",
        "a name that is a number",
    ],
)
def test_metadata_with_a_wrong_value_is_a_bad_gateway(sdk: Sdk, upstream: Upstream, wrong: Any) -> None:
    assert upstream.metadata is not None
    upstream.metadata.update(wrong)
    upstream.config.update(wrong)
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=upstream.url))
    assert isinstance(error, errors.BadGatewayError)


def test_closing_an_awaited_stream_frees_the_task_that_waits_for_its_next_chunk(upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")

    async def main() -> None:
        stream = await triton_adapter.acompletion("triton/m", ask("x"), api_base=upstream.url, stream=True)
        assert [(await anext(stream)).choices[0].delta.content for _ in range(2)] == ["", "one"]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await stream.close()
        with pytest.raises(errors.APIConnectionError, match="the answer was closed before its end"):
            await waiting

    asyncio.run(main())
    assert upstream.left.wait(60)


def test_a_header_goes_once_however_its_name_is_written(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE))
    own = {"authorization": "Bearer own", "content-type": "application/json", "HOST": "models.example"}
    sdk.completion("m", ask("x"), api_base=upstream.url, api_key="key", extra_headers=own)
    sent = [
        (name, value)
        for name, value in upstream.posts[0].headers.items()
        if name.lower() in own or name == "Host"
    ]
    assert sorted(sent) == [
        ("Authorization", "Bearer own"),
        ("Content-Type", "application/json"),
        ("Host", "models.example"),
    ]


def test_a_header_cannot_say_how_long_the_body_is(sdk: Sdk, upstream: Upstream) -> None:
    error = failure(
        lambda: sdk.completion("m", ask("x"), api_base=upstream.url, extra_headers={"content-length": "0"})
    )
    assert (error.status_code, error.param) == (400, "extra_headers")
