"""The reader of Triton's event streams: it gives the same events however the bytes are cut."""

from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_adapter.errors import BadGatewayError
from triton_adapter.triton import sse
from triton_adapter.triton.sse import EventReader

STREAM = (
    'data: {"text_output":"Grüße \u2028 \u2029 \x85 🙂"}\n\n'
    'data: {"text_output":"two","n":[1,2]}\r\n\r\n'
    ": a comment\n\n"
    'event: message\ndata: {"text_output":\ndata: "three"}\n\n'
    'data:{"text_output":"four"}\n\n'
).encode()
EVENTS = [
    {"text_output": "Grüße \u2028 \u2029 \x85 🙂"},
    {"text_output": "two", "n": [1, 2]},
    {"text_output": "three"},
    {"text_output": "four"},
]


def read(*parts: bytes) -> list[dict[str, Any]]:
    reader = EventReader()
    events = [event for part in parts for event in reader.feed(part)]
    reader.end()
    return events


def test_a_stream_read_whole_gives_its_events() -> None:
    assert read(STREAM) == EVENTS


def test_a_stream_read_byte_by_byte_gives_the_same_events() -> None:
    assert read(*(bytes([byte]) for byte in STREAM)) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_a_stream_cut_anywhere_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *cuts, len(STREAM)]
    assert read(*(STREAM[start:stop] for start, stop in pairwise(edges))) == EVENTS


def test_a_byte_that_is_no_utf8_is_replaced_as_triton_passes_it_through() -> None:
    assert read(b'data: {"text_output":"a\xff"}\n\n') == [{"text_output": "a�"}]


def test_not_a_number_is_a_number_to_triton() -> None:
    (event,) = read(b'data: {"score":NaN,"most":Infinity}\n\n')
    assert (str(event["score"]), event["most"]) == ("nan", float("inf"))


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"text_output":"a"',
        b'data: {"text_output":"a"}',
        b'data: {"text_output":"a"}\n',
        b"data: hello\n\n",
        b"data: [1]\n\n",
        b"<html>\n<body>\n",
        b'{"text_output":"a"}\n',
    ],
    ids=[
        "cut in the JSON",
        "cut after it",
        "cut before the blank line",
        "no JSON",
        "no object",
        "HTML",
        "bare JSON",
    ],
)
def test_what_is_no_event_stream_is_the_upstreams_fault(stream: bytes) -> None:
    with pytest.raises(BadGatewayError):
        read(stream)


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_the_upstreams_fault(stream: bytes) -> None:
    with suppress(BadGatewayError):
        read(stream)


def test_an_event_of_lines_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_LINE", 100)
    reader = EventReader()
    assert list(reader.feed(b'data: {"a":1}\n\n' * 20)) == [{"a": 1}] * 20
    with pytest.raises(BadGatewayError, match="an event without an end"):
        list(reader.feed(b"data: x\n" * 20))
