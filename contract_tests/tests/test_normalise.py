"""Normalisers remove what may differ between two correct servers, and nothing else."""

import gzip
import zlib

import pytest

from triton_contract.clients.exchange import Response
from triton_contract.comparing.json_spans import mask
from triton_contract.comparing.normalise import normalise


def body_after(name: str, body: bytes, *headers: tuple[str, str]) -> bytes:
    return normalise(Response("HTTP/1.1", 200, "OK", headers, body), [name]).body


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (
            "statistics-times",
            b'{"count":3,"ns":12,"last_inference":170}',
            b'{"count":3,"ns":0,"last_inference":0}',
        ),
        (
            "repository-path",
            b'{"error":"At:\\n  /a/b-c/err/1/model.py(15): answer\\n"}',
            b'{"error":"At:\\n  /models/err/1/model.py(15): answer\\n"}',
        ),
        ("repository-path", b'{"data":["/a/b/c.txt"]}', b'{"data":["/a/b/c.txt"]}'),
        (
            "object-addresses",
            b'{"error":"trace = <backend.Trace object at 0x7fe4182de8b0>, at 0x7fe4"}',
            b'{"error":"trace = <backend.Trace object at 0x>, at 0x7fe4"}',
        ),
        (
            "metrics-times",
            b'nv_inference_count{model="m"} 3\nnv_inference_queue_duration_us{model="m"} 17\nnv_cpu_usage 1',
            b'nv_inference_count{model="m"} 3\nnv_inference_queue_duration_us{model="m"} <time>\nnv_cpu_usage <time>',
        ),
        (
            "sample-order",
            b'# TYPE b\nnv_b{model="z"} 1\nnv_b{model="a"} 2\n# TYPE a\nnv_a 1\n',
            b'# TYPE b\nnv_b{model="a"} 2\nnv_b{model="z"} 1\n# TYPE a\nnv_a 1\n',
        ),
        ("index-order", b'[{"name":"b"},{"name":"a"}]', b'[{"name": "a"}, {"name": "b"}]'),
        ("key-order", b'{"b":1,"a":2}', b'{"a": 2, "b": 1}'),
        ("key-order", b"no JSON", b"no JSON"),
    ],
)
def test_a_normaliser_removes_what_may_differ(name: str, before: bytes, after: bytes) -> None:
    assert body_after(name, before) == after


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(b"text")),
        ("deflate", zlib.compress(b"text")),
        ("identity", b"text"),
        ("gzip", b"text"),
    ],
    ids=["gzip", "deflate", "identity", "not compressed at all"],
)
def test_compressed_bodies_are_compared_unpacked(encoding: str, data: bytes) -> None:
    assert body_after("decoded", data, ("Content-Encoding", encoding)) == b"text"


def test_binary_tensors_are_not_read_as_json() -> None:
    body = b'{"ns":1}"ns":2'
    assert body_after("statistics-times", body, ("Inference-Header-Content-Length", "8")) == b'{"ns":0}"ns":2'


@pytest.mark.parametrize(
    ("text", "pointers", "masked"),
    [
        ('{"a":1.50,"b":[1, 2]}', ["/a"], '{"a":"<masked>","b":[1, 2]}'),
        (
            '{"a":{"b":[{"c":"x\\"}"},{"c":null}]}}',
            ["/a/b/*/c"],
            '{"a":{"b":[{"c":"<masked>"},{"c":"<masked>"}]}}',
        ),
        ("[1,NaN,-Infinity]", ["/1", "/2"], '[1,"<masked>","<masked>"]'),
        (' { "a" : [ ] , "b" : { } } ', ["/a", "/b"], ' { "a" : "<masked>" , "b" : "<masked>" } '),
        ('{"a":1}', ["/b"], '{"a":1}'),
        ('{"a":', ["/a"], '{"a":'),
        ("", ["/a"], ""),
    ],
)
def test_masking_touches_only_the_value(text: str, pointers: list[str], masked: str) -> None:
    assert mask(text, pointers) == masked


def test_masking_reaches_every_event_of_a_stream() -> None:
    body = b'data: {"a":1,"b":2}\n\ndata: {"a":3,"b":4}\n\n'
    masked = normalise(Response("HTTP/1.1", 200, "OK", (), body), [], ["/a"]).body
    assert masked == b'data: {"a":"<masked>","b":2}\n\ndata: {"a":"<masked>","b":4}\n\n'
