"""A gRPC client that sends the bytes it is given and returns the answer in the form of an HTTP exchange.

The status is gRPC's status code, the reason its name, the headers are the initial and the trailing metadata. The body
is the text of the status and then one line of JSON for each message. So what compares, records and prints HTTP
answers works for gRPC too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import grpc

from triton_contract.cases.messages import to_json
from triton_contract.cases.protobuf import message_classes
from triton_contract.cases.rpc import Rpc

from .exchange import Exchange, Response

VERSION = "gRPC"
_COMPRESSION = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate, None: None}
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # each channel opens its own connection
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)
#: texts with which grpcio itself reports that a connection broke
_BROKEN = ("Socket closed", "Connection reset", "failed to connect", "Broken pipe", "GOAWAY", "recvmsg")


def open_channel(address: str) -> grpc.Channel:
    """Open a channel to host:port, without TLS."""
    return grpc.insecure_channel(address, options=_OPTIONS)


class Pending(Protocol):
    """A call that has been started."""

    def result(self) -> Exchange: ...
    def cancel(self) -> None: ...


def start(channel: grpc.Channel, step: Rpc) -> Pending:
    """Start the call of this step. Its result is awaited by `Pending.result`."""
    timeout = step.deadline or step.patience
    metadata = tuple(_entry(name.lower(), value) for name, value in step.metadata)
    options: dict[str, Any] = {
        "timeout": timeout,
        "metadata": metadata,
        "compression": _COMPRESSION[step.compression],
    }
    if step.is_stream:
        return _Stream(channel, step, options)
    [(_, data)] = step.payloads()
    call = channel.unary_unary(step.full_method).future(data, **options)
    if step.cancel_after is not None:
        call.cancel()
    return _Unary(step, call)


def _entry(name: str, value: str) -> tuple[str, str | bytes]:
    """A pair of metadata. Where the name ends in -bin the value is bytes: one byte for each character."""
    return name, value.encode("latin-1") if name.endswith("-bin") else value


class _Unary:
    def __init__(self, step: Rpc, call: Any) -> None:
        self._step = step
        self._call = call
        self._cancelled = step.cancel_after is not None

    def result(self) -> Exchange:
        call = self._call
        try:
            messages = [call.result()]
        except (grpc.RpcError, grpc.FutureCancelledError):
            messages = []
        return _exchange(self._step, call, messages, cancelled=self._cancelled)

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()


class _Stream:
    """A stream. grpcio's own thread sends the requests as the step says, while responses are collected."""

    def __init__(self, channel: grpc.Channel, step: Rpc, options: dict[str, Any]) -> None:
        self._step = step
        self._received: list[bytes] = []
        self._changed = threading.Condition()
        self._ended = False
        self._cancelled = step.cancel_after is not None
        self._call = channel.stream_stream(step.full_method)(self._requests(), **options)

    def _requests(self) -> Iterator[bytes]:
        for after, data in self._step.payloads():
            self._wait_for(after)
            yield data
        if self._step.keep_open:
            self._wait_for(None)

    def _wait_for(self, count: int | None) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or (count is not None and len(self._received) >= count)
            )

    def result(self) -> Exchange:
        call, limit = self._call, self._step.cancel_after
        try:
            if limit == 0:
                call.cancel()
            for data in call:
                with self._changed:
                    self._received.append(data)
                    self._changed.notify_all()
                if limit is not None and len(self._received) >= limit:
                    call.cancel()
        except grpc.RpcError:
            pass
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
        return _exchange(self._step, call, self._received, cancelled=self._cancelled)

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()


def _exchange(step: Rpc, call: Any, messages: list[bytes], *, cancelled: bool) -> Exchange:
    code, details = call.code(), call.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE and any(text in details for text in _BROKEN):
        return Exchange(None, ending="closed", extra=b"\n".join(_lines(step, messages)))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or cancelled:
        details = ""  # grpcio's own text, which differs from run to run
    lines = [json.dumps({"details": details}, ensure_ascii=False).encode()] if details else []
    metadata = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
    response = Response(
        version=VERSION,
        status=code.value[0],
        reason=code.name,
        headers=tuple((name, value if isinstance(value, str) else repr(value)) for name, value in metadata),
        body=b"\n".join([*lines, *_lines(step, messages)]),
        framing=f"{len(messages)} messages",
    )
    return Exchange(response)


def _lines(step: Rpc, messages: list[bytes]) -> list[bytes]:
    classes = message_classes(step.full_method)
    return [to_json(classes[1], each) if classes else each.hex().encode() for each in messages]
