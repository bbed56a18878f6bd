"""Normalisers: they remove what may differ between two correct answers, such as times, paths and undefined order.

A normaliser is a pure function from a response to a response, and has a name in one table. Those of ALWAYS apply to
every case, those of BY_OPERATION to the cases of an operation; a case may name more. An answer that is equal only after
normalising is reported as such.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby

from triton_contract.cases.encoding import HEADER_LENGTH
from triton_contract.clients.exchange import Response

from .json_spans import mask as mask_json

Normaliser = Callable[[Response], Response]

_STATISTICS_TIMES = re.compile(rb'("ns"|"last_inference"):\d+')
_DURATIONS = re.compile(rb',?"ns":\d+')
_MODEL_FILE = re.compile(rb'(?:/[^\s"\\:/]+)+/(?=[^/\s"\\]+/(?:\d+/[^/\s"\\]+\.py\b|warmup/))')
_NAMESPACE = re.compile(rb'(?<=namespace=")(?:/[^\s"\\:/]+)*/(?=[^/"]+")')
_BACKEND_FILE = re.compile(rb'(?:/[^\s"\\:/]+)+/triton_python_backend_utils\.py\(\d+\)')
_BACKEND_FOLDER = re.compile(rb"(?<=', in )(?:/[^\s\"\\:;/]+)+/(?=[^/\s\"\\;]+[;\"])")
_ADDRESS = re.compile(rb"(?<= object at 0x)[0-9a-f]+(?=>)")
_METRIC_TIME = re.compile(
    rb"(?m)^(nv_(?:\w+_duration_us|\w+_summary_us(?:_sum)?|cache_\w*duration\w*|cache_\w+_summary_per_model(?:_sum)?|"
    rb"cpu_\w+|pinned_memory_pool_used_bytes)"
    rb"(?:\{[^}]*\})?) \S+$"
)


def _body(change: Callable[[bytes], bytes]) -> Normaliser:
    """A normaliser that changes the body alone. The binary tensors of an infer answer stay as they are."""

    def apply(response: Response) -> Response:
        header = response.header(HEADER_LENGTH)
        cut = int(header) if header is not None and header.isdigit() else len(response.body)
        return replace(response, body=change(response.body[:cut]) + response.body[cut:])

    return apply


def _decoded(response: Response) -> Response:
    if response.header("content-encoding") not in ("gzip", "deflate"):
        return response
    try:
        return replace(response, body=zlib.decompress(response.body, zlib.MAX_WBITS | 32))
    except zlib.error:
        return response


def _sorted_index(body: bytes) -> bytes:
    try:
        entries = json.loads(body)
        return json.dumps(sorted(entries, key=lambda e: (e["name"], e.get("version", "")))).encode()
    except (ValueError, TypeError, KeyError):
        return body


def _sorted_keys(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body), sort_keys=True).encode()
    except ValueError:
        return body


def _sorted_samples(body: bytes) -> bytes:
    """The samples of each metric, sorted: the server keeps them in a hash map whose keys are addresses."""
    done: list[bytes] = []
    for is_sample, lines in groupby(body.split(b"\n"), key=lambda line: line.startswith(b"nv_")):
        group = list(lines)
        done.extend(sorted(group) if is_sample else group)
    return b"\n".join(done)


NORMALISERS: dict[str, Normaliser] = {
    "statistics-times": _body(lambda body: _STATISTICS_TIMES.sub(rb"\1:0", body)),
    # protobuf does not write a duration of 0
    "durations": _body(lambda body: _DURATIONS.sub(b"", body)),
    "metrics-times": _body(lambda body: _METRIC_TIME.sub(rb"\1 <time>", body)),
    "repository-path": _body(lambda body: _NAMESPACE.sub(b"/models/", _MODEL_FILE.sub(b"/models/", body))),
    "backend-path": _body(
        lambda body: _BACKEND_FOLDER.sub(
            b"/backends/", _BACKEND_FILE.sub(b"triton_python_backend_utils.py", body)
        )
    ),
    "object-addresses": _body(lambda body: _ADDRESS.sub(b"", body)),
    "decoded": _decoded,
    "index-order": _body(_sorted_index),
    "key-order": _body(_sorted_keys),
    "sample-order": _body(_sorted_samples),
    "chunk-boundaries": lambda response: replace(response, chunks=()),
    "body": lambda response: replace(response, body=b"", chunks=()),
}

ALWAYS = ("repository-path", "backend-path", "object-addresses")
"""Where a repository and the backends are, and where objects are in memory, depends on the machine and the process, not
on the server. Recordings contain neither."""

BY_OPERATION: dict[str, tuple[str, ...]] = {
    "statistics": ("statistics-times",),
    "metrics": ("metrics-times", "sample-order"),
    "infer": ("decoded",),
    "grpc/ModelStatistics": ("statistics-times", "durations"),
}


def normalise(response: Response, names: Iterable[str], pointers: Iterable[str] = ()) -> Response:
    """Apply the named normalisers in order, then mask the JSON values at the `pointers`."""
    for name in names:
        response = NORMALISERS[name](response)
    pointers = tuple(pointers)
    if pointers:
        response = _body(lambda body: _masked(body, pointers))(response)
    return response


def _masked(body: bytes, pointers: tuple[str, ...]) -> bytes:
    """Mask values in a JSON body, or in the JSON of every event of a stream."""
    events = body.split(b"\n\n")
    done = []
    for event in events:
        prefix = b"data: " if event.startswith(b"data: ") else b""
        text = event[len(prefix) :].decode("utf-8", "surrogateescape")
        done.append(prefix + mask_json(text, pointers).encode("utf-8", "surrogateescape"))
    return b"\n\n".join(done)
