"""The metrics as Prometheus text. No label holds a value that a client has sent."""

import re

from adapter.tests.proxy.serving import BEARER, chat, entry, events, get, post, serve
from adapter.tests.upstream import Upstream, chunked, event, http
from triton_adapter.proxy.metrics import Counter, Histogram

SAMPLE = re.compile(
    r'[a-z_]+(\{[a-z_]+="(\\.|[^"\\])*"(,[a-z_]+="(\\.|[^"\\])*")*\})? (\d+(\.\d+)?(e-?\d+)?)'
)


def test_a_counter_in_text() -> None:
    counter = Counter("c_total", "Things.", "kind")
    counter.values['a"b\\c\n',] += 2
    counter.values["d",] += 1234567
    assert list(counter.samples()) == ['c_total{kind="a\\"b\\\\c\\n"} 2', 'c_total{kind="d"} 1234567']


def test_a_histogram_in_text() -> None:
    histogram = Histogram("h", "Times.", (0.1, 1.0), "m")
    for value in (0.1, 0.5, 3.0):
        histogram.observe(("x",), value)
    assert list(histogram.samples()) == [
        'h_bucket{m="x",le="0.1"} 1',
        'h_bucket{m="x",le="1.0"} 2',
        'h_bucket{m="x",le="+Inf"} 3',
        'h_sum{m="x"} 3.6',
        'h_count{m="x"} 3',
    ]


def test_a_chat_a_stream_an_embedding_and_failures_are_counted() -> None:
    with Upstream() as upstream:
        upstream.answer(*chunked(event(text_output="a"), event(text_output=" b"), event(text_output=" c")))
        upstream.answer(http(b'{"error":"broken"}', status="500 No"))
        settings = {"num_retries": 0}
        entries = entry("m", upstream.url, model_info={"id": "d1"}), entry("w/*", upstream.url, "*")
        with serve(*entries, router_settings=settings) as proxy:
            streamed = events(chat(proxy, stream=True, stream_options={"include_usage": True}).text)
            assert chat(proxy).status_code == 500
            assert chat(proxy, "nobody-has-this").status_code == 404
            assert chat(proxy, temperature=9).status_code == 400
            assert post(proxy, "/chat/completions", b"{oops").status_code == 400
            reply = get(proxy, "/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = reply.text
    written = streamed[-2]["usage"]["completion_tokens"]
    assert written > 1
    for line in (
        'triton_proxy_requests_total{route="chat/completions",model="m",status="200"} 1',
        'triton_proxy_requests_total{route="chat/completions",model="m",status="500"} 1',
        'triton_proxy_requests_total{route="chat/completions",model="m",status="400"} 1',
        'triton_proxy_requests_total{route="chat/completions",model="",status="404"} 1',
        'triton_proxy_requests_total{route="chat/completions",model="",status="400"} 1',
        'triton_proxy_request_duration_seconds_count{route="chat/completions",model="m"} 3',
        f'triton_proxy_tokens_total{{model="m",kind="completion"}} {written}',
        'triton_proxy_time_to_first_token_seconds_count{model="m"} 1',
        'triton_proxy_time_per_output_token_seconds_count{model="m"} 1',
        'triton_proxy_upstream_errors_total{model="m",deployment="d1",status="500",code=""} 1',
        "triton_proxy_requests_in_flight 0",
        'triton_proxy_deployment_cooling_down{model="m",deployment="d1"} 0',
    ):
        assert f"\n{line}\n" in text
    # A request that the proxy refuses itself counts as no error of a deployment.
    assert text.count("triton_proxy_upstream_errors_total{") == 1
    assert "nobody-has-this" not in text
    assert BEARER["Authorization"].split()[1] not in text
    assert upstream.url.removeprefix("http://") not in text
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or SAMPLE.fullmatch(line), line


def test_names_that_a_wildcard_matched_are_labelled_by_the_pattern() -> None:
    with Upstream(decoupled=False) as upstream:
        for _ in range(3):
            upstream.answer(http(b'{"text_output":"ok"}'), then="keep")
        with serve(entry("w/*", f"{upstream.url}", "*")) as proxy:
            for name in ("w/a", "w/b"):
                chat(proxy, name)
            text = get(proxy, "/metrics").text
    assert 'model="w/*"' in text
    assert 'model="w/a"' not in text
