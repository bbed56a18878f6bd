"""Entries of the journal for requests over HTTP: what was sent, read by the rules by which it was answered."""

import json
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from triton_emulator.frontends.asgi import Scope, Send, writer_of
from triton_emulator.frontends.journal_regions import NO_REGIONS
from triton_emulator.harness.harness import Harness
from triton_emulator.harness.journal import Answer, JournalEntry, Undecodable
from triton_emulator.harness.parts import truncated
from triton_emulator.protocol import compression
from triton_emulator.protocol.datatypes import DATATYPES, encode_bytes
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.generate import map_generate
from triton_emulator.protocol.infer_request import parse_infer
from triton_emulator.protocol.json_access import parse_document
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.routes import Captures
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import TensorSpec
from triton_emulator.session.state import SessionState
from triton_emulator.wire.http_cycle import UNLAWFUL, WHOLE
from triton_emulator.wire.http_protocol import HEAD_BYTES
from triton_emulator.wire.operations import Close, Raw, Reset
from triton_emulator.wire.reply import PieceWriter

_LEAST_ERROR = 400
_EVENT = b"data: "


async def _dropped(message: dict[str, Any]) -> None:
    """What comes after the last message is dropped, as a connection does."""


class HttpEntry(PieceWriter, JournalEntry):
    """A request over HTTP. As the `send` of its cycle it notes what is answered."""

    protocol = "http"

    #: the path without that of a session
    path = ""

    def __init__(self, harness: Harness, scope: Scope, send: Send, rules: Personality) -> None:
        super().__init__(harness.journal, scope.get(HEAD_BYTES, 0), len(scope["headers"]))
        self._harness = harness
        # These are shared by requests with the same head; their scopes are not, and would fill the processor's caches.
        self.method: str = scope["method"]
        self._path: str = scope["path"]
        self._query: bytes = scope["query_string"]
        self._head: list[tuple[bytes, bytes]] = scope["headers"]
        self._client: tuple[str, int] | None = scope.get("client")
        self._send = send
        self._rules = rules

    def send(self, message: dict[str, Any]) -> Awaitable[None]:
        """Note a message of the answer and pass it on."""
        kind = message["type"]
        if kind == WHOLE:
            reply = message["reply"]
            self.code, self.answer_headers = reply.status, reply.headers
            self.wrote(reply.body)
            return self._last(message)
        if kind == "http.response.start":
            self.code, self.answer_headers = message["status"], message["headers"]
        elif kind == UNLAWFUL:
            operation = message["operation"]
            if isinstance(operation, Raw):
                self.wrote(operation.data)
            elif isinstance(operation, Close | Reset):
                self.cut = True
                return self._last(message)
        else:
            if message.get("body"):
                self.wrote(message["body"])
            if not message.get("more_body", False):
                return self._last(message)
        return self._send(message)

    def write(self, piece: bytes) -> bool:
        """As `send` with a piece in the middle of the answer."""
        write = writer_of(self._send)
        if write is None or not write(piece):
            return False
        self.wrote(piece)
        return True

    def _last(self, message: dict[str, Any]) -> Awaitable[None]:
        """Pass on the last message. The entry does not keep the connection after it."""
        send, self._send = self._send, _dropped
        self._harness.end(self)
        return send(message)

    def leave(self) -> None:
        """The work on the request is over, whether or not it was answered: the connection may go."""
        if not self.ended_ns:
            self._send = _dropped
            self._harness.end(self)

    def asks(self, operation: str, captures: Captures, session: SessionState | None = None) -> None:
        """Note what the request asks for, and let it meet the plans. Without a `session` no model is known."""
        self.operation = operation
        self.model, self.version = captures.name, captures.version
        if self._harness.plans:
            if session is not None:
                self.specs = _specs(session, captures)
            self._harness.meet(self)

    def asked(self) -> tuple[Sequence[Tensor], Mapping[str, Any]]:
        if self.operation == "infer":
            try:
                request = self.request
            except Undecodable:
                return (), {"body": _shown(self.body)}
            return request.inputs, _infer_asked(request, self.parameters)
        if self.operation in ("generate", "generate_stream"):
            document = _document(self.body)
            if isinstance(document, dict):
                return (), {"json": {name: value for name, value in document.items() if name != "id"}}
            return (), {"body": _shown(self.body)}
        found: dict[str, Any] = {"method": self.method, "path": self.path}
        if query := self._query:
            found["query"] = query.decode("latin-1")
        if self.body:
            document = _document(self.body)
            found |= {"body": _shown(self.body)} if document is None else {"json": document}
        return (), found

    def accepts(self, coding: str) -> bool:
        """Whether the client takes an answer that is compressed so."""
        return coding in (self._header("accept-encoding") or "")

    @property
    def text_size(self) -> int:  # type: ignore[override]
        names = {name.lower(): value for name, value in self.answer_headers}
        length = names.get(b"inference-header-content-length", b"0")
        return int(length) if length.isdigit() else 0

    @property
    def coding(self) -> str:  # type: ignore[override]
        names = {name.lower(): value for name, value in self.answer_headers}
        return names.get(b"content-encoding", b"").decode("latin-1")

    @property
    def peer(self) -> str:  # type: ignore[override]
        host, port = self._client or ("", 0)
        return f"{host}:{port}" if host else ""

    @property
    def target(self) -> str:
        """The path and the query."""
        query = self._query.decode("latin-1")
        return f"{self._path}?{query}" if query else self._path

    @property
    def is_error(self) -> bool:
        return self.code is not None and self.code >= _LEAST_ERROR

    def _headers(self) -> Iterator[tuple[str, str]]:
        return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._head)

    def _header(self, name: str) -> str | None:
        return next((value for key, value in self._headers() if key.lower() == name), None)

    def _read_request(self) -> InferRequest:
        body = self.body
        coding = self._header("content-encoding") or "identity"
        if coding in compression.CODINGS:
            body = compression.decompress(body, _INFLATED)
        if self.operation == "infer":
            length = self._header("inference-header-content-length")
            header_length = len(body) if length is None else int(length)
            request = parse_infer(body, header_length, self.model, NO_REGIONS, self._rules)
            if request.raw_input is not None:
                request.inputs = [self._only_input(body)]
            return request
        if self.operation in ("generate", "generate_stream"):
            return map_generate(parse_document(body, self._rules), self.model, self.specs, self._rules)
        raise ValueError(f"{self.operation or self.target} has none")

    def _only_input(self, data: bytes) -> Tensor:
        """The input that the whole body of a raw binary request is; its shape has one dimension."""
        if len(self.specs) != 1:
            raise ValueError("its body is raw binary data for a model that does not have one input")
        ((name, spec),) = self.specs.items()
        size = DATATYPES[spec.datatype].size
        if not size:  # the body is one element
            return Tensor(name, spec.datatype, (1,), data=encode_bytes([data]))
        return Tensor(name, spec.datatype, (len(data) // size,), data=data)

    def _read_answers(self) -> Iterator[Answer]:
        if self.is_error:
            yield Answer({}, {}, _error_text(self.answer))
        elif self.operation == "infer":
            yield self._infer_answer()
        elif self.operation == "generate":
            yield _generated(json.loads(self.answer))
        elif self.operation == "generate_stream":
            for line in self.answer.split(b"\n"):
                if line.startswith(_EVENT):
                    yield _generated(json.loads(line[len(_EVENT) :]))

    def _infer_answer(self) -> Answer:
        body = self.answer
        names = {name.lower(): value for name, value in self.answer_headers}
        coding = names.get(b"content-encoding", b"identity").decode()
        if coding in compression.CODINGS:
            body = compression.decompress(body, _INFLATED)
        length = int(names.get(b"inference-header-content-length", b"%d" % len(body)))
        document = json.loads(body[:length])
        outputs, at = {}, length
        for output in document["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            tensor = _tensor(output, None if size is None else body[at : at + size])
            at += size or 0
            if tensor is not None:
                outputs[tensor.name] = tensor
        return Answer(outputs, document.get("parameters", {}))


def _specs(session: SessionState, captures: Captures) -> Mapping[str, TensorSpec]:
    """The inputs of the model that a request names; none where there is none.

    A plan may look at the inputs of a request, which some forms have by the model's config alone, and may answer it
    before its model is found.
    """
    try:
        return session.repository.get(captures.name, captures.version).inputs
    except TritonError:
        return {}


def _infer_asked(request: InferRequest, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What an inference asks for besides its inputs: parameters, and outputs with their forms."""
    found: dict[str, Any] = {}
    if parameters:
        found["parameters"] = dict(parameters)
    if request.outputs:
        found["outputs"] = [
            {name: value for name, value in asdict(output).items() if value} for output in request.outputs
        ]
    if request.binary_output:
        found["binary_data_output"] = True
    return found


def _document(body: bytes) -> Any:
    """The JSON of a body, None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _shown(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def cut_binary(headers: Any, body: bytes, name: str, missing: int) -> bytes | None:
    """An answer's body without the last `missing` bytes of a binary output; None where it is not binary."""
    names = {key.lower(): value for key, value in headers}
    if b"inference-header-content-length" not in names or b"content-encoding" in names:
        return None
    length = int(names[b"inference-header-content-length"])
    sizes = [
        (output["name"], output["parameters"]["binary_data_size"])
        for output in json.loads(body[:length])["outputs"]
        if "binary_data_size" in output.get("parameters", {})
    ]
    shorter = truncated(body, length, name, missing, sizes)
    return None if len(shorter) == len(body) else shorter


#: bytes that a compressed body of the journal may have
_INFLATED = 1 << 30


def _error_text(body: bytes) -> str:
    try:
        return str(json.loads(body.removeprefix(_EVENT))["error"])  # a stream that begins with an error
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")


def _tensor(output: dict[str, Any], data: bytes | None) -> Tensor | None:
    name, datatype, shape = output["name"], output["datatype"], output["shape"]
    if data is not None:
        return Tensor(name, datatype, shape, data=data)
    if "data" not in output:  # it is in shared memory
        return None
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, array=_texts(output["data"]))
    return Tensor(name, datatype, shape, array=np.array(output["data"], dtype=DATATYPES[datatype].numpy))


def _texts(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = [str(value).encode("utf-8", "surrogateescape") for value in values]
    return array


_NO_OUTPUTS = frozenset(("model_name", "model_version", "id"))


def _generated(document: dict[str, Any]) -> Answer:
    """The answer of `generate`, whose JSON has no datatypes: those that JSON's values suggest."""
    if "error" in document and "model_name" not in document:
        return Answer({}, {}, str(document["error"]))
    outputs = {}
    for name, value in document.items():
        if name not in _NO_OUTPUTS:
            values = value if isinstance(value, list) else [value]
            outputs[name] = _suggested(name, values)
    return Answer(outputs, {})


def _suggested(name: str, values: list[Any]) -> Tensor:
    shape = [len(values)]
    if any(isinstance(value, str) for value in values):
        return Tensor(name, "BYTES", shape, array=_texts(values))
    if values and all(isinstance(value, bool) for value in values):
        return Tensor(name, "BOOL", shape, array=np.array(values, dtype=np.bool_))
    if any(isinstance(value, float) for value in values):
        return Tensor(name, "FP64", shape, array=np.array(values, dtype=np.float64))
    return Tensor(name, "INT64", shape, array=np.array(values, dtype=np.int64))
