"""Answers over HTTP from the recordings of a cassette."""

import asyncio
import json
from dataclasses import dataclass

from triton_emulator.clock import Clock
from triton_emulator.frontends.asgi import Send, send_reply
from triton_emulator.frontends.http import faults
from triton_emulator.frontends.http.entries import HttpEntry
from triton_emulator.harness.cassettes.player import Player
from triton_emulator.harness.cassettes.recording import FRAMING, Recording
from triton_emulator.harness.journal import JournalEntry
from triton_emulator.protocol import compression
from triton_emulator.protocol.json_dialect import write_string
from triton_emulator.wire.operations import Pause
from triton_emulator.wire.reply import Headers, json_reply

#: the status for a request that no recording answers: none of Triton's
NOT_RECORDED = 501
_ID = b'{"id":'
_CODING = b"content-encoding"
#: bytes that a compressed answer may have
_INFLATED = 1 << 30
_LENGTHS = (b"content-length", b"inference-header-content-length")


@dataclass(frozen=True, slots=True)
class Times:
    """When the events of a replay come: recorded times last `factor` times as long, by the clock."""

    clock: Clock
    factor: float

    def left(self, at: float, entry: JournalEntry) -> float:
        """The seconds that are left until an event; none where times are left out."""
        if not self.factor:
            return 0.0
        return at * self.factor - (self.clock.monotonic_ns() - entry.began_ns) / 1e9


async def replay(recorded: Recording, entry: HttpEntry, send: Send, times: Times) -> None:
    """Send a recorded answer."""
    await asyncio.sleep(0)  # a request may leave while it waits, so it is a task of its own
    headers: Headers = tuple(
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in recorded.headers
        if name.lower() not in FRAMING
    )
    events = list(recorded.events)
    if entry.operation == "infer" and len(events) == 1:
        ((at, body),) = events
        body, headers = _uncoded(body, headers, entry)
        body, headers = with_id(body, headers, recorded.id, entry)
        events = [(at, body)]
    started = False
    for at, data in events:
        await _wait_until(at, entry, send, times)
        if not started:
            await send({"type": "http.response.start", "status": recorded.status, "headers": headers})
            started = True
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await _wait_until(recorded.seconds, entry, send, times)
    if not started:
        await send({"type": "http.response.start", "status": recorded.status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _wait_until(at: float, entry: HttpEntry, send: Send, times: Times) -> None:
    if (left := times.left(at, entry)) > 0:
        await faults.perform(Pause(left), send, times.clock)


def _uncoded(body: bytes, headers: Headers, entry: HttpEntry) -> tuple[bytes, Headers]:
    """An answer that its client can read: not compressed, where the client does not ask for what was recorded."""
    coding = next((value.decode("latin-1") for name, value in headers if name.lower() == _CODING), "identity")
    if coding not in compression.CODINGS or entry.accepts(coding):
        return body, headers
    plain = compression.decompress(body, _INFLATED)
    length = (b"Content-Length", b"%d" % len(plain))
    return plain, tuple(
        length if name.lower() == b"content-length" else (name, value)
        for name, value in headers
        if name.lower() != _CODING
    )


def with_id(body: bytes, headers: Headers, recorded: str, entry: HttpEntry) -> tuple[bytes, Headers]:
    """An answer to an inference with the id of the request that it is given to; Triton writes it first."""
    asked = entry.request_id
    coded = any(name.lower() == b"content-encoding" for name, _ in headers)
    if asked == recorded or coded or entry.code is not None:
        return body, headers
    rest = body
    if recorded:
        begins = _ID + write_string(recorded)
        if not body.startswith(begins):
            return body, headers  # an error, for one
        rest = b"{" + body[len(begins) :].removeprefix(b",")
    elif not body.startswith(b'{"model_name":'):
        return body, headers
    if asked:
        rest = _ID + write_string(asked) + b"," + rest[1:]
    more = len(rest) - len(body)
    return rest, tuple(
        (name, b"%d" % (int(value) + more)) if name.lower() in _LENGTHS else (name, value)
        for name, value in headers
    )


async def miss(player: Player, entry: HttpEntry, send: Send) -> str:
    """Say that no recording answers, and which come nearest; returns that text."""
    text = f"triton-emulator: {player.miss(entry)}"
    await send_reply(send, json_reply(json.dumps({"error": text}, ensure_ascii=False).encode(), NOT_RECORDED))
    return text
