"""An exchange as a document of YAML, and back."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_emulator.harness.cassettes import messages, pieces
from triton_emulator.harness.cassettes.meaning import Meaning, digest, meaning
from triton_emulator.harness.journal import REDACTED, JournalEntry
from triton_emulator.harness.operations import GRPC, OPERATIONS
from triton_emulator.protocol import compression
from triton_emulator.protocol.tensor import Tensor

#: bytes that a compressed answer may have
_INFLATED = 1 << 30
#: headers of an answer that say how it is framed on one connection
FRAMING = ("transfer-encoding", "connection", "keep-alive")


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange of a cassette.

    `where` names its file and line. `inputs` and `asked` are what was asked for, `id` the id that the request had.
    `status` is HTTP's, or gRPC's number, with `details`. `headers` are those of the answer, over gRPC the trailing
    metadata. `events` are pieces of the answer with the seconds from the request to each; `seconds` is its end.
    """

    where: str
    protocol: str
    operation: str
    model: str
    version: str
    inputs: Mapping[str, tuple[str, tuple[int, ...], bytes]]
    asked: Mapping[str, Any]
    status: int
    id: str = ""
    details: str = ""
    headers: Sequence[tuple[str, str]] = ()
    events: Sequence[tuple[float, bytes]] = ()
    seconds: float = 0.0
    meaning: Meaning = field(init=False)

    def __post_init__(self) -> None:
        inputs = ((name, *given[:2], digest(given[2])) for name, given in self.inputs.items())
        what = (self.protocol, self.operation, self.model, self.version)
        object.__setattr__(self, "meaning", meaning(what, inputs, self.asked))

    @property
    def succeeded(self) -> bool:
        """Whether the answer is something else than an error."""
        return self.status == (0 if self.protocol == "grpc" else 200)

    def tensor(self, name: str) -> Tensor:
        datatype, shape, data = self.inputs[name]
        return Tensor(name, datatype, shape, data=data)


def document(entry: JournalEntry, keep: pieces.Keep) -> dict[str, Any]:
    """The document of an exchange that has ended."""
    inputs, asked = entry.asked()
    request: dict[str, Any] = {
        "operation": entry.operation,
        "model": entry.model,
        "version": entry.version,
        "id": entry.request_id if inputs else "",
        "inputs": {tensor.name: pieces.tensor_written(tensor, keep) for tensor in inputs},
        "asked": asked,
        "headers": [f"{name}: {value}" for name, value in entry.headers.items()],
    }
    answer: dict[str, Any] = {
        "status": entry.code,
        "details": entry.details,
        "headers": [f"{name}: {value}" for name, value in _shown(entry)],
        "seconds": round((entry.ended_ns - entry.began_ns) / 1e9, 6),
        "events": [{"at": round(at, 6), **_written(entry, data, keep)} for at, data in _events(entry)],
    }
    return {"request": _without_nothing(request), "answer": _without_nothing(answer)}


def _events(entry: JournalEntry) -> list[tuple[float, bytes]]:
    """The pieces of an answer. Those of one that is no stream are how its bytes have come, so they are one piece."""
    kind = OPERATIONS.get(entry.operation)
    events = [(event.seconds, event.data) for event in entry.events]
    if not events or (kind is not None and kind.streams):
        return events
    return [(events[-1][0], b"".join(data for _, data in events))]


def _written(entry: JournalEntry, data: bytes, keep: pieces.Keep) -> dict[str, Any]:
    if entry.protocol == GRPC:
        return messages.written(entry.operation, data, keep)
    coding = entry.coding
    plain = compression.decompress(data, _INFLATED) if coding in compression.CODINGS else data
    if plain is not data and _compressed(plain, coding) == data:
        return {"coding": coding, **pieces.written(plain, keep, entry.text_size)}
    return pieces.written(data, keep, 0 if coding else entry.text_size)


def _compressed(plain: bytes, coding: str) -> bytes:
    """As Triton compresses: by zlib, with its defaults."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS + (16 if coding == "gzip" else 0))
    return packer.compress(plain) + packer.flush()


def _without_nothing(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value not in ("", [], {}, None)}


def _shown(entry: JournalEntry) -> Iterable[tuple[str, str]]:
    """The headers of an answer, without their secrets."""
    secrets = entry.secrets
    for name, value in entry.answer_headers:
        text = name.decode("latin-1")
        yield text, REDACTED if text.lower() in secrets else value.decode("latin-1")


def recording(protocol: str, given: Any, where: str, fetch: pieces.Fetch) -> Recording:
    """The recording that a document stands for. Raises ValueError for what is none."""
    request, answer = _mapping(given, "request"), _mapping(given, "answer")
    inputs = _mapping(request, "inputs", optional=True)
    events = answer.get("events", [])
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise ValueError("answer: events is a list of mappings")
    return Recording(
        where,
        protocol,
        _text(request, "request", "operation"),
        _text(request, "request", "model"),
        _text(request, "request", "version"),
        {name: pieces.tensor_read(name, tensor, fetch) for name, tensor in inputs.items()},
        _mapping(request, "asked", optional=True),
        _status(answer),
        _text(request, "request", "id"),
        _text(answer, "answer", "details"),
        [_header(line) for line in _list(answer, "headers")],
        [(_seconds(event, "at"), _read(protocol, request, event, fetch)) for event in events],
        _seconds(answer, "seconds"),
    )


def _read(protocol: str, request: Mapping[str, Any], event: Mapping[str, Any], fetch: pieces.Fetch) -> bytes:
    if protocol == GRPC:
        return messages.read(_text(request, "request", "operation"), event, fetch)
    plain = pieces.read(event, fetch)
    coding = event.get("coding")
    if coding is not None and coding not in compression.CODINGS:
        raise ValueError(f"answer: coding is one of {', '.join(compression.CODINGS)}, not {coding!r}")
    return plain if coding is None else _compressed(plain, coding)


def _status(answer: Mapping[str, Any]) -> int:
    status = answer.get("status")
    if type(status) is not int or not 0 <= status < 1000:
        raise ValueError(f"answer: status is a number, not {status!r}")
    return status


def _mapping(given: Any, name: str, *, optional: bool = False) -> Mapping[str, Any]:
    value = given.get(name, {} if optional else None) if isinstance(given, dict) else None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} is a mapping, not {value!r}")
    return value


def _list(given: Mapping[str, Any], name: str) -> list[Any]:
    value = given.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is a list, not {value!r}")
    return value


def _text(given: Mapping[str, Any], where: str, name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name} is a text, not {value!r}; quote it")
    return value


def _seconds(given: Mapping[str, Any], name: str) -> float:
    value = given.get(name, 0)
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise ValueError(f"answer: {name} is a number of seconds, not {value!r}")
    return float(value)


def _header(line: Any) -> tuple[str, str]:
    name, colon, value = line.partition(": ") if isinstance(line, str) else ("", "", "")
    if not colon:
        raise ValueError(f"answer: a header is a text 'name: value', not {line!r}")
    return name, value
